"""Usage events: CloudEvents 1.0 in JSON (https://github.com/cloudevents/spec), one per thing that is counted."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.clock import rfc3339
from shared.messaging.port import Message


class Metric(StrEnum):
    API_CALLS = "api_calls"
    AGENTS_CREATED = "agents_created"
    AI_TOKENS = "ai_tokens"
    EXECUTIONS = "executions"
    STORAGE_BYTES = "storage_bytes"
    REQUEST_UNITS = "request_units"  # what the tenant's calls cost at the database: ours to pay, and not told to it


def usage_event(metric: Metric, *, id: str, tenant_id: str, at: datetime, value: int, **data: Any) -> Message:
    """`value` is a whole number of the metric's unit; `data` says where it came from. The id counts it once."""
    body = {
        "specversion": "1.0",
        "id": id,
        "source": "/flowgrid/api",
        "type": metric.value,
        "time": rfc3339(at),
        "datacontenttype": "application/json",
        "data": {"value": value, **data},
    }
    return Message(id, tenant_id, body)

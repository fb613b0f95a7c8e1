"""Usage events: CloudEvents 1.0 in JSON (https://github.com/cloudevents/spec), one per thing that is counted."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.clock import rfc3339
from shared.messaging.port import Message

SOURCE = "/flowgrid/api"
VOID = "void"


class Metric(StrEnum):
    API_CALLS = "api_calls"
    AGENTS_CREATED = "agents_created"
    AI_TOKENS = "ai_tokens"
    EXECUTIONS = "executions"
    STORAGE_BYTES = "storage_bytes"
    REQUEST_UNITS = "request_units"  # what the tenant's calls cost at the database: ours to pay, and not told to it


def usage_event(metric: Metric, *, id: str, tenant_id: str, at: datetime, value: int, **data: Any) -> Message:
    """`value` is a whole number of the metric's unit; `data` says where it came from. The id counts it once."""
    return _message(metric.value, id, tenant_id, at, {"value": value, **data})


def void_event(events: Sequence[tuple[str, str]], *, id: str, tenant_id: str, hour: datetime) -> Message:
    """Takes events of an hour, each by its source and id, out of it again."""
    return _message(VOID, id, tenant_id, hour, {"events": [list(one) for one in events]})


def _message(type: str, id: str, tenant_id: str, at: datetime, data: dict[str, Any]) -> Message:
    body = {
        "specversion": "1.0",
        "id": id,
        "source": SOURCE,
        "type": type,
        "time": rfc3339(at),
        "datacontenttype": "application/json",
        "data": data,
    }
    return Message(id, tenant_id, body)

"""Queue messages as the `azure.functions.ServiceBusMessage` that a handler gets in Azure.

The metadata names are those of the Service Bus extension's binding data (`MessageId`, `MessageIdArray`, …); the objects
are made by the SDK's own converter, as in the worker.
"""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessage, ServiceBusMessageInConverter

from shared.messaging.port import Message

CONTENT_TYPE = "application/json"


def service_bus_message(message: Message, deliveries: int) -> ServiceBusMessage:
    """One message, for cardinality one."""
    metadata = {name: Datum(json.dumps(value), "json") for name, value in _metadata(message, deliveries).items()}
    decoded = ServiceBusMessageInConverter.decode(Datum(body_text(message), "string"), trigger_metadata=metadata)
    return cast(ServiceBusMessage, decoded)


def service_bus_batch(messages: Sequence[tuple[Message, int]]) -> list[ServiceBusMessage]:
    """Several messages, for cardinality many: the metadata are arrays, one element a message."""
    bodies = SimpleNamespace(string=[body_text(message) for message, _ in messages])
    each = [_metadata(message, deliveries) for message, deliveries in messages]
    metadata = {f"{name}Array": Datum(json.dumps([item[name] for item in each]), "json") for name in each[0]}
    decoded = ServiceBusMessageInConverter.decode(Datum(bodies, "collection_string"), trigger_metadata=metadata)
    return cast(list[ServiceBusMessage], decoded)


def body_text(message: Message) -> str:
    """The body on the wire: its JSON, nothing around it."""
    return json.dumps(message.body, ensure_ascii=False, separators=(",", ":"))


def _metadata(message: Message, deliveries: int) -> dict[str, Any]:
    properties = {"tenant_id": message.tenant_id}
    return {
        "MessageId": message.id,
        "DeliveryCount": deliveries,
        "ContentType": CONTENT_TYPE,
        "LockToken": str(uuid4()),
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }

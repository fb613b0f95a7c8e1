"""Queue messages as the `azure.functions.ServiceBusMessage` that a handler gets in Azure.

What reaches the worker depends on the trigger's `cardinality` and `dataType` (`GeneralScriptBindingProvider.cs` and
`GrpcMessageConversionExtensions.cs` of azure-functions-host, the converters of the Service Bus extension):

| cardinality | dataType | the worker gets |
|---|---|---|
| one | none | the body as text (`string` is the default of `JobHostMetadataProvider.GetDefaultType`) |
| many | none | one JSON array: each body read and written again by Json.NET; one that is no JSON fails all |
| one, many | binary | the bytes |

The metadata names are those of the extension's binding data (`MessageId`, `MessageIdArray`, …). One message is made by
the SDK's own converter, as in the worker; that would read every array of many again for each message, so those are made
here, and a test holds them to the converter's.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessage, ServiceBusMessageInConverter
from pydantic_core import to_json

from local.jsonnet import rewritten
from shared.messaging.port import Message

CONTENT_TYPE = "application/json"


class BindingError(Exception):
    """The host cannot bind the delivery: it fails before the function is called."""


def service_bus_message(message: Message, deliveries: int, data_type: str | None = None) -> ServiceBusMessage:
    """One message, for cardinality one."""
    metadata = {name: Datum(json.dumps(value), "json") for name, value in metadata_of(message, deliveries).items()}
    kind, value = single(body_of(message), data_type)
    decoded = ServiceBusMessageInConverter.decode(Datum(value, kind), trigger_metadata=metadata)
    return cast(ServiceBusMessage, decoded)


def service_bus_batch(messages: Sequence[tuple[Message, int]], data_type: str | None) -> list[ServiceBusMessage]:
    """Several messages, for cardinality many: the metadata are arrays, one element a message."""
    kind, value = many([body_of(message) for message, _ in messages], data_type)
    bodies = value if kind != "json" else [json.dumps(one).encode() for one in json.loads(value)]
    each = [metadata_of(message, deliveries) for message, deliveries in messages]
    metadata = metadata_of_many(each)
    return [
        ServiceBusMessage(
            body=body,
            trigger_metadata=metadata,
            application_properties=one["ApplicationProperties"],
            content_type=one["ContentType"],
            delivery_count=one["DeliveryCount"],
            lock_token=one["LockToken"],
            message_id=one["MessageId"],
            user_properties=one["UserProperties"],
        )
        for body, one in zip(bodies, each, strict=True)
    ]


def metadata_of_many(each: Sequence[Mapping[str, Any]]) -> dict[str, Datum]:
    """The binding data of a batch, from those of its messages."""
    return {f"{name}Array": Datum(to_json([one[name] for one in each]).decode(), "json") for name in each[0]}


def single(body: bytes, data_type: str | None) -> tuple[str, Any]:
    """The kind of TypedData that carries one body, and its value."""
    return ("bytes", body) if _is_binary(data_type) else ("string", body.decode(errors="replace"))


def many(bodies: Sequence[bytes], data_type: str | None) -> tuple[str, Any]:
    """The kind of TypedData that carries a batch's bodies, and its value; `BindingError` when there is none."""
    if _is_binary(data_type):
        return "collection_bytes", list(bodies)
    try:
        return "json", json.dumps([rewritten(body) for body in bodies], ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise BindingError(f"Exception binding parameter: the JSON parser failed: {error}") from error


def body_of(message: Message) -> bytes:
    """The body on the wire: its JSON, nothing around it; or the text that was no JSON object when it came."""
    if message.body.keys() == {"unreadable"} and isinstance(message.body["unreadable"], str):
        return message.body["unreadable"].encode(errors="replace")
    try:
        return to_json(message.body)
    except ValueError:  # half a character: it came as an escape, which is ASCII on the wire
        return json.dumps(message.body, separators=(",", ":")).encode()


def _is_binary(data_type: str | None) -> bool:
    return (data_type or "").lower() == "binary"


def metadata_of(message: Message, deliveries: int) -> dict[str, Any]:
    """The binding data of one message."""
    properties = {"tenant_id": message.tenant_id}
    if message.traceparent:
        properties["traceparent"] = message.traceparent
    return {
        "MessageId": message.id,
        "DeliveryCount": deliveries,
        "ContentType": CONTENT_TYPE,
        "LockToken": str(uuid4()),
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }

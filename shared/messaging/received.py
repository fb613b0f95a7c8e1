"""From what a queue trigger hands over to a `Message`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, overload

from pydantic_core import from_json

from shared.ids import derived_id
from shared.messaging.port import Message
from shared.tracing import parsed


class Received(Protocol):
    """The part of `azure.functions.ServiceBusMessage` that handlers need."""

    @property
    def message_id(self) -> str: ...
    @property
    def application_properties(self) -> Mapping[str, Any]: ...
    def get_body(self) -> bytes: ...


def body_of(raw: bytes) -> dict[str, Any]:
    """Never raises: what is no JSON object is kept as text under `unreadable`, for the dead letters."""
    try:
        body = from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        body = _unusual(raw)
    return body if isinstance(body, dict) else {"unreadable": raw.decode(errors="replace")}


def _unusual(raw: bytes) -> Any:
    """What else `json.loads` takes: half a character, numbers that are none, deep nesting, UTF-16; None otherwise."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def message_from(id: str | None, tenant_id: Any, raw: bytes, traceparent: Any = None) -> Message:
    """Never raises, whatever the body is. Who sends without an id gets one made of the body, the same every time."""
    known = id or derived_id("message", raw.decode(errors="replace"))
    return Message(known, str(tenant_id or ""), body_of(raw), traceparent if parsed(traceparent) else "")


def message_of(received: Received) -> Message:
    """Never raises, whatever the body is."""
    properties = received.application_properties or {}
    tenant_id, traceparent = properties.get("tenant_id"), properties.get("traceparent")
    return message_from(received.message_id, tenant_id, received.get_body(), traceparent)


class Unread(Sequence[Message]):
    """The messages of a delivery, each made when it is asked for: many bodies at a time are slow to hold."""

    def __init__(self, received: Sequence[Received]) -> None:
        self._received = received

    def __len__(self) -> int:
        return len(self._received)

    @overload
    def __getitem__(self, place: int) -> Message: ...
    @overload
    def __getitem__(self, place: slice) -> "Unread": ...
    def __getitem__(self, place: int | slice) -> "Message | Unread":
        return Unread(self._received[place]) if isinstance(place, slice) else message_of(self._received[place])

    def __iter__(self) -> Iterator[Message]:
        return map(message_of, self._received)

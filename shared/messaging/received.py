"""From what a queue trigger hands over to a `Message`."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from shared.ids import derived_id
from shared.messaging.port import Message

_DECODER = json.JSONDecoder()


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
        body = _json(raw)
    except (ValueError, RecursionError):
        body = None
    return body if isinstance(body, dict) else {"unreadable": raw.decode(errors="replace")}


def _json(raw: bytes) -> Any:
    """As `json.loads`; without its search for an encoding and for blanks where there is nothing to find, as mostly."""
    if raw.startswith(b"{") and raw.endswith(b"}"):
        text = raw.decode(errors="surrogatepass")
        body, end = _DECODER.raw_decode(text)
        if end == len(text):
            return body
    return json.loads(raw)


def message_from(id: str | None, tenant_id: Any, raw: bytes) -> Message:
    """Never raises, whatever the body is. Who sends without an id gets one made of the body, the same every time."""
    known = id or derived_id("message", raw.decode(errors="replace"))
    return Message(known, str(tenant_id or ""), body_of(raw))


def message_of(received: Received) -> Message:
    """Never raises, whatever the body is."""
    properties = received.application_properties or {}
    return message_from(received.message_id, properties.get("tenant_id"), received.get_body())

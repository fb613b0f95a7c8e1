"""From what a queue trigger hands over to a `Message`."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from shared.messaging.port import Message


class Received(Protocol):
    """The part of `azure.functions.ServiceBusMessage` that handlers need."""

    @property
    def message_id(self) -> str: ...
    @property
    def application_properties(self) -> Mapping[str, Any]: ...
    def get_body(self) -> bytes: ...


def message_of(received: Received) -> Message:
    """Never raises: a body that is no JSON object is kept as text under `unreadable`, for the dead letters."""
    raw = received.get_body()
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        body = {"unreadable": raw.decode(errors="replace")}
    tenant_id = (received.application_properties or {}).get("tenant_id", "")
    return Message(received.message_id or "", str(tenant_id), body)

"""What has happened in a tenant, for its webhooks: one item for each change, until it is handed out to them.

It is in the batch of the change, and in its partition: what depends on another change is seen only after that one's.
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create
from shared.kinds import Kind
from shared.messaging.port import Message
from shared.tenancy.fence import TICK

HAPPENED = Kind("happened", transient=True)
MAX_OBJECT_BYTES = 20 * 1024  # of what an event is about; what is larger is named only
MAX_TOGETHER_BYTES = 128 * 1024  # of all objects of a change


class Happenings:
    """The events of one change, collected. An event: `id`, `type`, `at` (RFC 3339, later than the last), `data`."""

    def __init__(self, at: str) -> None:
        self._at = at
        self._events: list[dict[str, Any]] = []
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._events)

    def add(self, id: str, type: str, kind: Kind, of: str, revision: int, value: Mapping[str, Any] | None) -> None:
        """`of`: the id of what it is about; `value`: that, as it is then, left out where it is large."""
        data: dict[str, Any] = {"type": kind.name, "id": of, "revision": revision, "href": f"/api/v1/{kind.path}/{of}"}
        size = 0 if value is None else len(to_json(value))
        if value is not None and size <= MAX_OBJECT_BYTES and self._bytes + size <= MAX_TOGETHER_BYTES:
            self._bytes += size
            data["object"] = dict(value)
        at = rfc3339(parse_rfc3339(self._at) + TICK * len(self._events))
        self._events.append({"id": id, "type": type, "at": at, "data": data})

    def item(self, id: str) -> Create:
        """`left`: the events that are not handed out yet; `told`: the webhooks that have the first of them already."""
        return Create(HAPPENED, id, {"created_at": self._at, "left": self._events, "told": []})

    def message(self, id: str, tenant_id: str) -> Message:
        return Message(id, tenant_id, {"happened": id})

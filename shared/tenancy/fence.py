"""The fence of a tenant's partition: each write needs a permit that is there; whoever takes it away stops them all.

A partition holds one permit, an item `open:<id>`. A tenant's handle adds a batch read of it to each commit (1 RU, one
of the 100 operations); the service checks existence only (a conditional read is ignored: cosmos-dotnet-v3#1581), so a
permit that means something else has another id. Three things follow, each exact at once, whatever caches, clocks and
stalled instances believe:

- `rotate` puts a new permit in place of the old one: what is committed from then on is stamped later than the permit,
  so a backup that has rotated has seen all that was stamped before (shared/work/session.py stamps, this module checks).
- `close` takes the permit away for one holder, whose own writes carry `fence:<holder>`. Two holders cannot both.
- `reopen` ends that, with a new permit.

The `usage` container has no permits: metering changes nothing that a fence protects.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeGuard

from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import (
    NEWEST_FIRST,
    OLDEST_FIRST,
    Create,
    Delete,
    Document,
    Operation,
    Order,
    Page,
    Read,
    Rejected,
    Stored,
    TenantStore,
    Traces,
    Where,
)
from shared.errors import Unavailable
from shared.kinds import Container, Kind

logger = logging.getLogger("flowgrid.fence")
AUDIT = Kind(
    "audit",
    filtered=("user_id", "action", "resource_type", "resource_id", "api_key_id"),
    backup="history",
    append_only=True,
    packed={  # `{}` is of no resource: nobody takes it for one that was made or deleted; and `mac` is no signature
        "revision": 0,
        "old_value": {},
        "new_value": {},
        "value_schema": 1,
        "ip_address": "",
        "user_agent": "",
        "request_id": "",
        "key_id": None,
        "mac": "",
    },
)
PERMIT = Kind("open")
FENCE = Kind("fence")
UNKNOWN = "unknown"  # no permit's id
TRIES = 5
FENCED_SECONDS = 2
TICK = timedelta(microseconds=1)
MAX_AHEAD = timedelta(minutes=15)  # a clock further ahead than this is wrong, and followed by nobody


class Fenced(Unavailable):
    """The tenant is being restored: nothing can be written until that is over."""

    code = "fenced"
    meaning = "The tenant is being restored: it is read, and nothing is written."
    remedy = "Send the same again after `Retry-After` seconds."

    def __init__(self) -> None:
        super().__init__("This tenant is being restored; nothing is written meanwhile.", retry_after=FENCED_SECONDS)


class Overtaken(Unavailable):
    """The change was stamped before a backup's moment and would be committed after it; nothing was written."""

    code = "overtaken"
    meaning = "The change met a backup's moment; nothing was written."
    remedy = "Send the same again."


class Signer(Protocol):
    """What signs audit entries (shared/tenancy/signing.py)."""

    async def ready(self) -> None: ...
    def signed(self, tenant_id: str, id: str, body: Mapping[str, Any]) -> Document: ...


class Handle(TenantStore):
    """A tenant's partition as the services see it: it knows the newest instant it has seen, and carries the permit.

    Whoever writes an audit entry does so through a handle, so that it is signed here: no writer can forget it.

    `holder` None: the tenant's own permit (`permit`), found when it is first needed and kept until it is refused. A
    name: that holder's, while the fence is closed for it. "": none, past the fence.
    """

    def __init__(self, inner: TenantStore, *, holder: str | None = None, signer: Signer | None = None) -> None:
        self.tenant_id = inner.tenant_id
        self._inner = inner
        self._holder = holder
        self._signer = signer
        self._control = self if holder == "" else Handle(inner, holder="", signer=signer)

    @property
    def control(self) -> "Handle":
        return self._control

    async def get(self, kind: Kind, id: str) -> Stored | None:
        found = await self._inner.get(kind, id)
        if found is not None:
            self._see([found])
        return found

    async def catch_up(self, container: Container = "items") -> None:
        await self._inner.catch_up(container)

    async def fresh(self, kind: Kind, id: str) -> Stored | None:
        found = await self._inner.fresh(kind, id)
        if found is not None:
            self._see([found])
        return found

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        page = await self._inner.query(kind, where, order=order, limit=limit, after=after)
        self._see(page.items)
        return page

    async def scan(self, kinds: Sequence[Kind], *, since: str | None = None) -> AsyncIterator[list[Stored]]:
        async for page in self._inner.scan(kinds, since=since):
            self._see(page)
            yield page

    async def buried(self, kind: Kind, ids: Sequence[str]) -> list[Stored]:
        found = await self._inner.buried(kind, ids)
        self._see(found)
        return found

    async def traces(self, kind: Kind, ids: Sequence[str]) -> Traces:
        found = await self._inner.traces(kind, ids)
        self._see([*found.there, *found.buried])
        return found

    async def commit(self, operations: Sequence[Operation]) -> None:
        """As the port's; also raises `Fenced` and `Overtaken`, both before anything is written."""
        operations = await self._signed(operations)
        if self._holder == "" or operations[0].kind.container != "items":
            await self._inner.commit(operations)
        elif self._holder is not None:
            await self._carrying(Read(FENCE, self._holder), operations)
        else:
            await self._through(operations)
        self._see_instant(_instant(operations))

    async def _signed(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        if self._signer is None or not any(map(_journals, operations)):
            return operations
        await self._signer.ready()
        return [self._one_signed(self._signer, one) for one in operations]

    def _one_signed(self, signer: Signer, one: Operation) -> Operation:
        if not _journals(one):
            return one
        return Create(one.kind, one.id, signer.signed(self.tenant_id, one.id, one.body), one.ttl)

    async def _through(self, operations: Sequence[Operation]) -> None:
        stamped = _instant(operations)
        for _ in range(TRIES):
            permit = self.permit or (await current(self)).body["id"]
            if stamped is not None and stamped <= self.floor:
                raise Overtaken("This came while a backup was taking its moment; try again.")
            try:
                return await self._carrying(Read(PERMIT, permit), operations)
            except Fenced:
                self.permit = ""
        raise Fenced

    async def _carrying(self, permit: Read, operations: Sequence[Operation]) -> None:
        try:
            await self._inner.commit([permit, *operations])
        except Rejected as rejected:
            if rejected.index == 0:
                raise Fenced from rejected
            raise Rejected(rejected.reason, rejected.index - 1) from rejected

    def _see(self, found: Sequence[Stored]) -> None:
        for stored in found:
            body = stored.body
            if body["kind"] == PERMIT and self._holder is None and body["created_at"] >= self.floor:
                self.permit, self.floor = body["id"], body["created_at"]  # an earlier one has gone, whoever tells late
            self._see_instant(body["created_at"] if body["kind"] == AUDIT else body.get("updated_at"))

    def _see_instant(self, instant: str | None) -> None:
        if instant is not None and instant > self.latest:
            self.latest = instant


def stamp(store: TenantStore, now: datetime) -> datetime:
    """The instant of a change that begins now: no earlier than what its process has seen of the tenant."""
    seen = parse_rfc3339(store.latest) if store.latest else now
    floor = parse_rfc3339(store.floor) + TICK if store.floor else now
    return max(now, floor, seen if seen - now <= MAX_AHEAD else now)


def permit(id: str, at: str) -> Create:
    """The operation that lets a tenant's writes through: those stamped after `at`."""
    return Create(PERMIT, id, {"created_at": at})


def first_permit() -> Create:
    """The permit that a new tenant's partition begins with."""
    return permit("1", "1970-01-01T00:00:00.000000Z")


async def current(store: TenantStore) -> Stored:
    """The tenant's permit; `Fenced` where there is none."""
    page = await store.query(PERMIT, limit=1)
    if not page.items:
        raise Fenced
    return page.items[0]


async def opening(store: TenantStore) -> Stored:
    """The tenant's permit as it is now, whatever was known of it; what is read from now on is no older.

    One call where it is the one that is known. `Fenced` where there is none.
    """
    return await store.fresh(PERMIT, store.permit or UNKNOWN) or await current(store)


async def newest(store: TenantStore, known: str = "") -> str:
    """The instant of the tenant's newest journal entry, or `known` when that is later. One query."""
    page = await store.query(AUDIT, order=NEWEST_FIRST, limit=1)
    return max([known, *(str(stored.body["created_at"]) for stored in page.items)])


async def rotate(store: TenantStore, id: str, now: datetime) -> str:
    """A moment: every change stamped up to it is committed, every later commit is stamped after it. Two calls' work.

    `id` is the new permit's. Raises `Fenced`.
    """
    for _ in range(TRIES):
        old = await current(store.control)
        known = await newest(store.control, old.body["created_at"])
        moment = rfc3339(max(stamp(store.control, now), parse_rfc3339(known) + TICK))
        if parse_rfc3339(known) - now > MAX_AHEAD:
            extra = {"tenant_id": store.tenant_id, "stamped": known}
            logger.error("a clock was far ahead; what this tenant writes is stamped after it", extra=extra)
        try:
            await store.control.commit([Delete(PERMIT, old.body["id"], old.etag), permit(id, moment)])
            return moment
        except Rejected:  # somebody else has just rotated it, or closed the fence
            continue
    raise Unavailable("Others keep taking moments of this tenant.")


def _journals(one: Operation) -> TypeGuard[Create]:
    return isinstance(one, Create) and one.kind == AUDIT


def _instant(operations: Sequence[Operation]) -> str | None:
    """The instant that the journal entries of a change carry; None where nothing is journalled."""
    return min((one.body["created_at"] for one in operations if _journals(one)), default=None)

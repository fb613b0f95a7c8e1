"""The transactional outbox: events are committed with the change that caused them, then sent, then forgotten.

What a crash leaves behind is sent by the sweep; the message id is the event id, so a second send is dropped.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from shared.apart import apart
from shared.clock import Clock, rfc3339
from shared.database.port import Create, Database, Delete, Rejected, Stored, TenantStore
from shared.database.sweeps import swept
from shared.errors import FlowgridError, Unavailable
from shared.kinds import Kind
from shared.messaging.port import Message, Messaging, as_text
from shared.tenancy.directory import Directory
from shared.tracing import traceparent

logger = logging.getLogger("flowgrid.outbox")
OUTBOX = Kind("outbox", transient=True)
SWEEP_AFTER = timedelta(seconds=15)
AHEAD = timedelta(minutes=10)  # further in the future only since a clock was set back
FORGET_AFTER_SECONDS = 0.5  # so that many of a tenant go in one batch; much less than the sweep waits
FORGET_AT_ONCE = 100
FORGET_SIDE_BY_SIDE = 16  # tenants
SWEEP_PAGE = 200
SWEEP_PAGES = 20


async def a_moment() -> None:
    await asyncio.sleep(FORGET_AFTER_SECONDS)


class Outbox:
    """`pause`: what passes between sending and forgetting, so that many are forgotten at once."""

    def __init__(self, messaging: Messaging, pause: Callable[[], Awaitable[None]] = a_moment) -> None:
        self.pause = pause
        self._messaging = messaging
        self._sent: dict[TenantStore, list[str]] = {}
        self._forgetting: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()

    async def relay(self, store: TenantStore, committed: Sequence[tuple[str, Message]]) -> None:
        """Send what has just been committed, each to its queue; a failure is logged, and the sweep's to repair."""
        for queue in dict.fromkeys(queue for queue, _ in committed):
            messages = [message for target, message in committed if target == queue]
            try:
                await self._messaging.send(queue, messages)
            except FlowgridError as error:
                logger.warning("events stay in the outbox", extra={"tenant_id": store.tenant_id, "reason": str(error)})
                continue
            self._sent.setdefault(store, []).extend(message.id for message in messages)
        if self._sent and (self._forgetting is None or self._forgetting.done()):
            self._forgetting = asyncio.create_task(self._forget_soon())

    async def flush(self) -> None:
        """Delete the outbox items of everything sent so far."""
        async with self._flushing:
            while self._sent:
                some = [self._sent.popitem() for _ in range(min(len(self._sent), FORGET_SIDE_BY_SIDE))]
                await asyncio.gather(*(_forget_all(store, ids) for store, ids in some))

    async def _forget_soon(self) -> None:
        await self.pause()
        await self.flush()


def outbox_item(queue: str, message: Message, at: datetime) -> Create:
    """The operation that commits a message with the change that caused it; `TooLarge` when it could never be sent."""
    as_text(message)
    body = {"created_at": rfc3339(at), "queue": queue, "message": message.body}
    if cause := traceparent():
        body["traceparent"] = cause
    return Create(OUTBOX, message.id, body)


async def sweep_outbox(database: Database, directory: Directory, messaging: Messaging, clock: Clock) -> int:
    """Send what has been waiting for longer than a healthy relay takes; returns how many were sent.

    What cannot be sent or forgotten is left for the next sweep and stops nobody else's events: a tenant that is in
    trouble is left alone after its first. Those of a tenant that is gone stay where they are: nobody would count them.
    """
    now = clock.now()
    fresh = (rfc3339(now - SWEEP_AFTER), rfc3339(now + AHEAD))
    broken, hindered = set[str](), set[str]()
    stores, sent = dict[str, TenantStore](), defaultdict[str, list[str]](list)
    async for stored in swept(database, OUTBOX, page=SWEEP_PAGE, pages=SWEEP_PAGES):
        tenant_id, queue = stored.body["tenant_id"], stored.body["queue"]
        if fresh[0] <= stored.body["created_at"] <= fresh[1] or queue in broken or tenant_id in hindered:
            continue
        with apart(logger, "an event stays in the outbox", tenant_id=tenant_id):
            try:
                store = await directory.store(tenant_id)
            except Exception:
                hindered.add(tenant_id)
                raise
            if store is None:
                logger.warning("an event of a tenant that is gone stays in the outbox", extra={"tenant_id": tenant_id})
                continue
            if await _sent(messaging, stored, broken):
                stores[tenant_id] = store.control
                sent[tenant_id].append(stored.body["id"])
    for tenant_id, ids in sent.items():
        with apart(logger, "sent events stay in the outbox", tenant_id=tenant_id):
            await _forget_all(stores[tenant_id], ids)
    return sum(map(len, sent.values()))


async def _sent(messaging: Messaging, stored: Stored, broken: set[str]) -> bool:
    """Send one; a queue that does not take it is not asked again in this sweep."""
    queue = stored.body["queue"]
    body = stored.body
    message = Message(body["id"], body["tenant_id"], body["message"], body.get("traceparent", ""))
    try:
        await messaging.send(queue, [message])
    except Unavailable as error:
        broken.add(queue)
        logger.warning(
            "a queue takes nothing; its events stay in the outbox", extra={"queue": queue, "reason": str(error)}
        )
        return False
    return True


async def _forget_all(store: TenantStore, ids: Sequence[str]) -> None:
    """In batches, up to the first that the store has trouble with."""
    for start in range(0, len(ids), FORGET_AT_ONCE):
        if not await _forget(store, ids[start : start + FORGET_AT_ONCE]):
            return


async def _forget(store: TenantStore, ids: Sequence[str]) -> bool:
    """Whether they are gone."""
    try:
        await store.commit([Delete(OUTBOX, id) for id in ids])
    except Rejected:
        if len(ids) > 1:  # one of them is gone already: the sweep and the relay met
            for id in ids:
                if not await _forget(store, [id]):
                    return False
    except FlowgridError as error:
        logger.info("sent events stay in the outbox until the sweep", extra={"reason": str(error)})
        return False
    return True

"""The transactional outbox: events are committed with the change that caused them, then sent, then forgotten.

What a crash leaves behind is sent by the sweep; the message id is the event id, so a second send is dropped.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from shared.clock import Clock, rfc3339
from shared.database.port import Create, Database, Delete, Kind, Rejected, TenantStore, Where
from shared.errors import FlowgridError
from shared.messaging.port import Message, Messaging, encode
from shared.tenancy import Directory

logger = logging.getLogger("flowgrid.outbox")
SWEEP_AFTER = timedelta(seconds=15)
FORGET_AFTER_SECONDS = 0.05
FORGET_AT_ONCE = 100


class Outbox:
    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging
        self._sent: dict[TenantStore, list[str]] = {}
        self._forgetting: asyncio.Task[None] | None = None

    async def send(self, queue: str, messages: Sequence[Message]) -> None:
        """Send what need not be committed with anything; raises `Unavailable` when it cannot be taken."""
        await self._messaging.send(queue, messages)

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
        while self._sent:
            store, ids = self._sent.popitem()
            for start in range(0, len(ids), FORGET_AT_ONCE):
                await _forget(store, ids[start : start + FORGET_AT_ONCE])

    async def _forget_soon(self) -> None:
        await asyncio.sleep(FORGET_AFTER_SECONDS)
        await self.flush()


def outbox_item(queue: str, message: Message, at: datetime) -> Create:
    """The operation that commits a message with the change that caused it; `TooLarge` when it could never be sent."""
    encode(message)
    body = {"created_at": rfc3339(at), "queue": queue, "message": message.body}
    return Create(Kind.OUTBOX, message.id, body)


async def sweep_outbox(database: Database, directory: Directory, messaging: Messaging, clock: Clock) -> int:
    """Send what has been waiting for longer than a healthy relay takes; returns how many were sent."""
    before = rfc3339(clock.now() - SWEEP_AFTER)
    left = await database.platform.sweep(Kind.OUTBOX, [Where("created_at", "<", before)])
    for stored in left:
        tenant_id, id = stored.body["tenant_id"], stored.body["id"]
        await messaging.send(stored.body["queue"], [Message(id, tenant_id, stored.body["message"])])
        store = await directory.store(tenant_id)
        if store is not None:
            await _forget(store.control, [id])
    return len(left)


async def _forget(store: TenantStore, ids: Sequence[str]) -> None:
    try:
        await store.commit([Delete(Kind.OUTBOX, id) for id in ids])
    except Rejected:
        for id in ids:  # one of them is gone already: the sweep and the relay met
            await _forget_one(store, id)
    except FlowgridError as error:
        logger.info("sent events stay in the outbox until the sweep", extra={"reason": str(error)})


async def _forget_one(store: TenantStore, id: str) -> None:
    try:
        await store.commit([Delete(Kind.OUTBOX, id)])
    except Rejected:
        return

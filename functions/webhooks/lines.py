"""The lines: what a webhook is told is told by one at a time, one after the other, as it happened.

Whoever works on a line has its lease, and each write of his replaces the line by its ETag while he is its holder. So
two never write of one delivery, and what was acknowledged is recorded before the next is sent. A call takes fifteen
seconds at most, the lease sixty and what clocks may differ by, and it is renewed right before each call. What a crash
leaves, the sweep finds by `due_at`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from functions.webhooks.messages import look_at
from functions.webhooks.models import (
    FAILING_FOR,
    FORGIVEN_AFTER,
    KEPT_SECONDS,
    LEASE,
    MAX_ATTEMPTS,
    NEVER,
    SCHEDULE,
    SECONDS,
    Attempt,
    Delivery,
    Line,
    OffReason,
    Webhook,
    stored,
)
from functions.webhooks.sending import GONE, Answered, Ready, Sender
from shared.clock import SKEW, parse_rfc3339, rfc3339, runs
from shared.database.port import Delete, Increment, Operation, Rejected, Replace, Stored, Where
from shared.errors import Contended, FlowgridError, NotFound, Unavailable
from shared.messaging.port import Message, Messaging
from shared.work.change import Change
from shared.work.notices import notify
from shared.work.resources import Versioned
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.webhooks")
T = TypeVar("T")
Changes = dict[str, Any]
Pause = Callable[[float], Awaitable[None]]
AT_ONCE = 20  # deliveries for a message; another goes on
SLICE_SECONDS = 60.0
CANCELLED_AT_ONCE = 40
TRIES = 20  # at a line that is lengthened all the time
PAUSES = (0.1, 0.5, 2.0, 5.0)  # what was acknowledged is recorded, or it is told again
CALL = SKEW + timedelta(seconds=2 * SECONDS)  # so long a lease has to run yet when a call is made
SUSPENDED_FOR = timedelta(hours=1)  # then somebody looks again

UNFORESEEN = "The call failed here."
BUSY = "This line is changed all the time; look again."


class Lost(FlowgridError):
    """Another has this line now."""

    def __init__(self) -> None:
        super().__init__("This line was taken over by another.")


class Lines:
    """`work` on one of them."""

    def __init__(self, sender: Sender, messaging: Messaging, pause: Pause = asyncio.sleep) -> None:
        self._sender = sender
        self._messaging = messaging
        self._pause = pause

    async def work(self, tenant: TenantSession, id: str, *, urgent: bool = False) -> None:
        """Tell what is due, for a while, unless another is at it. `Unavailable`: its message comes again."""
        session = tenant.past_the_fence().without_key()
        line = await self._claim(session, id, urgent)
        if line is None:
            return
        clock, until = session.services.clock, session.services.clock.monotonic() + SLICE_SECONDS
        try:
            for _ in range(AT_ONCE):
                if not await self._next(session, line):
                    return
                if clock.monotonic() >= until:
                    break
            await self._let_go(session, line)
            await self._send(session, look_at(session.services.ids.new(), session.id, id, urgent=True))
        except Lost:
            logger.info("a line is in other hands", extra={"tenant_id": session.id, "webhook_id": id})
        except Unavailable:
            await self._given_up(session, line)
            raise

    async def _claim(self, session: TenantSession, id: str, urgent: bool) -> Line | None:
        """The line, held; None where there is nothing to do, or another does it."""
        for _ in range(TRIES):
            held = await session.store.get(Line.KIND, id)
            if held is None:
                return None
            line, now = Line.model_validate(held.body), session.services.clock.now()
            if line.holder and runs(line.lease_until, now, LEASE):
                return None
            waits = rfc3339(now) < line.due_at != NEVER
            if not urgent and (waits or not line.waiting):
                return None
            until = rfc3339(now + LEASE)
            mine = {"holder": session.services.ids.new(), "lease_until": until, "due_at": until}
            line = line.model_copy(update=mine)
            try:
                await session.store.commit([Replace(Line.KIND, id, stored(line), held.etag)])
            except Rejected:
                continue
            return line
        raise Contended(BUSY)

    async def _next(self, session: TenantSession, line: Line) -> bool:
        """Tell the first; False once the line is given back."""
        found = await session.store.get(Webhook.KIND, line.id)
        webhook = None if found is None else Webhook.model_validate(found.body)
        now = session.services.clock.now()
        if webhook is None or not webhook.enabled:
            return await self._cancel(session, line, gone=webhook is None)
        if session.entry.status not in ("active", "trial"):
            return await self._rest(session, line, rfc3339(now + SUSPENDED_FOR))
        first = await _first(session, line.id)
        if first is None:
            return await self._rest(session, line, NEVER)
        due_at = first.value.due_at if first.value.tried else None  # until then it is due, whatever clocks say
        if due_at is not None and due_at > rfc3339(now):
            return await self._rest(session, line, due_at)
        ready = await _foreseen(session, webhook, self._sender.ready(session, webhook))
        until = (await self._save(session, line)).lease_until
        if rfc3339(session.services.clock.now() + CALL) > until:  # it took long to write: once more
            return True
        if isinstance(ready, Ready):
            answered = await _foreseen(session, webhook, self._sender.send(ready, first.value))
        else:
            answered = ready
        failing = await self._record(session, line, first, answered)
        if answered.status == GONE:
            await _off(session, line.id, "gone")
        elif failing >= FAILING_FOR:
            await _off(session, line.id, "failing")
        return True

    async def _record(
        self, session: TenantSession, line: Line, told: Versioned[Delivery], answered: Answered
    ) -> timedelta:
        """What has come of an attempt; since when there are nothing but failures."""
        now, old = session.services.clock.now(), told.value
        made = Attempt(at=answered.at, milliseconds=answered.milliseconds, status=answered.status, error=answered.error)
        new = old.model_copy(update={"attempts": [*old.attempts, made][-MAX_ATTEMPTS:], "tried": old.tried + 1})
        if answered.ok or new.tried >= len(SCHEDULE):
            new = new.model_copy(update={"status": "succeeded" if answered.ok else "failed", "due_at": None})
        else:
            pause = max(SCHEDULE[new.tried], timedelta(seconds=answered.retry_after))
            new = new.model_copy(update={"due_at": rfc3339(now + pause)})
        ended = new.due_at is None
        write = Replace(Delivery.KIND, new.id, stored(new), told.etag, ttl=KEPT_SECONDS if ended else None)

        def after(line: Line) -> Changes:
            at = rfc3339(now)
            own: Changes = {"failing_since": None, "failed_at": None}
            if not answered.ok:
                own = {"failing_since": _failing_since(line, at), "failed_at": at}
            return {"waiting": line.waiting - int(ended), **own}

        try:
            since = (await self._save(session, line, [write], after, new)).failing_since
        except Lost:
            if answered.ok and ended:  # whoever has the line now must not tell it again
                await _acknowledge(session, line.id, write)
            raise
        return timedelta() if since is None else now - parse_rfc3339(since)

    async def _cancel(self, session: TenantSession, line: Line, *, gone: bool) -> bool:
        """What waits for a webhook that is off, some at a time; False once nothing does."""
        found = await session.store.query(Delivery.KIND, _waiting(line.id), limit=CANCELLED_AT_ONCE)
        if not found.items:
            clean = {"failing_since": None, "failed_at": None}
            return await (self._forget(session, line) if gone else self._rest(session, line, NEVER, **clean))
        writes: list[Operation] = []
        for one in found.items:
            over = Delivery.model_validate(one.body).model_copy(update={"status": "cancelled", "due_at": None})
            writes.append(Replace(Delivery.KIND, over.id, stored(over), one.etag, ttl=KEPT_SECONDS))
        await self._save(session, line, writes, lambda line: {"waiting": line.waiting - len(writes)})
        return True

    async def _rest(self, session: TenantSession, line: Line, due_at: str, **changes: str | None) -> bool:
        """Give the line back until then; True, and it is kept, where nothing was left and something has come in."""
        for _ in range(TRIES):
            fresh, held = await _held(session, line)
            if due_at == NEVER and fresh.waiting:
                return True
            rested = fresh.model_copy(update={"holder": None, "lease_until": "", "due_at": due_at, **changes})
            try:
                await session.store.commit([Replace(Line.KIND, line.id, stored(rested), held.etag)])
            except Rejected:
                continue
            if due_at != NEVER:
                delay = max(timedelta(), parse_rfc3339(due_at) - session.services.clock.now())
                await self._send(session, look_at(f"{line.id}:{due_at}", session.id, line.id), delay)
            return False
        raise Contended(BUSY)

    async def _forget(self, session: TenantSession, line: Line) -> bool:
        """The line of a webhook that has gone goes with the last that waited; True where something has come in."""
        fresh, held = await _held(session, line)
        if fresh.waiting:
            return True
        try:
            await session.store.commit([Delete(Line.KIND, line.id, held.etag)])
        except Rejected:
            return True
        return False

    async def _save(
        self,
        session: TenantSession,
        line: Line,
        writes: Sequence[Operation] = (),
        changes: Callable[[Line], Changes] = lambda _: {},
        made: Delivery | None = None,
    ) -> Line:
        """The line with these changes and a new lease, written in one batch with `writes`. Raises `Lost`.

        `made`: what one of the writes makes, by which a batch is known whose answer was lost.
        """
        pauses = iter(PAUSES)
        for _ in range(TRIES):
            try:
                fresh, held = await _held(session, line)
                until = rfc3339(session.services.clock.now() + LEASE)
                new = fresh.model_copy(update={"lease_until": until, "due_at": until, **changes(fresh)})
                await session.store.commit([Replace(Line.KIND, line.id, stored(new), held.etag), *writes])
                return new
            except Rejected as rejected:
                if rejected.index > 0:
                    if made is not None and await _is_written(session, made):
                        return fresh
                    raise Lost from rejected
            except Unavailable:
                pause = next(pauses, None)
                if pause is None:
                    raise
                await self._pause(pause)
        raise Contended(BUSY)

    async def _let_go(self, session: TenantSession, line: Line) -> None:
        """For whoever comes next: nobody has to wait for the lease."""
        for _ in range(TRIES):
            fresh, held = await _held(session, line)
            now = rfc3339(session.services.clock.now())
            free = fresh.model_copy(update={"holder": None, "lease_until": "", "due_at": now})
            try:
                return await session.store.commit([Replace(Line.KIND, line.id, stored(free), held.etag)])
            except Rejected:
                continue

    async def _given_up(self, session: TenantSession, line: Line) -> None:
        try:
            await self._let_go(session, line)
        except FlowgridError as error:
            extra = {"tenant_id": session.id, "webhook_id": line.id, "reason": error.message}
            logger.info("a line is left to the sweep", extra=extra)

    async def _send(self, session: TenantSession, message: Message, delay: timedelta | None = None) -> None:
        """What is not taken, the sweep sends."""
        try:
            await self._messaging.send(session.services.deliveries_queue, [message], delay=delay)
        except FlowgridError as error:
            logger.warning("a line is left to the sweep", extra={"tenant_id": session.id, "reason": error.message})


def _waiting(webhook_id: str) -> list[Where]:
    return [Where("webhook_id", "=", webhook_id), Where("status", "=", "queued")]


async def _first(session: TenantSession, webhook_id: str) -> Versioned[Delivery] | None:
    found = (await session.store.query(Delivery.KIND, _waiting(webhook_id), limit=1)).items
    return Versioned.of(Delivery, found[0]) if found else None


async def _held(session: TenantSession, line: Line) -> tuple[Line, Stored]:
    """The line as it is now. Raises `Lost` where it is not ours any more."""
    found = await session.store.get(Line.KIND, line.id)
    if found is None or found.body["holder"] != line.holder:
        raise Lost
    return Line.model_validate(found.body), found


async def _is_written(session: TenantSession, made: Delivery) -> bool:
    """Whether it was this that was written, by a commit whose answer was lost."""
    found = await session.store.get(Delivery.KIND, made.id)
    return found is not None and Delivery.model_validate(found.body) == made


async def _foreseen(session: TenantSession, webhook: Webhook, doing: Awaitable[T]) -> T | Answered:
    """What nobody has foreseen is a failed attempt as well: it counts, and is not tried for ever."""
    at = rfc3339(session.services.clock.now())
    try:
        return await doing
    except Unavailable:
        raise
    except Exception as error:
        extra = {"tenant_id": session.id, "webhook_id": webhook.id, "reason": type(error).__name__}
        logger.error("a call of a webhook failed as none should", extra=extra)
        return Answered(at, 0, error=UNFORESEEN)


async def _acknowledge(session: TenantSession, webhook_id: str, write: Operation) -> None:
    try:
        await session.store.commit([write, Increment(Line.KIND, webhook_id, {"waiting": -1})])
    except (Rejected, FlowgridError):
        logger.warning("a delivery may be told twice", extra={"tenant_id": session.id, "webhook_id": webhook_id})


def _failing_since(line: Line, now: str) -> str:
    """Of one to which nothing was sent for a day nobody knows: it begins anew."""
    forgotten = rfc3339(parse_rfc3339(now) - FORGIVEN_AFTER)
    return line.failing_since if line.failing_since and (line.failed_at or "") > forgotten else now


async def _off(session: TenantSession, id: str, reason: OffReason) -> None:
    """Switch a webhook off, and tell the tenant. One that has gone meanwhile is off."""
    why = "it answered 410 Gone" if reason == "gone" else f"every call has failed for {FAILING_FOR.days} days"
    text = (
        f"A webhook was switched off: {why}. What waited for it is cancelled. Enable it again (PATCH "
        "/api/v1/webhooks/{webhook_id}) and replay what it has missed (POST …/replay)."
    )

    async def told(change: Change, old: Webhook, new: Webhook) -> None:
        key = f"webhook_off:{id}:{new.revision}"
        notify(change, key, "webhook_off", "A webhook was switched off", text, {"webhook_id": id, "reason": reason})

    def off(old: Webhook) -> dict[str, object]:
        return {"enabled": False, "off_reason": reason} if old.enabled else {}

    try:
        await session.modify(Webhook, id, off, if_match=None, also=told, action="switched_off")
    except NotFound:
        return

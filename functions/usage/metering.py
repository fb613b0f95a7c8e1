"""Metering: each event is stored once and added to its hour, day and month in the same batch.

The event's id is its item's id, so a repeated delivery is refused by the store and never counted twice. What cannot
be counted is moved to the dead letters with its reason. What cannot be stored now is sent again, later: whatever is the
matter with one tenant, or with one event, the others of its delivery are stored and done with (decision 0023). What can
be neither stored nor sent again is a dead letter, too.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import zip_longest
from zlib import crc32

from functions.usage.dimensions import MAX_NAMES, OTHER, admit
from functions.usage.models import ROLLUP, UsageEvent
from functions.usage.reading import Event, Uncountable, read
from shared.clock import Clock, rfc3339
from shared.database.limits import MAX_OPERATIONS, patches
from shared.database.port import Create, Document, Increment, Operation, Rejected, TenantStore, Where
from shared.errors import Conflict, Contended, FlowgridError, Full, Unavailable
from shared.ids import is_uuid
from shared.jobs.deadletters import DeadLetters
from shared.kinds import Kind
from shared.messaging.again import again, attempts, pause
from shared.messaging.port import Message, Messaging
from shared.messaging.queues import DELIVERY_SECONDS, SENDING_SECONDS
from shared.tenancy.directory import Directory

logger = logging.getLogger("flowgrid.usage")
EVENT_KEPT_SECONDS = 100 * 86400
KEPT_SECONDS = {"hour": 100 * 86400, "day": 800 * 86400, "month": None}
TRIES = 20
SIDE_BY_SIDE = 8  # tenants of a delivery
LOOKS = 3  # again, for a tenant that no replica may have yet
PASSES = (Unavailable, Full, Conflict)  # what an event waits for as long as it counts at all
ATTEMPTS = 10  # that it has when anything else is in its way, before somebody should look at it
SEND_PAUSES = (2.0, 8.0, 20.0)  # before the sends of a broker that takes nothing are tried again


@dataclass(eq=False)
class Waiting:
    """A message of a delivery that is not done with yet; `at_least`: how many seconds it is not sent again for."""

    message: Message
    at_least: float = 0.0


Left = set[Waiting]
Carried = tuple[Waiting, Event]


class Metering:
    """`within`: the seconds that a delivery may take; what is left then is sent again, after a `pause` if need be."""

    def __init__(
        self,
        directory: Directory,
        dead_letters: DeadLetters,
        messaging: Messaging,
        clock: Clock,
        queue: str,
        *,
        within: float = DELIVERY_SECONDS,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = directory
        self._dead_letters = dead_letters
        self._messaging = messaging
        self._clock = clock
        self._queue = queue
        self._within = within
        self._pause = pause

    async def store(self, messages: Sequence[Message]) -> None:
        """Store a delivery of events; raises when the broker takes nothing of what is left: then all of it comes back.

        Not at once, for it comes back without a pause, and ten times only: ten such deliveries take five minutes.
        """
        left = {Waiting(message) for message in messages}
        try:
            async with asyncio.timeout(self._within):
                await self._work(left)
        except TimeoutError:
            logger.warning("a delivery of usage events took too long", extra={"left": len(left)})
        async with asyncio.timeout(SENDING_SECONDS):
            await self._send_again(left)

    async def _work(self, left: Left) -> None:
        """Take out of `left` what is stored or a dead letter."""
        now, by_tenant = self._clock.now(), defaultdict[str, list[Carried]](list)
        slots = asyncio.Semaphore(SIDE_BY_SIDE)

        async def in_turn(own: Sequence[Waiting], work: Callable[[], Awaitable[None]]) -> None:
            async with slots:
                try:
                    await work()
                except Exception as error:  # of whatever kind: it is this tenant's, or this message's
                    _keep(own, error)

        async with asyncio.TaskGroup() as group:
            for waiting in list(left):
                try:
                    event = read(waiting.message, now)
                except Exception as error:
                    reason = str(error) if isinstance(error, Uncountable) else f"it cannot be read: {error!r}"
                    group.create_task(in_turn([waiting], partial(self._bury, waiting, reason, left)))
                else:
                    by_tenant[waiting.message.tenant_id].append((waiting, event))
            for tenant_id, own in _by_turns(by_tenant):
                messages = [waiting for waiting, _ in own]
                group.create_task(in_turn(messages, partial(self._tenant, tenant_id, own, left)))

    async def _tenant(self, tenant_id: str, own: list[Carried], left: Left) -> None:
        messages, unnamed = [waiting for waiting, _ in own], not is_uuid(tenant_id)
        try:
            store = None if unnamed else await self._directory.store(tenant_id)
        except Exception as error:
            await self._failed(messages, error, left)
            return
        if store is not None:
            await self._store(store, own, left)
            return
        for waiting in messages:
            if unnamed or attempts(waiting.message) >= LOOKS:
                await self._bury(waiting, f"there is no tenant {tenant_id or '(none named)'}", left)

    async def _store(self, store: TenantStore, own: list[Carried], left: Left) -> None:
        """Together; each alone where that fails for what does not pass, so that one event spoils no other."""
        try:
            await store_events(store, list({event.id: event for _, event in own}.values()))
        except Exception as error:
            if len(own) > 1 and not isinstance(error, PASSES):
                for one in own:
                    await self._store(store, [one], left)
            else:
                await self._failed([waiting for waiting, _ in own], error, left)
            return
        left.difference_update(waiting for waiting, _ in own)

    async def _failed(self, own: Sequence[Waiting], error: Exception, left: Left) -> None:
        """Keep what waits for something that passes, and the rest until it has had its attempts."""
        _keep(own, error)
        for waiting in own:
            if not isinstance(error, PASSES) and attempts(waiting.message) >= ATTEMPTS:
                await self._bury(waiting, f"it could not be stored: {type(error).__name__} {error}", left)

    async def _bury(self, waiting: Waiting, reason: str, left: Left) -> None:
        await self._dead_letters.add(self._queue, waiting.message, reason)
        left.discard(waiting)

    async def _send_again(self, left: Left) -> None:
        """Raises what is in the way of what is still left after the last pause."""
        for seconds in (*SEND_PAUSES, None):
            due: dict[timedelta, list[Waiting]] = defaultdict(list)
            for one in left:
                due[pause(attempts(one.message), at_least=one.at_least)].append(one)
            sends = [self._send(own, delay, left) for delay, own in due.items()]
            troubles = [trouble for trouble in await asyncio.gather(*sends) if trouble is not None]
            if not troubles:
                return
            if seconds is None:
                raise troubles[0]
            logger.warning("usage events cannot be sent again", extra={"left": len(left), "reason": str(troubles[0])})
            await self._pause(seconds)

    async def _send(self, own: list[Waiting], delay: timedelta, left: Left) -> Exception | None:
        """Together; by halves where that is no fault of the broker's, until the one is found that is a dead letter."""
        try:
            await self._messaging.send(self._queue, [again(one.message) for one in own], delay=delay)
        except Unavailable as error:
            return error
        except Exception as error:
            if len(own) > 1:
                halves = own[: len(own) // 2], own[len(own) // 2 :]
                troubles = [await self._send(half, delay, left) for half in halves]
                return troubles[0] or troubles[1]
            try:
                await self._bury(own[0], f"it cannot be sent again: {error}", left)
            except Exception as trouble:
                return trouble
        left.difference_update(own)
        return None


def _by_turns(by_tenant: Mapping[str, list[Carried]]) -> list[tuple[str, list[Carried]]]:
    """Who has waited and who has not, one of each in turn, so that those that hang, old or new, starve neither.

    Those that have waited come in an order by lot, another one each time: a message's id says its attempt.
    """
    new, waited = list[tuple[str, list[Carried]]](), list[tuple[str, list[Carried]]]()
    for tenant_id, own in by_tenant.items():
        (waited if any(attempts(waiting.message) for waiting, _ in own) else new).append((tenant_id, own))
    waited.sort(key=lambda one: crc32("".join(waiting.message.id for waiting, _ in one[1]).encode(errors="replace")))
    return [one for pair in zip_longest(new, waited) for one in pair if one is not None]


def _keep(own: Sequence[Waiting], error: Exception) -> None:
    """Note what stands in the way of a tenant's messages: those that are left are sent again."""
    for waiting in own:
        waiting.at_least = float(getattr(error, "retry_after", 0))
    logger.warning(
        "usage events are sent again",
        exc_info=None if isinstance(error, FlowgridError) else error,
        extra={"tenant_id": own[0].message.tenant_id, "events": len(own), "reason": str(error)},
    )


async def store_events(store: TenantStore, events: list[Event]) -> None:
    """Batches of as many events as fit beside the rollups that they move."""
    batch: list[Event] = []
    moved: dict[str, set[str]] = {}  # the fields of each rollup
    for event in sorted(events, key=lambda event: event.at):
        wider = moved | {id: moved.get(id, set()) | event.fields for id in event.rollup_ids}
        if len(batch) + 1 + sum(patches(len(fields)) for fields in wider.values()) > MAX_OPERATIONS:
            await _commit(store, batch)
            batch, wider = [], {id: event.fields for id in event.rollup_ids}
        batch.append(event)
        moved = wider
    await _commit(store, batch)


async def _commit(store: TenantStore, events: list[Event]) -> None:
    for _ in range(TRIES):
        if not events:
            return
        rollups = await _found(store, ROLLUP, {id for event in events for id in event.rollup_ids})
        try:
            await store.commit(_operations(events, rollups))
            return
        except Rejected:
            known = await _found(store, UsageEvent.KIND, {event.id for event in events})
            events = [event for event in events if event.id not in known]
    raise Contended("Others keep moving the same rollups.")


async def _found(store: TenantStore, kind: Kind, ids: set[str]) -> dict[str, Document]:
    page = await store.query(kind, [Where("id", "in", sorted(ids))])
    return {stored.body["id"]: stored.body for stored in page.items}


def _operations(events: list[Event], rollups: Mapping[str, Document]) -> list[Operation]:
    operations: list[Operation] = [
        Create(
            UsageEvent.KIND,
            event.id,
            {"created_at": rfc3339(event.at), "metric": event.metric.value, "value": event.value, "data": event.data},
            ttl=EVENT_KEPT_SECONDS,
        )
        for event in events
    ]
    moving: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        for id in event.rollup_ids:
            moving[id].append(event)
    for id, own in moving.items():
        found = rollups.get(id)
        operations.append(_new_rollup(id, own) if found is None else _moved_rollup(id, own, found))
    return operations


def _new_rollup(id: str, events: Sequence[Event]) -> Create:
    metric, period, start = id.split(":", 2)
    dimensions = _divided(events, {}, 0)
    body = {
        "created_at": start,
        "metric": metric,
        "period": period,
        "start": start,
        "value": sum(event.value for event in events),
        "count": len(events),
        "dimensions": dimensions,
        "names": len(dimensions.keys() - {OTHER}),
    }
    return Create(ROLLUP, id, body, ttl=KEPT_SECONDS[period])


def _moved_rollup(id: str, events: Sequence[Event], found: Document) -> Increment:
    """New names are counted under a bound, so that two who add the last ones at once do not both."""
    dimensions = _divided(events, found["dimensions"], found.get("names", 0))
    amounts = {"value": sum(event.value for event in events), "count": len(events)}
    amounts |= {f"dimensions.{name}": value for name, value in dimensions.items()}
    new = len(dimensions.keys() - found["dimensions"].keys() - {OTHER})
    if not new:
        return Increment(ROLLUP, id, amounts)
    return Increment(ROLLUP, id, {**amounts, "names": new}, {"names": MAX_NAMES})


def _divided(events: Sequence[Event], known: Mapping[str, int], counted: int) -> dict[str, int]:
    """What the events add to each name of a rollup."""
    wanted = [event.dimension for event in events if event.dimension is not None]
    admitted = admit(wanted, known, counted)
    added: dict[str, int] = defaultdict(int)
    for event in events:
        if event.dimension is not None:
            added[event.dimension if event.dimension in admitted else OTHER] += event.value
    return dict(added)

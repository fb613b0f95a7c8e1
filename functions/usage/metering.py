"""Metering: of each delivery, a tenant's events of an hour are stored together, as one block that is never changed.

What comes again is dropped when blocks are read (functions/usage/tally.py). What cannot be counted is moved to the dead
letters with its reason. What cannot be stored now, or lies ahead of the clock, is sent again, later: whatever is the
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

from functions.usage.blocks import pack, pack_voids
from functions.usage.hours import Hours
from functions.usage.reading import Early, Event, Uncountable, Voids, read
from shared.clock import Clock
from shared.database.port import TenantStore
from shared.errors import Conflict, FlowgridError, Full, Unavailable
from shared.ids import is_uuid
from shared.jobs.deadletters import DeadLetters
from shared.messaging.again import LONGEST_HOLD, again, attempts, held, pause
from shared.messaging.port import Message, Messaging
from shared.messaging.queues import DELIVERY_SECONDS, SENDING_SECONDS
from shared.tenancy.directory import Directory

logger = logging.getLogger("flowgrid.usage")
SIDE_BY_SIDE = 8  # tenants of a delivery
LOOKS = 3  # again, for a tenant that no replica may have yet
PASSES = (Unavailable, Full, Conflict)  # what an event waits for as long as it counts at all
ATTEMPTS = 10  # that it has when anything else is in its way, before somebody should look at it
SEND_PAUSES = (2.0, 8.0, 20.0)  # before the sends of a broker that takes nothing are tried again


@dataclass(eq=False)
class Waiting:
    """A message of a delivery that is not done with yet; `at_least`: how many seconds it is not sent again for.

    `due_in`: of an event that lies ahead of the clock, which is no failure.
    """

    message: Message
    at_least: float = 0.0
    due_in: timedelta | None = None

    @property
    def again(self) -> Message:
        return again(self.message) if self.due_in is None else held(self.message, self.due_in)

    @property
    def delay(self) -> timedelta:
        if self.due_in is None:
            return pause(attempts(self.message), at_least=self.at_least)
        return min(self.due_in, LONGEST_HOLD)


Left = set[Waiting]
Carried = tuple[Waiting, Event | Voids]


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
        self._hours = Hours()

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
                except Early as early:
                    waiting.due_in = early.due_in
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
            for block in pack(event for _, event in own if isinstance(event, Event)):
                await self._hours.add(store, block)
            for _, voids in own:
                if isinstance(voids, Voids):
                    await self._hours.add(store, pack_voids(voids))
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
                due[one.delay].append(one)
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
            await self._messaging.send(self._queue, [one.again for one in own], delay=delay)
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

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
from datetime import timedelta
from functools import partial
from itertools import zip_longest
from zlib import crc32

from functions.usage.blocks import pack, pack_voids
from functions.usage.delivery import Delivery, Place
from functions.usage.hours import Hours
from functions.usage.reading import Early, Event, Uncountable, Voids, read
from shared.clock import Clock
from shared.database.port import TenantStore
from shared.errors import Conflict, FlowgridError, Full, Unavailable
from shared.ids import is_uuid
from shared.jobs.deadletters import DeadLetters
from shared.messaging.port import Message, Messaging
from shared.messaging.queues import DELIVERY_SECONDS, SENDING_SECONDS
from shared.telemetry.log import reason_of
from shared.tenancy.directory import Directory

logger = logging.getLogger("flowgrid.usage")
SIDE_BY_SIDE = 8  # tenants of a delivery
LOOKS = 3  # again, for a tenant that no replica may have yet
PASSES = (Unavailable, Full, Conflict)  # what an event waits for as long as it counts at all
ATTEMPTS = 10  # that it has when anything else is in its way, before somebody should look at it
SEND_PAUSES = (2.0, 8.0, 20.0)  # before the sends of a broker that takes nothing are tried again


Carried = tuple[Place, Event | Voids]


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
        delivery = Delivery(messages)
        try:
            async with asyncio.timeout(self._within):
                await self._work(delivery)
        except TimeoutError:
            logger.warning("a delivery of usage events took too long", extra={"left": len(delivery.left)})
        async with asyncio.timeout(SENDING_SECONDS):
            await self._send_again(delivery)

    async def _work(self, delivery: Delivery) -> None:
        """What is stored or a dead letter is no longer left."""
        now, by_tenant = self._clock.now(), defaultdict[str, list[Carried]](list)
        slots = asyncio.Semaphore(SIDE_BY_SIDE)

        async def in_turn(own: Sequence[Place], work: Callable[[], Awaitable[None]]) -> None:
            async with slots:
                try:
                    await work()
                except Exception as error:  # of whatever kind: it is this tenant's, or this message's
                    _keep(delivery, own, error)

        async with asyncio.TaskGroup() as group:
            for place, message in delivery:
                try:
                    event = read(message, now)
                except Early as early:
                    delivery.hold(place, early.due_in)
                except Uncountable as wrong:
                    group.create_task(in_turn([place], partial(self._bury, delivery, place, str(wrong))))
                except Exception as error:
                    reason = f"it cannot be read: {reason_of(error)}"
                    group.create_task(in_turn([place], partial(self._bury, delivery, place, reason)))
                else:
                    by_tenant[message.tenant_id].append((place, event))
            for tenant_id, own in _by_turns(delivery, by_tenant):
                places = [place for place, _ in own]
                group.create_task(in_turn(places, partial(self._tenant, delivery, tenant_id, own)))

    async def _tenant(self, delivery: Delivery, tenant_id: str, own: list[Carried]) -> None:
        places, unnamed = [place for place, _ in own], not is_uuid(tenant_id)
        try:
            store = None if unnamed else await self._directory.store(tenant_id)
        except Exception as error:
            await self._failed(delivery, places, error)
            return
        if store is not None:
            await self._store(delivery, store, own)
            return
        for place in places:
            if unnamed or delivery.attempts(place) >= LOOKS:
                await self._bury(delivery, place, f"there is no tenant {tenant_id or '(none named)'}")

    async def _store(self, delivery: Delivery, store: TenantStore, own: list[Carried]) -> None:
        """Together; each alone where that fails for what does not pass, so that one event spoils no other."""
        places = [place for place, _ in own]
        try:
            for block in pack([event for _, event in own if isinstance(event, Event)]):
                await self._hours.add(store, block)
            for _, voids in own:
                if isinstance(voids, Voids):
                    await self._hours.add(store, pack_voids(voids))
        except Exception as error:
            if len(own) > 1 and not isinstance(error, PASSES):
                for one in own:
                    await self._store(delivery, store, [one])
            else:
                await self._failed(delivery, places, error)
            return
        delivery.done(places)

    async def _failed(self, delivery: Delivery, own: Sequence[Place], error: Exception) -> None:
        """Keep what waits for something that passes, and the rest until it has had its attempts."""
        _keep(delivery, own, error)
        for place in own:
            if not isinstance(error, PASSES) and delivery.attempts(place) >= ATTEMPTS:
                await self._bury(delivery, place, f"it could not be stored: {reason_of(error)}")

    async def _bury(self, delivery: Delivery, place: Place, reason: str) -> None:
        await self._dead_letters.add(self._queue, delivery.messages[place], reason)
        delivery.done([place])

    async def _send_again(self, delivery: Delivery) -> None:
        """Raises what is in the way of what is still left after the last pause."""
        for seconds in (*SEND_PAUSES, None):
            due: dict[timedelta, list[Place]] = defaultdict(list)
            for place in delivery.left:
                due[delivery.delay(place)].append(place)
            sends = [self._send(delivery, own, delay) for delay, own in due.items()]
            troubles = [trouble for trouble in await asyncio.gather(*sends) if trouble is not None]
            if not troubles:
                return
            if seconds is None:
                raise troubles[0]
            extra = {"left": len(delivery.left), "reason": reason_of(troubles[0])}
            logger.warning("usage events cannot be sent again", extra=extra)
            await self._pause(seconds)

    async def _send(self, delivery: Delivery, own: list[Place], delay: timedelta) -> Exception | None:
        """Together; by halves where that is no fault of the broker's, until the one is found that is a dead letter."""
        try:
            await self._messaging.send(self._queue, [delivery.again(place) for place in own], delay=delay)
        except Unavailable as error:
            return error
        except Exception as error:
            if len(own) > 1:
                halves = own[: len(own) // 2], own[len(own) // 2 :]
                troubles = [await self._send(delivery, half, delay) for half in halves]
                return troubles[0] or troubles[1]
            try:
                await self._bury(delivery, own[0], f"it cannot be sent again: {reason_of(error)}")
            except Exception as trouble:
                return trouble
        delivery.done(own)
        return None


def _by_turns(delivery: Delivery, by_tenant: Mapping[str, list[Carried]]) -> list[tuple[str, list[Carried]]]:
    """Who has waited and who has not, one of each in turn, so that those that hang, old or new, starve neither.

    Those that have waited come in an order by lot, another one each time: a message's id says its attempt.
    """
    new, waited = list[tuple[str, list[Carried]]](), list[tuple[int, tuple[str, list[Carried]]]]()
    for tenant_id, own in by_tenant.items():
        if delivery.has_waited(place for place, _ in own):
            ids = "".join(delivery.messages[place].id for place, _ in own)
            waited.append((crc32(ids.encode(errors="replace")), (tenant_id, own)))
        else:
            new.append((tenant_id, own))
    waited.sort(key=lambda one: one[0])
    return [one for pair in zip_longest(new, [one for _, one in waited]) for one in pair if one is not None]


def _keep(delivery: Delivery, own: Sequence[Place], error: Exception) -> None:
    """Note what stands in the way of a tenant's messages: those that are left are sent again."""
    delivery.keep(own, float(getattr(error, "retry_after", 0)))
    logger.warning(
        "usage events are sent again",
        exc_info=None if isinstance(error, FlowgridError) else error,
        extra={"tenant_id": delivery.messages[own[0]].tenant_id, "events": len(own), "reason": reason_of(error)},
    )

"""Metering over a real queue: what Service Bus may do to messages changes no sum.

The real SDK on both ends, the double between; the handler is the one that the usage queue's function calls.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from azure.servicebus.exceptions import MessageLockLostError

from functions.usage.metering import Metering
from local.servicebus import ServiceBusReceiving
from shared.clock import SystemClock
from shared.database.sqlite import SqliteDatabase
from shared.ids import PLATFORM_TENANT_ID, Uuid7Ids
from shared.jobs.deadletters import DeadLetters
from shared.messaging.port import Message
from shared.messaging.receiving import Lease
from shared.messaging.servicebus import ServiceBusMessaging
from shared.tenancy.directory import Directory
from shared.work.events import Metric, usage_event
from shared.work.resources import PageRequest
from tests.doubles.servicebus import ServiceBusDouble
from tests.doubles.usage import total_and_count

QUEUE = "usage-events"
TENANT = PLATFORM_TENANT_ID  # always there, so that no onboarding is needed


class Metered:
    """A queue of usage events and what becomes of them."""

    def __init__(self, double: ServiceBusDouble, folder: Path) -> None:
        clock = SystemClock()
        self.double = double
        self.messaging = ServiceBusMessaging(
            namespace="", emulator_connection=double.connection, health_queue=QUEUE, clock=clock
        )
        self.receiving = ServiceBusReceiving(double.connection)
        self.database = SqliteDatabase(folder, clock)
        self.directory = Directory(self.database, clock)
        self.dead_letters = DeadLetters(self.database, self.messaging, clock)
        self.metering = Metering(self.directory, self.dead_letters, self.messaging, clock, QUEUE)
        self._ids, self._clock = Uuid7Ids(), clock

    def events(self, count: int) -> list[Message]:
        now = self._clock.now()
        return [
            usage_event(Metric.API_CALLS, id=self._ids.new(), tenant_id=TENANT, at=now, value=1, operation="get_me")
            for _ in range(count)
        ]

    async def handle(self, *, complete: bool = True) -> int:
        """One delivery through the handler; without `complete` as if the worker had died right after it."""
        lease = await self.receiving.receive(QUEUE, most=100)
        if lease.messages:
            await self.metering.store([message for message, _ in lease.messages])
            if complete:
                with suppress(MessageLockLostError):  # on a busy machine; what is not completed comes again
                    await self.receiving.complete(lease)
        return len(lease.messages)

    async def handle_all(self) -> None:
        while self.double.waiting(QUEUE):
            await self.handle()

    async def sum(self) -> tuple[int, int]:
        """What was counted, and the number of stored events."""
        store = await self.directory.store(TENANT)
        assert store is not None
        return await total_and_count(store)

    async def close(self) -> None:
        await self.receiving.close()
        await self.messaging.close()
        await self.database.close()


@pytest.fixture
async def metered(double: ServiceBusDouble, tmp_path: Path) -> AsyncIterator[Metered]:
    one = Metered(double, tmp_path)
    yield one
    await one.close()


async def received(metered: Metered) -> Lease:
    for _ in range(100):
        lease = await metered.receiving.receive(QUEUE)
        if lease.messages:
            break
    return lease


async def send(metered: Metered, messages: Sequence[Message]) -> None:
    await metered.messaging.send(QUEUE, messages)


async def test_duplicates_within_and_across_sends_count_once(metered: Metered) -> None:
    events = metered.events(40)
    await send(metered, [*events, *events[:10]])
    await send(metered, events[20:])
    await metered.handle_all()
    assert await metered.sum() == (40, 40)


async def test_a_lost_lock_redelivers_what_was_stored_and_changes_nothing(metered: Metered) -> None:
    await send(metered, metered.events(60))
    await metered.handle(complete=False)
    metered.double.expire_locks()
    await metered.handle_all()
    assert await metered.sum() == (60, 60)


async def test_a_worker_that_dies_before_completing_loses_and_doubles_nothing(metered: Metered) -> None:
    await send(metered, metered.events(30))
    for _ in range(3):
        assert await metered.handle(complete=False) == 30
        metered.double.expire_locks()
    await metered.handle_all()
    assert await metered.sum() == (30, 30)


async def test_one_poisoned_message_is_moved_aside_and_the_others_are_stored(metered: Metered) -> None:
    events = metered.events(99)
    metered.double.put_raw(QUEUE, b"{not json", id="poison", properties={"tenant_id": TENANT})
    await send(metered, events)
    await metered.handle_all()
    assert await metered.sum() == (99, 99)
    listed = await metered.dead_letters.list(PageRequest(10))
    assert [(one.message_id, one.reason) for one in listed.items] == [("poison", "the body is not a JSON object")]
    assert metered.double.waiting(QUEUE) == 0


@pytest.mark.parametrize("accepted", [False, True], ids=["before it is taken", "after it is taken"])
async def test_a_send_that_is_cut_off_arrives_once(metered: Metered, accepted: bool) -> None:
    events = metered.events(5)
    await send(metered, events[:1])
    metered.double.drop_next_send(accepted=accepted)
    await send(metered, events[1:])
    await metered.handle_all()
    assert await metered.sum() == (5, 5)


async def test_what_the_queue_gives_up_on_is_collected_into_the_same_list(metered: Metered) -> None:
    await send(metered, metered.events(1))
    for _ in range(10):
        assert (await received(metered)).messages
        metered.double.expire_locks()
    assert await metered.dead_letters.collect(QUEUE) == 1
    listed = await metered.dead_letters.list(PageRequest(10))
    assert [one.reason for one in listed.items] == ["MaxDeliveryCountExceeded"]
    assert await metered.messaging.dead(QUEUE) == []


async def test_a_dead_letter_that_is_replayed_is_counted(metered: Metered) -> None:
    (event,) = metered.events(1)
    await metered.dead_letters.add(QUEUE, event, "the store was away")
    (letter,) = (await metered.dead_letters.list(PageRequest(1))).items
    await metered.dead_letters.replay(letter.id)
    await metered.handle_all()
    assert await metered.sum() == (1, 1)

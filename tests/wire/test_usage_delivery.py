"""Deliveries of usage events as the Functions host makes them, on Service Bus and Cosmos DB, with trouble in them."""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.amqp import AmqpAnnotatedMessage

import function_app
from functions.kinds import KINDS
from functions.usage.metering import Metering
from shared.clock import SystemClock
from shared.core import core
from shared.messaging.port import Message
from shared.settings import Settings
from shared.work.events import Metric, usage_event
from shared.work.resources import PageRequest
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_record import Fault
from tests.doubles.cosmos_setup import KEY
from tests.doubles.functions_listener import Listener
from tests.doubles.servicebus import ServiceBusDouble
from tests.doubles.usage import total_and_count
from tests.unit.world import register

QUEUE = "usage-events"
HEALTHY = [f"0190c2a8-7e10-7abc-8def-0000000000{number:02}" for number in range(18)]
FULL = "0190c2a8-7e10-7abc-8def-000000000050"
UNKNOWN = "0190c2a8-7e10-7abc-8def-000000000060"
PARTITION_FULL = Fault("Batch", status=403, sub_status=1014, times=10**9, partition_key=FULL)


class Instance:
    """The app on the doubles, with the host's listener of its usage queue."""

    def __init__(self, cosmos: CosmosDouble, bus: ServiceBusDouble, folder: Path) -> None:
        settings = Settings.load(
            {
                "FLOWGRID_DATABASE": "cosmos",
                "FLOWGRID_COSMOS_ENDPOINT": cosmos.endpoint,
                "FLOWGRID_COSMOS_EMULATOR_KEY": KEY,
                "FLOWGRID_MESSAGING": "servicebus",
                "FLOWGRID_SERVICEBUS_EMULATOR": bus.connection,
                "FLOWGRID_DATA_DIR": str(folder),
                "ServiceBusConnection": bus.connection,
            }
        )
        self.core = core(settings, KINDS)
        self.listener = Listener(function_app.compose(self.core), settings, "store_usage", bus.connection)

    def event(self, tenant_id: str, value: int) -> Message:
        id, now = self.core.services.ids.new(), self.core.services.clock.now()
        return usage_event(Metric.EXECUTIONS, id=id, tenant_id=tenant_id, at=now, value=value)

    async def send(self, messages: list[Message]) -> None:
        await self.core.adapters.messaging.send(QUEUE, messages)

    async def totals(self, *tenants: str) -> dict[str, tuple[int, int]]:
        """By tenant: the value, and how many events are stored."""
        found = {}
        for tenant_id in tenants:
            store = await self.core.directory.store(tenant_id)
            assert store is not None
            found[tenant_id] = await total_and_count(store)
        return found

    async def dead(self) -> list[str]:
        return sorted(letter.reason for letter in (await self.core.dead_letters.list(PageRequest(200))).items)

    async def consume(self, messages: list[Message]) -> None:
        """Store a delivery without the queue; nothing of it may be left."""
        messaging: Any = None  # nothing is to be sent again
        await Metering(self.core.directory, self.core.dead_letters, messaging, SystemClock(), QUEUE).store(messages)

    async def close(self) -> None:
        await self.listener.close()
        await self.core.close()


@pytest.fixture
async def instance(cosmos: CosmosDouble, double: ServiceBusDouble, tmp_path: Path) -> AsyncIterator[Instance]:
    cosmos.reset(time.time)
    one = Instance(cosmos, double, tmp_path)
    for tenant_id in [*HEALTHY, FULL]:
        await register(one.core, tenant_id)
    cosmos.forget()
    yield one
    await one.close()


def sums(messages: list[Message]) -> dict[str, tuple[int, int]]:
    values, counts = Counter[str](), Counter[str]()
    for message in messages:
        values[message.tenant_id] += message.body["data"]["value"]
        counts[message.tenant_id] += 1
    return {tenant_id: (values[tenant_id], counts[tenant_id]) for tenant_id in counts}


UNREADABLE = "the body is not a JSON object"


async def sent_with_trouble(instance: Instance, cosmos: CosmosDouble, bus: ServiceBusDouble) -> list[Message]:
    """100 messages of 20 tenants: one throttled, one full, one unknown; two bodies that are no JSON."""
    events = [instance.event(HEALTHY[number % 18], number) for number in range(96)]
    await instance.send([*events[:50], instance.event(UNKNOWN, 1), instance.event(FULL, 7), *events[50:]])
    for number in range(2):
        bus.put_raw(QUEUE, b"<xml/>", id=f"bad-{number}", properties={"tenant_id": HEALTHY[0]})
    throttled = Fault("Batch", status=429, sub_status=3200, retry_after_ms=20, partition_key=HEALTHY[3])
    cosmos.fail(throttled, PARTITION_FULL)
    return events


async def test_of_100_messages_with_a_throttled_a_full_and_an_unknown_tenant_and_two_bad_bodies_96_are_stored_at_once(
    instance: Instance, cosmos: CosmosDouble, double: ServiceBusDouble
) -> None:
    events = await sent_with_trouble(instance, cosmos, double)
    first = await instance.listener.deliver()
    assert (len(first.ids), first.error) == (100, None)
    assert await instance.totals(*HEALTHY) == sums(events)
    assert sum(count for _, count in (await instance.totals(*HEALTHY)).values()) == 96
    assert (await instance.dead(), double.waiting(QUEUE)) == ([UNREADABLE, UNREADABLE], 2)

    for again, seconds in enumerate((5, 10, 20), 1):
        assert (await instance.listener.deliver()).ids == []
        double.forward(seconds)
        assert {id.partition(":")[2] for id in (await instance.listener.deliver()).ids} == {f"resent:{again}"}
    assert await instance.dead() == [UNREADABLE, UNREADABLE, f"there is no tenant {UNKNOWN}"]
    assert (await instance.totals(FULL), double.waiting(QUEUE)) == ({FULL: (0, 0)}, 1)

    cosmos.forget()  # somebody has made room
    double.forward(40)
    assert len((await instance.listener.deliver()).ids) == 1
    assert await instance.totals(*HEALTHY, FULL) == sums(events) | {FULL: (7, 1)}
    assert (len(await instance.dead()), double.waiting(QUEUE)) == (3, 0)


async def test_the_same_hundred_again_after_their_worker_has_died_change_no_total_and_send_nothing_twice(
    instance: Instance, cosmos: CosmosDouble, double: ServiceBusDouble
) -> None:
    events = await sent_with_trouble(instance, cosmos, double)
    first = await instance.listener.deliver(settle=False)
    double.expire_locks()
    second = await instance.listener.deliver()
    assert set(first.ids) == set(second.ids) and first.ids != second.ids
    assert await instance.totals(*HEALTHY) == sums(events)
    assert (await instance.dead(), double.waiting(QUEUE)) == ([UNREADABLE, UNREADABLE], 2)


async def test_one_message_that_cannot_be_sent_again_kills_no_good_event_of_a_tenant_that_waits(
    instance: Instance, double: ServiceBusDouble, cosmos: CosmosDouble
) -> None:
    cosmos.fail(PARTITION_FULL)
    await instance.send([instance.event(FULL, 7)])
    text = json.dumps(instance.event(UNKNOWN, 1).body)
    grows = f'{text[:-1]}, "more": [{",".join(["1e9"] * 50_000)}]}}'  # 200 KB, and 600 when it is written again
    double.put_raw(QUEUE, grows.encode(), id="grows", properties={"tenant_id": UNKNOWN})
    assert (await instance.listener.deliver()).error is None
    assert [reason[:26] for reason in await instance.dead()] == ["it cannot be sent again: M"]
    assert double.waiting(QUEUE) == 1


@pytest.mark.parametrize("id", ["x:resent:" + "9" * 119, "y" * 100 + ":resent:" + "9" * 20])
async def test_what_has_an_id_of_somebody_elses_can_be_sent_again(
    instance: Instance, double: ServiceBusDouble, cosmos: CosmosDouble, id: str
) -> None:
    """The SDK takes no id of more than 128 characters."""
    cosmos.fail(PARTITION_FULL)
    double.put_raw(QUEUE, json.dumps(instance.event(FULL, 1).body).encode(), id=id, properties={"tenant_id": FULL})
    assert (await instance.listener.deliver()).error is None
    assert (await instance.dead(), double.waiting(QUEUE)) == ([], 1)


async def test_half_a_character_in_what_is_not_kept_is_no_hindrance(
    instance: Instance, double: ServiceBusDouble
) -> None:
    """As an escape it is ASCII on the wire, and the host hands over bytes."""
    raw = json.dumps({**instance.event(HEALTHY[0], 1).body, "subject": "\ud800"}).encode()
    double.put_raw(QUEUE, raw, id="half", properties={"tenant_id": HEALTHY[0]})
    assert (await instance.listener.deliver()).error is None
    assert await instance.totals(HEALTHY[0]) == {HEALTHY[0]: (1, 1)}


class KeptMessages:
    """Takes what is sent again."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def send(self, queue: str, messages: list[Message], *, delay: timedelta | None = None) -> None:
        self.sent += messages


@pytest.mark.parametrize("status", [400, 413])
async def test_an_event_that_cosmos_db_refuses_is_a_dead_letter_after_ten_attempts(
    instance: Instance, cosmos: CosmosDouble, status: int
) -> None:
    cosmos.fail(Fault("Batch", status=status, times=10**9, partition_key=HEALTHY[0]))
    kept, core = KeptMessages(), instance.core
    metering = Metering(core.directory, core.dead_letters, kept, SystemClock(), QUEUE)  # type: ignore[arg-type]
    waiting, deliveries = [instance.event(HEALTHY[0], 1)], 0
    while waiting:
        kept.sent = []
        await metering.store(waiting)
        waiting, deliveries = kept.sent, deliveries + 1
    assert (len(await instance.dead()), deliveries) == (1, 11)


@pytest.mark.parametrize("character", ["x", "\u00e9", "\U0001f600"])
async def test_a_batch_of_the_largest_events_is_one_that_cosmos_db_takes(instance: Instance, character: str) -> None:
    events = [instance.event(HEALTHY[0], 1) for _ in range(90)]
    for one in events:
        one.body["data"]["text"] = character * (15_000 // len(character.encode()))
    await instance.consume(events)
    assert await instance.totals(HEALTHY[0]) == {HEALTHY[0]: (90, 90)}


NAMES = ['"', "'", "\\", "\n", "\x00", "~1", "~", "[0]", "$", "0", "-", " ", "#", "\u2028", "*", "`", "@", "a b", "__x"]


async def test_names_of_any_characters_are_counted_twice_over(instance: Instance) -> None:
    for _ in range(2):
        for name in NAMES:
            one = instance.event(HEALTHY[0], 3)
            one.body["data"]["status"] = name
            await instance.consume([one])
    assert await instance.totals(HEALTHY[0]) == {HEALTHY[0]: (6 * len(NAMES), 2 * len(NAMES))}


FOREIGN = {
    "an AMQP value": AmqpAnnotatedMessage(value_body="text", properties={"message_id": "foreign"}),
    "an AMQP sequence": AmqpAnnotatedMessage(sequence_body=[[1]], properties={"message_id": "foreign"}),
    "an id that is a number": AmqpAnnotatedMessage(data_body=b"{}", properties={"message_id": 7}),
    "a tenant of bytes": None,  # which the SDK does not send
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
async def test_a_dead_message_of_somebody_elses_is_collected_as_any_other(
    instance: Instance, double: ServiceBusDouble, foreign: AmqpAnnotatedMessage | None
) -> None:
    async with (
        ServiceBusClient.from_connection_string(double.connection) as client,
        client.get_queue_sender(QUEUE) as sender,
        client.get_queue_receiver(QUEUE) as receiver,
    ):
        if foreign is None:
            double.put_raw(QUEUE, b"{}", id="foreign", properties={"tenant_id": b"\xff\xfe"})
        else:
            await sender.send_messages(foreign)
        await instance.send([instance.event(HEALTHY[0], 1)])
        waiting = 2
        while waiting:
            for one in await receiver.receive_messages(waiting):
                await receiver.dead_letter_message(one, reason="given up")
                waiting -= 1
    await instance.core.dead_letters.collect(QUEUE)
    assert await instance.dead() == ["given up", "given up"]
    assert await instance.core.adapters.messaging.dead(QUEUE) == []

"""The Service Bus adapter call by call, against the double: what it keeps open, what it sends, what it refuses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus.aio import ServiceBusSender

from local.servicebus import ServiceBusReceiving
from shared.clock import SystemClock
from shared.database.sqlite import SqliteDatabase
from shared.errors import TooLarge, Unavailable
from shared.jobs.deadletters import DeadLetters
from shared.messaging.port import MAX_MESSAGE_BYTES, Message
from shared.messaging.queues import MAX_DELIVERIES
from shared.messaging.servicebus import LOOK_AGAIN_SECONDS, RETRIES, ServiceBusMessaging
from tests.doubles.clock import FakeClock
from tests.doubles.servicebus import ServiceBusDouble, service_bus
from tests.doubles.sockets import free_port
from tests.doubles.switch import Switch

QUEUE = "jobs"
NOBODY = "Endpoint=sb://localhost"
KEYS = ";SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"


@pytest.fixture
async def messaging(double: ServiceBusDouble) -> AsyncIterator[ServiceBusMessaging]:
    messaging = ServiceBusMessaging(
        namespace="", emulator_connection=double.connection, health_queue=QUEUE, clock=SystemClock()
    )
    yield messaging
    await messaging.close()


@pytest.fixture
async def receiving(double: ServiceBusDouble) -> AsyncIterator[ServiceBusReceiving]:
    receiving = ServiceBusReceiving(double.connection)
    yield receiving
    await receiving.close()


def message(id: str, **body: object) -> Message:
    return Message(id, "tenant-1", body)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  a condition, not an event
            await asyncio.sleep(0.01)


async def killed(double: ServiceBusDouble, receiving: ServiceBusReceiving, count: int) -> None:
    """Let the queue give up on its `count` messages."""
    for _ in range(MAX_DELIVERIES):
        taken = 0
        while taken < count:
            taken += len((await receiving.receive(QUEUE, most=count)).messages)
        double.expire_locks()


async def test_nothing_is_connected_before_the_first_call(
    double: ServiceBusDouble, messaging: ServiceBusMessaging
) -> None:
    assert double.drop_connections() == 0
    await messaging.send(QUEUE, [message("m-1")])
    assert double.drop_connections() == 1


async def test_sends_pings_and_dead_letters_use_the_same_links_again(
    double: ServiceBusDouble, messaging: ServiceBusMessaging
) -> None:
    for number in range(5):
        await messaging.send(QUEUE, [message(f"m-{number}")])
        await messaging.ping()
        await messaging.dead(QUEUE)
    assert double.drop_connections() == 3


async def test_a_ping_over_a_link_that_is_open_opens_nothing(
    double: ServiceBusDouble, messaging: ServiceBusMessaging
) -> None:
    await messaging.ping()
    links = double.links()
    await messaging.ping()
    assert (double.links(), double.drop_connections()) == (links, 1)


async def test_a_ping_after_its_connection_was_cut_finds_the_broker_again(
    double: ServiceBusDouble, messaging: ServiceBusMessaging
) -> None:
    await messaging.ping()
    double.drop_connections()
    await messaging.ping()


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES - 64, MAX_MESSAGE_BYTES])
async def test_what_the_port_allows_the_broker_takes(
    double: ServiceBusDouble, messaging: ServiceBusMessaging, size: int
) -> None:
    largest = Message("m" * 128, "0190c2a8-7e10-7abc-8def-000000000001", {"x": "y" * (size - len('{"x":""}'))})
    await messaging.send(QUEUE, [message("small"), largest], delay=timedelta(minutes=1))
    assert double.waiting(QUEUE) == 2


async def test_a_message_that_is_too_large_is_its_own_senders_problem_only(
    double: ServiceBusDouble, messaging: ServiceBusMessaging
) -> None:
    sends = [messaging.send(QUEUE, [message(f"m-{number}")]) for number in range(4)]
    too_large = messaging.send(QUEUE, [message("large", x="y" * MAX_MESSAGE_BYTES)])
    *others, refused = await asyncio.gather(*sends, too_large, return_exceptions=True)
    assert (others, type(refused), double.waiting(QUEUE)) == ([None] * 4, TooLarge, 4)


async def test_a_duplicate_is_one_for_ten_minutes(double: ServiceBusDouble, messaging: ServiceBusMessaging) -> None:
    counts = []
    for seconds in (0, 590, 20):
        double.forward(seconds)
        await messaging.send(QUEUE, [message("m-1")])
        counts.append(double.waiting(QUEUE))
    assert counts == [1, 1, 2]


async def test_a_hundred_dead_letters_are_collected_without_a_wait_for_each(
    double: ServiceBusDouble, messaging: ServiceBusMessaging, receiving: ServiceBusReceiving, tmp_path: Path
) -> None:
    await messaging.send(QUEUE, [message(f"m-{number}") for number in range(100)])
    await killed(double, receiving, 100)
    database = SqliteDatabase(tmp_path, SystemClock())
    assert await DeadLetters(database, messaging, SystemClock()).collect(QUEUE) == 100  # or the test's time is over
    assert await messaging.dead(QUEUE) == []
    await database.close()


async def test_dead_letters_without_an_id_are_told_apart_and_dropped(
    double: ServiceBusDouble, messaging: ServiceBusMessaging, receiving: ServiceBusReceiving
) -> None:
    for number in range(2):
        double.put_raw(QUEUE, b'{"n": %d}' % number)
    await killed(double, receiving, 2)
    dead = [one for one, _ in await messaging.dead(QUEUE)]
    assert sorted(one.body["n"] for one in dead) == [0, 1]
    for one in dead:
        await messaging.drop_dead(QUEUE, one.id)
    assert await messaging.dead(QUEUE) == []


async def test_a_dead_letter_is_dropped_after_its_lock_was_lost(
    double: ServiceBusDouble, messaging: ServiceBusMessaging, receiving: ServiceBusReceiving
) -> None:
    await messaging.send(QUEUE, [message("m-1"), message("m-2")])
    await killed(double, receiving, 2)
    await messaging.drop_dead(QUEUE, "m-1")
    double.expire_locks()
    await messaging.drop_dead(QUEUE, "m-2")
    assert await messaging.dead(QUEUE) == []


async def test_dropping_a_dead_letter_that_is_not_there_is_no_error(messaging: ServiceBusMessaging) -> None:
    await messaging.drop_dead(QUEUE, "none")


async def test_a_broker_that_comes_to_be_after_a_failed_call_is_found(clock: FakeClock) -> None:
    with service_bus() as double:
        connection = double.connection
    messaging = ServiceBusMessaging(namespace="", emulator_connection=connection, health_queue=QUEUE, clock=clock)
    with pytest.raises(Unavailable):
        await messaging.send(QUEUE, [message("m-1")])
    clock.forward(seconds=LOOK_AGAIN_SECONDS)
    with service_bus(port=double.port) as again:
        await messaging.send(QUEUE, [message("m-1")])
        await messaging.send(QUEUE, [message("m-2")])
        assert again.waiting(QUEUE) == 2
        await messaging.close()


@pytest.mark.parametrize("begun", [False, True], ids=["from the first call on", "after a call went well"])
async def test_a_broker_that_takes_connections_and_says_nothing_is_left_with_none_of_them(
    double: ServiceBusDouble, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    opened: list[asyncio.StreamWriter] = []
    connect = asyncio.open_connection

    async def recorded(*args: Any, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await connect(*args, **options)
        opened.append(writer)
        return reader, writer

    async with Switch(double.port) as switch:
        address = double.connection.replace(f"localhost:{double.port}", f"127.0.0.1:{switch.port}")
        messaging = ServiceBusMessaging(namespace="", emulator_connection=address, health_queue=QUEUE, clock=clock)
        if begun:
            await messaging.send(QUEUE, [message("m-0")])
            await messaging.ping()
        await switch.hang()
        monkeypatch.setattr("shared.messaging.servicebus.asyncio.open_connection", recorded)
        monkeypatch.setattr("shared.messaging.servicebus.CALL_SECONDS", 0.6)
        monkeypatch.setitem(RETRIES, "try_timeout", 0.2)
        for _ in range(2):
            for call in (messaging.send(QUEUE, [message("m-1")]), messaging.ping()):
                with pytest.raises(Unavailable):
                    await call
            clock.forward(seconds=LOOK_AGAIN_SECONDS)
        await messaging.close()
        ours = [one for one in opened if one.get_extra_info("peername")[1] == switch.port]
        assert len(ours) >= 2
        assert [one for one in ours if not one.is_closing()] == []


async def test_while_nothing_answers_one_send_finds_out_and_nobody_else_waits(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    messaging = ServiceBusMessaging(
        namespace="", emulator_connection=f"{NOBODY}:{free_port()}{KEYS}", health_queue=QUEUE, clock=clock
    )
    tried = 0

    async def send(self: Any, messages: Any) -> None:
        nonlocal tried
        tried += 1
        await asyncio.sleep(0)
        raise OSError("nobody listens")

    monkeypatch.setattr("shared.messaging.servicebus._Lane.send", send)

    async def refused(number: int) -> None:
        with pytest.raises(Unavailable):
            await messaging.send(QUEUE, [message(f"m-{number}")])

    await refused(0)
    await asyncio.gather(*map(refused, range(1, 20)))
    assert tried == 1
    clock.forward(seconds=LOOK_AGAIN_SECONDS)
    await asyncio.gather(*map(refused, range(20, 40)))
    assert tried == 2
    await messaging.close()


async def test_a_send_that_nobody_answers_is_tried_again_and_arrives(
    double: ServiceBusDouble, messaging: ServiceBusMessaging
) -> None:
    await messaging.send(QUEUE, [message("m-1")])
    double.ignore_next_send()
    await messaging.send(QUEUE, [message("m-2")])
    assert double.waiting(QUEUE) == 2


class IdleClock(SystemClock):
    """Its monotonic clock goes on when told to."""

    def __init__(self) -> None:
        self.idle = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.idle


async def test_after_ten_idle_minutes_sends_and_dead_letters_go_on_at_once(
    double: ServiceBusDouble, receiving: ServiceBusReceiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, send = 0, ServiceBusSender.send_messages

    async def counted(sender: ServiceBusSender, messages: Any, **options: Any) -> None:
        nonlocal tries
        tries += 1
        await send(sender, messages, **options)

    monkeypatch.setattr(ServiceBusSender, "send_messages", counted)
    clock = IdleClock()
    messaging = ServiceBusMessaging(
        namespace="", emulator_connection=double.connection, health_queue=QUEUE, clock=clock
    )
    for sent, id in enumerate(("m-1", "m-2"), start=1):
        await messaging.send(QUEUE, [message(id)])
        assert tries == sent
        await killed(double, receiving, 1)
        await messaging.drop_dead(QUEUE, id)
        assert await messaging.dead(QUEUE) == []
        await receiving.close()
        double.forward(601)
        clock.idle += 601
        await until(lambda: double.links() == 0)
    await messaging.close()

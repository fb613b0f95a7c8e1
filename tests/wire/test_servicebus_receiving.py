"""The local host's receiving from a Service Bus whose connections break: it goes on by itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from azure.servicebus.exceptions import ServiceBusError

from local.servicebus import ServiceBusReceiving
from shared.clock import SystemClock
from shared.messaging.port import Message
from shared.messaging.receiving import Lease
from shared.messaging.servicebus import ServiceBusMessaging
from tests.doubles.servicebus import ServiceBusDouble

QUEUE = "jobs"
TRIES = 100


@pytest.fixture
async def receiving(double: ServiceBusDouble) -> AsyncIterator[ServiceBusReceiving]:
    receiving = ServiceBusReceiving(double.connection)
    yield receiving
    await receiving.close()


@pytest.fixture
async def messaging(double: ServiceBusDouble) -> AsyncIterator[ServiceBusMessaging]:
    messaging = ServiceBusMessaging(
        namespace="", emulator_connection=double.connection, health_queue=QUEUE, clock=SystemClock()
    )
    yield messaging
    await messaging.close()


async def received(receiving: ServiceBusReceiving) -> Lease:
    """The next lease with a message, over what breaks on the way; each break is seen once."""
    for _ in range(TRIES):
        try:
            lease = await receiving.receive(QUEUE)
        except ServiceBusError:
            continue
        if lease.messages:
            return lease
    raise AssertionError("nothing came")


def ids(lease: Lease) -> list[str]:
    return [message.id for message, _ in lease.messages]


async def test_after_a_broken_connection_the_next_message_comes(
    double: ServiceBusDouble, receiving: ServiceBusReceiving, messaging: ServiceBusMessaging
) -> None:
    await messaging.send(QUEUE, [Message("m-1", "t", {})])
    await receiving.complete(await received(receiving))
    for number in range(2, 4):
        assert double.drop_connections() >= 1
        await messaging.send(QUEUE, [Message(f"m-{number}", "t", {})])
        lease = await received(receiving)
        assert ids(lease) == [f"m-{number}"]
        await receiving.complete(lease)
    assert double.waiting(QUEUE) == 0


async def test_a_message_whose_connection_broke_before_it_was_settled_comes_again(
    double: ServiceBusDouble, receiving: ServiceBusReceiving, messaging: ServiceBusMessaging
) -> None:
    await messaging.send(QUEUE, [Message("m-1", "t", {})])
    first = await received(receiving)
    double.drop_connections()
    with pytest.raises(ServiceBusError):
        await receiving.complete(first)
    double.expire_locks()
    again = await received(receiving)
    assert (ids(again), again.messages[0][1]) == (["m-1"], 2)


async def test_queues_are_received_from_at_the_same_time(
    receiving: ServiceBusReceiving, messaging: ServiceBusMessaging
) -> None:
    for queue in ("a", "b", "c"):
        await messaging.send(queue, [Message(queue, "t", {})])
    leases = await asyncio.gather(*(receiving.receive(queue) for queue in ("a", "b", "c", "a")))
    assert sorted(id for lease in leases for id in ids(lease)) == ["a", "b", "c"]


async def test_a_send_after_an_idle_connection_was_cut_arrives(
    double: ServiceBusDouble, messaging: ServiceBusMessaging
) -> None:
    await messaging.send(QUEUE, [Message("m-1", "t", {})])
    assert double.drop_connections() == 1
    await messaging.send(QUEUE, [Message("m-2", "t", {})])
    assert double.waiting(QUEUE) == 2

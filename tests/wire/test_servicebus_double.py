"""The double does what Microsoft documents of Service Bus queues, as far as the real SDK lets one see it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from tests.doubles.servicebus import ServiceBusDouble

QUEUE = "things"
WAIT_SECONDS = 5.0
EMPTY_SECONDS = 0.3


@pytest.fixture
async def client(double: ServiceBusDouble) -> AsyncIterator[ServiceBusClient]:
    async with ServiceBusClient.from_connection_string(double.connection) as client:
        yield client


@pytest.fixture
async def receiver(client: ServiceBusClient) -> AsyncIterator[ServiceBusReceiver]:
    async with client.get_queue_receiver(QUEUE) as receiver:
        yield receiver


async def send(client: ServiceBusClient, *ids: str) -> None:
    async with client.get_queue_sender(QUEUE) as sender:
        for id in ids:
            await sender.send_messages(ServiceBusMessage(b"{}", message_id=id, application_properties={"n": 7}))


async def one(receiver: ServiceBusReceiver) -> ServiceBusReceivedMessage:
    [message] = await receiver.receive_messages(max_message_count=1, max_wait_time=WAIT_SECONDS)
    return message


async def none_left(receiver: ServiceBusReceiver) -> bool:
    return not await receiver.receive_messages(max_message_count=1, max_wait_time=EMPTY_SECONDS)


async def test_a_message_arrives_with_what_the_broker_adds(
    client: ServiceBusClient, receiver: ServiceBusReceiver
) -> None:
    await send(client, "m-1")
    message = await one(receiver)
    assert (message.message_id, message.application_properties, message.sequence_number) == ("m-1", {b"n": 7}, 1)
    assert message.locked_until_utc is not None and message.locked_until_utc > datetime.now(UTC)
    assert message.enqueued_time_utc is not None and message.lock_token is not None


async def test_a_message_that_is_dead_lettered_is_in_the_subqueue_with_its_reason(
    client: ServiceBusClient, receiver: ServiceBusReceiver
) -> None:
    await send(client, "m-1")
    await receiver.dead_letter_message(await one(receiver), reason="bad", error_description="no such thing")
    assert await none_left(receiver)
    async with client.get_queue_receiver(QUEUE, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as dead:
        message = await one(dead)
        assert (message.dead_letter_reason, message.dead_letter_error_description) == ("bad", "no such thing")
        await dead.complete_message(message)
        assert await none_left(dead)


async def test_a_renewed_lock_is_held_for_longer_and_a_lost_one_cannot_be(
    double: ServiceBusDouble, client: ServiceBusClient, receiver: ServiceBusReceiver
) -> None:
    await send(client, "m-1")
    message = await one(receiver)
    first = message.locked_until_utc
    double.forward(10)
    assert first is not None and await receiver.renew_message_lock(message) >= first + timedelta(seconds=9)
    double.forward(25)
    await receiver.renew_message_lock(message)
    double.expire_locks()
    with pytest.raises(MessageLockLostError):
        await receiver.renew_message_lock(message)


async def test_a_lock_that_ran_out_brings_the_message_again_and_its_holder_cannot_settle(
    double: ServiceBusDouble, client: ServiceBusClient, receiver: ServiceBusReceiver
) -> None:
    await send(client, "m-1")
    message = await one(receiver)
    double.forward(31)
    again = await one(receiver)
    assert (message.delivery_count or 0, again.delivery_count) == (0, 1)
    with pytest.raises(MessageLockLostError):
        await receiver.complete_message(message)
    await receiver.complete_message(again)
    assert double.waiting(QUEUE) == 0


async def test_a_scheduled_message_comes_when_it_is_due(
    double: ServiceBusDouble, client: ServiceBusClient, receiver: ServiceBusReceiver
) -> None:
    async with client.get_queue_sender(QUEUE) as sender:
        await sender.schedule_messages(ServiceBusMessage(b"{}", message_id="later"), due(60))
    assert await none_left(receiver)
    double.forward(61)
    assert (await one(receiver)).message_id == "later"


async def test_a_scheduled_message_can_be_cancelled_once(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_sender(QUEUE) as sender:
        numbers = await sender.schedule_messages(
            [ServiceBusMessage(b"{}", message_id=id) for id in ("a", "b")], due(60)
        )
        await sender.cancel_scheduled_messages(numbers[0])
    assert (numbers, double.waiting(QUEUE)) == ([1, 2], 1)


async def test_a_peek_locks_nothing_and_sees_what_is_locked(
    client: ServiceBusClient, receiver: ServiceBusReceiver
) -> None:
    await send(client, "m-1", "m-2")
    await one(receiver)
    peeked = await receiver.peek_messages(max_message_count=10, sequence_number=1)
    assert [message.message_id for message in peeked] == ["m-1", "m-2"]
    assert (await one(receiver)).message_id == "m-2"


def due(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_a_partitioned_queue_that_detects_duplicates_refuses_every_batch_and_takes_single_messages(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.partition(QUEUE)
    await send(client, "m-1")
    async with client.get_queue_sender(QUEUE) as sender:
        batch = await sender.create_message_batch()
        batch.add_message(ServiceBusMessage(b"{}", message_id="m-2"))
        with pytest.raises(ServiceBusError, match="partitioned entity with duplicate detection"):
            await sender.send_messages(batch)
    assert double.waiting(QUEUE) == 1


async def test_what_is_delivered_again_comes_in_another_order(
    double: ServiceBusDouble, client: ServiceBusClient, receiver: ServiceBusReceiver
) -> None:
    await send(client, *(f"m-{number}" for number in range(10)))
    orders = []
    for _ in range(3):
        found: list[str] = []
        while len(found) < 10:
            found += [str((await one(receiver)).message_id)]
        orders.append(found)
        double.expire_locks()
    assert orders[0] == sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    assert orders[0] != orders[1] != orders[2]


async def test_a_link_that_nobody_has_used_for_ten_minutes_is_detached(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    async with client.get_queue_sender(QUEUE) as sender:
        await sender.send_messages(ServiceBusMessage(b"{}", message_id="m-1"))
        before = double.links()
        double.forward(599)
        assert double.links() == before
        double.forward(1)
        assert double.links() == before - 1

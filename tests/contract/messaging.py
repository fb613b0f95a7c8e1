"""What every messaging adapter does: the suite; each `test_messaging_*.py` brings its broker's fixtures and runs it.

`broker` is a `Broker`: the adapter, and how a test receives from it.
"""

import asyncio
from abc import ABC, abstractmethod
from datetime import timedelta

import pytest

from shared.errors import TooLarge, Unavailable
from shared.messaging.port import Message, Messaging
from shared.messaging.receiving import Lease, Receiving
from shared.tracing import begun, within

QUEUE = "things"
WAIT_TRIES = 200
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


class Broker(ABC):
    """One broker under test."""

    messaging: Messaging
    receiving: Receiving

    @abstractmethod
    async def lose_locks(self) -> None:
        """Every lock is lost, as when its holder has died."""

    @abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """Let time go by, for what is due later."""

    @abstractmethod
    def go_away(self) -> None:
        """The broker answers no more."""


def message(id: str, **body: object) -> Message:
    return Message(id, "tenant-1", body)


async def received(broker: Broker, *, most: int = 100) -> Lease:
    """The next lease with messages in it."""
    for _ in range(WAIT_TRIES):
        lease = await broker.receiving.receive(QUEUE, most=most)
        if lease.messages:
            return lease
        await asyncio.sleep(0.01)
    raise AssertionError("nothing came")


async def all_received(broker: Broker, count: int) -> list[Message]:
    """`count` messages, completed as they come."""
    found: list[Message] = []
    while len(found) < count:
        lease = await received(broker)
        found += [one for one, _ in lease.messages]
        await broker.receiving.complete(lease)
    return found


async def nothing_left(broker: Broker) -> bool:
    lease = await broker.receiving.receive(QUEUE, most=100)
    return not lease.messages


class MessagingContract:
    async def test_what_is_sent_is_received_with_id_tenant_and_body(self, broker: Broker) -> None:
        sent = message("m-1", name="Störung", number=7, nested={"list": [1, 2.5, None, True]})
        await broker.messaging.send(QUEUE, [sent])
        assert await all_received(broker, 1) == [sent]

    async def test_a_message_carries_the_trace_of_what_has_caused_it(self, broker: Broker) -> None:
        span = begun()
        with within(span):
            await broker.messaging.send(QUEUE, [message("m-1"), message("m-2")._replace(traceparent=OTHER)])
        await broker.messaging.send(QUEUE, [message("m-1")._replace(traceparent=OTHER), message("m-3")])
        found = {one.id: one.traceparent for one in await all_received(broker, 3)}
        assert found == {"m-1": span.traceparent, "m-2": OTHER, "m-3": ""}

    async def test_sending_nothing_is_no_error(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [])
        assert await nothing_left(broker)

    async def test_a_completed_message_does_not_come_again(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [message("m-1")])
        await all_received(broker, 1)
        await broker.lose_locks()
        assert await nothing_left(broker)

    async def test_a_message_of_the_same_id_is_dropped(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [message("m-1", n=1)])
        await broker.messaging.send(QUEUE, [message("m-1", n=2), message("m-2", n=3), message("m-2", n=4)])
        found = await all_received(broker, 2)
        assert {(one.id, one.body["n"]) for one in found} == {("m-1", 1), ("m-2", 3)}
        assert await nothing_left(broker)

    async def test_the_same_id_in_another_queue_is_another_message(self, broker: Broker) -> None:
        await broker.messaging.send("elsewhere", [message("m-1")])
        await broker.messaging.send(QUEUE, [message("m-1")])
        assert [one.id for one in await all_received(broker, 1)] == ["m-1"]

    async def test_many_messages_at_once_arrive_whole(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [message(f"m-{number}", n=number) for number in range(500)])
        found = await all_received(broker, 500)
        assert sorted(one.body["n"] for one in found) == list(range(500))

    async def test_more_than_one_batch_holds_arrives_whole(self, broker: Broker) -> None:
        large = [message(f"m-{number}", text="x" * 100_000) for number in range(12)]
        await broker.messaging.send(QUEUE, large)
        assert {one.id for one in await all_received(broker, 12)} == {one.id for one in large}

    async def test_sends_at_the_same_time_do_not_disturb_each_other(self, broker: Broker) -> None:
        await asyncio.gather(*(broker.messaging.send(QUEUE, [message(f"m-{number}")]) for number in range(100)))
        assert len({one.id for one in await all_received(broker, 100)}) == 100

    async def test_a_message_that_is_too_large_is_refused_and_nothing_is_sent(self, broker: Broker) -> None:
        with pytest.raises(TooLarge):
            await broker.messaging.send(QUEUE, [message("m-1"), message("m-2", text="x" * 300_000)])
        assert await nothing_left(broker)

    async def test_a_delayed_message_comes_when_it_is_due_and_not_before(self, broker: Broker) -> None:
        await nothing_left(broker)  # the receiver is there before the time runs
        await broker.messaging.send(QUEUE, [message("m-1")], delay=timedelta(seconds=3))
        assert await nothing_left(broker)
        await broker.pass_time(3.1)
        assert [one.id for one in await all_received(broker, 1)] == ["m-1"]

    async def test_a_lost_lock_brings_the_message_again_and_counts(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [message("m-1")])
        first = await received(broker)
        await broker.lose_locks()
        second = await received(broker)
        assert [(one.id, deliveries) for one, deliveries in first.messages] == [("m-1", 1)]
        assert [(one.id, deliveries) for one, deliveries in second.messages] == [("m-1", 2)]

    async def test_a_locked_message_is_nobody_elses(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [message("m-1")])
        await received(broker)
        assert await nothing_left(broker)

    async def test_a_message_given_back_comes_again(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [message("m-1")])
        await broker.receiving.retry(await received(broker), 0.0)
        await broker.pass_time(0.1)
        assert [(one.id, deliveries) for one, deliveries in (await received(broker)).messages] == [("m-1", 2)]

    async def test_a_lease_takes_no_more_than_asked_for(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [message(f"m-{number}") for number in range(5)])
        assert len((await received(broker, most=1)).messages) == 1

    async def test_after_ten_deliveries_a_message_is_dead_with_its_reason(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [message("m-1", n=1)])
        for _ in range(10):
            await received(broker)
            await broker.lose_locks()
        assert await nothing_left(broker)
        assert await broker.messaging.dead(QUEUE) == [(message("m-1", n=1), "MaxDeliveryCountExceeded")]

    async def test_a_dead_letter_stays_until_it_is_dropped(self, broker: Broker) -> None:
        await broker.messaging.send(QUEUE, [message("m-1"), message("m-2")])
        for _ in range(10):
            while not await nothing_left(broker):
                pass
            await broker.lose_locks()
        await nothing_left(broker)
        assert {one.id for one, _ in await broker.messaging.dead(QUEUE)} == {"m-1", "m-2"}
        await broker.messaging.drop_dead(QUEUE, "m-1")
        assert [one.id for one, _ in await broker.messaging.dead(QUEUE)] == ["m-2"]

    async def test_a_queue_without_dead_letters_has_none(self, broker: Broker) -> None:
        assert await broker.messaging.dead(QUEUE) == []

    async def test_a_broker_that_is_there_answers_the_ping(self, broker: Broker) -> None:
        await broker.messaging.ping()

    async def test_a_broker_that_is_away_is_unavailable(self, broker: Broker) -> None:
        broker.go_away()
        with pytest.raises(Unavailable):
            await broker.messaging.send(QUEUE, [message("m-1")])
        with pytest.raises(Unavailable):
            await broker.messaging.ping()

"""The embedded queue, as Service Bus would have it: duplicates, leases, delivery counts, delays, dead letters."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import TooLarge, Unavailable
from shared.messaging.port import MAX_MESSAGE_BYTES, Message
from shared.messaging.queues import MAX_DELIVERIES
from shared.messaging.sqlite import SqliteMessaging
from tests.unit.world import TENANT_ID, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def queue(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteMessaging]:
    own = SqliteMessaging(tmp_path / "queues", clock)
    yield own
    await own.close()


def message(number: int) -> Message:
    return Message(f"m-{number}", TENANT_ID, {"number": number, "name": "Zoë"})


async def take(queue: SqliteMessaging, most: int = 100, name: str = "q") -> set[str]:
    lease = await queue.receive(name, most=most)
    await queue.complete(lease)
    return {one.id for one, _ in lease.messages}


async def test_what_was_sent_is_received_as_it_was(queue: SqliteMessaging) -> None:
    await queue.send("q", [message(1)])
    assert (await queue.receive("q")).messages == [(message(1), 1)]


async def test_all_messages_arrive_in_whatever_order(queue: SqliteMessaging) -> None:
    await queue.send("q", [message(number) for number in range(30)])
    received = await take(queue, most=20) | await take(queue, most=20)
    assert received == {f"m-{number}" for number in range(30)}


async def test_queues_are_apart(queue: SqliteMessaging) -> None:
    await queue.send("q", [message(1)])
    assert (await take(queue, name="another"), await take(queue)) == (set(), {"m-1"})


async def test_what_is_complete_does_not_come_again(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message(1)])
    await take(queue)
    clock.advance(hours=1)
    assert await take(queue) == set()


async def test_the_same_id_within_ten_minutes_is_dropped(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message(1), message(1)])
    await take(queue)
    clock.advance(minutes=10)
    await queue.send("q", [message(1)])
    assert await take(queue) == set()


async def test_the_same_id_after_ten_minutes_is_a_new_message(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message(1)])
    await take(queue)
    clock.advance(minutes=10, seconds=1)
    await queue.send("q", [message(1)])
    assert await take(queue) == {"m-1"}


async def test_the_same_id_in_another_queue_is_another_message(queue: SqliteMessaging) -> None:
    await queue.send("q", [message(1)])
    await queue.send("another", [message(1)])
    assert await take(queue, name="another") == {"m-1"}


async def test_a_leased_message_is_nobody_elses(queue: SqliteMessaging) -> None:
    await queue.send("q", [message(1)])
    await queue.receive("q")
    assert (await queue.receive("q")).messages == []


async def test_a_lease_that_runs_out_delivers_again(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message(1)])
    await queue.receive("q", lease_seconds=60)
    clock.advance(seconds=60)
    assert (await queue.receive("q")).messages == [(message(1), 2)]


async def test_a_lease_that_is_renewed_holds_on(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message(1)])
    lease = await queue.receive("q", lease_seconds=60)
    clock.advance(seconds=50)
    await queue.renew(lease, 60)
    clock.advance(seconds=50)
    assert (await queue.receive("q")).messages == []


async def test_completing_too_late_does_not_take_the_message_from_its_new_receiver(
    queue: SqliteMessaging, clock: FakeClock
) -> None:
    await queue.send("q", [message(1)])
    late = await queue.receive("q", lease_seconds=60)
    clock.advance(seconds=61)
    await queue.receive("q", lease_seconds=60)
    await queue.complete(late)
    clock.advance(seconds=61)
    assert (await queue.receive("q")).messages == [(message(1), 3)]


async def test_what_is_abandoned_is_due_at_once(queue: SqliteMessaging) -> None:
    await queue.send("q", [message(1)])
    await queue.abandon(await queue.receive("q"))
    assert (await queue.receive("q")).messages == [(message(1), 2)]


async def test_a_delayed_message_waits(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message(1)], delay=timedelta(seconds=30))
    clock.advance(seconds=29.9)
    before = (await queue.waiting("q"), await take(queue))
    clock.advance(seconds=0.1)
    assert (before, await queue.waiting("q"), await take(queue)) == ((False, set()), True, {"m-1"})


async def test_a_message_delivered_ten_times_is_dead(queue: SqliteMessaging) -> None:
    await queue.send("q", [message(1)])
    for _ in range(MAX_DELIVERIES):
        await queue.abandon(await queue.receive("q"))
    assert ((await queue.receive("q")).messages, await queue.dead("q")) == (
        [],
        [(message(1), "MaxDeliveryCountExceeded")],
    )


async def test_a_dead_message_stays_until_it_is_dropped(queue: SqliteMessaging) -> None:
    await queue.send("q", [message(1)])
    for _ in range(MAX_DELIVERIES + 1):
        await queue.abandon(await queue.receive("q"))
    await queue.drop_dead("q", "m-1")
    assert await queue.dead("q") == []


async def test_dropping_a_dead_message_spares_the_living(queue: SqliteMessaging) -> None:
    await queue.send("q", [message(1)])
    await queue.drop_dead("q", "m-1")
    assert await take(queue) == {"m-1"}


async def test_a_message_outlives_its_process(tmp_path: Path, queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message(1)])
    other = SqliteMessaging(tmp_path / "queues", clock)
    received = await other.receive("q")
    await other.close()
    assert received.messages == [(message(1), 1)]


async def test_a_message_above_256_kb_is_refused(queue: SqliteMessaging) -> None:
    with pytest.raises(TooLarge):
        await queue.send("q", [Message("m-1", TENANT_ID, {"x": "é" * (MAX_MESSAGE_BYTES // 2)})])


async def test_a_send_that_is_refused_sends_none_of_its_messages(queue: SqliteMessaging) -> None:
    with pytest.raises(TooLarge):
        await queue.send("q", [message(1), Message("m-2", TENANT_ID, {"x": "y" * MAX_MESSAGE_BYTES})])
    assert await take(queue) == set()


async def test_a_folder_that_cannot_be_used_is_an_outage(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").write_text("in the way")
    queue = SqliteMessaging(tmp_path / "file", clock)
    with pytest.raises(Unavailable):
        await queue.ping()
    await queue.close()

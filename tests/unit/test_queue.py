"""The embedded queue, as Service Bus would have it: duplicates, leases, delivery counts, delays, dead letters."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

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


# Who sends at the same time


class Writes:
    """The transactions of a queue's file, each as the ids that it made durable; one that holds `refused` fails."""

    def __init__(self, queue: SqliteMessaging, monkeypatch: pytest.MonkeyPatch, *, refused: str = "") -> None:
        self.seen: list[list[str]] = []
        inner = queue._enqueue

        def enqueue(db: sqlite3.Connection, sends: list[Any]) -> None:
            ids = [row[1] for one in sends for row in one.rows]
            inner(db, sends)
            if refused in ids:
                raise OverflowError("Python int too large to convert to SQLite INTEGER")
            self.seen.append(ids)

        monkeypatch.setattr(queue, "_enqueue", enqueue)


async def test_who_sends_at_the_same_time_shares_a_transaction(
    queue: SqliteMessaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(queue, monkeypatch)
    await asyncio.gather(*(queue.send("q", [message(number)]) for number in range(5)))
    assert writes.seen == [[f"m-{number}" for number in range(5)]]
    assert await take(queue) == {f"m-{number}" for number in range(5)}


async def test_a_message_that_fails_takes_no_other_with_it(
    queue: SqliteMessaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writes(queue, monkeypatch, refused="m-1")
    sends = [queue.send("q", [message(number)]) for number in range(3)]
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert ([type(one) for one in outcomes], await take(queue)) == (
        [type(None), OverflowError, type(None)],
        {"m-0", "m-2"},
    )


async def test_an_outage_is_told_to_all_who_sent_at_the_same_time(
    queue: SqliteMessaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(db: sqlite3.Connection, sends: list[Any]) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(queue, "_enqueue", full)
    outcomes = await asyncio.gather(
        *(queue.send("q", [message(number)]) for number in range(3)), return_exceptions=True
    )
    assert [type(one) for one in outcomes] == [Unavailable] * 3


async def test_who_goes_away_before_it_is_sent_sends_nothing(
    queue: SqliteMessaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(queue, monkeypatch)
    gone, there = (asyncio.create_task(queue.send("q", [message(number)])) for number in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await there
    assert writes.seen == [["m-1"]]


async def test_the_same_id_twice_at_the_same_time_is_one_message(queue: SqliteMessaging) -> None:
    await asyncio.gather(*(queue.send("q", [message(1)]) for _ in range(3)))
    assert (await queue.receive("q", most=100)).messages == [(message(1), 1)]


async def test_what_is_being_sent_when_the_queue_is_closed_is_sent(tmp_path: Path, clock: FakeClock) -> None:
    first = SqliteMessaging(tmp_path / "queues", clock)
    sending = asyncio.create_task(first.send("q", [message(1)]))
    await asyncio.sleep(0)
    await first.close()
    await sending
    second = SqliteMessaging(tmp_path / "queues", clock)
    assert await take(second) == {"m-1"}
    await second.close()


# What comes together


def of(tenant: str, number: int) -> Message:
    return Message(f"{tenant}-{number}", tenant, {"number": number})


async def test_what_is_of_one_tenant_comes_together_the_oldest_first(queue: SqliteMessaging) -> None:
    await queue.send("q", [of(tenant, number) for number in range(3) for tenant in ("b", "a", "c")])
    assert await take(queue, most=4) == {"b-0", "b-1", "b-2", "a-0"}
    assert await take(queue, most=4) == {"c-0", "c-1", "c-2", "a-1"}


async def test_nobodys_oldest_message_waits_for_others_of_a_busy_tenant(queue: SqliteMessaging) -> None:
    await queue.send("q", [of("idle", 0), *(of("busy", number) for number in range(200))])
    await queue.send("q", [of("idle", 1)])
    assert {"idle-0"} <= await take(queue, most=2)

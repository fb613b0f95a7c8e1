"""A clock that is set back an hour: what waits goes on waiting as long as it should, and no longer."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.clock import rfc3339, runs
from shared.database.port import Replace
from shared.errors import RateLimited
from shared.jobs.jobs import Continue, Done, Job, enqueue
from shared.jobs.ledger import Summary
from shared.limits.memory import MemoryLimiter
from shared.limits.port import Window
from shared.messaging.port import Message
from shared.messaging.sqlite import SqliteMessaging
from shared.tenancy.directory import TENANT
from shared.work.outbox import outbox_item
from shared.work.session import TenantSession
from tests.unit.world import START, TENANT_ID, FakeClock, World, admin, entry, register, session


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def queue(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteMessaging]:
    own = SqliteMessaging(tmp_path / "queues", clock)
    yield own
    await own.close()


def message(number: int = 1) -> Message:
    return Message(f"m-{number}", TENANT_ID, {})


async def taken(queue: SqliteMessaging) -> int:
    return len((await queue.receive("q", most=100)).messages)


# The queue


async def test_a_message_that_was_sent_before_is_received_at_once(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message()])
    clock.set_back(hours=1)
    assert (await queue.waiting("q"), await taken(queue)) == (True, 1)


async def test_a_delayed_message_comes_after_its_delay(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message()], delay=timedelta(seconds=30))
    clock.set_back(hours=1)
    clock.advance(seconds=29)
    before = await taken(queue)
    clock.advance(seconds=1)
    assert (before, await taken(queue)) == (0, 1)


async def test_a_lease_of_a_killed_receiver_runs_out_in_its_time(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message()])
    await queue.receive("q", lease_seconds=20)
    clock.set_back(hours=1)
    clock.advance(seconds=19.9)
    before = await taken(queue)
    clock.advance(seconds=0.1)
    assert (before, await taken(queue)) == (0, 1)


async def test_the_window_of_duplicates_is_still_ten_minutes(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message()])
    await queue.complete(await queue.receive("q"))
    clock.set_back(hours=1)
    clock.advance(minutes=10)
    await queue.send("q", [message()])
    within = await taken(queue)
    clock.advance(seconds=1)
    await queue.send("q", [message()])
    assert (within, await taken(queue)) == (0, 1)


async def test_the_next_process_and_one_beside_have_the_same_time(
    tmp_path: Path, queue: SqliteMessaging, clock: FakeClock
) -> None:
    """The other one has never seen the clock before it was set back, and its monotonic clock begins elsewhere."""
    await queue.send("q", [message()])
    early = FakeClock(clock.now() - timedelta(hours=1))
    early.elapsed = 3.0
    other = SqliteMessaging(tmp_path / "queues", early)
    assert (await other.waiting("q"), await taken(other)) == (True, 1)
    await other.close()


async def test_a_clock_set_forward_is_followed(queue: SqliteMessaging, clock: FakeClock) -> None:
    await queue.send("q", [message()], delay=timedelta(minutes=30))
    clock.set_back(hours=-1)
    assert await taken(queue) == 1


# Leases in the store


@pytest.mark.parametrize(
    ("ahead", "still"), [(0, False), (1, True), (360 + 600, True), (360 + 601, False), (3600, False), (-1, False)]
)
def test_a_lease_that_runs_for_longer_than_any_was_given_before_the_clock_was_set_back(ahead: int, still: bool) -> None:
    until = rfc3339(START + timedelta(seconds=ahead))
    assert runs(until, START, timedelta(minutes=6)) is still


async def test_a_job_of_a_killed_runner_is_taken_up_within_its_lease(world: World) -> None:
    tenant = session(world.core, entry(), await register(world.core), admin(TENANT_ID))
    seen: list[str] = []

    async def work(session: TenantSession, job: Job) -> Done | Continue:
        seen.append(job.id)
        if len(seen) == 1:
            raise asyncio.CancelledError  # the process ends
        return Done({})

    jobs = world.core.jobs({"count": work}, {})
    change = tenant.change()
    job = await change.commit(enqueue(change, tenant, "none", "count", {}))
    with pytest.raises(asyncio.CancelledError):
        await jobs.run(TENANT_ID, job.id)
    world.clock.set_back(hours=1)
    assert await jobs.sweep() == 1
    await jobs.run(TENANT_ID, job.id)
    assert len(seen) == 2


async def test_a_timers_slot_of_a_killed_process_is_run_again(world: World) -> None:
    ran: list[str] = []

    async def work(before: Summary | None) -> Summary:
        ran.append("run")
        if len(ran) == 1:
            raise asyncio.CancelledError
        return {}

    with pytest.raises(asyncio.CancelledError):
        await world.core.ledger.run_once("backups", "2026-11-24", work)
    world.clock.set_back(hours=1)
    assert await world.core.ledger.run_once("backups", "2026-11-24", work)


async def test_an_event_of_the_hour_that_comes_again_is_swept(world: World) -> None:
    store = await register(world.core)
    await store.commit([outbox_item("q", message(), world.clock.now())])
    world.clock.set_back(hours=1)
    assert (await world.core.sweep_outbox(), len(await world.queued("q"))) == (1, 1)


async def test_an_event_of_a_clock_that_is_a_little_ahead_is_left_to_its_own_process(world: World) -> None:
    store = await register(world.core)
    ahead = world.clock.now() + timedelta(minutes=10)
    await store.commit([outbox_item("q", message(1), ahead)])
    assert await world.core.sweep_outbox() == 0
    await store.commit([outbox_item("q", message(2), ahead + timedelta(microseconds=1))])
    assert await world.core.sweep_outbox() == 1


# Caches


async def test_what_the_directory_knows_is_five_seconds_old_at_most(world: World) -> None:
    await register(world.core)
    assert await world.core.directory.entry(TENANT_ID) is not None
    platform = world.core.adapters.database.platform
    stored = await platform.get(TENANT, TENANT_ID, TENANT_ID)
    assert stored is not None
    await platform.put(Replace(TENANT, TENANT_ID, {**stored.body, "name": "renamed"}), TENANT_ID)
    world.clock.set_back(hours=1)
    world.clock.advance(seconds=5)
    found = await world.core.directory.entry(TENANT_ID)
    assert found is not None and found.name == "renamed"


# Rate limits


async def test_a_spent_window_ends_after_its_minute(clock: FakeClock) -> None:
    limiter, window = MemoryLimiter(clock), Window("s", "k", 1, 1, "Too many")
    await limiter.take(window)
    clock.set_back(hours=1)
    clock.advance(seconds=59)
    with pytest.raises(RateLimited) as refused:
        await limiter.take(window)
    assert refused.value.retry_after == 1
    clock.advance(seconds=1)
    await limiter.take(window)
    with pytest.raises(RateLimited):
        await limiter.take(window)

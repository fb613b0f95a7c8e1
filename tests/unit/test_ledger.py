"""The timers' run ledger: each slot is worked through once, whoever wakes up for it."""

from typing import Any

import pytest

from shared.jobs.ledger import AGAIN, LEASE, Outcome, Summary, failed
from tests.unit.world import World


class Work:
    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None
        self.failed = 0
        self.before: Summary | None = None

    async def __call__(self, before: Summary | None) -> Summary:
        self.runs += 1
        self.before = before
        if self.error is not None:
            raise self.error
        return {"tenants": 3, "failed": self.failed}


@pytest.fixture
def work() -> Work:
    return Work()


async def test_a_slot_is_worked_through_once(world: World, work: Work) -> None:
    ran = [await world.core.ledger.run_once("backups", "2026-11-24", work) for _ in range(3)]
    assert (ran, work.runs) == ([True, False, False], 1)


async def test_the_next_slot_is_another_run(world: World, work: Work) -> None:
    for day in ("2026-11-24", "2026-11-25"):
        await world.core.ledger.run_once("backups", day, work)
    assert work.runs == 2


async def test_two_timers_have_slots_of_their_own(world: World, work: Work) -> None:
    for name in ("backups", "retention"):
        await world.core.ledger.run_once(name, "2026-11-24", work)
    assert work.runs == 2


async def test_a_second_instance_does_not_run_the_same_slot(world: World, twin: World, work: Work) -> None:
    await world.core.ledger.run_once("backups", "2026-11-24", work)
    assert (await twin.core.ledger.run_once("backups", "2026-11-24", work), work.runs) == (False, 1)


async def test_a_slot_in_hand_is_not_run_by_a_second_instance(world: World, twin: World) -> None:
    others: list[bool] = []

    async def outer(before: Summary | None) -> Summary:
        others.append(await twin.core.ledger.run_once("backups", "2026-11-24", outer))
        return {}

    await world.core.ledger.run_once("backups", "2026-11-24", outer)
    assert others == [False]


async def test_a_run_that_failed_says_so(world: World, work: Work) -> None:
    work.error = RuntimeError("the disk is full")
    with pytest.raises(RuntimeError):
        await world.core.ledger.run_once("backups", "2026-11-24", work)


async def test_a_run_that_failed_is_not_repeated_within_its_lease(world: World, work: Work) -> None:
    work.error = RuntimeError("the disk is full")
    with pytest.raises(RuntimeError):
        await world.core.ledger.run_once("backups", "2026-11-24", work)
    world.clock.advance(seconds=LEASE.total_seconds() - 1)
    assert await world.core.ledger.run_once("backups", "2026-11-24", work) is False


async def test_a_run_that_failed_is_repeated_after_its_lease(world: World, work: Work) -> None:
    work.error = RuntimeError("the disk is full")
    with pytest.raises(RuntimeError):
        await world.core.ledger.run_once("backups", "2026-11-24", work)
    work.error = None
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert (await world.core.ledger.run_once("backups", "2026-11-24", work), work.runs) == (True, 2)


async def test_a_run_whose_worker_died_is_gone_on_with_after_its_lease(world: World, work: Work) -> None:
    class Killed(BaseException):
        pass

    async def dies(before: Summary | None) -> Summary:
        raise Killed

    with pytest.raises(Killed):
        await world.core.ledger.run_once("backups", "2026-11-24", dies)
    assert await world.core.ledger.go_on("backups", "2026-11-24", work) is False
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert (await world.core.ledger.go_on("backups", "2026-11-24", work), work.runs) == (True, 1)


async def test_what_is_done_or_was_never_begun_is_not_gone_on_with(world: World, work: Work) -> None:
    await world.core.ledger.run_once("backups", "2026-11-24", work)
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    gone_on = [await world.core.ledger.go_on("backups", day, work) for day in ("2026-11-24", "2026-11-25")]
    assert (gone_on, work.runs) == ([False, False], 1)


async def test_of_two_instances_that_take_over_a_failed_run_at_once_one_does(
    world: World, twin: World, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.error = RuntimeError("the disk is full")
    with pytest.raises(RuntimeError):
        await world.core.ledger.run_once("backups", "2026-11-24", work)
    work.error = None
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    platform = world.core.adapters.database.platform
    get, faster = platform.get, list[bool]()

    async def meanwhile(*what: Any) -> Any:
        found = await get(*what)
        faster.append(await twin.core.ledger.run_once("backups", "2026-11-24", work))
        return found

    monkeypatch.setattr(platform, "get", meanwhile)
    assert (await world.core.ledger.run_once("backups", "2026-11-24", work), faster, work.runs) == (False, [True], 2)


async def test_a_slot_stays_done_for_a_month(world: World, work: Work) -> None:
    await world.core.ledger.run_once("backups", "2026-11-24", work)
    world.clock.advance(days=31)
    assert await world.core.ledger.run_once("backups", "2026-11-24", work) is False


# What failed for some


async def test_a_slot_that_failed_for_some_is_taken_up_again_after_a_pause_until_it_fails_for_none(
    world: World, work: Work
) -> None:
    ran: list[bool] = []
    pause = AGAIN.total_seconds()
    for work.failed, passed in ((2, 0), (1, pause - 1), (1, 1), (0, pause)):
        world.clock.advance(seconds=passed)
        ran.append(await world.core.ledger.run_once("backups", "2026-11-24", work))
    assert (ran, work.runs) == ([True, False, True, True], 3)
    world.clock.advance(hours=2)
    assert await world.core.ledger.go_on("backups", "2026-11-24", work) is False


async def test_the_next_run_of_a_slot_is_told_what_the_last_has_come_to(world: World, work: Work) -> None:
    told: list[Summary | None] = []
    for work.failed in (2, 0):
        await world.core.ledger.run_once("backups", "2026-11-24", work)
        told.append(work.before)
        world.clock.advance(hours=1)
    assert told == [None, {"tenants": 3, "failed": 2}]


async def test_what_a_run_has_come_to_is_known_while_the_next_one_is_at_it_or_dies(world: World, work: Work) -> None:
    ledger, work.failed = world.core.ledger, 2
    await ledger.run_once("backups", "2026-11-24", work)
    ended = world.clock.now()
    world.clock.advance(hours=1)
    work.error = RuntimeError("the disk is full")
    with pytest.raises(RuntimeError):
        await ledger.run_once("backups", "2026-11-24", work)
    found = await ledger.outcome("backups", "2026-11-24")
    assert found == Outcome(ended, {"tenants": 3, "failed": 2})
    assert (found.failed, await ledger.outcome("backups", "2026-11-25")) == (2, None)


def test_failures_of_the_parts_of_a_run_are_failures_of_it() -> None:
    assert failed({"one": {"failed": 1}, "two": {"failed": 2, "failures": {"a": "why"}}, "failed": 3}) == 6

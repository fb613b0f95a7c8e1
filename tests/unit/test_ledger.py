"""The timers' run ledger: each slot is worked through once, whoever wakes up for it."""

from collections.abc import Mapping
from typing import Any

import pytest

from shared.ledger import LEASE
from tests.unit.world import World


class Work:
    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None

    async def __call__(self) -> Mapping[str, Any]:
        self.runs += 1
        if self.error is not None:
            raise self.error
        return {"tenants": 3}


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

    async def outer() -> Mapping[str, Any]:
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


async def test_a_slot_stays_done_for_a_month(world: World, work: Work) -> None:
    await world.core.ledger.run_once("backups", "2026-11-24", work)
    world.clock.advance(days=31)
    assert await world.core.ledger.run_once("backups", "2026-11-24", work) is False

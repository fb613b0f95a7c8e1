"""Runs killed at each of their calls: every step ends once, and all sums are the same."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.blobs.files import FileBlobs
from shared.database.port import Database
from tests.doubles.models import calls, says
from tests.faults.runs import ALONE_OR_NOT, BEFORE_OR_AFTER, Life, Plant
from tests.unit.world import FakeClock

SEED = 20261130
SAMPLED = {
    "SqliteDatabase": 9,
    "CosmosDatabase": 41,
}  # every so many calls are killed, where not all are


@pytest.fixture
async def plant(killed_on: Database, moved_clock: FakeClock, tmp_path: Path) -> AsyncIterator[Plant]:
    made = Plant(killed_on, FileBlobs(tmp_path / "blobs"), clock=moved_clock)
    made.models.prices = 50
    yield made
    await made.close()


async def small_tree(plant: Plant, number: int) -> None:
    """An Orchestrator with two Specialists, one of which uses a tool."""
    await plant.open(number)
    plant.models.scripts = {
        "left": [calls(("note", {"text": "l"})), says("L")],
        "right": [says("R")],
        "lead": [calls(("note", {}), ("agent_left", {"input": "a"}), ("agent_right", {"input": "b"})), says("LR")],
    }
    await plant.agent("left", "Specialist", ["note"])
    await plant.agent("right", "Specialist")
    await plant.agent("lead", "Orchestrator", ["note", "agent:left", "agent:right"])


async def killed(plant: Plant, number: int, dies_at: int, done_all_the_same: bool, *, competing: bool) -> bool:
    """A run of the small tree by a process that dies at this call, beside another or before it; whether it has died."""
    await small_tree(plant, number)
    first, second = plant.process(Life()), plant.process()
    await plant.start(first, "lead")
    first.life.calls, first.life.dies_at, first.life.done_all_the_same = 0, dies_at, done_all_the_same
    await plant.settle(*([first, second] if competing else [first]))
    assert await plant.check() == {"succeeded": 3}
    await plant.close()
    return first.life.dead


async def test_a_tree_of_runs_that_nobody_kills_comes_to_its_end_with_all_sums_the_same(plant: Plant) -> None:
    assert not await killed(plant, 1, 10**9, False, competing=True)
    assert plant.models.billed == 5 * 110 and plant.uses.total() == 2


@BEFORE_OR_AFTER
@ALONE_OR_NOT
async def test_a_tree_of_runs_survives_the_death_of_a_runner_at_some_of_its_calls(
    plant: Plant, competing: bool, done_all_the_same: bool
) -> None:
    dies_at = 0
    while await killed(plant, dies_at + 1, dies_at, done_all_the_same, competing=competing):
        dies_at += SAMPLED[type(plant.database).__name__]
    assert dies_at > 40


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@BEFORE_OR_AFTER
@ALONE_OR_NOT
async def test_a_tree_of_runs_survives_the_death_of_a_runner_at_every_one_of_its_calls(
    plant: Plant, competing: bool, done_all_the_same: bool
) -> None:
    dies_at = 0
    while await killed(plant, dies_at + 1, dies_at, done_all_the_same, competing=competing):
        dies_at += 1
    assert dies_at > 40


# At random, on a large tree


async def large_tree(plant: Plant, number: int, dice: random.Random) -> int:
    """An Orchestrator over others over Specialists with tools; how many runs that is."""
    await plant.open(number)
    width, depth = dice.randint(2, 3), 2
    plant.models.scripts = {}
    runs = 1

    async def below(name: str, level: int) -> None:
        nonlocal runs
        tools = dice.randint(0, 2)
        noted = [calls(*[("note", {"text": str(one)})]) for one in range(tools)]
        if level == depth:
            plant.models.scripts[name] = [*noted, says(f"{name} is done")]
            await plant.agent(name, "Specialist", ["note"])
            return
        names = [f"{name}-{one}" for one in range(width)]
        for one in names:
            runs += 1
            await below(one, level + 1)
        plant.models.scripts[name] = [
            *noted,
            calls(*((f"agent_{one}", {"input": one}) for one in names)),
            says(f"{name} is done"),
        ]
        await plant.agent(name, "Orchestrator", ["note", *(f"agent:{one}" for one in names)])

    await below("top", 0)
    return runs


async def by_chance(plant: Plant, seed: int) -> None:
    dice = random.Random(seed)
    runs = await large_tree(plant, seed, dice)
    first = plant.process()
    await plant.start(first, "top")
    for _ in range(dice.randint(2, 8)):
        lives = [Life(dice.randint(0, 150), dice.random() < 0.5) for _ in range(2)]
        await plant.time.passing(plant.deliver([plant.process(life) for life in lives]))
        plant.time.forward(dice.choice([1, 31, 95, 400]))
        await plant.sweep()
    await plant.settle(plant.process(), plant.process())
    assert await plant.check() == Counter(succeeded=runs)
    await plant.close()


@pytest.mark.parametrize("killed_on", ["sqlite"], indirect=True)
async def test_a_large_tree_survives_deaths_at_random(plant: Plant) -> None:
    for seed in range(SEED, SEED + 12):
        await by_chance(plant, seed)


async def many_by_chance(plant: Plant, seeds: range) -> None:
    for seed in seeds:
        await by_chance(plant, SEED + 1000 + seed)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_a_large_tree_survives_deaths_at_random_again(plant: Plant) -> None:
    await many_by_chance(plant, range(0, 250, 5))


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("start", range(0, 250, 50))
async def test_a_large_tree_survives_deaths_at_random_again_and_again(plant: Plant, start: int) -> None:
    """Five hundred of them, half on each database."""
    await many_by_chance(plant, range(start, start + 50))

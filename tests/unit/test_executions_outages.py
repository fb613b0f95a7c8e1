"""Runs while the store has trouble: lost answers, throttling, a full partition, a fence; nothing is done twice."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from shared.database.port import Create, Operation
from shared.errors import Full, Throttled, Unavailable, Unknown
from shared.work.fencing import close, reopen
from tests.doubles.models import calls, says
from tests.unit.runs_world import RunsWorld


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    own = await RunsWorld.over(tmp_path)
    yield own
    await own.world.close()


async def noting(runs: RunsWorld) -> str:
    return await runs.start(await runs.agent("clerk", [calls(("note", {})), says("Done.")], tools=["note"]))


async def well(runs: RunsWorld, id: str) -> None:
    """The run has come to its end, and each step was done once."""
    assert (await runs.shown(id))["status"] == "succeeded"
    assert [step.attempts for step in await runs.steps(id)] == [1, 1, 1]
    assert await runs.budget() == runs.models.billed == 220
    assert (await runs.counter(), await runs.held(), runs.desk.note.sent) == (0, 0, [f"{id}:2"])


@pytest.mark.parametrize("nth", range(1, 6))
@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
async def test_a_commit_whose_answer_is_lost_is_looked_for_and_never_done_twice(
    runs: RunsWorld, nth: int, done: bool
) -> None:
    id, commits = await noting(runs), 0

    async def lost(operations: Sequence[Operation]) -> None:
        nonlocal commits
        commits += 1
        if commits == nth:
            if done:
                await runs.commit(operations)
            raise Unknown("no answer")

    runs.watch(lost)
    await runs.drain()
    if done:
        runs.world.clock.advance(seconds=20)
        await runs.world.sweep()
    await well(runs, id)


async def test_a_store_that_is_throttled_for_a_moment_is_waited_for(runs: RunsWorld) -> None:
    id, tried = await noting(runs), Counter[str]()

    async def throttled(operations: Sequence[Operation]) -> None:
        what = operations[0].kind  # what is committed beside it has its own turn
        tried[what] += 1
        if tried[what] % 2:
            raise Throttled("slow down")

    runs.watch(throttled)
    await runs.drain()
    await well(runs, id)


async def test_a_store_that_is_away_for_long_leaves_the_run_to_its_next_message(runs: RunsWorld) -> None:
    id, away = await noting(runs), True

    async def down(_: Sequence[Operation]) -> None:
        if away and runs.models.asked:
            raise Unavailable("away")

    runs.watch(down)
    with pytest.raises(Unavailable):
        await runs.time.passing(runs.executions.runner.advance(runs.tenant, id))
    away = False
    runs.world.clock.advance(minutes=3)
    await runs.world.sweep()
    await runs.drain()
    assert (await runs.shown(id))["status"] == "succeeded"
    assert [step.attempts for step in await runs.steps(id)] == [2, 1, 1]
    assert (await runs.budget(), runs.models.billed) == (220, 330)  # what nobody had recorded is nobody's


async def test_a_full_partition_ends_the_run_once_it_takes_that_and_asks_nobody_again(runs: RunsWorld) -> None:
    id, full = await noting(runs), True

    async def takes_no_more(operations: Sequence[Operation]) -> None:
        if full and runs.models.asked and any(isinstance(one, Create) for one in operations):
            raise Full("20 GB")

    runs.watch(takes_no_more)
    await runs.time.passing(runs.work())
    assert ((await runs.stored(id)).full, (await runs.shown(id))["status"]) == (True, "running")
    for _ in range(3):
        runs.world.clock.advance(minutes=6)
        await runs.world.sweep()
        await runs.time.passing(runs.work())
    full = False
    runs.world.clock.advance(minutes=6)
    await runs.world.sweep()
    await runs.drain()
    found = await runs.shown(id)
    assert (found["status"], found["stop_reason"], len(runs.models.asked)) == ("failed", "full", 1)
    assert (await runs.counter(), await runs.held(), await runs.budget()) == (0, 0, 0)


async def test_while_a_tenant_is_restored_none_begins_and_what_is_under_way_goes_on(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [calls(("note", {})), says("Done.")], tools=["note"])
    id = await runs.start(agent)
    later = [await runs.start(agent) for _ in range(2)]
    await close(await runs.session(), "restore-1")
    await runs.drain()
    assert (await runs.shown(id))["status"] == "succeeded"
    assert [(await runs.stored(one)).status for one in later] == ["succeeded", "queued"]
    refused = await runs.call("create_execution", {"input": "Do it."}, agent_id=agent)
    assert (refused.status, refused.json["code"]) == (503, "fenced")
    await reopen(await runs.session(), "restore-1")
    await runs.world.sweep()
    await runs.drain()
    assert (await runs.stored(later[1])).status == "succeeded"


async def test_a_restore_revives_no_run(runs: RunsWorld) -> None:
    made = await runs.world.backed_up(runs.tenant)
    found = await runs.run(await runs.agent("clerk", [says("Done.")]))
    await runs.call("pause_executions")
    waiting = await runs.start(found["agent_id"])
    asked = {"backup_id": made["id"], "target": "in_place", "confirm": "acme"}
    begun = await runs.call("create_restore", asked)
    assert begun.status == 202, begun.raw
    await runs.time.passing(runs.world.settled("get_restore", runs.tenant, {"restore_id": begun.json["id"]}))
    await runs.world.sweep()
    await runs.drain()
    assert ((await runs.stored(found["id"])).status, (await runs.stored(waiting)).status) == ("succeeded", "queued")
    assert len(runs.models.asked) == 1

"""What runs were given and have said is forgotten after the tenant's days; that they ran is not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions.executions.models import AREA, Snapshot
from shared.blobs.port import BlobSpace
from shared.errors import Unavailable
from tests.doubles.models import calls, says
from tests.unit.runs_world import RunsWorld
from tests.unit.world import admin

DAYS = 30


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    made = await RunsWorld.over(tmp_path, runs_retention_days=DAYS)
    yield made
    await made.world.close()


async def kept(runs: RunsWorld, id: str) -> list[str]:
    """What there is of a run beside itself."""
    store = (await runs.session()).store
    found = [kind.name for kind in (Snapshot.KIND,) if await store.get(kind, id) is not None]
    return [*found, *(one.id for one in await runs.steps(id)), *(one.name for one in await blobs(runs, id))]


async def blobs(runs: RunsWorld, id: str) -> list:  # type: ignore[type-arg]
    space: BlobSpace = runs.world.core.adapters.blobs.space(AREA, runs.tenant)
    return [one async for one in space.list(f"{id}/")]


async def days_pass(runs: RunsWorld, days: float) -> int:
    runs.world.clock.advance(days=days)
    return await runs.executions.retention.purge(await runs.session())


async def test_what_is_older_than_the_tenants_days_is_forgotten_and_what_is_not_is_kept(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("x" * 40_000)])
    old = (await runs.run(agent))["id"]
    assert await days_pass(runs, DAYS - 1) == 0
    new = (await runs.run(agent))["id"]
    before = await kept(runs, new)
    assert len(await blobs(runs, old)) == 1
    assert await days_pass(runs, 1.5) == 1
    assert await kept(runs, old) == []
    assert await kept(runs, new) == before
    found = await runs.shown(old)
    assert (found["status"], found["output"], found["tokens"]["output"]) == ("succeeded", None, 10)
    assert await days_pass(runs, 0) == 0


async def test_a_run_that_is_forgotten_has_another_etag(runs: RunsWorld) -> None:
    id = (await runs.run(await runs.agent("clerk", [says("private words")])))["id"]
    before = await runs.call("get_execution", execution_id=id)
    await days_pass(runs, DAYS + 1)
    after = await runs.call("get_execution", execution_id=id)
    assert (before.json["output"], after.json["output"]) == ("private words", None)
    assert (before.json["revision"], before.json["updated_at"]) == (after.json["revision"], after.json["updated_at"])
    where, known = {"execution_id": id}, [{"if-none-match": answer.etag} for answer in (before, after)]
    look = [
        await runs.world.call("get_execution", admin(runs.tenant), params=where, headers=headers) for headers in known
    ]
    assert [answer.status for answer in look] == [200, 304]


async def test_a_run_that_is_not_over_is_kept(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("x")])
    await runs.call("pause_executions")
    id = await runs.start(agent, seconds=7 * 86400)
    assert await days_pass(runs, DAYS + 5) == 0
    assert Snapshot.KIND.name in await kept(runs, id)


async def test_the_runs_of_a_tree_are_forgotten_each(runs: RunsWorld) -> None:
    await runs.agent("worker", [says("done")])
    lead = await runs.agent(
        "lead",
        [calls(("agent_worker", {"input": "x"})), says("all done")],
        pattern="Orchestrator",
        tools=["agent:worker"],
    )
    await runs.run(lead)
    assert await days_pass(runs, DAYS + 1) == 2
    for run in await runs.runs():
        assert await kept(runs, run.id) == []


async def test_what_is_interrupted_goes_on(runs: RunsWorld) -> None:
    id = (await runs.run(await runs.agent("clerk", [says("x" * 40_000)])))["id"]
    space = type(runs.world.core.adapters.blobs.space(AREA, runs.tenant))
    delete = space.delete

    async def broken(self: BlobSpace, name: str) -> None:
        raise Unavailable("no storage")

    space.delete = broken  # type: ignore[method-assign]
    try:
        with pytest.raises(Unavailable):
            await days_pass(runs, DAYS + 1)
    finally:
        space.delete = delete  # type: ignore[method-assign]
    assert Snapshot.KIND.name in await kept(runs, id)
    assert await days_pass(runs, 0) == 1
    assert await kept(runs, id) == []

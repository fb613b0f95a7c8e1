"""Admission: never more runs of a tenant than its plan allows, the oldest first, and no tenant waits for another."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from functions.executions.admission import RUNS
from functions.executions.soundness import admitted_as_counted
from shared.database.port import Increment, Operation, Replace, Where
from shared.tenancy.directory import TENANT
from shared.work.change import COUNTER
from tests.doubles.models import Reply, calls, says
from tests.unit.runs_world import RunsWorld


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    own = await RunsWorld.over(tmp_path)
    yield own
    await own.world.close()


async def statuses(runs: RunsWorld, *ids: str) -> list[tuple[str, bool]]:
    return [(run.status, run.admitted) for run in [await runs.stored(id) for id in ids]]


async def test_as_many_runs_are_admitted_as_the_plan_allows_and_the_others_have_tickets(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("Done.")])
    ids = [await runs.start(agent) for _ in range(4)]
    assert await statuses(runs, *ids) == [("queued", True)] * 2 + [("queued", False)] * 2
    assert (await runs.counter(), await runs.tickets()) == (2, 2)


async def test_whoever_ends_admits_the_next_the_oldest_first(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("Done.")])
    ids = [await runs.start(agent) for _ in range(4)]
    await runs.advance(ids[0])
    assert await statuses(runs, *ids[1:]) == [("queued", True), ("queued", True), ("queued", False)]
    await runs.drain()
    assert await statuses(runs, *ids) == [("succeeded", False)] * 4
    assert (await runs.counter(), await runs.tickets()) == (0, 0)


async def test_nobody_who_comes_later_overtakes_whoever_waits(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("Done.")])
    ids = [await runs.start(agent) for _ in range(3)]
    store = (await runs.session()).store
    await store.control.commit([Increment(COUNTER, RUNS, {"value": -1})])  # as if one had ended, and died then
    late = await runs.start(agent)
    assert await statuses(runs, ids[2], late) == [("queued", True), ("queued", False)]


async def test_who_waits_for_others_takes_no_place(runs: RunsWorld) -> None:
    await runs.agent("left", [says("L")])
    script = [calls(*(("agent_left", {"input": str(number)}) for number in range(5))), says("Done.")]
    lead = await runs.agent("lead", script, pattern="Orchestrator", tools=["agent:left"])
    found = [await runs.start(lead) for _ in range(3)]
    await runs.drain()
    assert [(await runs.shown(id))["output"] for id in found] == ["Done."] * 3


async def test_a_paused_tenant_starts_nothing_and_what_is_under_way_goes_on(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("Done.")])
    before = await runs.start(agent)
    paused = (await runs.call("pause_executions")).json
    assert paused == {"paused": True, "running": 1, "limit": 2}
    after = await runs.start(agent)
    await runs.drain()
    await runs.world.sweep()
    assert await statuses(runs, before, after) == [("succeeded", False), ("queued", False)]
    assert (await runs.call("pause_executions")).json["paused"] is True
    assert (await runs.call("get_admission")).json == {"paused": True, "running": 0, "limit": 2}
    assert (await runs.call("resume_executions")).json == {"paused": False, "running": 1, "limit": 2}
    assert (await runs.call("resume_executions")).json["paused"] is False
    await runs.drain()
    assert await statuses(runs, after) == [("succeeded", False)]


async def test_a_copy_of_a_tenant_runs_nothing_until_it_is_resumed(runs: RunsWorld) -> None:
    platform = runs.world.core.adapters.database.platform
    found = await platform.get(TENANT, runs.tenant, runs.tenant)
    assert found is not None
    await platform.put(Replace(TENANT, runs.tenant, {**found.body, "copy_of": "another"}, found.etag), runs.tenant)
    runs.world.clock.advance(seconds=10)
    id = await runs.start(await runs.agent("clerk", [says("Done.")]))
    await runs.drain()
    assert await statuses(runs, id) == [("queued", False)]
    await runs.call("resume_executions")
    await runs.drain()
    assert await statuses(runs, id) == [("succeeded", False)]


async def test_the_sweep_admits_whom_nobody_has(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("Done.")])
    ids = [await runs.start(agent) for _ in range(3)]
    store = (await runs.session()).store
    await store.control.commit([Increment(COUNTER, RUNS, {"value": -1})])
    await runs.world.sweep()
    assert await statuses(runs, ids[2]) == [("queued", True)]


async def test_a_message_that_was_lost_is_sent_again(runs: RunsWorld) -> None:
    id = await runs.start(await runs.agent("clerk", [says("Done.")]))
    await runs.world.queued(runs.world.core.settings.executions_queue)
    runs.world.clock.advance(seconds=61)
    await runs.world.sweep()
    await runs.drain()
    assert await statuses(runs, id) == [("succeeded", False)]


async def test_quotas_tell_how_many_runs_there_may_be(runs: RunsWorld) -> None:
    await runs.start(await runs.agent("clerk", [says("Done.")]))
    found = {one["resource"]: one for one in (await runs.call("get_quotas")).json["items"]}
    assert (found["runs"]["used"], found["runs"]["limit"], found["runs"]["reset"]) == (1, 2, None)


async def test_a_counter_that_is_wrong_is_found_once_a_day(runs: RunsWorld) -> None:
    await runs.start(await runs.agent("clerk", [says("Done.")]))
    session = await runs.session()
    assert await admitted_as_counted(session) == []
    await session.store.control.commit([Increment(COUNTER, RUNS, {"value": 1})])
    assert await admitted_as_counted(session) == ["the counter `runs` is 2, and 1 runs are admitted"]


async def test_a_tenant_with_a_thousand_waiting_runs_keeps_nobody_else_waiting(runs: RunsWorld) -> None:
    await _crowd(runs, 1000)
    other = await runs.beside("other")
    id = await other.start(await other.agent("clerk", [says("At once.")]))
    await runs.work(most=3)  # all that is in the queue: two of the thousand, and the single one; and no time passes
    assert ((await other.shown(id))["output"], await runs.tickets() > 190) == ("At once.", True)


async def _crowd(runs: RunsWorld, many: int) -> None:
    """So many runs that wait: one that the API has made, and copies of it."""
    agent = await runs.agent("crowd", [Reply("Done.")])
    ids = [await runs.start(agent) for _ in range(3)]
    await runs.copied(await runs.stored(ids[2]), many - 1)


async def test_fifty_runs_at_once_drain_and_never_more_than_allowed_are_admitted_at_any_instant(
    runs: RunsWorld,
) -> None:
    await runs.agent("left", [calls(("note", {})), says("L")], tools=["note"])
    script = [calls(("agent_left", {"input": "a"}), ("agent_left", {"input": "b"})), says("Done.")]
    lead = await runs.agent("lead", script, pattern="Orchestrator", tools=["agent:left"])
    ids = [await runs.start(lead) for _ in range(50)]
    most: list[int] = []

    async def look(operations: Sequence[Operation]) -> None:
        if any(one.kind == COUNTER and one.id == RUNS for one in operations):
            admitted = await runs.runs(Where("status", "in", ["queued", "running"]))
            most.append(max(await runs.counter(), sum(run.admitted for run in admitted)))

    runs.watch(look)
    await runs.drain()
    assert [(await runs.stored(id)).status for id in ids] == ["succeeded"] * 50
    assert len(await runs.runs()) == 150 and max(most) == 2 and len(most) > 250

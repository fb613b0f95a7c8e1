"""Cancelling: after one write no step of the tree begins, what waits is ended, and what is under way is aborted."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.database.port import Where
from tests.doubles.models import Reply, calls, says
from tests.unit.runs_world import RunsWorld
from tests.unit.world import STAFF, admin

CANCELS = 100


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    own = await RunsWorld.over(tmp_path)
    yield own
    await own.world.close()


async def cancelled(runs: RunsWorld, id: str) -> str:
    answer = await runs.call("cancel_execution", execution_id=id)
    assert answer.status == 202, answer.raw
    return str(answer.json["status"])


async def nothing_is_left(runs: RunsWorld) -> None:
    assert [run for run in await runs.runs() if not run.ended] == []
    assert (await runs.counter(), await runs.tickets(), await runs.held()) == (0, 0, 0)
    for run in await runs.runs():
        assert [step for step in await runs.steps(run.id) if not step.over] == []


async def test_a_run_that_is_queued_is_ended_at_once(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("Done.")])
    ids = [await runs.start(agent) for _ in range(3)]
    assert await cancelled(runs, ids[0]) == "cancelled"  # its message is under way
    assert await cancelled(runs, ids[2]) == "cancelled"  # its place went to this one, or it had a ticket
    await runs.drain()
    assert (await runs.shown(ids[1]))["status"] == "succeeded"
    await nothing_is_left(runs)
    assert len(runs.models.asked) == 1


async def test_a_call_under_way_is_aborted_within_half_a_second_and_costs_nothing(runs: RunsWorld) -> None:
    script = [calls(("note", {}), text="So far."), Reply(hangs=True)]
    id = await runs.start(await runs.agent("clerk", script, tools=["note"]))
    working = runs.begin(runs.work())
    await runs.until(lambda: runs.models.hanging == 1)
    assert await cancelled(runs, id) == "running"
    runs.time.forward(0.5)
    await working
    found = await runs.shown(id)
    assert (found["status"], found["stop_reason"], found["output"]) == ("cancelled", "cancelled", "So far.")
    assert [(step.status, step.attempts, step.usage is None) for step in await runs.steps(id)][-1] == (
        "cancelled",
        1,
        True,
    )
    assert await runs.budget() == 110
    await nothing_is_left(runs)


async def test_a_tool_under_way_is_aborted(runs: RunsWorld) -> None:
    runs.desk.note.hangs = True
    id = await runs.start(await runs.agent("clerk", [calls(("note", {}))], tools=["note"]))
    working = runs.begin(runs.work())
    await runs.until(lambda: bool(runs.desk.note.sent))
    await cancelled(runs, id)
    await runs.time.passing(working)
    assert (await runs.shown(id))["status"] == "cancelled"
    await nothing_is_left(runs)


async def test_the_children_are_cancelled_with_it_and_alone_they_are_not(runs: RunsWorld) -> None:
    await runs.agent("left", [Reply(hangs=True)])
    script = [calls(*(("agent_left", {"input": str(number)}) for number in range(4))), says("never")]
    id = await runs.start(await runs.agent("lead", script, pattern="Orchestrator", tools=["agent:left"]))
    working = runs.begin(runs.work())
    await runs.until(lambda: runs.models.hanging == 2)
    child = next(run for run in await runs.runs() if run.parent_id)
    answer = await runs.call("cancel_execution", execution_id=child.id)
    assert (answer.status, answer.json["root_id"]) == (409, id)
    assert await cancelled(runs, id) == "cancelled"
    await runs.time.passing(working)
    assert {run.status for run in await runs.runs()} == {"cancelled"} and len(await runs.runs()) == 5
    await nothing_is_left(runs)


async def test_an_approval_is_closed_with_the_run(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [calls(("order", {}))], tools=["order"]))
    assert await cancelled(runs, found["id"]) == "cancelled"
    decision = {"step": 2, "decision": "approve"}
    assert (await runs.call("decide_step", decision, execution_id=found["id"])).json["code"] == "wrong_state"
    await nothing_is_left(runs)
    assert runs.desk.order.sent == []


async def test_again_changes_nothing_and_what_is_over_is_not_cancelled(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("Done.")])
    id = await runs.start(agent)
    assert [await cancelled(runs, id) for _ in range(2)] == ["cancelled"] * 2
    found = await runs.run(agent)
    assert (await runs.call("cancel_execution", execution_id=found["id"])).json["code"] == "wrong_state"


async def test_whoever_cancels_and_dies_is_followed_by_a_message(runs: RunsWorld) -> None:
    await runs.call("pause_executions")
    id = await runs.start(await runs.agent("clerk", [says("Done.")]))
    end_tree, cancelling = runs.cancelling.end_tree, runs.cancelling

    async def dies(*_: object) -> None:
        raise RuntimeError("killed")

    cancelling.end_tree = dies  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError):
        await cancelling.cancel(await runs.session(), id)
    cancelling.end_tree = end_tree  # type: ignore[method-assign]
    assert (await runs.stored(id)).status == "queued"
    await runs.drain()
    assert (await runs.stored(id)).status == "cancelled"
    await nothing_is_left(runs)


async def test_admins_cancel_all_runs_of_their_tenant_and_staff_any(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("Done.")])
    ids = [await runs.start(agent) for _ in range(5)]
    other = await runs.beside("other")
    theirs = await other.start(await other.agent("clerk", [says("Done.")]))
    assert (await runs.call("cancel_executions")).json == {"cancelled": 5, "more": False}
    assert {(await runs.stored(id)).status for id in ids} == {"cancelled"}
    assert (await other.stored(theirs)).status == "queued"
    shown = (await runs.world.call("list_platform_executions", STAFF)).json["items"]
    assert [one["id"] for one in shown] == [theirs]
    assert not {"agent_name", "result", "error", "output"} & shown[0].keys()  # for which staff need a grant
    params = {"tenant_id": other.tenant, "execution_id": theirs}
    answer = await runs.world.call("cancel_platform_execution", STAFF, params=params)
    assert (answer.status, answer.json["status"]) == (202, "cancelled")
    trail = await runs.world.call("list_audit", admin(other.tenant), query={"action": "execution.cancelled_by_staff"})
    assert [(one["resource_id"], one["user_id"]) for one in trail.json["items"]] == [(theirs, STAFF.subject)]


async def test_a_hundred_cancels_at_random_moments_leave_no_step_begun_afterwards_and_no_child(tmp_path: Path) -> None:
    """After a number of commits, or while a model is asked; how late the end is, is told by the clock of the test."""
    runs, dice = await RunsWorld.over(tmp_path, max_runs=8), random.Random(20261130)
    await runs.agent("left", [calls(("note", {})), says("L")], tools=["note"])
    script = [calls(("note", {}), ("agent_left", {"input": "a"}), ("agent_left", {"input": "b"})), says("Done.")]
    lead = await runs.agent("lead", script, pattern="Orchestrator", tools=["note", "agent:left"])
    commits, left, root, late, ends = 0, 0, "", list[float](), list[str]()
    begun: dict[str, int] | None = None

    async def cancel() -> None:
        nonlocal begun
        if begun is None and not (await runs.stored(root)).ended:
            begun = {}
            await cancelled(runs, root)
            begun = await _begun(runs, root)

    async def commit(_: object) -> None:
        nonlocal commits
        commits += 1
        if commits == left:
            await cancel()

    async def hangs(_: object) -> None:
        if dice.random() < 0.2:
            runs.models.hanging += 1
            try:
                await asyncio.Event().wait()
            finally:
                runs.models.hanging -= 1

    runs.watch(commit)
    runs.models.before = hangs
    for _ in range(CANCELS):
        root = await runs.start(lead)
        commits, left, begun = 0, dice.randint(1, 40), None
        working, known, asked_at = runs.begin(runs.work()), -1, 0.0
        while not working.done():
            await asyncio.wait([working], timeout=0.01)
            if known == commits and begun is None:  # nothing moves: a model is asked
                asked_at = runs.world.clock.monotonic()
                await cancel()
            elif 0 < runs.models.hanging <= runs.time.polling:
                runs.time.forward(0.5)
            known = commits
        await working
        if asked_at:
            late.append(runs.world.clock.monotonic() - asked_at)
        if begun is not None:
            assert begun == await _begun(runs, root)
        ends.append((await runs.stored(root)).status)
    await nothing_is_left(runs)
    assert ends.count("cancelled") > CANCELS // 2 and len(late) > 10 and max(late) <= 2
    await runs.world.close()


async def _begun(runs: RunsWorld, root: str) -> dict[str, int]:
    return {run.id: run.steps for run in await runs.runs(Where("root_id", "=", root))}

"""Runs whose models, tools and neighbors do not behave: they end, are counted, and keep nobody else waiting."""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.agents.models import Agent
from functions.executions.admission import set_paused
from functions.executions.models import AREA, Execution, stored
from shared.ai.port import Answer, Connection, Question, TokenUsage, ToolCall
from shared.auth.roles import Role
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create
from shared.errors import FlowgridError, Unknown
from tests.doubles.models import Reply, calls, says
from tests.unit.runs_world import RunsWorld
from tests.unit.world import Answer as Answered
from tests.unit.world import person


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    own = await RunsWorld.over(tmp_path)
    yield own
    await own.world.close()


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


async def some_minutes(runs: RunsWorld, id: str) -> Execution:
    """Whatever a message raises, it is delivered again."""
    for _ in range(4):
        with suppress(FlowgridError):
            await runs.time.passing(runs.executions.runner.advance(runs.tenant, id))
        runs.world.clock.advance(seconds=100)
    return await runs.stored(id)


async def decided(runs: RunsWorld, id: str, step: int, decision: str, role: Role = Role.ADMIN) -> Answered:
    body = {"step": step, "decision": decision}
    answer = await runs.world.call("decide_step", person(runs.tenant, role), body, params={"execution_id": id})
    await runs.drain()
    return answer


# Approvals


async def test_the_approval_of_one_tool_is_none_of_another(runs: RunsWorld) -> None:
    """Though both calls have one id, as those of some providers do."""
    runs.desk.letter.approval = Role.USER
    script = [calls(("letter", {}), id="call_0"), calls(("order", {"what": "a yacht"}), id="call_0"), says("Done.")]
    found = await runs.run(await runs.agent("clerk", script, tools=["letter", "order"]))
    assert (await decided(runs, found["id"], 2, "approve", Role.USER)).status == 202
    assert runs.desk.order.sent == []


async def test_who_may_not_approve_a_call_may_not_have_it_repeated(runs: RunsWorld) -> None:
    runs.desk.order.raises = Unknown("cut")
    found = await runs.run(await runs.agent("clerk", [calls(("order", {})), says("Done.")], tools=["order"]))
    await decided(runs, found["id"], 2, "approve")
    assert (await runs.shown(found["id"]))["waiting_for"] == "decision"
    assert (await decided(runs, found["id"], 3, "repeat", Role.USER)).status == 403


async def test_what_has_expired_is_not_approved(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [calls(("order", {})), says("Done.")], tools=["order"])
    found = await runs.run(agent, seconds=7 * 86400)
    runs.world.clock.advance(days=3, hours=1)
    assert (await decided(runs, found["id"], 2, "approve")).status == 409
    assert runs.desk.order.sent == []


# Answers


ODD = {
    "an integer beyond 2^53": calls(("note", {"iban": 2**60})),
    "infinity": calls(("note", {"sum": float("inf")})),
    "half a character among the arguments": calls(("note", {"text": "\ud83d"})),
    "half a character in the text": says("Done \ud83d"),
    "10^13 tokens": says("Done.", usage=TokenUsage(10**13, 10)),
    "10^13 micro-USD": says("Done.", cost=10**13),
    "-500 tokens": says("Done.", usage=TokenUsage(-500, 10)),
    "a negative cost": says("Done.", cost=-7),
    "deep arguments": calls(("note", {"deep": deep(90)})),
    "arguments of 3 MB": calls(("note", {"text": "x" * 3_000_000})),
    "a tool's name of 3 MB": calls(("n" * 3_000_000, {})),
}


@pytest.mark.parametrize("reply", ODD.values(), ids=ODD)
async def test_whatever_a_model_answers_the_run_ends_and_its_tokens_count(runs: RunsWorld, reply: Reply) -> None:
    id = await runs.start(await runs.agent("clerk", [reply, says("Done.")], tools=["note"]), tokens=10**9)
    run = await some_minutes(runs, id)
    assert run.ended and len(runs.models.asked) <= 2
    assert (run.tokens.total > 0, await runs.counter(), await runs.held()) == (True, 0, 0)


async def test_a_models_name_of_3_mb_keeps_no_run(runs: RunsWorld) -> None:
    ask = runs.models.ask

    async def long(connection: Connection, question: Question) -> Answer:
        return replace(await ask(connection, question), model="m" * 3_000_000)

    runs.models.ask = long  # type: ignore[method-assign]
    run = await some_minutes(runs, await runs.start(await runs.agent("clerk", [says("Done.")])))
    assert (run.status, len(runs.models.asked)) == ("succeeded", 1)


async def test_a_tool_whose_step_has_no_room_is_not_used_again_and_again(runs: RunsWorld) -> None:
    async def use(session: Any, arguments: Mapping[str, Any], key: str) -> Any:
        runs.desk.note.sent.append(key)
        return "r" * 30_000

    runs.desk.note.use = use  # type: ignore[method-assign]
    script = [calls(("note", {"text": "x" * 255_000})), says("Done.")]
    run = await some_minutes(runs, await runs.start(await runs.agent("clerk", script, tools=["note"])))
    assert (run.status, len(runs.desk.note.sent)) == ("succeeded", 1)


async def test_calls_that_are_alike_are_told_apart_by_their_turn(runs: RunsWorld) -> None:
    """Ids that begin anew with each answer."""
    script = [calls(("note", {"text": "one"}), id="call_0"), calls(("note", {"text": "two"}), id="call_0"), says("x")]
    found = await runs.run(await runs.agent("clerk", script, tools=["note"]))
    assert (found["status"], len(runs.desk.note.sent), len({*runs.desk.note.sent})) == ("succeeded", 2, 2)
    assert ToolCall("call_0", "note", {"text": "two"}) in [step.call for step in await runs.steps(found["id"])]


# What is gone


async def test_a_run_whose_messages_are_gone_is_cancelled_all_the_same(runs: RunsWorld) -> None:
    script = [calls(("order", {}), text="t" * 40_000), says("Done.")]
    found = await runs.run(await runs.agent("clerk", script, tools=["order"]))
    await _forget_blobs(runs, found["id"])
    assert (await runs.call("cancel_execution", execution_id=found["id"])).json["status"] == "cancelled"


async def test_a_run_whose_messages_are_gone_fails_and_is_not_gone_on_with_for_ever(runs: RunsWorld) -> None:
    script = [calls(("order", {}), text="t" * 40_000), says("Done.")]
    found = await runs.run(await runs.agent("clerk", script, tools=["order"]))
    await _forget_blobs(runs, found["id"])
    await decided(runs, found["id"], 2, "approve")
    shown = await runs.stored(found["id"])
    assert (shown.status, shown.stop_reason, await runs.counter()) == ("failed", "not_found", 0)


async def _forget_blobs(runs: RunsWorld, id: str) -> None:
    space = runs.world.core.adapters.blobs.space(AREA, runs.tenant)
    for blob in [one async for one in space.list(f"{id}/")]:
        await space.delete(blob.name)


async def test_a_step_that_takes_its_runner_with_it_is_not_begun_for_ever(runs: RunsWorld) -> None:
    id = await runs.start(await runs.agent("clerk", [Reply(hangs=True)]), seconds=7 * 86400)
    for number in range(10):
        working = runs.begin(runs.work())
        await runs.until(lambda number=number: len(runs.models.asked) == number + 1)  # type: ignore[misc]
        await runs.killed(working)
        runs.world.clock.advance(seconds=100)
        await runs.world.sweep()
    await runs.drain()
    run = await runs.stored(id)
    assert (run.status, run.stop_reason, len(runs.models.asked)) == ("failed", "attempts", 10)


async def test_what_a_run_said_is_not_in_the_audit_trail(runs: RunsWorld) -> None:
    worker = await runs.agent("worker", [says("work")])
    verdict = says('{"accepted": true, "feedback": "Ada has no insurance"}')
    found = await runs.run(await runs.agent("judge", [verdict], pattern="Evaluator", config={"agent": worker}))
    assert found["result"]["feedback"] == "Ada has no insurance"
    assert b"insurance" not in (await runs.call("list_audit")).raw


# Neighbors


async def test_no_agent_that_another_runs_finds_the_wizards_tools(runs: RunsWorld) -> None:
    await runs.agent("child", [says("Nothing.")], tools=["design.keep", "design.draft"])
    script = [calls(("agent_child", {"input": "go"})), says("Done.")]
    await runs.run(await runs.agent("lead", script, pattern="Orchestrator", tools=["agent:child"]))
    offered = {spec.name for question in runs.models.asked for spec in question.tools}
    assert not {"design_keep", "design_draft"} & offered


async def test_a_tenants_many_tickets_keep_nobody_elses_from_the_hourly_repair(runs: RunsWorld) -> None:
    other = await runs.beside("other")
    await runs.call("pause_executions")
    first = await runs.start(await runs.agent("clerk", [says("Done.")]))
    await runs.copied(await runs.stored(first), 5100)
    runs.world.clock.advance(seconds=5)
    await other.call("pause_executions")
    id = await other.start(await other.agent("theirs", [says("Done.")]))
    await set_paused(await other.session(), False)  # and whoever resumed died before it admitted anybody
    await runs.world.functions["rounds"](None)
    assert (await other.stored(id)).admitted


async def test_a_tenants_many_due_runs_keep_nobody_elses_from_being_looked_at(runs: RunsWorld) -> None:
    other = await runs.beside("other")
    await runs.call("pause_executions")
    first = await runs.start(await runs.agent("clerk", [says("Done.")]), seconds=7 * 86400)
    await runs.copied(await runs.stored(first), 250)
    runs.world.clock.advance(seconds=3500)
    id = await other.start(await other.agent("theirs", [Reply(hangs=True)]))
    working = runs.begin(runs.work())
    await runs.until(lambda: runs.models.hanging == 1)
    await runs.killed(working)
    runs.world.clock.advance(seconds=200)  # its lease is over; the others' hour is, too
    queue = runs.world.core.settings.executions_queue
    await runs.world.queued(queue)
    await runs.executions.sweeping.sweep()
    assert id in {one.get("execution_id") for _ in range(4) for one in await runs.world.queued(queue)}


async def test_many_schedules_keep_nobody_elses_from_its_slot(runs: RunsWorld) -> None:
    first = await runs.agent("hog", [says("Done.")], schedule="0 0 1 1 *", status="active")
    found = await (await runs.session()).store.get(Agent.KIND, first)
    assert found is not None
    agent, store = Agent.model_validate(found.body), (await runs.session()).store.control
    at = parse_rfc3339(agent.created_at)
    for batch in range(20):
        copies = [
            agent.model_copy(
                update={
                    "id": runs.world.core.services.ids.new(),
                    "created_at": rfc3339(at + timedelta(milliseconds=batch)),
                }
            )
            for _ in range(50)
        ]
        await store.commit([Create(Agent.KIND, one.id, stored(one)) for one in copies])
    runs.world.clock.advance(seconds=60)
    other = await runs.beside("other")
    await other.agent("theirs", [says("Done.")], schedule="*/5 * * * *", status="active")
    runs.world.clock.advance(seconds=400)
    await runs.executions.scheduling.sweep()
    assert len(await other.runs()) == 1


async def test_however_many_of_a_tenants_models_hang_another_tenants_run_is_worked_on(tmp_path: Path) -> None:
    runs = await RunsWorld.over(tmp_path, max_runs=50)
    other, messages = await runs.beside("other"), runs.executions.messages
    hog = await runs.agent("hog", [Reply(hangs=True)])
    for _ in range(20):
        await runs.start(hog)
    queue = runs.world.core.settings.executions_queue
    waiting = (await runs.world.queue.receive(queue, most=20)).messages
    working = [runs.begin(messages.take(message)) for message, _ in waiting]
    await runs.until(lambda: runs.models.hanging == 8)
    id = await other.start(await other.agent("theirs", [says("Done.")]))
    ((message, _),) = (await runs.world.queue.receive(queue, most=20)).messages
    await messages.take(message)
    assert (await other.shown(id))["status"] == "succeeded"
    runs.world.clock.advance(seconds=3)
    assert len((await runs.world.queue.receive(queue, most=20)).messages) == 12  # come again
    for one in working:
        await runs.killed(one)
    await runs.world.close()

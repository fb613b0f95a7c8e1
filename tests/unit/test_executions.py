"""Runs: an agent works step after step, each metered once, within its limits and its tenant's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions.executions.models import LEASE, Execution
from shared.ai.port import ModelMalformed, ModelThrottled, ModelUnavailable, TokenUsage
from shared.database.port import Replace
from shared.tenancy.directory import TENANT
from shared.tenancy.plans import Budget
from tests.doubles.models import Reply, calls, says
from tests.unit.runs_world import RunsWorld
from tests.unit.world import STAFF


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    own = await RunsWorld.over(tmp_path)
    yield own
    await own.world.close()


async def usage(runs: RunsWorld, type: str = "ai_tokens") -> list[dict[str, Any]]:
    """The data of the events of this type; the queue is empty then."""
    found = await runs.world.queued(runs.world.core.settings.usage_queue)
    return [one["data"] for one in found if one["type"] == type]


# Working


async def test_a_run_asks_its_model_and_its_output_is_what_that_says(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [says("All done.")]))
    assert (found["status"], found["output"], found["stop_reason"]) == ("succeeded", "All done.", None)
    assert (found["tokens"], found["cost"]) == ({"input": 100, "output": 10, "cached": 30}, 7)


async def test_a_run_is_accepted_before_anything_is_done(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("All done.")])
    answer = await runs.call("create_execution", {"input": "Do it."}, agent_id=agent)
    assert (answer.status, answer.headers["Location"]) == (202, f"/api/v1/executions/{answer.json['id']}")
    assert (answer.json["status"], runs.models.asked) == ("queued", [])


async def test_the_same_request_twice_is_one_run(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("All done.")])
    answers = [
        await runs.world.call(
            "create_execution",
            runs.admin,
            {"input": "Do it."},
            params={"agent_id": agent},
            headers={"idempotency-key": "once"},
        )
        for _ in range(2)
    ]
    assert answers[0].json == answers[1].json and len(await runs.runs()) == 1


async def test_a_tool_is_used_and_the_model_goes_on_with_its_result(runs: RunsWorld) -> None:
    await runs.call("create_element", {"name": "Incident management", "type": "BusinessProcess"})
    script = [calls(("catalog_search", {"name": "incident"})), says("There is one.")]
    found = await runs.run(await runs.agent("clerk", script, tools=["catalog.search"]))
    assert found["output"] == "There is one."
    told = runs.models.asked[-1].messages[-1]
    assert (told.role, told.call_id, "Incident management" in told.text) == ("tool", "call-0-0", True)
    assert [spec.name for spec in runs.models.asked[0].tools] == ["catalog_search"]


@pytest.mark.parametrize("wanted", [("nothing", {}), ("catalog_search", {"limit": 10_000})], ids=["unknown", "wrong"])
async def test_what_cannot_be_done_is_told_to_the_model(runs: RunsWorld, wanted: tuple[str, dict[str, Any]]) -> None:
    agent = await runs.agent("clerk", [calls(wanted), says("Then not.")], tools=["catalog.search"])
    found = await runs.run(agent)
    assert (found["status"], found["output"]) == ("succeeded", "Then not.")
    assert [(step.type, step.error and step.error.code) for step in await runs.steps(found["id"])] == [
        ("model", None),
        ("tool", "tool_failed"),
        ("model", None),
    ]


async def test_a_run_goes_by_the_agent_as_it_was_when_it_began(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [says("All done.")])
    id = await runs.start(agent)
    answer = await runs.call("patch_agent", {"instructions": "Be somebody else."}, agent_id=agent)
    assert answer.status == 200
    await runs.drain()
    assert (await runs.shown(id))["agent_revision"] == 1
    assert runs.models.asked[0].instructions == "clerk"


async def test_an_orchestrator_runs_its_agents_side_by_side_and_goes_on_with_what_they_say(runs: RunsWorld) -> None:
    await runs.agent("left", [says("L")])
    await runs.agent("right", [calls(("catalog_search", {})), says("R")], tools=["catalog.search"])
    both = calls(("agent_left", {"input": "a"}), ("agent_right", {"input": "b"}))
    lead = await runs.agent("lead", [both, says("LR")], pattern="Orchestrator", tools=["agent:left", "agent:right"])
    found = await runs.run(lead)
    assert (found["status"], found["output"], found["error"]) == ("succeeded", "LR", None)
    told = [message.text for message in runs.models.asked[-1].messages if message.role == "tool"]
    assert told == ["L", "R"]
    children = [run for run in await runs.runs() if run.parent_id == found["id"]]
    assert [(run.depth, run.root_id, run.status) for run in children] == [(1, found["id"], "succeeded")] * 2


async def test_an_agent_that_has_failed_is_told_as_such(runs: RunsWorld) -> None:
    await runs.agent("left", [Reply(raises=ModelMalformed("not JSON"))])
    script = [calls(("agent_left", {"input": "a"})), says("Alone, then.")]
    found = await runs.run(await runs.agent("lead", script, pattern="Orchestrator", tools=["agent:left"]))
    assert (found["status"], found["output"]) == ("succeeded", "Alone, then.")
    assert "not JSON" in runs.models.asked[-1].messages[-1].text


async def test_an_agent_above_is_not_run_again(runs: RunsWorld) -> None:
    again = [calls(("agent_lead", {"input": "again"})), says("Enough.")]
    found = await runs.run(await runs.agent("lead", [says("")], pattern="Orchestrator"))
    agent = found["agent_id"]
    runs.models.scripts["lead"] = again
    assert (await runs.call("patch_agent", {"tools": [f"agent:{agent}"]}, agent_id=agent)).status == 200
    found = await runs.run(agent)
    assert (found["output"], len(await runs.runs())) == ("Enough.", 2)
    assert "already at work above" in runs.models.asked[-1].messages[-1].text


@pytest.mark.parametrize("limit", [{"depth": 0}, {"children": 0}])
async def test_agents_are_run_within_depth_and_number(runs: RunsWorld, limit: dict[str, int]) -> None:
    await runs.agent("left", [says("L")])
    script = [calls(("agent_left", {"input": "a"})), says("Alone, then.")]
    lead = await runs.agent("lead", script, pattern="Orchestrator", tools=["agent:left"])
    found = await runs.run(lead, "Do it.", **limit)
    assert (found["output"], len(await runs.runs())) == ("Alone, then.", 1)


# Refused at once


async def test_what_an_agent_names_must_be_there_when_it_is_run(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [], pattern="Orchestrator", tools=["catalog.destroy"])
    answer = await runs.call("create_execution", {"input": "Do it."}, agent_id=agent)
    assert (answer.status, answer.json["missing"]) == (409, ["catalog.destroy"])
    await runs.call("patch_agent", {"tools": ["agent:nobody"]}, agent_id=agent)
    answer = await runs.call("create_execution", {"input": "Do it."}, agent_id=agent)
    assert (answer.status, answer.json["missing"]) == (409, ["agent:nobody"])


async def test_a_retired_agent_is_not_run(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [], status="retired")
    assert (await runs.call("create_execution", {"input": "Do it."}, agent_id=agent)).json["code"] == "wrong_state"


async def test_more_than_a_run_can_keep_is_refused(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [])
    for body in ({"input": "ü" * 60_000}, {"input": "x", "context": {"text": "x" * 20_000}}):
        assert (await runs.call("create_execution", body, agent_id=agent)).status == 413


# Metered


async def test_what_was_used_is_counted_once_for_each_answer_and_once_for_each_run(runs: RunsWorld) -> None:
    script = [calls(("note", {})), says("Noted.", usage=TokenUsage(1000, 50, 900), cost=None)]
    id = await runs.start(await runs.agent("clerk", script, tools=["note"]))
    await runs.time.passing(runs.work())
    found = await runs.world.queued(runs.world.core.settings.usage_queue)
    data = [one["data"] for one in found if one["type"] == "ai_tokens"]
    assert [(one["value"], one["cached"], one["cost"], one["step"]) for one in data] == [
        (110, 30, 7, 1),
        (1050, 900, None, 3),
    ]
    ends = [one["data"] for one in found if one["type"] == "executions"]
    assert [(one["value"], one["status"], one["execution_id"]) for one in ends] == [(1, "succeeded", id)]
    assert await runs.budget() == runs.models.billed == 1160
    assert (await runs.budget(Budget.AI_SPEND), await runs.held(), await runs.counter()) == (7, 0, 0)


async def test_a_cost_of_which_a_part_is_not_known_is_not_known(runs: RunsWorld) -> None:
    script = [calls(("note", {}), cost=5), says("Noted.", cost=None)]
    assert (await runs.run(await runs.agent("clerk", script, tools=["note"])))["cost"] is None


async def test_the_audit_tells_of_the_start_and_the_end_and_of_no_prompt(runs: RunsWorld) -> None:
    id = await runs.start(await runs.agent("clerk", [says("All done.")]), "A secret task.")
    await runs.drain()
    answer = await runs.world.call("list_audit", runs.admin, query={"resource_id": id})
    assert [one["action"] for one in answer.json["items"]] == ["execution.succeeded", "execution.started"]
    assert b"secret" not in answer.raw


# Limits


async def test_no_step_begins_beyond_the_limit_of_steps(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [calls(("note", {}), text="So far.")], tools=["note"])
    found = await runs.run(agent, steps=4)
    assert (found["status"], found["stop_reason"], found["steps"], found["output"]) == ("failed", "steps", 4, "So far.")


async def test_tokens_are_reserved_before_they_are_used_and_bounded_over_the_whole_tree(runs: RunsWorld) -> None:
    await runs.agent("left", [calls(("note", {}))], tools=["note"], config={"max_tokens": 1000})
    script = [calls(("agent_left", {"input": "a"})), says("Done.")]
    lead = await runs.agent("lead", script, pattern="Orchestrator", tools=["agent:left"], config={"max_tokens": 1000})
    found = await runs.run(lead, tokens=3000)
    tree = await runs.tree(found["id"])
    child = next(run for run in await runs.runs() if run.parent_id)
    assert (child.status, child.stop_reason) == ("failed", "tokens")
    assert tree["tokens"] == runs.models.billed <= 3000


async def test_a_limit_of_the_cost_needs_a_known_price(runs: RunsWorld) -> None:
    runs.models.prices = None
    found = await runs.run(await runs.agent("clerk", [says("Done.")]), cost=100)
    assert (found["status"], found["stop_reason"], runs.models.asked) == ("failed", "cost", [])


async def test_a_limit_of_the_cost_holds(runs: RunsWorld) -> None:
    runs.models.prices = 60
    agent = await runs.agent("clerk", [calls(("note", {}), cost=50)], tools=["note"])
    found = await runs.run(agent, cost=100)
    assert (found["stop_reason"], found["cost"], len(runs.models.asked)) == ("cost", 50, 1)


async def test_a_month_without_room_ends_the_run_and_keeps_what_there_is(tmp_path: Path) -> None:
    runs = await RunsWorld.over(tmp_path, ai_tokens_per_month=3000)
    script = [calls(("note", {}), text="So far.", usage=TokenUsage(1900, 100))]
    found = await runs.run(await runs.agent("clerk", script, tools=["note"], config={"max_tokens": 900}))
    assert (found["status"], found["stop_reason"], found["output"]) == ("failed", "budget", "So far.")
    assert await runs.budget() == runs.models.billed == 2000
    await runs.world.close()


async def test_a_deadline_ends_a_call_under_way(runs: RunsWorld) -> None:
    id = await runs.start(await runs.agent("clerk", [Reply(hangs=True)]), seconds=30)
    await runs.drain()
    found = await runs.shown(id)
    assert (found["status"], found["stop_reason"], runs.models.hanging) == ("failed", "deadline", 0)
    assert (await runs.budget(), await runs.held(), found["tokens"]["input"]) == (0, 0, 0)


async def test_a_deadline_ends_a_run_that_waits(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [calls(("order", {}))], tools=["order"])
    found = await runs.run(agent, seconds=600)
    assert found["status"] == "waiting"
    runs.world.clock.advance(seconds=601)
    await runs.world.sweep()
    await runs.drain()
    assert ((await runs.shown(found["id"]))["stop_reason"], await runs.counter()) == ("deadline", 0)


async def test_an_answer_that_is_cut_is_no_success(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [says("It is", finish="length")]))
    assert (found["status"], found["stop_reason"], found["output"]) == ("failed", "length", "It is")


# Providers in trouble


async def test_a_provider_that_is_throttled_is_asked_again_as_it_says_and_then_no_more(runs: RunsWorld) -> None:
    before = runs.world.clock.monotonic()
    agent = await runs.agent("clerk", [Reply(raises=ModelThrottled("slow down", retry_after=20))])
    found = await runs.run(agent)
    assert (found["status"], found["stop_reason"], len(runs.models.asked)) == ("failed", "model_throttled", 3)
    assert 40 <= runs.world.clock.monotonic() - before < 120
    assert (await runs.budget(), found["tokens"]["input"]) == (0, 0)


async def test_nobody_waits_longer_than_half_a_minute_for_a_provider(runs: RunsWorld) -> None:
    before = runs.world.clock.monotonic()
    await runs.run(await runs.agent("clerk", [Reply(raises=ModelUnavailable("down", retry_after=86400))]))
    assert runs.world.clock.monotonic() - before < 120


async def test_each_try_is_shown_as_an_attempt_whatever_came_of_it(runs: RunsWorld) -> None:
    down = ModelUnavailable("down", retry_after=30)
    failed = await runs.run(await runs.agent("clerk", [Reply(raises=down)]))
    late = await runs.run(await runs.agent("late clerk", [Reply(raises=down)]), seconds=45)
    assert (failed["stop_reason"], late["stop_reason"]) == ("model_unavailable", "deadline")
    shown = [[(step.status, step.attempts) for step in await runs.steps(run["id"])] for run in (failed, late)]
    assert shown == [[("ended", 3)], [("cancelled", 2)]]
    assert len(runs.models.asked) == 5


async def test_what_is_no_use_is_not_asked_again(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [Reply(raises=ModelMalformed("not JSON"))]))
    assert (found["stop_reason"], found["error"], len(runs.models.asked)) == ("model_malformed", "not JSON", 1)


async def test_an_unknown_provider_is_told(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [], provider="nowhere"))
    assert (found["status"], found["stop_reason"]) == ("failed", "invalid_request")


# Leases, slices, and what is large


async def test_after_two_minutes_another_message_goes_on(runs: RunsWorld) -> None:
    async def slowly(question: Any) -> None:
        runs.world.clock.advance(seconds=50)

    runs.models.before = slowly
    agent = await runs.agent("clerk", [*[calls(("note", {}))] * 5, says("Done.")], tools=["note"])
    found = await runs.run(agent)
    assert (found["status"], (await runs.stored(found["id"])).epoch) == ("succeeded", 3)
    assert [step.attempts for step in await runs.steps(found["id"])] == [1] * 11


async def test_the_lease_is_renewed_while_a_model_is_asked(runs: RunsWorld) -> None:
    id = await runs.start(await runs.agent("clerk", [Reply(hangs=True)]), seconds=3600)
    working = runs.begin(runs.work())
    await runs.until(lambda: runs.models.hanging == 1)
    for _ in range(5):
        await runs.time.passing(runs.leased_beyond(id, (await runs.stored(id)).lease_until))
    run = await runs.stored(id)
    assert run.lease_until > runs.now() and run.epoch == 1
    runs.models.gate.set()
    await runs.time.passing(working)
    assert (await runs.shown(id))["status"] == "succeeded"


async def test_who_has_lost_the_run_writes_nothing(runs: RunsWorld) -> None:
    id = await runs.start(await runs.agent("clerk", [says("All done.")]))

    async def taken_over(question: Any) -> None:
        session = await runs.session()
        found = await session.store.get(Execution.KIND, id)
        assert found is not None
        body = {**found.body, "epoch": 9, "runner": "another", "mark": "another", "revision": 50}
        await session.store.control.commit([Replace(Execution.KIND, id, body, found.etag)])

    runs.models.before = taken_over
    await runs.drain()
    (step,) = await runs.steps(id)
    assert ((await runs.stored(id)).runner, step.status, await usage(runs)) == ("another", "begun", [])


async def test_what_a_dead_runner_had_asked_is_asked_again_and_shown_as_an_attempt(runs: RunsWorld) -> None:
    id = await runs.start(await runs.agent("clerk", [Reply(hangs=True), says("never")]))
    working = runs.begin(runs.work())
    await runs.until(lambda: runs.models.hanging == 1)
    await runs.killed(working)
    runs.models.scripts["clerk"] = [says("All done.")]
    runs.world.clock.advance(seconds=LEASE.total_seconds() + 1)
    await runs.world.sweep()
    await runs.drain()
    (step,) = await runs.steps(id)
    assert ((await runs.shown(id))["output"], step.attempts, await runs.budget()) == ("All done.", 2, 110)


async def test_a_message_that_comes_twice_does_no_harm(runs: RunsWorld) -> None:
    id = await runs.start(await runs.agent("clerk", [says("All done.")]))
    await runs.drain()
    await runs.advance(id)
    assert (len(runs.models.asked), await runs.budget()) == (1, 110)


async def test_large_messages_are_kept_in_blobs_whose_names_say_whose_attempt_they_are(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [says("x" * 40_000)]))
    (step,) = await runs.steps(found["id"])
    assert (step.blob, step.messages) == (f"{found['id']}/00001-1-1.json", [])
    assert found["output"] == "x" * 40_000
    listed = (await runs.call("list_steps", execution_id=found["id"])).json["items"]
    alone = (await runs.call("get_step", execution_id=found["id"], step="1")).json
    assert (listed[0]["large"], listed[0]["messages"]) == (True, [])
    assert (alone["large"], alone["messages"][0]["text"]) == (False, "x" * 40_000)


# Tenants


async def test_a_suspended_tenants_runs_end(runs: RunsWorld) -> None:
    id = await runs.start(await runs.agent("clerk", [Reply(hangs=True)]))
    working = runs.begin(runs.work())
    await runs.until(lambda: runs.models.hanging == 1)
    answer = await runs.world.call("suspend_tenant", STAFF, {"reason": "unpaid"}, params={"tenant_id": runs.tenant})
    assert answer.status == 200, answer.raw
    await runs.time.passing(working)
    run = await runs.stored(id)
    assert (run.status, run.stop_reason, runs.models.hanging) == ("cancelled", "tenant_suspended", 0)


async def test_a_suspended_tenants_waiting_runs_end_by_the_sweep(runs: RunsWorld) -> None:
    await runs.call("pause_executions")
    id = await runs.start(await runs.agent("clerk", [says("Done.")]))
    platform = runs.world.core.adapters.database.platform
    found = await platform.get(TENANT, runs.tenant, runs.tenant)
    assert found is not None
    await platform.put(Replace(TENANT, runs.tenant, {**found.body, "status": "suspended"}, found.etag), runs.tenant)
    runs.world.clock.advance(seconds=10)
    await runs.world.sweep()
    run = await runs.stored(id)
    assert (run.status, run.stop_reason, await runs.tickets()) == ("cancelled", "tenant_suspended", 0)


async def test_a_clock_that_is_set_back_keeps_no_run_waiting(runs: RunsWorld) -> None:
    runs.world.clock.advance(days=3)
    id = await runs.start(await runs.agent("clerk", [Reply(hangs=True)]), seconds=600_000)
    working = runs.begin(runs.work())
    await runs.until(lambda: runs.models.hanging == 1)
    await runs.killed(working)
    runs.models.scripts["clerk"] = [says("All done.")]
    runs.world.clock.set_back(days=2)
    await runs.world.sweep()
    await runs.drain()
    assert (await runs.shown(id))["status"] == "succeeded"

"""What people decide: calls that need an approval, and calls of which nobody knows whether they were made."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions.executions.models import LEASE
from functions.tools.port import ToolFailed
from shared.auth.roles import Role
from shared.errors import Unknown
from tests.doubles.models import calls, says
from tests.unit.runs_world import RunsWorld
from tests.unit.world import Answer, person


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    own = await RunsWorld.over(tmp_path)
    yield own
    await own.world.close()


async def decided(runs: RunsWorld, id: str, step: int, decision: str, comment: str = "") -> Answer:
    body = {"step": step, "decision": decision, "comment": comment}
    answer = await runs.call("decide_step", body, execution_id=id)
    await runs.drain()
    return answer


async def ordering(runs: RunsWorld) -> dict[str, Any]:
    """A run that waits for an approval."""
    agent = await runs.agent("clerk", [calls(("order", {"what": "paper"})), says("Done.")], tools=["order"])
    return await runs.run(agent)


async def writing(runs: RunsWorld) -> str:
    """A run whose runner has died after it had begun to send a letter."""
    runs.desk.letter.hangs = True
    id = await runs.start(await runs.agent("clerk", [calls(("letter", {})), says("Done.")], tools=["letter"]))
    working = runs.begin(runs.work())
    await runs.until(lambda: bool(runs.desk.letter.sent))
    await runs.killed(working)
    runs.desk.letter.hangs = False
    runs.world.clock.advance(seconds=LEASE.total_seconds() + 1)
    await runs.world.sweep()
    await runs.drain()
    return id


async def test_a_call_that_needs_an_approval_waits_for_it_and_takes_no_place(runs: RunsWorld) -> None:
    found = await ordering(runs)
    assert (found["status"], found["waiting_for"], await runs.counter()) == ("waiting", "approval", 0)
    assert runs.desk.order.sent == []


async def test_what_is_approved_is_done_once(runs: RunsWorld) -> None:
    found = await ordering(runs)
    assert (await decided(runs, found["id"], 2, "approve", "As agreed.")).status == 202
    shown = await runs.shown(found["id"])
    assert (shown["status"], shown["output"]) == ("succeeded", "Done.")
    assert runs.desk.order.sent == [f"{found['id']}:3"]
    assert (await decided(runs, found["id"], 2, "approve")).json["code"] == "wrong_state"
    approval = (await runs.call("get_step", execution_id=found["id"], step="2")).json
    assert (approval["told"], approval["comment"], approval["told_by"]) == (
        "approved",
        "As agreed.",
        runs.admin.user_id,
    )


async def test_what_is_rejected_is_told_to_the_model_with_the_reason(runs: RunsWorld) -> None:
    found = await ordering(runs)
    await decided(runs, found["id"], 2, "reject", "Too dear.")
    assert ((await runs.shown(found["id"]))["status"], runs.desk.order.sent) == ("succeeded", [])
    assert "Too dear." in runs.models.asked[-1].messages[-1].text


async def test_what_is_approved_is_that_call_and_no_later_one_of_the_same_id(runs: RunsWorld) -> None:
    script = [calls(("order", {"what": what}), id="one") for what in ("paper", "gold", "gold")]
    found = await runs.run(await runs.agent("clerk", [*script, says("Done.")], tools=["order"]))
    await decided(runs, found["id"], 2, "approve")
    waiting = await runs.shown(found["id"])
    assert (waiting["status"], len(runs.desk.order.sent)) == ("waiting", 1)
    await decided(runs, found["id"], 5, "approve")
    assert len({*runs.desk.order.sent}) == len(runs.desk.order.sent) == 2
    assert (await runs.shown(found["id"]))["status"] == "waiting"


async def test_what_is_approved_is_the_tool_as_it_was_and_another_is_asked_for_again(runs: RunsWorld) -> None:
    found = await ordering(runs)
    runs.desk.order.fingerprint = "another"
    await decided(runs, found["id"], 2, "approve")
    waiting = await runs.shown(found["id"])
    assert (waiting["status"], waiting["waiting_for"], runs.desk.order.sent) == ("waiting", "approval", [])
    await decided(runs, found["id"], 3, "approve")
    assert ((await runs.shown(found["id"]))["status"], len(runs.desk.order.sent)) == ("succeeded", 1)


async def test_who_approves_a_call_is_who_may_when_it_is_made(runs: RunsWorld) -> None:
    runs.desk.order.approval = Role.USER
    found = await ordering(runs)
    runs.desk.order.approval = Role.ADMIN
    user, params = person(runs.tenant, Role.USER), {"execution_id": found["id"]}
    by_user = await runs.world.call("decide_step", user, {"step": 2, "decision": "approve"}, params=params)
    await runs.drain()
    assert (by_user.status, runs.desk.order.sent) == (202, [])
    again = await runs.world.call("decide_step", user, {"step": 3, "decision": "approve"}, params=params)
    assert (again.status, again.json["code"]) == (403, "role_needed")
    await decided(runs, found["id"], 3, "approve")
    assert ((await runs.shown(found["id"]))["status"], len(runs.desk.order.sent)) == ("succeeded", 1)


@pytest.mark.parametrize(("tool", "waits"), [("letter", True), ("note", False)])
async def test_of_a_failure_that_may_be_none_a_person_decides_unless_it_may_be_done_again(
    runs: RunsWorld, tool: str, waits: bool
) -> None:
    used = runs.desk.letter if tool == "letter" else runs.desk.note
    used.raises = ToolFailed("It is not known whether it was done.", unknown=True)
    found = await runs.run(await runs.agent("clerk", [calls((tool, {})), says("Done.")], tools=[tool]))
    assert (found["waiting_for"], len(used.sent)) == ("decision" if waits else None, 1)
    if waits:
        await decided(runs, found["id"], 2, "skip")
    assert (await runs.shown(found["id"]))["status"] == "succeeded"


async def test_what_is_repeated_is_the_tool_as_it_was(runs: RunsWorld) -> None:
    id = await writing(runs)
    runs.desk.letter.fingerprint = "another"
    await decided(runs, id, 2, "repeat")
    assert ((await runs.shown(id))["status"], len(runs.desk.letter.sent)) == ("succeeded", 1)
    assert "changed" in runs.models.asked[-1].messages[-1].text


async def test_only_who_may_approve_does(runs: RunsWorld) -> None:
    found = await ordering(runs)
    user = person(runs.tenant, Role.USER)
    body = {"step": 2, "decision": "approve"}
    answer = await runs.world.call("decide_step", user, body, params={"execution_id": found["id"]})
    assert (answer.status, answer.json["code"]) == (403, "role_needed")


async def test_an_approval_expires(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [calls(("order", {})), says("Then not.")], tools=["order"])
    found = await runs.run(agent, seconds=7 * 86400)
    for _ in range(80):
        runs.world.clock.advance(hours=1, minutes=1)
        await runs.world.sweep()
        await runs.drain()
    shown = await runs.shown(found["id"])
    assert (shown["status"], shown["output"], runs.desk.order.sent) == ("succeeded", "Then not.", [])
    assert [step.told for step in await runs.steps(found["id"])][1] == "expired"


async def test_a_decision_is_in_the_audit(runs: RunsWorld) -> None:
    found = await ordering(runs)
    await decided(runs, found["id"], 2, "approve")
    answer = await runs.world.call("list_audit", runs.admin, query={"resource_id": found["id"]})
    assert [one["action"] for one in answer.json["items"]].count("execution.decided") == 1


async def test_a_call_that_may_have_been_made_is_not_made_again_by_itself(runs: RunsWorld) -> None:
    id = await writing(runs)
    found = await runs.shown(id)
    assert (found["status"], found["waiting_for"], len(runs.desk.letter.sent)) == ("waiting", "decision", 1)


async def test_it_is_repeated_when_a_person_says_so(runs: RunsWorld) -> None:
    id = await writing(runs)
    await decided(runs, id, 2, "repeat")
    assert ((await runs.shown(id))["status"], runs.desk.letter.sent) == ("succeeded", [f"{id}:2"] * 2)
    assert [step.attempts for step in await runs.steps(id)] == [1, 2, 1]


async def test_it_is_skipped_when_a_person_says_so_and_the_model_is_told(runs: RunsWorld) -> None:
    id = await writing(runs)
    await decided(runs, id, 2, "skip")
    assert ((await runs.shown(id))["status"], len(runs.desk.letter.sent)) == ("succeeded", 1)
    assert "not known" in runs.models.asked[-1].messages[-1].text


async def test_the_run_fails_when_a_person_says_so(runs: RunsWorld) -> None:
    id = await writing(runs)
    await decided(runs, id, 2, "fail")
    found = await runs.shown(id)
    assert (found["status"], found["stop_reason"], await runs.counter()) == ("failed", "decision", 0)


async def test_a_tool_that_does_not_know_itself_waits_for_a_decision(runs: RunsWorld) -> None:
    runs.desk.letter.raises = Unknown("no answer")
    agent = await runs.agent("clerk", [calls(("letter", {})), says("Done.")], tools=["letter"])
    found = await runs.run(agent)
    assert (found["waiting_for"], len(runs.desk.letter.sent)) == ("decision", 1)


async def test_an_idempotent_tool_is_used_again_under_the_same_key(runs: RunsWorld) -> None:
    runs.desk.note.raises = Unknown("no answer")
    agent = await runs.agent("clerk", [calls(("note", {})), says("Not noted.")], tools=["note"])
    found = await runs.run(agent)
    assert found["output"] == "Not noted."
    assert runs.desk.note.sent == [f"{found['id']}:2"] * 3


@pytest.mark.parametrize("decision", ["approve", "repeat", "skip"])
async def test_what_does_not_wait_is_not_decided(runs: RunsWorld, decision: str) -> None:
    found = await runs.run(await runs.agent("clerk", [says("Done.")]))
    assert (await decided(runs, found["id"], 1, decision)).json["code"] == "wrong_state"
    assert (await decided(runs, found["id"], 9, decision)).status == 404

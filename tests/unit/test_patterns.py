"""What a run does next, by its agent's pattern: pure functions of the agent as it was and of the steps so far."""

import json
from typing import Any

import pytest

from functions.executions.conversing import result_text
from functions.executions.models import Callee, Offered, Snapshot, Step, StepError, StepType
from functions.executions.patterns import evaluator, former, monitor, router
from functions.executions.patterns.next import AskModel, Finish, Next, RunChildren, UseTool
from shared.ai.port import Message, ToolCall
from shared.database.limits import encode

CLAIMS = Callee(id="id-claims", name="Claims", called="agent_claims", description="Does claims.")
LETTERS = Callee(id="id-letters", name="Letters", called="agent_letters")
SEARCH = Offered(name="catalog.search", called="catalog_search")


def snapshot(**fields: Any) -> Snapshot:
    base = {
        "id": "run",
        "created_at": "2026-11-24T12:00:00.000000Z",
        "agent_id": "a",
        "agent_name": "A",
        "agent_revision": 1,
        "pattern": "Specialist",
        "provider": "offline",
        "model": "",
        "instructions": "Be brief.",
        "input": "My roof is broken.",
    }
    return Snapshot.model_validate({**base, **fields})


def step(number: int, type: StepType, text: str = "", *, error: str | None = None, **fields: Any) -> Step:
    role = {"model": "assistant", "tool": "tool", "child": "tool"}[type]
    message = Message(role, text, call_id=None if role == "assistant" else fields.get("call_id", "x"))  # type: ignore[arg-type]
    fields.pop("call_id", None)
    base = {
        "id": f"run.{number:05}",
        "created_at": "2026-11-24T12:00:00.000000Z",
        "execution_id": "run",
        "number": number,
        "type": type,
        "name": "x",
        "status": "ended",
        "begun_at": "2026-11-24T12:00:00.000000Z",
        "begun_in": 1,
    }
    failed = StepError(code="failed", message=error) if error else None
    return Step(**{**base, "messages": [message], "error": failed, **fields})


def asks(next: Next) -> AskModel:
    assert isinstance(next, AskModel), next
    return next


def runs(next: Next) -> RunChildren:
    assert isinstance(next, RunChildren), next
    return next


def uses(next: Next) -> UseTool:
    assert isinstance(next, UseTool), next
    return next


def finishes(next: Next) -> Finish:
    assert isinstance(next, Finish), next
    return next


# Router

ROUTED = snapshot(pattern="Router", agents=[CLAIMS, LETTERS])


def choice(number: int, text: str) -> Step:
    return step(number, "model", text, label="choice")


def test_a_router_asks_for_one_of_its_agents() -> None:
    asked = asks(router.decide(ROUTED, []))
    assert asked.schema is not None and asked.schema["properties"]["agent"]["enum"] == ["agent_claims", "agent_letters"]
    assert asked.messages == [Message("user", "My roof is broken.")]
    assert asked.instructions is not None and "- agent_claims: Claims. Does claims." in asked.instructions
    assert asked.tools == ()


@pytest.mark.parametrize("fence", ["{}", "```json\n{}\n```", "```{}```"])
def test_the_chosen_agent_runs_with_the_whole_input(fence: str) -> None:
    chosen = choice(1, fence.replace("{}", '{"agent": "agent_letters", "reason": "a letter"}'))
    (call,) = runs(router.decide(ROUTED, [chosen])).calls
    assert (call.agent_id, call.input) == ("id-letters", "My roof is broken.")
    done = finishes(router.decide(ROUTED, [chosen, step(2, "child", "Dear Sir")]))
    assert (done.status, done.output_step, done.result) == (
        "succeeded",
        2,
        {"agent": "Letters", "reason": "a letter"},
    )


@pytest.mark.parametrize("wrong", ["letters!", '{"agent": "agent_nobody", "reason": ""}', "{}", "[]", ""])
def test_a_choice_that_is_none_is_asked_for_once_more(wrong: str) -> None:
    asked = asks(router.decide(ROUTED, [choice(1, wrong)]))
    assert [one.role for one in asked.messages] == ["user", "assistant", "user"]
    gave_up = finishes(router.decide(ROUTED, [choice(1, wrong), choice(2, wrong)]))
    assert (gave_up.status, gave_up.reason) == ("failed", "malformed")
    right = choice(2, '{"agent": "agent_claims", "reason": ""}')
    assert runs(router.decide(ROUTED, [choice(1, wrong), right])).calls[0].agent_id == "id-claims"


def test_what_the_chosen_agent_cannot_do_the_router_cannot() -> None:
    chosen = choice(1, '{"agent": "agent_claims", "reason": ""}')
    failed = finishes(router.decide(ROUTED, [chosen, step(2, "child", error="no budget")]))
    assert (failed.status, failed.reason, failed.error) == ("failed", "child_failed", "no budget")


def test_a_router_of_nobody_says_so() -> None:
    assert finishes(router.decide(snapshot(pattern="Router"), [])).reason == "misconfigured"


# Evaluator

JUDGED = snapshot(
    pattern="Evaluator", agents=[LETTERS], config={"agent": "Letters", "rounds": 2, "criteria": "Polite?"}
)


def verdict(number: int, text: str) -> Step:
    return step(number, "model", text, label="verdict")


YES, NO = '{"accepted": true, "feedback": "good"}', '{"accepted": false, "feedback": "rude"}'


def test_work_is_done_first_and_then_judged_by_the_criteria() -> None:
    (call,) = runs(evaluator.decide(JUDGED, [])).calls
    assert (call.agent_id, call.input) == ("id-letters", "My roof is broken.")
    asked = asks(evaluator.decide(JUDGED, [step(1, "child", "Go away")]))
    assert "Polite?" in asked.messages[0].text and "Go away" in asked.messages[0].text
    assert asked.schema == evaluator.SCHEMA


def test_accepted_work_is_the_output() -> None:
    done = finishes(evaluator.decide(JUDGED, [step(1, "child", "Dear Sir"), verdict(2, YES)]))
    assert (done.output_step, done.result) == (1, {"accepted": True, "feedback": "good", "rounds": 1})


def test_refused_work_is_mended_with_the_feedback_until_the_rounds_are_spent() -> None:
    steps = [step(1, "child", "Go away"), verdict(2, NO)]
    (call,) = runs(evaluator.decide(JUDGED, steps)).calls
    assert "rude" in call.input and "Go away" in call.input
    assert call.call.id == "work-2"
    steps += [step(3, "child", "Please go"), verdict(4, NO)]
    done = finishes(evaluator.decide(JUDGED, steps))
    assert (done.status, done.output_step) == ("succeeded", 3)
    assert done.result == {"accepted": False, "feedback": "rude", "rounds": 2}


def test_a_verdict_that_is_none_is_asked_for_once_more() -> None:
    work = step(1, "child", "Dear Sir")
    for wrong in ("fine", '{"accepted": "yes", "feedback": ""}', "{}"):
        assert len(asks(evaluator.decide(JUDGED, [work, verdict(2, wrong)])).messages) == 3
        gave_up = finishes(evaluator.decide(JUDGED, [work, verdict(2, wrong), verdict(3, wrong)]))
        assert (gave_up.status, gave_up.reason) == ("failed", "malformed")


def test_work_that_fails_is_not_judged() -> None:
    assert finishes(evaluator.decide(JUDGED, [step(1, "child", error="down")])).error == "down"


@pytest.mark.parametrize(
    ("config", "agents", "found"),
    [
        ({"agent": "id-letters"}, [CLAIMS, LETTERS], LETTERS),
        ({}, [CLAIMS], CLAIMS),
        ({}, [CLAIMS, LETTERS], None),
        ({"agent": "Nobody"}, [CLAIMS], None),
    ],
)
def test_whose_work_is_judged(config: dict[str, Any], agents: list[Callee], found: Callee | None) -> None:
    given = snapshot(pattern="Evaluator", agents=agents, config=config)
    assert evaluator.worker_of(given) == found
    if found is None:
        assert finishes(evaluator.decide(given, [])).reason == "misconfigured"


@pytest.mark.parametrize(("rounds", "meant"), [(None, 2), (1, 1), (0, 1), (99, 5), ("3", 2), (True, 2)])
def test_rounds_are_bounded(rounds: Any, meant: int) -> None:
    assert evaluator.rounds_of(snapshot(config={} if rounds is None else {"rounds": rounds})) == meant


# Monitor


def watching(op: str, path: str = "elements", **rule: Any) -> Snapshot:
    config = {"tool": "catalog.search", "arguments": {"name": "Roof"}, "rule": {"op": op, "path": path, **rule}}
    return snapshot(pattern="Monitor", tools=[SEARCH], config=config)


def observed(value: Any) -> Step:
    return step(1, "tool", json.dumps(value), label="observed")


def test_a_monitor_looks_first_and_asks_no_model() -> None:
    used = uses(monitor.decide(watching("nonempty"), []))
    assert (used.call.name, used.call.arguments) == ("catalog_search", {"name": "Roof"})
    done = finishes(monitor.decide(watching("nonempty"), [observed({"elements": []})]))
    assert (done.status, done.output_step, done.result) == ("succeeded", 1, {"tripped": False, "seen": "[]"})


def test_a_tripped_rule_asks_the_model_with_what_was_seen() -> None:
    given, seen = watching("nonempty"), observed({"elements": ["Roof 7"]})
    asked = asks(monitor.decide(given, [seen]))
    assert [one.role for one in asked.messages] == ["user"]
    assert "My roof is broken." in asked.messages[0].text and "Roof 7" in asked.messages[0].text
    assert asked.tools == ["catalog_search"]
    done = finishes(monitor.decide(given, [seen, step(2, "model", "Call the roofer.")]))
    assert (done.output_step, done.result) == (2, {"tripped": True})


def test_its_model_may_use_tools_as_a_specialist_does() -> None:
    call = ToolCall("c1", "catalog_search", {})
    answer = step(2, "model", messages=[Message("assistant", calls=[call])])
    steps = [observed({"elements": [1]}), answer]
    assert uses(monitor.decide(watching("nonempty"), steps)).call == call


@pytest.mark.parametrize(
    ("op", "value", "seen", "trips"),
    [
        ("empty", None, [], True),
        ("empty", None, None, True),
        ("empty", None, 0, False),
        ("nonempty", None, {"a": 1}, True),
        ("eq", 3, 3, True),
        ("ne", 3, 4, True),
        ("gt", 3, 4, True),
        ("gt", 3, 3, False),
        ("ge", 3, 3, True),
        ("lt", 3, 2, True),
        ("le", 3, 4, False),
        ("gt", 3, "many", False),
        ("contains", "x", ["x"], True),
        ("contains", "x", "axb", True),
        ("contains", "x", 7, False),
    ],
)
def test_rules(op: str, value: Any, seen: Any, trips: bool) -> None:
    following = monitor.decide(watching(op, "deep.0.er", value=value), [observed({"deep": [{"er": seen}]})])
    assert isinstance(following, AskModel) is trips


def test_what_is_not_there_is_empty_and_nothing_else() -> None:
    for op in monitor.OPS:
        following = monitor.decide(watching(op, "no.where", value=1), [observed({"no": []})])
        assert isinstance(following, AskModel) is (op in ("empty", "ne"))


def test_a_look_that_fails_fails_the_run() -> None:
    failed = step(1, "tool", error="gone", label="observed")
    assert finishes(monitor.decide(watching("empty"), [failed])).reason == "tool_failed"


@pytest.mark.parametrize(
    ("said", "path", "shown"),
    [
        ("[" * 60_000, "0", None),
        ('["\\ud83d"]', "0", '"?"'),
        ("[[1]]", "²", None),
        ("[[1]]", "9" * 5000, None),
        ("[NaN]", "0", "NaN"),
    ],
)
def test_whatever_a_tool_says_what_was_seen_can_be_kept(said: str, path: str, shown: str | None) -> None:
    done = finishes(monitor.decide(watching("eq", path, value=2), [step(1, "tool", said, label="observed")]))
    assert done.result == {"tripped": False, "seen": shown}
    encode(dict(done.result))


@pytest.mark.parametrize("op", monitor.OPS)
def test_what_was_cut_is_not_taken_for_empty(op: str) -> None:
    said = result_text({"elements": [{"text": "x" * 100}] * 1000})
    done = finishes(monitor.decide(watching(op, value=1), [step(1, "tool", said, label="observed")]))
    assert (done.status, done.reason, done.error) == ("failed", "tool_failed", monitor.TOO_LONG)


@pytest.mark.parametrize("config", [{}, {"rule": 1}, {"tool": "catalog.search", "rule": {"op": "like"}}, {"tool": "x"}])
def test_a_monitor_without_a_rule_says_what_it_needs(config: dict[str, Any]) -> None:
    done = finishes(monitor.decide(snapshot(pattern="Monitor", tools=[SEARCH], config=config), []))
    assert (done.reason, done.error) == ("misconfigured", monitor.NO_RULE)


# Forms

TOOLS = [Offered(name="design.keep", called="design_keep"), Offered(name="design.draft", called="design_draft")]


def form(provider: str = "openai") -> Snapshot:
    config = {"keep": "design.keep", "draft": "design.draft", "schema": {"type": "object"}, "arguments": {"of": "x"}}
    return snapshot(provider=provider, tools=TOOLS, config=config)


def test_a_form_is_filled_in_and_kept() -> None:
    asked = asks(former.decide(form(), []))
    assert (asked.schema, len(asked.messages)) == ({"type": "object"}, 1)
    answer = step(1, "model", '{"a": 1}')
    kept = uses(former.decide(form(), [answer]))
    assert (kept.call.name, kept.call.arguments) == ("design_keep", {"of": "x", "text": '{"a": 1}'})
    assert finishes(former.decide(form(), [answer, step(2, "tool", "{}")])).output_step == 2


def test_what_is_refused_is_mended_once_and_then_reported() -> None:
    steps = [step(1, "model", "one"), step(2, "tool", error="agents: is missing")]
    asked = asks(former.decide(form(), steps))
    assert [one.text for one in asked.messages] == ["My roof is broken.", "one", "agents: is missing"]
    steps += [step(3, "model", "two")]
    assert uses(former.decide(form(), steps)).call.id == "keep-2"
    failed = finishes(former.decide(form(), [*steps, step(4, "tool", error="still")]))
    assert (failed.status, failed.reason) == ("failed", "unusable")
    assert failed.error is not None and "still" in failed.error


def test_offline_a_tool_does_it_without_a_model() -> None:
    offline = form("offline")
    assert uses(former.decide(offline, [])).call.name == "design_draft"
    assert finishes(former.decide(offline, [step(1, "tool", "{}")])).status == "succeeded"
    assert finishes(former.decide(offline, [step(1, "tool", error="no")])).reason == "unusable"

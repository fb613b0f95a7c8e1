"""Runs whose AI provider fails them, through the real SDKs: each ends by a name, and what was not answered is free.

Time passes as the tests say, so that no pause is waited for.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions.executions.acting import TRIES
from shared.ai.port import Wire
from tests.doubles.ai import AiDouble, Fault, Reply
from tests.wire.agents_world import FIRST, LEAD, NAMES, Pressed, Wired

SEARCH = ("catalog_search", {"name": "incident"})
THROTTLED = Fault(429, {"retry-after": "7"}, '{"error": {"type": "rate_limit_error", "message": "Slow down."}}')
TROUBLE = Fault(500, {}, '{"error": {"type": "api_error", "message": "We are down."}}')
HANGS = Fault(hangs=True)
CUT = Fault()
CUT_SHORT = {"openai": "length", "anthropic": "max_tokens"}
FAULTS = {
    "throttled": (THROTTLED, TRIES, "model_throttled"),
    "trouble": (TROUBLE, TRIES, "model_unavailable"),
    "hangs": (HANGS, TRIES, "model_timeout"),
    "cut": (CUT, TRIES, "model_unavailable"),
    "malformed": (Fault(200, {}, '{"id": "half'), 1, "model_malformed"),
    "other json": (Fault(200, {}, '{"hello": "world"}'), 1, "model_malformed"),
    "wrong key": (Fault(401, {}, '{"error": {"type": "authentication_error", "message": "No."}}'), 1, "model_refused"),
}


@pytest.fixture(params=["openai", "anthropic"])
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


@pytest.fixture
async def acme(tmp_path: Path, provider: AiDouble, wire: Wire) -> AsyncIterator[Pressed]:
    own = await Pressed.over(tmp_path, provider, wire)
    yield own
    await own.world.close()


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> tuple[Fault, int, str]:
    """A fault, how often it is asked for, and what the run ends by."""
    return FAULTS[request.param]


def tells_no_key(acme: Wired, *told: Any) -> bool:
    return not any(key in json.dumps(told) for key in acme.keys.values())


async def test_a_run_whose_provider_fails_ends_by_a_name_and_is_charged_nothing(
    acme: Pressed, wire: Wire, fault: tuple[Fault, int, str]
) -> None:
    failing, tries, code = fault
    agent = await acme.agent("Clerk", NAMES[wire][LEAD])
    acme.double.script = [failing] * tries
    run = await acme.run(agent)
    assert (run["status"], run["stop_reason"], len(acme.double.asked)) == ("failed", code, tries)
    (step,) = (await acme.call("list_steps", execution_id=run["id"]))["items"]
    assert (step["status"], step["error"]["code"], step["attempts"], step["usage"]) == ("ended", code, tries, None)
    assert run["error"] and tells_no_key(acme, run, step)
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 0)
    assert (await acme.run(agent))["status"] == "succeeded"
    assert await acme.books() == acme.bill()


@pytest.mark.parametrize(
    "fault", [FAULTS["hangs"], FAULTS["cut"], FAULTS["malformed"]], ids=["hangs", "cut", "malformed"]
)
async def test_what_was_answered_before_a_failure_is_charged(
    acme: Pressed, wire: Wire, fault: tuple[Fault, int, str]
) -> None:
    failing, tries, code = fault
    acme.double.script = [Reply("Let me see.", calls=[SEARCH], input=811, output=29, cached=256)]
    acme.double.script += [failing] * tries
    run = await acme.run(await acme.agent("Clerk", NAMES[wire][LEAD], tools=["catalog.search"]))
    assert (run["status"], run["stop_reason"], run["steps"]) == ("failed", code, 3)
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 840)


@pytest.mark.parametrize("failing", [THROTTLED, TROUBLE, HANGS, CUT], ids=["throttled", "trouble", "hangs", "cut"])
async def test_what_is_answered_in_the_end_is_charged_once(acme: Pressed, wire: Wire, failing: Fault) -> None:
    acme.double.script = [failing, Reply("There is one.", input=407, output=11, cached=64)]
    run = await acme.run(await acme.agent("Clerk", NAMES[wire][LEAD]))
    assert (run["status"], run["output"], len(acme.double.asked)) == ("succeeded", "There is one.", 2)
    (step,) = (await acme.call("list_steps", execution_id=run["id"]))["items"]
    assert step["attempts"] == 2
    assert (7.0 in acme.paused) == (failing is THROTTLED)
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 418)


async def test_a_child_that_fails_is_told_to_its_parent_which_goes_on(acme: Pressed, wire: Wire) -> None:
    lead, first = NAMES[wire][LEAD], NAMES[wire][FIRST]
    acme.double.scripts = {
        lead: [
            Reply(calls=[("agent_Clerk", {"input": "Do it."})], input=301, output=13),
            Reply("It cannot be done.", input=377, output=7, cached=256),
        ],
        first: [TROUBLE] * TRIES,
    }
    await acme.agent("Clerk", first)
    run = await acme.run(await acme.agent("Lead", lead, "Orchestrator", tools=["agent:Clerk"]))
    assert (run["status"], run["output"]) == ("succeeded", "It cannot be done.")
    children = await acme.call("list_executions", query={"root_id": run["id"], "status": "failed"})
    assert [one["stop_reason"] for one in children["items"]] == ["model_unavailable"]
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 698)


@pytest.mark.parametrize("wire", ["openai"])  # the other has arguments as a part of its JSON
async def test_a_call_whose_arguments_are_no_json_is_told_to_the_model_and_charged(acme: Pressed, wire: Wire) -> None:
    acme.double.script = [
        Reply(calls=[("catalog_search", '{"name": "inci')], input=500, output=8),
        Reply("Then not.", input=530, output=3),
    ]
    run = await acme.run(await acme.agent("Clerk", NAMES[wire][LEAD], tools=["catalog.search"]))
    assert (run["status"], run["output"]) == ("succeeded", "Then not.")
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 1041)


async def test_a_number_that_is_none_everywhere_is_told_to_the_model_as_text(acme: Pressed, wire: Wire) -> None:
    acme.double.script = [
        Reply(calls=[("catalog_search", '{"name": 12345678901234567890}')], input=500, output=8),
        Reply("Nothing is called so.", input=530, output=3),
    ]
    run = await acme.run(await acme.agent("Clerk", NAMES[wire][LEAD], tools=["catalog.search"]))
    assert (run["status"], run["output"]) == ("succeeded", "Nothing is called so.")
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 1041)


@pytest.mark.parametrize("fault", [FAULTS["trouble"], FAULTS["malformed"]], ids=["trouble", "malformed"])
async def test_a_wizard_whose_provider_fails_says_so_and_works_when_asked_anew(
    acme: Pressed, wire: Wire, fault: tuple[Fault, int, str]
) -> None:
    failing, tries, _ = fault
    body = {"brief": "Answer letters about incidents.", "provider": "ours", "model": NAMES[wire][LEAD]}
    acme.double.script = [failing] * tries
    id = (await acme.call("create_design", body))["id"]
    await acme.drain()
    found = await acme.call("get_design", design_id=id)
    assert (found["working"], found["questions"], found["proposal"]) == (False, [], None)
    assert found["error"] and tells_no_key(acme, found)
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 0)
    acme.double.script = [Reply('{"questions": [{"key": "tone", "text": "How polite?"}]}', input=600, output=20)]
    again = (await acme.call("create_design", body))["id"]
    await acme.drain()
    assert (await acme.call("get_design", design_id=again))["questions"]
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 620)


async def test_an_answer_that_is_cut_at_its_length_ends_the_run_and_is_charged(acme: Pressed, wire: Wire) -> None:
    acme.double.script = [Reply("There is", input=90, output=50, finish=CUT_SHORT[wire])]
    run = await acme.run(await acme.agent("Clerk", NAMES[wire][LEAD], config={"max_tokens": 50}))
    assert (run["status"], run["stop_reason"], run["output"]) == ("failed", "length", "There is")
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 140)


async def test_a_run_whose_limit_has_no_room_for_an_answer_asks_nobody(acme: Pressed, wire: Wire) -> None:
    run = await acme.run(await acme.agent("Clerk", NAMES[wire][LEAD], config={"max_tokens": 2000}), tokens=2000)
    assert (run["status"], run["stop_reason"], acme.double.asked) == ("failed", "tokens", [])
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 0)


async def test_a_run_that_hangs_ends_at_its_deadline(acme: Pressed, wire: Wire) -> None:
    acme.models.seconds = 20.0
    acme.double.script = [HANGS]
    run = await acme.run(await acme.agent("Clerk", NAMES[wire][LEAD]), seconds=5)
    assert (run["status"], run["stop_reason"]) == ("failed", "deadline")
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 0)


async def test_a_run_that_hangs_is_cancelled_within_two_seconds(tmp_path: Path, provider: AiDouble, wire: Wire) -> None:
    acme = await Wired.over(tmp_path, provider, wire)  # in real time
    agent = await acme.agent("Clerk", NAMES[wire][LEAD])
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    provider.script = [HANGS]
    provider.on_asked = lambda: loop.call_soon_threadsafe(asked.set)
    id = await acme.start(agent)
    working = asyncio.create_task(acme.drain())
    await asked.wait()
    at = loop.time()
    await acme.call("cancel_execution", execution_id=id)
    await working
    assert loop.time() - at < 2.0
    run = await acme.call("get_execution", execution_id=id)
    assert (run["status"], run["stop_reason"], len(provider.asked)) == ("cancelled", "cancelled", 1)
    (step,) = (await acme.call("list_steps", execution_id=id))["items"]
    assert (step["status"], step["attempts"], step["usage"]) == ("cancelled", 1, None)
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 0)
    await acme.world.close()

"""Agents of each pattern, and the wizard, on providers that speak like the real ones; charged to the digit.

HTTP routes, queues, SDKs and sockets are the app's own. What the providers say that each key has used is what the
tenant's usage, its events, its runs and its budget come to.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.ai.port import Wire
from tests.doubles.ai import AiDouble, Reply
from tests.wire.agents_world import FIRST, LEAD, NAMES, SECOND, Wired
from tests.wire.ai_connections import WIRES

ELEMENT = {"name": "Incident management", "type": "BusinessProcess"}
SEARCH = ("catalog_search", {"name": "incident"})


@pytest.fixture(params=["openai", "anthropic"])
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


@pytest.fixture
async def acme(tmp_path: Path, provider: AiDouble, wire: Wire) -> AsyncIterator[Wired]:
    own = await Wired.over(tmp_path, provider, wire)
    await own.call("create_element", ELEMENT)
    yield own
    await own.world.close()


@pytest.fixture
def models(wire: Wire, provider: AiDouble) -> list[list[Any]]:
    """The scripts of the three models, by number."""
    provider.scripts = {name: [] for name in NAMES[wire]}
    return [provider.scripts[name] for name in NAMES[wire]]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_specialist_uses_a_tool(acme: Wired, wire: Wire) -> None:
    acme.double.script = [
        Reply(calls=[SEARCH, ("catalog_read", {"id": "nothing"})], input=1203, output=37, cached=512),
        Reply("There is one.", input=1411, output=23, cached=1152, written=128 if wire == "anthropic" else 0),
    ]
    agent = await acme.agent("Clerk", NAMES[wire][LEAD], tools=["catalog.search", "catalog.read"])
    run = await acme.run(agent)
    assert (run["status"], run["output"], run["steps"]) == ("succeeded", "There is one.", 4)
    assert run["tokens"] == {"input": 2614, "output": 60, "cached": 1664}
    assert ELEMENT["name"] in json.dumps(acme.double.asked[-1].body)
    assert await acme.books() == acme.bill()


async def test_an_orchestrator_has_two_specialists_work_side_by_side(
    acme: Wired, wire: Wire, models: list[list[Any]]
) -> None:
    lead, first, second = models
    lead += [
        Reply(
            calls=[("agent_Seeker", {"input": "Seek."}), ("agent_Writer", {"input": "Write."})], input=900, output=44
        ),
        Reply("Sought and written.", input=1100, output=31, cached=896),
    ]
    first += [Reply(calls=[SEARCH], input=310, output=19), Reply("Found.", input=505, output=3, cached=256)]
    second += [Reply("Written.", input=77, output=5, cached=64)]
    await acme.agent("Seeker", NAMES[wire][FIRST], tools=["catalog.search"])
    await acme.agent("Writer", NAMES[wire][SECOND])
    tools = ["agent:Seeker", "agent:Writer"]
    run = await acme.run(await acme.agent("Lead", NAMES[wire][LEAD], "Orchestrator", tools=tools))
    assert (run["status"], run["output"]) == ("succeeded", "Sought and written.")
    told = json.dumps(acme.double.asked[-1].body)
    assert "Found." in told and "Written." in told
    books = await acme.books()
    assert (books, len(books.by_model)) == (acme.bill(), 3)


async def test_a_router_that_chooses_nobody_is_asked_once_more_and_both_answers_are_charged(
    acme: Wired, wire: Wire, models: list[list[Any]]
) -> None:
    models[LEAD] += [
        Reply("The writer, please.", input=401, output=9),
        Reply('{"agent": "agent_Writer", "reason": "a letter"}', input=455, output=17, cached=384),
    ]
    models[FIRST] += [Reply("Dear Sir", input=88, output=8)]
    await acme.agent("Writer", NAMES[wire][FIRST])
    await acme.agent("Seeker", NAMES[wire][SECOND])
    router = await acme.agent("Desk", NAMES[wire][LEAD], "Router", tools=["agent:Writer", "agent:Seeker"])
    run = await acme.run(router)
    assert (run["status"], run["output"]) == ("succeeded", "Dear Sir")
    assert run["result"] == {"agent": "Writer", "reason": "a letter"}
    assert await acme.books() == acme.bill()


async def test_an_evaluator_has_refused_work_mended(acme: Wired, wire: Wire, models: list[list[Any]]) -> None:
    models[LEAD] += [
        Reply('{"accepted": false, "feedback": "be polite"}', input=222, output=13),
        Reply('{"accepted": true, "feedback": "good"}', input=241, output=11, cached=192),
    ]
    models[FIRST] += [Reply("Go away.", input=97, output=4), Reply("Dear Sir", input=143, output=6, cached=64)]
    await acme.agent("Writer", NAMES[wire][FIRST])
    config = {"agent": "Writer", "criteria": "Polite?", "rounds": 3}
    run = await acme.run(await acme.agent("Judge", NAMES[wire][LEAD], "Evaluator", config=config))
    assert (run["status"], run["output"]) == ("succeeded", "Dear Sir")
    assert run["result"] == {"accepted": True, "feedback": "good", "rounds": 2}
    assert "be polite" in json.dumps([one.body for one in acme.double.asked if one.body["model"] == NAMES[wire][FIRST]])
    assert await acme.books() == acme.bill()


async def test_a_monitor_asks_its_model_only_when_its_rule_trips(acme: Wired, wire: Wire) -> None:
    def watching(name: str) -> dict[str, Any]:
        return {"tool": "catalog.search", "arguments": {"name": name}, "rule": {"path": "elements", "op": "nonempty"}}

    calm = await acme.run(await acme.agent("Calm", NAMES[wire][LEAD], "Monitor", config=watching("Outage")))
    assert (calm["status"], calm["result"]["tripped"], acme.double.asked) == ("succeeded", False, [])
    assert (await acme.books(), acme.bill().total) == (acme.bill(), 0)
    acme.double.script = [Reply("Look at incidents.", input=613, output=12, cached=128)]
    alarmed = await acme.run(await acme.agent("Alarmed", NAMES[wire][LEAD], "Monitor", config=watching("Incident")))
    assert (alarmed["output"], alarmed["result"]) == ("Look at incidents.", {"tripped": True})
    assert await acme.books() == acme.bill()


def proposal(element: str, *, type: str = "Serving") -> str:
    """A desk that hands letters on to a writer; of that `type` is the one relationship."""
    writer = {"key": "writer", "name": "Writer", "pattern": "Specialist", "instructions": "Write.", "element": "new"}
    desk = {"key": "desk", "name": "Desk", "pattern": "Router", "instructions": "Route.", "tools": ["agent:writer"]}
    there = {"key": "there", "existing_id": element, "name": ELEMENT["name"], "type": ELEMENT["type"]}
    new = {"key": "new", "name": "Letters", "type": "ApplicationService"}
    arrow = {"type": type, "source": "new", "target": "there"}
    made = {"agents": [desk, writer], "elements": [there, new], "relationships": [arrow]}
    return json.dumps({"summary": "A desk and a writer.", **made})


@pytest.mark.parametrize("wire", WIRES)
async def test_the_wizard_asks_proposes_mends_once_and_what_is_accepted_works(acme: Wired, wire: Wire) -> None:
    (element,) = (await acme.call("list_elements"))["items"]
    asked = {"questions": [{"key": "tone", "text": "How polite?", "choices": ["very"]}]}
    acme.double.script = [Reply(json.dumps(asked), input=3011, output=41, cached=1024)]
    body = {"brief": "Answer letters about incidents.", "provider": "ours", "model": NAMES[wire][LEAD]}
    id = (await acme.call("create_design", body))["id"]
    await acme.drain()
    found = await acme.call("get_design", design_id=id)
    assert ([one["key"] for one in found["questions"]], found["error"]) == (["tone"], None)

    wrong = proposal(element["id"], type="Composition")
    acme.double.script = [
        Reply(wrong, input=3333, output=402, cached=2048),
        Reply(proposal(element["id"]), input=3901, output=398, cached=3072),
    ]
    await acme.call("answer_design", {"answers": {"tone": "very"}}, design_id=id)
    await acme.drain()
    found = await acme.call("get_design", design_id=id)
    assert (found["status"], found["working"], found["error"]) == ("proposed", False, None)
    assert "This cannot be made" in json.dumps(acme.double.asked[-1].body)

    made = (await acme.call("accept_design", design_id=id))["made"]
    acme.double.script = [
        Reply('{"agent": "agent_Writer", "reason": "it is one"}', input=190, output=14),
        Reply("Dear Sir", input=61, output=2),
    ]
    run = await acme.run(made["agents"]["desk"])
    assert (run["status"], run["output"]) == ("succeeded", "Dear Sir")
    assert acme.double.script == []
    assert await acme.books() == acme.bill()


async def test_what_the_wizard_cannot_use_twice_is_reported_and_charged(acme: Wired, wire: Wire) -> None:
    acme.double.script = [Reply("Questions? None.", input=700, output=5), Reply("{}", input=760, output=1, cached=640)]
    body = {"brief": "Answer letters about incidents.", "provider": "ours", "model": NAMES[wire][LEAD]}
    id = (await acme.call("create_design", body))["id"]
    await acme.drain()
    found = await acme.call("get_design", design_id=id)
    assert (found["working"], found["questions"]) == (False, [])
    assert found["error"].startswith("What came of it cannot be used")
    assert await acme.books() == acme.bill()


async def test_each_provider_and_each_tenant_has_its_own_bill(acme: Wired, wire: Wire) -> None:
    globex = await acme.beside("globex", wire)
    other: Wire = "anthropic" if wire != "anthropic" else "openai"
    await acme.provider("others", other)
    agents = [
        (acme, await acme.agent("Clerk", NAMES[wire][LEAD])),
        (acme, await acme.agent("Clerk of others", NAMES[other][FIRST], provider="others")),
        (globex, await globex.agent("Clerk", NAMES[wire][LEAD])),
    ]
    acme.double.script = [Reply(input=1000 + 7 * n, output=10 + n, cached=64 * n) for n in range(9)]
    for _ in range(3):
        for tenant, agent in agents:
            await tenant.start(agent)
    await acme.drain()
    assert acme.double.script == []
    for tenant in (acme, globex):
        books = await tenant.books()
        assert (books, len(books.by_model)) == (tenant.bill(), len(tenant.keys))
    told = sum(acme.double.billed_models.values())
    assert told == acme.bill().total + globex.bill().total == sum(1010 + 8 * n for n in range(9))


async def test_the_model_that_has_answered_is_the_one_that_is_counted(acme: Wired, wire: Wire) -> None:
    acme.double.script = [Reply(input=300, output=20, model=f"{NAMES[wire][LEAD]}-2026-08-07")]
    await acme.run(await acme.agent("Clerk", NAMES[wire][LEAD]))
    books = await acme.books()
    assert (books, books.by_model) == (acme.bill(), {f"ours/{NAMES[wire][LEAD]}-2026-08-07": 320})

"""The design wizard, offline: from a brief over questions and a proposal to a team that is there, or to nothing."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions.agents.models import Agent
from functions.agents.service import AgentService
from functions.catalog.archimate import is_allowed
from functions.catalog.models import Element, Relationship
from functions.design.models import MAX_ITEMS
from functions.design.service import DesignService
from shared.auth.roles import Role
from shared.database.port import Operation
from shared.errors import Unavailable
from shared.work.session import TenantSession
from tests.doubles.models import says
from tests.unit.runs_world import RunsWorld
from tests.unit.test_design_drafting import BRIEFS, LANDSCAPE
from tests.unit.world import WatchedStore, admin, person

BRIEF = "Triage new claims and hand each on. Do the claims handling. Draft a letter to the customer."


@pytest.fixture
async def wizard(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    made = await RunsWorld.over(tmp_path)
    yield made
    await made.world.close()


async def landscape(wizard: RunsWorld) -> dict[str, str]:
    """The elements of the drafting's tests, in the tenant's catalog: their ids by what they are called there."""
    ids = {}
    for one in LANDSCAPE:
        body = {"name": one.name, "type": one.type}
        ids[one.id] = (await wizard.call("create_element", body)).json["id"]
    return ids


async def begun(wizard: RunsWorld, brief: str = BRIEF) -> str:
    answer = await wizard.call("create_design", {"brief": brief})
    assert answer.status == 202, answer.raw
    await wizard.drain()
    return str(answer.json["id"])


async def shown(wizard: RunsWorld, id: str) -> dict[str, Any]:
    answer = await wizard.call("get_design", design_id=id)
    assert answer.status == 200, answer.raw
    found: dict[str, Any] = answer.json
    return found


async def proposed(wizard: RunsWorld, brief: str = BRIEF, **answers: str) -> str:
    id = await begun(wizard, brief)
    answer = await wizard.call("answer_design", {"answers": answers}, design_id=id)
    assert answer.status == 202, answer.raw
    await wizard.drain()
    assert (await shown(wizard, id))["proposal"] is not None
    return id


async def listed(wizard: RunsWorld, name: str) -> list[dict[str, Any]]:
    answer = await wizard.world.call(name, admin(wizard.tenant), query={"limit": "200"})
    items: list[dict[str, Any]] = answer.json["items"]
    return items


async def test_a_brief_is_answered_with_questions(wizard: RunsWorld) -> None:
    answer = await wizard.call("create_design", {"brief": BRIEF})
    id = answer.json["id"]
    assert (answer.status, answer.headers["Location"]) == (202, f"/api/v1/design/sessions/{id}")
    assert (answer.json["status"], answer.json["working"], answer.json["questions"]) == ("asking", True, [])
    await wizard.drain()
    found = await shown(wizard, id)
    assert (found["status"], found["working"], found["error"]) == ("asking", False, None)
    assert [one["key"] for one in found["questions"]] == ["approval", "subject"]


async def test_who_looks_again_by_the_etag_hears_that_the_run_is_over(wizard: RunsWorld) -> None:
    made = await wizard.call("create_design", {"brief": BRIEF})
    where = {"design_id": made.json["id"]}
    before = await wizard.call("get_design", **where)
    await wizard.call("cancel_execution", execution_id=made.json["execution_id"])
    after = await wizard.call("get_design", **where)
    assert (before.json["working"], before.etag) == (True, made.etag)
    assert (after.json["working"], after.json["error"], after.json["revision"]) == (False, "cancelled", 1)
    look = [
        await wizard.world.call(
            "get_design", admin(wizard.tenant), params=where, headers={"if-none-match": answer.etag}
        )
        for answer in (before, after)
    ]
    assert [answer.status for answer in look] == [200, 304]


async def test_a_session_is_deleted_as_the_version_that_is_shown(wizard: RunsWorld) -> None:
    made = await wizard.call("create_design", {"brief": BRIEF})
    where = {"design_id": made.json["id"]}
    await wizard.call("cancel_execution", execution_id=made.json["execution_id"])
    etags = [made.etag, (await wizard.call("get_design", **where)).etag]
    deleted = [
        await wizard.world.call("delete_design", admin(wizard.tenant), params=where, headers={"if-match": etag})
        for etag in etags
    ]
    assert [answer.status for answer in deleted] == [412, 204]


async def test_of_an_accepted_session_nothing_is_asked_again(wizard: RunsWorld) -> None:
    """Though the last change of its proposal came to nothing: it is shown as acceptance has shown it."""
    id = await proposed(wizard)
    again = await wizard.call("revise_design", {"feedback": "Leave the alerts out."}, design_id=id)
    await wizard.call("cancel_execution", execution_id=again.json["execution_id"])
    assert (await shown(wizard, id))["error"] == "cancelled"
    accepted = await wizard.call("accept_design", design_id=id)
    found = await wizard.call("get_design", design_id=id)
    assert (accepted.status, found.json["error"], found.etag) == (200, None, accepted.etag)


async def test_answers_lead_to_a_proposal_and_feedback_to_another(wizard: RunsWorld) -> None:
    await landscape(wizard)
    id = await proposed(wizard, approval="yes, with approval")
    first = (await shown(wizard, id))["proposal"]
    assert [one["pattern"] for one in first["agents"]] == ["Router", "Specialist", "Specialist"]
    assert "catalog.propose" in first["agents"][1]["tools"]
    answer = await wizard.call("revise_design", {"feedback": "Leave out the letters."}, design_id=id)
    assert (answer.status, answer.json["working"]) == (202, True)
    await wizard.drain()
    second = await shown(wizard, id)
    assert [one["name"] for one in second["proposal"]["agents"]] == [one["name"] for one in first["agents"][:2]]
    assert second["status"] == "proposed"


@pytest.mark.parametrize("brief", BRIEFS, ids=[" ".join(brief.split()[:3]) for brief in BRIEFS])
async def test_ten_briefs_are_accepted_in_one_go(wizard: RunsWorld, brief: str) -> None:
    patterns, reused = BRIEFS[brief]
    ids = await landscape(wizard)
    id = await proposed(wizard, brief)
    accepted = await wizard.call("accept_design", design_id=id)
    assert (accepted.status, accepted.json["status"]) == (200, "accepted")
    made = accepted.json["made"]
    agents = {one["id"]: one for one in await listed(wizard, "list_agents")}
    elements = {one["id"]: one for one in await listed(wizard, "list_elements")}
    relationships = {one["id"]: one for one in await listed(wizard, "list_relationships")}
    assert [agents[made["agents"][key]]["pattern"] for key in made["agents"]] == patterns
    assert {id for id in made["elements"].values() if id in ids.values()} == {ids[name] for name in reused}
    assert {*made["relationships"]} == {*relationships}
    assert all(
        is_allowed(one["type"], elements[one["source_id"]]["type"], elements[one["target_id"]]["type"])
        for one in relationships.values()
    )
    for one in agents.values():
        called = [tool.removeprefix("agent:") for tool in one["tools"] if tool.startswith("agent:")]
        assert {*called, *filter(None, [one["config"].get("agent")])} <= {*agents}
        assert one["status"] == "draft"


async def test_what_it_has_made_runs(wizard: RunsWorld) -> None:
    """Also a Monitor, whose tool has to be there."""
    await landscape(wizard)
    id = await proposed(wizard, "Monitor the customer portal every hour and alert us when it is slow.")
    made = (await wizard.call("accept_design", design_id=id)).json["made"]
    (agent,) = made["agents"].values()
    wizard.models.scripts[(await wizard.call("get_agent", agent_id=agent)).json["instructions"]] = [
        says("It is there.")
    ]
    run = await wizard.run(agent)
    assert (run["status"], run["result"], run["output"]) == ("succeeded", {"tripped": True}, "It is there.")


# One batch


async def watched(wizard: RunsWorld) -> tuple[TenantSession, WatchedStore]:
    session = await wizard.session()
    store = WatchedStore(session.store)
    return replace(session, store=store), store


async def test_all_of_it_is_one_batch_however_large(wizard: RunsWorld) -> None:
    brief = " ".join(f"Prepare report number{number} of region{number}." for number in range(12))
    id = await proposed(wizard, brief)
    proposal = (await shown(wizard, id))["proposal"]
    made = len(proposal["agents"]) + len(proposal["elements"]) + len(proposal["relationships"])
    assert made == MAX_ITEMS - 1
    session, store = await watched(wizard)
    await DesignService(None, AgentService()).accept(session, id)  # type: ignore[arg-type]  # it starts no run
    assert len(store.batches) == 1


async def test_killed_before_or_after_its_batch_it_is_accepted_once(wizard: RunsWorld) -> None:
    id = await proposed(wizard)
    session, store = await watched(wizard)
    service = DesignService(None, AgentService())  # type: ignore[arg-type]

    async def before(_: Sequence[Operation]) -> None:
        raise Unavailable("killed before")

    async def after(operations: Sequence[Operation]) -> None:
        await store.inner.commit(operations)
        raise Unavailable("killed after")

    for store.before, there in ((before, 0), (after, 3)):
        with pytest.raises(Unavailable):
            await service.accept(session, id)
        assert len(await listed(wizard, "list_agents")) == there
    store.before = None
    accepted = await service.accept(session, id)
    assert accepted.made is not None
    assert {one["id"] for one in await listed(wizard, "list_agents")} == {*accepted.made.agents.values()}


async def test_of_two_who_accept_at_once_one_makes_it_and_both_hear_of_it(wizard: RunsWorld) -> None:
    id = await proposed(wizard)
    session, store = await watched(wizard)
    service = DesignService(None, AgentService())  # type: ignore[arg-type]
    others: list[Any] = []

    async def other(_: Sequence[Operation]) -> None:
        store.before = None
        others.append((await wizard.call("accept_design", design_id=id)).json["made"])

    store.before = other
    accepted = await service.accept(session, id)
    assert accepted.made is not None
    assert [accepted.made.model_dump()] == others
    assert len(await listed(wizard, "list_agents")) == 3


async def test_a_plan_without_room_makes_nothing(wizard: RunsWorld) -> None:
    id = await proposed(wizard)
    for number in range(48):
        await wizard.agent(f"a{number}", [])
    refused = await wizard.call("accept_design", design_id=id)
    assert (refused.status, refused.json["limit"], refused.json["current"]) == (429, 50, 48)
    assert await listed(wizard, "list_elements") == []
    assert (await shown(wizard, id))["status"] == "proposed"


async def test_an_element_that_has_gone_is_named_and_a_revision_does_without(wizard: RunsWorld) -> None:
    ids = await landscape(wizard)
    id = await proposed(wizard, "Answer questions about policy data.")
    await wizard.call("delete_element", element_id=ids["e-policies"])
    refused = await wizard.call("accept_design", design_id=id)
    assert (refused.status, refused.json["errors"][0]["field"]) == (409, "elements.0.existing_id")
    await wizard.call("revise_design", {"feedback": "Answer questions about invoices."}, design_id=id)
    await wizard.drain()
    assert (await wizard.call("accept_design", design_id=id)).status == 200


async def test_each_thing_that_is_made_is_in_the_audit_trail(wizard: RunsWorld) -> None:
    id = await proposed(wizard, "Answer questions about policy data.")
    await wizard.call("accept_design", design_id=id)
    entries = await listed(wizard, "list_audit")
    last = [one["action"] for one in entries if one["created_at"] == entries[0]["created_at"]]
    assert sorted(last) == [
        "agent.created",
        "design.accepted",
        "element.created",
        "element.created",
        "relationship.created",
    ]


# What it refuses


async def test_one_thing_at_a_time(wizard: RunsWorld) -> None:
    answer = await wizard.call("create_design", {"brief": BRIEF})
    params = {"design_id": answer.json["id"]}
    for name, body in (("answer_design", {"answers": {}}), ("accept_design", None)):
        refused = await wizard.call(name, body, **params)
        assert (refused.status, refused.json["code"]) == (409, "wrong_state"), refused.raw
    await wizard.drain()
    early = await wizard.call("revise_design", {"feedback": "More."}, **params)
    assert (early.status, early.json["detail"]) == (
        409,
        "There is no proposal to change yet; answer the questions first.",
    )
    assert (await wizard.call("accept_design", **params)).status == 409
    unasked = await wizard.call("answer_design", {"answers": {"color": "red"}}, **params)
    assert (unasked.status, unasked.json["errors"][0]["field"]) == (400, "answers.color")


async def test_what_is_accepted_is_not_changed_any_more(wizard: RunsWorld) -> None:
    id = await proposed(wizard)
    await wizard.call("accept_design", design_id=id)
    for name, body in (("answer_design", {"answers": {}}), ("revise_design", {"feedback": "More."})):
        assert (await wizard.call(name, body, design_id=id)).status == 409
    assert (await wizard.call("delete_design", design_id=id)).status == 204
    assert len(await listed(wizard, "list_agents")) == 3


async def test_a_run_that_is_cancelled_leaves_a_session_that_can_be_asked_again(wizard: RunsWorld) -> None:
    answer = await wizard.call("create_design", {"brief": BRIEF})
    id = answer.json["id"]
    await wizard.call("cancel_execution", execution_id=answer.json["execution_id"])
    await wizard.drain()
    found = await shown(wizard, id)
    assert (found["working"], found["error"], found["questions"]) == (False, "cancelled", [])
    assert (await wizard.call("answer_design", {"answers": {}}, design_id=id)).status == 202


async def test_a_session_is_deleted_while_its_run_is_under_way(wizard: RunsWorld) -> None:
    answer = await wizard.call("create_design", {"brief": BRIEF})
    await wizard.call("delete_design", design_id=answer.json["id"])
    await wizard.drain()
    run = await wizard.shown(answer.json["execution_id"])
    assert (run["status"], run["stop_reason"]) == ("failed", "unusable")


async def test_no_agent_of_a_tenant_finds_the_wizards_tools(wizard: RunsWorld) -> None:
    agent = await wizard.agent("a", [], tools=["design.keep"])
    refused = await wizard.call("create_execution", {"input": "x"}, agent_id=agent)
    assert (refused.status, refused.json["missing"]) == (409, ["design.keep"])


async def test_viewers_look_on(wizard: RunsWorld) -> None:
    viewer = person(wizard.tenant, Role.VIEWER)
    assert (await wizard.world.call("create_design", viewer, {"brief": BRIEF})).status == 403
    id = await begun(wizard)
    assert (await wizard.world.call("get_design", viewer, params={"design_id": id})).status == 200
    assert (await wizard.world.call("accept_design", viewer, params={"design_id": id})).status == 403


def test_what_it_makes_is_journalled_and_restored() -> None:
    assert all(kind.journalled for kind in (Agent.KIND, Element.KIND, Relationship.KIND))

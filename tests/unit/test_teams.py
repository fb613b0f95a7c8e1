"""Teams: agents as a document that another tenant can take in; and an agent's revisions."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions.agents.teams import MAX_AGENTS
from shared.auth.roles import Role
from tests.unit.world import World, admin, person


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World.over(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def acme(world: World) -> str:
    return str((await world.onboard("acme"))["id"])


@pytest.fixture
async def globex(world: World) -> str:
    return str((await world.onboard("globex"))["id"])


async def made(world: World, tenant: str, name: str, **fields: Any) -> str:
    answer = await world.call("create_agent", admin(tenant), {"name": name, "pattern": "Specialist", **fields})
    assert answer.status == 201, answer.raw
    return str(answer.json["id"])


async def exported(world: World, tenant: str, *ids: str) -> dict[str, Any]:
    answer = await world.call("export_team", admin(tenant), query={"id": ",".join(ids)} if ids else {})
    assert answer.status == 200, answer.raw
    team: dict[str, Any] = answer.json
    return team


async def taken(world: World, tenant: str, team: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
    answer = await world.call("import_team", admin(tenant), team, query={"dry_run": str(dry_run).lower()})
    assert answer.status == 200, answer.raw
    report: dict[str, Any] = answer.json
    return report


async def test_a_team_is_the_same_in_another_tenant(world: World, acme: str, globex: str) -> None:
    element = {"name": "Claim handling", "type": "BusinessProcess"}
    here = (await world.call("create_element", admin(acme), element)).json["id"]
    there = (await world.call("create_element", admin(globex), element)).json["id"]
    worker = await made(world, acme, "Worker", element_id=here, instructions="Work.", status="active")
    judge = await made(world, acme, "Judge", pattern="Evaluator", config={"agent": worker, "rounds": 3})
    await made(world, acme, "Lead", pattern="Orchestrator", tools=[f"agent:{judge}", "catalog.search"])
    report = await taken(world, globex, await exported(world, acme))
    assert report["warnings"] == []
    ids = {one["name"]: one["id"] for one in report["agents"]}
    agents = {one["name"]: one for one in (await world.call("list_agents", admin(globex))).json["items"]}
    assert {name: one["id"] for name, one in agents.items()} == ids
    assert {one["status"] for one in agents.values()} == {"draft"}
    assert (agents["Worker"]["element_id"], agents["Worker"]["instructions"]) == (there, "Work.")
    assert agents["Judge"]["config"] == {"agent": ids["Worker"], "rounds": 3}
    assert agents["Lead"]["tools"] == [f"agent:{ids['Judge']}", "catalog.search"]


async def test_a_dry_run_says_what_would_be_and_makes_nothing(world: World, acme: str, globex: str) -> None:
    element = (await world.call("create_element", admin(acme), {"name": "Desk", "type": "BusinessProcess"})).json["id"]
    await made(world, acme, "Clerk", element_id=element)
    report = await taken(world, globex, await exported(world, acme), dry_run=True)
    assert [(one["name"], one["id"], one["element_id"]) for one in report["agents"]] == [("Clerk", None, None)]
    assert report["warnings"] == ["Clerk: there is no BusinessProcess called 'Desk' here."]
    assert (await world.call("list_agents", admin(globex))).json["items"] == []


async def test_tools_that_name_agents_outside_are_left_behind(world: World, acme: str) -> None:
    other = await made(world, acme, "Other")
    lead = await made(world, acme, "Lead", pattern="Orchestrator", tools=[f"agent:{other}", "catalog.read"])
    team = await exported(world, acme, lead)
    assert [one["agent"]["tools"] for one in team["agents"]] == [["catalog.read"]]


async def test_all_of_a_team_or_none_is_taken(world: World, globex: str) -> None:
    agent = {"name": "x", "pattern": "Specialist"}
    agents = [{"key": f"k{number}", "agent": agent} for number in range(MAX_AGENTS)]
    await taken(world, globex, {"agents": agents})
    await taken(world, globex, {"agents": agents})
    await taken(world, globex, {"agents": agents[:9]})
    refused = await world.call("import_team", admin(globex), {"agents": agents[:2]})
    assert (refused.status, refused.json["limit"], refused.json["current"]) == (429, 50, 49)
    assert len((await world.call("list_agents", admin(globex), query={"limit": "200"})).json["items"]) == 49


@pytest.mark.parametrize(
    ("agents", "field"),
    [
        ([{"key": "a"}, {"key": "a"}], "agents.1.key"),
        ([{"key": "a", "tools": ["agent:b"]}], "agents.0.agent.tools"),
        ([{"key": "a", "element_id": "019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11"}], "agents.0.agent.element_id"),
        ([{"key": "a b"}], "agents.0.key"),
        ([], "agents"),
        ([{"key": f"k{number}"} for number in range(MAX_AGENTS + 1)], "agents"),
    ],
)
async def test_what_is_wrong_with_a_team_is_said_by_field(
    world: World, acme: str, agents: list[dict[str, Any]], field: str
) -> None:
    bare = {"name": "x", "pattern": "Specialist"}
    body = {"agents": [{"key": one.pop("key"), "agent": {**bare, **one}} for one in map(dict, agents)]}
    answer = await world.call("import_team", admin(acme), body)
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (400, [field])


async def test_there_is_no_team_of_others_agents_and_none_of_nobody(world: World, acme: str, globex: str) -> None:
    agent = await made(world, acme, "Secret")
    assert (await world.call("export_team", admin(globex), query={"id": agent})).status == 404
    assert (await world.call("export_team", admin(globex))).status == 404


async def test_more_agents_than_a_team_has_are_named(world: World, acme: str) -> None:
    for number in range(MAX_AGENTS + 1):
        await made(world, acme, f"x{number}")
    answer = await world.call("export_team", admin(acme))
    assert (answer.status, answer.json["code"]) == (413, "too_large")


async def test_revisions_are_told_as_they_were(world: World, acme: str, globex: str) -> None:
    agent = await made(world, acme, "One")
    params, viewer = {"agent_id": agent}, person(acme, Role.VIEWER)
    first = (await world.call("get_agent", viewer, params=params)).json
    await world.call("patch_agent", admin(acme), {"name": "Two"}, params=params)
    await world.call("delete_agent", admin(acme), params=params)
    listed = (await world.call("list_agent_revisions", viewer, params=params)).json["items"]
    assert [(one["agent"]["name"], one["revision"]) for one in listed] == [("Two", 2), ("One", 1)]
    assert listed[1]["agent"] == first
    assert (await world.call("list_agent_revisions", admin(globex), params=params)).status == 404
    paged = await world.call("list_agent_revisions", viewer, params=params, query={"limit": "2"})
    rest = await world.call("list_agent_revisions", viewer, params=params, query={"cursor": paged.json["next_cursor"]})
    assert [one["revision"] for one in paged.json["items"] + rest.json["items"]] == [2, 1]


async def test_a_team_of_which_some_is_gone_is_not_told_again(world: World, acme: str, globex: str) -> None:
    for name in ("one", "two"):
        await made(world, acme, name)
    team, sent = await exported(world, acme), {"idempotency-key": "k-1"}
    first, again = [await world.call("import_team", admin(globex), team, headers=sent) for _ in range(2)]
    gone = first.json["agents"][1]["id"]
    await world.call("delete_agent", admin(globex), params={"agent_id": gone})
    late = await world.call("import_team", admin(globex), team, headers=sent)
    assert (again.status, again.raw) == (200, first.raw)
    assert (late.status, late.json["code"], late.json["id"]) == (409, "conflict", gone)


async def test_what_was_told_in_a_dry_run_is_told_again(world: World, acme: str) -> None:
    await made(world, acme, "one")
    team, sent, query = await exported(world, acme), {"idempotency-key": "k-1"}, {"dry_run": "true"}
    told = [await world.call("import_team", admin(acme), team, query=query, headers=sent) for _ in range(2)]
    assert (told[1].status, told[1].raw) == (200, told[0].raw)

"""Cases of agents: what an answer must be like, and that nothing becomes active past them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions.agents.cases import Expected
from tests.unit.world import World, admin

EXPECTED = [{"op": "contains", "value": "photo"}]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World.over(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def acme(world: World) -> str:
    return str((await world.onboard("acme"))["id"])


@pytest.fixture
async def agent(world: World, acme: str) -> str:
    body = {"name": "Intake", "pattern": "Specialist", "status": "active"}
    return str((await world.call("create_agent", admin(acme), body)).json["id"])


async def case(world: World, tenant: str, agent: str, **fields: Any) -> Any:
    body = {"agent_id": agent, "name": "Roof", "input": "My roof is broken.", "expected": EXPECTED, **fields}
    return await world.call("create_case", admin(tenant), body)


@pytest.mark.parametrize(
    ("op", "value", "answer", "holds"),
    [
        ("contains", " Photo ", "Send a PHOTO of it.", True),
        ("contains", "photo", "Send it.", False),
        ("lacks", "photo", "Send it.", True),
        ("lacks", "photo", "Photo!", False),
        ("equals", "claims", " Claims\n", True),
        ("equals", "claims", "Claims.", False),
    ],
)
def test_what_an_answer_must_be_like(op: Any, value: str, answer: str, holds: bool) -> None:
    assert Expected(op=op, value=value).holds(answer) is holds


async def test_cases_are_listed_by_their_agent(world: World, acme: str, agent: str) -> None:
    made = (await case(world, acme, agent)).json
    listed = await world.call("list_cases", admin(acme), query={"agent_id": agent})
    assert listed.json["items"] == [made]
    other = await world.call("list_cases", admin(acme), query={"agent_id": made["id"]})
    assert other.json["items"] == []


async def test_a_case_is_of_an_agent_that_is_there_and_stays(world: World, acme: str, agent: str) -> None:
    wrong = await case(world, acme, "019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11")
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (400, "agent_id")
    await case(world, acme, agent)
    refused = await world.call("delete_agent", admin(acme), params={"agent_id": agent})
    assert (refused.status, refused.json["code"], len(refused.json["cases"])) == (409, "in_use", 1)


async def test_an_agent_with_cases_is_not_changed_while_it_is_active(world: World, acme: str, agent: str) -> None:
    await case(world, acme, agent)
    params, who = {"agent_id": agent}, admin(acme)
    for patch in ({"instructions": "Be rude."}, {"status": "active", "name": "x"}):
        refused = await world.call("patch_agent", who, patch, params=params)
        assert (refused.status, refused.json["code"]) == (409, "unproved")
    draft = await world.call("patch_agent", who, {"instructions": "Be kind.", "status": "draft"}, params=params)
    assert (draft.status, draft.json["status"]) == (200, "draft")
    assert (await world.call("patch_agent", who, {"status": "active"}, params=params)).json["code"] == "unproved"


async def test_an_agent_without_cases_is_as_free_as_ever(world: World, acme: str, agent: str) -> None:
    for patch in ({"instructions": "Be brief."}, {"status": "draft"}, {"status": "active"}):
        assert (await world.call("patch_agent", admin(acme), patch, params={"agent_id": agent})).status == 200

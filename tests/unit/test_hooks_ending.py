"""Hooks end with whatever they rest on: the person, their identity, its issuer, the key, and the key that made that."""

from dataclasses import replace
from typing import Any

import pytest

from functions.hooks.models import HookItem
from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.database.documents import opened
from tests.doubles.models import says
from tests.unit.hooks_world import SECRETS, delivered, hook_of
from tests.unit.keys_world import by_key, key_of, member
from tests.unit.runs_world import RunsWorld
from tests.unit.world import admin, person

OWN = "https://login.acme.example"


@pytest.fixture
async def clerk(runs: RunsWorld) -> str:
    return await runs.agent("clerk", [says("Filed.")])


async def hook_by(runs: RunsWorld, key: dict[str, Any], agent: str) -> dict[str, Any]:
    """A hook that this key has made."""
    body = {"name": "By a key", "style": "github", "secret": SECRETS["github"]}
    answer = await by_key(runs.world, key["key"], "create_hook", body, params={"agent_id": agent})
    assert answer.status == 201, answer.raw
    made: dict[str, Any] = answer.json
    return made


async def key_with(runs: RunsWorld, user: Caller, **fields: Any) -> dict[str, Any]:
    return await key_of(runs.world, user, **{"role": "user", "scopes": ["execute"], **fields})


async def taken(runs: RunsWorld, hook: dict[str, Any], number: int) -> tuple[int, str | None]:
    answer = await delivered(runs.world, hook, {"number": number})
    return answer.status, answer.json.get("code")


async def test_a_hook_ends_with_the_key_that_made_its_key(runs: RunsWorld, clerk: str) -> None:
    grace = await member(runs.world, runs.tenant)
    parent = await key_of(runs.world, grace)
    child = {"name": "child", "role": "user", "scopes": ["execute"]}
    made = (await by_key(runs.world, parent["key"], "create_api_key", child)).json
    hook = await hook_by(runs, made, clerk)
    assert await taken(runs, hook, 1) == (202, None)
    params = {"api_key_id": parent["id"]}
    assert (await runs.world.call("delete_api_key", grace, params=params)).status == 204
    assert await taken(runs, hook, 2) == (403, "not_a_member")


async def test_a_hook_ends_with_the_identity_of_whoever_made_it_and_is_not_the_next_persons(
    runs: RunsWorld, clerk: str
) -> None:
    world, grace = runs.world, await member(runs.world, runs.tenant, role="user")
    hooks = [await hook_of(world, grace, clerk), await hook_by(runs, await key_with(runs, grace), clerk)]
    params = {"user_id": hooks[0]["user_id"]}
    assert (await world.call("unbind_user", admin(runs.tenant), params=params)).status == 200
    assert [await taken(runs, hook, 1) for hook in hooks] == [(403, "not_a_member")] * 2
    assert (await world.call("get_me", replace(grace, subject="another person"))).status == 200
    assert [await taken(runs, hook, 2) for hook in hooks] == [(403, "not_a_member")] * 2
    assert await runs.runs() == []


async def test_a_hook_ends_with_the_issuer_by_which_whoever_made_it_signs_in(runs: RunsWorld, clerk: str) -> None:
    world, boss, email = runs.world, admin(runs.tenant), "ida@acme.example"
    assert (await world.call("create_user", boss, {"email": email, "role": "admin"})).status == 201
    own = {"issuer": OWN, "audience": "flowgrid", "email_domains": ["acme.example"]}
    issuer = (await world.call("create_issuer", boss, own)).json
    ida = replace(person(runs.tenant, Role.ADMIN, email), issuer=OWN, own_issuer=True)
    hooks = [await hook_of(world, ida, clerk), await hook_by(runs, await key_with(runs, ida), clerk)]
    assert [await taken(runs, hook, 1) for hook in hooks] == [(202, None)] * 2
    assert (await world.call("delete_issuer", boss, params={"issuer_id": issuer["id"]})).status == 204
    assert [await taken(runs, hook, 2) for hook in hooks] == [(403, "not_a_member")] * 2


async def test_a_run_of_a_hook_that_a_key_has_made_is_in_the_audit_under_that_key(runs: RunsWorld, clerk: str) -> None:
    grace = await member(runs.world, runs.tenant)
    key = await key_with(runs, grace)
    hook = await hook_by(runs, key, clerk)
    assert await taken(runs, hook, 1) == (202, None)
    assert await taken(runs, await hook_of(runs.world, grace, clerk), 1) == (202, None)
    query = {"action": "execution.started", "sort": "created_at"}
    trail = (await runs.world.call("list_audit", admin(runs.tenant), query=query)).json["items"]
    assert [(one["user_id"], one["api_key_id"]) for one in trail] == [
        (hook["user_id"], key["id"]),
        (hook["user_id"], None),
    ]
    assert {one.api_key_id for one in await runs.runs()} == {key["id"], None}


def test_a_hook_of_an_older_release_can_be_looked_at_and_rests_on_nobody() -> None:
    stored = opened(HookItem.KIND, {"id": "hook:1", "kind": "hook", "name": "Claims"})
    assert stored["identity"] == "" and stored["name"] == "Claims"

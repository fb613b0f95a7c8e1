"""API keys: told once, found by one read, usable wherever a token is, and for what they were made only."""

import asyncio
import re
from datetime import timedelta
from typing import Any
from zlib import crc32

import pytest

from functions.identity.apikeys import MOST_DAYS, USUAL_DAYS
from shared.auth.apikeys import KEY_PATTERN, issue, parsed
from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.clock import rfc3339
from shared.errors import Unauthenticated
from shared.members.apikeys import PROOF, ApiKey
from shared.tenancy.plans import PLANS, Tier
from shared.work.change import COUNTER
from tests.unit.keys_world import ALL, by_key, key_of, member, why_not
from tests.unit.world import AGENT, OTHER_ID, STAFF, TENANT_ID, World, admin, person


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard())["id"])


@pytest.fixture
async def grace(world: World, tenant: str) -> Caller:
    return await member(world, tenant)


# What one looks like


def test_a_key_has_a_form_that_scanners_find_and_carries_its_tenant_and_its_id() -> None:
    text = issue("prod-eu", TENANT_ID, OTHER_ID)
    found = parsed(text)
    assert re.fullmatch(KEY_PATTERN, text)
    assert (found.environment, found.tenant_id, found.id) == ("prod-eu", TENANT_ID, OTHER_ID)
    assert text.startswith(found.prefix) and len(text) - len(found.prefix) == 64 - 6 + 8
    assert issue("prod-eu", TENANT_ID, OTHER_ID) != text


@pytest.mark.parametrize("place", range(3, 146, 3))
def test_a_wrong_character_is_told_from_a_wrong_key(place: int) -> None:
    text = issue("dev", TENANT_ID, OTHER_ID)
    other = "0" if text[place] != "0" else "1"
    with pytest.raises(Unauthenticated) as caught:
        parsed(text[:place] + other + text[place + 1 :])
    assert caught.value.reason in ("key_checksum", "key_form")


@pytest.mark.parametrize("text", ["fg_", "fg_dev_1_2_3", issue("dev", TENANT_ID, OTHER_ID)[:-1], "fg_" + "0" * 10_000])
async def test_what_merely_begins_like_a_key_is_refused_without_a_look(world: World, tenant: str, text: str) -> None:
    assert await why_not(world, text) == (401, "unauthenticated")


async def test_it_is_told_once_and_afterwards_how_it_begins(world: World, grace: Caller) -> None:
    made = await key_of(world, grace)
    shown = (await world.call("get_api_key", grace, params={"api_key_id": made["id"]})).json
    listed = (await world.call("list_api_keys", grace)).json["items"]
    assert made["key"].startswith(made["prefix"]) and shown["prefix"] == made["prefix"]
    assert "key" not in shown and listed == [shown]


async def test_its_digest_is_kept_and_nothing_shows_it(world: World, tenant: str, grace: Caller) -> None:
    made = await key_of(world, grace)
    stored = await (await world.session(tenant)).store.get(PROOF, made["id"])
    assert stored is not None
    digest = parsed(made["key"]).digest
    assert [one["digest"] for one in stored.body["secrets"]] == [digest]
    trail = (await world.call("list_audit", admin(tenant))).raw
    assert digest.encode() not in trail and made["key"].encode() not in trail


async def test_a_repetition_under_an_idempotency_key_has_the_same_key_without_its_text(
    world: World, tenant: str, grace: Caller
) -> None:
    body, headers = {"name": "Nightly", "scopes": ["read"]}, {"idempotency-key": "once"}
    first = await world.call("create_api_key", grace, body, headers=headers)
    again = await world.call("create_api_key", grace, body, headers=headers)
    assert again.json == {**first.json, "key": None} and again.headers["Idempotency-Replayed"] == "true"
    params = {"api_key_id": first.json["id"]}
    rotated = await world.call("rotate_api_key", grace, params=params, headers={"idempotency-key": "rotation"})
    repeated = await world.call("rotate_api_key", grace, params=params, headers={"idempotency-key": "rotation"})
    assert rotated.json["key"] is not None and repeated.json == {**rotated.json, "key": None}


# What it opens


async def test_it_is_used_wherever_a_token_is_and_acts_as_its_user(world: World, tenant: str, grace: Caller) -> None:
    made = await key_of(world, grace)
    me = (await by_key(world, made["key"])).json
    agent = await by_key(world, made["key"], "create_agent", AGENT)
    assert (me["user"]["email"], me["role"], me["tenant"]["id"]) == ("grace@acme.example", "tenant:admin", tenant)
    assert (agent.status, agent.json["created_by"]) == (201, me["user"]["id"])


async def test_what_it_does_is_in_the_trail_under_the_key_and_its_user(
    world: World, tenant: str, grace: Caller
) -> None:
    made = await key_of(world, grace)
    await by_key(world, made["key"], "create_agent", AGENT)
    await world.call("create_agent", grace, AGENT)
    query = {"api_key_id": made["id"], "action": "agent.created"}
    by = (await world.call("list_audit", admin(tenant), query=query)).json["items"]
    by_both = (await world.call("list_audit", admin(tenant), query={"action": "agent.created"})).json["items"]
    assert [(one["api_key_id"], one["user_id"]) for one in by] == [(made["id"], made["user_id"])]
    assert {one["user_id"] for one in by_both} == {made["user_id"]} and len(by_both) == 2
    verified = await world.call("verify_audit", admin(tenant))
    assert verified.json["ok"], verified.raw


async def test_a_key_of_another_tenant_sees_nothing(world: World, tenant: str, grace: Caller) -> None:
    other = str((await world.onboard("globex"))["id"])
    theirs = await member(world, other, "eve@globex.example")
    eves = (await key_of(world, theirs))["key"]
    agent = (await world.call("create_agent", grace, AGENT)).json["id"]
    mine = await key_of(world, grace)
    asked: list[tuple[str, dict[str, str]]] = [
        ("get_agent", {"agent_id": agent}),
        ("get_api_key", {"api_key_id": mine["id"]}),
    ]
    for name, params in asked:
        never = {next(iter(params)): "01900000-0000-7000-8000-00000000dead"}
        headers = {"x-tenant-id": tenant, "x-request-id": "same"}
        seen = await by_key(world, eves, name, params=params, headers=headers)
        unknown = await by_key(world, eves, name, params=never, headers=headers)
        assert seen.status == unknown.status == 404
        assert seen.raw.replace(params[next(iter(params))].encode(), b"") == unknown.raw.replace(
            never[next(iter(params))].encode(), b""
        )
    assert [one["name"] for one in (await by_key(world, eves, "list_agents")).json["items"]] == []


async def test_parts_of_two_keys_make_none(world: World, tenant: str, grace: Caller) -> None:
    """Whatever is put together, with a checksum that is right: the secret has to be that key's in that tenant."""
    other = str((await world.onboard("globex"))["id"])
    eves = await key_of(world, await member(world, other, "eve@globex.example"))
    mine = await key_of(world, grace)
    one, two = mine["key"][:-8].split("_"), eves["key"][:-8].split("_")
    assert one[:2] == two[:2] == ["fg", "local"]
    for mixed in ([*one[:4], two[4]], [*one[:3], *two[3:]], [*two[:3], one[3], two[4]], [*two[:3], *one[3:]]):
        text = "_".join(mixed)
        assert await why_not(world, f"{text}{crc32(text.encode()):08x}") == (401, "unauthenticated")


async def test_a_key_of_another_environment_is_told_so(world: World, tenant: str) -> None:
    answer = await by_key(world, issue("prod", tenant, OTHER_ID))
    assert (answer.status, answer.json["detail"]) == (401, "This API key is of prod, not of here.")


async def test_a_made_up_key_costs_one_look(world: World, tenant: str, grace: Caller) -> None:
    made = await key_of(world, grace)
    store = world.core.directory.open((await world.session(tenant)).entry)
    asked: list[str] = []
    inner = store.get

    async def get(kind: Any, id: str) -> Any:
        asked.append(str(kind))
        return await inner(kind, id)

    store.get = get  # type: ignore[method-assign]
    assert await why_not(world, issue("local", tenant, made["id"])) == (401, "unauthenticated")
    assert asked == ["api_key_proof"]


# Roles and scopes


@pytest.mark.parametrize(("role", "given", "status"), [("user", "user", 201), ("user", "admin", 400)])
async def test_its_role_is_at_most_that_of_who_makes_it(
    world: World, tenant: str, role: str, given: str, status: int
) -> None:
    user = await member(world, tenant, role=role)
    made = await world.call("create_api_key", user, {"name": "x", "role": given, "scopes": ["read"]})
    assert made.status == status, made.raw


async def test_a_token_that_says_more_than_the_user_list_makes_no_greater_key(world: World, tenant: str) -> None:
    await member(world, tenant, "vera@acme.example", "viewer")
    by_token = person(tenant, Role.ADMIN, "vera@acme.example")
    made = await world.call("create_api_key", by_token, {"name": "x", "role": "user", "scopes": ["read"]})
    assert (made.status, made.json["errors"][0]["field"]) == (400, "role")


TRIED = {  # one route of each scope
    KeyScope.READ: ("list_agents", None),
    KeyScope.WRITE: ("create_agent", AGENT),
    KeyScope.EXECUTE: ("create_design", {"brief": "Triage new claims."}),
    KeyScope.ADMIN: ("list_audit", None),
    KeyScope.MEMBERS: ("list_users", None),
}


@pytest.mark.parametrize("scope", [*KeyScope])
async def test_a_key_does_what_its_scope_is_for_and_nothing_else(world: World, grace: Caller, scope: KeyScope) -> None:
    made = await key_of(world, grace, scopes=[scope])
    for needed, (name, body) in TRIED.items():
        answer = await by_key(world, made["key"], name, body)
        assert (answer.status == 403) == (needed != scope), (needed, answer.raw)
        assert answer.status < 300 or answer.json["code"] == "scope_needed"


async def test_only_a_key_for_members_makes_keys_invites_users_or_changes_roles(world: World, grace: Caller) -> None:
    made = await key_of(world, grace, scopes=[one for one in ALL if one != "members"])
    guarded = {one.name: one for one in world.core.endpoint.routes if one.path.startswith(("v1/users", "v1/issuers"))}
    guarded |= {one.name: one for one in world.core.endpoint.routes if one.path.startswith("v1/api-keys")}
    assert len(guarded) == 16
    for name, route in guarded.items():
        params = dict.fromkeys(re.findall(r"{(\w+)}", route.path), made["user_id"])
        assert await why_not(world, made["key"], name, dict(route.example) or None, params=params) == (
            403,
            "scope_needed",
        )


async def test_every_scope_is_of_some_route_and_reading_alone_changes_nothing(world: World) -> None:
    routes = [one for one in world.core.endpoint.routes if one.role not in (None, Role.PLATFORM)]
    assert {one.scope for one in routes} == {*KeyScope}
    reading = [one for one in routes if one.scope is KeyScope.READ]
    assert {one.name for one in reading if one.method != "GET"} == {"speak_mcp"}  # whose tools look for themselves
    assert all(one.role is not Role.ADMIN for one in routes if one.scope is KeyScope.READ)


# Keys that are made with keys


async def test_a_key_gives_no_more_than_it_has_until_it_ends_and_one_generation_deep(
    world: World, grace: Caller
) -> None:
    ends = rfc3339(world.clock.now() + timedelta(days=10))
    made = await key_of(world, grace, scopes=["read", "members"], expires_at=ends)
    new = {"name": "child", "role": "admin", "scopes": ["read", "members"]}
    more = await by_key(world, made["key"], "create_api_key", {**new, "scopes": ["write"]})
    longer = {**new, "expires_at": rfc3339(world.clock.now() + timedelta(days=11))}
    later = await by_key(world, made["key"], "create_api_key", longer)
    child = await by_key(world, made["key"], "create_api_key", new)
    assert (more.status, more.json["errors"][0]["field"]) == (400, "scopes")
    assert (later.status, later.json["errors"][0]["field"]) == (400, "expires_at")
    assert (child.status, child.json["expires_at"], child.json["made_with"]) == (201, ends, made["id"])
    assert await why_not(world, child.json["key"], "create_api_key", new) == (403, "forbidden")


async def test_a_key_gets_no_secret_of_another(world: World, grace: Caller) -> None:
    wide, narrow = await key_of(world, grace), await key_of(world, grace, scopes=["members"])
    params = {"api_key_id": wide["id"]}
    assert await why_not(world, narrow["key"], "rotate_api_key", params=params) == (403, "forbidden")
    own = await by_key(world, narrow["key"], "rotate_api_key", params={"api_key_id": narrow["id"]})
    assert own.status == 200, own.raw


async def test_an_idempotency_key_of_a_key_is_not_its_users(world: World, grace: Caller) -> None:
    one, two = await key_of(world, grace), await key_of(world, grace)
    headers = {"idempotency-key": "same"}
    made = [
        await world.call("create_agent", grace, AGENT, headers=headers),
        *[await by_key(world, key["key"], "create_agent", AGENT, headers=headers) for key in (one, two, one)],
    ]
    assert len({answer.json["id"] for answer in made}) == 3 and made[3].json == made[1].json


# Whose they are


async def test_everybody_has_their_own_and_admins_see_and_revoke_all_but_get_the_secret_of_none(
    world: World, tenant: str, grace: Caller
) -> None:
    vera = await member(world, tenant, "vera@acme.example", "viewer")
    mine, hers = await key_of(world, grace), await key_of(world, vera, scopes=["read"])
    listed = (await world.call("list_api_keys", grace)).json["items"]
    own = (await world.call("list_api_keys", vera)).json["items"]
    others = (await world.call("list_api_keys", vera, query={"user_id": mine["user_id"]})).json["items"]
    assert {one["id"] for one in listed} == {mine["id"], hers["id"]}
    assert [one["id"] for one in own] == [hers["id"]] and others == []
    for name in ("get_api_key", "delete_api_key", "rotate_api_key"):
        assert (await world.call(name, vera, params={"api_key_id": mine["id"]})).status == 404
    assert (await world.call("patch_api_key", vera, {"name": "x"}, params={"api_key_id": mine["id"]})).status == 404
    params = {"api_key_id": hers["id"]}
    assert (await world.call("rotate_api_key", grace, params=params)).status == 403
    assert (await world.call("patch_api_key", grace, {"name": "Hers"}, params=params)).json["name"] == "Hers"
    assert (await world.call("delete_api_key", grace, params=params)).status == 204
    assert await why_not(world, hers["key"]) == (401, "unauthenticated")


async def test_staff_have_none(world: World, tenant: str) -> None:
    await world.break_glass(tenant)
    answer = await world.call(
        "create_api_key", STAFF, {"name": "x", "scopes": ["read"]}, headers={"x-tenant-id": tenant}
    )
    assert (answer.status, answer.json["code"]) == (403, "forbidden")


@pytest.mark.parametrize("days", [-1, 0, MOST_DAYS + 1])
async def test_it_ends_within_a_year_and_in_the_future(world: World, grace: Caller, days: int) -> None:
    ends = rfc3339(world.clock.now() + timedelta(days=days))
    answer = await world.call("create_api_key", grace, {"name": "x", "scopes": ["read"], "expires_at": ends})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "expires_at")


async def test_it_ends_by_itself_where_nothing_is_said(world: World, grace: Caller) -> None:
    made = await key_of(world, grace)
    assert made["expires_at"] == rfc3339(world.clock.now() + timedelta(days=USUAL_DAYS))


async def test_a_plan_has_so_many_whoever_asks_at_once(world: World, tenant: str) -> None:
    limited = {"settings": {"limits": {"max_api_keys": 2}}}
    changed = await world.call("patch_tenant", STAFF, limited, params={"tenant_id": tenant})
    assert changed.status == 200, changed.raw
    world.core.directory.forget(tenant)
    grace = await member(world, tenant)
    new = {"name": "x", "scopes": ["read"]}
    made = await asyncio.gather(*(world.call("create_api_key", grace, new) for _ in range(4)))
    assert sorted(answer.status for answer in made) == [201, 201, 429, 429]
    refused = next(answer.json for answer in made if answer.status == 429)
    assert (refused["code"], refused["limit"], refused["error"]) == ("quota_exceeded", 2, "API key quota exceeded")
    [told] = [one for one in (await world.call("get_quotas", grace)).json["items"] if one["resource"] == "api_keys"]
    assert (told["limit"], told["used"], told["remaining"]) == (2, 2, 0)
    first = next(answer.json["id"] for answer in made if answer.status == 201)
    await world.call("delete_api_key", grace, params={"api_key_id": first})
    assert (await world.call("create_api_key", grace, new)).status == 201
    assert [PLANS[tier].max_api_keys for tier in Tier] == [10, 50, 500]


async def test_the_counter_says_how_many_there_are(world: World, tenant: str, grace: Caller) -> None:
    for _ in range(3):
        made = await key_of(world, grace)
    await world.call("delete_api_key", grace, params={"api_key_id": made["id"]})
    store = (await world.session(tenant)).store
    counter, there = await store.get(COUNTER, "api_keys"), await store.query(ApiKey.KIND)
    proofs = await store.query(PROOF)
    assert counter is not None and counter.body["value"] == len(there.items) == len(proofs.items) == 2

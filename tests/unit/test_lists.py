"""What every list takes: a sort, a search by name, ranges of times, on top of its own filters."""

from typing import Any

import pytest

import function_app
from tests.unit.world import AGENT, STAFF, World, admin

NAMES = ["beta", "Alpha", "alphabet", "Gamma"]


@pytest.fixture
async def tenant(world: World) -> dict[str, Any]:
    """Four agents, a second apart; the first is changed last."""
    tenant: dict[str, Any] = await world.onboard("acme", tier="enterprise")
    made = []
    for name in NAMES:
        world.clock.advance(seconds=1)
        made.append((await world.call("create_agent", admin(tenant["id"]), {**AGENT, "name": name})).json)
    world.clock.advance(seconds=1)
    patch = {"status": "active"}
    await world.call("patch_agent", admin(tenant["id"]), patch, params={"agent_id": made[0]["id"]})
    return {**tenant, "agents": made}


async def names(world: World, tenant: dict[str, Any], **query: str) -> list[str]:
    answer = await world.call("list_agents", admin(tenant["id"]), query=query)
    assert answer.status == 200, answer.json
    return [one["name"] for one in answer.json["items"]]


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("created_at", NAMES),
        ("-created_at", NAMES[::-1]),
        ("updated_at", ["Alpha", "alphabet", "Gamma", "beta"]),
        ("-updated_at", ["beta", "Gamma", "alphabet", "Alpha"]),
        ("name", ["Alpha", "alphabet", "beta", "Gamma"]),
        ("-name", ["Gamma", "beta", "alphabet", "Alpha"]),
    ],
)
async def test_a_list_is_sorted_as_asked(world: World, tenant: dict[str, Any], sort: str, found: list[str]) -> None:
    assert await names(world, tenant, sort=sort) == found


async def test_a_list_is_newest_first_unless_asked_otherwise(world: World, tenant: dict[str, Any]) -> None:
    assert await names(world, tenant) == await names(world, tenant, sort="-created_at")


async def test_a_list_is_searched_by_how_a_name_begins(world: World, tenant: dict[str, Any]) -> None:
    assert await names(world, tenant, q="ALPHA", sort="name") == ["Alpha", "alphabet"]
    assert await names(world, tenant, q="ALPHA", sort="name", status="active") == []
    assert await names(world, tenant, q="be", status="active") == ["beta"]


async def test_ranges_include_where_they_begin_and_not_where_they_end(world: World, tenant: dict[str, Any]) -> None:
    second, third = (agent["created_at"] for agent in tenant["agents"][1:3])
    assert await names(world, tenant, created_from=second, created_to=third) == ["Alpha"]
    assert await names(world, tenant, updated_to=third) == ["Alpha"]
    assert await names(world, tenant, updated_from=third, created_to=second) == ["beta"]
    assert await names(world, tenant, created_from=second[:19] + "+00:00", created_to=third) == ["Alpha"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("sort", "color"), ("sort", ""), ("q", ""), ("created_from", "yesterday"), ("updated_to", "2026-11-24")],
)
async def test_what_cannot_be_asked_is_said(world: World, tenant: dict[str, Any], field: str, value: str) -> None:
    answer = await world.call("list_agents", admin(tenant["id"]), query={field: value})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, field)


async def test_what_never_changes_and_has_no_name_is_not_sorted_by_them(world: World, tenant: dict[str, Any]) -> None:
    for query in ({"sort": "name"}, {"sort": "-updated_at"}, {"q": "a"}, {"updated_from": "2026-11-24T00:00:00Z"}):
        answer = await world.call("list_audit", admin(tenant["id"]), query=query)
        assert (answer.status, answer.json["errors"][0]["field"]) == (400, next(iter(query)))


@pytest.mark.parametrize("change", [{"sort": "-name"}, {"q": "b"}, {"created_to": "2030-01-01T00:00:00Z"}])
async def test_a_cursor_of_another_sort_or_search_says_how_to_go_on(
    world: World, tenant: dict[str, Any], change: dict[str, str]
) -> None:
    asked = {"sort": "name", "q": "a", "limit": "1"}
    first = await world.call("list_agents", admin(tenant["id"]), query=asked)
    cursor = first.json["next_cursor"]
    assert await names(world, tenant, **asked, cursor=cursor) == ["alphabet"]
    refused = await world.call("list_agents", admin(tenant["id"]), query={**asked, **change, "cursor": cursor})
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "cursor")
    assert "send them as they were" in refused.json["detail"] and "begin again without" in refused.json["detail"]


async def test_a_cursor_of_one_agents_revisions_is_none_of_anothers(world: World, tenant: dict[str, Any]) -> None:
    caller = admin(tenant["id"])
    one, other = [(await world.call("create_agent", caller, AGENT)).json["id"] for _ in range(2)]
    for name in "ab":
        world.clock.advance(seconds=1)
        await world.call("patch_agent", caller, {"name": name}, params={"agent_id": one})
    first = await world.call("list_agent_revisions", caller, params={"agent_id": one}, query={"limit": "1"})
    more = {"limit": "1", "cursor": first.json["next_cursor"]}
    found = [
        await world.call("list_agent_revisions", caller, params={"agent_id": id}, query=more) for id in (one, other)
    ]
    assert [answer.status for answer in found] == [200, 400]
    assert found[1].json["errors"][0]["field"] == "cursor"


async def test_tenants_are_sorted_and_searched_as_all_else_is(world: World) -> None:
    for slug in ("zeta", "acme", "acorn"):
        await world.onboard(slug)
    answer = await world.call("list_tenants", STAFF, query={"sort": "name", "q": "AC"})
    assert [one["slug"] for one in answer.json["items"]] == ["acme", "acorn"]


async def test_every_list_takes_a_sort_and_a_range_of_times(world: World, tenant: dict[str, Any]) -> None:
    # by kind; by the time of the events, with `from` and `to`; by the step; by who is loudest; by the file
    own_order = {"export_tenant", "export_audit", "list_usage_events", "list_steps", "list_neighbors"}
    own_order |= {"list_import_items"}
    routes = [route for route in function_app.own_core.endpoint.routes if route.paged and route.name not in own_order]
    for route in routes:
        assert {"sort", "created_from", "created_to"} <= set(route.query.model_fields), route.name
    assert {route.name for route in routes} >= {"list_agents", "list_jobs", "list_restores", "list_audit"}

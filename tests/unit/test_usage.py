"""Reading usage and the audit trail: ranges, sums, filters."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from functions.usage.periods import start_of
from shared.auth.roles import Role
from shared.clock import parse_rfc3339
from shared.work.events import Metric, usage_event
from tests.unit.world import AGENT, START, Answer, World, admin, person


@pytest.fixture
async def tenant(world: World) -> str:
    id = str((await world.onboard(tier="enterprise"))["id"])
    world.clock.advance(minutes=10)
    return id


async def happened(
    world: World, tenant: str, at: datetime, value: int = 1, metric: Metric = Metric.AI_TOKENS, **data: str
) -> None:
    of = {"provider": "offline", "model": "x", **data}
    event = usage_event(metric, id=world.core.services.ids.new(), tenant_id=tenant, at=at, value=value, **of)
    await world.core.adapters.messaging.send("usage-events", [event])
    await world.drain()


async def usage(world: World, tenant: str, **query: str) -> Answer:
    return await world.call("get_usage", admin(tenant), query={"metric": "ai_tokens", **query})


def buckets(answer: Answer) -> dict[str, int]:
    return {bucket["start"]: bucket["value"] for bucket in answer.json["items"]}


# Periods


@pytest.mark.parametrize(
    ("period", "start"),
    [("hour", "2026-11-24T12:00:00Z"), ("day", "2026-11-24T00:00:00Z"), ("month", "2026-11-01T00:00:00Z")],
)
def test_a_period_starts_in_utc(period: Any, start: str) -> None:
    assert start_of(period, START + timedelta(minutes=59, microseconds=1)) == parse_rfc3339(start)


# Usage


async def test_usage_is_the_sum_of_its_periods(world: World, tenant: str) -> None:
    await happened(world, tenant, START, 5)
    await happened(world, tenant, START - timedelta(hours=2), 7)
    answer = await usage(world, tenant, period="hour")
    assert (answer.json["total"], buckets(answer)) == (
        12,
        {"2026-11-24T10:00:00.000000Z": 7, "2026-11-24T12:00:00.000000Z": 5},
    )


async def test_usage_by_the_day_is_the_default(world: World, tenant: str) -> None:
    await happened(world, tenant, START, 5)
    answer = await usage(world, tenant)
    assert (answer.json["period"], buckets(answer)) == ("day", {"2026-11-24T00:00:00.000000Z": 5})


async def test_usage_tells_of_which_kind_it_was(world: World, tenant: str) -> None:
    await happened(world, tenant, START, 5)
    assert (await usage(world, tenant)).json["items"][0]["dimensions"] == {"offline/x": 5}


async def test_a_model_is_told_by_its_own_name(world: World, tenant: str) -> None:
    for number, model in enumerate(("gpt-4.1", "gpt-4_1", "org/llama-3.2", "50%2E")):
        await happened(world, tenant, START, number + 1, provider="hub", model=model)
    assert (await usage(world, tenant)).json["items"][0]["dimensions"] == {
        "hub/gpt-4.1": 1,
        "hub/gpt-4_1": 2,
        "hub/org%2Fllama-3.2": 3,
        "hub/50%252E": 4,
    }


async def test_a_range_begins_with_the_whole_period_it_lies_in(world: World, tenant: str) -> None:
    await happened(world, tenant, START - timedelta(minutes=30), 5)
    answer = await usage(world, tenant, period="hour", **{"from": "2026-11-24T11:45:00Z"})
    assert (answer.json["from"], answer.json["total"]) == ("2026-11-24T11:00:00.000000Z", 5)


async def test_a_range_ends_before_its_end(world: World, tenant: str) -> None:
    await happened(world, tenant, START, 5)
    answer = await usage(world, tenant, period="hour", to="2026-11-24T12:00:00Z")
    assert answer.json["total"] == 0


@pytest.mark.parametrize(("period", "days", "status"), [("hour", 31, 200), ("hour", 32, 400), ("day", 32, 200)])
async def test_a_range_is_as_long_as_its_period_allows(
    world: World, tenant: str, period: str, days: int, status: int
) -> None:
    since = (START - timedelta(days=days)).isoformat()
    answer = await usage(world, tenant, period=period, to=START.isoformat(), **{"from": since})
    assert answer.status == status


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-12-01T00:00:00Z"},
        {"from": "2026-11-24T00:00:00Z", "to": "2026-11-20T00:00:00Z"},
        {"from": "yesterday"},
        {"from": "2026-11-24"},
        {"from": "2026-11-24T00:00:00"},
        {"from": "0001-01-01T00:00:00+14:00"},
    ],
)
async def test_a_range_that_is_none_is_invalid(world: World, tenant: str, query: dict[str, str]) -> None:
    answer = await usage(world, tenant, **query)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "from")


@pytest.mark.parametrize("to", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"])
async def test_an_end_outside_of_all_time_is_invalid(world: World, tenant: str, to: str) -> None:
    answer = await usage(world, tenant, to=to)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "to")


@pytest.mark.parametrize("to", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
async def test_an_end_at_the_edge_of_time_is_no_error_of_ours(world: World, tenant: str, to: str) -> None:
    assert (await usage(world, tenant, to=to)).status == 200


async def test_more_rollups_than_a_page_holds_are_all_summed(world: World, tenant: str) -> None:
    for hours in range(230):
        event = usage_event(
            Metric.EXECUTIONS,
            id=world.core.services.ids.new(),
            tenant_id=tenant,
            at=START - timedelta(hours=hours),
            value=1,
        )
        await world.core.adapters.messaging.send("usage-events", [event])
    await world.drain()
    since = (START - timedelta(days=12)).isoformat()
    answer = await usage(world, tenant, metric="executions", period="hour", **{"from": since})
    assert (answer.json["total"], len(answer.json["items"])) == (230, 230)


async def test_a_call_is_in_the_usage_once_the_queue_is_drained(world: World, tenant: str) -> None:
    await world.call("list_agents", admin(tenant))
    await world.drain()
    answer = await usage(world, tenant, metric="api_calls")
    assert answer.json["items"][0]["dimensions"] == {"list_agents": 1}


async def test_usage_events_are_listed_newest_first(world: World, tenant: str) -> None:
    await happened(world, tenant, START - timedelta(hours=1), 1)
    await happened(world, tenant, START, 2)
    answer = await world.call("list_usage_events", admin(tenant), query={"metric": "ai_tokens"})
    assert [event["value"] for event in answer.json["items"]] == [2, 1]


@pytest.mark.parametrize("query", [{"to": "9999-12-31T23:59:59.999999Z"}, {"from": "9999-12-31T23:59:59Z"}])
async def test_events_at_the_edge_of_time_are_no_error_of_ours(
    world: World, tenant: str, query: dict[str, str]
) -> None:
    await happened(world, tenant, START)
    answer = await world.call("list_usage_events", admin(tenant), query=query)
    assert (answer.status, len(answer.json["items"])) == (200, 1 if "to" in query else 0)


async def test_what_a_tenants_calls_cost_us_is_not_told_to_it(world: World, tenant: str) -> None:
    await happened(world, tenant, START, metric=Metric.REQUEST_UNITS)
    assert (await usage(world, tenant, metric="request_units")).status == 400
    assert (await world.call("list_usage_events", admin(tenant))).json["items"] == []


async def test_pages_of_events_end_where_much_was_looked_through_and_go_on(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.usage.events.MOST_EVENTS", 2)
    for hours in range(6):
        await happened(world, tenant, START - timedelta(hours=hours), hours + 1)
    found: list[int] = []
    pages, query = 0, {"metric": "ai_tokens", "standing": "counted"}
    while True:
        answer = await world.call("list_usage_events", admin(tenant), query=query)
        found += [event["value"] for event in answer.json["items"]]
        pages += 1
        if answer.json["next_cursor"] is None:
            break
        query = {**query, "cursor": answer.json["next_cursor"]}
    assert (found, pages) == ([1, 2, 3, 4, 5, 6], 3)


async def test_events_of_one_instant_are_listed_once_whatever_the_page(world: World, tenant: str) -> None:
    for value in range(7):
        await happened(world, tenant, START, value)
    found: list[int] = []
    query = {"metric": "ai_tokens", "limit": "2"}
    while True:
        answer = await world.call("list_usage_events", admin(tenant), query=query)
        found += [event["value"] for event in answer.json["items"]]
        if answer.json["next_cursor"] is None:
            break
        query = {**query, "cursor": answer.json["next_cursor"]}
    assert sorted(found) == list(range(7))


async def test_usage_of_another_tenant_is_not_seen(world: World, tenant: str) -> None:
    other = await world.onboard("globex", tier="enterprise")
    await happened(world, other["id"], START, 5)
    assert (await usage(world, tenant)).json["total"] == 0


# The audit trail


async def trail(world: World, tenant: str, **query: str) -> list[str]:
    answer = await world.call("list_audit", admin(tenant), query=query)
    return [entry["action"] for entry in answer.json["items"]]


@pytest.fixture
async def agent(world: World, tenant: str) -> str:
    """An agent that was made, changed a minute later and deleted a minute after that."""
    world.clock.advance(minutes=1)
    agent = (await world.call("create_agent", admin(tenant), AGENT)).json
    where = {"agent_id": agent["id"]}
    world.clock.advance(minutes=1)
    await world.call("patch_agent", admin(tenant), {"name": "two"}, params=where)
    world.clock.advance(minutes=1)
    await world.call("delete_agent", admin(tenant), params=where)
    return str(agent["id"])


async def test_the_trail_is_listed_newest_first(world: World, tenant: str, agent: str) -> None:
    assert await trail(world, tenant, resource_type="agent") == ["agent.deleted", "agent.updated", "agent.created"]


async def test_the_trail_is_filtered_by_resource_action_and_user(world: World, tenant: str, agent: str) -> None:
    found = [
        await trail(world, tenant, resource_id=agent),
        await trail(world, tenant, action="agent.updated"),
        await trail(world, tenant, user_id=admin(tenant).user_id, limit="1"),
        await trail(world, tenant, user_id="nobody"),
    ]
    assert found == [
        ["agent.deleted", "agent.updated", "agent.created"],
        ["agent.updated"],
        ["agent.deleted"],
        [],
    ]


async def test_the_trail_is_filtered_from_a_time_to_before_another(world: World, tenant: str, agent: str) -> None:
    query = {"created_from": "2026-11-24T13:11:00+01:00", "created_to": "2026-11-24T12:13:00Z"}
    assert await trail(world, tenant, **query) == ["agent.updated", "agent.created"]


async def test_pages_of_the_trail_go_on_where_the_last_ended(world: World, tenant: str, agent: str) -> None:
    first = await world.call("list_audit", admin(tenant), query={"limit": "2", "resource_type": "agent"})
    query = {"limit": "2", "resource_type": "agent", "cursor": first.json["next_cursor"]}
    assert await trail(world, tenant, **query) == ["agent.created"]


async def test_only_an_admin_reads_the_trail(world: World, tenant: str) -> None:
    assert (await world.call("list_audit", person(tenant, Role.USER))).status == 403

"""A tenant hears of 80 % and of 100 % of a quota: once for each limit and month, by the hourly round."""

from typing import Any

import pytest

from shared.tenancy.plans import Budget
from shared.work.budgets import reserve_once
from tests.unit.world import AGENT, STAFF, UNLIMITED, World, admin


@pytest.fixture
async def tenant(world: World) -> str:
    limits = {**UNLIMITED, "ai_spend_per_month": 2_000_000}
    return str((await world.onboard(tier="enterprise", max_agents=5, limits=limits))["id"])


async def make_agents(world: World, tenant: str, number: int) -> None:
    for _ in range(number):
        assert (await world.call("create_agent", admin(tenant), AGENT)).status == 201


async def told(world: World, tenant: str) -> list[dict[str, Any]]:
    """What the tenant has been told after this hour's round, the newest first."""
    await world.functions["rounds"](None)
    world.clock.advance(hours=1)
    found: list[dict[str, Any]] = (await world.call("list_notifications", admin(tenant))).json["items"]
    return found


async def test_below_eighty_percent_nothing_is_told(world: World, tenant: str) -> None:
    await make_agents(world, tenant, 3)
    assert await told(world, tenant) == []


async def test_each_threshold_is_told_once_and_is_in_the_audit_trail(world: World, tenant: str) -> None:
    await make_agents(world, tenant, 4)
    near = [await told(world, tenant) for _ in range(3)]
    await make_agents(world, tenant, 1)
    reached = [await told(world, tenant) for _ in range(2)]
    assert [len(one) for one in (*near, *reached)] == [1, 1, 1, 2, 2]
    assert [one["code"] for one in reached[-1]] == ["quota_reached", "quota_near"]
    assert near[0][0]["data"] == {"resource": "agents", "limit": 5, "used": 4, "percent": 80, "month": "2026-11"}
    trail = await world.call("list_audit", admin(tenant), query={"action": "notification.created"})
    assert len(trail.json["items"]) == 2


async def test_what_is_reached_at_once_is_told_as_that_alone(world: World, tenant: str) -> None:
    await make_agents(world, tenant, 5)
    (notice,) = await told(world, tenant)
    assert (notice["title"], notice["text"]) == (
        "100 % of the agents are used",
        "5 of 5 agents. No more are taken. Delete some, or take a larger plan (POST /api/v1/billing/upgrade).",
    )


async def test_money_is_told_in_its_own_unit_and_when_it_begins_anew(world: World, tenant: str) -> None:
    await reserve_once(await world.session(tenant), "call", {Budget.AI_SPEND: 1_600_000})
    (notice,) = await told(world, tenant)
    assert notice["text"] == (
        "1.60 of 2.00 AI spend of this month. At the limit no more are taken. It begins anew at 2026-12-01, "
        "or take a larger plan (POST /api/v1/billing/upgrade)."
    )


async def test_a_higher_limit_and_a_new_month_are_told_of_anew(world: World, tenant: str) -> None:
    await make_agents(world, tenant, 5)
    codes = [[one["data"]["limit"] for one in await told(world, tenant)]]
    await world.call("patch_tenant", STAFF, {"max_agents": 6}, params={"tenant_id": tenant})
    codes.append([one["data"]["limit"] for one in await told(world, tenant)])
    world.clock.advance(days=7)
    codes.append([one["data"]["limit"] for one in await told(world, tenant)])
    assert codes == [[5], [6, 5], [6, 6, 5]]


async def test_of_two_instances_one_tells(world: World, twin: World, tenant: str) -> None:
    await make_agents(world, tenant, 5)
    await twin.functions["rounds"](None)
    assert len(await told(world, tenant)) == 1

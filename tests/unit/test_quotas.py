"""What the plan allows and what is used of it: every counter, when it begins anew, and whether it is nearly reached."""

from datetime import UTC, datetime
from typing import Any

import pytest

from functions.usage.quotas import Quota
from shared.clock import rfc3339
from shared.database.port import Create
from shared.tenancy.plans import PLANS, Budget, Tier
from shared.work.budgets import reserve_once, settle_once
from shared.work.change import COUNTER
from tests.unit.world import AGENT, STAFF, START, World, admin


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise", max_agents=3))["id"])


async def quotas(world: World, tenant: str) -> dict[str, dict[str, Any]]:
    answer = await world.call("get_quotas", admin(tenant))
    assert answer.status == 200, answer.raw
    return {one.pop("resource"): one for one in answer.json["items"]}


async def test_quotas_tell_limit_use_and_what_is_left_of_everything_that_is_limited(world: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), AGENT)
    session = await world.session(tenant)
    await reserve_once(session, "call-1", {Budget.AI_TOKENS: 2000, Budget.AI_SPEND: 900})
    await settle_once(session, "call-1", {Budget.AI_TOKENS: 500, Budget.AI_SPEND: 70})
    december = "2026-12-01T00:00:00.000000Z"

    def told(limit: int, used: int, reset: str | None = None) -> dict[str, Any]:
        return {"limit": limit, "used": used, "remaining": limit - used, "reset": reset, "near_limit": False}

    assert await quotas(world, tenant) == {
        "agents": told(3, 1),
        "users": told(250, 1),
        "ai_tokens_per_month": told(100_000_000, 500, december),
        "ai_spend_per_month": told(1_000_000_000, 70, december),
        "backups": told(50, 0),
        "copies": told(2, 0),
        "runs": told(50, 0),
        "webhooks": told(50, 0),
        "api_keys": told(500, 0),
    }


async def test_quotas_tell_of_backups_and_copies(world: World, tenant: str) -> None:
    assert (await world.call("create_backup", admin(tenant), {})).status == 202
    store = await world.core.directory.store(tenant)
    assert store is not None
    await store.commit([Create(COUNTER, "copies", {"created_at": rfc3339(START), "value": 1})])
    found = await quotas(world, tenant)
    assert (found["backups"]["used"], found["copies"]["used"]) == (1, 1)


async def test_a_deleted_agent_makes_room(world: World, tenant: str) -> None:
    agent = await world.call("create_agent", admin(tenant), AGENT)
    await world.call("delete_agent", admin(tenant), params={"agent_id": agent.json["id"]})
    assert (await quotas(world, tenant))["agents"]["used"] == 0


@pytest.mark.parametrize(
    ("at", "reset"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), "2027-01-01T00:00:00.000000Z"),
        (datetime(2028, 2, 29, 12, tzinfo=UTC), "2028-03-01T00:00:00.000000Z"),
    ],
)
async def test_a_month_begins_anew(world: World, tenant: str, at: datetime, reset: str) -> None:
    await reserve_once(await world.session(tenant), "call-1", {Budget.AI_TOKENS: 500})
    world.clock.advance(seconds=(at - world.clock.now()).total_seconds())
    found = (await quotas(world, tenant))["ai_tokens_per_month"]
    assert (found["used"], found["reset"]) == (0, reset)


async def test_a_quota_lowered_below_what_is_used_leaves_nothing(world: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), AGENT)
    await world.call("patch_tenant", STAFF, {"max_agents": 0}, params={"tenant_id": tenant})
    found = (await quotas(world, tenant))["agents"]
    assert (found["used"], found["remaining"], found["near_limit"]) == (1, 0, True)


@pytest.mark.parametrize(
    ("limit", "used", "near"),
    [(100, 79, False), (100, 80, True), (100, 100, True), (3, 2, False), (5, 4, True), (0, 0, False), (0, 1, True)],
)
def test_a_limit_is_near_from_eighty_percent_on(limit: int, used: int, near: bool) -> None:
    assert Quota.of("agents", limit, used, None).near_limit is near


async def test_a_tenant_may_have_a_budget_of_its_own(world: World) -> None:
    own = str((await world.onboard(limits={"ai_spend_per_month": 7_000_000, "ai_tokens_per_month": 0}))["id"])
    found = await quotas(world, own)
    assert (found["ai_spend_per_month"]["limit"], found["ai_tokens_per_month"]["limit"]) == (7_000_000, 0)


@pytest.mark.parametrize("budget", list(Budget))
def test_a_larger_plan_has_a_larger_budget(budget: Budget) -> None:
    allowed = [PLANS[tier].budget(budget) for tier in Tier]
    assert allowed == sorted(set(allowed))

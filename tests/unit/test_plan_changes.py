"""Changing the plan: a higher one at once, a lower one when the month ends, and a record of which it was when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.database.port import Create, Replace
from shared.errors import Full
from shared.kinds import Kind
from shared.tenancy.directory import TENANT
from shared.tenancy.history import KEPT, MOST_CHANGES, PlanChange, recorded
from shared.tenancy.plans import Tier
from shared.work.change import COUNTER
from shared.work.notices import NOTIFICATION
from tests.unit.keys_world import key_of, member
from tests.unit.world import STAFF, START, Answer, World, admin, person

MONTH_END = datetime(2026, 12, 1, tzinfo=UTC)
HOUR = "2026-11-24T12:00:00.000000Z"


@pytest.fixture
async def tenant(world: World) -> str:
    """An active tenant of the professional plan."""
    return str((await world.onboard(tier="professional", trial_days=0))["id"])


async def change(world: World, tenant: str, name: str, tier: str) -> Answer:
    return await world.call(name, admin(tenant), {"tier": tier})


async def entry(world: World, tenant: str) -> dict[str, Any]:
    found: dict[str, Any] = (await world.call("get_tenant", STAFF, params={"tenant_id": tenant})).json
    return found


async def plans(world: World, tenant: str) -> list[tuple[str, str, str]]:
    changes = (await entry(world, tenant))["plan_changes"]
    return [(one["at"], one["tier"], one["status"]) for one in changes]


async def told(world: World, tenant: str) -> list[dict[str, Any]]:
    page = await (await world.session(tenant)).store.query(NOTIFICATION)
    return [one.body for one in page.items]


async def month_ends(world: World) -> None:
    world.clock.advance(seconds=(MONTH_END - world.clock.now()).total_seconds() + 5)
    await world.sweep()
    await world.sweep()


async def counted(world: World, tenant: str, **counts: int) -> None:
    """As if there were so many."""
    store = (await world.session(tenant)).store.control
    for name, value in counts.items():
        stored = await store.get(COUNTER, name)
        assert stored is not None
        await store.commit([Replace(COUNTER, name, {**stored.body, "value": value}, stored.etag)])


# At once


async def test_a_higher_plan_holds_at_once_with_its_numbers_and_is_told(world: World, tenant: str) -> None:
    answer = await change(world, tenant, "upgrade_plan", "enterprise")
    quotas = (await world.call("get_quotas", admin(tenant))).json
    assert (answer.json["tier"], quotas["tier"], quotas["items"][0]["limit"]) == ("enterprise", "enterprise", 1000)
    assert [(one["code"], one["data"]) for one in await told(world, tenant)] == [
        ("plan_changed", {"from": "professional", "to": "enterprise"})
    ]


async def test_a_tenants_own_numbers_stay(world: World, tenant: str) -> None:
    await world.call("patch_tenant", STAFF, {"max_agents": 777}, params={"tenant_id": tenant})
    await change(world, tenant, "upgrade_plan", "enterprise")
    after = await entry(world, tenant)
    assert (after["max_agents"], after["max_users"]) == (777, 250)


async def test_the_same_plan_again_is_no_error_and_changes_nothing(world: World, tenant: str) -> None:
    before = await entry(world, tenant)
    answer = await change(world, tenant, "upgrade_plan", "professional")
    assert (answer.status, await entry(world, tenant)) == (200, before)


async def test_a_lower_plan_is_no_upgrade(world: World, tenant: str) -> None:
    answer = await change(world, tenant, "upgrade_plan", "standard")
    assert (answer.status, answer.json["code"], (await entry(world, tenant))["tier"]) == (
        409,
        "wrong_state",
        "professional",
    )


@pytest.mark.parametrize("name", ["upgrade_plan", "downgrade_plan", "keep_plan", "get_billing", "list_statements"])
async def test_only_admins_have_to_do_with_it(world: World, tenant: str, name: str) -> None:
    body = {"tier": "enterprise"} if name in ("upgrade_plan", "downgrade_plan") else None
    answer = await world.call(name, person(tenant, Role.USER), body)
    assert (answer.status, answer.json["code"]) == (403, "role_needed")


# When the month ends


async def test_a_lower_plan_holds_when_the_month_ends_and_is_told(world: World, tenant: str) -> None:
    asked = await change(world, tenant, "downgrade_plan", "standard")
    assert (asked.json["tier"], asked.json["next_tier"], asked.json["next_tier_at"]) == (
        "professional",
        "standard",
        rfc3339(MONTH_END),
    )
    await month_ends(world)
    after = await entry(world, tenant)
    assert (after["tier"], after["max_agents"], after["next_tier"], after["next_tier_at"]) == (
        "standard",
        50,
        None,
        None,
    )
    assert [one["code"] for one in await told(world, tenant)] == ["plan_changed"]


async def test_it_holds_from_the_month_on_however_late_it_is_made(world: World, tenant: str) -> None:
    await change(world, tenant, "downgrade_plan", "standard")
    world.clock.advance(days=9)
    await world.sweep()
    assert (await plans(world, tenant))[-1] == (rfc3339(MONTH_END), "standard", "active")


async def test_what_is_too_much_for_the_lower_plan_is_said(world: World, tenant: str) -> None:
    await counted(world, tenant, agents=60, users=7)
    answer = await change(world, tenant, "downgrade_plan", "standard")
    assert (answer.status, answer.json["code"], answer.json["in_the_way"]) == (
        409,
        "plan_too_small",
        [{"resource": "agents", "used": 60, "limit": 50}, {"resource": "users", "used": 7, "limit": 5}],
    )


async def test_api_keys_stand_in_the_way_too(world: World, tenant: str) -> None:
    await key_of(world, await member(world, tenant))
    await counted(world, tenant, api_keys=11)
    answer = await change(world, tenant, "downgrade_plan", "standard")
    assert answer.json["in_the_way"] == [{"resource": "api_keys", "used": 11, "limit": 10}]


async def test_a_tenants_own_number_is_what_it_may_have_on_the_lower_plan_too(world: World, tenant: str) -> None:
    await world.call("patch_tenant", STAFF, {"max_agents": 77}, params={"tenant_id": tenant})
    await counted(world, tenant, agents=77)
    assert (await change(world, tenant, "downgrade_plan", "standard")).status == 200


async def test_it_is_looked_at_again_when_the_month_ends_and_then_the_plan_stays(world: World, tenant: str) -> None:
    await change(world, tenant, "downgrade_plan", "standard")
    await counted(world, tenant, agents=51)
    await month_ends(world)
    after, (notice,) = await entry(world, tenant), await told(world, tenant)
    assert (after["tier"], after["next_tier"]) == ("professional", None)
    assert (notice["code"], notice["data"]["in_the_way"]) == (
        "plan_kept",
        [{"resource": "agents", "used": 51, "limit": 50}],
    )


async def test_a_downgrade_is_taken_back(world: World, tenant: str) -> None:
    await change(world, tenant, "downgrade_plan", "standard")
    answer = await world.call("keep_plan", admin(tenant))
    assert (answer.status, answer.json["next_tier"]) == (200, None)
    await month_ends(world)
    assert (await entry(world, tenant))["tier"] == "professional"
    assert (await world.call("keep_plan", admin(tenant))).status == 404


async def test_an_upgrade_takes_a_downgrade_back(world: World, tenant: str) -> None:
    await change(world, tenant, "downgrade_plan", "standard")
    await change(world, tenant, "upgrade_plan", "enterprise")
    await month_ends(world)
    assert (await entry(world, tenant))["tier"] == "enterprise"


@pytest.mark.parametrize("tier", ["professional", "enterprise"])
async def test_a_plan_that_is_not_lower_is_no_downgrade(world: World, tenant: str, tier: str) -> None:
    answer = await change(world, tenant, "downgrade_plan", tier)
    assert (answer.status, answer.json["code"]) == (409, "wrong_state")


async def test_two_instances_make_a_downgrade_once(
    world: World, twin: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await change(world, tenant, "downgrade_plan", "standard")
    platform = world.core.adapters.database.platform
    put, met = platform.put, list[str]()

    async def overtaken(operation: Any, tenant_id: str) -> str | None:
        if isinstance(operation, Replace) and operation.kind is TENANT and not met:
            met.append(tenant_id)
            await twin.sweep()
        return await put(operation, tenant_id)

    monkeypatch.setattr(platform, "put", overtaken)
    await month_ends(world)
    assert (met, len(await told(world, tenant))) == ([tenant], 1)
    assert [tier for _, tier, _ in await plans(world, tenant)] == ["professional", "standard"]


# The record


async def test_each_plan_is_on_record_from_the_hour_on_in_which_it_began(world: World) -> None:
    tenant = str((await world.onboard(trial_days=14))["id"])
    world.clock.advance(hours=2, minutes=40)
    await change(world, tenant, "upgrade_plan", "professional")
    world.clock.advance(hours=1)
    for name in ("suspend_tenant", "resume_tenant"):
        await world.call(name, STAFF, params={"tenant_id": tenant})
        world.clock.advance(days=1)
    assert await plans(world, tenant) == [
        (HOUR, "standard", "trial"),
        ("2026-11-24T14:00:00.000000Z", "professional", "active"),
        ("2026-11-24T15:00:00.000000Z", "professional", "suspended"),
        ("2026-11-25T15:00:00.000000Z", "professional", "active"),
    ]


async def test_of_an_hour_the_last_plan_counts(world: World, tenant: str) -> None:
    for tier in ("standard", "enterprise"):
        world.clock.advance(minutes=5)
        await world.call("patch_tenant", STAFF, {"tier": tier}, params={"tenant_id": tenant})
    assert await plans(world, tenant) == [(HOUR, "enterprise", "active")]


async def test_what_is_no_other_plan_is_not_on_record(world: World, tenant: str) -> None:
    world.clock.advance(days=1)
    await world.call("patch_tenant", STAFF, {"name": "Other"}, params={"tenant_id": tenant})
    assert await plans(world, tenant) == [(HOUR, "professional", "active")]


def test_a_clock_that_was_set_back_takes_nothing_back() -> None:
    first = recorded([], START, Tier.STANDARD, "active")
    assert [one.at for one in recorded(first, START - timedelta(days=3), Tier.ENTERPRISE, "active")] == [HOUR]


def test_a_plan_that_returns_within_its_hour_has_never_been_away() -> None:
    first = recorded([], START, Tier.STANDARD, "active")
    away = recorded(first, START + timedelta(hours=2), Tier.ENTERPRISE, "active")
    assert recorded(away, START + timedelta(hours=2, minutes=5), Tier.STANDARD, "active") == first


def test_what_no_statement_looks_back_to_is_forgotten_but_for_the_plan_of_then() -> None:
    changes: list[PlanChange] = []
    for day in range(0, 400, 10):
        tier = [*Tier][day // 10 % 3]
        changes = recorded(changes, START + timedelta(days=day), tier, "active")
    oldest = rfc3339(START + timedelta(days=390) - KEPT)
    assert [one.at <= oldest for one in changes] == [True] + [False] * (len(changes) - 1)


def test_the_record_is_bounded() -> None:
    changes: list[PlanChange] = []
    with pytest.raises(Full, match=f"{MOST_CHANGES} times"):
        for hour in range(MOST_CHANGES + 1):
            changes = recorded(changes, START + timedelta(hours=hour), [*Tier][hour % 2], "active")
    assert len(changes) == MOST_CHANGES


@pytest.mark.parametrize(
    ("fields", "assumed"),
    [
        ({"status": "active", "trial_ends_at": None}, [(HOUR, "active")]),
        (
            {"status": "active", "trial_ends_at": "2026-12-08T12:34:00.000000Z"},
            [(HOUR, "trial"), ("2026-12-08T12:00:00.000000Z", "active")],
        ),
        ({"status": "trial", "trial_ends_at": "2026-12-08T12:34:00.000000Z"}, [(HOUR, "trial")]),
        ({"status": "suspended", "trial_ends_at": "2026-12-08T12:34:00.000000Z"}, [(HOUR, "suspended")]),
        ({"status": "provisioning", "trial_ends_at": None}, []),
    ],
)
async def test_a_tenant_from_before_there_was_a_record_has_paid_since_its_trial(
    world: World, tenant: str, fields: dict[str, Any], assumed: list[tuple[str, str]]
) -> None:
    platform = world.core.adapters.database.platform
    stored = await platform.get(TENANT, tenant, tenant)
    assert stored is not None
    body = {name: value for name, value in stored.body.items() if name != "plan_changes"} | fields
    old = Kind("tenant", container="tenants", upcasts=TENANT.upcasts[:1])
    id = "0190c2a8-7e10-7abc-8def-00000000dead"
    await platform.put(Create(old, id, {**body, "id": id, "tenant_id": id}), id)
    assert [(at, status) for at, _, status in await plans(world, id)] == assumed

"""A trial: told of its end beforehand, each time once, a week of grace after it, then suspended; an upgrade ends it."""

from datetime import timedelta
from typing import Any

import pytest

from shared.clock import rfc3339
from shared.database.port import Replace
from shared.errors import Unavailable
from shared.tenancy.directory import TENANT
from shared.tenancy.fence import AUDIT
from shared.work.notices import NOTIFICATION
from tests.unit.world import STAFF, START, World, admin


@pytest.fixture
async def tenant(world: World) -> str:
    """A tenant with two weeks of trial."""
    return str((await world.onboard())["id"])


async def entry(world: World, tenant: str) -> dict[str, Any]:
    found: dict[str, Any] = (await world.call("get_tenant", STAFF, params={"tenant_id": tenant})).json
    return found


async def told(world: World, tenant: str) -> list[str]:
    """What the tenant has been told, oldest first."""
    page = await (await world.session(tenant)).store.query(NOTIFICATION)
    return [one.body["code"] for one in page.items]


async def audited(world: World, tenant: str) -> list[str]:
    page = await (await world.session(tenant)).store.query(AUDIT)
    return [one.body["action"].removeprefix("tenant.") for one in page.items if one.body["resource_type"] == "tenant"]


async def at(world: World, **after: float) -> None:
    """The sweep, so long after the tenant was made; twice, since it comes every half minute."""
    world.clock.instant = START + timedelta(**after)
    world.clock.elapsed += 60
    await world.sweep()
    await world.sweep()


async def test_a_trial_is_told_of_seven_three_and_one_days_before_its_end_and_then(world: World, tenant: str) -> None:
    seen = []
    for days in range(14):
        await at(world, days=days, minutes=5)
        seen.append(len(await told(world, tenant)))
    assert seen == [0] * 7 + [1] * 4 + [2, 2, 3]
    await at(world, days=14)
    assert await told(world, tenant) == ["trial_ending"] * 3 + ["trial_over"]
    assert await audited(world, tenant) == ["created"] + ["trial_told"] * 4


async def test_a_notice_says_when_it_ends_and_what_goes_on_with_it(world: World, tenant: str) -> None:
    await at(world, days=11)
    (notice,) = (await world.call("list_notifications", admin(tenant))).json["items"]
    assert notice["title"] == "Your trial ends on 2026-12-08 12:00 UTC"
    assert "2026-12-15 12:00 UTC" in notice["text"] and "billing/upgrade" in notice["text"]
    assert notice["data"]["trial_ends_at"] == rfc3339(START + timedelta(days=14))


async def test_what_was_missed_is_not_told_late_but_the_latest_is(world: World, tenant: str) -> None:
    await at(world, days=13, hours=12)
    assert (await told(world, tenant), (await entry(world, tenant))["trial_told"]) == (["trial_ending"], 1)


async def test_a_trial_that_is_over_goes_on_for_a_week(world: World, tenant: str) -> None:
    await at(world, days=20, hours=23)
    assert (await entry(world, tenant))["status"] == "trial"
    assert (await world.call("get_me", admin(tenant))).status == 200
    shown = (await world.call("get_billing", admin(tenant))).json
    assert shown["suspended_at"] == rfc3339(START + timedelta(days=21))


async def test_after_the_week_the_tenant_is_suspended(world: World, tenant: str) -> None:
    await at(world, days=21)
    assert (await entry(world, tenant))["status"] == "suspended"
    assert (await world.call("get_me", admin(tenant))).json["code"] == "tenant_suspended"
    assert (await told(world, tenant), await audited(world, tenant)) == (
        ["tenant_suspended"],
        ["created", "trial_ended"],
    )


async def test_a_trial_that_is_prolonged_is_told_of_again(world: World, tenant: str) -> None:
    await at(world, days=13, hours=12)
    prolonged = {"trial_ends_at": "2027-01-01T00:00:00+01:00"}
    await world.call("patch_tenant", STAFF, prolonged, params={"tenant_id": tenant})
    await at(world, days=29)
    after = await entry(world, tenant)
    assert (after["status"], after["trial_ends_at"], after["trial_told"]) == (
        "trial",
        "2026-12-31T23:00:00.000000Z",
        None,
    )
    await at(world, days=35)
    assert await told(world, tenant) == ["trial_ending", "trial_ending"]


async def test_two_instances_tell_it_once(
    world: World, twin: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one comes in between: it has read the tenant, and its write is refused."""
    platform = world.core.adapters.database.platform
    put, met = platform.put, list[str]()

    async def overtaken(operation: Any, tenant_id: str) -> str | None:
        if isinstance(operation, Replace) and operation.kind is TENANT and not met:
            met.append(tenant_id)
            await twin.sweep()
        return await put(operation, tenant_id)

    monkeypatch.setattr(platform, "put", overtaken)
    await at(world, days=7)
    assert (met, await told(world, tenant)) == ([tenant], ["trial_ending"])
    assert await audited(world, tenant) == ["created", "trial_told"]


async def test_what_a_crash_keeps_from_being_told_is_told_by_the_sweep(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = list[str]()

    async def away(tenant_id: str) -> Any:
        opened.append(tenant_id)
        raise Unavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(world.core.directory, "store", away)
        await at(world, days=7)
    assert opened and await told(world, tenant) == [] and (await entry(world, tenant))["trial_told"] == 7
    await at(world, days=7, minutes=1)
    assert (await told(world, tenant), await audited(world, tenant)) == (["trial_ending"], ["created", "trial_told"])


async def test_more_trials_than_a_page_holds_are_all_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tenants = [str((await world.onboard(f"acme-{number}"))["id"]) for number in range(3)]
    platform = world.core.adapters.database.platform
    query = platform.query

    async def in_small_pages(*given: Any, **more: Any) -> Any:
        return await query(*given, **{**more, "limit": 1})

    monkeypatch.setattr(platform, "query", in_small_pages)
    await at(world, days=7)
    assert [await told(world, one) for one in tenants] == [["trial_ending"]] * 3


async def test_an_upgrade_ends_the_trial_also_to_the_same_plan(world: World, tenant: str) -> None:
    answer = await world.call("upgrade_plan", admin(tenant), {"tier": "standard"})
    assert (answer.status, answer.json["status"], answer.json["trial_ends_at"]) == (200, "active", None)
    await at(world, days=30)
    assert ((await entry(world, tenant))["status"], await told(world, tenant)) == ("active", [])


async def test_an_upgrade_in_the_week_of_grace_saves_the_tenant(world: World, tenant: str) -> None:
    await at(world, days=20)
    await world.call("upgrade_plan", admin(tenant), {"tier": "professional"})
    await at(world, days=22)
    assert (await entry(world, tenant))["status"] == "active"

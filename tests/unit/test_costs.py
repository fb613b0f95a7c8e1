"""What each tenant costs: what was metered times a dated table of prices, to the micro-dollar, flagged above $5."""

from datetime import timedelta
from typing import Any

import pytest

from functions.platform.prices import PRICES, Price, prices_of
from shared.database.port import TenantStore
from shared.errors import Unavailable
from shared.telemetry.port import Telemetry
from shared.tenancy.directory import TenantEntry
from shared.tenancy.plans import Budget
from shared.work.budgets import reserve_once, settle_once
from shared.work.events import Metric, usage_event
from tests.unit.world import OTHER_ID, STAFF, START, WatchedStore, World, admin


async def happened(world: World, tenant: str, metric: Metric, value: int, days_ago: int = 0) -> None:
    id, at = world.core.services.ids.new(), START - timedelta(days=days_ago)
    event = usage_event(metric, id=id, tenant_id=tenant, at=at, value=value)
    await world.core.adapters.messaging.send("usage-events", [event])
    await world.drain()


async def costs(world: World, **query: str) -> list[dict[str, Any]]:
    answer = await world.call("list_costs", STAFF, query=query)
    assert answer.status == 200, answer.raw
    found: list[dict[str, Any]] = answer.json["items"]
    return found


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


async def test_a_months_cost_is_what_was_metered_by_the_price_of_each(world: World, tenant: str) -> None:
    for days_ago in (0, 3):
        await happened(world, tenant, Metric.REQUEST_UNITS, 2_000_000, days_ago)
        await happened(world, tenant, Metric.STORAGE_BYTES, 3 * 10**9, days_ago)
    await happened(world, tenant, Metric.API_CALLS, 1000)
    await happened(world, tenant, Metric.EXECUTIONS, 500)
    await happened(world, tenant, Metric.AI_TOKENS, 42)
    await reserve_once(await world.session(tenant), "call", {Budget.AI_SPEND: 900_000})
    await settle_once(await world.session(tenant), "call", {Budget.AI_SPEND: 700_000})
    (cost,) = await costs(world)
    assert {line["what"]: (line["quantity"], line["micro_usd"]) for line in cost["lines"]} == {
        "request_units": (4_000_000, 1_000_000),
        "storage": (6 * 10**9, 50_000),
        "messages": (1500, 3600),
        "calls": (1000, 400),
        "compute": (1000, 1040),
        "ai_tokens": (42, 700_000),
    }
    assert (cost["tenant_id"], cost["month"], cost["total_micro_usd"], cost["above_target"]) == (
        tenant,
        "2026-11",
        1_755_040,
        False,
    )


@pytest.mark.parametrize(("units", "above"), [(20_000_000, False), (20_000_002, True)])
async def test_a_tenant_above_five_dollars_is_flagged(world: World, tenant: str, units: int, above: bool) -> None:
    await happened(world, tenant, Metric.REQUEST_UNITS, units)
    (cost,) = await costs(world)
    assert cost["above_target"] is above


async def test_another_month_is_asked_for_by_name(world: World, tenant: str) -> None:
    await happened(world, tenant, Metric.REQUEST_UNITS, 4_000_000, days_ago=30)
    found = [(await costs(world, month=month))[0]["total_micro_usd"] for month in ("2026-10", "2026-11", "2099-12")]
    assert found == [1_000_000, 0, 0]


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "november", "0000-01", "2026-11-01"])
async def test_what_is_no_month_is_invalid(world: World, month: str) -> None:
    answer = await world.call("list_costs", STAFF, query={"month": month})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "month")


async def test_tenants_come_in_pages(world: World) -> None:
    tenants = [str((await world.onboard(slug))["id"]) for slug in ("acme", "globex", "initech")]
    first = await world.call("list_costs", STAFF, query={"limit": "2"})
    second = await world.call("list_costs", STAFF, query={"limit": "2", "cursor": first.json["next_cursor"]})
    found = [one["tenant_id"] for page in (first, second) for one in page.json["items"]]
    assert (sorted(found), second.json["next_cursor"]) == (sorted(tenants), None)


async def test_one_tenants_cost_is_had_alone_as_it_is_listed(world: World, tenant: str) -> None:
    await happened(world, tenant, Metric.REQUEST_UNITS, 4_000_000)
    alone = await world.call("get_cost", STAFF, params={"tenant_id": tenant}, query={"month": "2026-11"})
    none = await world.call("get_cost", STAFF, params={"tenant_id": OTHER_ID})
    assert (alone.status, alone.json, none.status) == (200, (await costs(world))[0], 404)


async def test_only_staff_hear_of_costs(world: World, tenant: str) -> None:
    assert (await world.call("list_costs", admin(tenant))).status == 403


def test_half_a_micro_dollar_is_rounded_up() -> None:
    assert [Price(1, 2, "").of(quantity) for quantity in range(5)] == [0, 1, 1, 2, 2]


def test_prices_say_where_they_are_from_and_since_when_they_are_believed() -> None:
    assert [prices.valid_from for prices in PRICES] == sorted({prices.valid_from for prices in PRICES})
    assert all(price.source and price.per > 0 for prices in PRICES for price in prices.by.values())
    assert (prices_of("2020-01"), prices_of("2026-11")) == (PRICES[0], PRICES[0])


async def test_one_tenant_whose_database_is_away_hides_no_others_costs(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = str((await world.onboard("globex", tier="enterprise"))["id"])
    real = world.core.directory.open

    def opened(entry: TenantEntry) -> TenantStore:
        store = WatchedStore(real(entry))
        store.on_call = away if entry.id == other else None
        return store

    async def away() -> None:
        raise Unavailable("its database does not answer")

    monkeypatch.setattr(world.core.directory, "open", opened)
    found = {one["tenant_id"]: one["unknown"] for one in await costs(world)}
    assert found == {tenant: False, other: True}


async def test_once_a_day_telemetry_is_told_what_each_tenant_has_cost_in_its_month(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[tuple[Any, ...]]()
    monkeypatch.setattr(Telemetry, "metric", lambda _, *what: told.append(what))
    await happened(world, tenant, Metric.REQUEST_UNITS, 40_000_000)
    for _ in range(2):
        await world.functions["rounds"](None)
    assert [one for one in told if one[0] == "Tenant Cost"] == [
        ("Tenant Cost", tenant, 10_000_000, {"month": "2026-11"})
    ]

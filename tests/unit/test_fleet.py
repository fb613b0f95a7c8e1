"""All tenants together: what was kept of what is promised, and who is the loud one; at most five minutes behind."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from functions.usage import fleet as summing
from functions.usage.fleet import FLEET, SHARES, FleetHours
from functions.usage.rollups import blocks_of
from functions.usage.slo import WINDOWS
from shared.clock import rfc3339
from shared.errors import Unavailable
from shared.ids import PLATFORM_TENANT_ID
from shared.work.events import Metric, usage_event
from tests.unit.world import STAFF, START, FakeClock, World, admin

NOON = START + timedelta(days=1)


@pytest.fixture
async def tenants(world: World) -> list[str]:
    own = [str((await world.onboard(slug, tier="enterprise"))["id"]) for slug in ("acme", "globex", "initech")]
    world.clock.advance(days=1)
    return own


async def happened(world: World, tenant: str, *calls: tuple[int, int], at: datetime = NOON, units: int = 0) -> None:
    """Calls by how long they took and what they were answered."""
    new = world.core.services.ids.new
    events = [
        usage_event(
            Metric.API_CALLS,
            id=new(),
            tenant_id=tenant,
            at=at,
            value=1,
            operation="get_agent",
            duration_ms=took,
            status_code=status,
        )
        for took, status in calls
    ]
    if units:
        events.append(
            usage_event(Metric.REQUEST_UNITS, id=new(), tenant_id=tenant, at=at, value=units, operation="get_agent")
        )
    await world.core.adapters.messaging.send("usage-events", events)
    await world.drain()


async def close_usage(world: World) -> None:
    """What the usage timer does."""
    await world.functions["close_usage"](None)


async def windows(world: World) -> dict[int, Any]:
    world.clock.advance(minutes=1)  # an answer is kept so long
    answer = await world.call("get_slo", STAFF)
    assert answer.status == 200, answer.raw
    return {one["window_hours"]: one for one in answer.json["windows"]}


async def hour(world: World) -> dict[str, Any]:
    """What is held of all tenants in the hour of noon."""
    stored = await world.core.adapters.database.platform.get(FLEET, PLATFORM_TENANT_ID, rfc3339(NOON))
    assert stored is not None
    return stored.body


async def neighbors(world: World, **query: str) -> list[dict[str, Any]]:
    answer = await world.call("list_neighbors", STAFF, query=query)
    assert answer.status == 200, answer.raw
    found: list[dict[str, Any]] = answer.json["items"]
    return found


# What is promised


async def test_a_window_tells_what_was_kept_and_how_fast_the_rest_is_used_up(world: World, tenants: list[str]) -> None:
    await happened(world, tenants[0], *[(10, 200)] * 97, (10, 500), (10, 404))
    await happened(world, tenants[1], (900, 200))
    await close_usage(world)
    hour = (await windows(world))[1]
    assert (hour["calls"], hour["measured"], hour["from"]) == (100, 100, "2026-11-25T11:00:00.000000Z")
    assert hour["availability"] == {"target": 0.999, "share": 0.99, "burn_rate": 10.0, "alert": False}
    assert hour["latency"] == {"target": 0.95, "share": 0.99, "burn_rate": 0.2, "alert": False}
    assert hour["p95_ms"] == 9.9


@pytest.mark.parametrize(("window", "errors", "alert"), [(1, 14, False), (1, 15, True), (6, 6, False), (6, 7, True)])
async def test_a_window_alerts_above_its_own_burn_rate(
    world: World, tenants: list[str], window: int, errors: int, alert: bool
) -> None:
    await happened(world, tenants[0], *[(10, 503)] * errors, *[(10, 200)] * (1000 - errors))
    await close_usage(world)
    found = (await windows(world))[window]["availability"]
    assert (found["burn_rate"], found["alert"]) == (errors, alert)


async def test_errors_leave_a_window_with_time_and_the_longer_ones_later(world: World, tenants: list[str]) -> None:
    await happened(world, tenants[0], (10, 500))
    await close_usage(world)
    seen: list[list[int]] = []
    for passed in (0, 2, 5, 18, 24 * 29 + 1):
        world.clock.advance(hours=passed)
        await close_usage(world)
        found = await windows(world)
        seen.append([hours for hours in WINDOWS if found[hours]["calls"]])
    assert seen == [[1, 6, 24, 720], [6, 24, 720], [24, 720], [720], []]


async def test_without_a_measured_call_nothing_is_said_and_nothing_alerts(world: World, tenants: list[str]) -> None:
    await close_usage(world)
    assert (await windows(world))[720]["availability"] == {
        "target": 0.999,
        "share": None,
        "burn_rate": None,
        "alert": False,
    }


async def test_an_answer_is_kept_for_a_minute(world: World, tenants: list[str]) -> None:
    await close_usage(world)
    before = (await world.call("get_slo", STAFF)).json
    world.clock.advance(seconds=59)
    assert (await world.call("get_slo", STAFF)).json == before
    world.clock.advance(seconds=1)
    assert (await world.call("get_slo", STAFF)).json["timestamp"] != before["timestamp"]


# Summing up


async def test_an_hour_is_the_same_open_and_closed_and_takes_what_is_late_until_it_is_settled(
    world: World, tenants: list[str]
) -> None:
    seen = []
    for hours in (0, 1.2, 1.5, 1, 0.1, 0.1):
        world.clock.advance(hours=hours)
        await close_usage(world)
        found = await hour(world)
        seen.append((found["calls"], found["settled"]))
        if len(seen) < 5:  # the fifth look finds what the fourth has not, and the sixth nothing new
            await happened(world, tenants[0], (5, 200))
    assert seen == [(0, False), (1, False), (2, False), (3, False), (4, False), (4, True)]
    await happened(world, tenants[0], (5, 200))
    await close_usage(world)
    assert (await windows(world))[24]["calls"] == 4


async def test_an_hour_that_nobody_was_awake_for_is_made_up_for(world: World, tenants: list[str]) -> None:
    await happened(world, tenants[0], (5, 200))
    world.clock.advance(hours=20)
    for _ in range(5):
        await close_usage(world)
    found = (await windows(world))[24]
    assert (found["calls"], found["hours"]) == (1, 25)


async def test_two_that_sum_up_at_once_leave_what_one_would(world: World, tenants: list[str]) -> None:
    await happened(world, tenants[0], (5, 200))
    core = world.core
    first, second = (FleetHours(core.adapters.database, core.directory, world.clock) for _ in range(2))
    inner = first._shares_of

    async def overtaken(hour: str) -> Any:
        found = await inner(hour)
        await second.sweep()
        return found

    first._shares_of = overtaken  # type: ignore[method-assign]
    await first.sweep()
    (own,) = [one for one in await first.together(NOON, NOON + timedelta(hours=1)) if one["calls"]]
    assert (own["calls"], own["tenants"]) == (1, 1)


async def test_a_tenant_in_trouble_hides_no_other(world: World, tenants: list[str], monkeypatch: Any) -> None:
    for tenant in tenants[:2]:
        await happened(world, tenant, (5, 200))
    inner = blocks_of

    async def but_one(store: Any, hour: str) -> Any:
        if store.tenant_id == tenants[0]:
            raise RuntimeError("trouble")
        return await inner(store, hour)

    monkeypatch.setattr(summing, "blocks_of", but_one)
    await close_usage(world)
    assert [one["tenant_id"] for one in await neighbors(world)] == [tenants[1]]


async def test_what_is_looked_at_again_and_has_not_changed_is_not_written(world: World, tenants: list[str]) -> None:
    await happened(world, tenants[0], (5, 200))
    platform = world.core.adapters.database.platform
    etags = []
    for _ in range(2):
        await close_usage(world)
        stored = [await platform.get(kind, PLATFORM_TENANT_ID, rfc3339(NOON)) for kind in (FLEET, SHARES)]
        etags.append([one.etag for one in stored if one])
    assert etags[0] == etags[1] and len(etags[0]) == 2


# Who is not reached


Away = Callable[[str], Awaitable[None]]


@pytest.fixture
def away(world: World, monkeypatch: pytest.MonkeyPatch) -> Away:
    """Takes the database of a tenant away, until `monkeypatch.undo`."""

    async def take(tenant: str) -> None:
        database: Any = world.core.adapters.database
        entry, read = await world.core.directory.entry(tenant), database._files.read
        assert entry is not None

        async def refused(name: str, *args: Any, **kwargs: Any) -> Any:
            if name == entry.placement.database:
                raise Unavailable("It is away.")
            return await read(name, *args, **kwargs)

        monkeypatch.setattr(database._files, "read", refused)

    return take


async def both_call(world: World, tenants: list[str]) -> None:
    await happened(world, tenants[0], *[(10, 200)] * 100)
    await happened(world, tenants[1], *[(10, 500)] * 50)


async def test_what_was_found_of_a_tenant_stays_while_its_database_is_away_and_the_hour_is_not_whole(
    world: World, tenants: list[str], away: Away
) -> None:
    await both_call(world, tenants)
    await close_usage(world)
    await away(tenants[1])
    await happened(world, tenants[0], *[(10, 200)] * 50)
    await close_usage(world)
    found = (await windows(world))[24]
    assert (found["calls"], found["availability"]["share"], found["whole"]) == (200, 0.75, False)
    assert [(one["tenant_id"], one["calls"]) for one in await neighbors(world)] == [
        (tenants[0], 150),
        (tenants[1], 50),
    ]


@pytest.mark.parametrize("seen_before", [True, False])
async def test_an_hour_in_which_somebody_was_missed_waits_for_him_however_late_it_is(
    world: World, tenants: list[str], away: Away, monkeypatch: pytest.MonkeyPatch, seen_before: bool
) -> None:
    await both_call(world, tenants)
    if seen_before:
        await close_usage(world)
    await away(tenants[1])
    world.clock.advance(hours=5)
    for _ in range(3):
        await close_usage(world)
    missed = await hour(world)
    monkeypatch.undo()
    for _ in range(3):
        await close_usage(world)
    found = await hour(world)
    assert (missed["calls"], missed["whole"], missed["settled"]) == (150 if seen_before else 100, False, False)
    assert (found["calls"], found["details"]["5xx"], found["whole"], found["settled"]) == (150, 50, True, True)


async def test_of_those_too_small_to_be_kept_alone_the_sums_stay(
    world: World, tenants: list[str], away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "MOST_SHARES", 1)
    await both_call(world, tenants)
    await close_usage(world)
    before = await hour(world)
    await away(tenants[1] if (await neighbors(world))[0]["tenant_id"] == tenants[0] else tenants[0])
    await close_usage(world)
    assert await hour(world) == {**before, "whole": False}


async def test_a_tenant_that_fails_alone_is_missed_as_a_database_is(
    world: World, tenants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await both_call(world, tenants)
    await close_usage(world)
    inner = blocks_of

    async def but_one(store: Any, hour: str) -> Any:
        if store.tenant_id == tenants[1]:
            raise RuntimeError("trouble")
        return await inner(store, hour)

    monkeypatch.setattr(summing, "blocks_of", but_one)
    await close_usage(world)
    found = await hour(world)
    assert (found["calls"], found["whole"]) == (150, False)


async def test_hours_that_wait_for_somebody_keep_none_from_its_first_look(
    world: World, tenants: list[str], away: Away
) -> None:
    await both_call(world, tenants)
    world.clock.advance(hours=20)
    await away(tenants[1])
    for _ in range(3):
        await close_usage(world)
    assert (await windows(world))[24]["hours"] == 25


# A clock that is ahead


async def test_an_hour_that_a_clock_ahead_has_settled_is_looked_at_while_it_lasts(
    world: World, tenants: list[str]
) -> None:
    await happened(world, tenants[0], *[(10, 200)] * 10)
    core, ahead = world.core, FakeClock()
    ahead.instant = world.clock.now() + timedelta(hours=4)
    for _ in range(3):
        await FleetHours(core.adapters.database, core.directory, ahead).sweep()
    settled = await hour(world)
    await happened(world, tenants[0], *[(10, 500)] * 90)
    await close_usage(world)
    found = await hour(world)
    assert (settled["calls"], settled["settled"]) == (10, True)
    assert (found["calls"], found["details"]["5xx"], found["settled"]) == (100, 90, False)


async def test_an_hour_first_looked_at_late_is_not_settled_by_that_look(world: World, tenants: list[str]) -> None:
    await happened(world, tenants[0], (5, 200))
    world.clock.advance(hours=9)
    seen = []
    for looks in (1, 4):  # those that were missed all day come first
        for _ in range(looks):
            await close_usage(world)
        seen.append((await hour(world))["settled"])
    assert seen == [False, True]


# Who it is


async def loud(world: World, tenants: list[str]) -> None:
    await happened(world, tenants[0], *[(5, 200)] * 6, units=10)
    await happened(world, tenants[1], *[(5, 200)] * 2, (5, 500), units=80)
    await happened(world, tenants[2], (700, 200), units=10)
    await close_usage(world)


async def test_the_loudest_tenant_comes_first_with_its_shares(world: World, tenants: list[str]) -> None:
    await loud(world, tenants)
    first, second, third = await neighbors(world)
    assert (first["tenant_id"], first["share_of_calls"], first["share_of_request_units"]) == (tenants[0], 0.6, 0.1)
    assert (second["name"], second["share_of_server_errors"], second["request_units"]) == ("globex", 1.0, 80)
    assert (third["p95_ms"], third["within_promise"]) == (741.1, 0)


@pytest.mark.parametrize(("sort", "first"), [("calls", 0), ("request_units", 1), ("server_errors", 1), ("p95_ms", 2)])
async def test_the_loudest_is_by_what_is_asked_for(world: World, tenants: list[str], sort: str, first: int) -> None:
    await loud(world, tenants)
    assert (await neighbors(world, sort=sort))[0]["tenant_id"] == tenants[first]


async def test_pages_follow_each_other_and_end(world: World, tenants: list[str]) -> None:
    await loud(world, tenants)
    seen, cursor = [], None
    for _ in range(3):
        query = {"limit": "1", **({"cursor": cursor} if cursor else {})}
        page = (await world.call("list_neighbors", STAFF, query=query)).json
        seen += [one["tenant_id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == (tenants, None)


async def test_the_end_of_all_years_is_now(world: World, tenants: list[str]) -> None:
    await loud(world, tenants)
    assert [one["tenant_id"] for one in await neighbors(world, to="9999-12-31T23:59:59Z")] == tenants
    assert await neighbors(world, to="1970-01-01T00:00:00Z") == []


async def test_hours_of_a_range_are_added_up(world: World, tenants: list[str]) -> None:
    await loud(world, tenants)
    await happened(world, tenants[2], *[(5, 200)] * 9, at=NOON - timedelta(hours=2))
    await close_usage(world)
    day = {"from": rfc3339(NOON - timedelta(hours=5)), "to": rfc3339(NOON + timedelta(hours=1))}
    assert [(one["tenant_id"], one["calls"]) for one in await neighbors(world, **day)] == [
        (tenants[2], 10),
        (tenants[0], 6),
        (tenants[1], 3),
    ]
    assert [one["tenant_id"] for one in await neighbors(world)] == tenants


async def test_of_many_tenants_those_are_kept_who_had_the_most_of_anything(
    world: World, tenants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "MOST_SHARES", 2)
    await loud(world, tenants)
    found = await neighbors(world)
    assert [(one["tenant_id"], one["share_of_calls"]) for one in found] == [(tenants[0], 0.6), (tenants[1], 0.3)]


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-11-24T00:00:00Z"},
        {"from": "2026-11-26T00:00:00Z"},
        {"from": "9999-12-31T23:59:59Z"},
        {"from": "1970-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"},
        {"sort": "name"},
    ],
)
async def test_a_range_longer_than_a_day_or_empty_is_invalid(
    world: World, tenants: list[str], query: dict[str, str]
) -> None:
    assert (await world.call("list_neighbors", STAFF, query=query)).status == 400


@pytest.mark.parametrize("name", ["list_neighbors", "get_slo"])
async def test_no_tenant_sees_the_others(world: World, tenants: list[str], name: str) -> None:
    assert (await world.call(name, admin(tenants[0]))).status == 403


async def test_a_look_that_takes_long_is_gone_on_with_by_the_next(world: World, tenants: list[str]) -> None:
    core = world.core
    fleet = FleetHours(core.adapters.database, core.directory, world.clock)
    inner = fleet._shares_of

    async def slow(hour: str) -> Any:
        world.clock.elapsed += 50
        return await inner(hour)

    fleet._shares_of = slow  # type: ignore[method-assign]
    assert [await fleet.sweep() for _ in range(2)] == [3, 3]

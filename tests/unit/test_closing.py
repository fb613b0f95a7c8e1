"""Closing usage: hours become rollups, then days and months; whatever comes later, and whoever else is at it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from functions.usage.blocks import BLOCK
from functions.usage.closing import GRACE, ROLLUP_KEPT_SECONDS, Closing, close_hour
from functions.usage.hours import HOUR, OPEN, stop
from functions.usage.metering import Metering
from functions.usage.rebuilding import rollups_as_rebuilt
from functions.usage.rollups import DUE, ROLLUP, rollup_id, sums, totals
from shared.clock import rfc3339
from shared.database.limits import encode
from shared.database.port import TenantStore, Upsert
from shared.errors import Unavailable
from shared.messaging.port import Message
from shared.tenancy.history import KEPT
from shared.work.events import Metric, usage_event, void_event
from tests.unit.world import (
    OTHER_ID,
    START,
    TENANT_ID,
    WatchedDirectory,
    WatchedStore,
    World,
    admin,
    entry,
    register,
    session,
)

HOUR_TEXT = rfc3339(START)
OVER = timedelta(hours=1) + GRACE


def uuid_of(number: int) -> str:
    return f"0190c2a8-0000-7000-8000-{number:012x}"


def event(number: int, at: datetime = START, value: int = 1, tenant_id: str = TENANT_ID, **data: Any) -> Message:
    return usage_event(Metric.API_CALLS, id=uuid_of(number), tenant_id=tenant_id, at=at, value=value, **data)


def void(*numbers: int, hour: datetime = START) -> Message:
    events = [("/flowgrid/api", uuid_of(number)) for number in numbers]
    return void_event(events, id=uuid_of(9000 + sum(numbers)), tenant_id=TENANT_ID, hour=hour)


@pytest.fixture
async def directory(world: World) -> AsyncIterator[WatchedDirectory]:
    await register(world.core)
    await register(world.core, OTHER_ID)
    yield WatchedDirectory(world.core.directory)


@pytest.fixture
def metering(world: World, directory: WatchedDirectory) -> Metering:
    return Metering(directory, world.core.dead_letters, world.queue, world.clock, "usage-events")


@pytest.fixture
def closing(world: World, directory: WatchedDirectory) -> Closing:
    return Closing(world.core.adapters.database, directory, world.clock)


@pytest.fixture
async def store(directory: WatchedDirectory) -> WatchedStore:
    store = await directory.store(TENANT_ID)
    assert isinstance(store, WatchedStore)
    return store


async def rollup(store: TenantStore, period: str = "hour", start: str = HOUR_TEXT) -> dict[str, Any]:
    found = await store.get(ROLLUP, rollup_id(period, start))  # type: ignore[arg-type]
    assert found is not None, f"no rollup of the {period} {start}"
    return found.body


async def ids(store: TenantStore, kind: Any) -> list[str]:
    return [str(one.body["id"]) for one in (await store.query(kind)).items]


async def value(store: TenantStore, at: datetime = START) -> int:
    return (await totals(store, at, at + timedelta(hours=1))).get(Metric.API_CALLS, 0)


# An hour


async def test_an_hour_that_is_over_becomes_a_rollup(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1, value=5, operation="list_agents"), event(2, value=7)])
    world.clock.advance(seconds=OVER.total_seconds())
    assert await closing.sweep() >= 1
    assert (await rollup(store))["metrics"] == {
        "api_calls": {"value": 12, "count": 2, "dimensions": {"list_agents": 5}, "details": {}},
    }
    assert await ids(store, OPEN) == []


async def test_an_hour_that_is_not_over_stays_open(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1)])
    world.clock.advance(seconds=OVER.total_seconds() - 1)
    assert await closing.sweep() == 0
    assert await ids(store, OPEN) == [f"{HOUR_TEXT}:000001"]


async def test_a_second_sweep_closes_nothing(world: World, metering: Metering, closing: Closing) -> None:
    await metering.store([event(1)])
    world.clock.advance(days=40)
    assert await closing.sweep() == 3
    assert await closing.sweep() == 0


async def test_what_is_late_opens_its_hour_again_and_is_in_its_rollup_after_the_next_sweep(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1)])
    world.clock.advance(days=2)
    await closing.sweep()
    await metering.store([event(2)])
    assert await ids(store, OPEN) == [f"{HOUR_TEXT}:000002"]
    assert await value(store) == 2  # at once
    assert await closing.sweep() == 2
    assert (await rollup(store))["metrics"]["api_calls"]["value"] == 2
    assert (await rollup(store, "day", "2026-11-24T00:00:00.000000Z"))["metrics"]["api_calls"]["value"] == 2


async def test_what_comes_again_after_its_hour_was_closed_counts_once(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1), event(2)])
    world.clock.advance(days=2)
    await closing.sweep()
    await metering.store([event(2), event(3)])
    await closing.sweep()
    assert (await rollup(store))["metrics"]["api_calls"] == {"value": 3, "count": 3, "dimensions": {}, "details": {}}


async def test_the_same_delivery_after_its_hour_was_closed_opens_nothing(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1), event(2)])
    world.clock.advance(days=2)
    await closing.sweep()
    await metering.store([event(1), event(2)])
    await Metering(
        WatchedDirectory(world.core.directory), world.core.dead_letters, world.queue, world.clock, "usage-events"
    ).store([event(2), event(1)])
    assert (await ids(store, OPEN), len(await ids(store, BLOCK))) == ([], 1)


# One id, two payloads


async def test_of_one_id_with_two_payloads_one_counts_and_the_other_is_flagged(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1, value=5)])
    await metering.store([event(1, value=7), event(2, value=100)])
    open_value = await value(store)
    world.clock.advance(days=2)
    await closing.sweep()
    assert (await rollup(store))["conflicting"] == 1
    assert await value(store) == open_value in (105, 107)


@pytest.mark.parametrize("values", [(5, 7), (7, 5)])
async def test_what_a_closed_rollup_says_is_not_turned_over_by_another_payload(
    world: World, metering: Metering, closing: Closing, store: WatchedStore, values: tuple[int, int]
) -> None:
    await metering.store([event(1, value=values[0])])
    world.clock.advance(days=2)
    await closing.sweep()
    await metering.store([event(1, value=values[1])])
    assert await value(store) == values[0]
    await closing.sweep()
    assert (await value(store), (await rollup(store))["conflicting"]) == (values[0], 1)


async def test_two_payloads_in_one_delivery_are_told_apart(metering: Metering, store: WatchedStore) -> None:
    await metering.store([event(1, value=5), event(1, value=7)])
    found = await sums(store, "hour", START, START + timedelta(hours=1))
    assert found[HOUR_TEXT]["api_calls"]["count"] == 1


# Voids


async def test_a_voided_event_counts_no_more(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1, value=5), event(2, value=7)])
    world.clock.advance(days=2)
    await closing.sweep()
    await metering.store([void(1)])
    assert await value(store) == 7
    await closing.sweep()
    assert (await value(store), (await rollup(store))["voided"]) == (7, 1)


async def test_a_void_holds_for_what_comes_after_it_too(metering: Metering, store: WatchedStore) -> None:
    await metering.store([void(1), event(2)])
    await metering.store([event(1)])
    assert await value(store) == 1


async def test_a_void_twice_takes_out_once(metering: Metering, store: WatchedStore) -> None:
    await metering.store([event(1), event(2), event(3)])
    await metering.store([void(1, 2)])
    await metering.store([void(2)])
    assert await value(store) == 1


# Days and months


async def test_days_and_months_are_made_of_their_parts(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    for number, back in enumerate((0, 1, 2, 26, 24 * 20)):
        await metering.store([event(number, START - timedelta(hours=back), 10**number)])
    world.clock.advance(days=40)
    await closing.sweep()
    assert (await rollup(store, "day", "2026-11-24T00:00:00.000000Z"))["metrics"]["api_calls"]["value"] == 111
    assert (await rollup(store, "month", "2026-11-01T00:00:00.000000Z"))["metrics"]["api_calls"]["value"] == 11111
    assert await ids(store, DUE) == []


async def test_the_hundred_largest_names_are_kept_and_the_others_counted(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    for start in range(0, 300, 50):
        await metering.store(
            [event(number, operation=f"o{number:03}", value=number + 1) for number in range(start, start + 50)]
        )
    world.clock.advance(days=40)
    await closing.sweep()
    for period, beginning in (("hour", HOUR_TEXT), ("month", "2026-11-01T00:00:00.000000Z")):
        found = (await rollup(store, period, beginning))["metrics"]["api_calls"]
        largest = {f"o{number:03}": number + 1 for number in range(200, 300)}
        assert found["dimensions"] == {**largest, "other": sum(range(1, 201))}
        assert (found["value"], found["count"]) == (sum(range(1, 301)), 300)


# Rebuilding


@pytest.mark.parametrize(("period", "start"), [("hour", HOUR_TEXT), ("day", "2026-11-24T00:00:00.000000Z")])
async def test_a_rollup_that_is_not_what_its_parts_add_up_to_is_found(
    world: World, metering: Metering, closing: Closing, store: WatchedStore, period: str, start: str
) -> None:
    await metering.store([event(1, value=5), event(2, START + timedelta(hours=1))])
    world.clock.advance(days=1)
    await closing.sweep()
    tenant = session(world.core, entry(), store, admin(TENANT_ID))
    assert await rollups_as_rebuilt(tenant) == []
    body = await rollup(store, period, start)
    wrong = {**body["metrics"]["api_calls"], "value": 7}
    await store.commit([Upsert(ROLLUP, body["id"], {**body, "metrics": {"api_calls": wrong}})])
    found = await rollups_as_rebuilt(tenant)
    assert f"The rollup of the {period} {start} is not" in found[0]


async def test_what_is_open_or_due_is_not_held_against_its_rollup(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1)])
    world.clock.advance(days=1)
    await closing.sweep()
    await metering.store([event(2)])
    tenant = session(world.core, entry(), store, admin(TENANT_ID))
    assert await rollups_as_rebuilt(tenant) == []
    await close_hour(store, HOUR_TEXT, 2)
    assert await rollups_as_rebuilt(tenant) == []


async def test_thousands_of_models_in_a_month_make_no_large_document(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    """And no event costs more than another: a block is created, whatever is in it."""
    for number in range(75):
        at = START - timedelta(days=number % 20, hours=number % 7)
        models = [f"vendor-{name}/{'m' * 90}.{name}" for name in range(number * 100, number * 100 + 100)]
        data = [{"provider": "hub", "model": model} for model in models]
        await metering.store(
            [
                usage_event(Metric.AI_TOKENS, id=uuid_of(1000 * number + n), tenant_id=TENANT_ID, at=at, value=3, **one)
                for n, one in enumerate(data)
            ]
        )
    world.clock.advance(days=40)
    await closing.sweep()
    sizes = [len(encode(one.body).encode()) async for page in store.scan([BLOCK, ROLLUP]) for one in page]
    assert max(sizes) < 256 * 1024
    month = (await rollup(store, "month", "2026-11-01T00:00:00.000000Z"))["metrics"]["ai_tokens"]
    assert (month["value"], month["count"], len(month["dimensions"])) == (22_500, 7_500, 101)


async def test_a_late_block_that_comes_while_rollups_are_looked_at_is_no_false_alarm(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1)])
    world.clock.advance(hours=3)
    await closing.sweep()
    calls = 0

    async def meanwhile() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:  # the hours are read, and their blocks not yet
            store.on_call = None
            await metering.store([event(2)])

    store.on_call = meanwhile
    assert await rollups_as_rebuilt(session(world.core, entry(), store, admin(TENANT_ID))) == []
    assert calls == 4


def test_hours_are_kept_for_as_long_as_a_plans_change_may_cut_a_day() -> None:
    """A late statement reads the hours of a day that a change of plan has cut, as far back as its history goes."""
    kept = ROLLUP_KEPT_SECONDS["hour"]
    assert kept is not None and timedelta(seconds=kept) > KEPT


# Crashes, and others who are at it


@pytest.mark.parametrize("calls", range(12))
async def test_wherever_a_closer_stops_the_next_one_finishes(
    world: World, metering: Metering, closing: Closing, store: WatchedStore, calls: int
) -> None:
    await metering.store([event(1, value=5)])
    world.clock.advance(days=34)
    left = calls

    async def dies() -> None:
        nonlocal left
        if left == 0:
            raise Unavailable("the process was killed")
        left -= 1

    store.on_call = dies
    await closing.sweep()
    store.on_call = None
    await metering.store([event(2, value=7)])
    await closing.sweep()
    for period, start in (("hour", HOUR_TEXT), ("month", "2026-11-01T00:00:00.000000Z")):
        assert (await rollup(store, period, start))["metrics"]["api_calls"]["value"] == 12
    assert [await ids(store, OPEN), await ids(store, DUE)] == [[], []]


async def test_a_block_that_comes_while_its_hour_is_being_closed_is_counted(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    """It comes between the end of the opening and the rollup: it opens the hour again, and is in the next rollup."""
    await metering.store([event(1)])
    world.clock.advance(days=2)
    commits = 0

    async def meanwhile(operations: Any) -> None:
        nonlocal commits
        commits += 1
        if commits == 2:  # the rollup
            store.before = None
            await metering.store([event(2)])

    store.before = meanwhile
    await closing.sweep()
    assert await value(store) == 2
    await closing.sweep()
    assert (await rollup(store))["metrics"]["api_calls"]["value"] == 2


async def test_a_closer_who_has_slept_through_the_next_closing_overwrites_nothing(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1)])
    world.clock.advance(days=2)

    async def asleep(operations: Any) -> None:
        if any(one.kind == ROLLUP for one in operations):
            store.before = None
            await closing.sweep()
            await metering.store([event(2)])
            await closing.sweep()

    store.before = asleep
    await close_hour(store, HOUR_TEXT, 1)
    assert (await rollup(store))["metrics"]["api_calls"]["value"] == 2
    assert {one.body["state"] for one in (await store.query(HOUR)).items} == {"closed"}


async def test_a_thousand_times_the_same_event_is_one(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1, value=5)] * 400)
    await asyncio.gather(*(metering.store([event(1, value=5)] * 100) for _ in range(3)))
    for _ in range(300):
        await metering.store([event(1, value=5)])
    assert await value(store) == 5
    world.clock.advance(days=2)
    await closing.sweep()
    assert (await rollup(store))["metrics"]["api_calls"] == {"value": 5, "count": 1, "dimensions": {}, "details": {}}


async def test_a_closer_of_an_hour_that_is_late_for_the_second_time_overwrites_no_third(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1)])
    world.clock.advance(days=2)
    await closing.sweep()
    await metering.store([event(2)])

    async def asleep(operations: Any) -> None:
        if any(one.kind == ROLLUP for one in operations):
            store.before = None
            await close_hour(store, HOUR_TEXT, 2)
            await metering.store([event(3)])
            await close_hour(store, HOUR_TEXT, 3)

    store.before = asleep
    await close_hour(store, HOUR_TEXT, 2)
    assert (await rollup(store))["metrics"]["api_calls"]["value"] == 3


async def test_a_day_that_was_added_up_before_another_hour_was_closed_is_not_done_with(
    world: World, metering: Metering, closing: Closing, store: WatchedStore
) -> None:
    await metering.store([event(1)])
    world.clock.advance(days=2)

    async def meanwhile(operations: Any) -> None:
        if any(one.kind == ROLLUP and one.id.startswith("day:") for one in operations):
            store.before = None
            await metering.store([event(2, START + timedelta(hours=1))])
            await close_hour(store, rfc3339(START + timedelta(hours=1)), 1)

    store.before = meanwhile
    await closing.sweep()
    await closing.sweep()
    assert (await rollup(store, "day", "2026-11-24T00:00:00.000000Z"))["metrics"]["api_calls"]["value"] == 2


async def test_an_hour_that_was_opened_hundreds_of_times_is_followed_by_who_does_not_know_it(
    world: World, metering: Metering, directory: WatchedDirectory, store: WatchedStore
) -> None:
    for number in range(300):
        await metering.store([event(number)])
        await stop(store, HOUR_TEXT, number + 1)
    cold = Metering(directory, world.core.dead_letters, world.queue, world.clock, "usage-events")
    before = len(store.batches)
    await cold.store([event(1000)])
    assert (await value(store), len(store.batches) - before) == (301, 8)


async def test_hours_that_cannot_be_closed_keep_no_others_waiting(
    world: World, metering: Metering, closing: Closing, directory: WatchedDirectory, store: WatchedStore
) -> None:
    """As many as are found at once, and more."""
    for number in range(30):
        await metering.store([event(number, START - timedelta(hours=number + 1))])
    await metering.store([event(100, tenant_id=OTHER_ID)])
    world.clock.advance(days=2)

    async def away() -> None:
        raise Unavailable("away")

    store.on_call = away
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("functions.usage.closing.FOUND_AT_ONCE", 10)
        await closing.sweep()
    assert (await rollup(directory.stores[OTHER_ID]))["metrics"]["api_calls"]["value"] == 1


async def test_many_closers_at_once_close_once(world: World, metering: Metering, directory: WatchedDirectory) -> None:
    for number in range(20):
        await metering.store([event(number, START - timedelta(hours=number))])
    world.clock.advance(days=40)
    closers = [Closing(world.core.adapters.database, directory, world.clock) for _ in range(4)]
    await asyncio.gather(*(one.sweep() for one in closers))
    await closers[0].sweep()
    store = directory.stores[TENANT_ID]
    assert (await rollup(store, "month", "2026-11-01T00:00:00.000000Z"))["metrics"]["api_calls"]["value"] == 20
    assert await ids(store, DUE) == []


async def test_a_tenant_whose_store_is_away_stops_no_others_closing(
    world: World, metering: Metering, closing: Closing, directory: WatchedDirectory, store: WatchedStore
) -> None:
    await metering.store([event(1), event(2, tenant_id=OTHER_ID)])
    world.clock.advance(days=2)

    async def away() -> None:
        raise Unavailable("away")

    store.on_call = away
    await closing.sweep()
    other = directory.stores[OTHER_ID]
    assert (await rollup(other))["metrics"]["api_calls"]["value"] == 1

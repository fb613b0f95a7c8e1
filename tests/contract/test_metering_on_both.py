"""Metering on both databases: what a tenant used is the same sums on each, open and closed."""

import json
from datetime import timedelta

import pytest

from functions.usage.blocks import pack
from functions.usage.closing import close_hour, close_longer
from functions.usage.hours import HOUR, Hours
from functions.usage.reading import Event, key_of
from functions.usage.rollups import DUE, sums
from shared.clock import rfc3339
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Database, TenantStore
from shared.database.sqlite import SqliteDatabase
from shared.work.events import Metric
from tests.contract.database import SHARD, TENANT
from tests.doubles.clock import FakeClock


@pytest.fixture(params=["sqlite", "cosmos"])
def database(
    request: pytest.FixtureRequest, sqlite_database: SqliteDatabase, cosmos_database_of_double: CosmosDatabase
) -> Database:
    return sqlite_database if request.param == "sqlite" else cosmos_database_of_double


def event(clock: FakeClock, id: str, value: int, name: str) -> Event:
    data = json.dumps({"operation": name})
    return Event(key_of("/test", id), "/test", id, rfc3339(clock.now()), Metric.API_CALLS, value, data, name)


async def test_many_names_add_up_exactly_before_and_after_the_hour_is_closed(
    database: Database, clock: FakeClock
) -> None:
    store, hours = database.tenant(TENANT, SHARD), Hours()
    events = [event(clock, f"e{number:03}", number, f"o.{number}") for number in range(100)]
    later = [event(clock, f"later{number:03}", number, f"o.{number}") for number in range(100)]
    for delivery in (events, [*events[50:], *later]):
        for block in pack(delivery):
            await hours.add(store, block)
    first = clock.now().replace(minute=0, second=0, microsecond=0)

    async def counted() -> list[object]:
        found = await sums(store, "hour", first, first + timedelta(hours=1))
        return [one[Metric.API_CALLS] for one in found.values()]

    expected = {
        "value": 2 * sum(range(100)),
        "count": 200,
        "dimensions": {f"o.{number}": 2 * number for number in range(100)},
        "details": {},
    }
    assert await counted() == [expected]
    await close(store)
    assert await counted() == [expected]
    month = await sums(store, "month", first.replace(day=1, hour=0), first + timedelta(days=1))
    assert [one[Metric.API_CALLS] for one in month.values()] == [expected]


async def close(store: TenantStore) -> None:
    for opened in (await store.query(HOUR)).items:
        await close_hour(store, opened.body["created_at"], opened.body["opening"])
    for _ in range(2):
        for due in (await store.query(DUE)).items:
            await close_longer(store, due)

"""Metering on both databases: a hundred events with as many dimensions are counted once each, in batches that fit."""

import pytest

from functions.usage.metering import store_events
from functions.usage.models import ROLLUP
from functions.usage.reading import Event
from shared.clock import rfc3339
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Database
from shared.database.sqlite import SqliteDatabase
from shared.work.events import Metric
from tests.contract.database import SHARD, TENANT, present
from tests.doubles.clock import FakeClock


@pytest.fixture(params=["sqlite", "cosmos"])
def database(
    request: pytest.FixtureRequest, sqlite_database: SqliteDatabase, cosmos_database_of_double: CosmosDatabase
) -> Database:
    return sqlite_database if request.param == "sqlite" else cosmos_database_of_double


async def test_many_dimensions_are_counted_exactly(database: Database, clock: FakeClock) -> None:
    store = database.tenant(TENANT, SHARD)
    events = [
        Event(f"e{number:03}", clock.now(), Metric.API_CALLS, number, {"operation": f"a/o~{number}"})
        for number in range(100)
    ]
    await store_events(store, events)
    await store_events(store, [*events[50:], *(_later(event) for event in events)])
    hour = await present(store, ROLLUP, f"api_calls:hour:{rfc3339(clock.now())}")
    assert (hour.body["count"], hour.body["value"]) == (200, 2 * sum(range(100)))
    assert hour.body["dimensions"] == {f"a%2Fo~{number}": 2 * number for number in range(100)}


def _later(event: Event) -> Event:
    return Event(f"later-{event.id}", event.at, event.metric, event.value, event.data)

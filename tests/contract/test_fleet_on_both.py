"""All tenants' hours on both databases: the same sums, of open hours and closed ones, over several databases."""

from datetime import timedelta

import pytest

from functions.usage.blocks import pack
from functions.usage.closing import close_hour
from functions.usage.fleet import FleetHours
from functions.usage.hours import HOUR, Hours
from functions.usage.neighbors import Neighbors, NeighborsQuery
from functions.usage.reading import Event, read
from shared.clock import rfc3339
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Database
from shared.database.sqlite import SqliteDatabase
from shared.tenancy.directory import TENANT, Directory
from shared.work.events import Metric, usage_event
from tests.doubles.clock import FakeClock


@pytest.fixture(params=["sqlite", "cosmos"])
def database(
    request: pytest.FixtureRequest, sqlite_database: SqliteDatabase, cosmos_database_of_double: CosmosDatabase
) -> Database:
    return sqlite_database if request.param == "sqlite" else cosmos_database_of_double


async def test_open_and_closed_hours_of_all_tenants_are_summed_up_and_ranked(
    database: Database, clock: FakeClock
) -> None:
    directory, hours, first = (
        Directory(database, clock),
        Hours(),
        clock.now().replace(minute=0, second=0, microsecond=0),
    )
    ids = [f"0190c2a8-7e10-7abc-8def-00000000010{number}" for number in range(3)]
    for number, id in enumerate(ids):
        await database.platform.put(Create(TENANT, id, entry(id, number)), id)
        store = await directory.store(id)
        assert store is not None
        for block in pack([call(id, one, clock, number) for one in range(number + 1)]):
            await hours.add(store, block)
    store = await directory.store(ids[1])
    assert store is not None
    for stored in (await store.query(HOUR)).items:
        await close_hour(store, stored.body["created_at"], stored.body["opening"])
    fleet = FleetHours(database, directory, clock)
    for _ in range(5):
        await fleet.sweep()
    now = clock.now() + timedelta(seconds=1)
    (own,) = [one for one in await fleet.together(first - timedelta(hours=24), now) if one["calls"]]
    assert (own["created_at"], own["calls"], own["tenants"], own["details"]) == (
        rfc3339(first),
        6,
        3,
        {"6": 6, "5xx": 3},
    )
    assert len(await fleet.together(first - timedelta(hours=24), now)) == 25
    query = NeighborsQuery.model_validate({"to": rfc3339(now)})
    found = await Neighbors(database, fleet, clock).list(query, query.wanted(None))
    assert [(one.tenant_id, one.name, one.calls) for one in found.items] == [
        (id, f"T{number}", number + 1) for number, id in reversed([*enumerate(ids)])
    ]


def call(tenant_id: str, number: int, clock: FakeClock, status: int) -> Event:
    id = f"0190c2a8-0000-7000-8000-{number:012x}"
    data = {"operation": "get_agent", "duration_ms": 7, "status_code": 500 if status == 2 else 200}
    message = usage_event(Metric.API_CALLS, id=id, tenant_id=tenant_id, at=clock.now(), value=1, **data)
    event = read(message, clock.now())
    assert isinstance(event, Event)
    return event


def entry(id: str, number: int) -> dict[str, object]:
    return {
        "created_at": "2026-10-01T00:00:00.000000Z",
        "id": id,
        "name": f"T{number}",
        "slug": f"t{number}",
        "tier": "standard",
        "status": "active",
        "max_agents": 1,
        "max_users": 1,
        "placement": {"mode": "shared", "database": "shard-1", "generation": 1},
        "settings": {"limits": {}},
    }

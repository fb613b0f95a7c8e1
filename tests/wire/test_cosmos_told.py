"""What is told of calls to Cosmos DB: of whom, where, how it went, and how many request units it took."""

from collections.abc import AsyncIterator

import pytest

from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Placement, Rejected
from shared.tracing import Call, begun, within
from shared.work.change import COUNTER
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
BODY = {"created_at": "2026-11-24T12:00:00.000000Z", "value": 0}


@pytest.fixture
def told() -> list[Call]:
    return []


@pytest.fixture
async def database(cosmos: CosmosDouble, clock: FakeClock, told: list[Call]) -> AsyncIterator[CosmosDatabase]:
    own = cosmos_database(cosmos.endpoint, clock, tell=told.append)
    yield own
    await own.close()


async def test_each_call_is_told_with_its_request_units_and_whose_it_is(
    database: CosmosDatabase, cosmos: CosmosDouble, told: list[Call]
) -> None:
    store = database.tenant(TENANT, Placement("shared", "shard-1"))
    await store.get(COUNTER, "agents")
    told.clear()
    cosmos.forget()
    with within(begun()) as span:
        await store.commit([Create(COUNTER, "agents", BODY)])
        await store.get(COUNTER, "agents")
        with pytest.raises(Rejected):
            await store.commit([Create(COUNTER, "agents", BODY)])
    assert [(one.kind, one.target, one.name, one.tenant_id) for one in told] == [
        ("Azure DocumentDB", "shard-1", f"{name} items", TENANT) for name in ("commit", "get", "commit")
    ]
    assert [one.measured["requestUnits"] for one in told] == [call.charge for call in cosmos.calls]
    assert [(one.ok, one.result) for one in told] == [(True, ""), (True, ""), (True, "Rejected")]
    assert {one.span.parent for one in told} == {span.id}

"""What goes wrong between us and Cosmos DB, times what we ask of it: a right answer or a clean refusal, never twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from functions.agents.models import Agent
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import (
    Create,
    Delete,
    Increment,
    Operation,
    Placement,
    Rejected,
    Replace,
    Stored,
    TenantStore,
    Upsert,
)
from shared.errors import Throttled, Unavailable, Unknown
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT
from shared.work.change import COUNTER
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_record import Fault, faults
from tests.doubles.cosmos_setup import cosmos_database

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
SHARD = Placement("shared", "shard-1")
AT = "2026-11-24T12:00:00.000000Z"
HANGS = 8.0  # seconds, longer than all that the test takes with a busy machine
LOST = (
    "408",
    "408 after the commit",
    "503",
    "503 after the commit",
    "dropped before the commit",
    "dropped after the commit",
)


@pytest.fixture
async def database(cosmos: CosmosDouble, clock: FakeClock) -> AsyncIterator[CosmosDatabase]:
    database = cosmos_database(cosmos.endpoint, clock)
    yield database
    await database.close()


@pytest.fixture
async def store(database: CosmosDatabase, cosmos: CosmosDouble) -> TenantStore:
    """One agent, one counter; and a double that has forgotten how they came there."""
    store = database.tenant(TENANT, SHARD)
    await store.commit([item("held"), Create(COUNTER, "agents", {"created_at": AT, "value": 5})])
    cosmos.forget()
    return store


def item(id: str, kind: Kind = Agent.KIND, **fields: Any) -> Create:
    return Create(kind, id, {"created_at": AT, "updated_at": AT, **fields})


def counting(by: int) -> Increment:
    return Increment(COUNTER, "agents", {"value": by}, {"value": 6})


async def held(store: TenantStore, kind: Kind = Agent.KIND, id: str = "held") -> Stored:
    found = await store.get(kind, id)
    assert found is not None
    return found


def state(cosmos: CosmosDouble) -> dict[str, Any]:
    return {one["id"]: one for one in cosmos.items("shard-1", "items")}


async def create(store: TenantStore) -> None:
    await store.commit([item("new"), item("entry", AUDIT), counting(1)])


async def update(store: TenantStore) -> None:
    old = await held(store)
    new = Replace(Agent.KIND, "held", {**old.body, "name": "changed"}, old.etag)
    await store.commit([new, item("entry", AUDIT)])


async def delete(store: TenantStore) -> None:
    old = await held(store)
    await store.commit([Delete(Agent.KIND, "held", old.etag), item("entry", AUDIT), counting(-1)])


def created(after: dict[str, Any]) -> bool:
    return set(after) == {"agent:held", "counter:agents", "agent:new", "audit:entry"} and value(after) == 6


def updated(after: dict[str, Any]) -> bool:
    changed = after["agent:held"].get("name") == "changed"
    return changed and set(after) == {"agent:held", "counter:agents", "audit:entry"} and value(after) == 5


def deleted(after: dict[str, Any]) -> bool:
    return set(after) == {"counter:agents", "audit:entry"} and value(after) == 4


def value(after: dict[str, Any]) -> int:
    return int(after["counter:agents"]["value"])


WRITES: dict[str, tuple[Callable[[TenantStore], Awaitable[None]], Callable[[dict[str, Any]], bool]]] = {
    "create": (create, created),
    "update": (update, updated),
    "delete": (delete, deleted),
}


@pytest.mark.parametrize("fault", faults())
async def test_a_read_gets_through(store: TenantStore, cosmos: CosmosDouble, fault: str) -> None:
    cosmos.fail(faults()[fault])
    assert (await held(store)).body["id"] == "held"


@pytest.mark.parametrize("fault", faults())
async def test_a_read_of_nothing_stays_nothing(store: TenantStore, cosmos: CosmosDouble, fault: str) -> None:
    cosmos.fail(faults()[fault])
    assert await store.get(Agent.KIND, "none") is None


@pytest.mark.parametrize("fault", faults())
async def test_a_query_gets_through_from_its_first_page(store: TenantStore, cosmos: CosmosDouble, fault: str) -> None:
    await store.commit([item(f"a{number}") for number in range(9)])
    cosmos.page_cap = 4
    failing = faults()[fault]
    failing.skip = 1  # the second page
    cosmos.fail(failing)
    page = await store.query(Agent.KIND, limit=7)
    assert [one.body["id"] for one in page.items] == [f"a{number}" for number in range(7)]
    assert page.next == (AT, "a6")


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("fault", "times"), [(name, times) for name in faults() for times in (1, 2) if (name, times) != ("403/5301", 2)]
)
async def test_a_write_happens_once(
    store: TenantStore, cosmos: CosmosDouble, fault: str, times: int, write: str
) -> None:
    work, done = WRITES[write]
    failing = faults()[fault]
    failing.operation, failing.times = "Batch", times
    cosmos.fail(failing)
    await work(store)
    assert done(state(cosmos))


@pytest.mark.parametrize("fault", faults())
async def test_a_bare_increment_happens_once_or_is_unknown(
    store: TenantStore, cosmos: CosmosDouble, fault: str
) -> None:
    cosmos.fail(faults()[fault])
    if fault in ("408", "503", "dropped before the commit"):
        with pytest.raises(Unknown):
            await store.commit([counting(1)])
        assert value(state(cosmos)) == 5
        assert len([call for call in cosmos.calls if call.operation == "Batch"]) == 1
    else:
        await store.commit([counting(1)])
        assert value(state(cosmos)) == 6


@pytest.mark.parametrize("fault", faults())
async def test_an_upsert_and_a_bare_deletion_leave_what_they_should(
    store: TenantStore, cosmos: CosmosDouble, fault: str
) -> None:
    cosmos.fail(faults()[fault])
    await store.commit([Upsert(Agent.KIND, "held", {"created_at": AT, "name": "upserted"})])
    assert state(cosmos)["agent:held"]["name"] == "upserted"
    cosmos.fail(faults()[fault])
    await store.commit([Delete(Agent.KIND, "held")])
    assert set(state(cosmos)) == {"counter:agents"}


@pytest.mark.parametrize("fault", LOST)
async def test_a_rejection_stays_one_when_the_first_answer_was_lost(
    store: TenantStore, cosmos: CosmosDouble, fault: str
) -> None:
    await store.commit([counting(1)])
    old = await held(store)
    await store.commit([Replace(Agent.KIND, "held", old.body, old.etag)])
    rejected: list[tuple[list[Operation], str]] = [
        ([item("held"), item("entry", AUDIT)], "exists"),
        ([Replace(Agent.KIND, "held", {}, old.etag), item("entry", AUDIT)], "stale"),
        ([Delete(Agent.KIND, "none"), item("entry", AUDIT)], "missing"),
        ([item("entry", AUDIT), counting(1)], "condition"),
    ]
    before = state(cosmos)
    for operations, reason in rejected:
        cosmos.fail(faults()[fault])
        with pytest.raises(Rejected, match=reason):
            await store.commit(operations)
    assert state(cosmos) == before


async def test_a_lost_replacement_that_others_have_replaced_is_unknown(
    store: TenantStore, cosmos: CosmosDouble, database: CosmosDatabase
) -> None:
    old = await held(store)
    cosmos.fail(Fault("Batch", applied=True), Fault("Batch", status=449, retry_after_ms=300))
    mine = asyncio.create_task(store.commit([Replace(Agent.KIND, "held", {**old.body, "name": "mine"}, old.etag)]))
    while "name" not in state(cosmos)["agent:held"] or len(cosmos.calls) < 3:  # noqa: ASYNC110  a condition, no event
        await asyncio.sleep(0.005)
    await store.commit([Replace(Agent.KIND, "held", {**old.body, "name": "theirs"})])
    with pytest.raises(Unknown):
        await mine
    assert state(cosmos)["agent:held"]["name"] == "theirs"


async def test_a_quota_is_exact_while_every_third_answer_is_lost(store: TenantStore, cosmos: CosmosDouble) -> None:
    for number in range(12):
        cosmos.fail(Fault("Batch", applied=number % 2 == 0, skip=2 * number))

    async def one(number: int) -> bool:
        try:
            await store.commit([item(f"a{number}"), Increment(COUNTER, "agents", {"value": 1}, {"value": 12})])
        except Rejected:
            return False
        return True

    done = sum([await one(number) for number in range(16)])
    after = state(cosmos)
    assert (done, value(after)) == (7, 12)
    assert len([id for id in after if id.startswith("agent:a")]) == 7


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("Batch", status=429, retry_after_ms=20), Throttled),
        (Fault("Batch", status=449), Unavailable),
        (Fault("Batch", status=503), Unknown),
        (Fault("Batch", status=403, sub_status=5301), Unavailable),
        (Fault("Batch", status=408), Unknown),
        (Fault("Batch"), Unknown),
    ],
    ids=["429", "449", "503", "403/5301", "408", "dropped"],
)
async def test_what_does_not_pass_ends_within_the_deadline_and_changes_nothing(
    cosmos: CosmosDouble, clock: FakeClock, store: TenantStore, fault: Fault, error: type[Unavailable], write: str
) -> None:
    database = cosmos_database(cosmos.endpoint, clock)
    impatient = database.tenant(TENANT, SHARD)
    cosmos.store.catch_up()
    await impatient.get(Agent.KIND, "held")
    before = state(cosmos)
    cosmos.fail(Fault(fault.operation, fault.status, fault.sub_status, fault.retry_after_ms, times=1000))
    try:
        with pytest.raises(Unavailable) as caught:
            await WRITES[write][0](impatient)
        assert type(caught.value) is error
        assert state(cosmos) == before
    finally:
        cosmos.forget()
        await database.close()


async def test_a_long_retry_after_is_handed_to_the_caller(store: TenantStore, cosmos: CosmosDouble) -> None:
    cosmos.fail(Fault("Read", status=429, retry_after_ms=60_000))
    with pytest.raises(Throttled) as caught:
        await store.get(Agent.KIND, "held")
    assert caught.value.retry_after == 60
    assert len(cosmos.calls) == 1


async def test_retry_after_is_waited_for(store: TenantStore, cosmos: CosmosDouble) -> None:
    cosmos.fail(Fault("Batch", status=429, retry_after_ms=300, inside=True))
    started = time.monotonic()
    await store.commit([item("new")])
    assert time.monotonic() - started >= 0.3


async def test_a_stuck_identity_gets_a_new_client_once(store: TenantStore, cosmos: CosmosDouble) -> None:
    cosmos.fail(Fault("Read", status=403, sub_status=5301))
    await held(store)
    assert cosmos.metadata.count("GET /dbs/registry") == 1  # what a new client looks for first
    cosmos.fail(Fault("Read", status=403, sub_status=5301, times=1000))
    with pytest.raises(Unavailable):
        await held(store)
    assert cosmos.metadata.count("GET /dbs/registry") == 1
    cosmos.forget()
    await held(store)


async def test_conditions_survive_a_second_sending(store: TenantStore, cosmos: CosmosDouble) -> None:
    """The SDK takes the predicate and the ETag out of the operations that it is given."""
    cosmos.fail(Fault("Batch", status=449))
    with pytest.raises(Rejected, match="condition"):
        await store.commit([item("new"), counting(2)])
    cosmos.fail(Fault("Batch", status=449))
    with pytest.raises(Rejected, match="stale"):
        await store.commit([Replace(Agent.KIND, "held", {}, '"another"')])


@pytest.mark.parametrize("applied", [True, False])
async def test_an_answer_that_does_not_come_is_not_waited_for(
    cosmos: CosmosDouble, clock: FakeClock, store: TenantStore, applied: bool
) -> None:
    database = cosmos_database(cosmos.endpoint, clock, deadline=1.5)
    impatient = database.tenant(TENANT, SHARD)
    cosmos.store.catch_up()
    await held(impatient)
    cosmos.fail(Fault("Batch", applied=applied, hangs=HANGS))
    started = time.monotonic()
    if applied:
        await create(impatient)
        assert created(state(cosmos))
    else:
        with pytest.raises(Unknown):
            await create(impatient)
        assert set(state(cosmos)) == {"agent:held", "counter:agents"}
    cosmos.fail(Fault("Read", hangs=HANGS))
    with pytest.raises(Unavailable):
        await held(impatient)
    assert time.monotonic() - started < HANGS
    await database.close()


async def test_a_database_that_is_not_there_is_unavailable(database: CosmosDatabase, cosmos: CosmosDouble) -> None:
    nowhere = database.tenant(TENANT, Placement("dedicated", "nowhere"))
    for call in (
        nowhere.get(Agent.KIND, "held"),
        nowhere.query(Agent.KIND),
        nowhere.commit([item("new")]),
    ):
        with pytest.raises(Unavailable):
            await call
    assert len(cosmos.calls) <= 3


async def test_an_account_that_does_not_answer_is_unavailable(clock: FakeClock) -> None:
    database = cosmos_database("http://127.0.0.1:9/", clock, deadline=0.5)
    with pytest.raises(Unavailable):
        await database.ping()
    await database.close()

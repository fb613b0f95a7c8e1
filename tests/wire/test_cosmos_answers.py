"""Every answer of Cosmos DB times every operation: an error of ours that says what is wrong, never one of the SDK's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from functions.agents.models import Agent
from functions.kinds import KINDS
from functions.usage.rollups import ROLLUP
from shared.database.cosmos.client import ABSENT_SECONDS
from shared.database.cosmos.containers import TENANT_CONTAINERS
from shared.database.cosmos.retry import NoContainer
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Increment, Placement, Rejected, Replace, Where
from shared.errors import FlowgridError, Full, Throttled, TooLarge, Unavailable, Unknown
from shared.tenancy.directory import TENANT as TENANT_KIND
from shared.work.change import COUNTER
from shared.work.outbox import OUTBOX
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_record import READ_CONTAINER, Fault
from tests.doubles.cosmos_setup import NumberedIdentity, make_database

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
SHARD = Placement("shared", "shard-1")
OWN = Placement("dedicated", "tenant-own")
AT = "2026-11-24T12:00:00.000000Z"
Raised = type[BaseException] | None

READING = ("get", "fresh", "query", "scan", "buried", "traces", "registry get", "registry query", "provision")
WRITING = ("commit", "registry put", "ping", "ping of a shard")
ANSWERS: dict[tuple[int | None, int], tuple[Raised, Raised]] = {  # what reading and what writing raises
    (400, 0): (FlowgridError, FlowgridError),
    (401, 0): (Unavailable, Unavailable),
    (403, 0): (Unavailable, Unavailable),
    (403, 3): (Unavailable, Unavailable),
    (403, 1008): (Unavailable, Unavailable),
    (403, 1014): (Full, Full),
    (403, 5300): (Unavailable, Unavailable),
    (403, 5301): (Unavailable, Unavailable),
    (404, 0): (NoContainer, NoContainer),
    (404, 1002): (Unavailable, Unavailable),
    (404, 1003): (NoContainer, NoContainer),
    (408, 0): (Unavailable, Unknown),
    (409, 0): (FlowgridError, FlowgridError),
    (410, 0): (Unavailable, Unknown),
    (410, 1000): (Unavailable, Unavailable),
    (410, 1002): (Unavailable, Unavailable),
    (410, 1007): (Unavailable, Unavailable),
    (410, 1008): (Unavailable, Unavailable),
    (412, 0): (FlowgridError, FlowgridError),
    (413, 0): (TooLarge, TooLarge),
    (429, 3200): (Throttled, Throttled),
    (429, 3201): (Throttled, Throttled),
    (449, 0): (Unavailable, Unavailable),
    (500, 0): (Unavailable, Unknown),
    (502, 0): (Unavailable, Unknown),
    (503, 0): (Unavailable, Unknown),
    (504, 0): (Unavailable, Unknown),
    (None, 0): (Unavailable, Unknown),
}


def database_of(azure: CosmosDouble, *, deadline: float = 3.0) -> CosmosDatabase:
    return CosmosDatabase(
        kinds=KINDS,
        endpoint=azure.endpoint,
        registry="registry",
        shards=["shard-1"],
        clock=FakeClock(),
        credential=NumberedIdentity,
        deadline=deadline,
    )


@pytest.fixture
async def database(azure: CosmosDouble) -> AsyncIterator[CosmosDatabase]:
    make_database(azure, "tenant-own")
    database = database_of(azure)
    yield database
    await database.close()


def item(id: str) -> Create:
    return Create(Agent.KIND, id, {"created_at": AT, "updated_at": AT})


def operations(database: CosmosDatabase) -> dict[str, Callable[[], Awaitable[object]]]:
    """Each operation of the port, by name."""
    store, platform = database.tenant(TENANT, SHARD), database.platform

    async def scan() -> None:
        async for _ in store.scan([Agent.KIND, ROLLUP]):
            pass

    return {
        "get": lambda: store.get(Agent.KIND, "none"),
        "query": lambda: store.query(Agent.KIND),
        "scan": scan,
        "buried": lambda: store.buried(Agent.KIND, ["one"]),
        "traces": lambda: store.traces(Agent.KIND, ["one"]),
        "fresh": lambda: store.fresh(Agent.KIND, "none"),
        "commit": lambda: store.commit([item("new")]),
        "registry get": lambda: platform.get(TENANT_KIND, TENANT, TENANT),
        "registry put": lambda: platform.put(Create(TENANT_KIND, TENANT, {"created_at": AT}), TENANT),
        "registry query": lambda: platform.query(TENANT_KIND),
        "ping": database.ping,
        "ping of a shard": database.parts()["database:shard-1"],
        "provision": lambda: database.provision(OWN),
    }


async def raised(operation: Callable[[], Awaitable[object]]) -> Raised:
    try:
        await operation()
    except Exception as error:
        return type(error)
    return None


async def all_raise(database: CosmosDatabase) -> dict[str, Raised]:
    asked = operations(database)
    return dict(zip(asked, await asyncio.gather(*map(raised, asked.values())), strict=True))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer[0]}/{answer[1]}")
async def test_whatever_documents_are_answered_with_is_told_in_our_own_words(
    azure: CosmosDouble, answer: tuple[int | None, int]
) -> None:
    make_database(azure, "tenant-own")
    database = database_of(azure, deadline=1.5)
    await database.ping()
    for name in ("get", "query", "registry query", "provision"):
        await operations(database)[name]()
    azure.fail(Fault(status=answer[0], sub_status=answer[1], retry_after_ms=60_000, times=100_000))
    reading, writing = ANSWERS[answer]
    expected = {name: reading for name in READING} | {name: writing for name in WRITING}
    if answer == (404, 0):
        nothing: dict[str, Raised] = {"get": None, "registry get": None, "provision": None}  # no such document
        expected |= nothing
    found = await all_raise(database)
    for name in WRITING:
        if found[name] is Unknown and expected[name] is Unavailable:  # the deadline came while it was under way
            found[name] = Unavailable
    assert found == expected
    azure.forget()
    await database.close()


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer[0]}/{answer[1]}")
async def test_whatever_the_look_at_a_container_is_answered_with_is_told_in_our_own_words(
    azure: CosmosDouble, answer: tuple[int | None, int]
) -> None:
    """Nothing has been sent by then, so nothing is unknown."""
    database = database_of(azure, deadline=1.5)
    azure.fail(Fault(READ_CONTAINER, status=answer[0], sub_status=answer[1], retry_after_ms=60_000, times=100_000))
    reading = NoContainer if answer[0] == 404 else ANSWERS[answer][0]
    assert await all_raise(database) == dict.fromkeys([*READING, *WRITING], reading)
    azure.forget()
    await database.close()


@pytest.mark.parametrize("places", ["the database", "its containers"])
async def test_a_missing_container_is_never_taken_for_a_missing_document(
    azure: CosmosDouble, database: CosmosDatabase, places: str
) -> None:
    del azure.store.databases["tenant-own"], azure.store.databases["shard-1"]
    if places == "its containers":
        make_database(azure, "tenant-own", ())
        make_database(azure, "shard-1", ())
    asked = {name: NoContainer for name in (*READING, *WRITING) if "registry" not in name and name != "ping"}
    found = await all_raise(database)
    assert {name: found[name] for name in asked} == asked


async def test_a_container_that_is_not_there_costs_no_metadata_for_a_while(
    azure: CosmosDouble, database: CosmosDatabase
) -> None:
    nowhere = database.tenant(TENANT, Placement("dedicated", "nowhere"))
    for _ in range(20):
        with pytest.raises(NoContainer):
            await nowhere.get(Agent.KIND, "one")
    assert azure.metadata.count("GET /dbs/nowhere/colls/items") == 1
    assert ABSENT_SECONDS <= 5, "a database that is made meanwhile is soon found"
    make_database(azure, "nowhere")
    await database.provision(Placement("dedicated", "nowhere"))
    assert await nowhere.get(Agent.KIND, "one") is None


async def test_a_container_that_is_gone_is_looked_for_when_it_is_asked_again(
    azure: CosmosDouble, database: CosmosDatabase
) -> None:
    own = database.tenant(TENANT, OWN)
    await own.commit([item("one")])
    kept = azure.store.databases.pop("tenant-own")
    for _ in range(2):
        with pytest.raises(NoContainer):
            await own.get(Agent.KIND, "one")
    azure.store.databases["tenant-own"] = kept
    await database.provision(OWN)
    assert await own.get(Agent.KIND, "one")


async def test_a_container_that_was_made_anew_serves_after_the_first_call(
    azure: CosmosDouble, database: CosmosDatabase
) -> None:
    own = database.tenant(TENANT, OWN)
    await own.commit([item("one")])
    del azure.store.databases["tenant-own"]
    make_database(azure, "tenant-own")
    assert await own.get(Agent.KIND, "one") is None
    await own.commit([item("one")])
    assert await own.get(Agent.KIND, "one")


async def test_properties_are_read_once_for_any_number_of_requests(
    azure: CosmosDouble, database: CosmosDatabase
) -> None:
    """240 request units of metadata a second are all that an account has."""
    asked = [one for name, one in operations(database).items() if "put" not in name and name != "commit"]
    await asyncio.gather(*[one() for one in asked for _ in range(5)])
    await asyncio.gather(*[one() for one in asked])  # from now on with session tokens, which name a partition
    read = [one for one in azure.metadata if "/colls/" in one and not one.endswith("/pkranges")]
    assert len(read) == len(set(read)) == 6, read  # two containers of each database
    azure.forget()
    for one in asked:
        await one()
    assert azure.metadata == []


async def test_a_full_partition_says_what_to_do_and_is_not_tried_again(
    azure: CosmosDouble, database: CosmosDatabase
) -> None:
    store = database.tenant(TENANT, SHARD)
    await store.get(Agent.KIND, "one")
    for inside in (True, False):
        azure.forget()
        azure.fail(Fault("Batch", status=403, sub_status=1014, inside=inside, times=100))
        with pytest.raises(Full, match=r"20 GB.*moved"):
            await store.commit([item("one")])
        assert [call.operation for call in azure.calls] == ["Batch"]


async def test_missing_rights_are_named_after_one_new_token(azure: CosmosDouble, database: CosmosDatabase) -> None:
    store = database.tenant(TENANT, SHARD)
    await store.get(Agent.KIND, "one")
    azure.forget()
    azure.fail(Fault(status=403, sub_status=5301, times=100))
    with pytest.raises(Unavailable, match="role Cosmos DB Built-in Data Contributor on the whole account"):
        await store.get(Agent.KIND, "one")
    assert {one.rsplit("=", 1)[1] for one in azure.authorizations} == {"token-1", "token-2"}


async def test_what_no_token_helps_gets_no_new_one(azure: CosmosDouble, database: CosmosDatabase) -> None:
    store = database.tenant(TENANT, SHARD)
    await store.get(Agent.KIND, "one")
    azure.forget()
    for sub_status in (0, 5300):
        azure.fail(Fault("Read", status=403, sub_status=sub_status))
        with pytest.raises(Unavailable):
            await store.get(Agent.KIND, "one")
    assert {one.rsplit("=", 1)[1] for one in azure.authorizations} == {"token-1"}
    assert [call.operation for call in azure.calls] == ["Read", "Read"]


async def test_a_new_client_reads_what_the_old_one_wrote(azure: CosmosDouble, database: CosmosDatabase) -> None:
    """A read without the session token of the write is answered by any replica."""
    store = database.tenant(TENANT, SHARD)
    await store.commit([item("one")])
    written = azure.store.container("shard-1", "items").lsn
    azure.fail(Fault("Read", status=403, sub_status=5301))
    azure.calls.clear()
    assert await store.get(Agent.KIND, "one")
    await store.query(Agent.KIND)
    assert {one.rsplit("=", 1)[1] for one in azure.authorizations} == {"token-1", "token-2"}
    assert [call.session_token for call in azure.calls] == [f"0:-1#{written}"] * 3


async def test_a_lost_write_that_is_refused_afterwards_is_looked_for(
    azure: CosmosDouble, database: CosmosDatabase
) -> None:
    """The partition became full with it, or the rights went: it was done all the same, or nobody can say."""
    store = database.tenant(TENANT, SHARD)
    for status, sub_status in ((403, 1014), (400, 0)):
        azure.fail(Fault("Batch", status=408, applied=True), Fault("Batch", status=status, sub_status=sub_status))
        await store.commit([item(f"done-{status}")])
        assert await store.get(Agent.KIND, f"done-{status}")
        azure.fail(Fault("Batch", status=408), Fault("Batch", status=status, sub_status=sub_status))
        with pytest.raises(Unknown):
            await store.commit([item(f"lost-{status}")])


async def test_a_write_that_503_was_said_of_is_sent_again_by_us_alone(
    azure: CosmosDouble, database: CosmosDatabase
) -> None:
    """The SDK would send it again itself, and an addition would count twice."""
    store = database.tenant(TENANT, SHARD)
    await store.commit([Create(COUNTER, "agents", {"created_at": AT, "value": 0})])
    azure.forget()
    azure.fail(Fault("Batch", status=503, applied=True))
    await store.commit([Increment(COUNTER, "agents", {"value": 1})])
    assert [call.operation for call in azure.calls] == ["Batch", "BatchRead"]
    found = await store.get(COUNTER, "agents")
    assert found is not None and found.body["value"] == 1
    azure.fail(Fault("Batch", status=503, applied=True))
    await store.commit([Replace(COUNTER, "agents", {"created_at": AT, "value": 7}, found.etag)])
    with pytest.raises(Rejected, match="stale"):
        await store.commit([Replace(COUNTER, "agents", {"created_at": AT, "value": 8}, found.etag)])


@pytest.mark.parametrize("broken", ["not there", "no containers", "throttled", "raising"])
async def test_one_database_stops_no_sweep_of_the_others(
    azure: CosmosDouble, database: CosmosDatabase, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {"created_at": AT, "queue": "q"}
    for number, name in enumerate(("tenant-a", "tenant-b")):
        placement = Placement("dedicated", name)
        entry = {"created_at": AT, "placement": placement.as_document()}
        await database.platform.put(Create(TENANT_KIND, f"t-{number}", entry), f"t-{number}")
        if (name, broken) != ("tenant-a", "not there"):
            make_database(azure, name, () if (name, broken) == ("tenant-a", "no containers") else TENANT_CONTAINERS)
    for tenant_id, placement in (("t-1", Placement("dedicated", "tenant-b")), (TENANT, SHARD)):
        await database.tenant(tenant_id, placement).commit([Create(OUTBOX, "event", event)])
    if broken == "throttled":
        azure.fail(Fault(READ_CONTAINER, status=429, sub_status=3201, retry_after_ms=60_000))
    if broken == "raising":
        query = database._calls.query

        async def raising(place: tuple[str, str], *rest: object) -> object:
            if place[0] == "tenant-a":
                raise RuntimeError("what nobody has thought of")
            return await query(place, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(database._calls, "query", raising)
    found = await database.platform.sweep(OUTBOX, [Where("created_at", "<=", AT)])
    assert sorted(one.body["tenant_id"] for one in found.items) == [TENANT, "t-1"]
    assert found.missed == ["tenant-a"]

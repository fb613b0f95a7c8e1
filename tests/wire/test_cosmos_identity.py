"""As in Azure: https, the app's identity instead of a key, endpoint discovery on, databases made by somebody else."""

from collections.abc import AsyncIterator

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from functions.agents.models import Agent
from functions.kinds import KINDS
from shared.database.cosmos.client import default_credential
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Increment, Placement
from shared.errors import Unavailable, Unknown
from shared.tenancy.directory import TENANT as TENANT_KIND
from shared.work.change import COUNTER
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_record import Fault, faults
from tests.doubles.cosmos_setup import NumberedIdentity, make_database

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
SHARD = Placement("shared", "shard-1")
AT = "2026-11-24T12:00:00.000000Z"


@pytest.fixture
async def database(azure: CosmosDouble, clock: FakeClock) -> AsyncIterator[CosmosDatabase]:
    database = CosmosDatabase(
        kinds=KINDS,
        endpoint=azure.endpoint,
        registry="registry",
        shards=["shard-1"],
        clock=clock,
        credential=NumberedIdentity,
    )
    yield database
    await database.close()


async def test_calls_carry_the_token_of_one_identity(azure: CosmosDouble, database: CosmosDatabase) -> None:
    store = database.tenant(TENANT, SHARD)
    await store.commit([Create(Agent.KIND, "one", {"created_at": AT})])
    assert await store.get(Agent.KIND, "one")
    await database.ping()
    assert azure.authorizations == {"type=aad&ver=1.0&sig=token-1"}
    assert not any(call.startswith(("POST", "PUT")) for call in azure.metadata)


async def test_a_stuck_token_is_replaced_by_a_new_identitys(azure: CosmosDouble, database: CosmosDatabase) -> None:
    store = database.tenant(TENANT, SHARD)
    await store.commit([Create(Agent.KIND, "one", {"created_at": AT})])
    azure.forget()
    azure.fail(Fault("Read", status=403, sub_status=5301))
    assert await store.get(Agent.KIND, "one")
    assert {one.rsplit("=", 1)[1] for one in azure.authorizations} == {"token-1", "token-2"}
    azure.forget()
    assert await store.get(Agent.KIND, "one")
    assert {one.rsplit("=", 1)[1] for one in azure.authorizations} == {"token-2"}


@pytest.mark.parametrize("fault", faults())
async def test_the_sdks_own_retries_double_nothing_either(
    azure: CosmosDouble, database: CosmosDatabase, fault: str
) -> None:
    """With endpoint discovery on, the SDK itself sends a batch again after 503."""
    store = database.tenant(TENANT, SHARD)
    await store.commit([Create(COUNTER, "agents", {"created_at": AT, "value": 0})])
    azure.fail(faults()[fault])
    one = Increment(COUNTER, "agents", {"value": 1}, {"value": 1})
    try:
        await store.commit([one])
    except Unknown:
        assert fault in ("408", "503", "dropped before the commit")
    azure.fail(faults()[fault])
    assert await store.get(COUNTER, "agents")
    [counter] = azure.items("shard-1", "items")
    assert counter["value"] == (0 if fault in ("408", "503", "dropped before the commit") else 1)


async def test_an_identity_that_gets_no_token_is_unavailable_at_once(
    azure: CosmosDouble, database: CosmosDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[str, ...]]()

    async def refused(self: NumberedIdentity, *scopes: str, **options: object) -> AccessToken:
        asked.append(scopes)
        raise ClientAuthenticationError("there is no managed identity here")

    monkeypatch.setattr(NumberedIdentity, "get_token", refused)
    with pytest.raises(Unavailable) as caught:
        await database.tenant(TENANT, SHARD).commit([Increment(COUNTER, "agents", {"value": 1})])
    assert type(caught.value) is Unavailable
    assert len(asked) == 2  # by the SDK and once again, and not until the deadline
    assert azure.calls == []


async def test_a_dedicated_database_is_unavailable_until_it_is_made(
    azure: CosmosDouble, database: CosmosDatabase
) -> None:
    own = Placement("dedicated", "tenant-own")
    with pytest.raises(Unavailable) as caught:
        await database.provision(own)
    assert caught.value.retry_after == 30
    make_database(azure, "tenant-own")
    await database.provision(own)
    await database.tenant(TENANT, own).commit([Create(Agent.KIND, "one", {"created_at": AT})])


async def test_without_more_ado_it_is_the_apps_own_identity() -> None:
    credential = default_credential()
    assert type(credential).__name__ == "DefaultAzureCredential"
    await credential.close()


async def test_a_shard_that_takes_no_writes_is_told_apart_from_the_registry(azure: CosmosDouble) -> None:
    """Reads go well all the while, so a check that only reads would call it healthy."""
    database = CosmosDatabase(
        kinds=KINDS,
        endpoint=azure.endpoint,
        registry="registry",
        shards=["shard-1"],
        clock=FakeClock(),
        credential=NumberedIdentity,
        deadline=1.5,
    )
    parts = database.parts()
    assert list(parts) == ["database", "database:shard-1"]
    for well in parts.values():
        await well()
    for part in parts.values():
        azure.fail(Fault("Batch", status=503, times=100))
        with pytest.raises(Unavailable):
            await part()
        assert await database.tenant(TENANT, SHARD).get(Agent.KIND, "none") is None
        azure.forget()
    await database.ping()
    await database.close()


@pytest.mark.parametrize("part", ["database", "database:shard-1"])
async def test_a_database_that_takes_writes_and_is_not_read_is_not_well(
    azure: CosmosDouble, database: CosmosDatabase, part: str, hurried: None
) -> None:
    azure.fail(Fault("Read", status=429, sub_status=3200, times=100))
    with pytest.raises(Unavailable):
        await database.parts()[part]()
    azure.forget()
    await database.parts()[part]()


@pytest.mark.parametrize(("status", "lost"), [("active", 2), ("suspended", 2), ("provisioning", 0)])
async def test_databases_of_single_tenants_that_are_lost_are_counted_and_not_named(
    azure: CosmosDouble, database: CosmosDatabase, status: str, lost: int
) -> None:
    make_database(azure, "tenant-0")
    for number in range(3):
        placement = Placement("dedicated", f"tenant-{number}").as_document()
        entry = {"created_at": AT, "status": status, "placement": placement}
        await database.platform.put(Create(TENANT_KIND, f"t-{number}", entry), f"t-{number}")
    told = ""
    try:
        await database.dedicated()
    except Unavailable as error:
        told = error.message
    assert told == (f"{lost} of 3 databases of single tenants cannot be used." if lost else "")


async def test_a_database_that_is_dead_does_not_answer_the_ping(azure: CosmosDouble) -> None:
    database = CosmosDatabase(
        kinds=KINDS,
        endpoint=azure.endpoint,
        registry="registry",
        shards=["shard-1"],
        clock=FakeClock(),
        credential=NumberedIdentity,
        deadline=1.5,
    )
    azure.fail(Fault(times=100))
    with pytest.raises(Unavailable):
        await database.ping()
    azure.forget()
    await database.close()

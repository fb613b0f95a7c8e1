"""What a process reads is no older than what it wrote, though the replica that is asked is behind (404/1002).

azure-cosmos 4.17.1 throws the session token away then (`_session_retry_policy.py`, `clear_session_token`), and takes
whatever the next replica says: with endpoint discovery, so in Azure, and not with an emulator's key.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from functions.agents.models import Agent
from functions.kinds import KINDS
from shared.database.cosmos.containers import REGISTRY_CONTAINERS
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Placement, TenantStore
from shared.errors import Unavailable
from tests.doubles.certificate import make_certificate
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_record import Fault
from tests.doubles.cosmos_setup import NumberedIdentity, make_database

SHARD = Placement("shared", "shard-1")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CosmosDouble]:
    with CosmosDouble(certificate=make_certificate(tmp_path_factory.mktemp("tls"))) as double:
        yield double


@pytest.fixture
async def store(account: CosmosDouble) -> AsyncIterator[TenantStore]:
    clock = FakeClock()
    account.reset(lambda: clock.now().timestamp())
    make_database(account, "registry", REGISTRY_CONTAINERS)
    make_database(account, "shard-1")
    database = CosmosDatabase(
        kinds=KINDS,
        endpoint=account.endpoint,
        registry="registry",
        shards=["shard-1"],
        clock=clock,
        credential=NumberedIdentity,
    )
    store = database.tenant("x", SHARD)
    await store.commit([Create(Agent.KIND, "one", {"created_at": "2026"})])
    assert await store.get(Agent.KIND, "one") is not None
    items = account.store.container("shard-1", "items")
    behind = dict(items.partitions), items.lsn
    await store.commit([Create(Agent.KIND, "two", {"created_at": "2026"})])
    items._replica, items._replica_lsn, items._read_behind = *behind, 0
    account.store.stale_reads = 1000
    account.forget()
    yield store
    account.store.stale_reads = 2
    await database.close()


@pytest.mark.parametrize("times", [1, 2, 3, 4])
async def test_a_read_that_met_a_replica_behind_still_sees_what_its_process_wrote(
    account: CosmosDouble, store: TenantStore, times: int
) -> None:
    account.fail(Fault("Read", status=404, sub_status=1002, times=times))
    try:
        found = await store.get(Agent.KIND, "two")
    except Unavailable:
        return
    assert found is not None, [(one.operation, one.status, one.session_token) for one in account.calls]


@pytest.mark.parametrize("times", [1, 2, 3, 4])
async def test_a_query_that_met_a_replica_behind_still_sees_what_its_process_wrote(
    account: CosmosDouble, store: TenantStore, times: int
) -> None:
    account.fail(Fault("Query", status=404, sub_status=1002, times=times))
    try:
        found = (await store.query(Agent.KIND)).items
    except Unavailable:
        return
    seen = [(one.operation, one.status, one.session_token) for one in account.calls]
    assert [one.body["id"] for one in found] == ["one", "two"], seen


@pytest.mark.parametrize("times", [1, 2, 3, 4])
async def test_a_batch_that_met_a_replica_behind_raises_nothing_of_the_sdk(
    account: CosmosDouble, store: TenantStore, times: int
) -> None:
    account.fail(Fault("Batch", status=404, sub_status=1002, times=times))
    await store.commit([Create(Agent.KIND, "three", {"created_at": "2026"})])
    found = [one.body["id"] for one in (await store.query(Agent.KIND)).items]
    assert set(found) == {"one", "two", "three"}, found

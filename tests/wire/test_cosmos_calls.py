"""What the services' calls cost at Cosmos DB: how many calls, on which partition, and how many request units."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import run
from sys import executable

import pytest

from functions.agents.models import Agent, AgentFields
from functions.agents.service import AgentService
from functions.catalog.import_models import Asked
from functions.catalog.importing import CatalogImport
from functions.kinds import KINDS
from functions.usage.rollups import ROLLUP
from shared.auth.caller import Caller, RequestInfo
from shared.auth.roles import Role
from shared.blobs.files import FileBlobs
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Placement, Rejected, TenantStore, Where
from shared.ids import Uuid7Ids
from shared.messaging.sqlite import SqliteMessaging
from shared.tenancy.directory import RESERVATION, TenantEntry
from shared.tenancy.directory import TENANT as TENANT_KIND
from shared.tenancy.fence import AUDIT, Handle, first_permit, opening
from shared.tenancy.plans import Tier
from shared.work.change import COUNTER
from shared.work.outbox import OUTBOX, Outbox
from shared.work.resources import PageRequest
from shared.work.scope import Services
from shared.work.session import TenantSession
from tests.doubles.clock import FakeClock, never
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database
from tests.unit.catalog_world import arrow, file_of, process
from tests.unit.exchange_samples import EVERYTHING

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
SHARD = Placement("shared", "shard-1")
AT = "2026-11-24T12:00:00.000000Z"


@dataclass
class World:
    """A tenant at work on the double; `charges` is what the app was told about its own cost."""

    cosmos: CosmosDouble
    database: CosmosDatabase
    session: TenantSession
    charges: Counter[tuple[str, str]]

    def calls(self) -> list[str]:
        """The calls since the last look, all of which named this tenant's partition."""
        assert [call for call in self.cosmos.calls if call.partition_key != TENANT] == []
        names = [call.operation for call in self.cosmos.calls]
        spent = sum(call.charge for call in self.cosmos.calls)
        assert sum(self.charges.values()) == pytest.approx(spent)
        assert {tenant for tenant, _ in self.charges} <= {TENANT}
        self.forget()
        return names

    def forget(self) -> None:
        assert self.cosmos.unindexed == []
        self.cosmos.forget()
        self.charges.clear()


@pytest.fixture
async def world(cosmos: CosmosDouble, clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    charges: Counter[tuple[str, str]] = Counter()

    def charge(tenant_id: str, operation: str, units: float) -> None:
        charges[tenant_id, operation] += units  # type: ignore[assignment]  # a Counter of floats

    database = cosmos_database(cosmos.endpoint, clock, on_charge=charge)
    messaging = SqliteMessaging(tmp_path, clock)
    services = Services(clock, Uuid7Ids(), Outbox(messaging, never), "usage-events", KINDS)
    entry = TenantEntry(TENANT, "Acme", "acme", Tier.PROFESSIONAL, "active", 5, 5, SHARD)
    caller = Caller("someone", "some@acme.test", "Some One", TENANT, Role.ADMIN)
    store = database.tenant(TENANT, SHARD)
    await store.commit([Create(COUNTER, "agents", {"created_at": AT, "value": 0})])
    session = TenantSession(entry, store, caller, RequestInfo("r", "127.0.0.1", "test"), services)
    world = World(cosmos, database, session, charges)
    world.forget()
    yield world
    await services.outbox.flush()
    await messaging.close()
    await database.close()


def new(name: str = "Claims intake") -> AgentFields:
    return AgentFields(name=name, pattern="Specialist")


async def test_agents_cost_one_batch_to_write_and_one_read_to_read(world: World) -> None:
    service, session = AgentService(), world.session
    agent = await service.create(session, new())
    assert world.calls() == ["Batch"]
    assert (await service.get(session, agent.id)).name == "Claims intake"
    assert world.calls() == ["Read"]
    await service.replace(session, agent.id, new("Claims"), if_match=agent.etag)
    assert world.calls() == ["Read", "Batch"]
    listed = await service.list(session, {"name": "Claims", "status": "draft"}, PageRequest(50))
    assert [one.id for one in listed.items] == [agent.id]
    assert world.calls() == ["Query"]
    await service.delete(session, agent.id, if_match=None)
    assert world.calls() == ["Read", "Query", "Batch"]  # for its cases, which name it


@pytest.fixture
async def imports(world: World, tmp_path: Path) -> tuple[CatalogImport, TenantSession]:
    """Of a tenant behind its fence, whose permit is known as it has been at work."""
    store = Handle(world.session.store)
    await store.control.commit([first_permit()])
    await opening(store)
    world.forget()
    return CatalogImport(FileBlobs(tmp_path / "blobs")), replace(world.session, store=store)


async def test_an_import_of_a_hundred_elements_costs_three_batches_and_two_queries(
    world: World, imports: tuple[CatalogImport, TenantSession]
) -> None:
    service, session = imports
    file = file_of(*(process(f"e{number}") for number in range(100)))
    assert (await service.run(session, file)).created == 100
    permit, model, elements = "BatchRead", "Query", "Query"
    assert world.calls() == [permit, model, elements, "Batch", "Batch", "Read", "Batch"]
    assert (await service.run(session, file)).unchanged == 100
    parts = "Query"  # counted, though the file has none
    assert world.calls() == [permit, model, elements, parts, permit]
    assert (await service.run(session, file, Asked(dry_run=True))).unchanged == 100
    assert world.calls() == [permit, model, elements, parts, permit]


async def test_an_import_with_relationships_views_and_folders_ends_in_one_batch_with_its_model(
    world: World, imports: tuple[CatalogImport, TenantSession]
) -> None:
    service, session = imports
    assert (await service.run(session, EVERYTHING)).skipped == 0
    permit, model, elements, relationships, views = "BatchRead", "Query", "Query", "Query", "Query"
    junction, nested = ["Query"] * 3, ["Query"] * 2  # it as it is now and what else is at it; the end and its own
    batches = [elements, "Batch", relationships, *junction, "Batch", relationships, *nested, "Batch"]
    assert world.calls() == [permit, model, *batches, views, "Read", "Batch"]
    assert (await service.run(session, EVERYTHING)).created == 0
    parts = ["Query", "Query"]  # for the definitions that would be too many, and at the end
    items = [elements, relationships, relationships, views]  # those at relationships come after these
    assert world.calls() == [permit, model, parts[0], *items, parts[1], permit]


async def test_a_hundred_relationships_ask_nothing_of_the_elements_that_came_with_them(
    world: World, imports: tuple[CatalogImport, TenantSession]
) -> None:
    service, session = imports
    ring = [arrow(f"r{number}", f"e{number}", f"e{(number + 1) % 100}", "Flow") for number in range(100)]
    report = await service.run(session, file_of(*(process(f"e{number}") for number in range(100)), *ring))
    assert (report.created, report.skipped) == (200, 0)
    elements = ["Query", "Batch", "Batch", "Batch"]
    relationships = ["Query", "Batch", "Batch", "Batch"]
    assert world.calls() == ["BatchRead", "Query", *elements, *relationships, "Read", "Batch"]


async def test_request_units_are_told_by_tenant_and_operation(world: World) -> None:
    store = world.session.store
    await store.commit([Create(Agent.KIND, "one", {"created_at": AT})])
    await store.get(Agent.KIND, "one")
    await store.get(Agent.KIND, "none")
    await store.query(Agent.KIND)
    charged = {(TENANT, "commit"): 7.15, (TENANT, "get"): 2.0, (TENANT, "query"): 2.82}
    assert dict(world.charges) == pytest.approx(charged, abs=0.01)


async def test_a_batch_that_is_refused_is_counted_too(world: World) -> None:
    store = world.session.store
    await store.commit([Create(Agent.KIND, "one", {"created_at": AT})])
    world.forget()
    with pytest.raises(Rejected):
        await store.commit([Create(Agent.KIND, "one", {"created_at": AT})])
    assert world.charges[TENANT, "commit"] > 0
    assert world.calls() == ["Batch"]


async def test_a_read_after_a_batch_asks_for_what_the_batch_wrote(world: World) -> None:
    """azure-cosmos 4.17.1 drops the session token of a batch; without it a lagging replica could answer."""
    store = world.session.store
    container = world.cosmos.store.container("shard-1", "items")
    for number in range(3):
        await store.commit([Create(Agent.KIND, f"a{number}", {"created_at": AT})])
        written = container.lsn
        await store.get(Agent.KIND, f"a{number}")
        await store.query(Agent.KIND)
        assert [call.session_token for call in world.cosmos.calls[-2:]] == [f"0:-1#{written}"] * 2


async def test_every_query_names_the_tenant_in_its_text_too(world: World) -> None:
    store = world.session.store
    await store.query(Agent.KIND, [Where("name", "=", "x")])
    pages = [page async for page in store.scan([AUDIT, ROLLUP], since=AT)]
    assert pages == []
    for call in world.cosmos.calls:
        assert 'c["tenant_id"] = @p0 AND ' in (call.query or "")
        assert call.parameters["@p0"] == TENANT


async def test_only_lists_of_the_registry_and_sweeps_cross_partitions(world: World) -> None:
    platform = world.database.platform
    await platform.put(Create(TENANT_KIND, TENANT, {"created_at": AT}), TENANT)
    await platform.get(TENANT_KIND, TENANT, TENANT)
    await platform.put(Create(RESERVATION, "slug", {"created_at": AT}), TENANT)
    assert world.cosmos.unkeyed() == []
    await platform.query(TENANT_KIND)
    await platform.sweep(OUTBOX, [Where("created_at", "<", AT)])
    assert {(call.operation, call.container) for call in world.cosmos.unkeyed()} == {
        ("Query", "tenants"),
        ("QueryPlan", "tenants"),
        ("Query", "items"),
        ("QueryPlan", "items"),
    }


async def test_containers_are_made_with_the_policy_that_bicep_gives_them(world: World) -> None:
    store: TenantStore = world.session.store
    await store.get(Agent.KIND, "none")
    properties = world.cosmos.store.container("shard-1", "items").properties
    assert properties["partitionKey"]["paths"] == ["/tenant_id"]
    assert properties["defaultTtl"] == -1
    assert {"path": "/*"} in properties["indexingPolicy"]["excludedPaths"]


async def test_proxies_of_the_environment_are_used_and_looked_for_once_a_client(
    cosmos: CosmosDouble, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(url: object) -> None:
        raise AssertionError("a proxy is looked for at a call")

    database = cosmos_database(cosmos.endpoint, clock)
    monkeypatch.setattr("aiohttp.client.get_env_proxy_for_url", looked)
    assert await database.tenant(TENANT, SHARD).get(Agent.KIND, "none") is None
    await database.close()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    database = cosmos_database(cosmos.endpoint, clock)
    with pytest.raises(AssertionError, match="looked for"):
        await database.tenant(TENANT, SHARD).get(Agent.KIND, "none")
    await database.close()


def test_the_sdk_is_not_loaded_before_it_is_needed() -> None:
    loaded = "[name for name in sys.modules if name.startswith(('azure', 'aiohttp'))]"
    code = f"import sys, shared.database.cosmos.store; assert not {loaded}"
    run([executable, "-c", code], check=True)

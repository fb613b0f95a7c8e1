"""What onboarding and metering cost at Cosmos DB, and that no call of theirs lacks its partition key."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions.kinds import KINDS
from functions.tenants.models import NewTenant
from functions.tenants.onboarding import Onboarding
from functions.usage.metering import Metering
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.database.cosmos.store import CosmosDatabase
from shared.ids import Uuid7Ids
from shared.jobs.deadletters import DeadLetters
from shared.members.names import Names
from shared.messaging.port import Message
from shared.messaging.sqlite import SqliteMessaging
from shared.tenancy.directory import Directory
from shared.work.events import Metric, usage_event
from shared.work.outbox import Outbox
from shared.work.scope import Services
from shared.work.session import TenantSession
from tests.doubles.clock import FakeClock, never
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database
from tests.doubles.usage import total_and_count


class Platform:
    """The services that work on the registry, over the double; `calls` are those since the last look."""

    def __init__(self, cosmos: CosmosDouble, database: CosmosDatabase, messaging: SqliteMessaging, clock: FakeClock):
        self._cosmos = cosmos
        self.database = database
        self.clock = clock
        self.ids = Uuid7Ids()
        self.directory = Directory(database, clock)
        services = Services(clock, self.ids, Outbox(messaging, never), "usage-events", KINDS)
        names = Names(database, self.directory, clock)
        self.onboarding = Onboarding(database, self.directory, names, services, 1, "test")
        dead_letters = DeadLetters(database, messaging, clock)
        self.metering = Metering(self.directory, dead_letters, messaging, clock, "usage-events")
        flowgrid = self.directory.flowgrid
        self.staff = TenantSession(flowgrid, self.directory.open(flowgrid), SYSTEM, SYSTEM_REQUEST, services)

    def calls(self) -> list[tuple[str, str]]:
        assert self._cosmos.unkeyed() == []
        made = [(call.operation, call.container) for call in self._cosmos.calls]
        self._cosmos.forget()
        return made

    async def onboard(self, slug: str) -> str:
        new = NewTenant(name=slug, slug=slug, admin_email=f"ada@{slug}.example")
        return (await self.onboarding.onboard(self.staff, new)).id

    def events(self, tenant_id: str, count: int) -> list[Message]:
        now = self.clock.now()
        return [
            usage_event(Metric.API_CALLS, id=self.ids.new(), tenant_id=tenant_id, at=now, value=1, operation="get_me")
            for _ in range(count)
        ]


@pytest.fixture
async def platform(cosmos: CosmosDouble, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Platform]:
    database = cosmos_database(cosmos.endpoint, clock, shards=1)
    messaging = SqliteMessaging(tmp_path, clock)
    one = Platform(cosmos, database, messaging, clock)
    await one.onboard("warm-up")  # the emulator's databases and containers are made on the way
    one.calls()
    yield one
    await messaging.close()
    await database.close()


async def test_onboarding_takes_five_calls(platform: Platform) -> None:
    tenant_id = await platform.onboard("acme")
    assert len(platform.calls()) == 5
    entry = await platform.directory.entry(tenant_id)
    assert entry is not None
    assert entry.status == "trial"


async def test_a_delivery_of_a_tenant_is_one_batch_and_reads_nothing(platform: Platform) -> None:
    tenant_id = await platform.onboard("acme")
    await platform.metering.store(platform.events(tenant_id, 1))  # the hour is open
    platform.calls()
    await platform.metering.store(platform.events(tenant_id, 1000))
    assert platform.calls() == [("Batch", "usage")]
    store = await platform.directory.store(tenant_id)
    assert store is not None
    assert await total_and_count(store) == (1001, 1001)

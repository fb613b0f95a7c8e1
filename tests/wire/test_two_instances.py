"""Two instances of the app on one account: each has its own session, so one may not see yet what the other wrote."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions.catalog.exporting import export_model
from functions.catalog.importing import CatalogImport
from functions.kinds import KINDS
from functions.tenants.models import NewTenant
from functions.tenants.onboarding import Onboarding
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.blobs.files import FileBlobs
from shared.database.cosmos.store import CosmosDatabase
from shared.errors import Unavailable
from shared.ids import Uuid7Ids
from shared.jobs.jobs import Continue, Done, Job, Jobs, enqueue
from shared.members.names import Names
from shared.messaging.port import Message
from shared.messaging.sqlite import SqliteMessaging
from shared.tenancy.directory import Directory
from shared.tenancy.fence import FENCE
from shared.work.fencing import close, reopen
from shared.work.outbox import Outbox
from shared.work.resources import load
from shared.work.scope import Services
from shared.work.session import TenantSession
from tests.doubles.clock import FakeClock, never
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database
from tests.doubles.cosmos_store import Container, Partition
from tests.unit.catalog_world import arrow, file_of, process

QUEUE = "jobs"


class Instance:
    """One process: its own SDK client, directory and runner of jobs; the queue is everybody's."""

    def __init__(self, cosmos: CosmosDouble, messaging: SqliteMessaging, clock: FakeClock) -> None:
        self.database: CosmosDatabase = cosmos_database(cosmos.endpoint, clock, shards=1)
        self.directory = Directory(self.database, clock)
        self.services = Services(clock, Uuid7Ids(), Outbox(messaging, never), "usage-events", KINDS)
        self.looks = 0
        self.jobs = Jobs(
            {"count": self._count},
            {},
            queue=QUEUE,
            directory=self.directory,
            database=self.database,
            messaging=messaging,
            services=self.services,
            pause=self._pause,
        )

    async def _pause(self, seconds: float) -> None:
        self.looks += 1

    async def _count(self, session: TenantSession, job: Job) -> Done | Continue:
        """Three slices; each sees what the one before, of another instance, has left."""
        seen = (await load(session, Job, job.id)).value
        assert seen.checkpoint == job.checkpoint
        number = job.checkpoint.get("number", 0) + 1
        return Done({"number": number}) if number == 3 else Continue({"number": number})

    async def session(self, tenant_id: str) -> TenantSession:
        entry = await self.directory.entry(tenant_id)
        assert entry is not None
        return TenantSession(entry, self.directory.open(entry), SYSTEM, SYSTEM_REQUEST, self.services)

    async def onboard(self, slug: str) -> str:
        names = Names(self.database, self.directory, self.services.clock)
        onboarding = Onboarding(self.database, self.directory, names, self.services, 1, "test")
        flowgrid = self.directory.flowgrid
        staff = TenantSession(flowgrid, self.directory.open(flowgrid), SYSTEM, SYSTEM_REQUEST, self.services)
        new = NewTenant(name=slug, slug=slug, admin_email=f"ada@{slug}.example")
        return (await onboarding.onboard(staff, new)).id


@pytest.fixture
async def messaging(clock: FakeClock, tmp_path: Path) -> AsyncIterator[SqliteMessaging]:
    queue = SqliteMessaging(tmp_path, clock)
    yield queue
    await queue.close()


@pytest.fixture
async def instances(
    cosmos: CosmosDouble, messaging: SqliteMessaging, clock: FakeClock
) -> AsyncIterator[tuple[Instance, Instance]]:
    both = Instance(cosmos, messaging, clock), Instance(cosmos, messaging, clock)
    yield both
    for one in both:
        await one.database.close()


async def due(messaging: SqliteMessaging) -> Message:
    lease = await messaging.receive(QUEUE)
    await messaging.complete(lease)
    [(message, _)] = lease.messages
    return message


async def test_a_job_of_a_tenant_that_is_new_to_the_other_instance_is_run_there_slice_by_slice(
    instances: tuple[Instance, Instance], messaging: SqliteMessaging
) -> None:
    here, there = instances
    await there.database.ping()
    tenant_id = await here.onboard("acme")
    session = await here.session(tenant_id)
    change = session.change()
    job = await change.commit(enqueue(change, session, QUEUE, "count", {}))
    for runner in (there, here, there):
        message = await due(messaging)
        await runner.jobs.run(tenant_id, job.id, message.body["revision"])
    done = (await load(await there.session(tenant_id), Job, job.id)).value
    assert (done.status, done.result) == ("succeeded", {"number": 3})
    assert there.looks > 0


async def test_a_message_that_no_replica_can_explain_comes_again(
    cosmos: CosmosDouble, instances: tuple[Instance, Instance], messaging: SqliteMessaging
) -> None:
    here, there = instances
    cosmos.store.stale_reads = 1000
    await there.database.ping()
    tenant_id = await here.onboard("acme")
    session = await here.session(tenant_id)
    change = session.change()
    job = await change.commit(enqueue(change, session, QUEUE, "count", {}))
    with pytest.raises(Unavailable):
        await there.jobs.run(tenant_id, job.id, 1)
    cosmos.store.catch_up()
    await there.jobs.run(tenant_id, job.id, 1)
    assert (await load(await there.session(tenant_id), Job, job.id)).value.slices == 1


async def test_an_instance_never_sees_less_than_it_has_seen(
    cosmos: CosmosDouble, instances: tuple[Instance, Instance]
) -> None:
    """Who has read an element as it is now does not miss the relationships that were committed before it changed."""
    here, there = instances
    tenant_id = await here.onboard("acme")
    cosmos.store.catch_up()
    session, other = await here.session(tenant_id), await there.session(tenant_id)
    cosmos.store.stale_reads = 1000
    for number in range(5):
        change = session.change()
        await change.commit(enqueue(change, session, QUEUE, "count", {}))
        if number == 2:
            cosmos.store.catch_up()
            assert len((await other.store.query(Job.KIND)).items) == 3
        elif number > 2:
            assert len((await other.store.query(Job.KIND)).items) == 3
    cosmos.store.catch_up()
    assert len((await other.store.query(Job.KIND)).items) == 5


def answer_from(
    monkeypatch: pytest.MonkeyPatch, container: Container, behind: tuple[dict[str, Partition], int], times: int
) -> None:
    """So many reads that may be answered by a replica that is this far get its answer; all others are up to date."""
    left = [times]

    def seen_by(self: Container, token: int, stale_reads: int) -> tuple[dict[str, Partition], int]:
        if self is container and token <= behind[1] and left[0] > 0:
            left[0] -= 1
            return behind
        return self.partitions, self.lsn

    monkeypatch.setattr(Container, "seen_by", seen_by)


@pytest.mark.parametrize("stale", [1, 2, 3, 4, 1000])
async def test_a_fence_that_was_closed_by_another_instance_for_the_same_work_is_closed(
    cosmos: CosmosDouble, instances: tuple[Instance, Instance], monkeypatch: pytest.MonkeyPatch, stale: int
) -> None:
    """A restore's second slice, into a copy of which this instance has no token: some reads are old, others are not."""
    here, there = instances
    await there.database.ping()
    tenant_id = await here.onboard("acme")
    cosmos.store.catch_up()
    session, other = await here.session(tenant_id), await there.session(tenant_id)
    items = cosmos.store.container("shard-1", "items")
    behind = dict(items.partitions), items.lsn
    since = await close(session, "job-1")
    answer_from(monkeypatch, items, behind, stale)
    for _ in range(5):
        try:
            assert await close(other, "job-1") == since
            return
        except Unavailable:  # the job comes again
            continue
    raise AssertionError("never")


@pytest.mark.parametrize("stale", [1, 2, 1000])
async def test_a_fence_that_was_closed_by_another_instance_is_opened(
    cosmos: CosmosDouble, instances: tuple[Instance, Instance], monkeypatch: pytest.MonkeyPatch, stale: int
) -> None:
    here, there = instances
    tenant_id = await here.onboard("acme")
    cosmos.store.catch_up()
    session, other = await here.session(tenant_id), await there.session(tenant_id)
    items = cosmos.store.container("shard-1", "items")
    behind = dict(items.partitions), items.lsn
    await close(session, "job-1")
    answer_from(monkeypatch, items, behind, stale)
    for _ in range(5):
        try:
            await reopen(other, "job-1")
            break
        except Unavailable:
            continue
    assert not (await session.store.query(FENCE)).items, "the fence stays closed, and its holder is done"


async def test_a_file_that_the_other_instance_has_imported_changes_nothing(
    instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    here, there = instances
    await there.database.ping()
    tenant_id = await here.onboard("acme")
    one, two = await here.session(tenant_id), await there.session(tenant_id)
    items = (process("e1"), process("e2"), arrow("r1", "e1", "e2", "Flow"))
    imports = CatalogImport(FileBlobs(tmp_path / "here")), CatalogImport(FileBlobs(tmp_path / "there"))
    assert (await imports[0].run(one, file_of(*items))).created == 3
    assert (await imports[1].run(two, file_of(*items))).unchanged == 3
    exported = await export_model(one)
    await imports[0].run(one, file_of(*items, process("e3"), model="other"))
    assert (await imports[1].run(two, exported)).unchanged == 3
    assert (await imports[1].run(two, await export_model(one))).unchanged == 7


async def test_two_instances_that_import_a_new_file_at_once_make_one_model(
    instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    here, there = instances
    await there.database.ping()
    tenant_id = await here.onboard("acme")
    sessions = await here.session(tenant_id), await there.session(tenant_id)
    file = file_of(*(process(f"e{number}") for number in range(90)), arrow("r1", "e1", "e2", "Flow"))
    imports = CatalogImport(FileBlobs(tmp_path / "here")), CatalogImport(FileBlobs(tmp_path / "there"))
    reports = await asyncio.gather(*(each.run(session, file) for each, session in zip(imports, sessions, strict=True)))
    assert [one.skipped for one in reports] == [0, 0]
    assert sum(one.created for one in reports) == 91
    assert len({one.model_id for one in reports}) == 1

"""A tenant with things in it, and backups and restores of it that can be killed at any blob or batch."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from functions.agents.models import Agent
from functions.backups.archive import Archive
from functions.backups.copies import Copies
from functions.backups.daily import DailyBackups
from functions.backups.export import Export
from functions.backups.models import Backup, NewBackup, NewRestore, plain
from functions.backups.restore import Restoring
from functions.backups.retention import Retention
from functions.backups.service import BackupService
from functions.backups.snapshot import Snapshot
from functions.catalog.models import Element, Relationship
from functions.kinds import KINDS
from shared.blobs.files import FileBlobs
from shared.blobs.port import BlobInfo, Blobs, BlobSpace
from shared.clock import rfc3339
from shared.core import Core, core
from shared.database.port import OLDEST_FIRST, Create, Document, Operation, Order, Page, Replace, Stored, Where
from shared.jobs.jobs import Continue, Done, Job, Jobs
from shared.jobs.tenant_sweep import TenantSweep
from shared.kinds import Kind
from shared.members.users import User
from shared.settings import Settings
from shared.tenancy.directory import TenantEntry
from shared.tenancy.fence import AUDIT, Handle, Overtaken
from shared.work.change import COUNTER, Change
from shared.work.resources import Resource, load
from shared.work.session import TenantSession
from tests.doubles.clock import never
from tests.unit.world import (
    SETTINGS,
    TENANT_ID,
    FakeClock,
    FakeIds,
    WatchedDirectory,
    WatchedStore,
    admin,
    entry,
    register,
    session,
)

State = dict[tuple[str, str], Document]
LIMITS = {"max_backups": 1000, "max_copies": 1000}
ROOM: dict[str, Any] = {"max_agents": 100_000, "max_users": 1000, "settings": {"limits": LIMITS}}


class Killed(BaseException):
    """The process is gone: no handler runs, nothing is tidied up."""


class Thing(Resource):
    name: str
    email: str | None = None
    source_id: str | None = None
    target_id: str | None = None
    element_id: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)


class AUser(Thing):
    KIND: ClassVar[Kind] = User.KIND

    role: str = "user"
    status: str = "active"
    issuer: str | None = None
    subject: str | None = None
    last_login_at: str | None = None


class AnElement(Thing):
    KIND: ClassVar[Kind] = Element.KIND


class ARelationship(Thing):
    KIND: ClassVar[Kind] = Relationship.KIND


class AnAgent(Thing):
    KIND: ClassVar[Kind] = Agent.KIND


COUNTERS = {Agent.KIND: "agents", User.KIND: "users"}


class FragileBlobs(Blobs):
    """Real blobs; the write or deletion of number `kill_at` (from 1) does not happen, because the process is killed.

    `on_call`: what happens before any call.
    """

    def __init__(self, folder: Path) -> None:
        self.inner = FileBlobs(folder)
        self.folder = folder
        self.kill_at: int | None = None
        self.on_call: Callable[[], Awaitable[None]] | None = None
        self.changes = 0

    def space(self, area: str, tenant_id: str) -> BlobSpace:
        return _FragileSpace(self, self.inner.space(area, tenant_id))

    async def ping(self) -> None:
        await self.inner.ping()

    async def close(self) -> None:
        await self.inner.close()

    def change(self) -> None:
        self.changes += 1
        if self.changes == self.kill_at:
            raise Killed

    async def call(self) -> None:
        if self.on_call is not None:
            await self.on_call()

    def arm(self, kill_at: int | None) -> None:
        self.kill_at, self.changes = kill_at, 0


class _FragileSpace(BlobSpace):
    def __init__(self, blobs: FragileBlobs, inner: BlobSpace) -> None:
        self._blobs = blobs
        self._inner = inner

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, overwrite: bool = True) -> BlobInfo:
        await self._blobs.call()
        self._blobs.change()
        return await self._inner.write(name, chunks, overwrite=overwrite)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        await self._blobs.call()
        async for chunk in self._inner.read(name):
            yield chunk

    async def info(self, name: str) -> BlobInfo | None:
        await self._blobs.call()
        return await self._inner.info(name)

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        await self._blobs.call()
        async for blob in self._inner.list(prefix):
            yield blob

    async def delete(self, name: str) -> None:
        await self._blobs.call()
        self._blobs.change()
        await self._inner.delete(name)


class BusyStore(WatchedStore):
    """A store in which something happens before each of its queries."""

    def __init__(self, store: WatchedStore, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__(store)
        self._meanwhile = meanwhile

    @property
    def control(self) -> WatchedStore:
        return self

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        await self._meanwhile()
        return await super().query(kind, where, order=order, limit=limit, after=after)


class FleetDirectory(WatchedDirectory):
    """Watched, for the timers as well, which read the whole registry."""

    def remember(self, stored: Stored) -> TenantEntry:
        return self._inner.remember(stored)


@dataclass
class BackupWorld:
    core: Core
    clock: FakeClock
    blobs: FragileBlobs
    directory: WatchedDirectory
    tenant: TenantSession
    export: Export
    restoring: Restoring
    service: BackupService
    jobs: Jobs
    retention: Retention
    daily: DailyBackups
    onboarded: list[str] = field(default_factory=list)

    @classmethod
    async def over(cls, folder: Path, **changes: Any) -> "BackupWorld":
        """`changes`: fields of the tenant's entry."""
        clock = FakeClock()
        own = core(Settings.model_validate({**SETTINGS, "flowgrid_data_dir": folder / "data"}), KINDS, clock, FakeIds())
        own.services.outbox.pause = never
        fields = {**ROOM, **changes}
        await register(own, TENANT_ID, **fields)
        directory = FleetDirectory(own.directory)
        blobs = FragileBlobs(folder / "blobs")
        found = entry(TENANT_ID, **fields)
        tenant = session(own, found, directory.open(found), replace(admin(TENANT_ID, "ada@acme.example"), issuer=""))
        database = own.adapters.database
        copies = Copies(own.names, database)
        service = BackupService(blobs, copies, jobs_queue="jobs")
        each = TenantSweep(database, directory, own.services)
        world: BackupWorld

        async def onboard(*, tenant_id: str, name: str, slug: str, admin_email: str, like: TenantEntry) -> None:
            if tenant_id not in world.onboarded:
                store = await register(own, tenant_id, slug=slug, **ROOM)
                await store.commit(
                    [Create(User.KIND, "first-admin", {"created_at": rfc3339(clock.now()), "email": admin_email})]
                )
                world.onboarded.append(tenant_id)

        export = Export(blobs, parts_per_slice=3)
        restoring = Restoring(blobs, export, directory, onboard, copies, batches_per_slice=3)
        jobs = Jobs(
            {"backup": export.run_backup, "restore": restoring.run_restore},
            {"backup": export.give_up, "restore": restoring.give_up},
            queue="jobs",
            directory=directory,
            database=database,
            messaging=own.adapters.messaging,
            services=own.services,
        )
        world = cls(
            own,
            clock,
            blobs,
            directory,
            tenant,
            export,
            restoring,
            service,
            jobs,
            Retention(each, blobs),
            DailyBackups(each, service),
        )
        return world

    async def close(self) -> None:
        await self.core.close()

    # The tenant at work

    async def make(self, model: type[Thing], name: str, **fields: Any) -> Thing:
        self.clock.advance(microseconds=10)
        change = self.tenant.change()
        made = change.create(model, {"name": name, **fields})
        if model.KIND in COUNTERS:
            change.count(COUNTERS[model.KIND], +1)
        return await change.commit(made)

    async def edit(self, thing: Thing, **fields: Any) -> Thing:
        self.clock.advance(microseconds=10)
        return await self.tenant.modify(type(thing), thing.id, lambda _: fields, if_match=None)

    async def delete(self, thing: Thing) -> None:
        self.clock.advance(microseconds=10)
        model = type(thing)

        async def uncount(change: Change, _: Thing) -> None:
            if model.KIND in COUNTERS:
                change.count(COUNTERS[model.KIND], -1)

        await self.tenant.remove(model, thing.id, if_match=None, also=uncount)

    async def furnish(self, many: int = 8) -> list[Thing]:
        """Some of every kind, revisions beyond the first among them."""
        things: list[Thing] = []
        for number in range(many):
            element = await self.make(AnElement, f"element {number}", config={"number": number, "deep": {"ä": [1.5]}})
            agent = await self.make(AnAgent, f"agent {number}")
            things += [element, await self.edit(agent, name=f"agent {number} edited")]
            if number:
                ends = {"source_id": element.id, "target_id": things[0].id}
                things.append(await self.make(ARelationship, f"relationship {number}", **ends))
        things.append(await self.make(AUser, "Grace", email="grace@acme.example"))
        return things

    async def state(self, tenant_id: str = TENANT_ID) -> State:
        """The tenant's resources as they are now."""
        store = self.directory.stores[tenant_id]
        return {
            (kind.name, stored.body["id"]): plain(stored.body)
            async for page in store.scan(KINDS.restored)
            for stored in page
            for kind in [KINDS.named(stored.body["kind"])]
        }

    async def journal_state(self, instant: str) -> State:
        """The tenant's resources at an instant, by the journal alone, from the beginning."""
        state: State = {}
        entries = [one.body async for page in self.tenant.store.scan([AUDIT]) for one in page]
        for one in sorted(entries, key=lambda body: (body["created_at"], body["id"])):
            if one["created_at"] > instant or one["resource_type"] not in [kind.name for kind in KINDS.restored]:
                continue
            key = (one["resource_type"], one["resource_id"])
            state.pop(key, None)
            if one["new_value"] is not None:
                state[key] = one["new_value"]
        return state

    async def counter(self, name: str, tenant_id: str = TENANT_ID) -> int:
        stored = await self.directory.stores[tenant_id].get(COUNTER, name)
        assert stored is not None
        return int(stored.body["value"])

    # Backups and restores

    async def run(self, job_id: str) -> Job:
        """Slices, until the job is over. One whose worker was killed is taken up when its lease has run out."""
        while (job := await self.job(job_id)).status in ("queued", "running"):
            if job.status == "running":
                self.clock.advance(minutes=6)
            await self.jobs.run(TENANT_ID, job_id)
        return job

    async def job(self, job_id: str) -> Job:
        return (await load(self.tenant, Job, job_id)).value

    async def back_up(self) -> Backup:
        """A complete backup, made now."""
        backup = await self.service.create(self.tenant, NewBackup())
        job = await self.run(backup.job_id)
        assert job.status == "succeeded", job.error
        self.clock.advance(seconds=1)
        return await self.service.get(self.tenant, backup.id)

    async def back_up_through(self, store: WatchedStore) -> Backup:
        """A backup that reads through another store than the tenant's own."""
        backup = await self.service.create(self.tenant, NewBackup())
        job = await self.job(backup.job_id)
        busy = replace(self.tenant, store=store)
        while not isinstance(outcome := await self.export.run_backup(busy, job), Done):
            assert isinstance(outcome, Continue)
            job = job.model_copy(update={"checkpoint": json.loads(json.dumps(dict(outcome.checkpoint)))})
        return await self.service.get(self.tenant, backup.id)

    def behind(self, **delta: float) -> "BackupWorld":
        """The same tenant, through a process whose clock is behind by so much."""
        clock = FakeClock(self.clock.now() - timedelta(**delta))
        services = replace(self.tenant.services, clock=clock)
        store = Handle(self.core.adapters.database.tenant(self.tenant.id, self.tenant.entry.placement))
        return replace(self, tenant=replace(self.tenant, store=store, services=services))

    async def start_restore(self, backup: Backup | None = None, **asked: Any) -> str:
        body = {"target": "in_place", "backup_id": backup.id if backup else None, **asked}
        if body["target"] == "in_place":
            body.setdefault("confirm", self.tenant.entry.slug)
        try:
            return (await self.service.restore(self.tenant, NewRestore.model_validate(body))).id
        except Overtaken:  # by the moment of the backup before; the pipeline runs it again, too
            return (await self.service.restore(self.tenant, NewRestore.model_validate(body))).id

    async def restore(self, backup: Backup | None = None, **asked: Any) -> Job:
        return await self.run(await self.start_restore(backup, **asked))

    async def content(self, backup: Backup) -> State:
        """What a restore of the backup would bring back."""
        archive = Archive(self.blobs, backup, KINDS)
        with Snapshot(KINDS) as snapshot:
            await snapshot.load(archive, await archive.manifest())
            return {
                (kind.name, body["id"]): body
                for kind in KINDS.restored
                for body in snapshot.page(kind, "", 1_000_000)[0]
            }

    def files(self, backup: Backup) -> list[Path]:
        """The backup's blobs, as files."""
        return sorted(path for path in self.blobs.folder.rglob("*") if path.is_file() and backup.id in str(path))

    async def rewrite(self, backup: Backup, **fields: Any) -> None:
        """Change what is stored of a backup behind the service's back."""
        held = await load(self.tenant, Backup, backup.id)
        body: Mapping[str, Any] = {**held.value.model_dump(mode="json"), **fields}
        operation: Operation = Replace(Backup.KIND, backup.id, dict(body), held.etag)
        await self.tenant.store.commit([operation])

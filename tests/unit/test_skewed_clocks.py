"""Clocks that are wrong by minutes: backups and points in time are what was acknowledged, whoever stamped it."""

import asyncio
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from functions.backups.copies import Copies
from functions.backups.export import Export
from functions.backups.models import Backup, NewBackup, NewRestore, same_content
from functions.backups.restore import Restoring
from functions.catalog.models import Element
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import OLDEST_FIRST, Document, Operation, Order, Page, TenantStore, Where
from shared.errors import Conflict, Invalid
from shared.ids import derived_id
from shared.jobs.jobs import Jobs
from shared.kinds import Kind
from shared.tenancy.directory import Directory, TenantEntry
from shared.tenancy.fence import AUDIT, TICK, Fenced, Overtaken
from shared.work.resources import load
from shared.work.session import TenantSession
from tests.unit.backup_world import AnElement, BackupWorld
from tests.unit.world import TENANT_ID, FakeClock, WatchedStore

ITEMS = [derived_id("element", str(number)) for number in range(3)]
WRITERS = 3
RUNNERS = 2  # of jobs; they are processes of their own
MOST_SECONDS = 600

T = TypeVar("T")
Meanwhile = Callable[[], Awaitable[None]]
Step = tuple[str, int, int]  # what, who, which


class InterruptedStore(WatchedStore):
    """Something happens before each of its queries and batches."""

    def __init__(self, store: TenantStore, meanwhile: Meanwhile, main: "InterruptedStore | None" = None) -> None:
        super().__init__(store, main)
        self._meanwhile = meanwhile

    def beside(self, inner: TenantStore) -> "InterruptedStore":
        return InterruptedStore(inner, self._meanwhile, self)

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

    async def commit(self, operations: Sequence[Operation]) -> None:
        await self._meanwhile()
        await super().commit(operations)


class InterruptedDirectory(Directory):
    def __init__(self, inner: Directory, meanwhile: Meanwhile) -> None:
        self._inner = inner
        self._meanwhile = meanwhile

    async def entry(self, tenant_id: str) -> TenantEntry | None:
        return await self._inner.entry(tenant_id)

    def open(self, entry: TenantEntry) -> TenantStore:
        return InterruptedStore(self._inner.open(entry), self._meanwhile)

    def held_by(self, entry: TenantEntry, holder: str, since: str) -> TenantStore:
        return InterruptedStore(self._inner.held_by(entry, holder, since), self._meanwhile)


@dataclass
class Process:
    """One process of the service: a clock, a handle and a runner of jobs of its own, over the same files."""

    clock: FakeClock
    tenant: TenantSession
    jobs: Jobs

    @classmethod
    def of(cls, world: BackupWorld, seconds: int, meanwhile: Meanwhile) -> "Process":
        """`seconds`: by how much its clock is ahead."""
        clock = FakeClock(world.clock.now() + timedelta(seconds=seconds))
        database = world.core.adapters.database
        services = replace(world.tenant.services, clock=clock)
        own = Directory(database, clock)
        directory = InterruptedDirectory(own, meanwhile)
        export = Export(world.blobs, parts_per_slice=1)
        copies = Copies(world.core.names, database)

        async def onboard(**_: Any) -> None:
            raise NotImplementedError

        restoring = Restoring(world.blobs, export, directory, onboard, copies, batches_per_slice=2)
        jobs = Jobs(
            {"backup": export.run_backup, "restore": restoring.run_restore},
            {"restore": restoring.give_up},
            queue="jobs",
            directory=directory,
            database=database,
            messaging=world.core.adapters.messaging,
            services=services,
        )
        return cls(clock, replace(world.tenant, store=own.open(world.tenant.entry), services=services), jobs)


@dataclass(frozen=True)
class Written:
    """What was acknowledged of an item; `body` None: that it is gone."""

    id: str
    revision: int
    instant: str
    body: Document | None


@dataclass
class Story:
    world: BackupWorld
    skews: Sequence[int]
    steps: deque[Step]
    written: list[Written] = field(default_factory=list)
    backups: list[tuple[Backup, int]] = field(default_factory=list)  # and how much was written before it began
    fences: list[tuple[str, str]] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    number: int = 0
    passing: int = 0

    async def tell(self) -> None:
        self.processes = [Process.of(self.world, skew, self.meanwhile) for skew in self.skews]
        await self.back_up(0, 0)
        while self.steps:
            what, who, which = self.steps.popleft()
            match what:
                case "back up":
                    await self.back_up(who, which)
                case "restore":
                    await self.restore(who, which)
                case _:
                    await self.write(what, who, which)
        await self.back_up(0, 0)
        await self.check()

    async def meanwhile(self) -> None:
        """The next step, where it is a write, comes in between; "later" lets some of these moments pass."""
        if self.passing:
            self.passing -= 1
        elif self.steps and self.steps[0][0] not in ("back up", "restore"):
            await self.write(*self.steps.popleft())

    def pass_time(self) -> None:
        for process in self.processes:
            process.clock.advance(seconds=7)

    # Writers

    async def write(self, what: str, who: int, which: int) -> None:
        """Make, edit or delete an item, as its state allows; a fenced write is none."""
        if what == "later":
            self.passing = 4 * which
            return
        self.pass_time()
        self.number += 1
        tenant, id = self.processes[who].tenant, ITEMS[which % len(ITEMS)]
        there = await tenant.store.get(Element.KIND, id) is not None
        try:
            if what == "delete" and there:
                await self.delete(tenant, id)
            elif what == "put" and there:
                await self.edit(tenant, id)
            elif what == "put":
                await self.make(tenant, id)
        except Fenced:
            return

    async def make(self, tenant: TenantSession, id: str) -> None:
        async def made() -> AnElement:
            buried = (await tenant.buried(Element.KIND, [id])).get(id)
            change = tenant.change(*([buried] if buried else []))
            element = change.create(AnElement, {"name": f"made {self.number}"}, id=id, buried=buried)
            return await change.commit(element)

        self.note(await in_time(made))

    async def edit(self, tenant: TenantSession, id: str) -> None:
        self.note(await tenant.modify(AnElement, id, lambda _: {"name": f"edited {self.number}"}, if_match=None))

    async def delete(self, tenant: TenantSession, id: str) -> None:
        gone: list[Written] = []

        async def remember(change: Any, element: AnElement) -> None:
            gone.append(Written(id, element.revision + 1, change.at, None))

        await tenant.remove(AnElement, id, if_match=None, also=remember)
        self.written.append(gone[-1])

    def note(self, element: AnElement) -> None:
        self.written.append(Written(element.id, element.revision, element.updated_at, element.model_dump(mode="json")))

    # Backups and restores

    async def run(self, job_id: str, who: int) -> str:
        """Each slice by another process than the one before."""
        for turn in range(30):
            job = await self.world.job(job_id)
            if job.status in ("succeeded", "failed"):
                assert job.status == "succeeded", job.error
                return job_id
            self.pass_time()
            await self.processes[WRITERS + (who + turn) % RUNNERS].jobs.run(TENANT_ID, job_id)
        raise AssertionError("the job has not ended")

    async def back_up(self, who: int, runner: int) -> None:
        before = len(self.written)
        tenant = self.processes[who].tenant
        backup = await in_time(lambda: self.world.service.create(tenant, NewBackup()))
        await self.run(backup.job_id, runner)
        self.backups.append((await self.world.service.get(tenant, backup.id), before))

    async def restore(self, who: int, which: int) -> None:
        """A point in time: the instant of one of the writes, or now, by a clock that may be ahead of the others."""
        process = self.processes[who]
        instants = sorted(one.instant for one in self.written)
        as_of = instants[which % len(instants)] if instants and which < 30 else rfc3339(process.clock.now())
        asked = NewRestore(target="in_place", as_of=as_of, confirm=process.tenant.entry.slug)
        try:
            id = (await in_time(lambda: self.world.service.restore(process.tenant, asked))).id
        except (Conflict, Invalid):  # before the first backup, or in the future of its clock
            return
        await self.run(id, which)
        expected = self.at(self.settled(as_of))
        closed, opened = await self.take_in_what_it_did(id)
        self.fences.append((closed, opened))
        found = self.at(opened)
        assert found.keys() == expected.keys(), "the point in time has other items"
        assert all(same_content(found[id], expected[id]) for id in found), "the point in time says something else"

    async def take_in_what_it_did(self, job_id: str) -> tuple[str, str]:
        entries = [one.body async for page in self.world.tenant.store.scan([AUDIT]) for one in page]
        for one in entries:
            if one["resource_type"] == Element.KIND and one["request_id"] == job_id:
                entry = Written(one["resource_id"], one["revision"], one["created_at"], one["new_value"])
                self.written.append(entry)
        fence = {one["action"]: one["created_at"] for one in entries if one["resource_id"] == job_id}
        return fence["fence.closed"], fence["fence.opened"]

    # What must be true

    def at(self, instant: str) -> dict[str, Document]:
        """The model: of each item the last revision stamped up to then."""
        found: dict[str, Written] = {}
        for one in sorted(self.written, key=lambda one: one.revision):
            if one.instant <= instant:
                found[one.id] = one
        return {id: one.body for id, one in found.items() if one.body is not None}

    def settled(self, instant: str) -> str:
        inside = [closed for closed, opened in self.fences if closed <= instant < opened]
        return rfc3339(parse_rfc3339(inside[0]) - TICK) if inside else instant

    async def check(self) -> None:
        for backup, before in self.backups:
            as_of = str(backup.as_of)
            content = {id: body for (_, id), body in (await self.world.content(backup)).items()}
            assert content == self.at(as_of), "the backup is not its moment"
            assert all(one.instant <= as_of for one in self.written[:before]), "what was there before is not in it"
        for id in ITEMS:
            history = sorted((one for one in self.written if one.id == id), key=lambda one: one.revision)
            assert [one.revision for one in history] == list(range(1, len(history) + 1))
            assert all(older.instant < newer.instant for older, newer in pairwise(history)), "instants go back"
        now = {id: (await load(self.world.tenant, AnElement, id)).value.model_dump(mode="json") for id in self.at("9")}
        assert now == self.at("9")


async def in_time(call: Callable[[], Awaitable[T]]) -> T:
    """As the endpoint does: run again when a backup's moment came in between."""
    for _ in range(3):
        with suppress(Overtaken):
            return await call()
    raise AssertionError("overtaken again and again")


def steps(*what: str) -> st.SearchStrategy[list[Step]]:
    step = st.tuples(st.sampled_from(what), st.integers(0, WRITERS - 1), st.integers(0, 40))
    return st.lists(step, min_size=10, max_size=80)


@profile(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    skews=st.lists(st.integers(-MOST_SECONDS, MOST_SECONDS), min_size=WRITERS + RUNNERS, max_size=WRITERS + RUNNERS),
    steps=steps("put", "put", "put", "delete", "later", "back up", "restore"),
)
def test_backups_and_points_in_time_equal_what_was_acknowledged_though_clocks_are_ten_minutes_wrong(
    skews: list[int], steps: list[Step]
) -> None:
    async def story(folder: Path) -> None:
        world = await BackupWorld.over(folder)
        try:
            await Story(world, skews, deque(steps)).tell()
        finally:
            await world.close()

    memory = Path("/dev/shm")  # where there is one: nothing here is about disks
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        asyncio.run(story(Path(folder)))

"""Whatever strikes a backup or a restore, at any call of store or blobs, in the end all is right.

Unanswered: the job tries again. Killed: another runner takes it up. Overtaken: it stalled, and another runner has done
all of it meanwhile. Joined: another runner has done the slice meanwhile, and both go on.
"""

import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from functions.agents.models import Agent
from functions.backups.models import Backup, NewBackup, same_content
from functions.kinds import KINDS
from shared.database.port import Operation
from shared.errors import Conflict, Throttled, Unavailable
from shared.ids import derived_id
from shared.jobs.jobs import UNFINISHED, Job
from shared.tenancy.fence import FENCE, PERMIT, Fenced
from shared.work.fencing import LOCK
from tests.sampling import some_or_all
from tests.unit.backup_world import AnAgent, AnElement, ARelationship, BackupWorld, Killed, State, Thing
from tests.unit.world import TENANT_ID

NEW_TENANT = {"name": "Acme again", "slug": "acme-again", "admin_email": "grace@elsewhere.example"}
STEP = "_with_snapshot"  # of a restore: check, write and delete
WAYS = ["unanswered", "killed", "overtaken", "joined"]


class Hasty(sqlite3.Connection):
    """Leaves it to the operating system when to write to the disk."""

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous=FULL", "synchronous=OFF"), *rest)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of worlds are made here, and none of them loses its power."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Hasty))
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Struck:
    """A job's runner that is struck at one call (from 1) of store and blobs, counted together; None: never."""

    def __init__(self, world: BackupWorld, job_id: str, way: str, at: int | None) -> None:
        self._world = world
        self._job_id = job_id
        self._way = way
        self._at = at
        self.calls = 0
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def run(self) -> Job:
        """Slices, until the job is over, however often a runner gets no answer or is killed."""
        while (job := await self._world.job(self._job_id)).status in UNFINISHED:
            if job.status == "running":
                self._world.clock.advance(minutes=6)
            self._watch(True)
            try:
                with suppress(Unavailable):
                    await self._world.jobs.run(TENANT_ID, self._job_id)
            except Killed:
                await self._others()
            self._watch(False)
        return job

    def _watch(self, on: bool) -> None:
        self._world.directory.watch(self._call if on else None)
        self._world.blobs.on_call = self._call if on else None

    async def _call(self) -> None:
        self.calls += 1
        if self.calls != self._at:
            return
        if self._way == "unanswered":
            raise Unavailable("no answer") if self.calls % 2 else Throttled("slow down")
        if self._way == "killed":
            raise Killed
        self._watch(False)
        self._world.clock.advance(minutes=6)  # its lease is over
        if self._way == "joined":
            await self._world.jobs.run(TENANT_ID, self._job_id)
        else:
            await self._world.run(self._job_id)
            await self._others()
        self._watch(True)

    async def _others(self) -> None:
        if self.meanwhile is not None:
            self._watch(False)
            await self.meanwhile()


async def small(folder: Path) -> BackupWorld:
    world = await BackupWorld.over(folder)
    element = await world.make(AnElement, "element")
    await world.make(ARelationship, "relationship", source_id=element.id, target_id=element.id)
    return world


async def sound(world: BackupWorld, id: str, state: State) -> None:
    """The backup is complete, shows this state, and can be read back."""
    backup: Backup = await world.service.get(world.tenant, id)
    assert (backup.status, backup.error) == ("succeeded", None)
    assert (await world.service.verify(world.tenant, id)).problems == []
    assert await world.content(backup) == state


# Backups


@some_or_all(16)
@pytest.mark.parametrize("way", WAYS)
async def test_a_backup_is_sound_whatever_strikes_at_any_call(tmp_path: Path, way: str, every: int) -> None:
    calls = await _backed_up(tmp_path / "whole", way, None)
    assert calls > 20
    for number in range(1 + WAYS.index(way) * every // len(WAYS), calls + 1, every):
        await _backed_up(tmp_path / str(number), way, number)


async def _backed_up(folder: Path, way: str, at: int | None) -> int:
    world = await small(folder)
    backup = await world.service.create(world.tenant, NewBackup())
    runner = Struck(world, backup.job_id, way, at)
    job = await runner.run()
    assert job.status == "succeeded", (at, job.error)
    await sound(world, backup.id, await world.state())
    await world.close()
    return runner.calls


# Restores


@some_or_all(16)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("target", ["in_place", "new_tenant"])
async def test_a_restore_comes_to_its_end_whatever_strikes_at_any_call(
    tmp_path: Path, target: str, way: str, every: int
) -> None:
    calls = await _restored(tmp_path / "whole", target, way, None)
    assert calls > 50
    for number in range(1 + WAYS.index(way) * every // len(WAYS), calls + 1, every):
        await _restored(tmp_path / str(number), target, way, number)


async def _restored(folder: Path, target: str, way: str, at: int | None) -> int:
    world = await small(folder)
    gone, kept = await world.make(AnAgent, "gone"), await world.make(AnAgent, "kept")
    backup = await world.back_up()
    wanted = await world.state()
    await world.delete(gone)
    await world.edit(kept, name="edited since")
    await world.make(AnElement, "new since")
    before = await world.state()
    new_tenant = NEW_TENANT if target == "new_tenant" else None
    id = await world.start_restore(backup, target=target, new_tenant=new_tenant)
    watch_the_safety_backup(world, id)
    runner = Struck(world, id, way, at)
    written: list[Thing] = []

    async def others_write() -> None:
        """Once the fence has been opened again, nothing that others write may be lost."""
        if await world.tenant.store.get(LOCK, f"closed-by-{id}") is not None:
            with suppress(Fenced):
                written.append(await world.make(AnElement, "after the restore"))

    if target == "in_place":
        runner.meanwhile = others_write
    job = await runner.run()
    assert job.status == "succeeded", (at, job.error)
    restored_id = TENANT_ID if target == "in_place" else derived_id("restore", id)
    wanted |= {("element", one.id): one.model_dump(mode="json", exclude_none=False) for one in written}
    await restored(world, restored_id, wanted)
    if target == "in_place":
        assert job.result is not None
        await sound(world, job.result["pre_restore_backup_id"], before)
    await world.close()
    return runner.calls


def watch_the_safety_backup(world: BackupWorld, job_id: str) -> None:
    """Nothing of the tenant is touched, nor fenced, before its safety backup is complete."""
    store = world.directory.stores[TENANT_ID]

    async def safe(operations: Sequence[Operation]) -> None:
        if {operation.kind for operation in operations} & {*KINDS.restored, FENCE}:
            held = await store.inner.get(Backup.KIND, derived_id("pre_restore", job_id))
            assert held is not None and held.body["status"] == "succeeded"

    store.before = safe


async def restored(world: BackupWorld, tenant_id: str, wanted: State) -> None:
    """The tenant is as wanted, nothing dangling, its counters are exact, and writes can go on."""
    state = await world.state(tenant_id)
    state.pop(("user", "first-admin"), None)
    assert set(state) == set(wanted)
    assert all(same_content(state[key], wanted[key]) for key in wanted)
    assert await world.counter("agents", tenant_id) == sum(kind == Agent.KIND for kind, _ in wanted)
    await opened(world, tenant_id)


async def opened(world: BackupWorld, tenant_id: str = TENANT_ID) -> None:
    """There is exactly one permit, and nobody holds the fence."""
    store = world.directory.stores[tenant_id]
    permits, fences = await store.query(PERMIT), await store.query(FENCE)
    assert (len(permits.items), fences.items) == (1, [])


async def until(world: BackupWorld, id: str, phase: str) -> None:
    """Slices of a restore, up to the first that is in this phase."""
    while (await world.job(id)).checkpoint.get("phase", "check") != phase:
        await world.jobs.run(TENANT_ID, id)


async def test_a_restore_whose_safety_backup_cannot_be_made_touches_nothing(tmp_path: Path) -> None:
    world = await small(tmp_path)
    backup = await world.back_up()
    await world.make(AnAgent, "new since")
    before = await world.state()
    id = await world.start_restore(backup)
    await until(world, id, "keep")
    watch_the_safety_backup(world, id)
    world.blobs.on_call = away
    job = await world.run(id)
    world.blobs.on_call, world.directory.stores[TENANT_ID].before = None, None
    assert (job.status, job.checkpoint["phase"]) == ("failed", "keep")
    assert await world.state() == before
    await opened(world)
    await world.close()


async def away() -> None:
    raise Unavailable("no answer")


# Giving up


@pytest.mark.parametrize(
    ("target", "phase"),
    [
        *(("in_place", phase) for phase in ("check", "keep", "write", "delete", "finish")),
        *(("new_tenant", phase) for phase in ("check", "target", "write", "finish")),
    ],
)
async def test_a_restore_that_fails_for_good_in_any_phase_gives_back_what_it_holds(
    tmp_path: Path, target: str, phase: str
) -> None:
    calls = await _failed(tmp_path / "whole", target, phase, None)
    for number in range(1, calls + 1):
        await _failed(tmp_path / str(number), target, phase, number)


async def _failed(folder: Path, target: str, phase: str, at: int | None) -> int:
    """Fail from this phase on, unanswered at one call of what then happens."""
    world = await small(folder)
    backup = await world.back_up()
    await world.make(AnElement, "new since")
    id = await world.start_restore(backup, target=target, new_tenant=NEW_TENANT if target == "new_tenant" else None)
    await until(world, id, phase)

    async def refused(*_: Any, **__: Any) -> None:
        raise Conflict("no more")

    for step in (STEP, "_keep", "_make_target", "_finish"):
        setattr(world.restoring, step, refused)
    runner = Struck(world, id, "unanswered", at)
    job = await runner.run()
    assert (job.status, job.error) == ("failed", "no more"), at
    await opened(world)
    copy, there = derived_id("restore", id), phase in ("write", "finish")
    if target == "new_tenant":
        assert await world.counter("copies") == there
        if there:
            await opened(world, copy)
    world.clock.advance(minutes=1)
    await world.make(AnElement, "goes on")
    await world.start_restore(backup)
    await world.close()
    return runner.calls


async def test_a_runner_that_was_overtaken_and_then_fails_opens_no_fence_of_the_one_that_goes_on(
    tmp_path: Path,
) -> None:
    world = await small(tmp_path)
    backup = await world.back_up()
    for number in range(130):
        await world.make(AnElement, f"new since {number}")
    id = await world.start_restore(backup)
    await until(world, id, "write")
    real = getattr(world.restoring, STEP)

    async def overtaken(*_: Any) -> None:
        setattr(world.restoring, STEP, real)
        world.clock.advance(minutes=6)
        await world.jobs.run(TENANT_ID, id)
        raise Conflict("the one that stalled has met something")

    setattr(world.restoring, STEP, overtaken)
    await world.jobs.run(TENANT_ID, id)
    with pytest.raises(Fenced):
        await world.make(AnElement, "meanwhile")
    assert (await world.job(id)).status in UNFINISHED
    assert (await world.run(id)).status == "succeeded"
    await opened(world)
    await world.close()

"""The store or the blobs are away for a moment, at any call: the job tries again, and in the end all is right."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from functions.backups.models import RESOURCE_KINDS, NewBackup, same_content
from shared.database.port import Kind, Operation
from shared.errors import Throttled, Unavailable
from shared.ids import derived_id
from shared.jobs import UNFINISHED, Job
from tests.unit.backup_world import AnAgent, AnElement, ARelationship, BackupWorld, State
from tests.unit.world import TENANT_ID

NEW_TENANT = {"name": "Acme again", "slug": "acme-again", "admin_email": "grace@elsewhere.example"}


class Outage:
    """Fails the calls of these numbers (from 1), of store and blobs counted together; Unavailable and Throttled in
    turn."""

    def __init__(self, world: BackupWorld, fails: range | None) -> None:
        self._world = world
        self._fails = fails or range(0)
        self.calls = 0

    async def call(self) -> None:
        self.calls += 1
        if self.calls in self._fails:
            raise Unavailable("no answer") if self.calls % 2 else Throttled("slow down", retry_after=1)

    async def endure(self, job_id: str) -> Job:
        """Slices, until the job is over, however often the runner itself gets no answer."""
        while (job := await self._world.job(job_id)).status in UNFINISHED:
            if job.status == "running":
                self._world.clock.advance(minutes=6)
            self._strike(True)
            with suppress(Unavailable):
                await self._world.jobs.run(TENANT_ID, job_id)
            self._strike(False)
        return job

    def _strike(self, on: bool) -> None:
        self._world.directory.watch(self.call if on else None)
        self._world.blobs.on_call = self.call if on else None


async def small(folder: Path) -> BackupWorld:
    world = await BackupWorld.over(folder)
    element = await world.make(AnElement, "element")
    await world.make(ARelationship, "relationship", source_id=element.id, target_id=element.id)
    return world


# Backups


async def test_a_backup_survives_the_loss_of_any_one_call(tmp_path: Path) -> None:
    calls = await _backed_up(tmp_path / "whole", None)
    assert calls > 20
    for number in range(1, calls + 1):
        await _backed_up(tmp_path / str(number), range(number, number + 1))


async def _backed_up(folder: Path, fails: range | None) -> int:
    world = await small(folder)
    outage = Outage(world, fails)
    backup = await world.service.create(world.tenant, NewBackup())
    job = await outage.endure(backup.job_id)
    assert job.status == "succeeded", (fails, job.error)
    complete = await world.service.get(world.tenant, backup.id)
    assert (complete.status, complete.error) == ("complete", None)
    assert await world.content(complete) == await world.state()
    assert (await world.service.verify(world.tenant, backup.id)).ok
    await world.close()
    return outage.calls


# Restores


@pytest.mark.parametrize("target", ["in_place", "new_tenant"])
async def test_a_restore_survives_the_loss_of_any_one_call(tmp_path: Path, target: str) -> None:
    calls = await _restored(tmp_path / "whole", target, None)
    assert calls > 50
    for number in range(1, calls + 1):
        await _restored(tmp_path / str(number), target, range(number, number + 1))


async def _restored(folder: Path, target: str, fails: range | None) -> int:
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
    outage = Outage(world, fails)
    job = await outage.endure(id)
    assert job.status == "succeeded", (fails, job.error)
    restored_id = TENANT_ID if target == "in_place" else derived_id("restore", id)
    await whole(world, restored_id, wanted)
    if target == "in_place":
        assert job.result is not None
        safety = await world.service.get(world.tenant, job.result["pre_restore_backup_id"])
        assert await world.content(safety) == before
    await world.close()
    return outage.calls


def watch_the_safety_backup(world: BackupWorld, job_id: str) -> None:
    """Nothing of the tenant is touched, nor fenced, before its safety backup is complete."""
    store = world.directory.stores[TENANT_ID]

    async def safe(operations: Sequence[Operation]) -> None:
        if {operation.kind for operation in operations} & {*RESOURCE_KINDS, Kind.FENCE}:
            held = await store.inner.get(Kind.BACKUP, derived_id("pre_restore", job_id))
            assert held is not None and held.body["status"] == "complete"

    store.before = safe


async def whole(world: BackupWorld, tenant_id: str, wanted: State) -> None:
    """The tenant is as wanted, its counters are exact, one permit is there and no fence, and writes go on."""
    store = world.directory.stores[tenant_id]
    state = await world.state(tenant_id)
    state.pop(("user", "first-admin"), None)
    assert set(state) == set(wanted)
    assert all(same_content(state[key], wanted[key]) for key in wanted)
    agents = sum(kind == Kind.AGENT for kind, _ in wanted)
    assert await world.counter("agents", tenant_id) == agents
    permits, fences = await store.query(Kind.PERMIT), await store.query(Kind.FENCE)
    assert (len(permits.items), len(fences.items)) == (1, 0)


async def test_a_restore_whose_safety_backup_cannot_be_made_touches_nothing(tmp_path: Path) -> None:
    world = await small(tmp_path)
    backup = await world.back_up()
    await world.make(AnAgent, "new since")
    before = await world.state()
    id = await world.start_restore(backup)
    while (await world.job(id)).checkpoint.get("phase") != "keep":
        await world.jobs.run(TENANT_ID, id)
    watch_the_safety_backup(world, id)

    async def away() -> None:
        raise Unavailable("no answer")

    world.blobs.on_call = away
    job = await world.run(id)
    world.blobs.on_call, world.directory.stores[TENANT_ID].before = None, None
    assert (job.status, job.checkpoint["phase"]) == ("failed", "keep")
    assert await world.state() == before
    await world.make(AnAgent, "goes on")
    await world.close()

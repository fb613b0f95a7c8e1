"""Long work in a full partition (403/1014, docs/decisions/0022): told, kept, and gone on with once there is room.

Cosmos DB refuses what adds to such a partition, in whatever batch it is, and takes what replaces or deletes.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from functions.agents.models import Agent
from functions.backups.models import Backup, NewBackup
from functions.catalog.models import Element
from shared.database.port import Bury, Create, Operation, Upsert
from shared.errors import Full
from shared.jobs.jobs import Job
from shared.tenancy.fence import FENCE
from shared.work.resources import load
from tests.unit.backup_world import BackupWorld
from tests.unit.world import TENANT_ID

REASON = "This tenant's data has reached 20 GB."


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BackupWorld]:
    own = await BackupWorld.over(tmp_path)
    yield own
    await own.close()


async def nothing_new(operations: Sequence[Operation]) -> None:
    if any(isinstance(one, Create | Upsert | Bury) for one in operations):
        raise Full(REASON)


async def no_resources(operations: Sequence[Operation]) -> None:
    if any(one.kind in (Agent.KIND, Element.KIND) for one in operations):
        raise Full(REASON)


async def fenced(world: BackupWorld) -> bool:
    return bool((await world.directory.stores[TENANT_ID].query(FENCE)).items)


async def restoring(world: BackupWorld) -> str:
    """A restore that has closed the fence and still has to write."""
    things = await world.furnish()
    backup = await world.back_up()
    for thing in things[:-1]:
        await world.edit(thing, name="changed since")
    job_id = await world.start_restore(backup)
    while not await fenced(world):
        await world.jobs.run(TENANT_ID, job_id)
    return job_id


async def deliver(world: BackupWorld, job_id: str, times: int) -> Job:
    for _ in range(times):
        world.clock.advance(minutes=6)
        await world.jobs.run(TENANT_ID, job_id)
    return await world.job(job_id)


async def test_a_restore_that_does_not_fit_fails_and_lets_others_write_again(world: BackupWorld) -> None:
    job_id = await restoring(world)
    world.directory.stores[TENANT_ID].before = no_resources
    job = await world.run(job_id)
    assert (job.status, job.error, await fenced(world)) == ("failed", REASON, False)


async def test_a_restore_that_cannot_even_open_the_fence_waits_with_its_reason_and_goes_on_with_room(
    world: BackupWorld,
) -> None:
    job_id = await restoring(world)
    store = world.directory.stores[TENANT_ID]
    store.before = nothing_new
    job = await deliver(world, job_id, 30)
    assert (job.status, job.attempts, await fenced(world)) == ("queued", 0, True)
    assert job.error == f"{REASON} What it holds is given back once there is room."
    store.before = None
    assert (await world.run(job_id)).status == "succeeded"
    assert not await fenced(world)


async def test_a_backup_that_cannot_even_be_told_to_have_failed_waits_and_is_made_with_room(world: BackupWorld) -> None:
    await world.furnish()
    backup = await world.service.create(world.tenant, NewBackup())
    store = world.directory.stores[TENANT_ID]
    store.before = nothing_new
    assert (await deliver(world, backup.job_id, 30)).status == "queued"
    store.before = None
    assert (await world.run(backup.job_id)).status == "succeeded"
    assert (await load(world.tenant, Backup, backup.id)).value.status == "succeeded"

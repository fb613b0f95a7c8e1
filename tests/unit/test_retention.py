"""The backup timers: a backup a day for everybody, and only what nobody needs any more goes."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from functions.backups import archive, export
from functions.backups.daily import Daily
from functions.backups.models import Backup, NewBackup
from functions.backups.timer import blueprint
from shared.clock import parse_rfc3339
from shared.database.port import Delete, Replace
from shared.errors import NotFound, Unavailable
from shared.jobs.jobs import Job
from shared.telemetry.port import OFF
from shared.tenancy.directory import TenantEntry
from tests.unit.backup_world import BackupWorld, Killed
from tests.unit.world import OTHER_ID, TENANT_ID, WatchedStore, register


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BackupWorld]:
    own = await BackupWorld.over(tmp_path)
    yield own
    await own.close()


async def ids(world: BackupWorld) -> list[str]:
    page = await world.tenant.store.query(Backup.KIND)
    return [stored.body["id"] for stored in page.items]


# Retention


@pytest.mark.parametrize(("tier", "days"), [("standard", 30), ("professional", 30), ("enterprise", 90)])
async def test_a_backup_is_kept_as_long_as_the_plan_says(tmp_path: Path, tier: str, days: int) -> None:
    world = await BackupWorld.over(tmp_path, tier=tier)
    backup = await world.back_up()
    kept = parse_rfc3339(backup.expires_at) - parse_rfc3339(backup.created_at)
    await world.close()
    assert kept == timedelta(days=days)


async def test_an_expired_backup_goes_whole(world: BackupWorld) -> None:
    old = await world.back_up()
    world.clock.advance(days=31)
    new = await world.back_up()
    assert await world.retention.prune(world.tenant) == 1
    assert (await ids(world), world.files(old)) == ([new.id], [])
    assert (await world.service.verify(world.tenant, new.id)).ok


async def test_before_its_time_nothing_goes(world: BackupWorld) -> None:
    await world.back_up()
    world.clock.advance(days=29)
    await world.back_up()
    assert await world.retention.prune(world.tenant) == 0


async def test_the_last_good_backup_is_never_pruned(world: BackupWorld) -> None:
    last = await world.back_up()
    world.clock.advance(days=400)
    await world.service.create(world.tenant, NewBackup())
    assert await world.retention.prune(world.tenant) == 0
    assert (await world.service.verify(world.tenant, last.id)).ok


async def test_a_damaged_backup_does_not_count_as_the_last_good_one(world: BackupWorld) -> None:
    good = await world.back_up()
    damaged = await world.back_up()
    world.files(damaged)[1].write_bytes(b"")
    await world.service.verify(world.tenant, damaged.id)
    world.clock.advance(days=400)
    await world.retention.prune(world.tenant)
    assert good.id in await ids(world)


async def test_failed_and_abandoned_backups_go_after_a_day(world: BackupWorld) -> None:
    failed, abandoned = [await world.service.create(world.tenant, NewBackup()) for _ in range(2)]
    await world.rewrite(failed, status="failed")
    world.clock.advance(hours=23)
    assert await world.retention.prune(world.tenant) == 0
    world.clock.advance(hours=2)
    assert await world.retention.prune(world.tenant) == 2
    assert abandoned.id not in await ids(world)


async def test_a_running_backup_older_than_a_day_whose_job_still_moves_stays(
    world: BackupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PART_TEXT_BYTES", 1)
    monkeypatch.setattr(export, "PAGE_ITEMS", 1)
    await world.furnish(8)
    backup = await world.service.create(world.tenant, NewBackup())
    world.clock.advance(days=2)
    await world.jobs.run(TENANT_ID, backup.job_id)
    assert (await world.service.get(world.tenant, backup.id)).status == "running"
    assert await world.retention.prune(world.tenant) == 0
    world.clock.advance(hours=24)
    assert await world.retention.prune(world.tenant) == 0
    world.clock.advance(minutes=1)  # by when its lease has been over for a day
    assert await world.retention.prune(world.tenant) == 1


@pytest.mark.parametrize("over", ["failed", "gone"])
async def test_a_running_backup_older_than_a_day_whose_job_is_over_goes(world: BackupWorld, over: str) -> None:
    backup = await world.service.create(world.tenant, NewBackup())
    world.clock.advance(days=1)
    held = await world.tenant.store.get(Job.KIND, backup.job_id)
    assert held is not None
    late = {**held.body, "lease_until": "9999", "status": over}
    await world.tenant.store.commit(
        [Delete(Job.KIND, backup.job_id) if over == "gone" else Replace(Job.KIND, backup.job_id, late, held.etag)]
    )
    assert await world.retention.prune(world.tenant) == 1
    assert await world.counter("backups") == 0


async def test_a_backup_goes_at_the_instant_at_which_its_time_is_over(world: BackupWorld) -> None:
    old = await world.back_up()
    await world.back_up()
    world.clock.instant = parse_rfc3339(old.expires_at) - timedelta(microseconds=1)
    assert await world.retention.prune(world.tenant) == 0
    world.clock.advance(microseconds=1)
    assert await world.retention.prune(world.tenant) == 1


async def test_a_failed_backup_goes_a_day_after_it_failed(world: BackupWorld) -> None:
    failed = await world.service.create(world.tenant, NewBackup())
    await world.rewrite(failed, status="failed")
    world.clock.advance(days=1, microseconds=-1)
    assert await world.retention.prune(world.tenant) == 0
    world.clock.advance(microseconds=1)
    assert await world.retention.prune(world.tenant) == 1


async def test_the_newest_complete_backup_stays_although_it_is_damaged(world: BackupWorld) -> None:
    good, damaged = await world.back_up(), await world.back_up()
    await world.rewrite(damaged, error="damaged")
    world.clock.advance(days=400)
    assert await world.retention.prune(world.tenant) == 0
    assert await ids(world) == [good.id, damaged.id]


async def test_a_backup_that_is_being_restored_stays(world: BackupWorld) -> None:
    old = await world.back_up()
    world.clock.advance(days=31)
    await world.back_up()
    restore = await world.start_restore(old)
    assert await world.retention.prune(world.tenant) == 0
    assert (await world.run(restore)).status == "succeeded"


async def test_a_restore_that_begins_while_retention_looks_wins(world: BackupWorld) -> None:
    old = await world.back_up()
    world.clock.advance(days=31)
    await world.back_up()
    store = world.directory.stores[TENANT_ID]
    restores: list[str] = []

    async def restore_first(_: Any) -> None:
        store.before = None
        restores.append(await world.start_restore(old))

    store.before = restore_first
    assert await world.retention.prune(world.tenant) == 0
    assert (await world.run(restores[0])).status == "succeeded"


async def test_pruning_killed_at_any_blob_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    for number in range(1, 5):
        world = await BackupWorld.over(tmp_path / str(number))
        await world.furnish(2)
        old = await world.back_up()
        world.clock.advance(days=31)
        await world.back_up()
        world.blobs.arm(number)
        try:
            await world.retention.prune(world.tenant)
        except Killed:
            left = await world.service.get(world.tenant, old.id)
            assert left.status == "pruning"
        world.blobs.arm(None)
        await world.retention.prune(world.tenant)
        with pytest.raises(NotFound):
            await world.service.get(world.tenant, old.id)
        assert world.files(old) == []
        await world.close()


@profile(max_examples=15, deadline=None)
@given(gaps=st.lists(st.integers(0, 60), min_size=1, max_size=6), wait=st.integers(0, 200))
def test_whatever_the_gaps_the_newest_backup_survives_and_the_unexpired_do(gaps: list[int], wait: int) -> None:
    async def story(folder: Path) -> None:
        world = await BackupWorld.over(folder)
        made: list[Backup] = []
        for gap in gaps:
            world.clock.advance(days=gap)
            made.append(await world.back_up())
        world.clock.advance(days=wait)
        now = world.clock.now()
        await world.retention.prune(world.tenant)
        left = await ids(world)
        await world.close()
        expected = [one.id for one in made if parse_rfc3339(one.expires_at) > now or one is made[-1]]
        assert sorted(left) == sorted(expected)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


# The daily timer


@pytest.fixture
def timers(world: BackupWorld) -> dict[str, Any]:
    """The timer functions as the host finds them."""
    app = func.FunctionApp()
    app.register_functions(blueprint(Daily(world.daily, world.retention, world.core.ledger, world.clock), OFF))
    return {str(one.get_function_name()): one.get_user_function() for one in app.get_functions()}


async def daily(world: BackupWorld, tenant_id: str = TENANT_ID) -> list[dict[str, Any]]:
    found = await world.core.directory.entry(tenant_id)
    assert found is not None
    page = await world.core.directory.open(found).query(Backup.KIND)
    return [stored.body for stored in page.items if stored.body["type"] == "daily"]


async def test_the_daily_backup_is_made_once_a_day(world: BackupWorld, timers: dict[str, Any]) -> None:
    for _ in range(3):
        await timers["backup_daily"](None)
        world.clock.advance(minutes=10)
    assert len(await daily(world)) == 1
    world.clock.advance(days=1)
    await timers["backup_daily"](None)
    assert len(await daily(world)) == 2


async def test_a_run_that_comes_late_is_made_up_once(world: BackupWorld, timers: dict[str, Any]) -> None:
    world.clock.advance(hours=9)  # the host was down, and now calls the timer with `past_due`
    await asyncio.gather(timers["backup_daily"](None), timers["backup_daily"](None))
    assert len(await daily(world)) == 1


async def test_a_run_that_died_half_way_is_taken_up_again(world: BackupWorld, timers: dict[str, Any]) -> None:
    await register(world.core, OTHER_ID)
    store = WatchedStore(world.core.directory.open(await entry_of(world, OTHER_ID)))
    world.directory.stores[OTHER_ID] = store

    async def kill(_: Any) -> None:
        raise Killed

    store.before = kill
    with pytest.raises(Killed):
        await timers["backup_daily"](None)
    store.before = None
    world.clock.advance(minutes=12)
    await timers["backup_daily"](None)
    assert [len(await daily(world, id)) for id in (TENANT_ID, OTHER_ID)] == [1, 1]


async def test_one_tenants_failure_stops_no_other_and_is_in_the_summary(
    world: BackupWorld, log: pytest.LogCaptureFixture
) -> None:
    broken = "0190c2a8-7e10-7abc-8def-000000000000"
    await register(world.core, broken)
    await register(world.core, OTHER_ID)
    store = WatchedStore(world.core.directory.open(await entry_of(world, broken)))
    world.directory.stores[broken] = store

    async def refuse(_: Any) -> None:
        raise Unavailable("no answer")

    store.before = refuse
    summary = await world.daily.queue("2026-11-24")
    assert summary == {"tenants": 3, "done": 2, "failed": 1, "failures": {broken: "no answer"}}
    assert [len(await daily(world, id)) for id in (TENANT_ID, OTHER_ID)] == [1, 1]


async def test_suspended_tenants_are_backed_up_and_those_that_go_are_not(world: BackupWorld) -> None:
    await register(world.core, OTHER_ID, status="suspended")
    await register(world.core, "0190c2a8-7e10-7abc-8def-000000000003", status="deleting")
    assert (await world.daily.queue("2026-11-24"))["tenants"] == 2


async def test_a_daily_backup_runs_to_its_end(world: BackupWorld, timers: dict[str, Any]) -> None:
    await world.furnish(2)
    await timers["backup_daily"](None)
    (backup,) = await daily(world)
    await world.run(backup["job_id"])
    assert (await world.service.get(world.tenant, backup["id"])).status == "succeeded"


async def test_the_retention_timer_prunes_once_a_day(world: BackupWorld, timers: dict[str, Any]) -> None:
    await world.back_up()
    world.clock.advance(days=31)
    last = await world.back_up()
    await timers["backup_retention"](None)
    assert await ids(world) == [last.id]


async def entry_of(world: BackupWorld, tenant_id: str) -> TenantEntry:
    found = await world.core.directory.entry(tenant_id)
    assert found is not None
    return found

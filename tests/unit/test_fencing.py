"""One restore at a time, a few backups at a time; while a restore writes nobody else does, whatever they believe."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from functions.backups.models import Backup, NewBackup, NewRestore
from functions.backups.soundness import Soundness
from functions.catalog.models import Element
from shared.clock import rfc3339
from shared.database.port import Create, Delete, Operation, Replace
from shared.errors import Concern, Conflict, FlowgridError, QuotaReached, Stale, Unavailable
from shared.ids import derived_id
from shared.jobs.jobs import MAX_ATTEMPTS, Job, Wait
from shared.jobs.locks import Locked, looking_again, take
from shared.tenancy.fence import AUDIT, FENCE, Fenced, Overtaken, rotate
from shared.work.fencing import close, reopen
from shared.work.resources import load
from tests.unit.backup_world import AnAgent, AnElement, ARelationship, BackupWorld, Thing
from tests.unit.world import TENANT_ID


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BackupWorld]:
    own = await BackupWorld.over(tmp_path)
    yield own
    await own.close()


async def run_until(world: BackupWorld, id: str, phase: str) -> None:
    """Slices of a restore, up to the one that is in this phase."""
    while (await world.job(id)).checkpoint.get("phase") != phase:
        await world.jobs.run(TENANT_ID, id)


# Restores


async def test_of_two_restores_at_once_one_is_accepted(world: BackupWorld) -> None:
    await world.furnish(2)
    backup = await world.back_up()
    asked = NewRestore(target="in_place", backup_id=backup.id, confirm=world.tenant.entry.slug)
    twice = [world.service.restore(world.tenant, asked) for _ in range(20)]
    answers = await asyncio.gather(*twice, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in answers) == 1
    assert all(isinstance(one, Conflict) for one in answers if isinstance(one, BaseException))


async def test_after_a_restore_the_next_is_accepted(world: BackupWorld) -> None:
    backup = await world.back_up()
    assert (await world.restore(backup)).status == "succeeded"
    assert (await world.restore(backup)).status == "succeeded"


async def test_nothing_is_written_while_a_restore_writes_and_everything_can_be_read(world: BackupWorld) -> None:
    await world.furnish(2)
    element = await world.make(AnElement, "there")
    backup = await world.back_up()
    await world.delete(element)
    id = await world.start_restore(backup)
    await run_until(world, id, "finish")
    with pytest.raises(Fenced) as refused:
        await world.make(AnElement, "meanwhile")
    assert refused.value.retry_after > 0
    assert (await load(world.tenant, AnElement, element.id)).value.name == "there"
    await world.run(id)
    await world.make(AnElement, "afterwards")


async def test_an_instance_that_stalled_before_its_commit_writes_nothing_into_a_restored_tenant(
    world: BackupWorld,
) -> None:
    await world.make(AnElement, "known")  # the instance knows the tenant's permit by now
    backup = await world.back_up()
    stalled = world.tenant.change()
    element = stalled.create(AnElement, {"name": "stalled"})
    id = await world.start_restore(backup)
    await run_until(world, id, "finish")
    with pytest.raises(Unavailable):
        await stalled.commit(element)
    await world.run(id)
    with pytest.raises(Unavailable):
        await stalled.commit(element)
    assert await world.tenant.store.get(Element.KIND, element.id) is None


async def test_a_backup_and_a_job_go_on_while_the_tenant_is_fenced(world: BackupWorld) -> None:
    id = await world.start_restore(await world.back_up())
    await run_until(world, id, "finish")
    await world.daily.queue("2026-11-24")
    assert len((await world.tenant.store.query(Backup.KIND)).items) == 3


async def test_a_backup_that_meets_a_restore_waits_for_its_end_however_long_that_takes(world: BackupWorld) -> None:
    await world.make(AnElement, "there")
    await close(world.tenant, "a restore")
    await world.daily.queue("2026-11-24")
    (backup,) = (await world.tenant.store.query(Backup.KIND)).items
    for _ in range(3 * MAX_ATTEMPTS):
        await world.jobs.run(TENANT_ID, backup.body["job_id"])
    waiting = await world.job(backup.body["job_id"])
    assert (waiting.status, waiting.attempts) == ("queued", 0)
    await reopen(world.tenant, "a restore")
    assert (await world.run(waiting.id)).status == "succeeded"
    assert await world.content(await world.service.get(world.tenant, backup.body["id"])) == await world.state()


async def test_a_restore_that_fails_for_good_gives_the_writes_back(world: BackupWorld) -> None:
    await world.furnish(2)
    backup = await world.back_up()
    agent = await world.make(AnAgent, "since")
    id = await world.start_restore(backup)
    await run_until(world, id, "write")
    await close(world.tenant, id)
    for file in world.files(backup):
        file.unlink()
    assert (await world.run(id)).status == "failed"
    await world.edit(agent, name="goes on")


async def test_a_runner_that_slept_through_the_end_of_its_restore_does_not_close_the_fence_again(
    world: BackupWorld,
) -> None:
    backup = await world.back_up()
    id = await world.start_restore(backup)
    await run_until(world, id, "write")
    sleeping = await world.job(id)
    await world.run(id)
    kept = await world.make(AnElement, "written since")
    with pytest.raises(Conflict):
        await world.restoring.run_restore(world.tenant, sleeping)
    assert (await load(world.tenant, AnElement, kept.id)).value == kept


async def test_the_fence_is_closed_for_one_holder_and_opened_by_it(world: BackupWorld) -> None:
    await close(world.tenant, "one")
    with pytest.raises(Fenced):
        await close(world.tenant, "another")
    await reopen(world.tenant, "another")
    with pytest.raises(Fenced):
        await world.make(AnElement, "not yet")
    await reopen(world.tenant, "one")
    await reopen(world.tenant, "one")
    await world.make(AnElement, "now")


async def test_closing_again_for_the_same_holder_changes_nothing(world: BackupWorld) -> None:
    assert await close(world.tenant, "one") == await close(world.tenant, "one")


async def test_the_fence_is_closed_and_opened_after_all_that_came_before_though_the_clock_is_behind(
    world: BackupWorld,
) -> None:
    before = await world.make(AnElement, "before")
    behind = world.behind(minutes=10).tenant
    closed = await close(behind, "one")
    assert closed > before.created_at
    await reopen(behind, "one")
    assert (await world.make(AnElement, "after")).created_at > closed


async def test_the_trail_tells_when_the_fence_was_closed_and_opened_in_this_order(world: BackupWorld) -> None:
    await close(world.tenant, "one")
    await reopen(world.tenant, "one")
    entries = [one.body for one in (await world.tenant.store.query(AUDIT)).items]
    told = [(one["action"], one["resource_id"], one["revision"]) for one in entries]
    assert told == [("fence.closed", "one", 1), ("fence.opened", "one", 2)]
    assert entries[0]["created_at"] < entries[1]["created_at"]


async def test_a_point_in_time_inside_a_restore_is_the_moment_before_it(world: BackupWorld) -> None:
    things = await world.furnish(3)
    backup = await world.back_up()
    for thing in things:
        if isinstance(thing, AnAgent):
            await world.edit(thing, name="edited since")
    edited = {id: body["name"] for (kind, id), body in (await world.state()).items() if kind == "agent"}
    await world.restore(backup)
    entries = (await world.tenant.store.query(AUDIT)).items
    (inside,) = [one.body["created_at"] for one in entries if one.body["action"] == "fence.closed"]
    world.clock.advance(minutes=1)
    assert (await world.restore(as_of=inside)).status == "succeeded"
    assert {id: body["name"] for (kind, id), body in (await world.state()).items() if kind == "agent"} == edited


# References


@pytest.mark.parametrize("oldest_first", [True, False])
async def test_relationships_at_relationships_come_back_after_what_they_end_at_and_go_before_it(
    world: BackupWorld, oldest_first: bool
) -> None:
    element = await world.make(AnElement, "end")
    loop = {"source_id": element.id, "target_id": element.id}
    chain = [await world.make(ARelationship, str(number), **loop) for number in range(50)]
    if not oldest_first:  # so that the order of their ids is not that in which they may come back
        chain.reverse()
    for below, one in pairwise(chain):
        await world.edit(one, target_id=below.id)
    full = await world.back_up()
    for one in reversed(chain):
        await world.delete(one)
    empty = await world.back_up()
    for backup in (full, empty):
        id = await world.start_restore(backup)
        while (await world.job(id)).status in ("queued", "running"):
            await world.jobs.run(TENANT_ID, id)
            there = {one for kind, one in await world.state() if kind == "relationship"}
            ends = {body["target_id"] for (kind, _), body in (await world.state()).items() if kind == "relationship"}
            assert ends <= there | {element.id}
        assert (await world.job(id)).status == "succeeded"


async def test_a_backup_whose_items_do_not_fit_together_says_so_and_is_no_good_one(world: BackupWorld) -> None:
    good = await world.back_up()
    lost = await world.make(ARelationship, "lost", source_id="nowhere", target_id="nowhere")
    bad = await world.back_up()
    with pytest.raises(Concern, match="1 backups of the last day"):
        await Soundness(world.core.adapters.database, world.clock).check()
    assert bad.status == "inconsistent" and bad.error is not None and f"relationship {lost.id}" in bad.error
    verification = await world.service.verify(world.tenant, bad.id)
    assert not verification.ok and lost.id in verification.problems[0]
    job = await world.restore(as_of=rfc3339(world.clock.now()))
    assert job.input["backup_id"] == good.id


async def test_health_has_nothing_to_say_of_good_backups_nor_of_those_long_ago(world: BackupWorld) -> None:
    await world.make(ARelationship, "lost", source_id="nowhere", target_id="nowhere")
    await world.back_up()
    world.clock.advance(hours=26)
    await Soundness(world.core.adapters.database, world.clock).check()


async def test_an_agent_without_its_element_does_not_fit(world: BackupWorld) -> None:
    agent = await world.make(AnAgent, "lost", element_id="nowhere")
    assert f"agent {agent.id}" in str((await world.back_up()).error)


# Backups


async def test_of_many_backups_asked_for_at_once_a_few_are_accepted(world: BackupWorld) -> None:
    asked = [world.service.create(world.tenant, NewBackup()) for _ in range(40)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [one for one in answers if isinstance(one, BaseException)]
    assert len(answers) - len(refused) == 3
    assert all(isinstance(one, Conflict) for one in refused)
    assert (await world.counter("backups"), len((await world.tenant.store.query(Backup.KIND)).items)) == (3, 3)


@pytest.mark.parametrize("status", ["succeeded", "failed", "gone"])
async def test_a_place_is_free_again_when_its_backups_job_is_over_whatever_way(world: BackupWorld, status: str) -> None:
    waiting = [await world.service.create(world.tenant, NewBackup()) for _ in range(3)]
    with pytest.raises(Locked) as refused:
        await world.service.create(world.tenant, NewBackup())
    assert refused.value.members["job_id"] == waiting[2].job_id
    for one in reversed(waiting):  # whichever place it is
        held = await world.tenant.store.get(Job.KIND, one.job_id)
        assert held is not None
        over = Replace(Job.KIND, one.job_id, {**held.body, "status": status}, held.etag)
        await world.tenant.store.commit([Delete(Job.KIND, one.job_id) if status == "gone" else over])
        await world.service.create(world.tenant, NewBackup())
        with pytest.raises(Locked):
            await world.service.create(world.tenant, NewBackup())


@pytest.mark.parametrize("status", ["queued", "running"])
async def test_a_place_is_taken_for_as_long_as_its_job_is_unfinished(world: BackupWorld, status: str) -> None:
    for one in [await world.service.create(world.tenant, NewBackup()) for _ in range(3)]:
        held = await world.tenant.store.get(Job.KIND, one.job_id)
        assert held is not None
        await world.tenant.store.commit([Replace(Job.KIND, one.job_id, {**held.body, "status": status}, held.etag)])
    world.clock.advance(days=1)
    with pytest.raises(Locked):
        await world.service.create(world.tenant, NewBackup())


@pytest.mark.parametrize("error", [Conflict, Stale])
async def test_a_lost_race_for_a_lock_is_looked_at_again_but_not_for_ever(
    error: type[FlowgridError],
) -> None:
    tries = []

    async def lose() -> None:
        tries.append(1)
        raise error("lost")

    with pytest.raises(error, match="lost"):
        await looking_again(lose)
    assert len(tries) == 5


async def test_whoever_finds_a_lock_taken_does_not_look_again() -> None:
    tries = []

    async def find_it_taken() -> None:
        tries.append(1)
        raise Locked("another's", "job-1")

    with pytest.raises(Locked) as refused:
        await looking_again(find_it_taken)
    assert (len(tries), refused.value.job_id) == (1, "job-1")


async def test_what_wins_the_race_at_the_last_look_is_done() -> None:
    lost = iter(range(4))

    async def lose_four_times() -> str:
        if next(lost, None) is not None:
            raise Stale("lost")
        return "done"

    assert await looking_again(lose_four_times) == "done"


async def test_a_job_that_has_its_lock_already_takes_it_again_without_a_write(world: BackupWorld) -> None:
    for _ in range(2):
        change = world.tenant.change()
        await take(change, world.tenant.store, "some", "job-1", "taken")
        if not change.empty:
            await change.commit(None)
    assert change.empty


async def test_one_backup_is_made_at_a_time_and_the_others_wait_their_turn(world: BackupWorld) -> None:
    first = await world.service.create(world.tenant, NewBackup())
    second = await world.service.create(world.tenant, NewBackup())
    running = await world.job(first.job_id)
    assert not isinstance(await world.export.run_backup(world.tenant, running), Wait)
    assert isinstance(await world.export.run_backup(world.tenant, await world.job(second.job_id)), Wait)
    await world.run(first.job_id)
    world.clock.advance(minutes=1)
    assert (await world.run(second.job_id)).status == "succeeded"


async def test_the_plan_says_how_many_backups_on_demand_are_kept(tmp_path: Path) -> None:
    world = await BackupWorld.over(tmp_path, settings={"limits": {"max_backups": 1}})
    kept = await world.back_up()
    with pytest.raises(QuotaReached):
        await world.service.create(world.tenant, NewBackup())
    await world.daily.queue("2026-11-24")
    await world.service.delete(world.tenant, kept.id, None)
    assert world.files(kept) == []
    await world.service.create(world.tenant, NewBackup())
    await world.close()


async def test_a_backup_that_is_made_restored_or_not_the_tenants_own_is_not_deleted(world: BackupWorld) -> None:
    running = await world.service.create(world.tenant, NewBackup())
    with pytest.raises(Conflict, match="being made"):
        await world.service.delete(world.tenant, running.id, None)
    await world.run(running.job_id)
    id = await world.start_restore(running)
    with pytest.raises(Conflict, match="being restored"):
        await world.service.delete(world.tenant, running.id, None)
    await world.run(id)
    safety = str((await world.job(id)).result and (await world.job(id)).result["pre_restore_backup_id"])  # type: ignore[index]
    with pytest.raises(Conflict, match="pre_restore"):
        await world.service.delete(world.tenant, safety, None)


async def test_a_kept_backup_that_retention_takes_makes_room(world: BackupWorld) -> None:
    await world.back_up()
    newest = await world.back_up()
    world.clock.advance(days=31)
    await world.retention.prune(world.tenant)
    assert (await world.counter("backups"), newest.status) == (1, "succeeded")


# Clocks


async def test_what_is_made_again_goes_on_from_its_deletion_whatever_the_clock_says(world: BackupWorld) -> None:
    element = await world.make(AnElement, "first")
    await world.delete(element)
    behind = world.behind(minutes=10).tenant
    buried = (await behind.buried(Element.KIND, [element.id]))[element.id]
    change = behind.change(buried)
    again = await change.commit(change.create(AnElement, {"name": "second"}, id=element.id, buried=buried))
    assert (again.revision, again.created_at > buried.value.updated_at) == (3, True)
    backup = await world.back_up()
    assert (await world.content(backup))["element", element.id]["name"] == "second"


async def test_a_change_is_stamped_no_earlier_than_what_its_process_has_seen(world: BackupWorld) -> None:
    seen = await world.make(AnElement, "seen")
    behind = world.behind(minutes=10)
    await load(behind.tenant, AnElement, seen.id)
    assert behind.tenant.change().at >= seen.updated_at


async def test_a_change_is_stamped_no_earlier_than_what_a_scan_of_its_process_has_seen(world: BackupWorld) -> None:
    seen = await world.make(AnElement, "seen")
    behind = world.behind(minutes=10)
    assert [stored.body["id"] async for page in behind.tenant.store.scan([Element.KIND]) for stored in page] == [
        seen.id
    ]
    assert behind.tenant.change().at >= seen.updated_at


async def test_a_clock_that_is_far_ahead_is_followed_by_nobody(world: BackupWorld) -> None:
    seen = await world.make(AnElement, "seen")
    behind = world.behind(minutes=20)
    await load(behind.tenant, AnElement, seen.id)
    assert behind.tenant.change().at == rfc3339(world.clock.now() - timedelta(minutes=20))


async def test_once_a_point_in_time_is_being_restored_nothing_is_stamped_up_to_it_though_who_asked_is_ahead(
    world: BackupWorld,
) -> None:
    element = await world.make(AnElement, "before")
    await world.back_up()
    ahead = world.behind(minutes=-5)
    now = rfc3339(world.clock.now() + timedelta(minutes=5))
    id = await ahead.start_restore(as_of=now)
    await run_until(world, id, "keep")
    assert (await world.edit(element, name="since")).updated_at > now


async def test_what_was_acknowledged_just_before_the_fence_is_there_at_the_moment_that_the_restore_names(
    world: BackupWorld,
) -> None:
    backup = await world.back_up()
    ahead = world.behind(minutes=-5)
    made: list[Thing] = []

    async def just_before(operations: Sequence[Operation]) -> None:
        if any(isinstance(one, Create) and one.kind is FENCE for one in operations) and not made:
            made.append(await ahead.make(AnElement, "just before"))

    world.directory.stores[TENANT_ID].before = just_before
    first = await world.restore(backup)
    assert first.result is not None and await world.state() == {}
    world.clock.advance(minutes=10)
    assert (await world.restore(as_of=first.result["replaced_at"])).status == "succeeded"
    assert [id for _, id in await world.state()] == [one.id for one in made]


async def test_a_fence_that_was_closed_without_its_entry_gets_it_when_its_holder_comes_again(
    world: BackupWorld,
) -> None:
    class Gone(Exception):
        pass

    async def not_noted(operations: Sequence[Operation]) -> None:
        if any(isinstance(one, Create) and one.body.get("action") == "fence.closed" for one in operations):
            raise Gone

    store = world.directory.stores[TENANT_ID]
    store.before = not_noted
    with pytest.raises(Gone):
        await close(world.tenant, "one")
    store.before = None
    with pytest.raises(Fenced):
        await world.make(AnElement, "not yet")
    closed = await close(world.tenant, "one")
    entries = (await world.tenant.store.query(AUDIT)).items
    assert [one.body["created_at"] for one in entries if one.body["action"] == "fence.closed"] == [closed]


async def test_a_backup_whose_job_gives_up_has_failed_and_makes_room(world: BackupWorld) -> None:
    backup = await world.service.create(world.tenant, NewBackup())
    job = await world.job(backup.job_id)
    for _ in range(2):
        await world.export.give_up(world.tenant, job)
    assert (await world.service.get(world.tenant, backup.id)).status == "failed"
    await world.service.delete(world.tenant, backup.id, None)
    assert await world.counter("backups") == 0


async def test_the_safety_backup_of_a_restore_that_gives_up_has_failed_too(world: BackupWorld) -> None:
    id = await world.start_restore(await world.back_up())
    await run_until(world, id, "keep")
    safety = derived_id("pre_restore", id)
    change = world.tenant.change()
    await change.commit(Backup.begin(change, world.tenant, "pre_restore", id=safety, job_id=id))
    await world.restoring.give_up(world.tenant, await world.job(id))
    assert (await world.service.get(world.tenant, safety)).status == "failed"


async def test_what_was_stamped_by_a_clock_far_ahead_can_be_named_as_a_point_in_time(world: BackupWorld) -> None:
    element = await world.make(AnElement, "kept")
    await world.back_up()
    ahead = world.behind(days=-7)
    await rotate(ahead.tenant.store, "ahead", ahead.tenant.services.clock.now())
    with pytest.raises(Overtaken):
        await world.make(AnAgent, "before it is known")
    agent = await world.make(AnAgent, "stamped after it")
    await world.delete(agent)
    assert agent.created_at > rfc3339(world.clock.now() + timedelta(days=6))
    job = await world.restore(as_of=agent.created_at)
    assert job.status == "succeeded", job.error
    assert (await load(world.tenant, AnAgent, agent.id)).value.name == "stamped after it"
    assert (await load(world.tenant, AnElement, element.id)).value == element

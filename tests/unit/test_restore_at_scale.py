"""Restores of more than one page, slice or batch of anything, at the edge of what a plan allows, of many backups."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import zstandard

from functions.backups import archive, export, index, retention, snapshot_writer
from functions.backups.models import Backup, NewRestore, same_content
from functions.backups.snapshot import Snapshot
from functions.backups.snapshot_writer import SnapshotWriter, recount
from functions.catalog.models import Element, Relationship
from functions.kinds import KINDS
from shared.clock import rfc3339
from shared.database.port import Create, Increment, Operation
from shared.errors import Conflict, NotFound, QuotaReached, Unavailable
from shared.jobs.jobs import Job
from shared.tenancy.fence import PERMIT
from shared.work.change import COUNTER
from shared.work.fencing import LOCK, close
from shared.work.session import TRIES_AT_A_RACE
from tests.unit.backup_world import AnAgent, AnElement, ARelationship, AUser, BackupWorld, State, Thing
from tests.unit.world import TENANT_ID

RESTORED = ("user", "element", "relationship", "agent", "model")
MANY = 95  # more than two pages of a restore


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BackupWorld]:
    own = await BackupWorld.over(tmp_path)
    yield own
    await own.close()


def same(one: State, other: State) -> bool:
    return set(one) == set(other) and all(same_content(one[key], other[key]) for key in one)


async def made(world: BackupWorld, many: int = MANY) -> list[Thing]:
    """So many of each kind but users."""
    elements = [await world.make(AnElement, f"element {number}") for number in range(many)]
    ends = [{"source_id": one.id, "target_id": elements[0].id} for one in elements]
    relationships = [await world.make(ARelationship, "relationship", **one) for one in ends]
    return [*elements, *relationships, *[await world.make(AnAgent, f"agent {number}") for number in range(many)]]


async def until(world: BackupWorld, id: str, phase: str) -> None:
    """Slices of a restore, up to the first that is in this phase."""
    while (await world.job(id)).checkpoint.get("phase", "check") != phase:
        await world.jobs.run(TENANT_ID, id)


async def test_a_restore_shows_what_it_does_and_how_much_of_it_is_done(world: BackupWorld) -> None:
    things = len(await made(world))
    backup = await world.back_up()
    id = await world.start_restore(backup)
    seen: list[tuple[str | None, int, int | None]] = []
    while (job := await world.job(id)).status != "succeeded":
        progress = (await world.service.get_restore(world.tenant, id)).progress
        assert progress == job.progress
        seen.append((progress.phase, progress.done, progress.total))
        await world.jobs.run(TENANT_ID, id)
    phases = list(dict.fromkeys(phase for phase, _, _ in seen))
    assert phases == [None, "keep", "write", "delete", "finish"]
    written = [(done, total) for phase, done, total in seen if phase == "write"]
    assert written == sorted(written) and written[-1][0] > 0
    assert {total for _, total in written[1:]} == {sum(backup.counts.get(kind, 0) for kind in RESTORED)}
    assert job.progress.done == job.progress.total == things
    kept = [done for phase, done, _ in seen if phase == "keep"]
    assert kept == sorted(kept)


# Second pages


async def test_more_than_two_pages_of_each_kind_go_and_come_back(world: BackupWorld) -> None:
    empty = await world.back_up()
    await made(world)
    full, wanted = await world.back_up(), await world.state()
    gone = await world.restore(empty)
    assert gone.result is not None and gone.result["deleted"] == dict.fromkeys(
        ("agent", "element", "relationship"), MANY
    )
    assert (await world.state(), await world.counter("agents")) == ({}, 0)
    back = await world.restore(full)
    assert back.result is not None and back.result["restored"] == gone.result["deleted"]
    assert (same(await world.state(), wanted), await world.counter("agents")) == (True, MANY)
    assert back.slices > 3


async def test_more_than_two_pages_that_have_changed_are_again_as_they_were(world: BackupWorld) -> None:
    things = await made(world)
    backup, wanted = await world.back_up(), await world.state()
    for thing in things[MANY - 5 :: 3]:
        await world.edit(thing, name="edited since")
    job = await world.restore(backup)
    assert job.result is not None
    assert sum(job.result["restored"].values()) == len(things[MANY - 5 :: 3])
    assert sum(job.result["restored"].values()) + sum(job.result["unchanged"].values()) == 3 * MANY
    assert same(await world.state(), wanted)


async def test_however_many_users_came_since_a_backup_all_of_them_stay(world: BackupWorld) -> None:
    await world.make(AUser, "before", email="before@acme.example")
    backup = await world.back_up()
    for number in range(MANY):
        await world.make(AUser, f"user {number}", email=f"user-{number}@acme.example")
    there = await world.state()
    job = await world.restore(backup)
    assert job.result is not None and job.result["deleted"] == {}
    assert (await world.state(), await world.counter("users")) == (there, MANY + 1)


async def test_more_than_two_pages_of_relationships_at_one_that_goes_go_before_it(
    world: BackupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_writer, "PAGE_ITEMS", snapshot_writer.BATCH_RESOURCES)
    element = await world.make(AnElement, "end")
    empty, wanted = await world.back_up(), await world.state()
    root = await world.make(ARelationship, "root", source_id=element.id, target_id=element.id)
    for end in ("source_id", "target_id"):
        for _ in range(MANY):
            await world.make(
                ARelationship, "nested", **{"source_id": element.id, "target_id": element.id, end: root.id}
            )
    store = world.directory.stores[TENANT_ID]
    id = await world.start_restore(empty)
    while (await world.job(id)).status in ("queued", "running"):
        await world.jobs.run(TENANT_ID, id)
        left = {one.body["id"] async for page in store.scan([Relationship.KIND]) for one in page}
        assert root.id in left or not left
    assert (await world.state(), (await world.job(id)).status) == (wanted, "succeeded")


async def test_a_safety_backup_of_many_slices_is_made_once_and_can_be_restored(
    world: BackupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PART_TEXT_BYTES", 1)
    monkeypatch.setattr(export, "PAGE_ITEMS", 3)
    backup = await world.back_up()
    await made(world, 10)
    before = await world.state()
    id = await world.start_restore(backup)
    await until(world, id, "keep")
    kept = []
    while (job := await world.job(id)).checkpoint["phase"] == "keep":
        await world.jobs.run(TENANT_ID, id)
        kept.append(len(job.checkpoint["export"].get("parts", [])))
    assert len(kept) > 3 and kept == sorted(set(kept))
    job = await world.run(id)
    assert job.result is not None
    safety = await world.service.get(world.tenant, job.result["pre_restore_backup_id"])
    assert safety.parts > 9 and await world.content(safety) == before
    await world.restore(safety)
    assert same(await world.state(), before)


async def test_a_point_in_time_replays_more_than_two_pages_of_the_journal(
    world: BackupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_ITEMS", 3)
    await world.back_up()
    await made(world, 5)
    wanted, instant = await world.state(), rfc3339(world.clock.now())
    world.clock.advance(minutes=1)
    await made(world, 2)
    assert (await world.restore(as_of=instant)).status == "succeeded"
    assert same(await world.state(), wanted)


# At the edge of the plan


async def test_a_tenant_exactly_at_its_quota_is_restored(tmp_path: Path) -> None:
    world = await BackupWorld.over(tmp_path, max_agents=3, max_users=1)
    agents = [await world.make(AnAgent, f"agent {number}") for number in range(3)]
    await world.make(AUser, "Grace", email="grace@acme.example")
    backup, wanted = await world.back_up(), await world.state()
    await world.delete(agents[0])
    await world.make(AnAgent, "in its place")  # so that there are four for a while
    job = await world.restore(backup)
    assert (job.status, job.error) == ("succeeded", None)
    assert (same(await world.state(), wanted), await world.counter("agents")) == (True, 3)
    await world.close()


async def test_more_users_than_the_plan_allows_now_are_refused_in_place_but_no_matter_for_a_copy(
    tmp_path: Path,
) -> None:
    world = await BackupWorld.over(tmp_path, max_users=1)
    for name in ("grace", "alan"):
        await world.make(AUser, name, email=f"{name}@acme.example")
    backup = await world.back_up()
    refused = await world.restore(backup)
    assert (refused.status, "User quota exceeded" in str(refused.error)) == ("failed", True)
    new = {"name": "Acme again", "slug": "acme-again", "admin_email": "grace@elsewhere.example"}
    assert (await world.restore(backup, target="new_tenant", new_tenant=new)).status == "succeeded"
    await world.close()


# Counters


async def counted(world: BackupWorld, races: int) -> dict[str, int]:
    """Recount agents (two of them, but the counter says 7), while somebody else moves the counter `races` times."""
    for name in ("one", "other"):
        await world.make(AnAgent, name)
    store = world.directory.stores[TENANT_ID]
    await store.commit([Increment(COUNTER, "agents", {"value": 5})])
    left = iter(range(races))

    async def moved(operations: Sequence[Operation]) -> None:
        if operations[0].kind is COUNTER and next(left, None) is not None:
            store.before = None
            await store.commit([Increment(COUNTER, "agents", {"value": 1})])
            store.before = moved

    store.before = moved
    return await recount(world.tenant)


@pytest.mark.parametrize("races", [0, 1, TRIES_AT_A_RACE - 1])
async def test_counters_are_exact_although_the_race_for_them_was_lost(world: BackupWorld, races: int) -> None:
    none = dict.fromkeys(("users", "api_keys", "webhooks", "mcp_servers"), 0)
    assert await counted(world, races) == {"agents": 2, **none}
    assert await world.counter("agents") == 2


async def test_a_counter_that_never_stands_still_is_tried_again_later(world: BackupWorld) -> None:
    with pytest.raises(Unavailable, match="agents keeps changing"):
        await counted(world, TRIES_AT_A_RACE)


async def test_the_counters_are_exact_after_each_slice_of_a_restore(world: BackupWorld) -> None:
    """So they are when it fails half-way."""
    empty = await world.back_up()
    await made(world, 50)
    full = await world.back_up()
    for backup in (empty, full):
        id = await world.start_restore(backup)
        while (await world.job(id)).status in ("queued", "running"):
            await world.jobs.run(TENANT_ID, id)
            assert await world.counter("agents") == sum(kind == "agent" for kind, _ in await world.state())


async def test_a_counter_that_is_right_is_not_written(world: BackupWorld) -> None:
    await world.make(AnAgent, "one")
    store = world.directory.stores[TENANT_ID]
    before = len(store.batches)
    await recount(world.tenant)
    assert len(store.batches) == before


# Damage


async def damaged(world: BackupWorld, backup: Backup) -> str:
    """Damage it; answers how the error of its resource begins when that has been noticed."""
    for file in world.files(backup):
        if file.name.startswith("part"):
            file.write_bytes(b"damaged")
    return "damaged: part-0001"


async def test_a_point_in_time_marks_each_damaged_backup_and_falls_back_to_the_last_good_one(
    world: BackupWorld,
) -> None:
    element = await world.make(AnElement, "as it was")
    good = await world.back_up()
    bad = []
    for _ in range(2):
        await world.edit(element, name=f"edited since {world.clock.now()}")
        bad.append(await world.back_up())
    wanted, instant = await world.state(), rfc3339(world.clock.now())
    world.clock.advance(minutes=1)
    await world.edit(element, name="a mistake")
    marks = [await damaged(world, one) for one in bad]
    job = await world.restore(as_of=instant)
    assert (job.status, job.result and job.result["backup_id"]) == ("succeeded", good.id)
    assert same(await world.state(), wanted)
    for backup, mark in zip(bad, marks, strict=True):
        assert str((await world.service.get(world.tenant, backup.id)).error).startswith(mark)
    assert (await world.job(await world.start_restore(as_of=instant))).input["backup_id"] == good.id


async def test_a_point_in_time_whose_backups_are_all_damaged_fails_and_has_touched_nothing(world: BackupWorld) -> None:
    await world.make(AnElement, "as it was")
    backup = await world.back_up()
    mark = await damaged(world, backup)
    await world.make(AnElement, "new since")
    before = await world.state()
    job = await world.restore(as_of=rfc3339(world.clock.now()))
    assert (job.status, job.checkpoint) == ("failed", {})
    assert str((await world.service.get(world.tenant, backup.id)).error).startswith(mark)
    assert await world.state() == before


@pytest.mark.parametrize("by_time", [False, True])
async def test_damage_found_once_it_writes_fails_the_restore_marks_the_backup_and_opens_the_fence(
    world: BackupWorld, by_time: bool
) -> None:
    await made(world, 1)
    await world.back_up()
    await made(world, 1)
    backup = await world.back_up()
    await made(world, 60)
    asked: dict[str, str] = {"as_of": rfc3339(world.clock.now())} if by_time else {"backup_id": backup.id}
    if by_time:
        world.clock.advance(minutes=1)
        await made(world, 60)
    id = (await world.service.restore(world.tenant, NewRestore(target="in_place", confirm="acme", **asked))).id  # type: ignore[arg-type]
    await until(world, id, "delete")
    await close(world.tenant, id)  # is closed already, for this job
    mark = await damaged(world, backup)
    job = await world.run(id)
    assert (job.status, "part-0001" in str(job.error)) == ("failed", True)
    assert str((await world.service.get(world.tenant, backup.id)).error).startswith(mark)
    assert len((await world.tenant.store.query(PERMIT)).items) == 1
    world.clock.advance(minutes=1)
    await world.make(AnElement, "goes on")


async def test_the_backup_that_a_point_in_time_fell_back_to_is_in_use(world: BackupWorld) -> None:
    await world.make(AnElement, "as it was")
    good, bad = await world.back_up(), await world.back_up()
    await damaged(world, bad)
    id = await world.start_restore(as_of=rfc3339(world.clock.now()))
    await until(world, id, "keep")
    with pytest.raises(Conflict, match="being restored"):
        await world.service.delete(world.tenant, good.id, None)
    assert await index.being_restored(world.tenant) == {good.id, bad.id}
    assert (await world.run(id)).status == "succeeded"


# Many backups


async def copies_of(world: BackupWorld, backup: Backup, many: int) -> None:
    """So many more backups, which are older the higher their ids are."""
    body = backup.model_dump(mode="json")
    for number in range(many):
        at = f"2026-11-{20 - number // 100:02}T00:00:{number % 60:02}.{99 - number % 100:06}Z"
        id = f"f0000000-0000-7000-8000-{number:012x}"
        again = {**body, "id": id, "as_of": at, "created_at": at, "updated_at": at}
        await world.tenant.store.commit([Create(Backup.KIND, id, again)])


async def test_the_last_good_of_more_than_two_hundred_backups_is_found_on_whichever_page_it_is(
    world: BackupWorld,
) -> None:
    backup = await world.back_up()  # its id is the smallest: on the first page
    await copies_of(world, backup, 450)
    good = await index.last_good(world.tenant, "9999")
    assert good is not None and good.id == backup.id
    await world.rewrite(backup, error="damaged")
    newest = max(
        [one.body async for page in world.tenant.store.scan([Backup.KIND]) for one in page if not one.body["error"]],
        key=lambda body: str(body["as_of"]),
    )
    found = await index.last_good(world.tenant, "9999")
    assert found is not None and found.id == newest["id"]
    at_the_edge = await index.last_good(world.tenant, found.as_of or "")
    assert at_the_edge is not None and at_the_edge.id == newest["id"]
    pages = [page async for page in world.tenant.store.scan([Backup.KIND])]
    for last in (page[-1].body["id"] for page in pages):
        await world.rewrite(await world.service.get(world.tenant, last), as_of=f"9998-{last}", error=None)
        found = await index.last_good(world.tenant, f"9998-{last}")
        assert found is not None and found.id == last


async def test_retention_sees_more_than_two_hundred_backups(world: BackupWorld) -> None:
    backup = await world.back_up()
    await copies_of(world, backup, 3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(retention, "PAGE_ITEMS", 1)
        world.clock.advance(days=31)
        await world.tenant.store.commit([Increment(COUNTER, "backups", {"value": 3})])
        assert await world.retention.prune(world.tenant) == 3
    assert [one.body["id"] for one in (await world.tenant.store.query(Backup.KIND)).items] == [backup.id]


async def test_a_backup_in_use_is_known_behind_two_hundred_restores(
    world: BackupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "PAGE_ITEMS", 1)
    first, second = await world.back_up(), await world.back_up()
    for number, backup in enumerate((first, first, second)):
        new = {"name": "Again", "slug": f"again-{number}", "admin_email": "grace@elsewhere.example"}
        await world.start_restore(backup, target="new_tenant", new_tenant=new)
    assert await index.being_restored(world.tenant) == {first.id, second.id}


# A restore and a deletion of its backup


async def test_a_backup_that_is_deleted_while_a_restore_of_it_begins_is_not_restored(world: BackupWorld) -> None:
    backup = await world.back_up()
    store = world.directory.stores[TENANT_ID]

    async def deleted(operations: Sequence[Operation]) -> None:
        if any(operation.kind is Job.KIND for operation in operations):
            store.before = None
            await world.service.delete(world.tenant, backup.id, None)

    store.before = deleted
    with pytest.raises(NotFound):
        await world.start_restore(backup)
    jobs = (await store.query(Job.KIND)).items
    assert [one.body["type"] for one in jobs] == ["backup"]
    assert await store.get(LOCK, "restore") is None


async def test_a_restore_that_begins_while_its_backup_is_deleted_keeps_it(world: BackupWorld) -> None:
    backup = await world.back_up()
    store, begun = world.directory.stores[TENANT_ID], []

    async def restore_first(operations: Sequence[Operation]) -> None:
        if any(operation.kind is Backup.KIND for operation in operations):
            store.before = None
            begun.append(await world.start_restore(backup))

    store.before = restore_first
    with pytest.raises(Conflict, match="changing this backup"):
        await world.service.delete(world.tenant, backup.id, None)
    assert (await world.run(begun[0])).status == "succeeded"


async def test_a_copy_whose_backup_is_deleted_meanwhile_leaves_its_slug_free(world: BackupWorld) -> None:
    backup = await world.back_up()
    store = world.directory.stores[TENANT_ID]

    async def deleted(operations: Sequence[Operation]) -> None:
        if any(operation.kind is Job.KIND for operation in operations):
            store.before = None
            await world.service.delete(world.tenant, backup.id, None)

    store.before = deleted
    new = {"name": "Again", "slug": "again", "admin_email": "grace@elsewhere.example"}
    asked = NewRestore.model_validate({"backup_id": backup.id, "target": "new_tenant", "new_tenant": new})
    with pytest.raises(NotFound):
        await world.service.restore(world.tenant, asked)
    await world.core.names.reserve("slug", "again", holder="somebody/else")
    assert await world.counter("copies") == 0


async def test_a_plan_without_room_is_told_before_anything_begins(tmp_path: Path) -> None:
    world = await BackupWorld.over(tmp_path, settings={"limits": {"max_backups": 1}})
    await world.back_up()
    with pytest.raises(QuotaReached) as refused:
        await world.back_up()
    assert (refused.value.members["limit"], refused.value.members["current"]) == (1, 1)
    assert len((await world.tenant.store.query(Job.KIND)).items) == 1
    await world.close()


# Races


async def race(world: BackupWorld, races: int) -> tuple[SnapshotWriter, Thing, Snapshot]:
    """One element to put back, another to delete, while somebody else changes that `races` times just before."""
    wanted = await world.make(AnElement, "as it was")
    snapshot = Snapshot(KINDS)
    await snapshot.apply([{"op": "put", "kind": "element", "id": wanted.id, "item": wanted.model_dump(mode="json")}])
    wanted, surplus = await world.edit(wanted, name="edited since"), await world.make(AnElement, "new since")
    store, left = world.directory.stores[TENANT_ID], iter(range(races))

    async def first(operations: Sequence[Operation]) -> None:
        if next(left, None) is not None:
            store.before = None
            for thing in (wanted, surplus):
                await world.edit(thing, name=f"meanwhile {world.clock.now()}")
            store.before = first

    store.before = first
    return SnapshotWriter(world.tenant, snapshot, spared_user=None), wanted, snapshot


@pytest.mark.parametrize("races", [1, TRIES_AT_A_RACE - 1])
async def test_what_changes_just_before_it_is_put_back_or_deleted_is_looked_at_again(
    world: BackupWorld, races: int
) -> None:
    writer, wanted, snapshot = await race(world, races)
    outcome = await writer.write_next(Element.KIND, "")
    assert (outcome.changed, outcome.unchanged) == (1, 0)
    assert (await world.state())["element", wanted.id]["name"] == "as it was"
    assert (await writer.delete_next(Element.KIND, "")).changed == 1
    assert list(await world.state()) == [("element", wanted.id)]
    with snapshot:
        assert snapshot.count(Element.KIND) == 1


async def test_what_never_stands_still_is_put_back_later(world: BackupWorld) -> None:
    writer, _, snapshot = await race(world, 2 * TRIES_AT_A_RACE)
    with snapshot:
        for step in (writer.write_next, writer.delete_next):
            with pytest.raises(Unavailable, match="keep changing"):
                await step(Element.KIND, "")


async def test_nothing_that_a_damaged_backup_says_counts_once_a_restore_falls_back(world: BackupWorld) -> None:
    element = await world.make(AnElement, "as it was")
    await world.back_up()
    backup = await world.back_up()
    part = next(path for path in world.files(backup) if path.name.startswith("part-0001"))
    lie = {**element.model_dump(mode="json"), "id": "lie", "source_id": "nowhere", "target_id": "nowhere"}
    line = {"op": "put", "kind": "relationship", "id": "lie", "item": lie}
    part.write_bytes(zstandard.compress(json.dumps(line).encode() + b"\n"))
    assert (await world.restore(as_of=rfc3339(world.clock.now()))).status == "succeeded"
    assert list(await world.state()) == [("element", element.id)]

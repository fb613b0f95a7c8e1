"""A backup is one moment, complete or not there at all, and says so when it is damaged."""

import asyncio
import gc
import json
import random
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from functions.backups import archive, export
from functions.backups.models import Backup, NewBackup
from functions.backups.snapshot import Snapshot
from functions.catalog.models import Element
from functions.kinds import KINDS
from functions.usage.blocks import BLOCK
from shared.database.port import OLDEST_FIRST, Create, Order, Page, Where
from shared.errors import Conflict, NotFound
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT, Overtaken
from tests.unit.backup_world import AnAgent, AnElement, ARelationship, BackupWorld, BusyStore, Killed, Thing
from tests.unit.world import FakeClock


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BackupWorld]:
    own = await BackupWorld.over(tmp_path)
    yield own
    await own.close()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of three items, and a part for each, so that a small tenant has many of both."""
    monkeypatch.setattr(archive, "PART_TEXT_BYTES", 1)
    monkeypatch.setattr(export, "PAGE_ITEMS", 3)


async def test_a_backup_holds_every_resource_field_by_field(world: BackupWorld) -> None:
    await world.furnish()
    backup = await world.back_up()
    assert await world.content(backup) == await world.state()


async def test_a_backup_says_what_is_in_it(world: BackupWorld) -> None:
    await world.furnish(8)
    backup = await world.back_up()
    counts = {kind: backup.counts[kind] for kind in ("user", "element", "relationship", "agent")}
    assert counts == {"user": 1, "element": 8, "relationship": 7, "agent": 8}
    assert (backup.status, backup.sha256 is not None, backup.bytes > 0, backup.parts) == ("succeeded", True, True, 2)


async def test_the_history_is_in_it_too(world: BackupWorld) -> None:
    await world.furnish(2)
    await world.tenant.store.commit([Create(BLOCK, "block-1", {"created_at": "2026-11-24T00:00:00Z"})])
    backup = await world.back_up()
    assert backup.counts["usage_block"] == 1
    assert backup.counts["audit"] >= 8


async def test_an_empty_tenant_has_a_backup(world: BackupWorld) -> None:
    backup = await world.back_up()
    assert (backup.status, await world.content(backup)) == ("succeeded", {})


@pytest.mark.usefixtures("small_parts")
async def test_a_backup_of_many_parts_takes_several_slices(world: BackupWorld) -> None:
    await world.furnish()
    backup = await world.back_up()
    assert backup.parts > 9
    assert (await world.job(backup.job_id)).slices > 2
    assert await world.content(backup) == await world.state()


async def test_what_is_deleted_while_it_is_being_made_is_not_in_it(world: BackupWorld) -> None:
    things = await world.furnish(2)
    todo = [world.delete(things[0]), world.edit(things[1], name="late")]

    async def meanwhile() -> None:
        if todo:
            await todo.pop(0)

    backup = await world.back_up_through(BusyStore(world.directory.stores[world.tenant.id], meanwhile))
    assert await world.content(backup) == await world.state()


class Writers:
    """Random writes, some by a process whose clock is ahead, some that commit long after they have begun."""

    def __init__(self, world: BackupWorld, dice: random.Random) -> None:
        self._world = world
        self._dice = dice
        self._things: list[Thing] = []
        self._late: list[Callable[[], Awaitable[object]]] = []

    async def some(self) -> None:
        for _ in range(self._dice.randrange(3)):
            with suppress(Overtaken):
                await self._one()
        if self._dice.randrange(4) == 0:
            await self.settle()
        self._world.clock.advance(milliseconds=self._dice.randrange(50))

    async def settle(self) -> None:
        """Changes that were begun before: those that come after the backup's moment are refused."""
        while self._late:
            with suppress(Overtaken):
                await self._late.pop()()

    async def _one(self) -> None:
        world, dice = self._world, self._dice
        ahead = FakeClock(world.clock.now() + timedelta(seconds=dice.choice([0, 0, 0, 40])))
        services = world.tenant.services
        skewed = replace(world, tenant=replace(world.tenant, services=replace(services, clock=ahead)))
        match dice.randrange(5):
            case 0 | 1:
                model = dice.choice([AnElement, AnAgent, ARelationship])
                self._things.append(await skewed.make(model, f"made {dice.random()}"))
            case 2 if self._things:
                await skewed.edit(dice.choice(self._things), name=f"edited {dice.random()}")
            case 3 if self._things:
                await skewed.delete(self._things.pop(dice.randrange(len(self._things))))
            case 4:
                change = world.tenant.change()
                made = change.create(AnElement, {"name": f"late {dice.random()}"})
                self._late.append(lambda: change.commit(made))


@pytest.mark.usefixtures("small_parts")
@profile(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_is_written_meanwhile_a_backup_shows_the_moment_it_names(seed: int) -> None:
    async def story(folder: Path) -> None:
        world = await BackupWorld.over(folder)
        writers = Writers(world, random.Random(seed))
        for _ in range(8):
            await writers.some()
        backup = await world.back_up_through(BusyStore(world.directory.stores[world.tenant.id], writers.some))
        await writers.settle()
        content, expected = await world.content(backup), await world.journal_state(backup.as_of or "")
        await world.close()
        assert content == expected
        assert sum(backup.counts[kind] for kind in ("element", "agent", "relationship")) == len(content)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


@pytest.mark.usefixtures("small_parts")
async def test_a_backup_killed_at_any_write_is_finished_by_a_rerun_and_never_looks_complete(tmp_path: Path) -> None:
    writes = await _killed_at(tmp_path / "whole", None)
    assert writes > 8
    for number in range(1, writes + 1):
        await _killed_at(tmp_path / str(number), number)


async def _killed_at(folder: Path, number: int | None) -> int:
    world = await BackupWorld.over(folder)
    await world.furnish(4)
    before = await world.back_up()
    state = await world.state()
    await world.make(AnAgent, "new since")
    world.blobs.arm(number)
    backup = await world.service.create(world.tenant, NewBackup())
    try:
        await world.run(backup.job_id)
    except Killed:
        assert (await world.service.get(world.tenant, backup.id)).status == "running"
        assert not any(path.name == "manifest.json" for path in world.files(backup))
        assert await world.content(before) == state
    assert (await world.run(backup.job_id)).status == "succeeded"
    complete = await world.service.get(world.tenant, backup.id)
    assert await world.content(complete) == await world.state()
    assert (await world.service.verify(world.tenant, backup.id)).ok
    await world.close()
    return world.blobs.changes


async def test_a_backup_that_cannot_be_made_is_failed_and_says_why(
    world: BackupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = await world.service.create(world.tenant, NewBackup())

    async def refused(*_: Any) -> str:
        raise Conflict("no room")

    monkeypatch.setattr(archive.Archive, "write_manifest", refused)
    assert (await world.run(backup.job_id)).status == "failed"
    failed = await world.service.get(world.tenant, backup.id)
    assert (failed.status, failed.error) == ("failed", "no room")


# Verification


async def test_an_intact_backup_verifies(world: BackupWorld) -> None:
    await world.furnish(3)
    backup = await world.back_up()
    report = await world.service.verify(world.tenant, backup.id)
    assert (report.ok, report.problems, report.parts, report.bytes) == (True, [], backup.parts, backup.bytes)
    assert (await world.service.get(world.tenant, backup.id)).verified_at == report.checked_at


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "one bit at the front": lambda data: flip(data, 0),
    "one bit in the middle": lambda data: flip(data, len(data) // 2),
    "one bit at the end": lambda data: flip(data, len(data) - 1),
    "something appended": lambda data: data + b"x",
    "something else": lambda data: b'{"format": 1}',
}


def damage(path: Path, how: str) -> None:
    data = DAMAGE[how](path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("blob", ["manifest.json", "part-0001.jsonl.zst", "part-0002.jsonl.zst"])
async def test_damage_is_found_and_named(world: BackupWorld, blob: str, how: str) -> None:
    await world.furnish(3)
    backup = await world.back_up()
    damage(next(path for path in world.files(backup) if path.name == blob), how)
    report = await world.service.verify(world.tenant, backup.id)
    assert not report.ok
    assert [problem.partition(":")[0] for problem in report.problems] == [blob]
    assert "damaged" in str((await world.service.get(world.tenant, backup.id)).error)


async def test_every_damaged_part_is_listed(world: BackupWorld) -> None:
    await world.furnish(3)
    backup = await world.back_up()
    for path in world.files(backup):
        if path.suffix == ".zst":
            damage(path, "cut")
    assert len((await world.service.verify(world.tenant, backup.id)).problems) == 2


@pytest.mark.parametrize(
    "line", [b"not json", b"[]", b"{}", b'{"op":"put","kind":"agent","id":"1","item":{"id":"2"}}', b"[" * 200_000]
)
async def test_a_line_that_is_no_operation_is_found_even_when_all_hashes_agree(world: BackupWorld, line: bytes) -> None:
    import hashlib

    import zstandard

    await world.furnish(1)
    backup = await world.back_up()
    part, manifest = (next(p for p in world.files(backup) if p.name.startswith(name)) for name in ("part", "mani"))
    data = zstandard.compress(line + b"\n")
    part.write_bytes(data)
    claims = json.loads(manifest.read_bytes())
    claims["parts"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    await world.rewrite(backup, sha256=replaced(manifest, claims))
    report = await world.service.verify(world.tenant, backup.id)
    assert report.problems == ["part-0001.jsonl.zst: line 1 is no operation in JSON"]


async def test_a_format_from_the_future_is_not_guessed_at(world: BackupWorld) -> None:
    backup = await world.back_up()
    manifest = next(path for path in world.files(backup) if path.name == "manifest.json")
    await world.rewrite(backup, sha256=replaced(manifest, {**json.loads(manifest.read_bytes()), "format": 2}))
    report = await world.service.verify(world.tenant, backup.id)
    assert report.problems == ["manifest.json: format 2, this version reads 1"]


def replaced(manifest: Path, claims: dict[str, Any]) -> str:
    import hashlib

    data = json.dumps(claims).encode()
    manifest.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


async def test_a_backup_that_is_being_made_cannot_be_verified(world: BackupWorld) -> None:
    backup = await world.service.create(world.tenant, NewBackup())
    with pytest.raises(Conflict, match="running"):
        await world.service.verify(world.tenant, backup.id)


async def test_a_job_that_is_no_restore_is_no_restore(world: BackupWorld) -> None:
    backup = await world.back_up()
    with pytest.raises(NotFound):
        await world.service.get_restore(world.tenant, backup.job_id)


# Memory


@pytest.mark.long
async def test_memory_does_not_grow_with_the_tenant(tmp_path: Path) -> None:
    small = await _peak(tmp_path / "small", 2_000)
    large = await _peak(tmp_path / "large", 20_000)
    assert large < 1.5 * small, (small, large)


async def _peak(folder: Path, items: int) -> int:
    world = await BackupWorld.over(folder)
    dice = random.Random(items)
    body = {"created_at": "2026-11-24T08:00:00.000000Z", "name": "x"}
    for start in range(0, items, 50):
        ids = [f"element-{number:06}" for number in range(start, start + 50)]
        await world.tenant.store.commit(
            [Create(Element.KIND, id, {**body, "name": dice.randbytes(500).hex()}) for id in ids]
        )
    gc.collect()
    tracemalloc.start()
    backup: Backup = await world.back_up()
    await world.service.verify(world.tenant, backup.id)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert backup.counts["element"] == items
    await world.close()
    return peak


class LaggingStore(BusyStore):
    """A replica that has not heard of the newest entry when it is asked for it (session consistency allows that)."""

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        if kind is AUDIT and limit == 1:
            return Page([], None)
        return await super().query(kind, where, order=order, limit=limit, after=after)


async def test_of_the_changes_of_one_item_the_last_revision_counts_whatever_order_they_come_in() -> None:
    def line(revision: int) -> dict[str, Any]:
        if revision == 4:
            return {"op": "delete", "kind": "element", "id": "gone", "revision": 4}
        id = "gone" if revision == 3 else "there"
        return {
            "op": "put",
            "kind": "element",
            "id": id,
            "revision": revision,
            "item": {"id": id, "revision": revision},
        }

    for order in permutations([1, 2, 3, 4]):
        with Snapshot(KINDS) as snapshot:
            await snapshot.apply([line(revision) for revision in order])
            assert snapshot.page(Element.KIND, "", 10)[0] == [
                {"legacy_id": None, "model_id": None, "id": "there", "revision": 2}
            ]


async def test_what_the_scan_has_seen_of_changes_stamped_after_the_end_is_taken_back(world: BackupWorld) -> None:
    kept, gone = await world.make(AnElement, "kept"), await world.make(AnElement, "gone since")
    ahead = world.behind(minutes=-20)  # further than anybody follows
    await ahead.make(AnAgent, "made since")
    await ahead.edit(kept, name="edited since")
    await ahead.delete(gone)
    store = world.directory.stores[world.tenant.id]
    backup = await world.back_up_through(LaggingStore(store, nothing))
    content = await world.content(backup)
    assert content == await world.journal_state(backup.as_of or "")
    assert {body["name"] for body in content.values()} == {"kept", "gone since"}


async def nothing() -> None:
    return None

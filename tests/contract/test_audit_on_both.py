"""The audit trail on both databases: whatever is done to it behind Flowgrid's back is found, and named."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from functions.audit import sealing, verifying
from functions.audit.chain import ANCHOR, ID, Chain, Found
from functions.audit.sealing import LOOKED_BACK, SETTLED
from functions.audit.segments import Segments
from shared.clock import SKEW, rfc3339
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Database, Delete
from shared.database.sqlite import SqliteDatabase
from shared.errors import Unavailable
from shared.tenancy.fence import AUDIT
from shared.work.session import TenantSession
from tests.contract.audit_world import Killed, Trail
from tests.contract.database import OTHER, TENANT
from tests.doubles.clock import FakeClock

NOTHING: set[object] = set()
SETTLED_SECONDS = SETTLED.total_seconds() + 1


@pytest.fixture(params=["sqlite", "cosmos"])
def database(
    request: pytest.FixtureRequest, sqlite_database: SqliteDatabase, cosmos_database_of_double: CosmosDatabase
) -> Database:
    return sqlite_database if request.param == "sqlite" else cosmos_database_of_double


@pytest.fixture
async def trail(database: Database, tmp_path: Path, clock: FakeClock) -> Trail:
    made = Trail(database, tmp_path, clock)
    await made.begin()
    return made


async def test_an_untouched_trail_is_found_whole_slice_by_slice(trail: Trail) -> None:
    ids = await trail.sealed(12) + await trail.sealed(3)
    tail = await trail.write(2)
    parts = await trail.verify()
    assert [part.ok for part in parts] == [True] * len(parts) and len(parts) > 1
    assert sum(part.entries for part in parts) == len(ids)
    assert [part.unsealed is None for part in parts] == [True] * (len(parts) - 1) + [False]
    unsealed = parts[-1].unsealed
    assert unsealed is not None
    assert (unsealed.count, unsealed.since) == (2, (await trail.body(tail[0]))["created_at"])
    assert parts[-1].signed_from == (await trail.body(ids[0]))["created_at"]
    assert await trail.chained() == ids


async def test_each_tenant_has_an_anchor_of_its_own(database: Database) -> None:
    for tenant in (TENANT, OTHER):
        await database.platform.put(Create(ANCHOR, ID, {"created_at": "", "of": tenant}), tenant)
    found = [await database.platform.latest(ANCHOR, tenant, ID) for tenant in (TENANT, OTHER)]
    assert [None if one is None else one.body["of"] for one in found] == [TENANT, OTHER]


async def test_a_changed_entry_is_found(trail: Trail) -> None:
    ids = await trail.sealed(12)
    await trail.forge(ids[7], new_value={"budget": 1_000_000})
    assert await trail.findings() == {("changed", ids[7])}


async def test_a_missing_entry_is_found(trail: Trail) -> None:
    ids = await trail.sealed(12)
    await trail.raw.commit([Delete(AUDIT, ids[4])])
    assert await trail.findings() == {("missing", ids[4])}


@pytest.mark.parametrize("signature", ["none", "another's"])
async def test_an_inserted_entry_is_found(trail: Trail, signature: str) -> None:
    ids = await trail.sealed(12)
    body = {**await trail.body(ids[5]), "user_id": "grace"}
    if signature == "none":
        del body["mac"], body["key_id"]
    await trail.raw.commit([Create(AUDIT, "0190c2a8-7e10-7abc-8def-0000000000ff", body)])
    assert await trail.findings() == {("inserted", "0190c2a8-7e10-7abc-8def-0000000000ff")}


async def test_reordered_entries_are_found(trail: Trail) -> None:
    ids = await trail.sealed(12)
    one, other = (await trail.body(ids[2]))["created_at"], (await trail.body(ids[9]))["created_at"]
    await trail.forge(ids[2], created_at=other)
    await trail.forge(ids[9], created_at=one)
    found = await trail.findings()
    assert {("reordered", ids[2]), ("reordered", ids[9])} <= found
    assert {one[1] for one in found} == {ids[2], ids[9]}


async def test_an_entry_whose_signature_is_stripped_is_found_sealed_or_not(trail: Trail) -> None:
    ids = await trail.sealed(6)
    tail = await trail.write(2)
    stripped = {name: None for name in ("mac", "key_id")}
    await trail.forge(ids[3], **stripped)
    for id in tail:
        body = {name: value for name, value in (await trail.body(id)).items() if name not in stripped}
        await trail.raw.commit([Delete(AUDIT, id)])
        await trail.raw.commit([Create(AUDIT, id, body)])
    assert await trail.findings() == {("changed", ids[3]), ("unsigned", tail[0]), ("unsigned", tail[1])}


async def test_what_was_forged_before_it_was_sealed_is_found(trail: Trail) -> None:
    await trail.sealed(3)
    forged = (await trail.write(1))[0]
    await trail.forge(forged, user_id="grace")
    await trail.sealed(3)
    assert await trail.findings() == {("forged", forged)}


async def test_a_cut_tail_is_found_entry_by_entry(trail: Trail) -> None:
    ids = await trail.sealed(9)
    await trail.raw.commit([Delete(AUDIT, id) for id in ids[-4:]])
    assert await trail.findings() == {("missing", id) for id in ids[-4:]}


async def test_cut_with_its_segments_and_its_head_it_is_found_by_the_anchor(trail: Trail) -> None:
    await trail.sealed(5)
    head = await trail.head()
    ids = await trail.sealed(10)
    await trail.raw.commit([Delete(AUDIT, id) for id in ids])
    for number in (2, 3):
        await trail.drop_blob(number)
    await trail.set_head(head)
    assert await trail.findings() == {("segment_missing", 2), ("segment_missing", 3), ("head", 3)}


async def test_heads_that_are_set_back_together_are_found_by_the_segments(trail: Trail) -> None:
    await trail.sealed(5)
    head, anchor = await trail.head(), await trail.anchor()
    await trail.sealed(10)
    await trail.set_head(head)
    await trail.set_anchor(anchor)
    assert ("head", 3) in await trail.findings()
    await trail.sealed(1)
    assert await trail.findings() == {("head", 1)}


async def test_heads_that_are_both_gone_are_found_by_the_segments(trail: Trail) -> None:
    ids = await trail.sealed(15)
    await trail.set_head(None)
    await trail.set_anchor(None)
    assert await trail.findings() == {("head", 3)}
    ids += await trail.sealed(1)
    assert await trail.chained() == ids
    assert {kind for kind, _ in await trail.findings()} == {"head"}


@pytest.mark.parametrize("place", ["head", "anchor"])
@pytest.mark.parametrize("deed", ["forged", "gone"])
async def test_a_head_that_is_tampered_with_is_found_and_stays_on_record(trail: Trail, place: str, deed: str) -> None:
    await trail.sealed(5)
    await trail.sealed(5)
    body = {**(await trail.head()), "total": 3} if deed == "forged" else None
    await (trail.set_head(body) if place == "head" else trail.set_anchor(body))
    assert await trail.findings() == {("head", 2)}
    ids = await trail.sealed(2)
    parts = await trail.verify()
    assert {(one.kind, one.segment) for part in parts for one in part.findings} == {("head", 2)}
    assert (await trail.chained())[-2:] == ids


async def test_a_changed_segment_is_found(trail: Trail) -> None:
    await trail.sealed(12)
    head, *lines, end = await trail.lines(2)
    await trail.rewrite(2, [head, lines[1], lines[0], *lines[2:], end])
    assert await trail.findings() == {("segment_changed", 2)}


async def test_segments_in_each_others_place_are_found(trail: Trail) -> None:
    await trail.sealed(12)
    first, second = await trail.blob(1), await trail.blob(2)
    await trail.put_blob(1, second)
    await trail.put_blob(2, first)
    assert await trail.findings() == {("segment_changed", 1), ("segment_changed", 2)}


async def test_a_missing_segment_is_found_and_the_others_are_compared(trail: Trail) -> None:
    ids = await trail.sealed(15)
    await trail.drop_blob(2)
    await trail.forge(ids[0], user_id="grace")
    await trail.forge(ids[14], user_id="grace")
    assert await trail.findings() == {("segment_missing", 2), ("changed", ids[0]), ("changed", ids[14])}


async def test_a_part_of_the_trail_is_verified_alone(trail: Trail) -> None:
    ids = await trail.sealed(15)
    for id in (ids[1], ids[7], ids[13]):
        await trail.forge(id, user_id="grace")
    since, until = (await trail.body(ids[5]))["created_at"], (await trail.body(ids[9]))["created_at"]
    assert await trail.findings(since=since, until=until) == {("changed", ids[7])}


async def test_what_was_there_before_signatures_is_sealed_as_it_is(trail: Trail) -> None:
    old = await trail.write(7, signed=False)
    new = await trail.sealed(3)
    parts = await trail.verify()
    assert [part.ok for part in parts] == [True] * len(parts)
    signed_from = parts[0].signed_from
    assert signed_from is not None and signed_from > (await trail.body(old[-1]))["created_at"]
    assert await trail.chained() == [*old, *new]
    await trail.forge(old[2], user_id="grace")
    late = await trail.write(1, signed=False)
    assert await trail.findings() == {("changed", old[2]), ("unsigned", late[0])}


async def test_entries_of_a_clock_that_is_behind_are_in_the_next_segment_once(trail: Trail) -> None:
    first = await trail.sealed(4)
    late = await trail.write(2, ago=SKEW + SETTLED)
    then = await trail.sealed(3)
    assert await trail.chained() == [*first, *late, *then]
    assert await trail.findings() == NOTHING
    assert sum(part.late for part in await trail.verify()) == 0
    await trail.forge(late[0], user_id="grace")
    assert await trail.findings() == {("changed", late[0])}


async def test_what_comes_too_late_for_any_segment_is_told_as_such(trail: Trail) -> None:
    await trail.sealed(3)
    trail.clock.forward(seconds=3 * LOOKED_BACK.total_seconds())
    await trail.sealed(3)
    await trail.write(1, ago=2.5 * LOOKED_BACK)
    await trail.sealed(1)
    parts = await trail.verify()
    assert (sum(part.late for part in parts), [part.ok for part in parts]) == (1, [True] * len(parts))


async def test_two_sealers_at_once_make_one_chain_with_each_entry_once(trail: Trail) -> None:
    ids = await trail.write(23)
    trail.clock.forward(seconds=SETTLED_SECONDS)
    done = await asyncio.gather(
        trail.sealer.seal(trail.session), trail.other.seal(trail.session), return_exceptions=True
    )
    assert [one for one in done if isinstance(one, BaseException) and not isinstance(one, Unavailable)] == []
    await trail.sealer.seal(trail.session)
    assert await trail.chained() == ids
    assert await trail.findings() == NOTHING


async def test_entries_of_one_instant_may_be_in_several_segments(trail: Trail) -> None:
    ids = await trail.write(23, apart=0)
    trail.clock.forward(seconds=SETTLED_SECONDS)
    await trail.sealer.seal(trail.session)
    parts = await trail.verify()
    assert [(part.ok, part.late) for part in parts] == [(True, 0)] * len(parts) and len(parts) > 1
    assert (sum(part.entries for part in parts), await trail.chained()) == (23, ids)
    await trail.forge(ids[11], user_id="grace")
    assert await trail.findings() == {("changed", ids[11])}


async def test_many_insertions_are_found_without_looking_at_each(trail: Trail) -> None:
    ids = await trail.sealed(5)
    body = {**await trail.body(ids[2]), "mac": None, "key_id": None}
    for number in range(0, 300, 50):
        await trail.raw.commit([Create(AUDIT, f"forged-{number + at}", body) for at in range(50)])
    found = [one for part in await trail.verify() for one in part.findings]
    assert {one.kind for one in found} == {"inserted"} and {1} <= {one.segment for one in found}
    assert len(found) == 100


async def test_a_pruning_while_it_is_verified_is_no_finding(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    await trail.sealed(10)
    trail.clock.forward(days=41)
    await trail.sealed(5)
    find, pruned = Chain.find, False

    async def and_then_prune(self: Chain, session: TenantSession) -> Found:
        nonlocal pruned
        found = await find(self, session)
        if not pruned:
            pruned = True
            assert await trail.pruner.prune(trail.session) == 2
        return found

    monkeypatch.setattr(Chain, "find", and_then_prune)
    assert await trail.findings() == NOTHING
    assert pruned


async def test_a_repeated_slot_seals_nothing_again(trail: Trail) -> None:
    ids = await trail.sealed(7)
    assert await trail.sealer.seal(trail.session) == 0
    assert await trail.other.seal(trail.session) == 0
    assert await trail.chained() == ids


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_a_sealer_that_dies_at_any_write_leaves_a_chain_that_goes_on(trail: Trail, at: int, after: bool) -> None:
    ids = await trail.write(8)
    trail.clock.forward(seconds=SETTLED_SECONDS)
    trail.death.at, trail.death.after = at, after
    with pytest.raises(Killed):
        await trail.sealer.seal(trail.session)
    assert await trail.findings() == NOTHING
    ids += await trail.write(2)
    trail.clock.forward(seconds=SETTLED_SECONDS)
    await trail.other.seal(trail.session)
    await trail.other.seal(trail.session)
    assert await trail.chained() == ids
    assert await trail.findings() == NOTHING


async def test_a_sealing_of_two_segments_is_six_writes(trail: Trail) -> None:
    await trail.sealed(8)
    assert trail.death.writes == 6


@pytest.mark.parametrize("taken", [{2: None}, {2: b"x"}, {2: b"x", 3: b"y", 4: None}], ids=["copy", "one", "several"])
async def test_the_chain_leaps_over_what_somebody_has_put_in_its_way(
    trail: Trail, taken: dict[int, bytes | None]
) -> None:
    """And deletes nothing, so that it goes on where blobs are immutable. None: a copy of the first segment."""
    ids = await trail.sealed(5)
    planted = {number: data or await trail.blob(1) for number, data in taken.items()}
    for number, data in planted.items():
        await trail.put_blob(number, data)
    assert ("head", 2) in await trail.findings()
    ids += await trail.sealed(3)
    assert {number: await trail.blob(number) for number in planted} == planted
    assert await trail.chained(without=planted) == ids
    assert await trail.findings() == {("head", 1), *(("segment_changed", number) for number in planted)}
    ids += await trail.sealed(3)
    assert await trail.chained(without=planted) == ids
    assert ("head", 1) in await trail.findings()
    await trail.forge(ids[-1], user_id="grace")
    assert ("changed", ids[-1]) in await trail.findings()


async def test_two_sealers_leap_as_one(trail: Trail) -> None:
    ids = await trail.sealed(5) + await trail.write(9)
    await trail.put_blob(2, b"x")
    trail.clock.forward(seconds=SETTLED_SECONDS)
    await asyncio.gather(trail.sealer.seal(trail.session), trail.other.seal(trail.session))
    assert await trail.chained(without=[2]) == ids
    assert {kind for kind, _ in await trail.findings()} == {"head", "segment_changed"}


async def test_a_sealer_that_is_overtaken_while_it_leaps_seals_nothing_again(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await trail.sealed(5) + await trail.write(9)
    await trail.put_blob(2, b"x")
    trail.clock.forward(seconds=SETTLED_SECONDS)
    free_after = Segments.free_after

    async def overtaken(segments: Segments, number: int) -> int:
        monkeypatch.setattr(Segments, "free_after", free_after)
        await trail.other.seal(trail.session)
        return await free_after(segments, number)

    monkeypatch.setattr(Segments, "free_after", overtaken)
    await trail.sealer.seal(trail.session)
    assert await trail.chained(without=[2]) == ids
    assert await trail.sealed(3) and {kind for kind, _ in await trail.findings()} == {"head", "segment_changed"}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [2, 3, 4])
async def test_a_sealer_that_dies_while_it_leaps_leaves_a_chain_with_each_entry_once(
    trail: Trail, at: int, after: bool
) -> None:
    ids = await trail.sealed(5) + await trail.write(3)
    await trail.put_blob(2, b"x")
    trail.clock.forward(seconds=SETTLED_SECONDS)
    trail.death.writes, trail.death.at, trail.death.after = 0, at, after
    with pytest.raises(Killed):
        await trail.sealer.seal(trail.session)
    ids += await trail.sealed(3)
    assert await trail.chained(without=[2]) == ids
    assert {kind for kind, _ in await trail.findings()} == {"head", "segment_changed"}


async def test_a_trail_that_is_not_sealed_any_more_is_found_by_what_waits(trail: Trail) -> None:
    await trail.sealed(2)
    trail.clock.forward(days=9)
    await trail.write(1)
    assert await trail.findings() == NOTHING
    trail.clock.forward(seconds=3 * 3600)
    await trail.write(1)
    assert await trail.findings() == {("head", 1)}
    await trail.sealed(1)
    assert await trail.findings() == NOTHING


async def test_a_slice_ends_after_so_many_bytes_and_a_segment_too(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await trail.sealed(1)
    three = 3 * (await trail.read(1)).size + 20  # later ones have a digit more
    monkeypatch.setattr(sealing, "SEGMENT_BYTES", three)
    monkeypatch.setattr(verifying, "SLICE_BYTES", three - 20)
    monkeypatch.setattr(verifying, "PAGE_ITEMS", 2)
    ids += await trail.sealed(10)
    assert [len((await trail.read(number)).lines) for number in range(1, 6)] == [1, 3, 3, 3, 1]
    tail = await trail.write(9)
    parts = await trail.verify()
    assert [(part.ok, part.segments) for part in parts] == [(True, 2), (True, 1), (True, 1), (True, 1)]
    assert sum(part.entries for part in parts) == len(ids)
    unsealed = parts[-1].unsealed
    assert unsealed is not None and unsealed.more and unsealed.count < len(tail)


async def test_entries_that_are_larger_than_they_were_sealed_are_not_all_read(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await trail.sealed(5)
    monkeypatch.setattr(verifying, "READ_BYTES", 2 * (await trail.read(1)).size)
    monkeypatch.setattr(verifying, "PAGE_ITEMS", 1)
    for id in ids:
        await trail.forge(id, new_value={"text": "x" * 2000})
    found = await trail.findings()
    assert {kind for kind, _ in found} == {"changed", "inserted", "missing"}
    assert {which for kind, which in found if kind != "inserted"} == set(ids)


async def test_heads_of_a_pruned_trail_that_are_both_gone_hide_nothing(trail: Trail) -> None:
    await trail.sealed(10)
    trail.clock.forward(days=41)
    ids = await trail.sealed(8)
    await trail.pruner.prune(trail.session)
    await trail.set_head(None)
    await trail.set_anchor(None)
    await trail.raw.commit([Delete(AUDIT, ids[1])])
    body = {name: value for name, value in (await trail.body(ids[2])).items() if name not in ("mac", "key_id")}
    forged = "0190c2a8-7e10-7abc-8def-0000000000ff"
    await trail.raw.commit([Create(AUDIT, forged, body)])
    assert await trail.findings() == {("head", 4), ("missing", ids[1]), ("inserted", forged)}
    await trail.sealed(2)
    assert await trail.findings() == {("head", 4), ("missing", ids[1]), ("unsigned", forged)}


async def test_segments_beyond_set_back_heads_are_found_wherever_they_are(trail: Trail) -> None:
    await trail.sealed(5)
    head, anchor = await trail.head(), await trail.anchor()
    await trail.sealed(20)
    await trail.set_head(head)
    await trail.set_anchor(anchor)
    for number in (2, 3, 4):
        await trail.drop_blob(number)
    assert await trail.findings() == {("head", 5)}


async def test_the_only_segment_is_verified_though_both_heads_are_gone(trail: Trail) -> None:
    """A crash may leave it so, and hides nothing that somebody does meanwhile."""
    ids = await trail.sealed(4)
    await trail.set_head(None)
    await trail.set_anchor(None)
    assert await trail.findings() == NOTHING
    await trail.raw.commit([Delete(AUDIT, ids[1])])
    assert await trail.findings() == {("missing", ids[1])}


async def test_entries_go_with_their_segments_and_the_chain_is_whole_from_its_new_beginning(trail: Trail) -> None:
    old = await trail.sealed(10)
    trail.clock.forward(days=41)
    new = await trail.sealed(5)
    assert await trail.pruner.prune(trail.session) == 2
    assert await trail.chained() == new
    assert [await trail.raw.get(AUDIT, id) for id in old] == [None] * 10
    parts = await trail.verify()
    assert [part.ok for part in parts] == [True] * len(parts)
    assert parts[0].pruned_until is not None and parts[0].pruned_until > rfc3339(trail.clock.now() - timedelta(days=50))
    assert await trail.pruner.prune(trail.session) == 0
    await trail.forge(new[1], user_id="grace")
    assert await trail.findings() == {("changed", new[1])}
    more = await trail.sealed(5)
    assert await trail.chained() == [*new, *more]


async def test_nothing_goes_that_a_backup_may_need(trail: Trail) -> None:
    ids = await trail.sealed(10)
    trail.needed = (await trail.body(ids[0]))["created_at"]
    trail.clock.forward(days=400)
    await trail.sealed(5)
    assert await trail.pruner.prune(trail.session) == 0


async def test_whoever_takes_the_beginning_away_himself_is_found(trail: Trail) -> None:
    old = await trail.sealed(10)
    await trail.sealed(5)
    await trail.raw.commit([Delete(AUDIT, id) for id in old])
    for number in (1, 2):
        await trail.drop_blob(number)
    assert await trail.findings() == {("segment_missing", 1), ("segment_missing", 2)}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_a_pruning_that_dies_at_any_write_is_finished_by_the_next(trail: Trail, at: int, after: bool) -> None:
    await trail.sealed(10)
    trail.clock.forward(days=41)
    new = await trail.sealed(5)
    trail.death.writes, trail.death.at, trail.death.after = 0, at, after
    with pytest.raises(Killed):
        await trail.pruner.prune(trail.session)
    assert await trail.findings() == NOTHING
    await trail.pruner.prune(trail.session)
    assert await trail.chained() == new
    left = (await trail.raw.query(AUDIT)).items
    assert Counter(stored.body["id"] for stored in left) == Counter(new)
    assert await trail.findings() == NOTHING


async def nobody(old: str, new: str) -> None:
    """Is told."""


async def test_after_a_new_key_all_of_the_trail_is_still_checked(trail: Trail) -> None:
    ids = await trail.sealed(6)
    await trail.signatures.rotate(nobody)
    ids += await trail.sealed(6)
    keys = {(await trail.body(id))["key_id"] for id in ids}
    assert len(keys) == 2
    assert await trail.findings() == NOTHING
    await trail.forge(ids[0], user_id="grace")
    await trail.forge(ids[-1], user_id="grace")
    assert await trail.findings() == {("changed", ids[0]), ("changed", ids[-1])}

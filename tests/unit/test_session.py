"""One write = one batch: what a change commits, what it refuses, and what stays true over many of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from pydantic import Field

from functions.agents.models import Agent
from functions.catalog.models import Element
from shared.clock import rfc3339
from shared.database.port import Create, Operation
from shared.errors import Conflict, Invalid, NotFound, QuotaReached, Stale, TooLarge, Unavailable
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT
from shared.work.change import COUNTER, Change
from shared.work.events import Metric
from shared.work.outbox import OUTBOX
from shared.work.resources import Resource, load
from shared.work.scope import IdempotencySlot
from shared.work.session import TenantSession
from tests.unit.world import OTHER_ID, START, TENANT_ID, WatchedStore, World, admin, entry, register, session


class Thing(Resource):
    KIND: ClassVar[Kind] = Agent.KIND

    name: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    element_id: str | None = None


@pytest.fixture
async def store(world: World) -> WatchedStore:
    return WatchedStore(await register(world.core))


@pytest.fixture
def tenant(world: World, store: WatchedStore) -> TenantSession:
    return session(world.core, entry(), store, admin(TENANT_ID, "ada@acme.example"))


async def made(tenant: TenantSession, **fields: Any) -> Thing:
    change = tenant.change()
    return await change.commit(change.create(Thing, fields))


async def edited(tenant: TenantSession, id: str, if_match: str | None = None, **fields: Any) -> Thing:
    return await tenant.modify(Thing, id, lambda _: fields, if_match=if_match)


async def all_of(tenant: TenantSession, kind: Kind) -> list[dict[str, Any]]:
    return [stored.body for stored in (await tenant.store.query(kind)).items]


async def value(tenant: TenantSession, counter: str = "agents") -> int:
    stored = await tenant.store.get(COUNTER, counter)
    return int(stored.body["value"]) if stored else -1


# One batch


async def test_resource_audit_counter_event_and_answer_are_one_batch(
    tenant: TenantSession, store: WatchedStore
) -> None:
    slot = IdempotencySlot("key-1", "print-1")
    change = replace(tenant, idempotency=slot).change()
    thing = change.create(Thing, {"name": "one"})
    change.count("agents", +1, limit=3)
    change.emit(Metric.AGENTS_CREATED, 1)
    await change.commit(thing)
    assert [sorted(f"{type(one).__name__} {one.kind}" for one in batch) for batch in store.batches] == [
        ["Create agent", "Create audit", "Create idempotency", "Create outbox", "Increment counter"]
    ]


async def test_nothing_of_a_change_is_kept_when_one_part_of_it_is_refused(tenant: TenantSession) -> None:
    change = tenant.change()
    thing = change.create(Thing, {})
    change.count("agents", +1)
    change.emit(Metric.AGENTS_CREATED, 1)
    change.touch(Element.KIND, "none", "element_id")
    with pytest.raises(Invalid):
        await change.commit(thing)
    left = {kind: await all_of(tenant, kind) for kind in (Agent.KIND, AUDIT, OUTBOX)}
    assert (left, await value(tenant)) == ({Agent.KIND: [], AUDIT: [], OUTBOX: []}, 0)


async def test_no_event_is_sent_for_a_change_that_is_refused(world: World, tenant: TenantSession) -> None:
    change = tenant.change()
    change.emit(Metric.AGENTS_CREATED, 1)
    change.touch(Element.KIND, "none", "element_id")
    with pytest.raises(Invalid):
        await change.commit(None)
    assert await world.queued("usage-events") == []


async def test_an_event_is_sent_once_its_change_is_committed(world: World, tenant: TenantSession) -> None:
    change = tenant.change()
    change.emit(Metric.AGENTS_CREATED, 1, pattern="Router")
    await change.commit(None)
    (event,) = await world.queued("usage-events")
    assert (event["type"], event["data"]) == ("agents_created", {"value": 1, "pattern": "Router"})


async def test_what_was_sent_leaves_the_outbox(world: World, tenant: TenantSession) -> None:
    change = tenant.change()
    change.emit(Metric.AGENTS_CREATED, 1)
    await change.commit(None)
    await world.core.services.outbox.flush()
    assert await all_of(tenant, OUTBOX) == []


async def test_all_entries_of_a_batch_carry_the_same_instant(tenant: TenantSession, store: WatchedStore) -> None:
    change = tenant.change()
    change.create(Thing, {})
    change.create(Thing, {})
    change.emit(Metric.AGENTS_CREATED, 1)
    await change.commit(None)
    stamps = {one.body["created_at"] for one in store.batches[0] if isinstance(one, Create)}
    assert stamps == {rfc3339(START)}


async def test_two_new_resources_under_one_idempotency_key_are_two(tenant: TenantSession) -> None:
    change = replace(tenant, idempotency=IdempotencySlot("key-1", "print-1")).change()
    first, second = change.create(Thing, {}), change.create(Thing, {})
    await change.commit(None)
    assert first.id != second.id


# The audit trail


async def test_a_creation_is_audited_with_its_whole_new_value(tenant: TenantSession) -> None:
    thing = await made(tenant, name="one")
    (entry,) = await all_of(tenant, AUDIT)
    assert (entry["action"], entry["old_value"], entry["new_value"]) == ("agent.created", None, thing.model_dump())


async def test_an_update_is_audited_with_its_whole_old_and_new_value(world: World, tenant: TenantSession) -> None:
    old = await made(tenant, name="one")
    world.clock.advance(seconds=1)
    new = await edited(tenant, old.id, name="two")
    entry = (await all_of(tenant, AUDIT))[-1]
    assert (entry["action"], entry["old_value"], entry["new_value"]) == (
        "agent.updated",
        old.model_dump(),
        new.model_dump(),
    )


async def test_a_deletion_is_audited_with_the_whole_value_that_went(world: World, tenant: TenantSession) -> None:
    old = await made(tenant, name="one")
    world.clock.advance(seconds=1)
    await tenant.remove(Thing, old.id, if_match=None)
    entry = (await all_of(tenant, AUDIT))[-1]
    assert (entry["action"], entry["revision"], entry["old_value"], entry["new_value"]) == (
        "agent.deleted",
        2,
        old.model_dump(),
        None,
    )


async def test_an_audit_entry_says_who_asked_from_where_and_in_which_request(tenant: TenantSession) -> None:
    await made(tenant)
    (entry,) = await all_of(tenant, AUDIT)
    assert {name: entry[name] for name in ("user_id", "ip_address", "user_agent", "request_id")} == {
        "user_id": tenant.user_id,
        "ip_address": "198.51.100.7",
        "user_agent": "unit-test",
        "request_id": "request-1",
    }


# Updates


async def test_an_update_that_changes_nothing_writes_nothing(tenant: TenantSession, store: WatchedStore) -> None:
    thing = await made(tenant, name="one", config={"a": [1, {"b": None}]})
    store.batches.clear()
    same = await edited(tenant, thing.id, name="one", config={"a": [1, {"b": None}]})
    assert (same, store.batches) == (thing, [])


@pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), (1, 1.0), ({"a": 1}, {"a": True})])
async def test_values_that_only_python_holds_for_equal_are_a_change(tenant: TenantSession, old: Any, new: Any) -> None:
    thing = await made(tenant, config={"x": old})
    after = await edited(tenant, thing.id, config={"x": new})
    assert (after.revision, repr(after.config["x"])) == (2, repr(new))


async def test_an_update_adds_one_to_the_revision(tenant: TenantSession) -> None:
    thing = await made(tenant, name="one")
    assert (await edited(tenant, thing.id, name="two")).revision == 2


async def test_an_update_keeps_who_created_it_and_says_who_changed_it(tenant: TenantSession) -> None:
    thing = await made(tenant)
    other = replace(tenant, caller=admin(TENANT_ID, "grace@acme.example"))
    after = await edited(other, thing.id, name="two")
    assert (after.created_by, after.updated_by) == (tenant.user_id, other.user_id)


async def test_an_update_under_an_etag_that_has_passed_is_refused(tenant: TenantSession) -> None:
    thing = await made(tenant)
    await edited(tenant, thing.id, name="two")
    with pytest.raises(Stale):
        await edited(tenant, thing.id, thing.etag, name="three")


async def test_an_update_under_the_current_etag_is_made(tenant: TenantSession) -> None:
    thing = await made(tenant)
    assert (await edited(tenant, thing.id, thing.etag, name="two")).name == "two"


async def test_an_update_under_a_star_needs_only_something_to_be_there(tenant: TenantSession) -> None:
    thing = await made(tenant)
    assert (await edited(tenant, thing.id, "*", name="two")).name == "two"


async def test_an_if_match_may_list_several_etags(tenant: TenantSession) -> None:
    thing = await made(tenant)
    assert (await edited(tenant, thing.id, f'"1-0", {thing.etag}', name="two")).name == "two"


async def test_a_weak_etag_never_matches(tenant: TenantSession) -> None:
    thing = await made(tenant)
    with pytest.raises(Stale):
        await edited(tenant, thing.id, f"W/{thing.etag}", name="two")


async def test_an_update_of_what_is_not_there_is_not_found(tenant: TenantSession) -> None:
    with pytest.raises(NotFound):
        await edited(tenant, "none", name="two")


async def test_an_update_that_loses_a_race_is_made_upon_the_winners(tenant: TenantSession, store: WatchedStore) -> None:
    thing = await made(tenant, name="one", config={"count": 0})

    async def somebody_else(operations: Sequence[Operation]) -> None:
        store.before = None
        await edited(replace(tenant, store=store.inner), thing.id, name="theirs")

    store.before = somebody_else
    after = await edited(tenant, thing.id, config={"count": 1})
    assert (after.revision, after.name, after.config) == (3, "theirs", {"count": 1})


async def test_an_update_that_loses_a_race_meets_its_if_match_again(tenant: TenantSession, store: WatchedStore) -> None:
    thing = await made(tenant, name="one")

    async def somebody_else(operations: Sequence[Operation]) -> None:
        store.before = None
        await edited(replace(tenant, store=store.inner), thing.id, name="theirs")

    store.before = somebody_else
    with pytest.raises(Stale):
        await edited(tenant, thing.id, thing.etag, name="mine")


async def test_an_update_that_loses_every_race_gives_up_with_a_conflict(
    tenant: TenantSession, store: WatchedStore
) -> None:
    thing = await made(tenant, config={"n": 0})
    numbers = iter(range(1, 100))

    async def somebody_else(operations: Sequence[Operation]) -> None:
        await edited(replace(tenant, store=store.inner), thing.id, config={"n": next(numbers)})

    store.before = somebody_else
    with pytest.raises(Conflict):
        await edited(tenant, thing.id, name="mine")


async def test_a_deletion_that_loses_a_race_deletes_the_winners_version(
    tenant: TenantSession, store: WatchedStore
) -> None:
    thing = await made(tenant, name="one")

    async def somebody_else(operations: Sequence[Operation]) -> None:
        store.before = None
        await edited(replace(tenant, store=store.inner), thing.id, name="theirs")

    store.before = somebody_else
    await tenant.remove(Thing, thing.id, if_match=None)
    assert await store.get(Agent.KIND, thing.id) is None


async def test_updated_at_does_not_move_backwards_when_the_clock_does(world: World, tenant: TenantSession) -> None:
    thing = await made(tenant)
    world.clock.advance(hours=-1)
    assert (await edited(tenant, thing.id, name="two")).updated_at > thing.updated_at


async def test_two_updates_in_the_same_microsecond_have_two_instants(tenant: TenantSession) -> None:
    thing = await made(tenant)
    first = await edited(tenant, thing.id, name="two")
    second = await edited(tenant, thing.id, name="three")
    assert first.updated_at < second.updated_at


EDITS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(-3_000_000, 3_000_000)), min_size=1, max_size=12
)


@profile(max_examples=25, deadline=None)
@given(edits=EDITS)
def test_no_etag_ever_comes_again_whatever_the_edits_and_the_clock_do(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, int]]
) -> None:
    async def run(folder: Path) -> list[Thing]:
        world = World.over(folder)
        tenant = session(world.core, entry(), await register(world.core), admin(TENANT_ID))
        versions = [await made(tenant, name="")]
        for name, microseconds in edits:
            world.clock.advance(microseconds=microseconds)
            after = await edited(tenant, versions[-1].id, name=name)
            if after.revision != versions[-1].revision:
                versions.append(after)
        await world.close()
        return versions

    versions = asyncio.run(run(tmp_path_factory.mktemp("edits")))
    assert len({one.etag for one in versions}) == len(versions)
    assert [one.updated_at for one in versions] == sorted({one.updated_at for one in versions})


# Limits


async def test_a_resource_above_256_kb_is_too_large_and_says_so(tenant: TenantSession) -> None:
    with pytest.raises(TooLarge, match="at most 262144"):
        await made(tenant, config={"x": "y" * 262144})


async def test_the_size_of_a_resource_is_counted_in_bytes_not_in_letters(tenant: TenantSession) -> None:
    with pytest.raises(TooLarge):
        await made(tenant, config={"x": "é" * 131072})


async def test_a_resource_just_below_256_kb_can_be_replaced_by_another_such(tenant: TenantSession) -> None:
    thing = await made(tenant, config={"x": "a" * 261_500})
    assert (await edited(tenant, thing.id, config={"x": "b" * 261_500})).revision == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2**53 + 1])
async def test_what_the_store_cannot_keep_exactly_is_invalid(tenant: TenantSession, bad: Any) -> None:
    with pytest.raises(Invalid):
        await made(tenant, config={"x": bad})


async def test_a_quota_is_exact_under_concurrency(tenant: TenantSession) -> None:
    async def one_more() -> bool:
        change = tenant.change()
        thing = change.create(Thing, {})
        change.count("agents", +1, limit=3)
        try:
            await change.commit(thing)
        except QuotaReached:
            return False
        return True

    won = await asyncio.gather(*(one_more() for _ in range(8)))
    assert (sum(won), len(await all_of(tenant, Agent.KIND)), await value(tenant)) == (3, 3, 3)


async def test_a_quota_that_is_reached_tells_limit_and_current(tenant: TenantSession) -> None:
    change = tenant.change()
    change.count("agents", +1, limit=0)
    with pytest.raises(QuotaReached) as reached:
        await change.commit(None)
    assert (str(reached.value), reached.value.members) == (
        "Agent quota exceeded",
        {"limit": 0, "current": 0, "upgradeUrl": "/billing/upgrade"},
    )


async def test_giving_back_is_not_bounded_by_the_quota(tenant: TenantSession) -> None:
    change = tenant.change()
    change.count("agents", +2)
    await change.commit(None)
    change = tenant.change()
    change.count("agents", -1, limit=None)
    await change.commit(None)
    assert await value(tenant) == 1


# References


async def test_touching_what_is_not_there_names_the_field_of_the_request(tenant: TenantSession) -> None:
    change = tenant.change()
    change.touch(Element.KIND, "e-1", "element_id")
    with pytest.raises(Invalid) as invalid:
        await change.commit(None)
    assert invalid.value.members["errors"] == [
        {"field": "element_id", "message": "is no element of this tenant", "value": "e-1"}
    ]


async def test_touching_makes_a_deletion_that_has_already_looked_look_again(tenant: TenantSession) -> None:
    await tenant.store.commit([Create(Element.KIND, "e-1", {"created_at": "", "revision": 1})])
    before = await tenant.store.get(Element.KIND, "e-1")
    change = tenant.change()
    change.touch(Element.KIND, "e-1", "element_id")
    await change.commit(None)
    after = await tenant.store.get(Element.KIND, "e-1")
    assert before and after and before.etag != after.etag and after.body["revision"] == 1


async def test_what_is_checked_beside_an_update_sees_its_old_and_new_version(tenant: TenantSession) -> None:
    thing = await made(tenant, name="one")
    seen: list[tuple[str, str]] = []

    async def look(change: Change, old: Thing, new: Thing) -> None:
        seen.append((old.name, new.name))

    await tenant.modify(Thing, thing.id, lambda _: {"name": "two"}, if_match=None, also=look)
    assert seen == [("one", "two")]


async def test_what_is_checked_beside_an_update_may_refuse_it(tenant: TenantSession) -> None:
    thing = await made(tenant, name="one")

    async def refuse(change: Change, old: Thing, new: Thing) -> None:
        raise Conflict("not today")

    with pytest.raises(Conflict, match="not today"):
        await tenant.modify(Thing, thing.id, lambda _: {"name": "two"}, if_match=None, also=refuse)


async def test_what_is_touched_beyond_the_revision_that_was_looked_at_is_stale(tenant: TenantSession) -> None:
    await tenant.store.commit([Create(Element.KIND, "e-1", {"created_at": "", "revision": 2})])
    change = tenant.change()
    change.touch(Element.KIND, "e-1", "element_id", revision=1)
    with pytest.raises(Stale):
        await change.commit(None)


async def test_touching_at_a_revision_leaves_the_revision(tenant: TenantSession) -> None:
    await tenant.store.commit([Create(Element.KIND, "e-1", {"created_at": "", "revision": 2})])
    change = tenant.change()
    change.touch(Element.KIND, "e-1", "element_id", revision=2)
    await change.commit(None)
    found = await tenant.store.get(Element.KIND, "e-1")
    assert found is not None and found.body["revision"] == 2


async def test_what_is_touched_twice_is_touched_once(tenant: TenantSession, store: WatchedStore) -> None:
    await tenant.store.commit([Create(Element.KIND, "e-1", {"created_at": ""})])
    store.batches.clear()
    change = tenant.change()
    for field in ("source_id", "target_id"):
        change.touch(Element.KIND, "e-1", field)
    await change.commit(None)
    assert [len(batch) for batch in store.batches] == [1]


# Restoring


async def test_what_is_gone_is_restored_as_the_revision_after_its_deletion(tenant: TenantSession) -> None:
    thing = await made(tenant, name="one")
    await tenant.remove(Thing, thing.id, if_match=None)
    buried = (await tenant.buried(Thing.KIND, [thing.id]))[thing.id]
    change = tenant.change(buried)
    change.restore(Thing, thing.model_dump(), None, buried)
    await change.commit(None)
    after = (await load(tenant, Thing, thing.id)).value
    assert (after.name, after.revision, after.created_at) == ("one", 3, thing.created_at)
    assert after.updated_at > buried.value.updated_at


async def test_what_never_was_here_is_restored_as_it_was(tenant: TenantSession) -> None:
    elsewhere = (await made(tenant, name="one")).model_copy(update={"id": "another", "revision": 7})
    change = tenant.change()
    change.restore(Thing, elsewhere.model_dump(), None)
    await change.commit(None)
    assert (await load(tenant, Thing, "another")).value == elsewhere


async def test_what_is_there_is_restored_as_its_next_revision(tenant: TenantSession) -> None:
    thing = await made(tenant, name="one")
    await edited(tenant, thing.id, name="two")
    held = await load(tenant, Thing, thing.id)
    change = tenant.change(held)
    change.restore(Thing, thing.model_dump(), held)
    await change.commit(None)
    after = (await load(tenant, Thing, thing.id)).value
    assert (after.name, after.revision, after.updated_at > held.value.updated_at) == ("one", 3, True)


async def test_a_restoring_is_audited_as_one(world: World, tenant: TenantSession) -> None:
    thing = await made(tenant, name="one")
    held = await load(tenant, Thing, thing.id)
    world.clock.advance(seconds=1)
    change = tenant.change(held)
    change.restore(Thing, {**thing.model_dump(), "name": "was"}, held)
    await change.commit(None)
    entry = (await all_of(tenant, AUDIT))[-1]
    assert (entry["action"], entry["old_value"]["name"], entry["new_value"]["name"]) == ("agent.restored", "one", "was")


async def test_what_is_made_anew_while_it_is_restored_is_a_conflict(tenant: TenantSession) -> None:
    thing = await made(tenant, name="one")
    change = tenant.change()
    change.restore(Thing, thing.model_dump(), None)
    with pytest.raises(Conflict):
        await change.commit(None)


async def test_what_is_changed_while_it_is_restored_is_stale(tenant: TenantSession) -> None:
    thing = await made(tenant, name="one")
    held = await load(tenant, Thing, thing.id)
    await edited(tenant, thing.id, name="two")
    change = tenant.change(held)
    change.restore(Thing, thing.model_dump(), held)
    with pytest.raises(Stale):
        await change.commit(None)


# When the outside fails


async def test_a_broker_that_is_away_does_not_undo_a_change(
    world: World, tenant: TenantSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("the broker is away")

    monkeypatch.setattr(world.core.adapters.messaging, "send", away)
    change = tenant.change()
    thing = change.create(Thing, {})
    change.emit(Metric.AGENTS_CREATED, 1)
    await change.commit(thing)
    assert [len(await all_of(tenant, kind)) for kind in (Agent.KIND, OUTBOX)] == [1, 1]


async def test_a_store_that_fails_leaves_nothing(tenant: TenantSession, store: WatchedStore) -> None:
    async def away(operations: Sequence[Operation]) -> None:
        raise Unavailable("the store is away")

    store.before = away
    with pytest.raises(Unavailable):
        await made(tenant)
    assert await all_of(tenant, Agent.KIND) == []


async def test_a_thing_of_another_tenant_is_not_found_in_the_same_words(world: World, tenant: TenantSession) -> None:
    thing = await made(tenant)
    other = await register(world.core, OTHER_ID)
    theirs = session(world.core, entry(OTHER_ID), other, admin(OTHER_ID))

    async def words(id: str) -> str:
        with pytest.raises(NotFound) as missing:
            await load(theirs, Thing, id)
        return str(missing.value)

    assert await words(thing.id) == await words("01900000-0000-7000-8000-ffffffffffff")

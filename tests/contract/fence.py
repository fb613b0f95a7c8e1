"""What every adapter must do for the fence and for tombstones. An adapter's tests are this suite and a fixture."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from functions.agents.models import Agent
from functions.catalog.models import Element
from functions.usage.blocks import BLOCK
from shared.database.port import Bury, Create, Database, Delete, Increment, Read, Replace, TenantStore, Traces
from shared.tenancy.fence import (
    AUDIT,
    FENCE,
    PERMIT,
    Fenced,
    Handle,
    Overtaken,
    current,
    first_permit,
    opening,
    permit,
    rotate,
)
from tests.contract.database import SHARD, TENANT, agent, at, names, present, rejection

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)


def audit(id: str, second: int) -> Create:
    return Create(AUDIT, id, {"created_at": at(second), "resource_type": "agent"})


class FenceContract:
    """Batch reads, permits and who may write when."""

    @pytest.fixture
    def store(self, database: Database) -> TenantStore:
        return database.tenant(TENANT, SHARD)

    @pytest.fixture
    async def handle(self, store: TenantStore) -> Handle:
        await store.commit([first_permit()])
        return Handle(store)

    async def test_an_opening_is_the_permit_as_it_is_whatever_was_known_of_it(
        self, store: TenantStore, handle: Handle
    ) -> None:
        other = Handle(store)
        assert (await opening(handle)).body["id"] == handle.permit == "1"
        moment = await rotate(other, "2", NOW)
        assert handle.permit == "1"
        assert (await opening(handle)).body["created_at"] == handle.floor == moment
        assert handle.permit == "2"

    async def test_a_permit_that_has_gone_is_not_believed_again_by_who_hears_of_it_late(
        self, store: TenantStore, handle: Handle
    ) -> None:
        late = await store.get(PERMIT, "1")
        await rotate(handle, "2", NOW)
        await opening(handle)
        assert late is not None
        handle._see([late])
        assert handle.permit == "2"

    async def test_there_is_no_opening_while_the_fence_is_closed(self, store: TenantStore, handle: Handle) -> None:
        await opening(handle)
        await store.commit([Delete(PERMIT, "1")])
        with pytest.raises(Fenced):
            await opening(handle)

    async def test_a_batch_that_reads_what_is_not_there_changes_nothing(self, store: TenantStore) -> None:
        assert await rejection(store, [agent("one"), Read(PERMIT, "1")]) == ("missing", 1)
        assert await names(store) == []

    async def test_a_batch_that_reads_what_is_there_is_committed(self, store: TenantStore) -> None:
        await store.commit([first_permit()])
        before = await present(store, PERMIT, "1")
        await store.commit([Read(PERMIT, "1"), agent("one")])
        assert (await names(store), await present(store, PERMIT, "1")) == (["one"], before)

    async def test_a_partition_without_a_permit_takes_no_write(self, store: TenantStore) -> None:
        with pytest.raises(Fenced):
            await Handle(store).commit([agent("one")])
        assert await names(store) == []

    async def test_what_a_rejected_batch_names_is_the_callers_operation(self, handle: Handle) -> None:
        await handle.commit([agent("one")])
        assert await rejection(handle, [agent("two"), agent("one")]) == ("exists", 1)

    async def test_a_handle_that_knows_a_permit_is_stopped_when_it_is_taken_away(self, handle: Handle) -> None:
        await handle.commit([agent("one")])
        await handle.control.commit([Delete(PERMIT, "1"), Create(FENCE, "job", {"created_at": at(1)})])
        with pytest.raises(Fenced):
            await handle.commit([agent("two")])
        assert await names(handle) == ["one"]

    async def test_past_the_fence_and_for_its_holder_it_is_no_obstacle(
        self, handle: Handle, store: TenantStore
    ) -> None:
        await handle.control.commit([Delete(PERMIT, "1"), Create(FENCE, "job", {"created_at": at(1)})])
        await handle.control.commit([agent("one")])
        await Handle(store, holder="job").commit([agent("two")])
        with pytest.raises(Fenced):
            await Handle(store, holder="another").commit([agent("three")])
        assert await names(store) == ["one", "two"]

    async def test_a_handle_finds_the_next_permit_by_itself(self, handle: Handle) -> None:
        await handle.commit([agent("one")])
        await handle.control.commit([Delete(PERMIT, "1"), permit("2", at(5))])
        await handle.commit([agent("two"), audit("a", 6)])
        assert await names(handle) == ["one", "two"]

    async def test_what_is_stamped_before_a_moment_is_not_committed_after_it(self, handle: Handle) -> None:
        await handle.commit([agent("one"), audit("a", 1)])
        moment = await rotate(handle, "2", NOW)
        with pytest.raises(Overtaken):
            await handle.commit([agent("two"), audit("b", 30)])
        await handle.commit([agent("three"), audit("c", 31)])
        assert (moment, await names(handle)) == ("2026-11-24T12:00:30.000000Z", ["one", "three"])

    async def test_a_moment_is_later_than_all_that_was_stamped_before_though_its_clock_is_behind(
        self, handle: Handle
    ) -> None:
        await handle.commit([audit("a", 40)])
        assert await rotate(handle, "2", NOW) == "2026-11-24T12:00:40.000001Z"
        assert await rotate(handle, "3", NOW - timedelta(hours=1)) == "2026-11-24T12:00:40.000002Z"

    async def test_two_who_take_a_moment_at_once_both_get_one(self, handle: Handle, store: TenantStore) -> None:
        moments = await asyncio.gather(rotate(handle, "2", NOW), rotate(Handle(store), "3", NOW))
        assert len(set(moments)) == 2
        assert (await current(store)).body["created_at"] == max(moments)

    async def test_usage_is_not_fenced(self, store: TenantStore) -> None:
        await Handle(store).commit([Create(BLOCK, "one", {"created_at": at(1)})])


class TombstoneContract:
    """What a deletion leaves."""

    @pytest.fixture
    async def store(self, database: Database) -> TenantStore:
        store = database.tenant(TENANT, SHARD)
        await store.commit([agent("one"), agent("two")])
        return store

    async def bury(self, store: TenantStore) -> None:
        held = await present(store, Agent.KIND, "one")
        tombstone = {"created_at": at(5), "updated_at": at(5), "revision": 4}
        await store.commit([Bury(Agent.KIND, "one", tombstone, held.etag)])

    async def test_what_is_buried_is_neither_read_nor_found(self, store: TenantStore) -> None:
        await self.bury(store)
        assert (await store.get(Agent.KIND, "one"), await names(store)) == (None, ["two"])

    async def test_its_tombstone_is_found_by_its_id(self, store: TenantStore) -> None:
        await self.bury(store)
        (found,) = await store.buried(Agent.KIND, ["one", "two", "three"])
        assert (found.body["id"], found.body["revision"], found.body["updated_at"]) == ("one", 4, at(5))
        assert await store.buried(Element.KIND, ["one"]) == []
        assert await store.buried(Agent.KIND, []) == []

    async def test_what_ids_lead_to_is_told_at_once_be_it_there_or_buried(self, store: TenantStore) -> None:
        await self.bury(store)
        traces = await store.traces(Agent.KIND, ["one", "two", "three"])
        assert [found.body["id"] for found in traces.there] == ["two"]
        assert [(found.body["id"], found.body["revision"]) for found in traces.buried] == [("one", 4)]
        assert traces.there == [await present(store, Agent.KIND, "two")]
        assert traces.buried == await store.buried(Agent.KIND, ["one"])
        assert await store.traces(Element.KIND, ["one", "two"]) == Traces([], [])
        assert await store.traces(Agent.KIND, []) == Traces([], [])

    async def test_what_is_read_fresh_is_what_is_there(self, store: TenantStore) -> None:
        await self.bury(store)
        assert await store.fresh(Agent.KIND, "two") == await present(store, Agent.KIND, "two")
        assert await store.fresh(Agent.KIND, "one") is None
        assert await store.fresh(Agent.KIND, "three") is None
        assert await store.fresh(Element.KIND, "two") is None

    async def test_its_id_stays_taken(self, store: TenantStore) -> None:
        await self.bury(store)
        assert await rejection(store, [agent("one")]) == ("exists", 0)

    async def test_whoever_has_seen_the_tombstone_may_take_the_id_again(self, store: TenantStore) -> None:
        await self.bury(store)
        (tombstone,) = await store.buried(Agent.KIND, ["one"])
        await store.commit([Replace(Agent.KIND, "one", {"created_at": at(6), "revision": 5}, tombstone.etag)])
        assert (await present(store, Agent.KIND, "one")).body["revision"] == 5
        assert await store.buried(Agent.KIND, ["one"]) == []

    async def test_it_is_not_moved_by_an_increment(self, store: TenantStore) -> None:
        await self.bury(store)
        assert await rejection(store, [Increment(Agent.KIND, "one", {"touched": 1})]) == ("condition", 0)

    async def test_what_has_changed_since_it_was_read_is_not_buried(self, store: TenantStore) -> None:
        held = await present(store, Agent.KIND, "one")
        await store.commit([Increment(Agent.KIND, "one", {"touched": 1})])
        assert await rejection(store, [Bury(Agent.KIND, "one", {"created_at": at(5)}, held.etag)]) == ("stale", 0)

    async def test_what_is_not_there_is_not_buried(self, store: TenantStore) -> None:
        assert await rejection(store, [Bury(Agent.KIND, "none", {"created_at": at(5)}, "1")]) == ("missing", 0)

"""What every adapter of the database port must do: queries, scans, and tenants that do not see each other."""

from typing import Any

import pytest

from functions.agents.models import Agent
from functions.catalog.models import Element
from shared.database.port import NEWEST_FIRST, Create, Database, Delete, Order, Placement, TenantStore, Where
from shared.jobs.jobs import Job
from tests.contract.database import OTHER, SHARD, TENANT, agent, at, names, present, rejection


class QueryContract:
    """Pages of one kind, filtered, in keyset order; and the scan of everything."""

    @pytest.fixture
    def store(self, database: Database) -> TenantStore:
        return database.tenant(TENANT, SHARD)

    async def test_filters_are_equality_ranges_and_lists(self, store: TenantStore) -> None:
        await store.commit(
            [
                agent("a", 1, name="x", value=1, placement={"mode": "shared"}),
                agent("b", 2, name="y", value=2, placement={"mode": "dedicated"}),
                agent("c", 3, name="x", value=3),
                Create(Element.KIND, "d", {"created_at": at(4), "name": "x", "value": 4}),
            ]
        )
        assert await names(store) == ["a", "b", "c"]
        assert await names(store, Where("name", "=", "x")) == ["a", "c"]
        assert await names(store, Where("name", "=", "x"), Where("value", ">", 1)) == ["c"]
        assert await names(store, Where("value", ">=", 2), Where("value", "<", 3)) == ["b"]
        assert await names(store, Where("value", "<=", 2)) == ["a", "b"]
        assert await names(store, Where("name", "in", ["y", "z"])) == ["b"]
        assert await names(store, Where("name", "in", [])) == []
        assert await names(store, Where("id", "in", ["a", "c", "d"])) == ["a", "c"]
        assert await names(store, Where("id", "=", "b")) == ["b"]
        assert await names(store, Where("placement.mode", "=", "dedicated")) == ["b"]
        assert await names(store, Where("created_at", ">=", at(2))) == ["b", "c"]
        assert await names(store, Where("absent", "=", "x")) == []

    async def test_values_are_bound_and_names_are_checked(self, store: TenantStore) -> None:
        await store.commit([agent("a", name="\" OR true -- ' OR 1=1")])
        assert await names(store, Where("name", "=", "\" OR true -- ' OR 1=1")) == ["a"]
        assert await names(store, Where("name", "=", "' OR 1=1")) == []
        with pytest.raises(ValueError, match="not a field name"):
            await names(store, Where("name = 'x' OR 1", "=", 1))

    @pytest.mark.parametrize(("op", "value"), [("=", None), ("in", ["x", None]), (">", float("nan"))])
    def test_null_and_nan_are_nothing_to_filter_by(self, op: Any, value: Any) -> None:
        with pytest.raises(ValueError, match="different things"):
            Where("name", op, value)

    async def test_order_is_by_time_then_id_in_one_direction(self, store: TenantStore) -> None:
        await store.commit([agent("b", 1), agent("a", 1), agent("c", 0)])
        assert await names(store) == ["c", "a", "b"]
        assert await names(store, order=NEWEST_FIRST) == ["b", "a", "c"]
        assert await names(store, order=Order("id")) == ["a", "b", "c"]
        assert await names(store, order=Order("id", descending=True)) == ["c", "b", "a"]

    @pytest.mark.parametrize("order", [Order(), NEWEST_FIRST, Order("id"), Order("id", True)])
    async def test_pages_follow_each_other_without_gap_or_overlap(self, store: TenantStore, order: Order) -> None:
        await store.commit([agent(f"a{number}", number // 3) for number in range(10)])
        seen: list[str] = []
        after: tuple[str, str] | None = None
        for expected in (4, 4, 2):
            page = await store.query(Agent.KIND, order=order, limit=4, after=after)
            assert len(page.items) == expected
            seen += [item.body["id"] for item in page.items]
            after = page.next
        assert after is None
        assert seen == sorted(seen, reverse=order.descending)
        assert len(set(seen)) == 10

    async def test_a_page_that_is_just_full_is_the_last_one(self, store: TenantStore) -> None:
        await store.commit([agent(f"a{number}") for number in range(3)])
        assert (await store.query(Agent.KIND, limit=3)).next is None
        assert (await store.query(Agent.KIND, limit=2)).next == (at(0), "a1")

    async def test_what_is_written_behind_the_cursor_is_on_the_next_page(self, store: TenantStore) -> None:
        await store.commit([agent("a", 1), agent("b", 2), agent("d", 4)])
        page = await store.query(Agent.KIND, limit=2)
        await store.commit([agent("c", 3), Delete(Agent.KIND, "b")])
        assert await names(store, limit=2, after=page.next) == ["c", "d"]

    async def test_two_hundred_values_may_be_asked_for(self, store: TenantStore) -> None:
        await store.commit([agent("a7"), agent("b1")])
        assert await names(store, Where("id", "in", [f"a{number}" for number in range(200)])) == ["a7"]

    async def test_a_scan_is_everything_of_its_kinds_by_kind_and_id(self, store: TenantStore) -> None:
        for start in range(0, 260, 65):
            await store.commit([agent(f"a{number:03}", number % 60) for number in range(start, start + 65)])
        await store.commit(
            [Create(Element.KIND, "e", {"created_at": at(0)}), Create(Job.KIND, "j", {"created_at": at(0)})]
        )
        pages = [page async for page in store.scan([Element.KIND, Agent.KIND])]
        assert all(0 < len(page) <= 200 for page in pages)
        seen = [item.body["id"] for page in pages for item in page]
        assert seen == ["e", *(f"a{number:03}" for number in range(260))]

    async def test_a_scan_since_a_time_starts_there(self, store: TenantStore) -> None:
        await store.commit([agent("old", 1), agent("new", 3), agent("same", 2)])
        pages = [page async for page in store.scan([Agent.KIND], since=at(2))]
        assert [item.body["id"] for page in pages for item in page] == ["new", "same"]

    async def test_tenants_of_a_database_do_not_see_each_other(self, database: Database, store: TenantStore) -> None:
        other = database.tenant(OTHER, SHARD)
        await store.commit([agent("one", name="mine"), agent("two")])
        await other.commit([agent("one", name="theirs")])
        assert await names(other) == ["one"]
        assert (await present(other, Agent.KIND, "one")).body["name"] == "theirs"
        assert await other.get(Agent.KIND, "two") is None
        assert await rejection(other, [Delete(Agent.KIND, "two")]) == ("missing", 0)
        assert [len(page) async for page in other.scan([Agent.KIND])] == [1]
        assert (await present(store, Agent.KIND, "one")).body["name"] == "mine"

    async def test_a_tenant_of_its_own_database_is_apart(self, database: Database, store: TenantStore) -> None:
        own = Placement("dedicated", f"tenant-{TENANT}", generation=2)
        await database.provision(own)
        moved = database.tenant(TENANT, own)
        await store.commit([agent("one")])
        assert await moved.get(Agent.KIND, "one") is None
        await moved.commit([agent("one", name="moved")])
        assert "name" not in (await present(store, Agent.KIND, "one")).body

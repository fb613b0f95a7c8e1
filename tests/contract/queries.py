"""What every adapter of the database port must do: queries, scans, and tenants that do not see each other."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest

from functions.agents.models import Agent
from functions.catalog.models import Element
from shared.database.documents import name_key
from shared.database.port import NEWEST_FIRST, Create, Database, Delete, Order, Placement, Replace, TenantStore, Where
from shared.jobs.jobs import Job
from shared.kinds import Kind
from tests.contract.database import OTHER, SHARD, TENANT, agent, at, names, present, rejection

ORDERS: tuple[Literal["created_at", "updated_at", "name", "id"], ...] = ("created_at", "updated_at", "name", "id")


NAMED = {"a": "beta", "b": "Alpha", "c": "ALPHA", "d": ""}
TEXTS = ["", "a", "A", "ab", "Äb", "äB", "ß", "ss", "z", "Zz", "🙂", "a b"]
Holds = Callable[[dict[str, Any]], bool]


def filters(chance: random.Random) -> list[tuple[list[Where], Holds]]:
    """What a list may be filtered by, and what that means."""
    start, low, high = chance.choice(TEXTS), at(chance.randrange(10)), at(chance.randrange(10))
    return [
        ([], lambda body: True),
        ([Where("status", "=", "draft")], lambda body: body["status"] == "draft"),
        ([Where("name", "begins", start)], lambda body: name_key(body["name"]).startswith(name_key(start))),
        (
            [Where("created_at", ">=", low), Where("updated_at", "<", high)],
            lambda body: low <= body["created_at"] and body["updated_at"] < high,
        ),
    ]


async def paged(store: TenantStore, limit: int, order: Order, *where: Where) -> list[str]:
    """The ids on all pages of a list, none of which is longer than asked for."""
    seen: list[str] = []
    after: tuple[str, str] | None = None
    while True:
        page = await store.query(Agent.KIND, where, order=order, limit=limit, after=after)
        assert len(page.items) <= limit
        seen += [item.body["id"] for item in page.items]
        after = page.next
        if after is None:
            return seen


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

    @pytest.mark.parametrize(
        "order", [Order(), NEWEST_FIRST, Order("id"), Order("id", True), Order("name"), Order("updated_at", True)]
    )
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

    async def test_order_by_name_is_without_case_and_what_has_no_name_is_there(self, store: TenantStore) -> None:
        await store.commit(
            [agent(id, name=name) for id, name in zip("abcd", ["beta", "Alpha", "ALPHA", ""], strict=True)]
        )
        await store.commit([agent("e", name=None), agent("f")])
        assert await names(store, order=Order("name")) == ["d", "e", "f", "b", "c", "a"]
        assert await names(store, order=Order("name", descending=True)) == ["a", "c", "b", "f", "e", "d"]

    async def test_order_by_the_last_change_follows_the_changes(self, store: TenantStore) -> None:
        await store.commit([agent("a", 1), agent("b", 2)])
        await store.commit([Replace(Agent.KIND, "a", {"created_at": at(1), "updated_at": at(3)})])
        assert await names(store, order=Order("updated_at")) == ["b", "a"]
        assert await names(store, Where("updated_at", ">=", at(3)), order=Order("updated_at")) == ["a"]

    async def test_an_item_from_before_there_were_keys_is_in_its_place(self, store: TenantStore) -> None:
        """Neither key nor time of change: such items come first, each once, and are not found by their names."""
        unsorted = Kind("agent", filtered=Agent.KIND.filtered)
        await store.commit([Create(unsorted, id, {"created_at": at(1), "name": id}) for id in ("x", "y", "z")])
        await store.commit([agent("a", 2, name="")])
        for order in (Order("name"), Order("updated_at")):
            assert await paged(store, 2, order) == ["x", "y", "z", "a"]
            assert await paged(store, 2, replace(order, descending=True)) == ["a", "z", "y", "x"]
        assert await names(store, Where("name", "begins", "x")) == []

    async def test_names_are_found_by_how_they_begin_whatever_their_case(self, store: TenantStore) -> None:
        given = ["Straße", "STRASSEN", "strand", "100%", "100_", 'a"b', "ﬁle", "0\0" + "1"]
        await store.commit([agent(f"a{number}", name=name) for number, name in enumerate(given)])
        found = {
            start: await names(store, Where("name", "begins", start))
            for start in ("stra", "strasse", "STRAß", "100%", "%", "_", 'A"', "FI", "0\0", "traße")
        }
        assert found == {
            "stra": ["a0", "a1", "a2"],
            "strasse": ["a0", "a1"],
            "STRAß": ["a0", "a1"],
            "100%": ["a3"],
            "%": [],
            "_": [],
            'A"': ["a5"],
            "FI": ["a6"],
            "0\0": ["a7"],
            "traße": [],
        }

    async def test_names_are_as_long_as_they_like(self, store: TenantStore) -> None:
        long = "ΐ" * 1000
        await store.commit([agent("a", name=long), agent("b", name=long + "x"), agent("c", name="ΐ")])
        assert await paged(store, 1, Order("name")) == ["c", "a", "b"]
        assert await names(store, Where("name", "begins", long)) == ["a", "b"]

    def test_only_names_are_searched_by_how_they_begin(self) -> None:
        with pytest.raises(ValueError, match="only names"):
            Where("status", "begins", "dra")

    @pytest.mark.parametrize("seed", range(6))
    async def test_paging_through_any_list_gives_each_once_in_its_order(self, store: TenantStore, seed: int) -> None:
        """Against a plain sort of what was written: random names and times, every order, filter and page size."""
        chance = random.Random(seed)
        bodies = [
            {
                "id": f"a{number:02}",
                "created_at": at(chance.randrange(5)),
                "updated_at": at(5 + chance.randrange(5)),
                "name": chance.choice(TEXTS) * chance.randrange(1, 3),
                "status": chance.choice(["draft", "active"]),
            }
            for number in range(chance.randrange(1, 30))
        ]
        await store.commit([Create(Agent.KIND, str(body["id"]), body) for body in bodies])
        for _ in range(12):
            field, descending, limit = chance.choice(ORDERS), chance.random() < 0.5, chance.randrange(1, 9)
            where, holds = chance.choice(filters(chance))
            ordered = sorted(
                filter(holds, bodies),
                key=lambda body: (name_key(body["name"]) if field == "name" else body[field], body["id"]),
                reverse=descending,
            )
            found = await paged(store, limit, Order(field, descending), *where)
            assert found == [body["id"] for body in ordered], (field, descending, where, limit)

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

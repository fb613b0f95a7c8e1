"""The embedded database: a few things of its own; what every database must do is in the contract suite."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from functions.providers.models import Provider
from functions.usage.rollups import ROLLUP
from shared.database.limits import MAX_BYTES, MAX_OPERATIONS, encode
from shared.database.port import (
    NEWEST_FIRST,
    OLDEST_FIRST,
    Create,
    Delete,
    Increment,
    Operation,
    Order,
    Placement,
    Rejected,
    Replace,
    TenantStore,
    Upsert,
    Where,
)
from shared.database.sqlite import SqliteDatabase
from shared.errors import Invalid, TooLarge, Unavailable
from shared.members.users import User
from tests.unit.world import OTHER_ID, TENANT_ID, FakeClock

SHARD = Placement("shared", "shard-1")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def database(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteDatabase]:
    own = SqliteDatabase(tmp_path / "database", clock)
    yield own
    await own.close()


@pytest.fixture
def store(database: SqliteDatabase) -> TenantStore:
    return database.tenant(TENANT_ID, SHARD)


@pytest.fixture
def other(database: SqliteDatabase) -> TenantStore:
    """Another tenant of the same shard."""
    return database.tenant(OTHER_ID, SHARD)


def agent(id: str, created_at: str = "2026", **fields: Any) -> Create:
    return Create(Provider.KIND, id, {"created_at": created_at, **fields})


async def ids(store: TenantStore, *where: Where, **how: Any) -> list[str]:
    return [one.body["id"] for one in (await store.query(Provider.KIND, where, **how)).items]


# Batches


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (agent("a"), "exists"),
        (Replace(Provider.KIND, "none", {}), "missing"),
        (Replace(Provider.KIND, "a", {}, etag="old"), "stale"),
        (Delete(Provider.KIND, "none"), "missing"),
        (Delete(Provider.KIND, "a", etag="old"), "stale"),
        (Increment(Provider.KIND, "none", {"n": 1}), "missing"),
        (Increment(Provider.KIND, "a", {"n": 1}, at_most={"n": 0}), "condition"),
    ],
)
async def test_a_batch_with_one_operation_that_is_refused_changes_nothing(
    store: TenantStore, operation: Operation, reason: str
) -> None:
    await store.commit([agent("a")])
    before = await store.get(Provider.KIND, "a")
    with pytest.raises(Rejected) as rejected:
        await store.commit([agent("b"), Upsert(Provider.KIND, "a", {"created_at": "9"}), operation])
    assert (rejected.value.reason, rejected.value.index) == (reason, 2)
    assert (await store.get(Provider.KIND, "a"), await ids(store)) == (before, ["a"])


async def test_an_increment_counts_what_is_not_there_as_nothing(store: TenantStore) -> None:
    await store.commit([agent("a"), Increment(Provider.KIND, "a", {"n": 2, "by.kind": 3})])
    found = await store.get(Provider.KIND, "a")
    assert found is not None and (found.body["n"], found.body["by"]) == (2, {"kind": 3})


async def test_an_increment_up_to_its_bound_is_made(store: TenantStore) -> None:
    await store.commit([agent("a", n=2)])
    await store.commit([Increment(Provider.KIND, "a", {"n": 1}, at_most={"n": 3})])
    found = await store.get(Provider.KIND, "a")
    assert found is not None and found.body["n"] == 3


async def test_every_write_of_an_item_moves_its_etag(store: TenantStore) -> None:
    etags = []
    for operation in (
        agent("a"),
        Increment(Provider.KIND, "a", {"n": 1}),
        Replace(Provider.KIND, "a", {"created_at": "1"}),
    ):
        await store.commit([operation])
        found = await store.get(Provider.KIND, "a")
        etags.append(found.etag if found else "")
    assert len(set(etags)) == 3


async def test_of_two_writers_with_the_same_etag_one_wins(store: TenantStore) -> None:
    await store.commit([agent("a")])
    found = await store.get(Provider.KIND, "a")
    assert found is not None
    writes = [store.commit([Replace(Provider.KIND, "a", {"n": n}, found.etag)]) for n in range(5)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(one) for one in outcomes].count(Rejected) == 4


@pytest.mark.parametrize("number", [0, MAX_OPERATIONS + 1])
async def test_a_batch_is_1_to_100_operations(store: TenantStore, number: int) -> None:
    with pytest.raises(TooLarge):
        await store.commit([agent(f"a-{n}") for n in range(number)])


async def test_a_batch_is_at_most_2_mb(store: TenantStore) -> None:
    half = "é" * (MAX_BYTES // 4)
    with pytest.raises(TooLarge):
        await store.commit([agent("a", x=half), agent("b", x=half)])


async def test_a_body_whose_text_is_known_is_not_made_a_text_again(store: TenantStore) -> None:
    body = {"created_at": "2026-11-24T12:00:00.000000Z", "name": "one"}
    told = Create(User.KIND, "one", body, text=encode({**body, "name": "of the text"}))
    await store.commit([told])
    found = await store.get(User.KIND, "one")
    assert found is not None and found.body["name"] == "of the text"


async def test_a_batch_stays_within_one_container(store: TenantStore) -> None:
    with pytest.raises(ValueError, match="one container"):
        await store.commit([agent("a"), Create(ROLLUP, "r", {})])


@pytest.mark.parametrize("id", ["", "a/b", "a\\b", "a?b", "a#b", "x" * 1020, "é" * 510])
async def test_an_id_that_cosmos_would_refuse_is_invalid(store: TenantStore, id: str) -> None:
    with pytest.raises(Invalid, match="id"):
        await store.commit([agent(id)])


# Limits of a document


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth > 1 else {}


@pytest.mark.parametrize("body", [nested(128), {"n": 2**53}, {"n": -(2**53)}, {"n": True}, {"x": "\x00"}, {"x": "😀"}])
def test_a_document_that_the_store_can_keep_is_encoded(body: dict[str, Any]) -> None:
    assert encode(body).encode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"x": {"y": [2**53 + 1]}}, "x.y.0"),
        ({"x": -(2**53) - 1}, "x"),
        ({"x": float("nan")}, "x"),
        ({"x": float("-inf")}, "x"),
        ({"x": "\ud800"}, "body"),
        ({"\ud800": 1}, "body"),
        (nested(129), ".".join(["a"] * 128)),
    ],
)
def test_a_document_that_the_store_cannot_keep_exactly_is_invalid(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as invalid:
        encode(body)
    assert invalid.value.members["errors"][0]["field"] == field


# Expiry


async def test_an_item_is_gone_after_its_time(store: TenantStore, clock: FakeClock) -> None:
    await store.commit([Create(Provider.KIND, "a", {"created_at": "1"}, ttl=60), agent("b")])
    clock.advance(seconds=60)
    assert (await store.get(Provider.KIND, "a"), await ids(store)) == (None, ["b"])


async def test_an_item_is_there_until_its_time(store: TenantStore, clock: FakeClock) -> None:
    await store.commit([Create(Provider.KIND, "a", {"created_at": "1"}, ttl=60)])
    clock.advance(seconds=59.9)
    assert await ids(store) == ["a"]


async def test_expired_items_are_removed_from_the_file_in_the_end(
    tmp_path: Path, store: TenantStore, clock: FakeClock
) -> None:
    await store.commit([Create(Provider.KIND, "a", {"created_at": "1"}, ttl=1)])
    clock.advance(seconds=2)
    for _ in range(200):
        await store.commit([Upsert(Provider.KIND, "b", {"created_at": "1"})])
    file = sqlite3.connect(tmp_path / "database" / "shard-1.db")
    (left,) = file.execute("SELECT count(*) FROM items").fetchone()
    file.close()
    assert left == 1


# Queries


async def test_items_of_one_kind_are_found_oldest_or_newest_first(store: TenantStore) -> None:
    await store.commit([agent("b", "1"), agent("a", "2"), agent("c", "1"), Create(User.KIND, "u", {"created_at": "1"})])
    found = [await ids(store, order=order) for order in (OLDEST_FIRST, NEWEST_FIRST, Order("id"))]
    assert found == [["b", "c", "a"], ["a", "c", "b"], ["a", "b", "c"]]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (Where("n", "=", 2), ["b"]),
        (Where("n", "<", 2), ["a"]),
        (Where("n", "<=", 2), ["a", "b"]),
        (Where("n", ">", 2), ["c"]),
        (Where("n", ">=", 2), ["b", "c"]),
        (Where("n", "in", [1, 3, 5]), ["a", "c"]),
        (Where("n", "in", []), []),
        (Where("id", "in", ["b", "none"]), ["b"]),
        (Where("id", "=", "b"), ["b"]),
        (Where("deep.er", "=", "x"), ["c"]),
        (Where("none", "=", 1), []),
        (Where("n", "=", "2' OR 1=1 --"), []),
    ],
)
async def test_items_are_found_by_their_fields(store: TenantStore, where: Where, found: list[str]) -> None:
    await store.commit([agent("a", "1", n=1), agent("b", "2", n=2), agent("c", "3", n=3, deep={"er": "x"})])
    assert await ids(store, where) == found


@pytest.mark.parametrize(
    "field", ["", "a b", "a'", 'a"', "a)", "a;", "--", "a[0]", "$", "a..b", ".a", "a.", "A", "a\n"]
)
async def test_a_field_name_that_could_be_something_else_is_refused(store: TenantStore, field: str) -> None:
    with pytest.raises(ValueError, match="is not a field name"):
        await ids(store, Where(field, "=", 1))


ITEMS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["1", "2", "3"])), max_size=30, unique_by=lambda item: item[0]
)


@profile(max_examples=40, deadline=None)
@given(items=ITEMS, size=st.integers(1, 7), descending=st.booleans(), field=st.sampled_from(["created_at", "id"]))
def test_pages_have_neither_gaps_nor_repeats(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[int, str]], size: int, descending: bool, field: Any
) -> None:
    async def run() -> tuple[list[str], list[str]]:
        database = SqliteDatabase(tmp_path_factory.mktemp("pages"), FakeClock())
        store, order = database.tenant(TENANT_ID, SHARD), Order(field, descending)
        if items:
            await store.commit([agent(f"a-{number:02}", at) for number, at in items])
        paged: list[str] = []
        after = None
        while True:
            page = await store.query(Provider.KIND, order=order, limit=size, after=after)
            paged += [one.body["id"] for one in page.items]
            if page.next is None:
                break
            after = page.next
        whole = await ids(store, order=order)
        await database.close()
        return paged, whole

    paged, whole = asyncio.run(run())
    assert paged == whole and len(paged) == len(items)


async def test_a_new_item_on_an_earlier_page_moves_no_later_one(store: TenantStore) -> None:
    await store.commit([agent(f"a-{n}", str(n)) for n in range(4)])
    first = await store.query(Provider.KIND, order=NEWEST_FIRST, limit=2)
    await store.commit([agent("new", "9")])
    assert await ids(store, order=NEWEST_FIRST, after=first.next) == ["a-1", "a-0"]


async def test_a_scan_reads_everything_by_kind_and_id(store: TenantStore) -> None:
    await store.commit([agent("b", "1"), agent("a", "2"), Create(User.KIND, "u", {"created_at": "0"})])
    pages = [[one.body["id"] for one in page] async for page in store.scan([User.KIND, Provider.KIND])]
    assert pages == [["u"], ["a", "b"]]


async def test_a_scan_since_a_time_leaves_out_what_is_older(store: TenantStore) -> None:
    await store.commit([agent("b", "1"), agent("a", "2")])
    pages = [[one.body["id"] for one in page] async for page in store.scan([Provider.KIND], since="2")]
    assert pages == [["a"]]


# Tenants


OPERATIONS = st.one_of(
    st.builds(
        lambda id, n: Upsert(Provider.KIND, id, {"created_at": "1", "n": n}), st.sampled_from("abc"), st.integers(0, 9)
    ),
    st.builds(lambda id: Delete(Provider.KIND, id), st.sampled_from("abc")),
    st.builds(lambda id: Increment(Provider.KIND, id, {"n": 1}), st.sampled_from("abc")),
)


@profile(max_examples=40, deadline=None)
@given(history=st.lists(st.tuples(st.sampled_from([TENANT_ID, OTHER_ID]), OPERATIONS), max_size=20))
def test_two_tenants_of_a_shard_are_as_if_each_were_alone(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, Any]]
) -> None:
    """The same history, once in one shard and once in a database each: every tenant sees the same."""

    async def run(placements: dict[str, Placement]) -> dict[str, list[dict[str, Any]]]:
        database = SqliteDatabase(tmp_path_factory.mktemp("tenants"), FakeClock())
        stores = {id: database.tenant(id, placement) for id, placement in placements.items()}
        for tenant_id, operation in history:
            try:
                await stores[tenant_id].commit([operation])
            except Rejected:
                continue
        seen = {id: [one.body for one in (await store.query(Provider.KIND)).items] for id, store in stores.items()}
        await database.close()
        return seen

    together = asyncio.run(run({TENANT_ID: SHARD, OTHER_ID: SHARD}))
    apart = asyncio.run(run({TENANT_ID: Placement("dedicated", "one"), OTHER_ID: Placement("dedicated", "two")}))
    assert together == apart


async def test_a_tenant_reads_changes_and_deletes_nothing_of_another(store: TenantStore, other: TenantStore) -> None:
    await store.commit([agent("a", n=1)])
    refused = []
    for operation in (
        Replace(Provider.KIND, "a", {}),
        Delete(Provider.KIND, "a"),
        Increment(Provider.KIND, "a", {"n": 1}),
    ):
        with pytest.raises(Rejected) as rejected:
            await other.commit([operation])
        refused.append(rejected.value.reason)
    assert (await other.get(Provider.KIND, "a"), await ids(other), refused) == (None, [], ["missing"] * 3)


async def test_a_body_cannot_name_another_tenant(store: TenantStore, other: TenantStore) -> None:
    foreign = {"created_at": "1", "tenant_id": OTHER_ID, "kind": "user", "id": "user:b"}
    await store.commit([Create(Provider.KIND, "a", foreign)])
    found = await store.get(Provider.KIND, "a")
    assert found is not None and found.body["tenant_id"] == TENANT_ID and await ids(other) == []


async def test_a_filter_on_the_tenant_does_not_lead_out_of_ones_own(store: TenantStore, other: TenantStore) -> None:
    await store.commit([agent("a")])
    assert await ids(other, Where("tenant_id", "=", TENANT_ID)) == []


async def test_the_sweep_is_the_one_that_sees_all(database: SqliteDatabase, store: TenantStore) -> None:
    dedicated = database.tenant(OTHER_ID, Placement("dedicated", "tenant-2"))
    await store.commit([agent("a", "2")])
    await dedicated.commit([agent("b", "1")])
    found = (await database.platform.sweep(Provider.KIND, [], limit=10)).items
    assert [(one.body["tenant_id"], one.body["id"]) for one in found] == [(OTHER_ID, "b"), (TENANT_ID, "a")]


# Files


async def test_a_write_is_there_for_the_next_process(tmp_path: Path, store: TenantStore, clock: FakeClock) -> None:
    await store.commit([agent("a")])
    reopened = SqliteDatabase(tmp_path / "database", clock)
    found = await ids(reopened.tenant(TENANT_ID, SHARD))
    await reopened.close()
    assert found == ["a"]


async def test_a_file_that_is_locked_for_too_long_is_an_outage(
    tmp_path: Path, store: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.sqlite.BUSY_TIMEOUT_SECONDS", 0.01)
    await store.commit([agent("a")])
    file = sqlite3.connect(tmp_path / "database" / "shard-1.db", isolation_level=None)
    file.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await store.commit([agent("b")])
    file.execute("ROLLBACK")
    file.close()
    await store.commit([agent("c")])
    assert await ids(store) == ["a", "c"]


async def test_a_folder_that_cannot_be_used_is_an_outage(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").write_text("in the way")
    database = SqliteDatabase(tmp_path / "file", clock)
    with pytest.raises(Unavailable):
        await database.ping()
    await database.close()

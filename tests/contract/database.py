"""What every adapter of the database port must do: tenants' stores. An adapter's tests are this suite and a fixture."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from functions.agents.models import Agent
from functions.catalog.models import Element
from functions.usage.blocks import BLOCK
from shared.clock import rfc3339
from shared.database.limits import MAX_OPERATIONS
from shared.database.port import (
    Bury,
    Create,
    Database,
    Delete,
    Increment,
    Operation,
    Placement,
    Rejected,
    Replace,
    Stored,
    TenantStore,
    Upsert,
    Where,
)
from shared.errors import Invalid, TooLarge, Unavailable
from shared.kinds import Kind
from shared.work.change import COUNTER
from tests.doubles.clock import FakeClock

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
OTHER = "0190c2a8-7e10-7abc-8def-000000000002"
SHARD = Placement("shared", "shard-1")


def _repainted(body: dict[str, Any]) -> dict[str, Any]:
    return {"color" if name == "colour" else name: value for name, value in body.items()}


SUMS = Kind("sums", container="usage")
PAINTED = Kind("painted")
REPAINTED = Kind("painted", upcasts=[_repainted])


def at(second: int) -> str:
    return f"2026-11-24T12:00:{second:02}.000000Z"


def agent(id: str, second: int = 0, **fields: Any) -> Create:
    return Create(Agent.KIND, id, {"created_at": at(second), "updated_at": at(second), **fields})


async def present(store: TenantStore, kind: Kind, id: str) -> Stored:
    found = await store.get(kind, id)
    assert found is not None
    return found


async def rejection(store: TenantStore, operations: Sequence[Operation]) -> tuple[str, int]:
    with pytest.raises(Rejected) as caught:
        await store.commit(operations)
    return caught.value.reason, caught.value.index


async def names(store: TenantStore, *where: Where, **options: Any) -> list[str]:
    return [item.body["id"] for item in (await store.query(Agent.KIND, where, **options)).items]


class WriteContract:
    """Commits: what they change, when they are rejected, and that they are all or nothing."""

    @pytest.fixture
    def store(self, database: Database) -> TenantStore:
        return database.tenant(TENANT, SHARD)

    async def test_a_created_item_reads_back_as_it_was_with_id_kind_and_tenant(self, store: TenantStore) -> None:
        body = {
            "created_at": at(0),
            "name": 'Ünïcödé "quoted" \\ 🙂 漢字',
            "nested": {"list": [1, 2.5, None, True, {"deep": []}], "empty": {}, "a/b~c": 1},
            "largest": 2**53 - 1,
            "negative": -7,
        }
        await store.commit([Create(Agent.KIND, "one", dict(body))])
        found = await present(store, Agent.KIND, "one")
        assert found.body == {**body, "id": "one", "kind": "agent", "tenant_id": TENANT}
        assert found.etag

    async def test_an_item_of_an_earlier_schema_is_read_as_one_of_the_current(self, store: TenantStore) -> None:
        await store.commit([Create(PAINTED, "one", {"created_at": at(0), "updated_at": at(0), "colour": "red"})])
        found = await present(store, REPAINTED, "one")
        assert found.body == {
            "created_at": at(0),
            "updated_at": at(0),
            "color": "red",
            "id": "one",
            "kind": "painted",
            "tenant_id": TENANT,
        }
        (listed,) = (await store.query(REPAINTED)).items
        (scanned,) = [item async for page in store.scan([REPAINTED]) for item in page]
        assert (listed, scanned) == (found, found)

    async def test_an_item_is_written_in_the_current_schema(self, store: TenantStore) -> None:
        await store.commit([Create(PAINTED, "one", {"created_at": at(0), "updated_at": at(0), "colour": "red"})])
        old = await present(store, REPAINTED, "one")
        await store.commit([Replace(REPAINTED, "one", old.body, old.etag)])
        assert (await present(store, REPAINTED, "one")).body == old.body
        with pytest.raises(Unavailable, match="newer release"):
            await store.get(PAINTED, "one")

    async def test_a_buried_item_of_an_earlier_schema_is_found_as_such(self, store: TenantStore) -> None:
        await store.commit([Create(PAINTED, "one", {"created_at": at(0), "updated_at": at(0), "colour": "red"})])
        old = await present(store, REPAINTED, "one")
        await store.commit([Bury(REPAINTED, "one", {"created_at": at(1), "revision": 2}, old.etag)])
        (buried,) = await store.buried(REPAINTED, ["one"])
        assert (buried.body["id"], buried.body["revision"]) == ("one", 2)

    async def test_what_is_not_there_reads_as_none(self, store: TenantStore) -> None:
        await store.commit([agent("one")])
        assert await store.get(Agent.KIND, "two") is None
        assert await store.get(Element.KIND, "one") is None

    async def test_a_taken_id_is_rejected_and_keeps_what_it_held(self, store: TenantStore) -> None:
        await store.commit([agent("one", name="first")])
        assert await rejection(store, [agent("one", name="second")]) == ("exists", 0)
        assert (await present(store, Agent.KIND, "one")).body["name"] == "first"

    async def test_the_same_id_may_be_taken_by_another_kind(self, store: TenantStore) -> None:
        await store.commit([agent("one"), Create(Element.KIND, "one", {"created_at": at(0)})])
        assert await store.get(Agent.KIND, "one")
        assert await store.get(Element.KIND, "one")

    async def test_a_rejected_batch_changes_nothing_and_names_the_operation(self, store: TenantStore) -> None:
        await store.commit([agent("taken"), Create(COUNTER, "agents", {"created_at": at(0), "value": 1})])
        batch: list[Operation] = [
            agent("new"),
            Increment(COUNTER, "agents", {"value": 1}),
            Delete(Agent.KIND, "taken"),
            agent("new"),
        ]
        assert await rejection(store, batch) == ("exists", 3)
        assert await names(store) == ["taken"]
        assert (await present(store, COUNTER, "agents")).body["value"] == 1

    @pytest.mark.parametrize("many", [20, 50, MAX_OPERATIONS - 1])
    async def test_of_many_new_items_the_first_whose_id_is_taken_is_named_and_none_is_made(
        self, store: TenantStore, many: int
    ) -> None:
        await store.commit([agent("taken"), agent("last")])
        batch = [agent(f"new-{number}") for number in range(many)]
        batch[many // 2], batch[-1] = agent("taken"), agent("last")
        assert await rejection(store, batch) == ("exists", many // 2)
        batch[many // 2] = agent("new-0")
        assert await rejection(store, batch) == ("exists", many // 2)
        assert sorted(await names(store)) == ["last", "taken"]

    async def test_a_batch_sees_its_own_earlier_operations(self, store: TenantStore) -> None:
        await store.commit(
            [
                Create(COUNTER, "agents", {"created_at": at(0), "value": 1}),
                Increment(COUNTER, "agents", {"value": 2}),
            ]
        )
        assert (await present(store, COUNTER, "agents")).body["value"] == 3

    async def test_a_replacement_is_the_whole_new_body_with_a_new_etag(self, store: TenantStore) -> None:
        await store.commit([agent("one", name="old", extra=1)])
        old = await present(store, Agent.KIND, "one")
        await store.commit([Replace(Agent.KIND, "one", {"created_at": at(0), "name": "new"}, old.etag)])
        new = await present(store, Agent.KIND, "one")
        assert new.body["name"] == "new"
        assert "extra" not in new.body
        assert new.etag != old.etag

    async def test_a_replacement_of_another_version_is_stale(self, store: TenantStore) -> None:
        await store.commit([agent("one")])
        old = await present(store, Agent.KIND, "one")
        await store.commit([Replace(Agent.KIND, "one", {"created_at": at(0), "name": "theirs"}, old.etag)])
        mine = Replace(Agent.KIND, "one", {"created_at": at(0), "name": "mine"}, old.etag)
        assert await rejection(store, [agent("two"), mine]) == ("stale", 1)
        assert (await present(store, Agent.KIND, "one")).body["name"] == "theirs"

    async def test_a_replacement_without_etag_takes_any_version(self, store: TenantStore) -> None:
        await store.commit([agent("one")])
        await store.commit([Replace(Agent.KIND, "one", {"created_at": at(0), "name": "mine"})])
        assert (await present(store, Agent.KIND, "one")).body["name"] == "mine"

    async def test_a_replacement_of_nothing_is_missing(self, store: TenantStore) -> None:
        assert await rejection(store, [Replace(Agent.KIND, "one", {"created_at": at(0)})]) == ("missing", 0)

    async def test_a_deletion_removes_the_version_it_names(self, store: TenantStore) -> None:
        await store.commit([agent("one"), agent("two")])
        old = await present(store, Agent.KIND, "one")
        await store.commit([Delete(Agent.KIND, "one", old.etag), Delete(Agent.KIND, "two")])
        assert await names(store) == []

    async def test_a_deletion_of_another_version_is_stale(self, store: TenantStore) -> None:
        await store.commit([agent("one")])
        old = await present(store, Agent.KIND, "one")
        await store.commit([Increment(Agent.KIND, "one", {"touched": 1})])
        assert await rejection(store, [Delete(Agent.KIND, "one", old.etag)]) == ("stale", 0)

    async def test_a_deletion_of_nothing_is_missing(self, store: TenantStore) -> None:
        assert await rejection(store, [agent("one"), Delete(Agent.KIND, "two")]) == ("missing", 1)
        assert await names(store) == []

    async def test_an_upsert_creates_or_replaces(self, store: TenantStore) -> None:
        await store.commit([Upsert(Agent.KIND, "one", {"created_at": at(0), "name": "first"})])
        await store.commit([Upsert(Agent.KIND, "one", {"created_at": at(0), "name": "second"})])
        assert (await present(store, Agent.KIND, "one")).body["name"] == "second"

    async def test_increments_add_to_fields_and_to_what_is_not_there(self, store: TenantStore) -> None:
        body = {"created_at": at(0), "value": 5, "dimensions": {"a/b": 1, "x~y": 2}}
        await store.commit([Create(SUMS, "hour", body)])
        amounts = {"value": 2, "count": 1, "dimensions.a/b": 4, "dimensions.x~y": 1, "dimensions.new one": -3}
        await store.commit([Increment(SUMS, "hour", amounts)])
        found = (await present(store, SUMS, "hour")).body
        assert (found["value"], found["count"]) == (7, 1)
        assert found["dimensions"] == {"a/b": 5, "x~y": 3, "new one": -3}

    async def test_an_increment_moves_the_etag(self, store: TenantStore) -> None:
        await store.commit([agent("one")])
        old = await present(store, Agent.KIND, "one")
        await store.commit([Increment(Agent.KIND, "one", {"touched": 1})])
        assert (await present(store, Agent.KIND, "one")).etag != old.etag

    async def test_an_increment_of_nothing_is_missing(self, store: TenantStore) -> None:
        assert await rejection(store, [Increment(COUNTER, "agents", {"value": 1})]) == ("missing", 0)

    async def test_an_increment_takes_more_than_ten_fields(self, store: TenantStore) -> None:
        await store.commit([Create(SUMS, "hour", {"created_at": at(0), "dimensions": {}})])
        await store.commit([Increment(SUMS, "hour", {f"dimensions.d{n}": n for n in range(25)})])
        found = (await present(store, SUMS, "hour")).body
        assert found["dimensions"] == {f"d{n}": n for n in range(25)}

    async def test_a_bounded_increment_reaches_its_limit_and_not_beyond(self, store: TenantStore) -> None:
        await store.commit([Create(COUNTER, "agents", {"created_at": at(0), "value": 1})])
        one = Increment(COUNTER, "agents", {"value": 1}, {"value": 2})
        await store.commit([one])
        assert await rejection(store, [agent("x"), one]) == ("condition", 1)
        assert (await present(store, COUNTER, "agents")).body["value"] == 2
        assert await store.get(Agent.KIND, "x") is None

    async def test_a_bounded_increment_counts_what_is_not_there_as_nothing(self, store: TenantStore) -> None:
        await store.commit([Create(COUNTER, "agents", {"created_at": at(0)})])
        assert await rejection(store, [Increment(COUNTER, "agents", {"value": 3}, {"value": 2})]) == (
            "condition",
            0,
        )
        await store.commit([Increment(COUNTER, "agents", {"value": 2}, {"value": 2})])
        assert (await present(store, COUNTER, "agents")).body["value"] == 2

    async def test_every_bound_of_an_increment_holds(self, store: TenantStore) -> None:
        await store.commit([Create(COUNTER, "both", {"created_at": at(0), "a": 1, "b": 1})])
        both = Increment(COUNTER, "both", {"a": 1, "b": 1}, {"a": 9, "b": 1})
        assert await rejection(store, [both]) == ("condition", 0)
        assert (await present(store, COUNTER, "both")).body["a"] == 1

    async def test_a_bound_is_exact_under_concurrency(self, store: TenantStore) -> None:
        await store.commit([Create(COUNTER, "agents", {"created_at": at(0), "value": 0})])

        async def one(number: int) -> bool:
            try:
                await store.commit([agent(f"a{number}"), Increment(COUNTER, "agents", {"value": 1}, {"value": 7})])
            except Rejected as rejected:
                assert (rejected.reason, rejected.index) == ("condition", 1)
                return False
            return True

        assert sum(await asyncio.gather(*(one(number) for number in range(20)))) == 7
        assert len(await names(store)) == 7
        assert (await present(store, COUNTER, "agents")).body["value"] == 7

    async def test_one_of_many_replacements_of_a_version_wins(self, store: TenantStore) -> None:
        await store.commit([agent("one", value=0)])
        old = await present(store, Agent.KIND, "one")

        async def replace(number: int) -> bool:
            try:
                await store.commit([Replace(Agent.KIND, "one", {"created_at": at(0), "value": number}, old.etag)])
            except Rejected as rejected:
                assert rejected.reason == "stale"
                return False
            return True

        won = await asyncio.gather(*(replace(number) for number in range(1, 9)))
        assert won.count(True) == 1
        assert (await present(store, Agent.KIND, "one")).body["value"] == won.index(True) + 1


class LimitContract:
    """What is refused before anything is sent."""

    @pytest.fixture
    def store(self, database: Database) -> TenantStore:
        return database.tenant(TENANT, SHARD)

    async def test_a_full_batch_is_taken_and_a_larger_one_is_not(self, store: TenantStore) -> None:
        await store.commit([agent(f"a{number:03}") for number in range(MAX_OPERATIONS)])
        with pytest.raises(TooLarge):
            await store.commit([agent(f"b{number:03}") for number in range(MAX_OPERATIONS + 1)])
        with pytest.raises(TooLarge):
            await store.commit([])
        assert len(await names(store)) == MAX_OPERATIONS

    async def test_an_increment_of_many_fields_counts_for_its_patches(self, store: TenantStore) -> None:
        wide = Increment(COUNTER, "wide", {f"f{number}": 1 for number in range(11)})
        with pytest.raises(TooLarge):
            await store.commit([*(agent(f"a{number:03}") for number in range(MAX_OPERATIONS - 1)), wide])

    async def test_more_than_two_megabytes_are_too_large(self, store: TenantStore) -> None:
        await store.commit([agent("large", text="ü" * 900_000)])
        with pytest.raises(TooLarge):
            await store.commit([agent("larger", text="ü" * 1_050_000)])
        assert await names(store) == ["large"]

    async def test_what_json_cannot_keep_exactly_is_invalid(self, store: TenantStore) -> None:
        deep: Any = "bottom"
        for _ in range(130):
            deep = [deep]
        for value in (float("nan"), float("inf"), 2**53 + 1, deep):
            with pytest.raises(Invalid):
                await store.commit([agent("one", value=value)])

    @pytest.mark.parametrize("id", ["", "a/b", "a\\b", "a?b", "a#b", "x" * 1024])
    async def test_an_id_that_the_store_cannot_keep_is_invalid(self, store: TenantStore, id: str) -> None:
        with pytest.raises(Invalid):
            await store.commit([agent(id)])

    async def test_a_batch_stays_within_one_container(self, store: TenantStore) -> None:
        with pytest.raises(ValueError, match="one container"):
            await store.commit([agent("one"), Create(BLOCK, "one", {"created_at": at(0)})])


class LifetimeContract:
    """Items with a time to live."""

    @pytest.fixture
    def store(self, database: Database) -> TenantStore:
        return database.tenant(TENANT, SHARD)

    async def test_an_item_is_gone_after_its_time(self, store: TenantStore, clock: FakeClock) -> None:
        await store.commit([Create(Agent.KIND, "short", {"created_at": at(0)}, ttl=10), agent("long")])
        clock.forward(seconds=9)
        assert "ttl" not in (await present(store, Agent.KIND, "short")).body
        clock.forward(seconds=2)
        assert await store.get(Agent.KIND, "short") is None
        assert await names(store) == ["long"]

    async def test_an_expired_item_is_missing_for_changes(self, store: TenantStore, clock: FakeClock) -> None:
        await store.commit([Create(Agent.KIND, "one", {"created_at": at(0)}, ttl=10)])
        clock.forward(seconds=11)
        assert await rejection(store, [Increment(Agent.KIND, "one", {"touched": 1})]) == ("missing", 0)

    async def test_a_replacement_sets_its_own_lifetime(self, store: TenantStore, clock: FakeClock) -> None:
        await store.commit([Create(Agent.KIND, "one", {"created_at": at(0)}, ttl=10), agent("two")])
        await store.commit(
            [
                Replace(Agent.KIND, "one", {"created_at": rfc3339(clock.now())}),
                Upsert(Agent.KIND, "two", {"created_at": at(0)}, ttl=10),
            ]
        )
        clock.forward(days=1)
        assert await names(store) == ["one"]

    async def test_what_is_buried_stays_so_longer_than_any_backup(self, store: TenantStore, clock: FakeClock) -> None:
        await store.commit([agent("one")])
        held = await present(store, Agent.KIND, "one")
        await store.commit([Bury(Agent.KIND, "one", {"created_at": at(0), "revision": 2}, held.etag)])
        clock.forward(days=20 * 365)
        assert [one.body["revision"] for one in await store.buried(Agent.KIND, ["one"])] == [2]
        assert await rejection(store, [agent("one")]) == ("exists", 0)

"""What every adapter of the database port must do: the registry, and the sweeps over all databases."""

from typing import Any

import pytest

from shared.database.port import (
    NEWEST_FIRST,
    Create,
    Database,
    Delete,
    Placement,
    PlatformStore,
    Rejected,
    Replace,
    Where,
)
from shared.ids import PLATFORM_TENANT_ID
from shared.jobs.deadletters import DeadLetter
from shared.tenancy.directory import RESERVATION
from shared.tenancy.directory import TENANT as TENANT_KIND
from shared.work.outbox import OUTBOX
from tests.contract.database import OTHER, SHARD, TENANT, at


def tenant(id: str, second: int = 0, **fields: Any) -> Create:
    placement = {"mode": "shared", "database": "shard-1", "generation": 1}
    return Create(TENANT_KIND, id, {"created_at": at(second), "status": "active", "placement": placement, **fields})


def outbox(id: str, second: int) -> Create:
    return Create(OUTBOX, id, {"created_at": at(second), "queue": "q"})


class RegistryContract:
    """One item at a time, and lists over all tenants."""

    @pytest.fixture
    def platform(self, database: Database) -> PlatformStore:
        return database.platform

    async def test_an_entry_is_created_read_changed_and_deleted(self, platform: PlatformStore) -> None:
        await platform.put(tenant(TENANT, name="one"), TENANT)
        held = await platform.get(TENANT_KIND, TENANT, TENANT)
        assert held is not None
        assert (held.body["id"], held.body["tenant_id"], held.body["name"]) == (TENANT, TENANT, "one")
        await platform.put(Replace(TENANT_KIND, TENANT, {**held.body, "name": "two"}, held.etag), TENANT)
        changed = await platform.get(TENANT_KIND, TENANT, TENANT)
        assert changed is not None
        assert changed.body == {**held.body, "name": "two"}
        await platform.put(Delete(TENANT_KIND, TENANT, changed.etag), TENANT)
        assert await platform.get(TENANT_KIND, TENANT, TENANT) is None

    async def test_an_entry_is_of_its_tenant_only(self, platform: PlatformStore) -> None:
        await platform.put(tenant(TENANT), TENANT)
        assert await platform.get(TENANT_KIND, OTHER, TENANT) is None

    async def test_a_name_is_reserved_once(self, platform: PlatformStore) -> None:
        mine = Create(RESERVATION, "slug", {"created_at": at(0), "holder": "me"})
        await platform.put(mine, PLATFORM_TENANT_ID)
        with pytest.raises(Rejected, match="exists"):
            await platform.put(Create(RESERVATION, "slug", {"created_at": at(0), "holder": "you"}), PLATFORM_TENANT_ID)
        held = await platform.get(RESERVATION, PLATFORM_TENANT_ID, "slug")
        assert held is not None
        assert held.body["holder"] == "me"

    async def test_a_change_of_another_version_is_stale_and_of_nothing_missing(self, platform: PlatformStore) -> None:
        await platform.put(tenant(TENANT), TENANT)
        held = await platform.get(TENANT_KIND, TENANT, TENANT)
        assert held is not None
        change = Replace(TENANT_KIND, TENANT, held.body, held.etag)
        await platform.put(change, TENANT)
        with pytest.raises(Rejected, match="stale"):
            await platform.put(change, TENANT)
        with pytest.raises(Rejected, match="missing"):
            await platform.put(Delete(RESERVATION, "none"), PLATFORM_TENANT_ID)

    async def test_lists_are_over_all_tenants_filtered_and_in_pages(self, platform: PlatformStore) -> None:
        for number in range(5):
            status = "active" if number != 2 else "trial"
            await platform.put(tenant(f"t{number}", number, status=status), f"t{number}")
        await platform.put(Create(DeadLetter.KIND, "letter", {"created_at": at(0)}), PLATFORM_TENANT_ID)
        active = [Where("status", "in", ["active", "none"])]
        first = await platform.query(TENANT_KIND, active, order=NEWEST_FIRST, limit=3)
        assert [item.body["id"] for item in first.items] == ["t4", "t3", "t1"]
        assert first.next == (at(1), "t1")
        rest = await platform.query(TENANT_KIND, active, order=NEWEST_FIRST, limit=3, after=first.next)
        assert [item.body["id"] for item in rest.items] == ["t0"]
        assert rest.next is None
        letters = await platform.query(DeadLetter.KIND)
        assert [item.body["id"] for item in letters.items] == ["letter"]

    async def test_the_registry_and_every_shard_say_that_they_are_well(self, database: Database) -> None:
        parts = database.parts()
        assert {"database", "database:shard-1", "database:shard-2"} <= set(parts)
        for well in parts.values():
            await well()

    async def test_databases_of_single_tenants_are_asked_and_those_that_are_being_made_are_not(
        self, database: Database
    ) -> None:
        for id, name, status in ((TENANT, "tenant-own", "active"), (OTHER, "not-made", "provisioning")):
            placement = Placement("dedicated", name).as_document()
            await database.platform.put(tenant(id, placement=placement, status=status), id)
        await database.provision(Placement("dedicated", "tenant-own"))
        await database.dedicated()

    async def test_asking_for_health_twice_leaves_nothing_that_anybody_lists(self, database: Database) -> None:
        for _ in range(2):
            for well in (*database.parts().values(), database.dedicated):
                await well()
        left = [await database.platform.query(kind) for kind in (TENANT_KIND, DeadLetter.KIND)]
        assert [page.items for page in left] == [[], []]


class SweepContract:
    """Items of all tenants in all databases."""

    @pytest.fixture
    def platform(self, database: Database) -> PlatformStore:
        return database.platform

    async def test_a_sweep_finds_items_in_shards_and_dedicated_databases(self, database: Database) -> None:
        own = Placement("dedicated", "tenant-own")
        await database.platform.put(tenant(OTHER, placement=own.as_document()), OTHER)
        await database.provision(own)
        await database.tenant(TENANT, SHARD).commit([outbox("late", 9), outbox("third", 3)])
        await database.tenant(TENANT, Placement("shared", "shard-2")).commit([outbox("second", 2)])
        await database.tenant(OTHER, own).commit([outbox("first", 1)])
        found = await database.platform.sweep(OUTBOX, [Where("created_at", "<", at(5))])
        assert [item.body["id"] for item in found.items] == ["first", "second", "third"]
        assert [item.body["tenant_id"] for item in found.items] == [OTHER, TENANT, TENANT]
        assert not found.missed

    async def test_a_sweep_takes_the_oldest_up_to_its_limit(self, database: Database) -> None:
        await database.tenant(TENANT, SHARD).commit([outbox("c", 3), outbox("a", 1)])
        await database.tenant(TENANT, Placement("shared", "shard-2")).commit([outbox("b", 2)])
        found = await database.platform.sweep(OUTBOX, [], limit=2)
        assert [item.body["id"] for item in found.items] == ["a", "b"]

    async def test_a_database_that_is_not_made_yet_stops_no_sweep_and_is_not_missed(self, database: Database) -> None:
        own = Placement("dedicated", "not-made").as_document()
        await database.platform.put(tenant(OTHER, placement=own, status="provisioning"), OTHER)
        await database.tenant(TENANT, SHARD).commit([outbox("a", 1)])
        swept = await database.platform.sweep(OUTBOX, [])
        assert (len(swept.items), [*swept.missed]) == (1, [])

    async def test_a_sweep_reads_the_registry_too(self, platform: PlatformStore) -> None:
        await platform.put(tenant(TENANT), TENANT)
        assert len((await platform.sweep(TENANT_KIND, [Where("status", "=", "active")])).items) == 1

    async def test_provisioning_twice_is_no_error(self, database: Database) -> None:
        own = Placement("dedicated", "tenant-own")
        await database.provision(own)
        await database.provision(own)
        await database.provision(SHARD)
        await database.tenant(TENANT, own).commit([outbox("a", 1)])

"""The contract's cases that `@vercel/cosmosdb-server` does right, so that not only our own double says so.

Left out, because of what that server does otherwise than Cosmos DB: a point read of nothing (500), patches and upserts
in batches (refused), deletions in them (500, though done), batches that fail (not atomic), time to live, queries by
partition key that find nothing, and an order against that of the composite index (refused; "composite indexes also
support an ORDER BY of the opposite order on all paths", cosmos-db/index-policy).
"""

from collections.abc import AsyncIterator

import pytest

from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Order, TenantStore
from tests.contract.database import LimitContract, WriteContract
from tests.contract.queries import QueryContract
from tests.contract.registry import RegistryContract, SweepContract
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos_setup import cosmos_database
from tests.doubles.vercel import vercel_server


@pytest.fixture
async def database(clock: FakeClock) -> AsyncIterator[CosmosDatabase]:
    async with vercel_server() as endpoint:
        database = cosmos_database(endpoint, clock)
        yield database
        await database.close()


class TestWrites:
    store = WriteContract.store
    test_read_back = WriteContract.test_a_created_item_reads_back_as_it_was_with_id_kind_and_tenant
    test_taken = WriteContract.test_a_taken_id_is_rejected_and_keeps_what_it_held
    test_kinds = WriteContract.test_the_same_id_may_be_taken_by_another_kind
    test_full_batch = LimitContract.test_a_full_batch_is_taken_and_a_larger_one_is_not


class TestQueries:
    store = QueryContract.store
    test_filters = QueryContract.test_filters_are_equality_ranges_and_lists
    test_values = QueryContract.test_values_are_bound_and_names_are_checked
    test_full_page = QueryContract.test_a_page_that_is_just_full_is_the_last_one
    test_two_hundred = QueryContract.test_two_hundred_values_may_be_asked_for
    test_scan = QueryContract.test_a_scan_is_everything_of_its_kinds_by_kind_and_id
    test_scan_since = QueryContract.test_a_scan_since_a_time_starts_there

    @pytest.mark.parametrize("order", [Order(), Order("id")])
    async def test_pages(self, store: TenantStore, order: Order) -> None:
        await QueryContract().test_pages_follow_each_other_without_gap_or_overlap(store, order)


class TestRegistry:
    platform = RegistryContract.platform
    test_name = RegistryContract.test_a_name_is_reserved_once
    test_oldest = SweepContract.test_a_sweep_takes_the_oldest_up_to_its_limit
    test_sweep = SweepContract.test_a_sweep_reads_the_registry_too

"""The contract of the database port on the embedded adapter."""

import pytest

from shared.database.sqlite import SqliteDatabase
from tests.contract.database import LifetimeContract, LimitContract, WriteContract
from tests.contract.fence import FenceContract, TombstoneContract
from tests.contract.queries import QueryContract
from tests.contract.registry import RegistryContract, SweepContract


@pytest.fixture
def database(sqlite_database: SqliteDatabase) -> SqliteDatabase:
    return sqlite_database


class TestWrites(WriteContract):
    pass


class TestLimits(LimitContract):
    pass


class TestLifetimes(LifetimeContract):
    pass


class TestQueries(QueryContract):
    pass


class TestRegistry(RegistryContract):
    pass


class TestSweeps(SweepContract):
    pass


class TestFence(FenceContract):
    pass


class TestTombstones(TombstoneContract):
    pass

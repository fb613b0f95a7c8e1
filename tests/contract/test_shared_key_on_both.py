"""The cursor key in the registry: one key for all instances, on either database."""

import pytest

from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Database
from shared.database.sqlite import SqliteDatabase
from shared.errors import Unavailable
from shared.folders import KEY_BYTES
from shared.tenancy.sharedkey import RegistryKey
from tests.doubles.clock import FakeClock


@pytest.fixture(params=["sqlite", "cosmos"])
def database(
    request: pytest.FixtureRequest, sqlite_database: SqliteDatabase, cosmos_database_of_double: CosmosDatabase
) -> Database:
    return sqlite_database if request.param == "sqlite" else cosmos_database_of_double


async def test_instances_agree_on_one_key(database: Database, clock: FakeClock) -> None:
    first, second = RegistryKey(database, clock), RegistryKey(database, clock)
    await first.load()
    await second.load()
    assert first() == second()
    assert len(first()) == KEY_BYTES


async def test_the_key_is_not_there_before_it_is_loaded(database: Database, clock: FakeClock) -> None:
    with pytest.raises(Unavailable):
        RegistryKey(database, clock)()

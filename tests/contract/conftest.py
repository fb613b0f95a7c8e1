"""The databases that the contract suites run on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.database.cosmos import CosmosDatabase
from shared.database.sqlite import SqliteDatabase
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database


@pytest.fixture
async def sqlite_database(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path, clock)
    yield database
    await database.close()


@pytest.fixture
async def cosmos_database_of_double(cosmos: CosmosDouble, clock: FakeClock) -> AsyncIterator[CosmosDatabase]:
    database = cosmos_database(cosmos.endpoint, clock)
    yield database
    await database.close()

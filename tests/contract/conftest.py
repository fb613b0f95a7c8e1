"""The databases that the contract suites run on."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.cosmos.aio import CosmosClient

from shared.database.cosmos.store import CosmosDatabase
from shared.database.sqlite import SqliteDatabase
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos_setup import KEY, cosmos_database

EMULATOR = "TEST_COSMOS_ENDPOINT"


@pytest.fixture
async def sqlite_database(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path, clock, ["shard-1", "shard-2"])
    yield database
    await database.close()


@pytest.fixture
async def cosmos_database_of_double(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[CosmosDatabase]:
    """On our double; or on the emulator that TEST_COSMOS_ENDPOINT names, which is emptied after each test."""
    emulator = os.environ.get(EMULATOR)
    endpoint = emulator or str(request.getfixturevalue("cosmos").endpoint)
    database = cosmos_database(endpoint, clock)
    yield database
    await database.close()
    if emulator:
        await _empty(emulator)


async def _empty(endpoint: str) -> None:
    async with CosmosClient(endpoint, KEY, enable_endpoint_discovery=False) as client:
        for found in [one async for one in client.list_databases()]:
            await client.delete_database(found["id"])

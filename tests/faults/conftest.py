"""The databases on which processes are killed at their calls."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions.kinds import KINDS
from shared.database.port import Database
from shared.database.sqlite import SqliteDatabase
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database
from tests.unit.world import FakeClock


@pytest.fixture
def moved_clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "cosmos"])
async def killed_on(request: pytest.FixtureRequest, tmp_path: Path, moved_clock: FakeClock) -> AsyncIterator[Database]:
    database: Database
    if request.param == "sqlite":
        database = SqliteDatabase(tmp_path / "database", moved_clock, ["shard-1"], KINDS)
    else:
        double: CosmosDouble = request.getfixturevalue("cosmos")
        database = cosmos_database(double.endpoint, moved_clock)
    yield database
    await database.close()

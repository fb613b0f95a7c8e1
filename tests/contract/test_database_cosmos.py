"""The contract of the database port on Cosmos DB, through the real SDK and our double of the gateway."""

import os

import pytest

from shared.database.cosmos.store import CosmosDatabase
from tests.contract.conftest import EMULATOR
from tests.contract.database import LifetimeContract, LimitContract, WriteContract
from tests.contract.fence import FenceContract, TombstoneContract
from tests.contract.queries import QueryContract
from tests.contract.registry import RegistryContract, SweepContract

# aiohttp means a body of more than 1 MB, which the SDK hands over in one piece
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


@pytest.fixture
def database(cosmos_database_of_double: CosmosDatabase) -> CosmosDatabase:
    return cosmos_database_of_double


class TestWrites(WriteContract):
    pass


class TestLimits(LimitContract):
    pass


@pytest.mark.skipif(EMULATOR in os.environ, reason="an emulator's clock cannot be moved")
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

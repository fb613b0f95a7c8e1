"""What tests share: a clock that they own, and the double of Cosmos DB (one server, reset for each test)."""

from collections.abc import Iterator

import pytest

from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def cosmos_server() -> Iterator[CosmosDouble]:
    with CosmosDouble() as double:
        yield double


@pytest.fixture
def cosmos(cosmos_server: CosmosDouble, clock: FakeClock) -> CosmosDouble:
    cosmos_server.reset(lambda: clock.now().timestamp())
    return cosmos_server

"""What tests share: the developer's own settings stay outside, a clock that they own, and the double of Cosmos DB."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble

OURS = ("FLOWGRID_", "APPLICATIONINSIGHTS_")
for name in [name for name in os.environ if name.upper().startswith(OURS)]:
    del os.environ[name]  # the app reads its environment when it is imported

MEMORY, ROOM = "/dev/shm", 6 * 1024**3
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)  # else most of a run is waiting for a disk


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

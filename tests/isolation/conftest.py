"""Stages, one for each module that asks: its tests share the stage's event loop."""

from collections.abc import AsyncIterator
from inspect import iscoroutinefunction

import pytest
import pytest_asyncio

import shared.jobs.messages
from tests.doubles.cosmos import CosmosDouble
from tests.isolation.cases import Stage
from tests.isolation.staging import stage
from tests.wire.conftest import FORGOTTEN_SOCKETS

HERE = __name__.rpartition(".")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function) or not item.module.__name__.startswith(HERE):
            continue
        if iscoroutinefunction(item.function):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)
        if "on_cosmos" in item.fixturenames:
            item.add_marker(FORGOTTEN_SOCKETS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    made = await stage(tmp_path_factory.mktemp("site") / "data")
    yield made
    await made.site.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_cosmos(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    with CosmosDouble() as double:
        made = await stage(tmp_path_factory.mktemp("site") / "data", double)
        yield made
        await made.site.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that names what is not there is not waited for."""
    monkeypatch.setattr(shared.jobs.messages, "LOOK_AGAIN_SECONDS", (0.0,))

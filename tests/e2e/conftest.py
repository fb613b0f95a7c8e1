"""One host for the whole end-to-end suite; tests share its event loop, and each makes the tenants that it needs."""

from collections.abc import AsyncIterator, Iterator
from inspect import iscoroutinefunction

import pytest
import pytest_asyncio

from tests.e2e.api import Flowgrid, Tenant, new_http
from tests.e2e.host import Host

HERE = __name__.rpartition(".")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The shared HTTP client lives in one loop, so all asynchronous tests of this folder run in that one."""
    for item in items:
        if not isinstance(item, pytest.Function) or not item.module.__name__.startswith(HERE):
            continue
        if iscoroutinefunction(item.function):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    served = Host(tmp_path_factory.mktemp("host"))
    try:
        served.start()
        yield served
    finally:
        served.stop()
    assert "Traceback" not in served.log, f"the host met the unexpected:\n{served.log}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def flowgrid(host: Host) -> AsyncIterator[Flowgrid]:
    async with new_http() as http:
        yield Flowgrid(host, http)


@pytest_asyncio.fixture(loop_scope="session")
async def acme(flowgrid: Flowgrid) -> Tenant:
    """A new tenant without tight limits."""
    return await flowgrid.onboard()

"""The doubles of Service Bus, of AI providers and of a Cosmos DB account over https, as the wire tests use them."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from shared.database.cosmos.containers import REGISTRY_CONTAINERS
from shared.database.cosmos.retry import Patience
from tests.doubles.ai import AiDouble, ai_double
from tests.doubles.certificate import make_certificate
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import NumberedIdentity, make_database
from tests.doubles.sockets import forget_cut_connections

if TYPE_CHECKING:
    from tests.doubles.servicebus import ServiceBusDouble

HERE = __name__.rpartition(".")[0]
# The SDKs leave the socket of a connection that broke, or that was being opened when they were closed (the Cosmos
# client cancels the refresh of its endpoints), to the garbage collector, which may come in the middle of a test.
LEFT = r"<(socket\.socket|function (_Selector|_SSLProtocol|StreamWriter))"
FORGOTTEN_SOCKETS = pytest.mark.filterwarnings(
    f"ignore:Exception ignored in. {LEFT}:pytest.PytestUnraisableExceptionWarning"
)
DOUBLES = {"double", "account"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and item.module.__name__.startswith(HERE)
            and not DOUBLES.isdisjoint(item.fixturenames)
        ):
            item.add_marker(FORGOTTEN_SOCKETS)


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """What is left in a cycle with a test's own event loop can go when that has closed, and not in the next module."""
    yield
    forget_cut_connections()


@pytest.fixture
def double() -> "Iterator[ServiceBusDouble]":
    from tests.doubles.servicebus import service_bus

    with service_bus() as running:
        yield running
    forget_cut_connections()


@pytest.fixture(scope="package")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CosmosDouble]:
    with CosmosDouble(certificate=make_certificate(tmp_path_factory.mktemp("tls"))) as double:
        yield double
    forget_cut_connections()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts at a call to Cosmos DB take off what it may take in all, and nobody waits for them."""

    async def rest(self: Patience, pause: float) -> None:
        self._until -= pause
        await asyncio.sleep(0)

    monkeypatch.setattr(Patience, "_rest", rest)


@pytest.fixture(scope="package")
def ai_server() -> Iterator[AiDouble]:
    with ai_double() as double:
        yield double


@pytest.fixture
def provider(ai_server: AiDouble) -> AiDouble:
    """An AI provider that nobody has asked yet."""
    ai_server.reset()
    return ai_server


@pytest.fixture
def azure(account: CosmosDouble, clock: FakeClock) -> CosmosDouble:
    """An account with the registry and one shard."""
    account.reset(lambda: clock.now().timestamp())
    NumberedIdentity.made = 0
    make_database(account, "registry", REGISTRY_CONTAINERS)
    make_database(account, "shard-1")
    return account

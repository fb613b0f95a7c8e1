"""The double of Service Bus, as the wire tests use it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.doubles.servicebus import ServiceBusDouble

HERE = __name__.rpartition(".")[0]
# The SDK leaves the socket of a broken connection to the garbage collector, which may come in the middle of a test.
FORGOTTEN_SOCKETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and item.module.__name__.startswith(HERE)
            and "double" in item.fixturenames
        ):
            item.add_marker(FORGOTTEN_SOCKETS)


@pytest.fixture
def double() -> "Iterator[ServiceBusDouble]":
    from tests.doubles.servicebus import forget_cut_connections, service_bus

    with service_bus() as running:
        yield running
    forget_cut_connections()

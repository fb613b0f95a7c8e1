"""The double of Service Bus, as the wire tests use it."""

from collections.abc import Iterator

import pytest

from tests.doubles.servicebus import ServiceBusDouble, forget_cut_connections, service_bus


@pytest.fixture
def double() -> Iterator[ServiceBusDouble]:
    with service_bus() as running:
        yield running
    forget_cut_connections()

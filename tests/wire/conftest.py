"""The double of Service Bus, as the wire tests use it."""

import gc
from collections.abc import Iterator

import pytest

from tests.doubles.servicebus import ServiceBusDouble, service_bus


@pytest.fixture
def double() -> Iterator[ServiceBusDouble]:
    with service_bus() as running:
        yield running
    gc.collect()  # the SDK forgets to close the socket of a broken connection: it warns here, not in some later test

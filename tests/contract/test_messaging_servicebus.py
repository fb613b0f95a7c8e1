"""The contract of the messaging port on Service Bus: the real SDK against the double."""

from collections.abc import AsyncIterator, Iterator

import pytest

from local.servicebus import ServiceBusSource
from shared.clock import SystemClock
from shared.messaging.servicebus import ServiceBusMessaging
from tests.contract.messaging import Broker, MessagingContract
from tests.doubles.servicebus import ServiceBusDouble, forget_cut_connections, service_bus


class ServiceBus(Broker):
    def __init__(self, double: ServiceBusDouble) -> None:
        self._double = double
        self.messaging = ServiceBusMessaging(
            namespace="", emulator_connection=double.connection, health_queue="things", clock=SystemClock()
        )
        self.azure_source = ServiceBusSource(double.connection)
        self.source = self.azure_source

    async def lose_locks(self) -> None:
        self._double.expire_locks()

    async def pass_time(self, seconds: float) -> None:
        self._double.forward(seconds)

    def go_away(self) -> None:
        self._double.stop()


@pytest.fixture
def double() -> Iterator[ServiceBusDouble]:
    with service_bus() as running:
        yield running


@pytest.fixture
async def broker(double: ServiceBusDouble) -> AsyncIterator[Broker]:
    azure = ServiceBus(double)
    yield azure
    await azure.azure_source.close()
    await azure.messaging.close()
    forget_cut_connections()


class TestMessaging(MessagingContract):
    pass

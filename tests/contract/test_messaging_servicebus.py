"""The contract of the messaging port on Service Bus: the real SDK against the double.

Or against the emulator that TEST_SERVICEBUS_CONNECTION names: its queues `things` and `elsewhere` lock for five
seconds, and as it remembers ids over tests, each test's ids get a prefix of their own.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from azure.servicebus.exceptions import MessageLockLostError

from local.servicebus import ServiceBusReceiving
from shared.clock import SystemClock
from shared.messaging.port import Message, Messaging
from shared.messaging.receiving import Lease
from shared.messaging.servicebus import ServiceBusMessaging
from tests.contract.messaging import QUEUE, Broker, MessagingContract
from tests.doubles.servicebus import ServiceBusDouble, service_bus
from tests.doubles.sockets import forget_cut_connections

EMULATOR = "TEST_SERVICEBUS_CONNECTION"
EMULATOR_LOCK_SECONDS = 5.0


def adapter(connection: str) -> ServiceBusMessaging:
    return ServiceBusMessaging(namespace="", emulator_connection=connection, health_queue=QUEUE, clock=SystemClock())


class OnDouble(Broker):
    def __init__(self, double: ServiceBusDouble) -> None:
        self._double = double
        self.messaging = self.azure = adapter(double.connection)
        self.receiving = self.azure_receiving = ServiceBusReceiving(double.connection)

    async def lose_locks(self) -> None:
        self._double.expire_locks()

    async def pass_time(self, seconds: float) -> None:
        self._double.forward(seconds)

    def go_away(self) -> None:
        self._double.stop()

    async def close(self) -> None:
        await self.azure_receiving.close()
        await self.azure.close()


class OnEmulator(Broker):
    def __init__(self, connection: str) -> None:
        self._connection = connection
        self._prefix = f"{uuid4().hex}:"
        self.azure = adapter(connection)
        self.azure_receiving = ServiceBusReceiving(connection)
        self.messaging = PrefixedMessaging(self.azure, self._prefix)
        self.receiving = PrefixedReceiving(self.azure_receiving, self._prefix)

    async def lose_locks(self) -> None:
        await asyncio.sleep(EMULATOR_LOCK_SECONDS + 0.5)

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def go_away(self) -> None:
        nobody = re.sub(r"sb://[^;/]+", "sb://localhost:1", self._connection)
        self.messaging = PrefixedMessaging(adapter(nobody), self._prefix)

    async def empty(self) -> None:
        """Nothing is left for another test."""
        for queue in (QUEUE, "elsewhere"):
            while (lease := await self.azure_receiving.receive(queue, most=100)).messages:
                with suppress(MessageLockLostError):  # buffered for longer than it was locked: it comes again
                    await self.azure_receiving.complete(lease)
            for message, _ in await self.azure.dead(queue):
                await self.azure.drop_dead(queue, message.id)

    async def close(self) -> None:
        await self.lose_locks()  # what the test still holds would come to the next one
        await self.empty()
        await self.azure_receiving.close()
        await self.azure.close()


class PrefixedMessaging(Messaging):
    def __init__(self, inner: Messaging, prefix: str) -> None:
        self._inner = inner
        self._prefix = prefix

    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        named = [message._replace(id=self._prefix + message.id) for message in messages]
        await self._inner.send(queue, named, delay=delay)

    async def dead(self, queue: str, *, most: int = 100) -> list[tuple[Message, str]]:
        found = await self._inner.dead(queue, most=most)
        own = [(one, reason) for one, reason in found if one.id.startswith(self._prefix)]  # not another test's
        return [(one._replace(id=one.id.removeprefix(self._prefix)), reason) for one, reason in own]

    async def drop_dead(self, queue: str, id: str) -> None:
        await self._inner.drop_dead(queue, self._prefix + id)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()


class PrefixedReceiving:
    def __init__(self, inner: ServiceBusReceiving, prefix: str) -> None:
        self._inner = inner
        self._prefix = prefix
        self.waiting, self.renew = inner.waiting, inner.renew
        self.retry, self.complete, self.close = inner.retry, inner.complete, inner.close

    async def receive(self, queue: str, *, most: int = 1, lease_seconds: float = 0.0) -> Lease:
        lease = await self._inner.receive(queue, most=most)
        named = [(one._replace(id=one.id.removeprefix(self._prefix)), count) for one, count in lease.messages]
        return Lease(lease.token, named)


@pytest.fixture
def double() -> Iterator[ServiceBusDouble]:
    with service_bus() as running:
        yield running


@pytest.fixture
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    one: OnDouble | OnEmulator
    if EMULATOR in os.environ:
        one = OnEmulator(os.environ[EMULATOR])
        await one.empty()
    else:
        one = OnDouble(request.getfixturevalue("double"))
    yield one
    await one.close()
    forget_cut_connections()


class TestMessaging(MessagingContract):
    pass

"""Queue triggers from a Service Bus (an emulator's, or the tests' double), for the development host only.

On Azure the Functions host does this. Receivers are not coroutine-safe, so each queue's calls go one after another.
"""

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from shared.messaging.receiving import Lease
from shared.messaging.servicebus import incoming

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

WAIT_SECONDS = 0.1


class ServiceBusSource:
    """The same steps as the embedded queue's: receive under a lock, renew, complete, give back."""

    def __init__(self, connection: str) -> None:
        self._connection = connection
        self._opening = asyncio.Lock()
        self._client: ServiceBusClient | None = None
        self._receivers: dict[str, tuple[ServiceBusReceiver, asyncio.Lock]] = {}
        self._leased: dict[str, tuple[str, list[Any]]] = {}

    async def waiting(self, queue: str) -> bool:
        return True  # only a receive can tell

    async def receive(self, queue: str, *, most: int = 1, lease_seconds: float = 0.0) -> Lease:
        """Lock up to `most` messages, for as long as the queue locks; an empty lease after a short wait."""
        receiver, lock = await self._receiver(queue)
        async with lock:
            found = await receiver.receive_messages(max_message_count=most, max_wait_time=WAIT_SECONDS)
        token = uuid.uuid4().hex
        if found:
            self._leased[token] = (queue, found)
        return Lease(token, [(incoming(one), (one.delivery_count or 0) + 1) for one in found])

    async def renew(self, lease: Lease, seconds: float) -> None:
        queue, found = self._leased[lease.token]
        receiver, lock = await self._receiver(queue)
        async with lock:
            for one in found:
                await receiver.renew_message_lock(one)

    async def retry(self, lease: Lease, pause: float) -> None:
        """Give the messages back; Service Bus knows no pause before the next delivery."""
        queue, found = self._leased.pop(lease.token)
        await asyncio.sleep(pause)
        receiver, lock = await self._receiver(queue)
        async with lock:
            for one in found:
                await receiver.abandon_message(one)

    async def complete(self, lease: Lease) -> None:
        queue, found = self._leased.pop(lease.token)
        receiver, lock = await self._receiver(queue)
        async with lock:
            for one in found:
                await receiver.complete_message(one)

    async def close(self) -> None:
        for receiver, _ in self._receivers.values():
            await receiver.close()
        self._receivers.clear()
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _receiver(self, queue: str) -> "tuple[ServiceBusReceiver, asyncio.Lock]":
        async with self._opening:
            return await self._opened(queue)

    async def _opened(self, queue: str) -> "tuple[ServiceBusReceiver, asyncio.Lock]":
        if queue not in self._receivers:
            if self._client is None:
                from azure.servicebus.aio import ServiceBusClient

                self._client = ServiceBusClient.from_connection_string(self._connection)
            receiver = self._client.get_queue_receiver(queue)
            await receiver.__aenter__()  # opens the link: the wait of a receive would run out over it
            self._receivers[queue] = (receiver, asyncio.Lock())
        return self._receivers[queue]

"""Queue triggers from a Service Bus (an emulator's, or the tests' double), for the development host only.

On Azure the Functions host does this. Receivers are not coroutine-safe, so each queue's calls go one after another.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from shared.messaging.receiving import Lease
from shared.messaging.servicebus import incoming
from shared.messaging.sockets import without_leftovers

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

WAIT_SECONDS = 0.1


class ServiceBusReceiving:
    """The same steps as the embedded queue's: receive under a lock, renew, complete, give back."""

    def __init__(self, connection: str) -> None:
        self._connection = connection
        self._client: ServiceBusClient | None = None
        self._receivers: dict[str, ServiceBusReceiver] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._leased: dict[str, tuple[str, list[Any]]] = {}

    async def waiting(self, queue: str) -> bool:
        return True  # only a receive can tell

    async def receive(self, queue: str, *, most: int = 1, lease_seconds: float = 0.0) -> Lease:
        """Lock up to `most` messages, for as long as the queue locks; an empty lease after a short wait."""
        async with self._using(queue) as receiver:
            found = await receiver.receive_messages(max_message_count=most, max_wait_time=WAIT_SECONDS)
        token = uuid.uuid4().hex
        if found:
            self._leased[token] = (queue, found)
        return Lease(token, [(incoming(one), (one.delivery_count or 0) + 1) for one in found])

    async def renew(self, lease: Lease, seconds: float) -> None:
        queue, found = self._leased[lease.token]
        async with self._using(queue) as receiver:
            for one in found:
                await receiver.renew_message_lock(one)

    async def retry(self, lease: Lease, pause: float) -> None:
        """Give the messages back; Service Bus knows no pause before the next delivery."""
        queue, found = self._leased.pop(lease.token)
        await asyncio.sleep(pause)
        async with self._using(queue) as receiver:
            for one in found:
                await receiver.abandon_message(one)

    async def complete(self, lease: Lease) -> None:
        queue, found = self._leased.pop(lease.token)
        async with self._using(queue) as receiver:
            for one in found:
                await receiver.complete_message(one)

    async def close(self) -> None:
        for receiver in self._receivers.values():
            await receiver.close()
        self._receivers.clear()
        if self._client is not None:
            await self._client.close()
            self._client = None

    @asynccontextmanager
    async def _using(self, queue: str) -> "AsyncIterator[ServiceBusReceiver]":
        """The queue's receiver, for this block alone. One that fails is not used again.

        A receiver whose connection broke would have to open anew within the short wait of a receive, and never can.
        """
        async with self._turns[queue]:
            if queue not in self._receivers:
                self._receivers[queue] = await self._opened(queue)
            try:
                yield self._receivers[queue]
            except Exception:
                with suppress(Exception):
                    await self._receivers.pop(queue).close()
                raise

    async def _opened(self, queue: str) -> "ServiceBusReceiver":
        if self._client is None:
            from azure.servicebus.aio import ServiceBusClient

            self._client = ServiceBusClient.from_connection_string(self._connection, retry_total=0)
        receiver = without_leftovers(self._client.get_queue_receiver(queue))
        await receiver.__aenter__()  # opens the link
        return receiver

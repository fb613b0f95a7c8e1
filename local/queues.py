"""Service Bus triggers over the embedded queue: peek-lock, settled as a whole, one dispatcher per function.

Follows the Service Bus extension: a call that returns completes its messages, one that raises leaves all of them for
another delivery. Three things are gentler here: a failed message waits a little longer after each delivery; the lock
is short (renewed while the handler runs, that of a batch too), so that what a killed host had in hand comes back soon;
and after a batch the next is gathered for a moment, so that what many calls cause is worked on together.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from local.bindings import Function
from local.messages import service_bus_batch, service_bus_message
from shared.messaging.port import Message
from shared.messaging.queues import MESSAGES_AT_ONCE
from shared.messaging.receiving import Lease, Receiving

logger = logging.getLogger("flowgrid.local.queues")
CONCURRENT_CALLS = 16  # as host.json says, of a function that takes messages one by one; batches run one after another
POLL_SECONDS = 0.05
GATHER_SECONDS = 0.5  # before the next batch, unless more than one is waiting
LOCK_SECONDS = 20.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
BROKEN_QUEUE_PAUSE_SECONDS = 1.0


class QueueTrigger:
    """One queue function; `take` and `handle` are the steps that `loop` repeats."""

    def __init__(self, function: Function, messaging: Receiving) -> None:
        self.function = function
        self.queue = str(function.trigger["queueName"])
        self.many = function.trigger.get("cardinality") == "many"
        self._most = MESSAGES_AT_ONCE if self.many else 1
        self._data_type: str | None = function.trigger.get("dataType")
        self._messaging = messaging
        self._slots = asyncio.Semaphore(1 if self.many else CONCURRENT_CALLS)
        self._calls: set[asyncio.Task[None]] = set()

    async def take(self) -> Lease | None:
        """Lock what is due, or None."""
        if not await self._messaging.waiting(self.queue):
            return None
        lease = await self._messaging.receive(self.queue, most=self._most, lease_seconds=LOCK_SECONDS)
        return lease if lease.messages else None

    async def handle(self, lease: Lease) -> None:
        """Call the function and settle."""
        try:
            async with self._renewed(lease):
                await self.call(lease.messages)
        except Exception:
            pause = pause_after(max(deliveries for _, deliveries in lease.messages))
            logger.exception("function %s failed; its messages come again in %.1f s", self.function.name, pause)
            await self._messaging.retry(lease, pause)
        else:
            await self._messaging.complete(lease)

    async def call(self, messages: Sequence[tuple[Message, int]]) -> None:
        """Call the function with messages, each with its number of deliveries."""
        await self.function.call(self._value(messages))

    async def drain(self) -> int:
        """Take and handle, one lease after another, until nothing is due; how many messages that were."""
        count = 0
        while lease := await self.take():
            await self.handle(lease)
            count += len(lease.messages)
        return count

    async def loop(self, stop: asyncio.Event) -> None:
        """Dispatch until `stop`, then let the calls under way finish."""
        try:
            while not stop.is_set():
                await self._slots.acquire()
                taken = 0 if stop.is_set() else await self._dispatch()
                if not taken:
                    self._slots.release()
                if not taken or (self.many and taken < self._most):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), GATHER_SECONDS if taken else POLL_SECONDS)
            await asyncio.gather(*self._calls)
        finally:
            for call in self._calls:
                call.cancel()

    async def _dispatch(self) -> int:
        """How many messages a call has begun with."""
        try:
            lease = await self.take()
        except Exception:
            logger.exception("queue %s does not answer", self.queue)
            await asyncio.sleep(BROKEN_QUEUE_PAUSE_SECONDS)
            return 0
        if lease is None:
            return 0
        call = asyncio.create_task(self._handle_safely(lease), name=f"call of {self.function.name}")
        self._calls.add(call)
        call.add_done_callback(self._done)
        return len(lease.messages)

    async def _handle_safely(self, lease: Lease) -> None:
        try:
            await self.handle(lease)
        except Exception:
            logger.exception("messages of queue %s could not be settled; they come again", self.queue)

    def _done(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._slots.release()

    def _value(self, messages: Sequence[tuple[Message, int]]) -> Any:
        if self.many:
            return service_bus_batch(messages, self._data_type)
        message, deliveries = messages[0]
        return service_bus_message(message, deliveries, self._data_type)

    @asynccontextmanager
    async def _renewed(self, lease: Lease) -> AsyncIterator[None]:
        """Renew the lock in the background while the block runs."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(LOCK_SECONDS / 3)
                try:
                    await self._messaging.renew(lease, LOCK_SECONDS)
                except Exception:
                    logger.exception("a lock of queue %s could not be renewed", self.queue)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing


def pause_after(deliveries: int) -> float:
    """Seconds until a failed message comes again: 0.2, doubling, at most 5."""
    pause: float = FIRST_PAUSE_SECONDS * 2 ** min(deliveries - 1, 10)
    return min(LONGEST_PAUSE_SECONDS, pause)

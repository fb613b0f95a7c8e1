"""Messaging on Azure Service Bus queues, through azure-servicebus (aio), loaded when the first message is sent.

A send that has no answer is sent again by the SDK under the same message ids, and the queue's duplicate detection drops
the second one. Senders are not coroutine-safe (SDK README), so calls that meet at one queue share one send.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.clock import Clock
from shared.emulators import is_emulator
from shared.errors import TooLarge, Unavailable
from shared.messaging.port import Message, Messaging, as_text
from shared.messaging.received import message_from
from shared.messaging.sockets import without_leftovers
from shared.tracing import traceparent

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

logger = logging.getLogger("flowgrid.servicebus")
CALL_SECONDS = 10.0
TRY_SECONDS = 3.0  # for one try of a call, so that a link which leads nowhere leaves time for a new one
IDLE_SECONDS = 540.0  # Service Bus detaches a link after ten minutes, and who finds it so waits for the SDK to notice
RETRIES: dict[str, Any] = {
    "retry_total": 3,
    "retry_backoff_factor": 0.1,
    "retry_backoff_max": 2,
    "retry_mode": "exponential",
    "try_timeout": TRY_SECONDS,
}
RECEIVE_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 2.0
DEAD_AT_ONCE = 100
OLDEST = 1  # without a sequence number, a peek goes on behind the last one


class ServiceBusMessaging(Messaging):
    """`namespace` (`<name>.servicebus.windows.net`) with the app's own identity, or an emulator's connection."""

    def __init__(self, *, namespace: str, emulator_connection: str, health_queue: str, clock: Clock) -> None:
        if emulator_connection and not is_emulator(emulator_connection):
            raise ValueError("a connection string is for an emulator on this machine only")
        self._namespace = namespace
        self._emulator_connection = emulator_connection
        self._health_queue = health_queue
        self._clock = clock
        self._look_at: float | None = None  # when it is asked again, since a send had no answer
        self._client: ServiceBusClient | None = None
        self._credential: Any = None
        self._lanes: dict[str, _Lane] = {}
        self._readers: dict[tuple[str, str | None], _Reader] = {}

    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        due = self._clock.now() + delay if delay else None
        outgoing = [_outgoing(message, due) for message in messages]
        if not outgoing:
            return
        self._refuse_while_away()
        try:
            async with _mapped(f"queue {queue}"):
                if queue not in self._lanes:
                    self._lanes[queue] = _Lane(lambda: self._sender(queue), self._clock)
                await self._lanes[queue].send(outgoing)
        except Unavailable:
            self._look_at = self._clock.monotonic() + LOOK_AGAIN_SECONDS
            raise
        self._look_at = None

    async def dead(self, queue: str, *, most: int = DEAD_AT_ONCE) -> list[tuple[Message, str]]:
        async with _mapped(f"dead letters of {queue}"), self._dead_letters(queue).using() as receiver:
            found = await receiver.peek_messages(max_message_count=most, sequence_number=OLDEST)
        return [(incoming(one), _reason(one)) for one in found]

    async def drop_dead(self, queue: str, id: str) -> None:
        from azure.servicebus.exceptions import MessageLockLostError

        reader = self._dead_letters(queue)
        async with _mapped(f"dead letters of {queue}"), reader.using() as receiver:
            while one := await reader.locked(receiver, id):
                try:
                    await receiver.complete_message(one)
                    return
                except MessageLockLostError:
                    continue

    async def ping(self) -> None:
        async with _mapped("the namespace"), self._reader(self._health_queue).using() as receiver:
            await receiver.peek_messages(max_message_count=1, sequence_number=OLDEST)

    async def close(self) -> None:
        for lane in self._lanes.values():
            await lane.close()
        for reader in self._readers.values():
            await reader.close()
        self._lanes.clear()
        self._readers.clear()
        if self._client is not None:
            await self._client.close()
        if self._credential is not None:
            await self._credential.close()
        self._client = self._credential = None

    def _refuse_while_away(self) -> None:
        """Every call to the API sends: while nothing answers, one at a time finds out, and nobody else waits."""
        if self._look_at is None:
            return
        now = self._clock.monotonic()
        if now < self._look_at:
            raise Unavailable("Service Bus did not answer a moment ago.", retry_after=5)
        self._look_at = now + CALL_SECONDS

    def _sender(self, queue: str) -> "ServiceBusSender":
        return without_leftovers(self._open().get_queue_sender(queue))

    def _dead_letters(self, queue: str) -> "_Reader":
        from azure.servicebus import ServiceBusSubQueue

        return self._reader(queue, ServiceBusSubQueue.DEAD_LETTER)

    def _reader(self, queue: str, part: str | None = None) -> "_Reader":
        if (queue, part) not in self._readers:
            self._readers[queue, part] = _Reader(
                lambda: without_leftovers(self._open().get_queue_receiver(queue, sub_queue=part)), self._clock
            )
        return self._readers[queue, part]

    def _open(self) -> "ServiceBusClient":
        if self._client is None:
            from azure.servicebus.aio import ServiceBusClient

            if self._emulator_connection:
                self._client = ServiceBusClient.from_connection_string(self._emulator_connection, **RETRIES)
            else:
                from azure.identity.aio import DefaultAzureCredential

                self._credential = DefaultAzureCredential()
                self._client = ServiceBusClient(self._namespace, self._credential, **RETRIES)
        return self._client


class _Lane:
    """One queue's sender. Who comes while a send is under way waits, and goes together with the others.

    A sender that has not answered in time, or not been used for long, is not asked again: it may lead nowhere.
    """

    def __init__(self, sender: "Callable[[], ServiceBusSender]", clock: Clock) -> None:
        self._new = sender
        self._sender = sender()
        self._clock = clock
        self._used = clock.monotonic()
        self._closing: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._waiting: list[tuple[list[ServiceBusMessage], asyncio.Future[None]]] = []

    async def send(self, messages: list["ServiceBusMessage"]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, done))
        async with self._lock:
            if not done.done():
                await self._send_all()
        await done

    async def _send_all(self) -> None:
        taken, self._waiting = self._waiting, []
        outcome: Exception | None = Unavailable("The send took too long.", retry_after=5)
        if self._clock.monotonic() - self._used > IDLE_SECONDS:
            self._replace_sender()
        self._used = self._clock.monotonic()
        try:
            await self._send([message for messages, _ in taken for message in messages])
            outcome = None
        except Exception as error:
            outcome = error
        except asyncio.CancelledError:
            self._replace_sender()
            raise
        finally:
            for _, done in taken:
                if not done.done():
                    done.set_exception(outcome) if outcome else done.set_result(None)
                    done.exception()  # who has gone will not ask

    async def _send(self, messages: list["ServiceBusMessage"]) -> None:
        """As many to a batch as the queue takes; a full one is sent and the next begun."""
        from azure.servicebus.exceptions import MessageSizeExceededError

        batch = await self._sender.create_message_batch()
        for message in messages:
            try:
                batch.add_message(message)
            except (MessageSizeExceededError, ValueError):
                if not len(batch):
                    raise
                await self._sender.send_messages(batch)
                batch = await self._sender.create_message_batch()
                batch.add_message(message)
        await self._sender.send_messages(batch)

    def _replace_sender(self) -> None:
        closing = asyncio.create_task(self._sender.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._sender = self._new()

    async def close(self) -> None:
        await asyncio.gather(self._sender.close(), *self._closing, return_exceptions=True)


class _Reader:
    """A receiver that is kept, as opening one takes several round trips; for one call at a time.

    One that failed, or was not used for long, is closed and not used again. Messages locked on the way to another one
    are kept for their turn.
    """

    def __init__(self, receiver: "Callable[[], ServiceBusReceiver]", clock: Clock) -> None:
        self._new = receiver
        self._clock = clock
        self._used = clock.monotonic()
        self._receiver: ServiceBusReceiver | None = None
        self._turn = asyncio.Lock()
        self._locked: dict[str, list[ServiceBusReceivedMessage]] = defaultdict(list)

    @asynccontextmanager
    async def using(self) -> "AsyncIterator[ServiceBusReceiver]":
        async with self._turn:
            try:
                if self._clock.monotonic() - self._used > IDLE_SECONDS:
                    await self.close()
                self._used = self._clock.monotonic()
                self._receiver = self._receiver or self._new()
                yield self._receiver
            except BaseException:
                await self.close()
                raise

    async def locked(self, receiver: "ServiceBusReceiver", id: str) -> "ServiceBusReceivedMessage | None":
        """The message of this id, locked; None when no more come."""
        while not self._locked[id]:
            found = await receiver.receive_messages(max_message_count=DEAD_AT_ONCE, max_wait_time=RECEIVE_SECONDS)
            if not found:
                return None
            for one in found:
                self._locked[incoming(one).id].append(one)
        return self._locked[id].pop(0)

    async def close(self) -> None:
        receiver, self._receiver = self._receiver, None
        self._locked.clear()
        if receiver is not None:
            with suppress(Exception):
                await receiver.close()


@asynccontextmanager
async def _mapped(what: str) -> AsyncIterator[None]:
    """Within a bounded time, and with our errors for the SDK's."""
    from azure.core.exceptions import AzureError
    from azure.servicebus.exceptions import MessageSizeExceededError

    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except MessageSizeExceededError as error:
        raise TooLarge("A message is larger than the queue takes.") from error
    except (AzureError, OSError, TimeoutError) as error:
        raise Unavailable(f"Service Bus does not answer for {what}: {type(error).__name__}", retry_after=5) from error


def _outgoing(message: Message, due: datetime | None) -> "ServiceBusMessage":
    from azure.servicebus import ServiceBusMessage

    return ServiceBusMessage(
        as_text(message),
        message_id=message.id,
        content_type="application/json",
        application_properties=_properties(message),
        scheduled_enqueue_time_utc=due,
    )


def _properties(message: Message) -> dict[str | bytes, Any]:
    """`traceparent` is what other clients of Service Bus call it, too (Azure SDK guidelines, distributed tracing)."""
    cause = message.traceparent or traceparent()
    return {"tenant_id": message.tenant_id, **({"traceparent": cause} if cause else {})}


def incoming(received: Any) -> Message:
    """A message as the SDK received it; never raises, whoever has sent it."""
    properties = {_text(name): value for name, value in (received.application_properties or {}).items()}
    id = received.message_id
    tenant_id, cause = _text(properties.get("tenant_id")), _text(properties.get("traceparent"))
    return message_from(None if id is None else str(_text(id)), tenant_id, _raw(received.body), cause)


def _raw(body: Any) -> bytes:
    """The bytes of a body; of a foreign one that is an AMQP value or sequence, its text."""
    if isinstance(body, str | bytes | dict) or not isinstance(body, Iterable):
        return body if isinstance(body, bytes) else str(body).encode(errors="replace")
    parts = list(body)
    return b"".join(parts) if all(isinstance(part, bytes) for part in parts) else str(parts).encode(errors="replace")


def _reason(received: Any) -> str:
    return ": ".join(part for part in (received.dead_letter_reason, received.dead_letter_error_description) if part)


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value

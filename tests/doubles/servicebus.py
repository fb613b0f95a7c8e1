"""A Service Bus double for the real azure-servicebus SDK: AMQP 1.0 on Proton, SASL anonymous, no TLS, in a thread.

Links are `amqps://host/queue`, management links end in `$management` and answer requests, `$cbs` takes any token.
"""

import tests.doubles.proton_here  # noqa: F401 - skips what needs Proton where it is not

# isort: split
import queue as queues
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from operator import eq
from typing import Any, TypeVar

from proton import UNDESCRIBED, Array, Condition, Data, Delivery, Link, Message, int32, symbol, timestamp
from proton import Event as ProtonEvent
from proton.handlers import MessagingHandler
from proton.reactor import Container

from tests.doubles.servicebus_amqp import unbatched
from tests.doubles.servicebus_queue import LOCK_SECONDS, DeadLetters, Queue

T = TypeVar("T")
TICK_SECONDS = 0.02
CREDIT = 1000
MAX_MESSAGE_BYTES = 256 * 1024
LOCK_LOST = "com.microsoft:message-lock-lost"
IDLE_SECONDS = 600.0  # then a link is detached by force, whatever heartbeats say: azure-sdk-for-python#10127, #38627
DETACHED = "amqp:link:detach-forced"
IDLE = "The link is force detached. Details: AmqpMessagePublisher.IdleTimerExpired: Idle timeout: 00:10:00."
# azure-sdk-for-python#36333, #21955: whatever the ids in it, for the batch around them has none
NO_BATCHES = "Message to a partitioned entity with duplicate detection enabled must have … PartitionKey or MessageId"


class ServiceBusDouble:
    """A running broker; its methods may be called from any thread."""

    def __init__(self, lock_seconds: float = LOCK_SECONDS, port: int = 0) -> None:
        self._broker = _Broker(lock_seconds, port)
        self._thread = threading.Thread(target=Container(self._broker).run, name="service-bus-double", daemon=True)

    @property
    def port(self) -> int:
        return self._broker.port

    @property
    def connection(self) -> str:
        """The connection string that an emulator would have."""
        return (
            f"Endpoint=sb://localhost:{self._broker.port};SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        )

    def start(self) -> None:
        self._thread.start()
        self._broker.listening.wait(10)

    def stop(self) -> None:
        self._broker.later(self._broker.shut_down)
        self._thread.join(10)

    def expire_locks(self) -> None:
        """Every lock is lost now."""
        self._broker.call(self._broker.expire_locks)

    def forward(self, seconds: float) -> None:
        """Move the broker's clock: what is due by then is, locks run out, duplicates are forgotten."""
        self._broker.call(lambda: self._broker.forward(seconds))

    def drop_connections(self) -> int:
        """Cut every connection, as a broker does with idle ones or when it moves; how many there were."""
        return self._broker.call(self._broker.drop_connections)

    def links(self) -> int:
        """How many links to queues are open."""
        return self._broker.call(lambda: len(self._broker.active))

    def partition(self, name: str) -> None:
        """As if the queue had been made with `enablePartitioning`."""
        self._broker.call(lambda: setattr(self._broker.queue(name), "partitioned", True))

    def waiting(self, name: str) -> int:
        """How many messages a queue holds, locked ones included."""
        queue = self._broker.queue
        return self._broker.call(lambda: len(queue(name).waiting) + len(queue(name).locked))

    def put_raw(self, name: str, body: bytes, **fields: Any) -> None:
        """A message as some other sender might have sent it (`fields` are Proton's)."""
        raw = bytes(Message(body=body, inferred=True, **fields).encode())
        self._broker.call(lambda: self._broker.queue(name).put(raw))

    def drop_next_send(self, *, accepted: bool) -> None:
        """Cut the connection of whoever sends next, after or before the message is taken."""
        self._broker.call(lambda: self._broker.faults.append(accepted))

    def ignore_next_send(self) -> None:
        """Neither take nor answer what is sent next: a link that leads nowhere."""
        self._broker.call(lambda: self._broker.faults.append(None))


@contextmanager
def service_bus(lock_seconds: float = LOCK_SECONDS, port: int = 0) -> Iterator[ServiceBusDouble]:
    """An empty broker; on a free port, or on one that another has left."""
    double = ServiceBusDouble(lock_seconds, port)
    double.start()
    try:
        yield double
    finally:
        double.stop()


class _Broker(MessagingHandler):  # type: ignore[misc]
    """Everything here runs in Proton's thread; `call` and `later` bring work into it."""

    def __init__(self, lock_seconds: float, port: int) -> None:
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        self.queues: dict[str, Queue] = {}
        self.faults: list[bool | None] = []
        self.port = port
        self.listening = threading.Event()
        self.ahead = 0.0
        self._lock_seconds = lock_seconds
        self._connections: set[Any] = set()
        self.active: dict[Link, float] = {}
        self._work: queues.SimpleQueue[Callable[[], None]] = queues.SimpleQueue()
        self._receivers: list[tuple[Link, Queue]] = []
        self._answers: dict[tuple[Any, str], Link] = {}
        self._numbers = iter(range(1, 2**62))
        self._running = True

    def call(self, work: Callable[[], T]) -> T:
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        self._work.put(run)
        return done.result(10)

    def later(self, work: Callable[[], None]) -> None:
        self._work.put(work)

    def shut_down(self) -> None:
        self._running = False
        self._acceptor.close()
        self._container.stop()

    def now(self) -> float:
        return time.time() + self.ahead

    def forward(self, seconds: float) -> None:
        self.ahead += seconds

    def drop_connections(self) -> int:
        for connection in self._connections:
            connection.transport.close_tail()
            connection.transport.close_head()
        return len(self._connections)

    def expire_locks(self) -> None:
        for queue in self.queues.values():
            queue.expire(all=True)

    def queue(self, name: str) -> Queue:
        """The queue of a name or a link address; queues come to be when they are first named."""
        name = (name.split("://", 1)[1].partition("/")[2] if "://" in name else name).strip("/").lower()
        if name not in self.queues:
            parent, _, subqueue = name.partition("/$deadletterqueue")
            is_dead = len(parent) < len(name) and not subqueue
            plain = Queue(name, self._lock_seconds, self.now)
            self.queues[name] = DeadLetters(self.queue(parent)) if is_dead else plain
        queue = self.queues[name]
        if isinstance(queue, DeadLetters):
            queue.fill()
        return queue

    # Proton's events

    def on_start(self, event: ProtonEvent) -> None:
        import socket

        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self.port))
            self.port = probe.getsockname()[1]
        self._container = event.container
        self._acceptor = event.container.listen(f"127.0.0.1:{self.port}")
        self._container.schedule(TICK_SECONDS, self)
        self.listening.set()

    def on_timer_task(self, event: ProtonEvent) -> None:
        while not self._work.empty():
            self._work.get()()
        if not self._running:
            return
        for queue in list(self.queues.values()):
            queue.expire()
        self._detach_idle()
        self._pump()
        self._container.schedule(TICK_SECONDS, self)

    def on_link_opening(self, event: ProtonEvent) -> None:
        link = event.link
        link.snd_settle_mode, link.rcv_settle_mode = link.remote_snd_settle_mode, link.remote_rcv_settle_mode
        link.source.address, link.target.address = link.remote_source.address, link.remote_target.address
        if link.is_receiver:
            link.max_message_size = MAX_MESSAGE_BYTES
            link.flow(CREDIT)
        elif _is_request(link.source.address):
            self._answers[link.connection, link.source.address] = link
        else:
            self._receivers.append((link, self.queue(link.source.address)))
        if not _is_request(link.source.address) and not _is_request(link.target.address):
            self.active[link] = self.now()

    def on_link_closing(self, event: ProtonEvent) -> None:
        self._forget(lambda link: link == event.link)
        event.link.close()

    def on_connection_opening(self, event: ProtonEvent) -> None:
        self._connections.add(event.connection)

    def on_disconnected(self, event: ProtonEvent) -> None:
        self._connections.discard(event.connection)
        self._forget(lambda link: link.connection == event.connection)

    def on_link_flow(self, event: ProtonEvent) -> None:
        if event.link.is_sender:
            self._pump()
            if event.link.drain_mode:
                event.link.drained()

    def on_delivery(self, event: ProtonEvent) -> None:
        delivery, link = event.delivery, event.link
        if link.is_sender:
            if delivery.updated:
                self._used(link)
                self._settled(link, delivery)
            return
        if delivery.partial or not delivery.readable:
            return
        raw = bytes(link.recv(delivery.pending))
        link.advance()
        address = link.target.address
        self._used(link)
        if _is_request(address):
            self._answer(link, address, raw)
        elif self.queue(address).partitioned and unbatched(raw) != [raw]:
            delivery.local.condition = Condition("amqp:not-allowed", NO_BATCHES, {symbol("tracking-id"): "double"})
            delivery.update(Delivery.REJECTED)
            delivery.settle()
            return
        elif self.faults:
            accepted = self.faults.pop(0)
            if accepted is not None:
                self._cut(event, address, raw, accepted=accepted)
            return
        else:
            self._put(address, raw)
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()
        if link.credit < CREDIT / 2:
            link.flow(CREDIT - link.credit)

    def _used(self, link: Link) -> None:
        if link in self.active:
            self.active[link] = self.now()

    def _detach_idle(self) -> None:
        for link in [link for link, used in self.active.items() if self.now() - used >= IDLE_SECONDS]:
            link.condition = Condition(DETACHED, IDLE, {symbol("tracking-id"): "double"})
            link.close()
            self._forget(partial(eq, link))

    # Messages in, messages out

    def _put(self, address: str, raw: bytes) -> None:
        for message in unbatched(raw):
            self.queue(address).put(message)
        self._pump()

    def _cut(self, event: ProtonEvent, address: str, raw: bytes, *, accepted: bool) -> None:
        if accepted:
            self._put(address, raw)
        event.transport.close_tail()
        event.transport.close_head()

    def _pump(self) -> None:
        for link, queue in self._receivers:
            while link.credit > 0 and (taken := queue.take()):
                token, entry = taken
                delivery = link.delivery(token.bytes_le)
                delivery.lock_token = token  # Proton reads a tag as text, which these bytes are not
                link.send(entry.encoded())
                link.advance()
                self._used(link)
                if link.snd_settle_mode == Link.SND_SETTLED:
                    queue.settle(token)
                    delivery.settle()

    def _settled(self, link: Link, delivery: Delivery) -> None:
        """A receiver's word on a delivery: its outcome is echoed, as the SDK waits for it."""
        queue = next((one for other, one in self._receivers if other == link), None)
        token = getattr(delivery, "lock_token", None)
        entry = queue.settle(token) if queue is not None and token is not None else None
        if queue is None or entry is None:
            delivery.local.condition = Condition(LOCK_LOST, "The lock supplied is invalid.")
            delivery.update(Delivery.REJECTED)
        else:
            self._dispose(queue, entry, delivery)
            delivery.update(delivery.remote_state or Delivery.ACCEPTED)
        delivery.settle()
        self._pump()

    def _dispose(self, queue: Queue, entry: Any, delivery: Delivery) -> None:
        match delivery.remote_state:
            case Delivery.REJECTED:
                condition = delivery.remote.condition
                info = {str(name): value for name, value in ((condition.info if condition else None) or {}).items()}
                queue.bury(entry, info.get("DeadLetterReason", ""), info.get("DeadLetterErrorDescription", ""))
            case Delivery.MODIFIED:
                queue.give_back(entry)
                delivery.local.failed = True
            case Delivery.RELEASED:
                queue.waiting.append(entry)

    # Requests: $cbs and $management

    def _answer(self, link: Link, address: str, raw: bytes) -> None:
        request = Message()
        request.decode(raw)
        if address.endswith("$cbs"):
            properties: dict[str, Any] = {"status-code": int32(202), "status-description": "Accepted"}
            body = None
        else:
            code, body = self._manage(self.queue(address.removesuffix("/$management")), request)
            properties = {"statusCode": int32(code), "statusDescription": "OK"}
            if code == 410:
                properties["errorCondition"] = symbol(LOCK_LOST)
        answer = Message(body=body, properties=properties, correlation_id=request.id)
        answer.address = request.reply_to
        out = self._answers[link.connection, address]
        delivery = out.delivery(str(next(self._numbers)).encode())
        out.send(answer.encode())
        out.advance()
        delivery.settle()

    def _manage(self, queue: Queue, request: Message) -> tuple[int, Any]:
        operation = (request.properties or {}).get("operation")
        operation = operation.decode() if isinstance(operation, bytes) else operation
        if operation == "com.microsoft:renew-lock":
            tokens = request.body["lock-tokens"]
            until = [queue.renew(token) for token in getattr(tokens, "elements", tokens)]
            if None in until:
                return 410, None
            times = [timestamp(int(one * 1000)) for one in until if one is not None]
            return 200, {"expirations": Array(UNDESCRIBED, Data.TIMESTAMP, *times)}
        if operation == "com.microsoft:peek-message":
            found = queue.peek(request.body["from-sequence-number"], request.body["message-count"])
            messages = [{"message": entry.encoded()} for entry in found]
            return (200 if found else 204), {"messages": messages}
        if operation == "com.microsoft:schedule-message":
            numbers = [queue.put(bytes(one["message"])) or 0 for one in request.body["messages"]]
            return 200, {"sequence-numbers": Array(UNDESCRIBED, Data.LONG, *numbers)}
        if operation == "com.microsoft:cancel-scheduled-message":
            numbers = request.body["sequence-numbers"]
            gone = [queue.cancel(int(number)) for number in getattr(numbers, "elements", numbers)]
            return (200 if all(gone) else 404), None
        return 501, None

    def _forget(self, gone: Callable[[Link], bool]) -> None:
        self._receivers = [(link, queue) for link, queue in self._receivers if not gone(link)]
        self._answers = {key: link for key, link in self._answers.items() if not gone(link)}
        self.active = {link: used for link, used in self.active.items() if not gone(link)}


def _is_request(address: str | None) -> bool:
    return bool(address) and str(address).endswith(("$cbs", "$management"))

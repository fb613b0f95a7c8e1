"""From whoever tells to whoever sends: a bounded queue, emptied by one thread of its own.

Whatever the other end does (dead, slow, full), telling costs an append, and memory has a bound: what does not fit is
counted. That something is lost, or waits since it was refused, is said once a minute.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

logger = logging.getLogger("flowgrid.telemetry")
T = TypeVar("T")
CAPACITY = 8192
AT_ONCE = 1000
GATHER_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
SAY_SECONDS = 60.0


class Sent(NamedTuple):
    """What became of items that were sent: the places of those that are to come again, and how many are lost."""

    later: Sequence[int] = ()
    dropped: int = 0


class Delivery(Generic[T]):
    """`send` is called in the thread, with at most `at_once` items; it may take its time, and says what became of them.

    What is to come again stays, in its order. Never more than `capacity` and `at_once` are held. The thread is begun by
    the first item, and sends it only after a while: what sending loads is not on the way of the first request.
    """

    def __init__(
        self,
        send: Callable[[list[T]], Sent],
        *,
        capacity: int = CAPACITY,
        at_once: int = AT_ONCE,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._send = send
        self._capacity = capacity
        self._at_once = at_once
        self._gather_seconds = gather_seconds
        self._items: deque[T] = deque()
        self.failures = 0  # one after the other, the last ones
        self._dropped = self._said_dropped = 0
        self._said_at = float("-inf")
        self._reason = "not taken, or no room"
        self._wake = threading.Event()
        self._closing = False
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        return len(self._items)

    @property
    def dropped(self) -> int:
        """How many were not kept, or not taken, so far."""
        return self._dropped

    def put(self, item: T) -> None:
        if len(self._items) >= self._capacity or self._closing:
            self._dropped += 1
            return
        self._items.append(item)
        if self._thread is None:
            self._start()
        elif len(self._items) == self._at_once and not self.failures:
            self._wake.set()

    def close(self, seconds: float) -> None:
        """Send what is left, once, and wait no longer than this for it."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._pause())
            self._wake.clear()
            closing = self._closing  # what was put before it is sent below
            while self._items and self._sent():
                pass
            self._say()
            if closing:
                return

    def _pause(self) -> float:
        pause: float = self._gather_seconds * 2.0 ** min(self.failures, 10)
        return min(LONGEST_PAUSE_SECONDS, pause)

    def _sent(self) -> bool:
        """Send some; False when the other end wants no more for now."""
        some = [self._items.popleft() for _ in range(min(len(self._items), self._at_once))]
        try:
            sent = self._send(some)
        except Exception as error:
            sent, self._reason = Sent(dropped=len(some)), type(error).__name__
        self._dropped += sent.dropped
        self._items.extendleft(some[place] for place in reversed(sent.later))
        self.failures = self.failures + 1 if some and len(sent.later) == len(some) else 0
        return not sent.later

    def _say(self) -> None:
        lost = self._dropped - self._said_dropped
        if (lost or self.failures) and monotonic() - self._said_at >= SAY_SECONDS:
            told = {"dropped": lost, "waiting": self.waiting, "reason": self._reason}
            self._said_dropped, self._said_at = self._dropped, monotonic()
            logger.warning("telemetry is not taken by its receiver", extra=told)

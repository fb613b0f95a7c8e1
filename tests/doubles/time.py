"""Time that passes when a test says so: whoever waits wakes up when the clock has come so far."""

import asyncio
import heapq
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Protocol, TypeVar

T = TypeVar("T")
TICK_SECONDS = 0.5
LONGEST_TICKS = 4000


class Advancing(Protocol):
    def monotonic(self) -> float: ...

    def advance(self, **delta: float) -> None: ...


class Time:
    def __init__(self, clock: Advancing) -> None:
        self.clock = clock
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = count()
        self._still = 0

    async def pause(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self.clock.monotonic() + seconds, next(self._number), woken))
        await woken

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Nothing passes by itself meanwhile: what is done takes the machine's time, and none of the test's."""
        self._still += 1
        try:
            yield
        finally:
            self._still -= 1

    @property
    def polling(self) -> int:
        """How many wait no longer than a tick."""
        return sum(due <= self.clock.monotonic() + TICK_SECONDS and not woken.done() for due, _, woken in self._waiting)

    def forward(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)
        while self._waiting and self._waiting[0][0] <= self.clock.monotonic():
            woken = heapq.heappop(self._waiting)[2]
            if not woken.done():
                woken.set_result(None)

    async def passing(self, work: Awaitable[T]) -> T:
        """What the work comes to, while time passes."""
        doing = asyncio.ensure_future(work)
        left = LONGEST_TICKS
        while left:
            await asyncio.wait([doing], timeout=0.002)
            if doing.done():
                return await doing
            if not self._still:
                self.forward(TICK_SECONDS)
                left -= 1
        doing.cancel()
        raise AssertionError("this takes for ever")

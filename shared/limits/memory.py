"""Rate limits in memory: one process's calls, by a clock that nobody sets."""

from itertools import islice
from math import ceil

from shared.clock import Clock
from shared.errors import RateLimited
from shared.limits.port import Allowance, Inside, RateLimiter, Window

MANY = 1000  # windows, of which those that are over are looked for and dropped; then twice as many as are left
MOST = 200_000  # windows at a time (about 50 MB); beyond it the older half is forgotten: who sends from so many
# addresses is not held by a window of each
ANOTHER_SECONDS = 1.0  # a window that ends so much later than the one that is known is the next one


class _Window:
    __slots__ = ("count", "ends")

    def __init__(self, ends: float) -> None:
        self.count = 0
        self.ends = ends


class _Inside(Inside):
    def __init__(self, window: _Window, allowance: Allowance) -> None:
        self._window = window
        self._allowance = allowance

    async def spend(self) -> Allowance:
        return self._allowance

    def leave(self) -> None:
        self._window.count -= 1


class MemoryLimiter(RateLimiter):
    """Each process has windows of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}
        self._many = MANY

    async def take(self, *windows: Window) -> list[Allowance]:
        self.refuse_spent(*windows)
        return [self._take(window)[1] for window in windows]

    def enter(self, window: Window) -> Inside:
        return _Inside(*self._take(window))

    def refuse_spent(self, *windows: Window) -> None:
        """`RateLimited` for the first that is known to be spent; nothing is taken."""
        now = self._clock.monotonic()
        for window in windows:
            known = self._windows.get((window.scope, window.key))
            if known is not None and known.ends > now and known.count >= window.limit:
                raise spent(window, known.ends - now)

    def learn(self, window: Window, count: int, seconds: float) -> Allowance:
        """What others say of it: so many have been taken, and it ends in so long."""
        now = self._clock.monotonic()
        known = self._windows.get((window.scope, window.key))
        if known is None or known.ends <= now or now + seconds - known.ends > ANOTHER_SECONDS:
            known = self._begin(window, now, seconds)
        known.count = max(known.count, count)
        return Allowance(window.limit, window.limit - count, _whole(seconds))

    async def ping(self) -> None:
        """Nothing can be wrong with it."""

    async def close(self) -> None:
        """There is nothing to give back."""

    def _take(self, window: Window) -> tuple[_Window, Allowance]:
        now = self._clock.monotonic()
        held = self._windows.get((window.scope, window.key))
        if held is None or held.ends <= now:
            held = self._begin(window, now, window.minutes * 60)
        if held.count >= window.limit:
            raise spent(window, held.ends - now)
        held.count += 1
        return held, Allowance(window.limit, window.limit - held.count, _whole(held.ends - now))

    def _begin(self, window: Window, now: float, seconds: float) -> _Window:
        if len(self._windows) >= self._many:
            self._windows = {name: one for name, one in self._windows.items() if one.ends > now}
            if len(self._windows) >= MOST:
                self._windows = dict(islice(self._windows.items(), MOST // 2, None))
            self._many = min(MOST, max(MANY, 2 * len(self._windows)))
        begun = self._windows[window.scope, window.key] = _Window(now + seconds)
        return begun


def _whole(seconds: float) -> int:
    return max(1, ceil(seconds))


def spent(window: Window, seconds: float) -> RateLimited:
    """What is told of a window that has no call left for so long."""
    return RateLimited(window.message, limit=window.limit, retry_after=_whole(seconds))

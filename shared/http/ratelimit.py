"""Rate limits: fixed windows, in memory (one process's calls), by a clock that nobody sets."""

from itertools import islice
from math import ceil
from typing import NamedTuple

from shared.clock import Clock
from shared.errors import RateLimited

MANY = 1000  # windows, of which those that are over are looked for and dropped; then twice as many as are left
MOST = 200_000  # windows at a time (about 50 MB); beyond it the older half is forgotten: who sends from so many
# addresses is not held by a window of each


class Allowance(NamedTuple):
    """What is left of a window: for the `RateLimit-*` headers. `reset` in seconds."""

    limit: int
    remaining: int
    reset: int


class _Window:
    __slots__ = ("count", "ends")

    def __init__(self, ends: float) -> None:
        self.count = 0
        self.ends = ends


class Taken(NamedTuple):
    """A call taken out of a window, so that it can be given back to this window and no later one."""

    allowance: Allowance
    window: _Window


class RateLimiter:
    """Each call takes first and may give back, so that calls at once are counted exactly."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}
        self._many = MANY

    async def take(self, scope: str, key: str, limit: int, minutes: int, message: str) -> Taken:
        """Take one call out of a window; `RateLimited`, with the seconds to wait, when it is spent.

        A window begins with its first call. It has the limit of its latest one: limits of tenants change.
        """
        now = self._clock.monotonic()
        window = self._windows.get((scope, key))
        if window is None or window.ends <= now:
            window = self._begin(scope, key, now, minutes * 60)
        reset = max(1, ceil(window.ends - now))
        if window.count >= limit:
            raise RateLimited(message, limit=limit, retry_after=reset)
        window.count += 1
        return Taken(Allowance(limit, limit - window.count, reset), window)

    async def give_back(self, taken: Taken) -> None:
        """Make as if the call had not been taken; of a window that is over nobody knows."""
        taken.window.count -= 1

    def _begin(self, scope: str, key: str, now: float, seconds: int) -> _Window:
        if len(self._windows) >= self._many:
            self._windows = {name: window for name, window in self._windows.items() if window.ends > now}
            if len(self._windows) >= MOST:
                self._windows = dict(islice(self._windows.items(), MOST // 2, None))
            self._many = min(MOST, max(MANY, 2 * len(self._windows)))
        window = self._windows[scope, key] = _Window(now + seconds)
        return window

"""Rate limits, through the `limits` library: fixed windows, in memory (one process's calls)."""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from shared.errors import RateLimited

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.storage import MemoryStorage
    from limits.aio.strategies import FixedWindowRateLimiter

from shared.clock import Clock


@dataclass(frozen=True)
class Allowance:
    """What is left of a window: for the `RateLimit-*` headers. `reset` in seconds."""

    limit: int
    remaining: int
    reset: int


@dataclass(frozen=True)
class Taken:
    """A call taken out of a window, so that it can be given back to this window and no later one."""

    allowance: Allowance
    key: str
    ends: float


class RateLimiter:
    """Each call takes first and may give back, so that calls at once are counted exactly."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limiter: FixedWindowRateLimiter | None = None
        self._storage: MemoryStorage

    async def take(self, scope: str, key: str, limit: int, minutes: int, message: str) -> Taken:
        """Take one call out of a window; `RateLimited`, with the seconds to wait, when it is spent."""
        from limits import RateLimitItemPerMinute  # heavy, so not at start

        item = RateLimitItemPerMinute(limit, minutes)
        limiter = self._open()
        allowed = await limiter.hit(item, scope, key)
        taken = await self._taken(limiter, item, scope, key)
        if not allowed:
            await self.give_back(taken)
            raise RateLimited(message, limit=limit, retry_after=taken.allowance.reset)
        return taken

    async def give_back(self, taken: Taken) -> None:
        """Make as if the call had not been taken, if its window still runs."""
        if await self._storage.get(taken.key) and await self._storage.get_expiry(taken.key) == taken.ends:
            await self._storage.decr(taken.key)

    def _open(self) -> "FixedWindowRateLimiter":
        if self._limiter is None:
            from limits.aio.strategies import FixedWindowRateLimiter

            from shared.http.ratewindows import MemoryStorage

            self._storage = MemoryStorage()
            self._limiter = FixedWindowRateLimiter(self._storage)
        return self._limiter

    async def _taken(self, limiter: "FixedWindowRateLimiter", item: "RateLimitItem", scope: str, key: str) -> Taken:
        window = await limiter.get_window_stats(item, scope, key)
        left = ceil(window.reset_time - self._clock.now().timestamp())  # more than all of it: the clock was set back
        seconds = max(1, min(left, item.get_expiry()))
        return Taken(
            Allowance(item.amount, window.remaining, seconds), item.key_for(scope, key), float(window.reset_time)
        )

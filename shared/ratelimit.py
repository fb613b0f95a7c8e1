"""Rate limits, through the `limits` library: fixed windows, in memory (one process's calls)."""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from shared.errors import RateLimited

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import FixedWindowRateLimiter

from shared.clock import Clock


@dataclass(frozen=True)
class Allowance:
    """What is left of a window: for the `RateLimit-*` headers. `reset` in seconds."""

    limit: int
    remaining: int
    reset: int


class RateLimiter:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limiter: FixedWindowRateLimiter | None = None

    async def take(self, scope: str, key: str, limit: int, minutes: int, message: str) -> Allowance:
        """Take one call out of a window; `RateLimited`, with the seconds to wait, when it is spent."""
        from limits import RateLimitItemPerMinute  # heavy, so not at start

        item = RateLimitItemPerMinute(limit, minutes)
        limiter = self._open()
        allowed = await limiter.hit(item, scope, key)
        allowance = await self._allowance(limiter, item, scope, key)
        if not allowed:
            raise RateLimited(message, limit=limit, retry_after=allowance.reset)
        return allowance

    def _open(self) -> "FixedWindowRateLimiter":
        if self._limiter is None:
            from limits.aio.strategies import FixedWindowRateLimiter

            from shared.ratewindows import MemoryStorage

            self._limiter = FixedWindowRateLimiter(MemoryStorage())
        return self._limiter

    async def _allowance(
        self, limiter: "FixedWindowRateLimiter", item: "RateLimitItem", scope: str, key: str
    ) -> Allowance:
        window = await limiter.get_window_stats(item, scope, key)
        seconds = max(1, ceil(window.reset_time - self._clock.now().timestamp()))
        return Allowance(item.amount, window.remaining, seconds)

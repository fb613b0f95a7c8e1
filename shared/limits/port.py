"""The rate limits port: fixed windows of calls, each of which begins with its first call.

Where there are many instances they share their windows (shared/limits/redis.py), or each has its own (memory.py).
"""

from abc import ABC, abstractmethod
from typing import NamedTuple


class Window(NamedTuple):
    """`limit` calls in `minutes` of what `scope` limits, for one `key`; `message`: what is told when they are spent.

    It has the limit that it is asked with: limits of tenants change.
    """

    scope: str
    key: str
    limit: int
    minutes: int
    message: str


class Allowance(NamedTuple):
    """What is left of a window: for the `RateLimit-*` headers. `reset` in seconds."""

    limit: int
    remaining: int
    reset: int


class Inside(ABC):
    """A call of which it is not known yet whether it counts."""

    @abstractmethod
    async def spend(self) -> Allowance:
        """It counts. `RateLimited` where others have spent the window meanwhile."""

    @abstractmethod
    def leave(self) -> None:
        """It does not count; of a window that is over nobody knows."""


class RateLimiter(ABC):
    """Calls at once are counted exactly."""

    @abstractmethod
    async def take(self, *windows: Window) -> list[Allowance]:
        """One call out of each, in one round trip, or out of none.

        `RateLimited`, with the seconds to wait, for the first that is spent.
        """

    @abstractmethod
    def enter(self, window: Window) -> Inside:
        """Let a call in that may be spent or not, without asking anybody; `RateLimited` when the window is known to be
        spent. Those inside are counted until they leave."""

    @abstractmethod
    async def ping(self) -> None:
        """`Concern` while instances do not share their windows, though they should."""

    @abstractmethod
    async def close(self) -> None:
        """Give back sockets."""

"""The windows of the rate limits, in memory; a clock that is set back does not keep a spent one spent for an hour."""

import time

from limits.aio import storage


class MemoryStorage(storage.MemoryStorage):
    """As the library's, but a window also ends by the monotonic clock."""

    def __init__(self) -> None:
        super().__init__()
        self._ends: dict[str, float] = {}

    async def get(self, key: str) -> int:
        if key in self._ends and self._ends[key] <= time.monotonic():
            self.expirations.pop(key, None)
            del self._ends[key]
        return await super().get(key)

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        count = await super().incr(key, expiry, amount)
        if count == amount:
            self._ends[key] = time.monotonic() + expiry
        if len(self._ends) > 2 * len(self.expirations) + 1000:  # the library has dropped the others' windows
            self._ends = {kept: end for kept, end in self._ends.items() if kept in self.expirations}
        return count

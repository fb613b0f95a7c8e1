"""A clock that stands still until it is told otherwise, and a pause that is never over."""

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    def __init__(self) -> None:
        self.instant = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
        self.elapsed = 5000.0

    def now(self) -> datetime:
        return self.instant

    def forward(self, **delta: float) -> None:
        self.instant += timedelta(**delta)
        self.elapsed += timedelta(**delta).total_seconds()

    def set_back(self, **delta: float) -> None:
        """As an operator, or a time server, sets a clock that was wrong: nothing else notices."""
        self.instant -= timedelta(**delta)

    def monotonic(self) -> float:
        return self.elapsed


async def never() -> None:
    """For what happens a moment later: tests say when."""
    await asyncio.Event().wait()

"""Time: one instant type (aware UTC datetimes, microseconds) and one text form (RFC 3339), so tests own both."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def rfc3339(instant: datetime) -> str:
    """`2026-11-24T08:15:00.000000Z`: always six decimals, so that text order is time order."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    """Any RFC 3339 timestamp with an offset; ValueError (saying what is missing) otherwise."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("a time needs an offset, such as 2026-11-24T08:15:00Z")
    return instant.astimezone(UTC)

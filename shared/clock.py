"""Time: one instant type (aware UTC datetimes, microseconds) and one text form (RFC 3339), so tests own both.

`now` is for what others read, and may be set back; what is about waiting asks `monotonic`.
"""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_ONE_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
SKEW = timedelta(minutes=10)  # two clocks of ours are never further apart; one that was set back may be


class Clock(Protocol):
    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow, from an unknown beginning; comparable within one machine's run."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def rfc3339(instant: datetime) -> str:
    """`2026-11-24T08:15:00.000000Z`: always six decimals, so that text order is time order."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def runs(until: str, now: datetime, longest: timedelta) -> bool:
    """Whether a lease that was given for `longest` at most still runs.

    One that seems to run for much longer was given before the clock was set back: nobody waits that hour.
    """
    return rfc3339(now) < until <= rfc3339(now + longest + SKEW)


def is_rfc3339(text: str) -> bool:
    """Whether a text that can be parsed has the one form that `rfc3339` gives."""
    return _ONE_FORM.fullmatch(text) is not None


def parse_rfc3339(text: str) -> datetime:
    """Any RFC 3339 timestamp with an offset; ValueError (saying what is missing) otherwise."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("a time needs an offset, such as 2026-11-24T08:15:00Z")
    if instant.tzinfo is UTC:
        return instant
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time lies in the years 1 to 9999 of UTC") from error

"""Dates as old files have them: SQLite's `2025-11-03 09:15:00` (UTC), ISO 8601, or seconds since 1970."""

import re
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Final

from shared.clock import rfc3339

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS: Final = range(10**8, 10**10)
"""From 1973 to 2286; smaller and larger numbers are more likely something else, or milliseconds."""
_MILLISECONDS: Final = range(10**11, 10**13)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.]\d{1,6})?)?\s?(Z|[+-]\d{2}:?\d{2})?)?")


def as_rfc3339(value: str | int | float) -> str | None:
    """RFC 3339 in UTC with microseconds; None for what is no date, or has more than microseconds."""
    if isinstance(value, int | float):
        if not isfinite(value):
            return None
        if int(value) in _SECONDS:
            return rfc3339(_EPOCH + timedelta(seconds=value))
        return rfc3339(_EPOCH + timedelta(milliseconds=value)) if int(value) in _MILLISECONDS else None
    text = value.strip()
    if _DATE.fullmatch(text) is None:
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"\s(?=Z|[+-])", "", text))
        return rfc3339(found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC))
    except (ValueError, OverflowError):
        return None

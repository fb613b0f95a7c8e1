"""Hours, days and months in UTC: where they start and end, and how many a range holds."""

from datetime import datetime, timedelta
from typing import Literal

from shared.clock import parse_rfc3339
from shared.errors import Invalid

Period = Literal["hour", "day", "month"]
LOOK_BACK = {"hour": timedelta(days=1), "day": timedelta(days=31), "month": timedelta(days=366)}
LONGEST = {"hour": timedelta(days=31), "day": timedelta(days=800), "month": timedelta(days=3660)}
PERIODS: tuple[Period, ...] = ("hour", "day", "month")


def start_of(period: Period, instant: datetime) -> datetime:
    """The start of the period that the instant lies in."""
    hour = instant.replace(minute=0, second=0, microsecond=0)
    if period == "hour":
        return hour
    day = hour.replace(hour=0)
    return day if period == "day" else day.replace(day=1)


def end_of(period: Period, instant: datetime) -> datetime:
    """The start of the period after the one that the instant lies in."""
    longer_than_one = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31)}[period]
    return start_of(period, start_of(period, instant) + longer_than_one)


def range_of(period: Period, since: str | None, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    """What is asked for, from the start of its first period; `Invalid` when it is empty or too long for its period."""
    end = parse_rfc3339(until) if until else now
    start = start_of(period, parse_rfc3339(since) if since else end - LOOK_BACK[period])
    if start > end:
        raise Invalid.of("from", "is after `to`", since)
    if end - start > LONGEST[period]:
        raise Invalid.of("from", f"at most {LONGEST[period].days} days by {period}; take a longer period", since)
    return start, end

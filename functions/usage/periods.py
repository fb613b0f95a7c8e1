"""Hours, days and months in UTC: where they start and end, and how many a range holds."""

from datetime import datetime, timedelta
from typing import Literal

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

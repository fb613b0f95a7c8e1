"""What is promised, what was kept of it, and how fast the rest of it is used up.

Burn rates as in the Site Reliability Workbook (https://sre.google/workbook/alerting-on-slos/): 1 uses up the errors of
30 days in just 30 days. Usage knows whole hours, so the short windows that the workbook puts beside the long ones (5
and 30 minutes) are not here. Calls that could not be metered were answered 503 (decision 0020) and are in no sum.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from pydantic import Field

from functions.usage.details import total
from functions.usage.fleet import FleetHours, hours_until
from functions.usage.latency import PROMISED_MS, Calls
from shared.clock import Clock, rfc3339
from shared.database.port import Document
from shared.work.resources import Answer, Timestamp

AVAILABLE = 0.999  # the roadmap's uptime, of calls
IN_TIME = 0.95  # p95 below the promise
KEPT_SECONDS = 60.0
WINDOWS = {1: 14.4, 6: 6.0, 24: 3.0, 720: 1.0}  # hours -> the burn rate above which somebody should look


class PromiseKept(Answer):
    """What was kept of one promise."""

    target: float = Field(examples=[AVAILABLE], description="The share of calls that is promised.")
    share: float | None = Field(description="The share of the measured calls that kept it; null: none is measured.")
    burn_rate: float | None = Field(description="How many times faster than allowed the promise is broken.")
    alert: bool = Field(description="Whether that is faster than `burn_rate_limit`.")


class Window(Answer):
    """What was kept in a time: the hour that it is, and whole hours before it."""

    window_hours: int = Field(examples=[*WINDOWS], description="How long, beside the hour that it is.")
    start: Timestamp = Field(alias="from", serialization_alias="from", description="From this time on.")
    calls: int = Field(description="Metered calls of all tenants.")
    measured: int = Field(description="Those that are known to have failed or not, and how long they took.")
    hours: int = Field(description="Hours of it that are summed up.")
    whole: bool = Field(description="Whether all tenants are in those.")
    burn_rate_limit: float = Field(description="Above it somebody should look.")
    availability: PromiseKept = Field(description="Calls without an answer of 500 and more.")
    latency: PromiseKept = Field(description=f"Calls that took {PROMISED_MS} ms at most.")
    p95_ms: float | None = Field(description="95 % took no longer, in milliseconds; at most 10 % wrong.")


class Slo(Answer):
    """What is promised of the platform, and what was kept of it; by usage, which is some minutes behind."""

    windows: list[Window] = Field(description="The shortest first.")
    timestamp: Timestamp = Field(description="When this was looked at; it is kept for a minute.")


class SloService:
    """One look at a time, kept for a minute: the hours of 30 days are a query of four pages."""

    def __init__(self, fleet: FleetHours, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._looking = asyncio.Lock()
        self._found: tuple[float, Slo] | None = None

    async def slo(self) -> Slo:
        async with self._looking:
            now = self._clock.monotonic()
            if self._found is None or now - self._found[0] >= KEPT_SECONDS:
                self._found = (now, await self._look(self._clock.now()))
            return self._found[1]

    async def _look(self, now: datetime) -> Slo:
        found = await self._fleet.together(*hours_until(now, max(WINDOWS)))
        return Slo(windows=[_window(hours, found, now) for hours in WINDOWS], timestamp=rfc3339(now))


def _window(hours: int, found: Sequence[Document], now: datetime) -> Window:
    start, limit = rfc3339(hours_until(now, hours)[0]), WINDOWS[hours]
    own = [one for one in found if one["created_at"] >= start]
    known = Calls.of(total({one["created_at"]: one["details"] for one in own}))
    return Window.model_validate(
        {
            "window_hours": hours,
            "from": start,
            "calls": sum(one["calls"] for one in own),
            "measured": known.measured,
            "hours": len(own),
            "whole": all(one["whole"] for one in own),
            "burn_rate_limit": limit,
            "availability": _kept(known.measured - known.server_errors, known.measured, AVAILABLE, limit),
            "latency": _kept(known.within, known.measured, IN_TIME, limit),
            "p95_ms": known.percentile(95),
        }
    )


def _kept(good: int, measured: int, target: float, limit: float) -> PromiseKept:
    if not measured:
        return PromiseKept(target=target, share=None, burn_rate=None, alert=False)
    burn = round((measured - good) / measured / (1 - target), 3)
    return PromiseKept(target=target, share=round(good / measured, 6), burn_rate=burn, alert=burn > limit)

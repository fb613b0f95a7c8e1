"""Invariants: what must be true of each tenant's data is looked at once a day, and told in health where it is not."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import ClassVar

from shared.clock import Clock
from shared.errors import Concern, Unavailable
from shared.jobs.ledger import Ledger, Summary
from shared.jobs.tenant_sweep import TenantSweep
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.invariants")
KEPT_SECONDS = 300.0  # anybody may ask for health
SHOWN = 10  # findings of one check and tenant in the log
Check = Callable[[TenantSession], Awaitable[list[str]]]


class Invariants:
    """`checks` by name: each looks at one tenant and says in words what is wrong there, with an empty list: nothing.

    A check must not take what is just being written for wrong.
    """

    ROUND: ClassVar[str] = "invariants"  # as the ledger knows it

    def __init__(self, each_tenant: TenantSweep, checks: Mapping[str, Check], ledger: Ledger, clock: Clock) -> None:
        self._each_tenant = each_tenant
        self._checks = checks
        self._ledger = ledger
        self._clock = clock
        self._asked_at: float | None = None
        self._wrong: str | None = None

    async def run(self, before: Summary | None = None) -> Summary:
        """Look at every tenant, check by check; the summary says of each how many findings (`done`) and failures."""
        each, earlier = self._each_tenant.each, before or {}
        return {
            name: await each(partial(_look, name, check), earlier.get(name)) for name, check in self._checks.items()
        }

    async def check(self) -> None:
        """`Concern`, for health, where the last round has found something. Whose is in the log."""
        now = self._clock.monotonic()
        if self._asked_at is None or now - self._asked_at >= KEPT_SECONDS:
            try:
                self._wrong = await self._last_round()
            except Unavailable:  # which is what the databases' own checks are there to say
                return
            self._asked_at = now
        if self._wrong is not None:
            raise Concern(self._wrong)

    async def _last_round(self) -> str | None:
        today = self._clock.now().date()
        for day in (today, today - timedelta(days=1)):
            outcome = await self._ledger.outcome(self.ROUND, day.isoformat())
            if outcome is not None:
                return _told(day.isoformat(), outcome.summary)
            if day != today and await self._ledger.begun(self.ROUND, day.isoformat()):
                return f"The look at all data on {day.isoformat()} has never come to its end; see the log."
        return None


async def _look(name: str, check: Check, session: TenantSession) -> int:
    findings = await check(session)
    for finding in findings[:SHOWN]:
        logger.error("an invariant does not hold", extra={"tenant_id": session.id, "check": name, "finding": finding})
    return len(findings)


def _told(day: str, summary: Summary) -> str | None:
    parts = [f"{name}: {one['done']}" for name, one in summary.items() if one["done"]]
    parts += [f"{name} of {one['failed']} tenants not looked at" for name, one in summary.items() if one["failed"]]
    return f"The look at all data on {day} found what must not be ({'; '.join(parts)}); see the log." if parts else None

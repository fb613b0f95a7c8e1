"""What is done once a day: a timer begins it, and the sweep goes on with what was interrupted.

A timer whose function has failed, or died, is not called again before its next slot: the extension notes the run as
done whatever came of it (`InvokeJobFunction` in `TimerListener.cs`).
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from functions.backups.retention import Retention
from functions.backups.service import BackupService
from shared.apart import apart
from shared.clock import Clock
from shared.errors import Conflict
from shared.ids import derived_id
from shared.jobs.jobs import Job
from shared.jobs.ledger import Ledger, Summary, Work
from shared.jobs.tenant_sweep import TenantSweep
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.backups")


class DailyBackups:
    """Begins each tenant's backup of a day; a second time begins none."""

    def __init__(self, each_tenant: TenantSweep, backups: BackupService) -> None:
        self._each_tenant = each_tenant
        self._backups = backups

    async def queue(self, day: str, before: Summary | None = None) -> dict[str, Any]:
        """One backup job per tenant; the day's ids follow from tenant and day, so a second time queues nothing."""

        async def begin(session: TenantSession) -> int:
            id, job_id = derived_id("backup", session.id, day), derived_id("backup-job", session.id, day)
            if await session.store.get(Job.KIND, job_id) is not None:
                return 0
            try:
                await self._backups.begin_daily(session, id=id, job_id=job_id)
            except Conflict:
                return 0
            return 1

        return await self._each_tenant.each(begin, before)


class Daily:
    """What runs once a day, UTC: backups of every tenant, and retention.

    What stops half-way, or fails for some, the sweep goes on with while it is the same day.
    """

    BACKUPS: ClassVar[str] = "backup-daily"  # as the ledger knows it
    RETENTION: ClassVar[str] = "backup-retention"

    def __init__(self, backups: DailyBackups, retention: Retention, ledger: Ledger, clock: Clock) -> None:
        self._backups = backups
        self._retention = retention
        self._ledger = ledger
        self._clock = clock

    async def back_up(self) -> None:
        await self._begin(self.BACKUPS)

    async def prune(self) -> None:
        await self._begin(self.RETENTION)

    async def sweep(self) -> int:
        """Go on with what was begun today and interrupted, or failed for some; returns how many runs."""
        day, done = self._today(), 0
        for name, work in self._works(day).items():
            with apart(logger, "a daily run is left to the next sweep", run=name):
                done += await self._ledger.go_on(name, day, work)
        return done

    async def _begin(self, name: str) -> None:
        day = self._today()
        await self._ledger.run_once(name, day, self._works(day)[name])

    def _works(self, day: str) -> Mapping[str, Work]:
        return {self.BACKUPS: partial(self._backups.queue, day), self.RETENTION: self._retention.run}

    def _today(self) -> str:
        return self._clock.now().date().isoformat()

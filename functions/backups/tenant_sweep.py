"""All tenants, one after another: what the backup timers have in common, and the daily backup."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from functions.backups.service import BackupService
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.database.port import Database, Order, Stored, Where
from shared.errors import Conflict, FlowgridError
from shared.ids import derived_id
from shared.jobs.jobs import Job
from shared.tenancy.directory import TENANT, Directory
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.backups")
STATUSES = ["active", "trial", "suspended"]
PAGE_ITEMS = 200
SHOWN_FAILURES = 50

Work = Callable[[TenantSession], Awaitable[int]]


class TenantSweep:
    """Does something for each tenant that has data, in the order of their ids, one at a time."""

    def __init__(self, database: Database, directory: Directory, services: Services) -> None:
        self._database = database
        self._directory = directory
        self._services = services

    @property
    def services(self) -> Services:
        return self._services

    async def each(self, work: Work) -> dict[str, Any]:
        """Do `work` for every tenant that has data; the summary adds up what it returns. One failure stops no other."""
        summary: dict[str, Any] = {"tenants": 0, "done": 0, "failed": 0, "failures": {}}
        async for stored in self._tenants():
            tenant_id = stored.body["id"]
            summary["tenants"] += 1
            try:
                summary["done"] += await work(self._session(stored))
            except Exception as error:
                expected = isinstance(error, FlowgridError)
                extra = {"tenant_id": tenant_id, "reason": str(error)}
                logger.error("a timer's work failed", exc_info=None if expected else error, extra=extra)
                summary["failed"] += 1
                if len(summary["failures"]) < SHOWN_FAILURES:
                    summary["failures"][tenant_id] = str(error) if expected else type(error).__name__
        return summary

    def _session(self, stored: Stored) -> TenantSession:
        entry = self._directory.remember(stored)
        return TenantSession(entry, self._directory.open(entry), SYSTEM, SYSTEM_REQUEST, self._services)

    async def _tenants(self) -> AsyncIterator[Stored]:
        after: tuple[str, str] | None = None
        while True:
            page = await self._database.platform.query(
                TENANT, [Where("status", "in", STATUSES)], order=Order("id"), limit=PAGE_ITEMS, after=after
            )
            for stored in page.items:
                yield stored
            after = page.next
            if after is None:
                return


class DailyBackups:
    """Begins each tenant's backup of a day; a second time begins none."""

    def __init__(self, each_tenant: TenantSweep, backups: BackupService) -> None:
        self._each_tenant = each_tenant
        self._backups = backups

    async def queue(self, day: str) -> dict[str, Any]:
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

        return await self._each_tenant.each(begin)

"""All tenants, one after another: what the timers have in common that do something for each of them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from typing import Any

from shared.database.port import Database, Order, Stored, Where
from shared.errors import FlowgridError
from shared.jobs.ledger import Summary
from shared.jobs.ledger import Work as OfAll
from shared.telemetry.log import reason_of
from shared.tenancy.directory import TENANT, Directory
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.timers")
STATUSES = ["active", "trial", "suspended"]
PAGE_ITEMS = 200
NAMED_FAILURES = 200  # where it failed for more, it is done for all once more
LONGEST_SECONDS = 60.0  # for one tenant: whoever hangs keeps those behind it waiting no longer

Work = Callable[[TenantSession], Awaitable[int]]


class TenantSweep:
    """Does something for each tenant that has data, in the order of their ids, one at a time."""

    def __init__(
        self, database: Database, directory: Directory, services: Services, *, within: float = LONGEST_SECONDS
    ) -> None:
        self._within = within
        self._database = database
        self._directory = directory
        self._services = services

    @property
    def services(self) -> Services:
        return self._services

    def over_all(self, work: Work) -> OfAll:
        """`each` of this work, to be called when it is due."""
        return partial(self.each, work)

    async def each(
        self, work: Work, before: Summary | None = None, *, only: Collection[str] | None = None
    ) -> dict[str, Any]:
        """Do `work` for every tenant that has data; the summary adds up what it returns. One failure stops no other.

        `before`: the summary of an earlier try, to which those are added for whom it failed, and nobody else is asked.
        `only`: for these alone; None: for all.
        """
        summary: dict[str, Any] = {"tenants": 0, "done": 0, "failed": 0, "failures": {}}
        again = before["failures"] if before is not None and before["failed"] == len(before["failures"]) else None
        if before is not None and again is not None:
            summary |= {"tenants": before["tenants"] - before["failed"], "done": before["done"]}
        async for stored in self._tenants(only):
            tenant_id = stored.body["id"]
            if again is not None and tenant_id not in again:
                continue
            summary["tenants"] += 1
            try:
                async with asyncio.timeout(self._within):
                    summary["done"] += await work(self._session(stored))
            except Exception as error:
                expected = isinstance(error, FlowgridError)
                extra = {"tenant_id": tenant_id, "reason": reason_of(error)}
                logger.error("a timer's work failed", exc_info=None if expected else error, extra=extra)
                summary["failed"] += 1
                if len(summary["failures"]) < NAMED_FAILURES:
                    summary["failures"][tenant_id] = reason_of(error)
        return summary

    def _session(self, stored: Stored) -> TenantSession:
        return TenantSession.of_system(self._directory.remember(stored), self._directory, self._services)

    async def _tenants(self, only: Collection[str] | None) -> AsyncIterator[Stored]:
        after: tuple[str, str] | None = None
        where = [Where("status", "in", STATUSES)]
        if only is not None and len(only) <= PAGE_ITEMS:
            where.append(Where("id", "in", sorted(only)))
        while True:
            page = await self._database.platform.query(TENANT, where, order=Order("id"), limit=PAGE_ITEMS, after=after)
            for stored in page.items:
                if only is None or stored.body["id"] in only:
                    yield stored
            after = page.next
            if after is None:
                return

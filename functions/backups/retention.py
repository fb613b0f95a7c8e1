"""Retention: whole backups go when their time is over, failed and abandoned ones after a day; the last good one stays.

Pruning takes the resource to `pruning`, then the manifest, the parts, the resource, in this order: whatever stops it
half-way, what is left does not look complete, and the next run takes it up again.
"""

from datetime import datetime, timedelta
from typing import Any

from functions.backups.index import being_restored, prune
from functions.backups.models import Backup
from shared.blobs.port import Blobs
from shared.clock import parse_rfc3339
from shared.database.port import Order
from shared.jobs.jobs import UNFINISHED, Job
from shared.jobs.ledger import Summary
from shared.jobs.tenant_sweep import TenantSweep
from shared.work.resources import Versioned
from shared.work.session import TenantSession

ABANDONED_AFTER = timedelta(days=1)
PAGE_ITEMS = 200


class Retention:
    """Prunes backups (`prune` one tenant's, `run` all of them); never one that a restore reads, or the last good."""

    def __init__(self, each_tenant: TenantSweep, blobs: Blobs) -> None:
        self._each_tenant = each_tenant
        self._blobs = blobs

    async def run(self, before: Summary | None = None) -> dict[str, Any]:
        """Prune every tenant's backups; `done` counts the backups."""
        return await self._each_tenant.each(self.prune, before)

    async def prune(self, session: TenantSession) -> int:
        """Prune one tenant's; returns how many backups went."""
        backups = await _backups(session)
        kept = {*_last_good([held.value for held in backups]), *await being_restored(session)}
        now = session.services.clock.now()
        pruned = 0
        for held in backups:
            if held.value.id not in kept and await _due(session, held.value, now):
                pruned += await prune(self._blobs, session, held)
        return pruned


def _last_good(backups: list[Backup]) -> list[str]:
    """The newest backup that succeeded, and the newest one that no verification has found damaged."""
    whole = sorted((one for one in backups if one.status == "succeeded"), key=lambda one: one.as_of or "")
    good = [one for one in whole if one.error is None]
    return [one.id for one in (*whole[-1:], *good[-1:])]


async def _due(session: TenantSession, backup: Backup, now: datetime) -> bool:
    stale = parse_rfc3339(backup.updated_at) + ABANDONED_AFTER <= now
    match backup.status:
        case "pruning":
            return True
        case "succeeded" | "inconsistent":
            return parse_rfc3339(backup.expires_at) <= now
        case "failed":
            return stale
        case "running":
            return stale and await _abandoned(session, backup, now)


async def _abandoned(session: TenantSession, backup: Backup, now: datetime) -> bool:
    """Whether nobody makes it any more: its job is over, gone, or has not moved for a day."""
    stored = await session.store.get(Job.KIND, backup.job_id)
    if stored is None:
        return True
    job = Job.model_validate(stored.body)
    return job.status not in UNFINISHED or parse_rfc3339(job.lease_until) + ABANDONED_AFTER <= now


async def _backups(session: TenantSession) -> list[Versioned[Backup]]:
    found: list[Versioned[Backup]] = []
    after: tuple[str, str] | None = None
    while True:
        page = await session.store.query(Backup.KIND, order=Order("id"), limit=PAGE_ITEMS, after=after)
        found += [Versioned.of(Backup, stored) for stored in page.items]
        after = page.next
        if after is None:
            return found

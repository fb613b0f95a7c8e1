"""A tenant's backups: the last good one before a time, those in use, and how one is taken away."""

from functions.backups.archive import Archive
from functions.backups.models import Backup, stored_as
from shared.blobs.port import Blobs
from shared.database.port import Order, Where
from shared.errors import Stale
from shared.jobs.jobs import UNFINISHED, Job
from shared.work.change import Change
from shared.work.resources import HasStore, PageRequest, Versioned, find
from shared.work.session import TenantSession

PAGE_ITEMS = 200
RESTORE_JOB = "restore"
KEPT_COUNTER = "backups"  # those on demand


async def being_restored(session: TenantSession) -> set[str]:
    """The backups that a restore is going to read: the one asked for, or the one that a point in time fell back to."""
    where = [Where("type", "=", RESTORE_JOB), Where("status", "in", UNFINISHED)]
    found: set[str] = set()
    after: tuple[str, str] | None = None
    while True:
        page = await session.store.query(Job.KIND, where, order=Order("id"), limit=PAGE_ITEMS, after=after)
        for job in (stored.body for stored in page.items):
            found |= {job["input"]["backup_id"], job["checkpoint"].get("backup_id") or job["input"]["backup_id"]}
        after = page.next
        if after is None:
            return found


async def prune(blobs: Blobs, session: TenantSession, held: Versioned[Backup]) -> int:
    """Take a backup away: to `pruning`, manifest, parts, resource. 0 when it has changed and is not to go any more."""
    if held.value.status != "pruning":
        change = session.change(held)
        change.update(held, {"status": "pruning"}, action="expired")
        try:
            await change.commit(None)
        except Stale:  # a restore of it has just begun, or it has just been completed: it is not due any more
            return 0
    await Archive(blobs, held.value, session.services.kinds).remove()

    async def uncount(change: Change, backup: Backup) -> None:
        if backup.type == "manual":
            change.count(KEPT_COUNTER, -1)

    await session.remove(Backup, held.value.id, if_match=None, also=uncount)
    return 1


async def last_good(tenant: HasStore, instant: str) -> Backup | None:
    """The last good backup that shows a moment up to this one."""
    found: Backup | None = None
    after: tuple[str, str] | None = None
    while True:
        where = [Where("status", "in", stored_as("succeeded")), Where("as_of", "<=", instant)]
        page = await find(tenant, Backup, {}, PageRequest(PAGE_ITEMS, after, Order("id"), where))
        good = [backup for backup in page.items if backup.error is None]
        found = max([*good, *([found] if found else [])], key=lambda backup: backup.as_of or "", default=None)
        after = page.next
        if after is None:
            return found


async def oldest_moment(tenant: HasStore) -> str | None:
    """The moment that the oldest backup shows; None without a backup."""
    oldest: str | None = None
    after: tuple[str, str] | None = None
    while True:
        page = await find(tenant, Backup, {}, PageRequest(PAGE_ITEMS, after, Order("id")))
        moments = [backup.as_of for backup in page.items if backup.as_of is not None]
        oldest = min([*moments, *([oldest] if oldest else [])], default=None)
        after = page.next
        if after is None:
            return oldest

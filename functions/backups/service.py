"""The backup service: what a tenant's admin can ask for. The work itself is done by jobs (export.py, restore.py)."""

from collections.abc import Mapping
from typing import Any

from functions.backups.archive import Archive, Damaged, Manifest, read_back
from functions.backups.copies import Copies
from functions.backups.models import Backup, BackupType, NewBackup, NewRestore, Restore, Verification
from shared.blobs.port import Blobs
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Kind, Order, Replace, Where
from shared.errors import Conflict, Invalid, NotFound, QuotaReached, Stale
from shared.http.routes import PageRequest
from shared.jobs import Job, enqueue
from shared.resources import Held, Listing, find, load
from shared.session import TRIES_AT_A_RACE, TenantSession

BACKUP_JOB = "backup"
RESTORE_JOB = "restore"
PAGE_ITEMS = 200


class BackupService:
    def __init__(self, blobs: Blobs, copies: Copies, *, jobs_queue: str) -> None:
        self._blobs = blobs
        self._copies = copies
        self._jobs_queue = jobs_queue

    async def create(self, tenant: TenantSession, new: NewBackup) -> Backup:
        ids = tenant.services.ids
        return await self.begin(tenant, "manual", id=ids.new(), job_id=ids.new(), note=new.note)

    async def begin(self, tenant: TenantSession, type: BackupType, *, id: str, job_id: str, note: str = "") -> Backup:
        """A backup and the job that makes it. `Conflict` when there is one of this id already."""
        change = tenant.change()
        backup = Backup.begin(change, tenant, type, id=id, job_id=job_id, note=note)
        enqueue(change, tenant, self._jobs_queue, BACKUP_JOB, {"backup_id": id}, id=job_id)
        return await change.commit(backup)

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Backup]:
        return await find(tenant, Backup, filters, limit=page.limit, after=page.after)

    async def get(self, tenant: TenantSession, id: str) -> Backup:
        return (await load(tenant, Backup, id)).value

    async def verify(self, tenant: TenantSession, id: str) -> Verification:
        """Read all of it back. Damage is an answer, and is noted in the backup: it does not count as good any more."""
        backup = _complete((await load(tenant, Backup, id)).value)
        verification = await self._read_back(tenant, backup)
        fields = {
            "verified_at": verification.checked_at,
            "error": None if verification.ok else f"damaged: {verification.problems[0]}"[:1000],
        }
        for _ in range(TRIES_AT_A_RACE):
            held = await load(tenant, Backup, id)
            change = tenant.change(held)
            if change.update(held, fields, action="verified") is held.value:
                return verification
            try:
                return await change.commit(verification)
            except Stale:
                continue
        raise Conflict("Others keep changing this at the same time; try again.")

    async def restore(self, tenant: TenantSession, new: NewRestore) -> Restore:
        """The job of a restore; what can be told at once is checked at once."""
        _check_target(tenant, new)
        held = await self._source(tenant, new)
        await _check_alone(tenant)
        change = tenant.change()
        asked = {**new.model_dump(mode="json", exclude={"confirm"}), "backup_id": held.value.id, "as_of": _as_of(new)}
        job = enqueue(change, tenant, self._jobs_queue, RESTORE_JOB, asked, id=tenant.repeatable_id(RESTORE_JOB))
        # Retention must not prune the backup between this look at it and the job: either it sees the job, or this
        # write makes its own one stale.
        change.also(Replace(Kind.BACKUP, held.value.id, held.value.model_dump(mode="json"), held.etag))
        if new.new_tenant is None:
            return await change.commit(Restore.of(job))
        await self._copies.take(change, tenant, new.new_tenant, job_id=job.id)
        try:
            return await change.commit(Restore.of(job))
        except (Conflict, QuotaReached, Stale):
            await self._copies.untake(new.new_tenant, job_id=job.id)
            raise

    async def get_restore(self, tenant: TenantSession, id: str) -> Restore:
        job = (await load(tenant, Job, id)).value
        if job.type != RESTORE_JOB:
            raise NotFound(f"There is no such {Kind.JOB}.")
        return Restore.of(job)

    async def _read_back(self, tenant: TenantSession, backup: Backup) -> Verification:
        archive = Archive(self._blobs, backup)
        manifest: Manifest | None = None
        try:
            manifest = await archive.manifest()
            problems = await read_back(archive, manifest.parts)
        except Damaged as damage:
            problems = [damage.message]
        parts = manifest.parts if manifest else []
        return Verification(
            backup_id=backup.id,
            ok=not problems,
            checked_at=rfc3339(tenant.services.clock.now()),
            problems=problems,
            parts=len(parts),
            lines=sum(sum(part.lines.values()) for part in parts),
            bytes=sum(part.bytes for part in parts),
        )

    async def _source(self, tenant: TenantSession, new: NewRestore) -> Held[Backup]:
        as_of = _as_of(new)
        if (new.backup_id is None) == (as_of is None):
            raise Invalid.of("backup_id", "name a backup_id or a point in time (as_of), one of the two")
        if as_of is None:
            held = await load(tenant, Backup, new.backup_id or "")
            _complete(held.value)
            return held
        if as_of > rfc3339(tenant.services.clock.now()):
            raise Invalid.of("as_of", "lies in the future", new.as_of)
        before = await _last_before(tenant, as_of)
        if before is None:
            raise Conflict("There is no good backup from before this time.", as_of=as_of)
        return await load(tenant, Backup, before.id)


def _as_of(new: NewRestore) -> str | None:
    if new.as_of is None:
        return None
    try:
        return rfc3339(parse_rfc3339(new.as_of))
    except ValueError as error:
        raise Invalid.of("as_of", f"is no RFC 3339 time: {error}", new.as_of) from error


def _complete(backup: Backup) -> Backup:
    if backup.status != "complete":
        raise Conflict(f"This backup is {backup.status}; only a complete one can be used.", backup_status=backup.status)
    return backup


def _check_target(tenant: TenantSession, new: NewRestore) -> None:
    if (new.target == "new_tenant") != (new.new_tenant is not None):
        raise Invalid.of("new_tenant", "belongs to the target new_tenant, and only to it")
    if new.target == "in_place" and new.confirm != tenant.entry.slug:
        raise Invalid.of("confirm", "must be this tenant's slug, since what is there now is replaced", new.confirm)


async def _check_alone(tenant: TenantSession) -> None:
    """Two restores at a time would mix two moments."""
    where = [Where("type", "=", RESTORE_JOB), Where("status", "in", ["queued", "running"])]
    running = await tenant.store.query(Kind.JOB, where, limit=1)
    if running.items:
        id = running.items[0].body["id"]
        raise Conflict("A restore of this tenant is under way; wait for it to end.", restore_id=id)


async def _last_before(tenant: TenantSession, instant: str) -> Backup | None:
    """The last good backup that shows a moment up to this one."""
    found: Backup | None = None
    after: tuple[str, str] | None = None
    where = [Where("status", "=", "complete"), Where("as_of", "<=", instant)]
    while True:
        page = await find(tenant, Backup, where, order=Order("id"), limit=PAGE_ITEMS, after=after)
        good = [backup for backup in page.items if backup.error is None]
        found = max([*good, *([found] if found else [])], key=lambda backup: backup.as_of or "", default=None)
        after = page.next
        if after is None:
            return found

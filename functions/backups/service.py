"""The backup service: what a tenant's admin can ask for. The work itself is done by jobs (export.py, restore.py)."""

from collections.abc import Mapping
from typing import Any

from functions.backups.archive import Archive, Damaged, Manifest, read_back
from functions.backups.copies import Copies
from functions.backups.export import SHOWN_DANGLING, unfit
from functions.backups.index import KEPT_COUNTER, RESTORE_JOB, being_restored, last_good, oldest_moment, prune
from functions.backups.models import (
    WRITTEN,
    Backup,
    BackupType,
    NewBackup,
    NewRestore,
    Restore,
    Verification,
)
from functions.backups.snapshot import Snapshot
from shared.blobs.port import Blobs
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Replace
from shared.errors import Conflict, Contended, Invalid, NotFound, QuotaReached, Stale, WrongState
from shared.http.times import NOT_A_TIME
from shared.jobs.jobs import Job, enqueue
from shared.jobs.locks import Locked, looking_again, take
from shared.kinds import Kind
from shared.members.standing import still_admin
from shared.tenancy.fence import Fenced, Overtaken, newest
from shared.work.change import Change
from shared.work.resources import Listing, PageRequest, Versioned, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

BACKUP_JOB = "backup"
UNDER_WAY = "A restore of this tenant is under way; wait for its end."
RESTORING = "restore"  # the lock of whoever restores this tenant
MOST_AT_ONCE = 3
ALL_TAKEN = f"{MOST_AT_ONCE} backups on demand are being made or waiting; wait for one of them."


class BackupService:
    """What admins ask for. `Conflict` and its kinds say why not; what takes long is a job, named in the answer."""

    def __init__(self, blobs: Blobs, copies: Copies, *, jobs_queue: str) -> None:
        self._blobs = blobs
        self._copies = copies
        self._jobs_queue = jobs_queue

    async def create(self, tenant: TenantSession, new: NewBackup) -> Backup:
        """One on demand: a few may wait for each other, and the plan says how many are kept."""
        return await looking_again(lambda: self._create(tenant, new))

    async def _create(self, tenant: TenantSession, new: NewBackup) -> Backup:
        ids = tenant.services.ids
        change, job_id = tenant.change(), ids.new()
        await _queue_up(change, tenant, job_id)
        change.count(KEPT_COUNTER, +1, limit=tenant.plan.max_backups)
        return await self._begin(change, tenant, "manual", id=ids.new(), job_id=job_id, note=new.note)

    async def begin_daily(self, tenant: TenantSession, *, id: str, job_id: str) -> Backup:
        """The day's backup and the job that makes it. `Conflict` when there is one of this id already."""
        tenant = tenant.past_the_fence()
        return await self._begin(tenant.change(), tenant, "daily", id=id, job_id=job_id)

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """Take a manual backup away, with all that was written of it. `Conflict` for one that is in use, `Stale`."""
        held = await load(tenant, Backup, id)
        (await _shown(tenant, held.value)).check(if_match)
        if held.value.type != "manual":
            raise WrongState(f"A {held.value.type} backup goes when its time is over, on {held.value.expires_at}.")
        if held.value.status == "running":
            raise WrongState("This backup is being made; delete it when that is done.", job_id=held.value.job_id)
        if id in await being_restored(tenant):
            raise WrongState("This backup is being restored; delete it when that is done.")
        if not await prune(self._blobs, tenant, held):
            raise Contended("Others are changing this backup; try again.")

    async def _begin(
        self, change: Change, tenant: TenantSession, type: BackupType, *, id: str, job_id: str, note: str = ""
    ) -> Backup:
        backup = Backup.begin(change, tenant, type, id=id, job_id=job_id, note=note)
        enqueue(change, tenant, self._jobs_queue, BACKUP_JOB, {"backup_id": id}, id=job_id)
        return await change.commit(backup)

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Backup]:
        """One page, with what each is good for now. `filters`: field -> value, None: any."""
        found = await find(tenant, Backup, filters, page)
        return Listing([await _shown(tenant, backup) for backup in found.items], found.next)

    async def get(self, tenant: TenantSession, id: str) -> Backup:
        """`NotFound` for what never was and for another tenant's."""
        return await _shown(tenant, (await load(tenant, Backup, id)).value)

    async def verify(self, tenant: TenantSession, id: str) -> Verification:
        """Read all of it back. Damage is an answer, and is noted in the backup: it does not count as good any more."""
        tenant = tenant.past_the_fence()
        backup = (await load(tenant, Backup, id)).value
        if backup.status not in WRITTEN:
            raise WrongState(f"This backup is {backup.status}; there is nothing to read back.")
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
        raise Contended("Others keep changing this at the same time; try again.")

    async def restore(self, tenant: TenantSession, new: NewRestore) -> Restore:
        """The job of a restore; what can be told at once is checked at once."""
        _check_target(tenant, new)
        id = tenant.repeatable_id(RESTORE_JOB)
        return await looking_again(lambda: self._begin_restore(tenant, new, id))

    async def _begin_restore(self, tenant: TenantSession, new: NewRestore, id: str) -> Restore:
        held = await self._source(tenant, new)
        change = tenant.change()
        asked = {**new.model_dump(mode="json", exclude={"confirm"}), "backup_id": held.value.id, "as_of": _as_of(new)}
        job = enqueue(change, tenant, self._jobs_queue, RESTORE_JOB, asked, id=id)
        if new.target == "in_place":
            await take(change, tenant.store, RESTORING, job.id, UNDER_WAY)
        # Retention must not prune the backup between this look at it and the job: either it sees the job, or this
        # write makes its own one stale.
        change.write(Replace(Backup.KIND, held.value.id, held.value.model_dump(mode="json"), held.etag))
        await still_admin(change, tenant)
        change.audit("requested", Kind("restore"), id, 1, None, asked)  # who has all of a backup copied, and where to
        if new.new_tenant is None:
            return await change.commit(Restore.of(job))
        await self._copies.take(change, tenant, new.new_tenant, job_id=job.id)
        try:
            return await change.commit(Restore.of(job))
        except (Conflict, Fenced, Overtaken, QuotaReached, Stale):
            await self._copies.untake(new.new_tenant, job_id=job.id)
            raise

    async def journal_needed_since(self, tenant: TenantSession) -> str | None:
        """The oldest backup's moment, from which on the journal leads to points in time; None without a backup."""
        return await oldest_moment(tenant)

    async def list_restores(
        self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest
    ) -> Listing[Restore]:
        """One page, made of the jobs that restore. `filters`: field -> value, None: any."""
        jobs = await find(tenant, Job, {**filters, "type": RESTORE_JOB}, page)
        return Listing([Restore.of(job) for job in jobs.items], jobs.next)

    async def get_restore(self, tenant: TenantSession, id: str) -> Restore:
        """`NotFound` for a job that is no restore, too."""
        job = (await load(tenant, Job, id)).value
        if job.type != RESTORE_JOB:
            raise NotFound(f"There is no such {Job.KIND}.")
        return Restore.of(job)

    async def _read_back(self, tenant: TenantSession, backup: Backup) -> Verification:
        archive = Archive(self._blobs, backup, tenant.services.kinds)
        manifest: Manifest | None = None
        try:
            manifest = await archive.manifest()
            problems = await read_back(archive, manifest.parts)
            if not problems and (wrong := await _unfit(tenant, archive, manifest)):
                problems = [wrong]
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

    async def _source(self, tenant: TenantSession, new: NewRestore) -> Versioned[Backup]:
        as_of = _as_of(new)
        if (new.backup_id is None) == (as_of is None):
            raise Invalid.of("backup_id", "name a backup_id or a point in time (as_of), one of the two")
        if as_of is None:
            held = await load(tenant, Backup, new.backup_id or "")
            _complete(held.value)
            return held
        # after a clock that was ahead, what is stamped goes on from there
        if as_of > await newest(tenant.store, rfc3339(tenant.services.clock.now())):
            raise Invalid.of("as_of", "lies in the future", new.as_of)
        before = await last_good(tenant, as_of)
        if before is None:
            raise Conflict("There is no good backup from before this time.", as_of=as_of)
        return await load(tenant, Backup, before.id)


async def _shown(tenant: TenantSession, backup: Backup) -> Backup:
    """With its job's progress, while it has one: one read more for each that is being made."""
    stored = await tenant.store.get(Job.KIND, backup.job_id) if backup.status == "running" else None
    return backup.model_copy(update={"progress": Job.model_validate(stored.body).progress}) if stored else backup


async def _queue_up(change: Change, tenant: TenantSession, job_id: str) -> None:
    """Take one of the few places that backups on demand may have at a time."""
    for place in range(1, MOST_AT_ONCE + 1):
        try:
            return await take(change, tenant.store, f"backup-{place}", job_id, ALL_TAKEN)
        except Locked:
            if place == MOST_AT_ONCE:
                raise


async def _unfit(tenant: TenantSession, archive: Archive, manifest: Manifest) -> str | None:
    with Snapshot(tenant.services.kinds) as snapshot:
        await snapshot.load(archive, manifest)
        return unfit(snapshot.dangling(SHOWN_DANGLING))


def _as_of(new: NewRestore) -> str | None:
    if new.as_of is None:
        return None
    try:
        return rfc3339(parse_rfc3339(new.as_of))
    except ValueError as error:
        raise Invalid.of("as_of", NOT_A_TIME, new.as_of) from error


def _complete(backup: Backup) -> Backup:
    if backup.status != "succeeded":
        raise Conflict(
            f"This backup is {backup.status}; only one that succeeded can be used.", backup_status=backup.status
        )
    return backup


def _check_target(tenant: TenantSession, new: NewRestore) -> None:
    if (new.target == "new_tenant") != (new.new_tenant is not None):
        raise Invalid.of("new_tenant", "belongs to the target new_tenant, and only to it")
    if new.target == "in_place" and new.confirm != tenant.entry.slug:
        raise Invalid.of("confirm", "must be this tenant's slug, since what is there now is replaced", new.confirm)

"""Copies: the tenants that restores make. What a copy takes is taken in the batch of its job, and given back with it.

The source's partition holds an item for each copy and their number, so that a plan's `max_copies` is exact whoever asks
at once, and giving back twice gives back once. The slug is reserved for the tenant to be before there is a job.
"""

import logging
from contextlib import suppress

from functions.backups.models import RestoredTenant
from shared.auth.roles import Role
from shared.database.port import Create, Database, Delete, Increment, Rejected
from shared.errors import WrongState
from shared.ids import derived_id
from shared.jobs.jobs import Job
from shared.kinds import Kind
from shared.members.names import SLUG, Names
from shared.tenancy.directory import TENANT
from shared.work.change import COUNTER as COUNTER_KIND
from shared.work.change import Change
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.copies")
COPY = Kind("copy")  # of this tenant, made by a restore
COUNTER = "copies"


class Copies:
    """Counts the tenants that restores make, and takes and gives back what they take (`QuotaReached`, `Conflict`)."""

    def __init__(self, names: Names, database: Database) -> None:
        self._names = names
        self._platform = database.platform

    async def take(self, change: Change, tenant: TenantSession, new: RestoredTenant, *, job_id: str) -> None:
        """Make the copy of `job_id` part of the change. `Conflict` when its slug is taken, or nothing may be copied.

        `QuotaReached` at commit when the plan has no copy left; Flowgrid's staff may go beyond.
        """
        if tenant.entry.status not in ("active", "trial"):
            raise WrongState(f"A tenant that is {tenant.entry.status} cannot be copied.")
        id = copy_id(job_id)
        await self._names.reserve(SLUG, new.slug, holder=id, job=f"{tenant.id}/{job_id}")
        if await tenant.store.get(COUNTER_KIND, COUNTER) is None:
            with suppress(Rejected):  # somebody else has begun to count
                await tenant.store.commit([Create(COUNTER_KIND, COUNTER, {"created_at": change.at, "value": 0})])
        change.write(Create(COPY, id, {"created_at": change.at, "slug": new.slug, "job_id": job_id}))
        limit = None if tenant.caller.role is Role.PLATFORM else tenant.plan.max_copies
        change.count(COUNTER, +1, limit=limit)

    async def untake(self, new: RestoredTenant, *, job_id: str) -> None:
        """The change was refused: the slug is free again."""
        await self._names.release(SLUG, new.slug, holder=copy_id(job_id))

    async def give_up(self, session: TenantSession, job: Job) -> None:
        """The job has failed for good: give back what it took, unless its tenant is there. Again does no harm."""
        id = copy_id(job.id)
        store = session.past_the_fence().store
        held = await store.get(COPY, id)
        if held is None:
            return
        entry = await self._platform.latest(TENANT, id, id)
        if entry is not None and not entry.body.get("undo"):
            extra = {"tenant_id": session.id, "job_id": job.id, "copy": id}
            logger.warning("a restore failed after its tenant was made; the copy still counts", extra=extra)
            return
        await self._names.release(SLUG, held.body["slug"], holder=id)
        try:
            await store.commit([Delete(COPY, id, held.etag), Increment(COUNTER_KIND, COUNTER, {"value": -1})])
        except Rejected:
            logger.info("the copy was given back before", extra={"tenant_id": session.id, "job_id": job.id})


def copy_id(job_id: str) -> str:
    """The id of the tenant that a restore makes."""
    return derived_id("restore", job_id)

"""The dedicated database of a tenant: a job of the platform's own partition, since the tenant has no store yet.

The job has an id that follows from its tenant's, so that however often an onboarding is taken up there is one. What
goes wrong shows on the job, which tries again with longer and longer pauses; once it has given up, the onboarding
sweep begins it anew every quarter of an hour.
"""

import logging
from collections.abc import Awaitable
from datetime import timedelta
from typing import Protocol

from functions.tenants.models import Tenant
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.clock import parse_rfc3339
from shared.database.port import Placement
from shared.database.provisioning import Provisioner
from shared.errors import Conflict, FlowgridError
from shared.ids import derived_id
from shared.jobs.jobs import Continue, Done, Job, Progress, again, enqueue
from shared.tenancy.directory import Directory
from shared.work.resources import Versioned
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.provisioning")

PROVISION_JOB = "provision"
ANEW_AFTER = timedelta(minutes=15)
MOST_SLICES = 60


class Finish(Protocol):
    """`Onboarding.finish`, once there is a database."""

    def __call__(self, tenant_id: str, session: TenantSession, *, made: str) -> Awaitable[Tenant]: ...


class Provisioning:
    """`provisioner` is None where the database adapter itself makes databases."""

    def __init__(
        self, provisioner: Provisioner | None, directory: Directory, services: Services, jobs_queue: str
    ) -> None:
        self._provisioner = provisioner
        self._directory = directory
        self._services = services
        self._queue = jobs_queue

    def needed(self, placement: Placement) -> bool:
        """Whether the placement's database takes a job."""
        return self._provisioner is not None and placement.mode == "dedicated"

    def room(self, shards: int) -> int | None:
        """How many databases of tenants there can be; None where nothing bounds them."""
        return None if self._provisioner is None else self._provisioner.room(shards)

    async def discard(self, placement: Placement) -> None:
        """Unmake what a job has made of a database that never held a tenant's data, whatever it is undone for."""
        if self._provisioner is None or placement.mode != "dedicated":
            return
        jobs = self._session(None).store
        await jobs.catch_up()
        if await jobs.get(Job.KIND, job_id(placement.database)) is not None:
            await self._provisioner.discard(placement.database)

    async def begin(self, tenant_id: str, database: str, staff: TenantSession | None) -> None:
        """See to it that the tenant's job is there and not given up."""
        session = self._session(staff)
        stored = await session.store.get(Job.KIND, job_id(database))
        change = session.change()
        if stored is None:
            what = {"tenant_id": tenant_id, "database": database}
            enqueue(change, session, self._queue, PROVISION_JOB, what, id=job_id(database))
        else:
            held = Versioned.of(Job, stored)
            rested = parse_rfc3339(held.value.updated_at) + ANEW_AFTER
            if held.value.status != "failed" or self._services.clock.now() < rested:
                return
            again(change, session, self._queue, held)
        try:
            await change.commit(None)
        except Conflict:
            logger.info("somebody else has begun it", extra={"tenant_id": tenant_id})

    async def slice(self, session: TenantSession, job: Job, finish: Finish) -> Done | Continue:
        """Make the database, or go on with making it, then finish the onboarding."""
        if self._provisioner is None:
            raise FlowgridError("Nobody makes databases here: FLOWGRID_COSMOS_ACCOUNT_ID is empty.")
        if job.slices >= MOST_SLICES:
            raise FlowgridError(f"Azure has not made the database in {MOST_SLICES} minutes.")
        database = job.input["database"]
        begun = job.checkpoint.get("operation")
        operation = await self._provisioner.ensure(database, begun, tenant_id=job.input["tenant_id"])
        if operation is not None:
            return Continue({"operation": operation}, Progress(phase="database"))
        tenant = await finish(job.input["tenant_id"], session, made=database)
        return Done({"tenant_id": tenant.id, "status": tenant.status})

    def _session(self, staff: TenantSession | None) -> TenantSession:
        """The platform's partition, without the request's idempotency: its answer is not written with the job."""
        flowgrid = self._directory.flowgrid
        caller, request = (staff.caller, staff.request) if staff else (SYSTEM, SYSTEM_REQUEST)
        return TenantSession(flowgrid, self._directory.open(flowgrid), caller, request, self._services)


def job_id(database: str) -> str:
    return derived_id("provision", database)

"""Real data for a conformance run: a tenant, a usage event, a backup job; and what the functions have made of them."""

from datetime import datetime
from typing import Any

from functions.backups.copies import Copies
from functions.backups.models import NewBackup
from functions.backups.service import BackupService
from functions.tenants.models import NewTenant
from functions.tenants.onboarding import Onboarding
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.core import Core
from shared.jobs.jobs import Job
from shared.messaging.port import Message
from shared.work.events import Metric, usage_event
from shared.work.resources import load
from shared.work.session import TenantSession
from tests.doubles.usage import stored_events


async def onboarded(core: Core, new: NewTenant) -> TenantSession:
    database, settings = core.adapters.database, core.settings
    onboarding = Onboarding(
        database, core.directory, core.names, core.services, settings.flowgrid_shards, settings.flowgrid_region
    )
    flowgrid = core.directory.flowgrid
    staff = TenantSession(flowgrid, core.directory.open(flowgrid), SYSTEM, SYSTEM_REQUEST, core.services)
    tenant = await onboarding.onboard(staff, new)
    entry = await core.directory.entry(tenant.id)
    assert entry is not None
    return TenantSession(entry, core.directory.open(entry), SYSTEM, SYSTEM_REQUEST, core.services)


def usage_event_of(session: TenantSession, at: datetime) -> Message:
    return usage_event(Metric.EXECUTIONS, id=session.services.ids.new(), tenant_id=session.id, at=at, value=3)


async def backup_job(core: Core, session: TenantSession) -> Message:
    backups = BackupService(
        core.adapters.blobs, Copies(core.names, core.adapters.database), jobs_queue=core.settings.jobs_queue
    )
    backup = await backups.create(session, NewBackup())
    return Message(core.services.ids.new(), session.id, {"job_id": backup.job_id})


async def what_became_of(session: TenantSession, event: Message, job: Message) -> dict[str, Any]:
    stored = [one for one in await stored_events(session.store) if one.id == event.id]
    done = (await load(session, Job, job.body["job_id"])).value
    return {"usage_event": len(stored) == 1, "job": done.status, "error": done.error}

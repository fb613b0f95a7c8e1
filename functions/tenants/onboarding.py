"""Onboarding: from a name to a tenant that works, in four calls, finished or undone whatever happens in between.

registry entry (provisioning) -> slug -> the tenant's own first batch -> entry (trial or active)

A dedicated database that takes minutes to make is made by a job (provisioning.py), between slug and first batch;
until then the tenant is answered as `provisioning`.

Each step may be repeated, so the sweep finishes what a crash has left: the registry entry knows all that is needed.
When the slug turns out to be taken, or the account to be full, the entry becomes `deleting` first and what was reserved
and made is given back.
"""

import logging
from contextlib import suppress
from datetime import timedelta

from functions.tenants.models import NewTenant, PlacementView, Status, Tenant
from functions.tenants.places import Places
from functions.tenants.provisioning import Provisioning, job_id
from shared.apart import apart
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create, Database, Delete, Placement, Rejected, Replace, Stored, Where
from shared.errors import Conflict, Full, Unavailable, WrongState
from shared.ids import derived_id
from shared.jobs.jobs import Continue, Done, Job, Wait
from shared.members.invitations import Invitations
from shared.members.names import SLUG, Names
from shared.members.users import User, user_id
from shared.tenancy.directory import TENANT, Directory, TenantEntry, shard
from shared.tenancy.fence import first_permit
from shared.tenancy.history import recorded
from shared.tenancy.plans import PLANS, Tier
from shared.work.change import COUNTER
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.onboarding")
SWEEP_AFTER = timedelta(seconds=30)
ROOM_AFTER_SECONDS = 30
UNDONE = "This onboarding has been undone; begin again."
COUNTERS = {"agents": 0, "users": 1, "backups": 0, "mcp_servers": 0}  # what a restore counts up is there by then


class Undone(Conflict):
    """What was to be finished is no more, or another attempt has begun under its id."""

    code = "undone"
    meaning = "The tenant was taken back while it was being set up."
    remedy = "Onboard it again."

    def __init__(self) -> None:
        super().__init__(UNDONE)


class Onboarding:
    """Sets tenants up: names, database, first admin. What stops half-way its sweep ends or undoes (decision 0007)."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        names: Names,
        services: Services,
        shards: int,
        region: str,
        provisioning: Provisioning | None = None,
    ) -> None:
        self._database = database
        self._directory = directory
        self._names = names
        self._services = services
        self._shards = shards
        self._region = region
        self._invitations = Invitations(database, directory, services.clock)
        self._provisioning = provisioning or Provisioning(None, directory, services, jobs_queue="")
        self.places = Places(database, services.clock, self._provisioning.room(shards), region)

    async def onboard(
        self, staff: TenantSession, new: NewTenant, *, id: str | None = None, like: Tenant | None = None
    ) -> Tenant:
        """A working tenant, `like`: as a copy of that.

        `Conflict` (and nothing left of it) when its slug is taken, `Full` when there is no place for its database.
        """
        attempt = self._services.ids.new()
        tenant = self._new(staff, new, id or staff.repeatable_id(TENANT), attempt, like)
        if tenant.placement.mode == "dedicated":
            await self.places.need(tenant.id)
        body = {**tenant.model_dump(mode="json"), "admin_name": new.admin_name, "attempt": attempt}
        try:
            etag = await self._database.platform.put(Create(TENANT, tenant.id, body), tenant.id)
        except Rejected:
            logger.info("onboarding goes on", extra={"tenant_id": tenant.id})
            etag = None
        if etag is None:
            return await self.finish(tenant.id, staff)
        return await self._finish(tenant, Stored(body, etag), staff)

    async def onboard_like(self, *, tenant_id: str, name: str, slug: str, admin_email: str, like: TenantEntry) -> None:
        """A tenant with another one's plan, settings, trial and status (for a restore into a new tenant).

        Again with the same id is no error. `Conflict` when the other one is suspended or worse, `Unavailable` while the
        new one's database is being made.
        """
        source = Tenant.model_validate((await self._entry(like.id)).body)
        if source.status not in ("active", "trial"):
            raise WrongState(f"A tenant that is {source.status} cannot be copied.")
        limits = source.settings.limits.model_copy(update={"max_copies": None})  # a copy's own are for staff to grant
        new = NewTenant(
            name=name,
            slug=slug,
            tier=source.tier,
            admin_email=admin_email,
            max_agents=source.max_agents,
            max_users=source.max_users,
            dedicated=like.placement.mode == "dedicated",
            settings=source.settings.model_copy(update={"limits": limits, "membership": "required"}),
        )
        session = TenantSession.of_system(self._directory.flowgrid, self._directory, self._services)
        tenant = await self.onboard(session, new, id=tenant_id, like=source)
        if tenant.status == "provisioning":
            raise Unavailable("The database of the new tenant is being made.", retry_after=30)

    async def finish(self, tenant_id: str, session: TenantSession | None = None, *, made: str | None = None) -> Tenant:
        """Do what is left to do for an entry in `provisioning`; an entry beyond that is answered as it is.

        `made`: the database that is there by now; without it, a dedicated one's job is begun and finishes it later.
        `Undone` when the tenant's is another one.
        """
        held = await self._wanted(tenant_id, made)
        tenant = Tenant.model_validate(held.body)
        if tenant.status != "provisioning":
            return tenant
        return await self._finish(tenant, held, session, made=made)

    async def _finish(
        self, tenant: Tenant, held: Stored, session: TenantSession | None, *, made: str | None = None
    ) -> Tenant:
        try:
            await self._names.reserve(SLUG, tenant.slug, holder=tenant.id, attempt=held.body.get("attempt"))
        except Conflict:
            marked = await self._mark_undone(held)
            if marked is None:
                return await self.finish(tenant.id, session, made=made)
            await self._undo(marked)
            raise
        placement = Placement.from_document(held.body["placement"])
        if self._provisioning.needed(placement) and made is None:
            await self._provisioning.begin(tenant.id, placement.database, session)
            return tenant
        await self._database.provision(placement)
        await self._invitations.remember(tenant.id, tenant.admin_email)
        await self._seed(tenant, held, session)
        return await self._activate(tenant, held)

    async def run_provision(self, session: TenantSession, job: Job) -> Done | Continue | Wait:
        """The job that makes a dedicated database and finishes the onboarding; where there is no room, undoes it.

        Of several for the last place the one that was entered first gets it: it waits until the others are undone.
        What it has made for an onboarding that was undone meanwhile is its own to unmake: nobody else knows of it.
        """
        database = job.input["database"]
        try:
            held = await self._wanted(job.input["tenant_id"], database)
            return await self._provisioning.slice(session, job, self.finish)
        except Undone:
            await self._provisioning.discard(Placement("dedicated", database))
            raise
        except Full as full:
            if held.body["status"] != "provisioning":
                raise
            if await self.places.contended(held.body):
                return Wait(f"{full} Whoever was entered later gives back what it holds of it.", ROOM_AFTER_SECONDS)
            marked = await self._mark_undone(held)
            if marked is not None:
                with apart(logger, "an onboarding without a place is undone by the sweep", tenant_id=held.body["id"]):
                    await self._undo(marked)
            raise

    async def sweep(self) -> int:
        """Finish or undo every onboarding that stopped half-way; returns how many there were."""
        before = rfc3339(self._services.clock.now() - SWEEP_AFTER)
        left = await self._database.platform.query(
            TENANT, [Where("status", "in", ["provisioning", "deleting"]), Where("created_at", "<", before)]
        )
        halves = [entry for entry in left.items if entry.body["status"] == "provisioning" or entry.body.get("undo")]
        for entry in halves:
            undone = "onboarding undone, or to be finished by the next sweep"
            with apart(logger, undone, tenant_id=entry.body["id"]):
                await self.finish(entry.body["id"])
        return len(halves)

    def _new(self, staff: TenantSession, new: NewTenant, id: str, attempt: str, like: Tenant | None) -> Tenant:
        now = self._services.clock.now()
        trial_ends_at = rfc3339(now + timedelta(days=new.trial_days)) if new.trial_days else None
        if like is not None:
            trial_ends_at = like.trial_ends_at if like.status == "trial" else None
        plan = PLANS[new.tier]
        dedicated = new.tier is Tier.ENTERPRISE if new.dedicated is None else new.dedicated
        # of a name that no other attempt has: what undoes one never unmakes what another has made
        own = Placement("dedicated", f"tenant-{id}-{attempt[-8:]}")
        placement = own if dedicated else shard(int(derived_id("shard", id)[:8], 16) % self._shards + 1)
        return Tenant(
            id=id,
            tenant_id=id,
            revision=1,
            created_at=rfc3339(now),
            updated_at=rfc3339(now),
            created_by=staff.user_id,
            updated_by=staff.user_id,
            name=new.name,
            slug=new.slug,
            tier=new.tier,
            status="provisioning",
            trial_ends_at=trial_ends_at,
            max_agents=plan.max_agents if new.max_agents is None else new.max_agents,
            max_users=plan.max_users if new.max_users is None else new.max_users,
            region=self._region,
            admin_email=new.admin_email,
            placement=PlacementView.model_validate(placement.as_document()),
            job_id=job_id(placement.database) if self._provisioning.needed(placement) else None,
            copy_of=like.id if like else None,
            settings=new.settings,
        )

    async def _seed(self, tenant: Tenant, held: Stored, staff: TenantSession | None) -> None:
        """The tenant's first batch: counters, first admin, and the audit of both. Its second time changes nothing."""
        entry = self._directory.remember(held)
        caller, request = (staff.caller, staff.request) if staff else (SYSTEM, SYSTEM_REQUEST)
        store = self._directory.open(entry).control  # there is no permit yet: this batch brings it
        session = TenantSession(entry, store, caller, request, self._services)
        change = session.change()
        change.write(first_permit())
        for name, value in COUNTERS.items():
            change.write(Create(COUNTER, name, {"created_at": change.at, "value": value}))
        change.audit("created", TENANT, tenant.id, 1, None, tenant.model_dump(mode="json"))
        change.create(
            User,
            {
                "email": tenant.admin_email,
                "name": held.body["admin_name"],
                "role": "admin",
                "status": "invited",
            },
            id=user_id(tenant.id, tenant.admin_email),
        )
        try:
            await change.commit(None)
        except Conflict:
            logger.info("the tenant was seeded before", extra={"tenant_id": tenant.id})

    async def _activate(self, tenant: Tenant, held: Stored) -> Tenant:
        now = max(self._services.clock.now(), parse_rfc3339(tenant.updated_at) + timedelta(microseconds=1))
        status: Status = "trial" if tenant.trial_ends_at else "active"
        active = tenant.model_copy(
            update={
                "status": status,
                "revision": tenant.revision + 1,
                "updated_at": rfc3339(now),
                "plan_changes": recorded([], now, tenant.tier, status),
            }
        )
        body = {**held.body, **active.model_dump(mode="json")}
        try:
            await self._database.platform.put(Replace(TENANT, tenant.id, body, held.etag), tenant.id)
        except Rejected:
            return await self.finish(tenant.id, made=tenant.placement.database)
        self._directory.forget(tenant.id)
        return active

    async def _mark_undone(self, held: Stored) -> Stored | None:
        """From here on nobody finishes it any more; None when somebody else has changed the entry meanwhile."""
        id, revision = held.body["id"], held.body["revision"] + 1  # it is shown, under an ETag of its own
        marked = {**held.body, "status": "deleting", "revision": revision, "undo": True}
        try:
            etag = await self._database.platform.put(Replace(TENANT, id, marked, held.etag), id)
        except Rejected:
            return None
        return Stored(marked, etag) if etag is not None else await self._entry(id)

    async def _undo(self, marked: Stored) -> None:
        """Give back what was reserved and made, then forget the entry.

        Whoever stalls here and goes on later, when the same id has been onboarded again, harms nothing of that: its
        database has another name, its reservation is another attempt's, its entry has another ETag.
        """
        tenant = Tenant.model_validate(marked.body)
        await self._provisioning.discard(Placement.from_document(marked.body["placement"]))
        await self._names.release(SLUG, tenant.slug, holder=tenant.id, attempt=marked.body.get("attempt"))
        with suppress(Rejected):  # another sweep has undone it
            await self._database.platform.put(Delete(TENANT, tenant.id, marked.etag), tenant.id)
        self._directory.forget(tenant.id)

    async def _wanted(self, tenant_id: str, database: str | None = None) -> Stored:
        """The entry; `Undone` when the onboarding is undone, which it is by then, or is not the one of `database`."""
        held = await self._entry(tenant_id)
        if held.body.get("undo"):
            await self._undo(held)
            raise Undone
        if database not in (None, held.body["placement"]["database"]):
            raise Undone
        return held

    async def _entry(self, tenant_id: str) -> Stored:
        held = await self._database.platform.latest(TENANT, tenant_id, tenant_id)
        if held is None:
            raise Undone
        return held

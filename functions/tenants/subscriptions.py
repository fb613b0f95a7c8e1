"""Changing the plan: a higher one at once, a lower one when the month ends."""

import logging

from functions.tenants.models import Tenant
from functions.tenants.plans import LEVELS, PlanTooSmall, in_the_way, kept_plan, on_plan
from functions.tenants.service import SWEEPER, Actor, TenantService
from shared.apart import apart
from shared.clock import Clock, rfc3339
from shared.database.port import TenantStore, Where
from shared.errors import NotFound, WrongState
from shared.tenancy.directory import Directory
from shared.tenancy.history import month_after
from shared.tenancy.plans import Tier
from shared.work.change import COUNTER

logger = logging.getLogger("flowgrid.tenants")
COUNTED = ("agents", "users", "backups", "api_keys")


class Subscriptions:
    """A tenant's plan as its admins change it; each is in the audit trail, and told once it holds."""

    def __init__(self, tenants: TenantService, directory: Directory, clock: Clock) -> None:
        self._tenants = tenants
        self._directory = directory
        self._clock = clock

    async def upgrade(self, actor: Actor, tenant_id: str, tier: Tier) -> None:
        """This plan, paid for, from now on; it ends a trial. `WrongState` for a lower one; again is no error."""

        def fields(tenant: Tenant) -> dict[str, object]:
            if tenant.status not in ("trial", "active"):
                raise WrongState(f"A tenant that is {tenant.status} cannot be upgraded.")
            if LEVELS.index(tier) < LEVELS.index(tenant.tier):
                raise WrongState(f"The plan is {tenant.tier}; a lower one is asked for with POST billing/downgrade.")
            ended = {"trial_ends_at": None, "trial_told": None} if tenant.status == "trial" else {}
            return {**on_plan(tenant, tier), **ended, "status": "active"}

        await self._tenants.change(actor, tenant_id, "upgraded", fields)

    async def downgrade(self, actor: Actor, tenant_id: str, tier: Tier) -> None:
        """This plan from the next month on; again is no error.

        `WrongState` for one that is not lower, `PlanTooSmall` when the tenant has more than it allows, which is looked
        at again when the month ends.
        """
        tenant = await self._tenants.get(tenant_id)
        used = await self._used(tenant_id)
        if LEVELS.index(tier) < LEVELS.index(tenant.tier) and (found := in_the_way(tenant, tier, used)):
            raise PlanTooSmall(tier, found)
        at = rfc3339(month_after(self._clock.now()))

        def fields(tenant: Tenant) -> dict[str, object]:
            if LEVELS.index(tier) >= LEVELS.index(tenant.tier):
                raise WrongState(f"The plan is {tenant.tier}; a higher one is asked for with POST billing/upgrade.")
            return {"next_tier": tier, "next_tier_at": at}

        await self._tenants.change(actor, tenant_id, "downgrade_asked", fields)

    async def keep(self, actor: Actor, tenant_id: str) -> None:
        """Take a downgrade back. `NotFound` where none waits."""

        def fields(tenant: Tenant) -> dict[str, object]:
            if tenant.next_tier is None:
                raise NotFound("No downgrade waits for the end of the month.")
            return {"next_tier": None, "next_tier_at": None}

        await self._tenants.change(actor, tenant_id, "downgrade_taken_back", fields)

    async def sweep(self) -> int:
        """Make the downgrades that are due; returns how many were."""
        now, done = rfc3339(self._clock.now()), 0
        async for tenant in self._tenants.find([Where("next_tier_at", "<=", now)]):
            with apart(logger, "a downgrade comes again", tenant_id=tenant.id):
                await self._downgraded(tenant)
                done += 1
        return done

    async def _downgraded(self, tenant: Tenant) -> None:
        """From the month's beginning on, however late this comes; the plan stays where it is too small by now."""
        tier, at = tenant.next_tier, tenant.next_tier_at
        if tier is None or at is None:
            return
        found = in_the_way(tenant, tier, await self._used(tenant.id))

        def fields(now: Tenant) -> dict[str, object]:
            if (now.next_tier, now.next_tier_at) != (tier, at):
                return {}
            return {"next_tier": None, "next_tier_at": None} if found else on_plan(now, tier)

        if found:
            kept = kept_plan(tenant, tier, found)
            await self._tenants.change(SWEEPER, tenant.id, "downgrade_refused", fields, told=lambda _: kept)
        else:
            await self._tenants.change(SWEEPER, tenant.id, "downgraded", fields, effective=at)

    async def _used(self, tenant_id: str) -> dict[str, int]:
        store: TenantStore | None = await self._directory.store(tenant_id)
        if store is None:
            raise NotFound("There is no such tenant.")
        found = {name: await store.get(COUNTER, name) for name in COUNTED}
        return {name: int(stored.body["value"]) if stored else 0 for name, stored in found.items()}

"""Looking after tenants: list, change, suspend, resume. Every change is in the tenant's own audit trail.

Registry and audit live in different partitions, so no batch holds both: the entry carries its audit entry
(`unaudited`) until that is written, and the sweep writes what a crash has left.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from functions.tenants.models import Tenant, TenantFields
from shared.apart import apart
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST, RequestInfo
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create, Database, Rejected, Replace, Stored, Where
from shared.errors import Contended, NotFound, WrongState
from shared.http.bodies import MergePatch
from shared.tenancy.directory import TENANT, Directory
from shared.tenancy.fence import AUDIT
from shared.tenancy.plans import PLANS
from shared.work.resources import Listing, PageRequest, bounded_page
from shared.work.scope import Services
from shared.work.session import TRIES_AT_A_RACE, TenantSession

logger = logging.getLogger("flowgrid.tenants")
SWEEP_AFTER = timedelta(seconds=30)


class Actor(Protocol):
    """Who changes a tenant, as its audit trail records it."""

    @property
    def user_id(self) -> str: ...
    @property
    def request(self) -> RequestInfo: ...


@dataclass(frozen=True)
class Sweeper:
    user_id: str = SYSTEM.subject
    request: RequestInfo = SYSTEM_REQUEST


SWEEPER = Sweeper()


class TenantService:
    """Tenants as staff change them; every change is in the tenant's own audit trail (`unaudited` until it is)."""

    def __init__(self, database: Database, directory: Directory, services: Services) -> None:
        self._platform = database.platform
        self._directory = directory
        self._services = services

    async def list(self, filters: Mapping[str, Any], page: PageRequest) -> Listing[Tenant]:
        found = await bounded_page(self._platform, TENANT, filters, page)
        return Listing([Tenant.model_validate(item.body) for item in found.items], found.next)

    async def get(self, id: str) -> Tenant:
        return Tenant.model_validate((await self._held(id)).body)

    async def patch(
        self, staff: TenantSession, id: str, patch: MergePatch[TenantFields], if_match: str | None
    ) -> Tenant:
        def change(tenant: Tenant) -> Mapping[str, Any]:
            fields = patch.onto(tenant)
            changed = {name: getattr(fields, name) for name in type(fields).model_fields}
            if fields.tier != tenant.tier:  # the new plan's numbers, where the old plan's were not overridden
                for name in ("max_agents", "max_users"):
                    if name not in patch.document and changed[name] == getattr(PLANS[tenant.tier], name):
                        changed[name] = getattr(PLANS[fields.tier], name)
            return changed

        return await self._change(staff, id, "updated", change, if_match)

    async def suspend(self, staff: TenantSession, id: str) -> Tenant:
        """Calls are refused from now on, data is kept; again is no error."""

        def change(tenant: Tenant) -> Mapping[str, Any]:
            if tenant.status not in ("active", "trial", "suspended"):
                raise WrongState(f"A tenant that is {tenant.status} cannot be suspended.")
            return {"status": "suspended"}

        return await self._change(staff, id, "suspended", change)

    async def resume(self, staff: TenantSession, id: str) -> Tenant:
        """Calls are taken again; again is no error."""

        def change(tenant: Tenant) -> Mapping[str, Any]:
            if tenant.status not in ("active", "trial", "suspended"):
                raise WrongState(f"A tenant that is {tenant.status} cannot be resumed.")
            ends = tenant.trial_ends_at
            running = ends is not None and parse_rfc3339(ends) > self._services.clock.now()
            return {"status": tenant.status if tenant.status != "suspended" else "trial" if running else "active"}

        return await self._change(staff, id, "resumed", change)

    async def sweep(self) -> int:
        """Write the audit entries that a crash kept back, suspend ended trials; returns how many there were."""
        now = self._services.clock.now()
        kept_back = [Where("unaudited.created_at", "<", rfc3339(now - SWEEP_AFTER))]
        left = await self._platform.query(TENANT, kept_back)
        for held in left.items:
            with _apart(held):
                await self._audit(held)
        over = [Where("status", "=", "trial"), Where("trial_ends_at", "<", rfc3339(now))]
        ended = await self._platform.query(TENANT, over)
        for held in ended.items:
            with _apart(held):
                await self._change(SWEEPER, held.body["id"], "trial_ended", self._end_of_trial)
        return len(left.items) + len(ended.items)

    def _end_of_trial(self, tenant: Tenant) -> Mapping[str, Any]:
        """Nothing, when staff have prolonged or ended the trial meanwhile."""
        now = rfc3339(self._services.clock.now())
        over = tenant.status == "trial" and tenant.trial_ends_at is not None and tenant.trial_ends_at < now
        return {"status": "suspended"} if over else {}

    async def _change(
        self,
        staff: Actor,
        id: str,
        action: str,
        change: Callable[[Tenant], Mapping[str, Any]],
        if_match: str | None = None,
    ) -> Tenant:
        for _ in range(TRIES_AT_A_RACE):
            held = await self._held(id)
            if held.body.get("unaudited") is not None:
                await self._audit(held)
                continue
            tenant = Tenant.model_validate(held.body)
            tenant.check(if_match)
            new = Tenant.model_validate({**tenant.model_dump(), **change(tenant)})
            if new == tenant:
                return tenant
            now = max(self._services.clock.now(), parse_rfc3339(tenant.updated_at) + timedelta(microseconds=1))
            stamp = {"revision": tenant.revision + 1, "updated_at": rfc3339(now), "updated_by": staff.user_id}
            new = new.model_copy(update=stamp)
            unaudited = self._entry(staff, action, tenant, new)
            body = {**held.body, **new.model_dump(mode="json"), "unaudited": unaudited}
            try:
                await self._platform.put(Replace(TENANT, id, body, held.etag), id)
            except Rejected:
                continue
            self._directory.forget(id)
            await self._audit(await self._held(id))
            return new
        raise Contended("Others keep changing this tenant at the same time; try again.")

    def _entry(self, staff: Actor, action: str, old: Tenant, new: Tenant) -> dict[str, Any]:
        return {
            "id": self._services.ids.new(),
            "created_at": new.updated_at,
            "user_id": staff.user_id,
            "action": f"tenant.{action}",
            "resource_type": TENANT.name,
            "resource_id": new.id,
            "revision": new.revision,
            "old_value": old.model_dump(mode="json"),
            "new_value": new.model_dump(mode="json"),
            "ip_address": staff.request.ip_address,
            "user_agent": staff.request.user_agent,
            "request_id": staff.request.request_id,
        }

    async def _audit(self, held: Stored) -> None:
        tenant_id, entry = held.body["id"], held.body["unaudited"]
        if entry is None:
            return
        store = await self._directory.store(tenant_id)
        try:
            if store is not None:
                await store.control.commit([Create(AUDIT, entry["id"], entry)])
        except Rejected:
            logger.info("this change was audited before", extra={"tenant_id": tenant_id})
        try:
            done = {**held.body, "unaudited": None}
            await self._platform.put(Replace(TENANT, tenant_id, done, held.etag), tenant_id)
        except Rejected:
            logger.info("the tenant has changed meanwhile", extra={"tenant_id": tenant_id})

    async def _held(self, id: str) -> Stored:
        held = await self._platform.get(TENANT, id, id)
        if held is None:
            raise NotFound("There is no such tenant.")
        return held


def _apart(held: Stored) -> AbstractContextManager[None]:
    """One tenant's failure stops no other's sweep."""
    return apart(logger, "a tenant's sweep failed, it comes again", tenant_id=held.body["id"])

"""Looking after tenants: list, change, suspend, resume. Every change is in the tenant's own audit trail.

Registry and audit live in different partitions, so no batch holds both: the entry carries its audit entry
(`unaudited`) and what the tenant is to be told (`untold`) until they are written; the sweep writes what a crash left.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import timedelta
from typing import Any, Protocol

from functions.tenants.models import Tenant, TenantFields
from functions.tenants.plans import NUMBERS, Told, grace_ends, new_plan, on_plan
from shared.apart import apart
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST, RequestInfo
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create, Database, Order, Rejected, Replace, Stored, Where
from shared.errors import Contended, NotFound, WrongState
from shared.http.bodies import MergePatch
from shared.tenancy.directory import TENANT, Directory
from shared.tenancy.fence import AUDIT
from shared.tenancy.history import recorded
from shared.work.notices import creation, notice
from shared.work.resources import Listing, PageRequest, bounded_page
from shared.work.scope import Services
from shared.work.session import TRIES_AT_A_RACE, TenantSession

logger = logging.getLogger("flowgrid.tenants")
SWEEP_AFTER = timedelta(seconds=30)


class Actor(Protocol):
    """Who changes a tenant, and in which request, as its audit trail records them."""

    @property
    def user_id(self) -> str: ...
    @property
    def request(self) -> RequestInfo: ...


@dataclass(frozen=True)
class Sweeper:
    """Flowgrid itself, of its own accord."""

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
        """One page of all tenants. `filters`: field -> value, None: any."""
        found = await bounded_page(self._platform, TENANT, filters, page)
        return Listing([Tenant.model_validate(item.body) for item in found.items], found.next)

    async def get(self, id: str) -> Tenant:
        """`NotFound` for what never was."""
        return Tenant.model_validate((await self._held(id)).body)

    async def patch(
        self, staff: TenantSession, id: str, patch: MergePatch[TenantFields], if_match: str | None
    ) -> Tenant:
        """A new plan brings its numbers, but for those that are named. `NotFound`; `Stale` by `if_match` (an ETag)."""

        def change(tenant: Tenant) -> Mapping[str, Any]:
            fields = patch.onto(tenant)
            changed = {name: getattr(fields, name) for name in type(fields).model_fields}
            if fields.tier != tenant.tier:
                named = {name: changed[name] for name in NUMBERS if name in patch.document}
                changed |= {**on_plan(tenant, fields.tier), **named}
            if fields.trial_ends_at != tenant.trial_ends_at:
                changed["trial_told"] = None
                if tenant.status == "trial" and fields.trial_ends_at is None:  # or it would never end
                    changed["status"] = "active"
            return changed

        return await self.change(staff, id, "updated", change, if_match=if_match)

    async def suspend(self, staff: TenantSession, id: str) -> Tenant:
        """Calls are refused from now on, data is kept; again is no error."""

        def change(tenant: Tenant) -> Mapping[str, Any]:
            if tenant.status not in ("active", "trial", "suspended"):
                raise WrongState(f"A tenant that is {tenant.status} cannot be suspended.")
            return {"status": "suspended"}

        return await self.change(staff, id, "suspended", change)

    async def resume(self, staff: TenantSession, id: str) -> Tenant:
        """Calls are taken again; again is no error."""

        def change(tenant: Tenant) -> Mapping[str, Any]:
            if tenant.status not in ("active", "trial", "suspended"):
                raise WrongState(f"A tenant that is {tenant.status} cannot be resumed.")
            ends = tenant.trial_ends_at
            running = ends is not None and grace_ends(ends) > self._services.clock.now()
            return {"status": tenant.status if tenant.status != "suspended" else "trial" if running else "active"}

        return await self.change(staff, id, "resumed", change)

    async def sweep(self) -> int:
        """Write the audit entries and notices that a crash kept back; returns how many tenants had some."""
        kept_back = [Where("unaudited.created_at", "<", rfc3339(self._services.clock.now() - SWEEP_AFTER))]
        left = await self._platform.query(TENANT, kept_back)
        for held in left.items:
            with apart(logger, "a tenant's sweep failed, it comes again", tenant_id=held.body["id"]):
                await self._audit(held)
        return len(left.items)

    async def find(self, where: Sequence[Where]) -> AsyncIterator[Tenant]:
        """Every tenant of which this is so, by id."""
        after: tuple[str, str] | None = None
        while True:
            page = await self._platform.query(TENANT, where, order=Order("id"), after=after)
            for stored in page.items:
                yield Tenant.model_validate(stored.body)
            after = page.next
            if after is None:
                return

    async def change(
        self,
        actor: Actor,
        id: str,
        action: str,
        fields: Callable[[Tenant], Mapping[str, Any]],
        *,
        if_match: str | None = None,
        told: Callable[[Tenant], Told | None] = lambda _: None,
        effective: str | None = None,
    ) -> Tenant:
        """Change a tenant by one conditional write, run again after a race; `fields` may refuse, or change nothing.

        `told`: what the tenant is to be told of the new state, beside a new plan, which it is always told of.
        `effective`: since when the change holds for billing (RFC 3339), where that is not now.
        """
        for _ in range(TRIES_AT_A_RACE):
            held = await self._held(id)
            if held.body.get("unaudited") is not None:
                await self._audit(held)
                continue
            old = Tenant.model_validate(held.body)
            old.check(if_match)
            new = Tenant.model_validate({**old.model_dump(), **fields(old)})
            if new == old:
                return old
            now = max(self._services.clock.now(), parse_rfc3339(old.updated_at) + timedelta(microseconds=1))
            since = parse_rfc3339(effective) if effective else now
            stamp = {
                "revision": old.revision + 1,
                "updated_at": rfc3339(now),
                "updated_by": actor.user_id,
                "plan_changes": recorded(old.plan_changes, since, new.tier, new.status),
            }
            new = new.model_copy(update=stamp)
            said = told(new) or (new_plan(old, new) if new.tier != old.tier else None)
            body = {
                **held.body,
                **new.model_dump(mode="json"),
                "unaudited": self._entry(actor, action, old, new),
                "untold": said and notice(id, f"{said.code}:{new.revision}", new.updated_at, *astuple(said)),
            }
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
        """Write, in one batch of the tenant's own, the audit entry and the notice that its entry carries."""
        tenant_id, entry, untold = held.body["id"], held.body["unaudited"], held.body.get("untold")
        if entry is None:
            return
        store = await self._directory.store(tenant_id)
        try:
            if store is not None:
                told = [creation(untold)] if untold else []
                await store.control.commit([Create(AUDIT, entry["id"], entry), *told])
        except Rejected:
            logger.info("this change was audited before", extra={"tenant_id": tenant_id})
        try:
            done = {**held.body, "unaudited": None, "untold": None}
            await self._platform.put(Replace(TENANT, tenant_id, done, held.etag), tenant_id)
        except Rejected:
            logger.info("the tenant has changed meanwhile", extra={"tenant_id": tenant_id})

    async def _held(self, id: str) -> Stored:
        held = await self._platform.get(TENANT, id, id)
        if held is None:
            raise NotFound("There is no such tenant.")
        return held

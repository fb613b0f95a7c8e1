"""Grants of staff: opened by themselves with a reason, told to the tenant, ended by either side."""

from datetime import timedelta
from functools import partial
from typing import Annotated

from pydantic import Field, StringConstraints

from shared.clock import parse_rfc3339, rfc3339
from shared.errors import Contended, NotFound, Stale, Taken
from shared.http.pagination import ResourceQuery
from shared.ids import PLATFORM_TENANT_ID
from shared.members.breakglass import StaffAccess, access_id
from shared.members.standing import still_admin
from shared.tenancy.directory import Directory
from shared.work.change import Change
from shared.work.notices import notify
from shared.work.resources import WHOLE, Body, Listing, PageRequest, Versioned, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

MOST_MINUTES = 240


class NewAccess(Body):
    """Why staff have to act in a tenant's data, and for how long."""

    reason: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=1000),
        Field(description="What the tenant is told.", json_schema_extra={"pattern": r"\S"}),
    ]
    minutes: Annotated[int, Field(ge=1, le=MOST_MINUTES), WHOLE] = Field(60, description="How long; then it is over.")


class AccessQuery(ResourceQuery):
    """They have no filters of their own: there are as many as there are staff who have come."""


class AccessService:
    """Grants in one tenant. What is opened, used and ended is in the tenant's own audit trail.

    All of it goes on while the tenant is fenced: staff who restore may have to look, and can be shown out meanwhile. No
    restore touches a grant, and of users only the ETag moves.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def open(self, staff: TenantSession, tenant_id: str, new: NewAccess) -> StaffAccess:
        """A grant for who asks, from now on; one that is open already is what this one says from now on.

        Again under the same idempotency key it opens nothing that was ended since.
        """
        return await staff.once_in(await self._of(staff, tenant_id), StaffAccess, partial(self._open, new=new))

    async def _open(self, tenant: TenantSession, new: NewAccess) -> StaffAccess:
        caller, now = tenant.caller, tenant.services.clock.now()
        id = access_id(tenant.id, caller)
        fields = {
            "staff": caller.subject,
            "email": caller.email,
            "reason": new.reason,
            "expires_at": rfc3339(now + timedelta(minutes=new.minutes)),
            "ended_at": None,
        }
        for _ in range(TRIES_AT_A_RACE):
            stored = await tenant.store.get(StaffAccess.KIND, id)
            held = None if stored is None else Versioned.of(StaffAccess, stored)
            change = tenant.change(*([held] if held else []))
            grant = change.update(held, fields, action="opened") if held else change.create(StaffAccess, fields, id=id)
            if held is not None and grant is held.value:
                return grant
            _tell(change, grant)
            try:
                return await change.commit(grant)
            except (Stale, Taken):  # by the same person at the same time
                continue
        raise Contended("This grant is being opened at the same time; try again.")

    async def list_of(self, staff: TenantSession, tenant_id: str, page: PageRequest) -> Listing[StaffAccess]:
        return await find(await self._of(staff, tenant_id), StaffAccess, {}, page)

    async def list(self, tenant: TenantSession, page: PageRequest) -> Listing[StaffAccess]:
        return await find(tenant, StaffAccess, {}, page)

    async def get(self, tenant: TenantSession, id: str) -> StaffAccess:
        return (await load(tenant, StaffAccess, id)).value

    async def end_of(self, staff: TenantSession, tenant_id: str, id: str) -> StaffAccess:
        return await self.end(await self._of(staff, tenant_id), id)

    async def end(self, tenant: TenantSession, id: str) -> StaffAccess:
        """Over from now on; again, or after its time, is no error and changes nothing."""
        tenant, now = tenant.past_the_fence(), tenant.services.clock.now()

        def over(grant: StaffAccess) -> dict[str, str]:
            return {} if _is_over(grant, rfc3339(now)) else {"ended_at": rfc3339(now)}

        async def by_an_admin(change: Change, old: StaffAccess, new: StaffAccess) -> None:
            await still_admin(change, tenant)

        return await tenant.modify(StaffAccess, id, over, if_match=None, also=by_an_admin, action="ended")

    async def _of(self, staff: TenantSession, tenant_id: str) -> TenantSession:
        """The same staff, at work in another tenant, past its fence."""
        entry = None if tenant_id == PLATFORM_TENANT_ID else await self._directory.entry(tenant_id)
        if entry is None:
            raise NotFound("There is no such tenant.")
        return staff.in_tenant(entry, self._directory.open(entry).control)


def _is_over(grant: StaffAccess, now: str) -> bool:
    return grant.ended_at is not None or parse_rfc3339(grant.expires_at) <= parse_rfc3339(now)


def _tell(change: Change, grant: StaffAccess) -> None:
    who = grant.email or grant.staff
    text = f"{who} of Flowgrid may act in your data until {grant.expires_at}: {grant.reason} "
    text += "Each use is in your audit trail; an admin can end it (`POST v1/staff-access/{id}/end`)."
    data = {"access_id": grant.id, "staff": grant.staff, "reason": grant.reason, "expires_at": grant.expires_at}
    title = "Flowgrid's staff have opened your data"
    notify(change, f"staff_access:{grant.id}:{grant.revision}", "staff_access", title, text, data)

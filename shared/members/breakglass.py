"""Breaking the glass: Flowgrid's staff act in a tenant's data with a grant only, each use of which the tenant can see.

A grant is an item of the tenant: who, why, until when. Nothing of it is cached. A use is an entry of the tenant's own
audit trail, written before what it is for; its batch touches the grant at the revision that was read, so whoever ends
it, on whatever instance, ends it at once.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from shared.auth.caller import Caller
from shared.clock import parse_rfc3339
from shared.database.port import Stored
from shared.errors import Contended, Forbidden, Stale
from shared.ids import derived_id
from shared.kinds import Kind
from shared.work.resources import Resource, Timestamp
from shared.work.session import TRIES_AT_A_RACE, TenantSession


class GrantNeeded(Forbidden):
    code = "grant_needed"
    meaning = "Staff act in a tenant's data with an open grant only; there is none, or it is over."
    remedy = "Open one with a reason: `POST v1/platform/tenants/{tenant_id}/staff-access`. The tenant is told."


class StaffAccess(Resource):
    """One of Flowgrid's staff in this tenant: there is one for each of them, opened anew when it is over."""

    KIND: ClassVar[Kind] = Kind("staff_access", sorted=("updated_at",))

    staff: str = Field(description="Who: the subject of their token.")
    email: str | None = Field(description="Their address, where the token has one.")
    reason: str = Field(description="Why, in their words.")
    expires_at: Timestamp = Field(description="Until when; from then on nothing is answered.")
    ended_at: Timestamp | None = Field(None, description="When it was ended before that.")


def access_id(tenant_id: str, staff: Caller) -> str:
    """The id of the grant of this member of staff: their identity's."""
    return derived_id(StaffAccess.KIND, tenant_id, staff.issuer, staff.subject)


async def use(session: TenantSession, used: Mapping[str, Any]) -> None:
    """Staff are about to do what `used` says; `GrantNeeded` without a grant that is open at this moment.

    It goes on while the tenant is fenced: who restores may have to look. One point read, one batch.
    """
    session = session.past_the_fence().without_key()
    for _ in range(TRIES_AT_A_RACE):
        id = access_id(session.id, session.caller)
        stored = await session.store.get(StaffAccess.KIND, id)
        grant = _open(session, stored)
        change = session.change()
        change.touch(StaffAccess.KIND, id, "x-tenant-id", revision=grant.revision)
        change.audit("used", StaffAccess.KIND, id, grant.revision, None, {**used, "reason": grant.reason})
        try:
            return await change.commit(None)
        except Stale:  # ended, or opened anew, since it was read
            continue
    raise Contended("Others keep changing this grant at the same time; try again.")


async def check_open(session: TenantSession, id: str) -> None:
    """`GrantNeeded` where this grant is over: it is looked at while a job goes on that was begun by it."""
    _open(session, await session.store.get(StaffAccess.KIND, id))


def _open(session: TenantSession, stored: Stored | None) -> StaffAccess:
    if stored is None:
        raise GrantNeeded("You have no grant for this tenant; open one with a reason.")
    grant = StaffAccess.model_validate(stored.body)
    if grant.ended_at is not None:
        raise GrantNeeded("Your grant for this tenant was ended; open it anew with a reason.")
    if parse_rfc3339(grant.expires_at) <= session.services.clock.now():
        raise GrantNeeded("Your grant for this tenant is over; open it anew with a reason.")
    return grant

"""Being an admin at the moment of the commit, for what decides who is let in or takes all of a tenant's data elsewhere;
and being one still, slice by slice, for a job that deletes.

Who a caller is, is known for seconds (`Members`), by each process on its own. That is soon enough for the work of a
tenant; but a removed admin who may still invite for a moment would invite himself.
"""

from collections.abc import Mapping

from shared.auth.roles import Role
from shared.errors import Forbidden
from shared.ids import PLATFORM_TENANT_ID
from shared.members.apikeys import living
from shared.members.breakglass import access_id, check_open
from shared.members.issuers import MOST_OF_A_TENANT
from shared.members.users import OWN_ISSUER, User
from shared.work.change import Change
from shared.work.resources import Versioned
from shared.work.session import TenantSession

NO_ADMIN = "You are no admin of this tenant any more."
Standing = Mapping[str, str]
"""By what somebody is an admin, as a job keeps it: a user with identity and issuer, an API key, a grant."""


async def still_admin(change: Change, session: TenantSession, target: User | None = None) -> None:
    """Add to the change that its caller is an admin when it is committed: `Stale` then, when they have changed.

    `target`: the user whom the change itself replaces under their ETag. `Forbidden` for who is no admin any more. Staff
    and jobs (which come from no issuer) are no users.
    """
    caller = session.caller
    if caller.role is Role.PLATFORM or not caller.issuer or caller.user is None:
        return
    own = target
    if own is None or own.id != caller.user:
        stored = await session.store.get(User.KIND, caller.user)
        own = Versioned.of(User, stored).value if stored else None
        if own is not None:
            change.touch(User.KIND, own.id, "user", revision=own.revision)
    mine = own is not None and (own.issuer, own.subject) == (caller.issuer, caller.subject)
    if own is None or not mine or own.role != "admin" or own.status == "disabled":
        raise Forbidden(NO_ADMIN)


async def standing_of(session: TenantSession) -> Standing:
    """Of the caller. Nothing for staff in their own tenant, and where nobody signs in."""
    caller = session.caller
    if caller.role is Role.PLATFORM:
        return {} if session.id == PLATFORM_TENANT_ID else {"grant": access_id(session.id, caller)}
    if not caller.issuer or caller.user is None:
        return {}
    user = {"user": caller.user, "issuer": caller.issuer, "subject": caller.subject}
    if caller.own_issuer or await _is_own(session, caller.issuer):
        user["own_issuer"] = caller.issuer
    return user if caller.key is None else {**user, "key": caller.key.id, "user_since": caller.key.user_since}


async def check_standing(session: TenantSession, standing: Standing) -> None:
    """`Forbidden` where what somebody was an admin by, when they began this, is gone, over, or less by now."""
    if grant := standing.get("grant"):
        await check_open(session, grant)
    if id := standing.get("user"):
        stored = await session.store.get(User.KIND, id)
        user = None if stored is None else User.model_validate(stored.body)
        mine = user is not None and (user.issuer, user.subject) == (standing["issuer"], standing["subject"])
        if user is None or not mine or user.role != "admin" or user.status == "disabled":
            raise Forbidden(NO_ADMIN)
        if "key" in standing and (user.created_at != standing["user_since"] or not await _lives(session, standing)):
            raise Forbidden("The API key by which this was begun is over.")
    if (own := standing.get("own_issuer")) and not await _is_own(session, own):
        raise Forbidden("The issuer by which its user signs in is taken no longer.")


async def _is_own(session: TenantSession, issuer: str) -> bool:
    """Whether the tenant takes this issuer's tokens: nobody else's word counts for whoever came by it."""
    own = await session.store.query(OWN_ISSUER, limit=MOST_OF_A_TENANT)
    return any(stored.body["issuer"] == issuer for stored in own.items)


async def _lives(session: TenantSession, standing: Standing) -> bool:
    """Whether the key is there, and the one that it was made with."""
    key = await living(session.store, standing["key"], session.services.clock.now())
    return key is not None and key.role == "admin"

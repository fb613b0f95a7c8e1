"""Being an admin at the moment of the commit, for what decides who is let in or takes all of a tenant's data elsewhere.

Who a caller is, is known for seconds (`Members`), by each process on its own. That is soon enough for the work of a
tenant; but a removed admin who may still invite for a moment would invite himself.
"""

from shared.auth.roles import Role
from shared.errors import Forbidden
from shared.members.users import User
from shared.work.change import Change
from shared.work.resources import Versioned
from shared.work.session import TenantSession

NO_ADMIN = "You are no admin of this tenant any more."


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

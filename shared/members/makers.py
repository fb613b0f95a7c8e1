"""Who has made something that acts for them later, without them: it ends by itself with whatever it rests on.

That is the user (that one, not the next of this address), the identity that the user had then, the issuer by which that
signs in, the key that it was made with. All of it is read anew each time.
"""

import asyncio
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from shared.auth.caller import ByKey, Caller
from shared.auth.roles import Role
from shared.database.port import TenantStore
from shared.errors import Forbidden, NotAMember, RoleNeeded
from shared.members.apikeys import ApiKey, ApiKeys, living
from shared.members.users import User, binding_id
from shared.work.resources import Id, Timestamp
from shared.work.session import TenantSession

GONE = "Whoever made this is no user of the tenant any more, or signs in with another identity."
NO_ISSUER = "The issuer by which the user who made this signs in is taken no longer."
NO_KEY = "The API key that this was made with is over."


class Maker(BaseModel):
    """A user as they were when they made something, without anything by which others could name them."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    user_id: Id = Field(description="The user.")
    user_since: Timestamp = Field(description="Since when they are a user here.")
    identity: str = Field(description="A digest of the identity that they signed in with.")
    made_with: Id | None = Field(description="The API key that they used, and with which this ends.")


async def maker_of(tenant: TenantSession) -> Maker | None:
    """The caller; None for Flowgrid's staff, who are no users."""
    caller = tenant.caller
    stored = None if caller.role is Role.PLATFORM else await tenant.store.get(User.KIND, tenant.user_id)
    if stored is None:
        return None
    return Maker(
        user_id=stored.body["id"],
        user_since=stored.body["created_at"],
        identity=binding_id(caller.issuer, caller.subject),
        made_with=caller.key.id if caller.key else None,
    )


async def as_maker(session: TenantSession, maker: Maker, keys: ApiKeys, needs: Role) -> TenantSession:
    """The session of who made it, by the same key, in the role that both have now. `Forbidden` when that is over."""
    store, now = session.store, session.services.clock.now()
    user, key = await asyncio.gather(
        _user(store, maker), _none() if maker.made_with is None else living(store, maker.made_with, now)
    )
    if user is None:
        raise NotAMember(GONE)
    if maker.made_with is not None and key is None:
        raise NotAMember(NO_KEY)
    if not await keys.is_taken(store, user.issuer or ""):
        raise NotAMember(NO_ISSUER)
    role = min(Role(f"tenant:{user.role}"), Role(f"tenant:{(key or user).role}"), key=list(Role).index)
    if not role.includes(needs):
        raise RoleNeeded(f"This needs the role {needs}; whoever made it has {role}.")
    caller = Caller(user.id, user.email, user.name, session.id, role, user=user.id)
    if key is not None:
        by = ByKey(key.id, user.id, user.created_at, frozenset(key.scopes), key.last_used_at)
        caller = replace(caller, key=by)
    return replace(session, caller=caller)


async def check_maker(session: TenantSession, maker: Maker | None, keys: ApiKeys, needs: Role) -> None:
    """`Forbidden` where what was made has nothing to rest on."""
    if maker is None:
        raise Forbidden(GONE)
    await as_maker(session, maker, keys, needs)


async def _user(store: TenantStore, maker: Maker) -> User | None:
    stored = await store.get(User.KIND, maker.user_id)
    user = None if stored is None else User.model_validate(stored.body)
    if user is None or user.issuer is None or user.subject is None or user.status == "disabled":
        return None
    same = user.created_at == maker.user_since and binding_id(user.issuer, user.subject) == maker.identity
    return user if same else None


async def _none() -> ApiKey | None:
    return None

"""Which user of a tenant a token's holder is.

A user is bound, at the first call, to the identity (issuer and subject) of the token that brings the user's verified
e-mail address; from then on the identity alone counts. `membership: open` makes a user of a stranger at that moment, of
the platform's issuers only: who comes by an issuer of the tenant's own has been invited.

First the registry is told (one identity and one address belong to one tenant), then user and binding are written in
one batch. A crash in between leaves a reservation whose user is not bound to it: an orphan, see `Names`.
"""

from dataclasses import replace

from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.database.port import Create, Operation, Replace, Stored
from shared.errors import Conflict, NotAMember, Stale, Unavailable
from shared.members.names import EMAIL, IDENTITY, Names, identity
from shared.members.users import BINDING, REMOVED, Removals, User, binding_id, user_id
from shared.tenancy.fence import Overtaken
from shared.work.resources import Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession

COUNTER = "users"
DISABLED = "This user is disabled; a tenant admin can enable it again."
NO_USER = "You are no user of this tenant; ask one of its admins to invite you."
NO_ADDRESS = "You are no user of this tenant that is known here, and the token brings no verified e-mail address."
OTHER_IDENTITY = "This user signs in with another identity; a tenant admin can unbind it."
KEYS_USER_GONE = "The user who made this API key is in this tenant no longer, or signs in with another identity."
ELSEWHERE = "This identity already belongs to another tenant; it can be in one only."


class SignIn:
    def __init__(self, names: Names, removals: Removals) -> None:
        self._names = names
        self._removals = removals

    async def user(self, session: TenantSession) -> User:
        """The user that the caller is, bound now if this is the first call. `Forbidden` for who is none.

        `QuotaReached` for a stranger to an open tenant that is full.
        """
        for _ in range(TRIES_AT_A_RACE):
            binding = await session.store.get(BINDING, binding_id(session.caller.issuer, session.caller.subject))
            bound = await self._bound(session, binding)
            if bound is not None:
                return bound
            try:
                return await self._first(session, binding)
            except (Conflict, Stale, Overtaken):  # another call of the same person, or a change of this user
                continue
        raise Unavailable("Others keep changing this user at the same time; try again.")

    async def keys_user(self, session: TenantSession) -> User:
        """The user of the identity that a key was made by. Nobody is bound, or made a user, by a key."""
        binding = await session.store.get(BINDING, binding_id(session.caller.issuer, session.caller.subject))
        user = await self._bound(session, binding)
        if user is None:
            raise NotAMember(KEYS_USER_GONE)
        return user

    async def _bound(self, session: TenantSession, binding: Stored | None) -> User | None:
        if binding is None:
            return None
        stored = await session.store.get(User.KIND, binding.body["user_id"])
        user = User.model_validate(stored.body) if stored else None
        return user if user is not None and _same(user, session.caller) else None

    async def _first(self, session: TenantSession, binding: Stored | None) -> User:
        email = session.caller.email if session.caller.email_verified else None
        if email is None:
            raise NotAMember(NO_ADDRESS)
        id = user_id(session.id, email)
        stored = await session.store.get(User.KIND, id)
        if stored is None:
            is_open = session.entry.membership == "open" and not session.caller.own_issuer
            # A binding whose user is gone: somebody has removed them. Asked after the user, as one batch does both.
            if not is_open or binding or await self._removed(session, email):
                raise NotAMember(NO_USER)
            return await self._join(session, email, id)
        held = Versioned.of(User, stored)
        if _same(held.value, session.caller):  # since the look at the binding
            return held.value
        if held.value.status == "disabled":
            raise NotAMember(DISABLED)
        if held.value.bound:
            raise NotAMember(OTHER_IDENTITY)
        await self._reserve(session, email, id)
        change = _as_user(session, id).change(held)
        user = change.update(held, {**_signed_in(session), "status": "active"}, action="signed_in")
        change.write(_binding(session.caller, id, change.at, binding))
        return await change.commit(user)

    async def _join(self, session: TenantSession, email: str, id: str) -> User:
        await self._reserve(session, email, id)
        caller = session.caller
        role = (caller.role or Role.VIEWER).removeprefix("tenant:")
        fields = {"email": email, "name": (caller.name or "")[:255], "role": role, "status": "active"}
        buried = (await session.buried(User.KIND, [id])).get(id)  # of a user whom a restore has taken away
        change = _as_user(session, id).change(*([buried] if buried else []))
        user = change.create(User, {**fields, **_signed_in(session)}, id=id, buried=buried)
        change.count(COUNTER, +1, limit=session.plan.max_users)
        change.write(_binding(caller, id, change.at, None))
        return await change.commit(user)

    async def _removed(self, session: TenantSession, email: str) -> bool:
        return await session.store.get(REMOVED, await self._removals.id(session.id, email)) is not None

    async def _reserve(self, session: TenantSession, email: str, id: str) -> None:
        """Over all tenants; but what a tenant's own issuer says of an address is no matter of any other tenant."""
        caller, holder = session.caller, f"{session.id}/{id}"
        if caller.own_issuer:
            return
        try:
            await self._names.reserve(EMAIL, email, holder=holder)
            await self._names.reserve(IDENTITY, identity(caller.issuer, caller.subject), holder=holder)
        except Conflict as error:
            raise NotAMember(ELSEWHERE) from error


async def forget_identity(names: Names, tenant_id: str, user: User) -> None:
    """Give back, over all tenants, what this user had been bound to."""
    if user.issuer is not None and user.subject is not None:
        holder = f"{tenant_id}/{user.id}"
        await names.release(EMAIL, user.email, holder=holder)
        await names.release(IDENTITY, identity(user.issuer, user.subject), holder=holder)


def _same(user: User, caller: Caller) -> bool:
    return (user.issuer, user.subject) == (caller.issuer, caller.subject)


def _as_user(session: TenantSession, id: str) -> TenantSession:
    """So that the audit says who has come."""
    return replace(session, caller=replace(session.caller, user=id))


def _signed_in(session: TenantSession) -> dict[str, str]:
    caller, now = session.caller, rfc3339(session.services.clock.now())
    return {"issuer": caller.issuer, "subject": caller.subject, "last_login_at": now}


def _binding(caller: Caller, user: str, at: str, old: Stored | None) -> Operation:
    body, id = {"created_at": at, "user_id": user}, binding_id(caller.issuer, caller.subject)
    return Replace(BINDING, id, body, old.etag) if old else Create(BINDING, id, body)

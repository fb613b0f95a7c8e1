"""The identity service: who is in a tenant, and as what."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from functions.identity.models import Me, MyTenant, NewUser, UserFields
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Delete, Upsert, Where
from shared.errors import Conflict, Contended, NotAMember, QuotaReached, Stale
from shared.http.bodies import MergePatch
from shared.members.invitations import Invitations
from shared.members.members import Members
from shared.members.names import Names
from shared.members.signin import COUNTER, DISABLED, forget_identity
from shared.members.standing import still_admin
from shared.members.users import BINDING, REMOVED, Removals, User, binding_id, user_id
from shared.tenancy.fence import Fenced
from shared.work.change import Change
from shared.work.resources import Listing, PageRequest, Versioned, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

LOGIN_EVERY = timedelta(hours=1)


class IdentityService:
    """Users of one tenant. `Conflict` guards the last admin; what an address is elsewhere is not told or touched."""

    def __init__(self, members: Members, names: Names, removals: Removals, invitations: Invitations) -> None:
        self._members = members
        self._names = names
        self._removals = removals
        self._invitations = invitations

    async def me(self, tenant: TenantSession) -> Me:
        """The caller, whose coming is noted once an hour."""
        user = await self._signed_in(tenant)
        entry = tenant.entry
        return Me(
            subject=tenant.caller.subject,
            email=tenant.caller.email,
            role=tenant.caller.role or "",
            tenant=MyTenant(id=entry.id, name=entry.name, slug=entry.slug, tier=entry.tier, status=entry.status),
            user=user,
        )

    async def create(self, tenant: TenantSession, new: NewUser) -> User:
        """An invitation. It neither says nor changes what the address is in another tenant."""
        await self._invitations.remember(tenant.id, new.email)
        for _ in range(TRIES_AT_A_RACE):
            try:
                return await self._invite(tenant, new)
            except Stale:  # the caller has changed, or come in, meanwhile
                continue
            except QuotaReached:
                await self._invitations.forget(tenant.id, new.email)
                raise
        raise Contended("Others keep changing this at the same time; try again.")

    async def _invite(self, tenant: TenantSession, new: NewUser) -> User:
        id = user_id(tenant.id, new.email)
        buried = (await tenant.buried(User.KIND, [id])).get(id)
        change = tenant.change(*([buried] if buried else []))
        user = change.create(User, {**new.model_dump(), "status": "invited"}, id=id, buried=buried)
        change.count(COUNTER, +1, limit=tenant.plan.max_users)
        await still_admin(change, tenant)
        mark = await self._removals.id(tenant.id, new.email)
        removed = await tenant.store.get(REMOVED, mark)
        if removed is not None:
            change.write(Delete(REMOVED, mark, removed.etag))
        created = await change.commit(user)
        self._members.forget(tenant.id, id)
        return created

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[User]:
        """One page. `filters`: field -> value, None: any."""
        return await find(tenant, User, filters, page)

    async def get(self, tenant: TenantSession, id: str) -> User:
        """`NotFound` for who never was and for another tenant's."""
        return (await load(tenant, User, id)).value

    async def patch(self, tenant: TenantSession, id: str, patch: MergePatch[UserFields], if_match: str | None) -> User:
        """`NotFound`; `Conflict` where no admin would be left; `Stale` by `if_match` (an ETag). Known here at once."""

        async def keep_an_admin(change: Change, old: User, new: User) -> None:
            await still_admin(change, tenant, old)
            if new.role != "admin" or new.status == "disabled":
                await _keep_another_admin(tenant, change, old)

        user = await tenant.modify(
            User, id, lambda user: patch.onto(user).model_dump(), if_match=if_match, also=keep_an_admin
        )
        self._members.forget(tenant.id, id)
        return user

    async def unbind(self, tenant: TenantSession, id: str) -> User:
        """The next identity that brings the user's verified address is the user's. Again is no error."""
        user = (await load(tenant, User, id)).value

        async def let_go(change: Change, old: User, _: User) -> None:
            await still_admin(change, tenant, old)
            known_by = binding_id(old.issuer or "", old.subject or "")
            binding = await tenant.store.get(BINDING, known_by)
            if binding is not None and binding.body["user_id"] == id:
                change.write(Delete(BINDING, known_by, binding.etag))

        await self._invitations.remember(tenant.id, user.email)
        nobody = {"issuer": None, "subject": None}
        unbound = await tenant.modify(User, id, lambda _: nobody, if_match=None, also=let_go, action="unbound")
        await forget_identity(self._names, tenant.id, user)
        self._members.forget(tenant.id, id)
        return unbound

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """Remove a user. They stay out until invited again: the address is marked, and their binding stays."""
        user = (await load(tenant, User, id)).value
        mark = await self._removals.id(tenant.id, user.email)

        async def keep_an_admin(change: Change, old: User) -> None:
            await still_admin(change, tenant, old)
            await _keep_another_admin(tenant, change, old)
            change.count(COUNTER, -1)
            change.write(Upsert(REMOVED, mark, {"created_at": change.at}))

        await tenant.remove(User, id, if_match=if_match, also=keep_an_admin)
        await self._invitations.forget(tenant.id, user.email)
        await forget_identity(self._names, tenant.id, user)
        self._members.forget(tenant.id, id)

    async def _signed_in(self, tenant: TenantSession) -> User | None:
        stored = await tenant.store.get(User.KIND, tenant.user_id)
        if stored is None:
            return None
        held = Versioned.of(User, stored)
        user, now = held.value, tenant.services.clock.now()
        if user.status == "disabled":  # since a moment ago: what is known of members is seconds old
            raise NotAMember(DISABLED)
        recent = user.last_login_at is not None and now - parse_rfc3339(user.last_login_at) < LOGIN_EVERY
        if user.status == "active" and recent:
            return user
        change = tenant.change(held)
        fields = {"status": "active", "last_login_at": rfc3339(now)}
        try:
            return await change.commit(change.update(held, fields, action="signed_in"))
        except Stale:  # by another call of the same user, most likely
            return (await load(tenant, User, user.id)).value
        except Fenced:  # reading goes on during a restore; that they came is noted afterwards
            return user


async def _keep_another_admin(tenant: TenantSession, change: Change, leaving: User) -> None:
    """A tenant must keep an admin who can sign in, or nobody could let anybody in again.

    The one who stays is touched, so that of admins who dismiss each other at once one is refused.
    """
    if leaving.role != "admin" or leaving.status == "disabled":
        return
    can_sign_in = [Where("role", "=", "admin"), Where("status", "in", ["active", "invited"])]
    admins = await tenant.store.query(User.KIND, can_sign_in, limit=2)
    staying = [stored for stored in admins.items if stored.body["id"] != leaving.id]
    if not staying:
        raise Conflict("This is the tenant's last admin; make somebody else an admin first.")
    change.touch(User.KIND, staying[0].body["id"], "role", revision=staying[0].body["revision"])

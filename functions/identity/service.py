"""The identity service: who is in a tenant, and as what."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from functions.identity.models import Me, MyTenant, NewUser, User, UserFields
from shared.auth.members import Members
from shared.clock import parse_rfc3339, rfc3339
from shared.context import user_id
from shared.database.names import Names
from shared.database.port import Kind, Where
from shared.errors import Conflict
from shared.http.bodies import MergePatch
from shared.http.routes import PageRequest
from shared.resources import Held, Listing, find, load
from shared.session import TenantSession

COUNTER = "users"
LOGIN_EVERY = timedelta(hours=1)


class IdentityService:
    def __init__(self, members: Members, names: Names) -> None:
        self._members = members
        self._names = names

    async def me(self, tenant: TenantSession) -> Me:
        """The caller; the first call of a user turns `invited` into `active`."""
        role = await self._members.role(tenant.store, tenant.caller)
        user = await self._signed_in(tenant)
        entry = tenant.entry
        return Me(
            subject=tenant.caller.subject,
            email=tenant.caller.email,
            role=role,
            tenant=MyTenant(id=entry.id, name=entry.name, slug=entry.slug, tier=entry.tier, status=entry.status),
            user=user,
        )

    async def create(self, tenant: TenantSession, new: NewUser) -> User:
        id = user_id(tenant.id, new.email)
        await self._names.reserve("email", new.email, holder=f"{tenant.id}/{id}")
        change = tenant.change()
        user = change.create(User, {**new.model_dump(), "status": "invited"}, id=id)
        change.count(COUNTER, +1, limit=tenant.plan.max_users)
        try:
            created = await change.commit(user)
        except Exception:
            if await tenant.store.get(Kind.USER, id) is None:
                await self._names.release("email", new.email, holder=f"{tenant.id}/{id}")
            raise
        self._members.forget(tenant.id, id)
        return created

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[User]:
        return await find(tenant, User, filters, limit=page.limit, after=page.after)

    async def get(self, tenant: TenantSession, id: str) -> User:
        return (await load(tenant, User, id)).value

    async def patch(self, tenant: TenantSession, id: str, patch: MergePatch[UserFields], if_match: str | None) -> User:
        fields = patch.onto((await load(tenant, User, id)).value)
        if fields.role != "admin" or fields.status == "disabled":
            await self._check_another_admin(tenant, id)
        user = await tenant.modify(User, id, lambda user: patch.onto(user).model_dump(), if_match=if_match)
        self._members.forget(tenant.id, id)
        return user

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        user = (await load(tenant, User, id)).value
        await self._check_another_admin(tenant, id)
        await tenant.remove(User, id, if_match=if_match, also=lambda change, _: change.count(COUNTER, -1))
        await self._names.release("email", user.email, holder=f"{tenant.id}/{id}")
        self._members.forget(tenant.id, id)

    async def _signed_in(self, tenant: TenantSession) -> User | None:
        stored = await tenant.store.get(Kind.USER, tenant.user_id)
        if stored is None:
            return None
        held = Held.of(User, stored)
        user, now = held.value, tenant.services.clock.now()
        recent = user.last_login_at is not None and now - parse_rfc3339(user.last_login_at) < LOGIN_EVERY
        if user.status == "active" and recent:
            return user
        change = tenant.change(held)
        fields = {"status": "active", "last_login_at": rfc3339(now), "subject": user.subject or tenant.caller.subject}
        user = change.update(held, fields, action="signed_in")
        return await change.commit(user)

    async def _check_another_admin(self, tenant: TenantSession, id: str) -> None:
        """A tenant must keep an admin who can sign in, or nobody could let anybody in again."""
        admins = await tenant.store.query(
            Kind.USER, [Where("role", "=", "admin"), Where("status", "in", ["active", "invited"])], limit=2
        )
        if [stored.body["id"] for stored in admins.items] == [id]:
            raise Conflict("This is the tenant's last admin; make somebody else an admin first.")

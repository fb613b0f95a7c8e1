"""The hook service: who may make, see, rotate and revoke which, and nothing about deliveries."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from functions.agents.models import Agent
from functions.hooks.models import COUNTER, MOST_HOOKS, Hook, HookRotation, NewHook, Style
from functions.hooks.signatures import wrong_with_secret
from functions.hooks.tokens import HookTokens
from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.database.port import Create, Rejected
from shared.errors import Forbidden, Invalid
from shared.members.users import User
from shared.work.change import COUNTER as COUNTER_KIND
from shared.work.change import Change
from shared.work.kept_secrets import KeptSecrets
from shared.work.resources import Listing, PageRequest, find, load
from shared.work.session import TenantSession


class HookService:
    """A hook starts runs as the user who made it; so nobody else sets its secret, and admins may end it.

    One that was made with an API key ends with that; so whoever takes a key away takes all that it has made.
    """

    def __init__(self, secrets: KeptSecrets, tokens: HookTokens) -> None:
        self._secrets = secrets
        self._tokens = tokens

    async def create(self, tenant: TenantSession, agent_id: str, new: NewHook) -> Hook:
        """`QuotaReached` beyond `MOST_HOOKS`."""
        await load(tenant, Agent, agent_id)
        user = await _owner(tenant)
        if new.secret is not None:
            _check(new.style, new.secret)
        await _counted(tenant)
        id = tenant.services.ids.new()
        kept = None if new.secret is None else await self._secrets.put(tenant, Hook.KIND, id, new.secret)
        change = tenant.change()
        fields = {
            "name": new.name,
            "style": new.style,
            "agent_id": agent_id,
            "user_id": user.id,
            "user_since": user.created_at,
            "made_with": tenant.caller.key.id if tenant.caller.key else None,
            "path": f"/api/hooks/in/{await self._tokens.of(tenant.id, id)}",
            "secret_reference": kept,
            "old_secret_reference": None,
            "old_secret_until": None,
        }
        hook = change.create(Hook, fields, id=id)
        change.touch(Agent.KIND, agent_id, "agent_id")
        await self._secrets.move(tenant, change, hook, None, kept)
        change.count(COUNTER, +1, limit=MOST_HOOKS, called="Hook")
        return await change.commit(hook)

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Hook]:
        """One page. `filters`: field -> value, None: any."""
        return await find(tenant, Hook, filters, page)

    async def get(self, tenant: TenantSession, id: str) -> Hook:
        """`NotFound` for what never was and for another tenant's."""
        return (await load(tenant, Hook, id)).value

    async def rotate(self, tenant: TenantSession, id: str, asked: HookRotation) -> Hook:
        """The new secret is good at once, the old one for a while; the one before that, if any, ends now."""
        before = await self.get(tenant, id)
        if before.user_id != tenant.user_id or tenant.caller.role is Role.PLATFORM:
            raise Forbidden("Only the user who made a hook sets its secret.")
        key = tenant.caller.key
        if key is not None and key.id != before.made_with:
            raise Forbidden("By a key, only secrets of hooks that were made with it are set.")
        _check(before.style, asked.secret)
        kept = await self._secrets.put(tenant, Hook.KIND, id, asked.secret)
        until = rfc3339(tenant.services.clock.now() + timedelta(hours=asked.overlap_hours))

        def fields(old: Hook) -> Mapping[str, Any]:
            stays = old.secret_reference if asked.overlap_hours else None
            return {
                "secret_reference": kept,
                "old_secret_reference": stays,
                "old_secret_until": None if stays is None else until,
            }

        async def also(change: Change, old: Hook, now: Hook) -> None:
            await self._secrets.move(tenant, change, now, None, kept)
            for gone in {*_references(old)} - {*_references(now)}:
                await self._secrets.move(tenant, change, now, gone, None)

        return await tenant.modify(Hook, id, fields, if_match=None, also=also, action="rotated")

    async def revoke(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """Over at once. It goes on while the tenant is restored."""

        async def last(change: Change, old: Hook) -> None:
            for reference in _references(old):
                await self._secrets.move(tenant, change, old, reference, None)
            change.count(COUNTER, -1)

        hook, caller = await self.get(tenant, id), tenant.caller
        if hook.user_id != tenant.user_id and not (caller.role is not None and caller.role.includes(Role.ADMIN)):
            raise Forbidden("Only an admin revokes a hook of somebody else.")
        await tenant.past_the_fence().remove(Hook, id, if_match=if_match, also=last)


def _references(hook: Hook) -> list[str]:
    return [one for one in (hook.secret_reference, hook.old_secret_reference) if one is not None]


async def _owner(tenant: TenantSession) -> User:
    """The user whose hook it will be; `Forbidden` for Flowgrid's staff, who are none."""
    stored = None if tenant.caller.role is Role.PLATFORM else await tenant.store.get(User.KIND, tenant.user_id)
    if stored is None:
        raise Forbidden("Only a user of the tenant can have hooks.")
    return User.model_validate(stored.body)


def _check(style: Style, secret: str) -> None:
    """`Invalid`; a secret is never repeated, not even a wrong one."""
    if wrong := wrong_with_secret(style, secret):
        raise Invalid.of("secret", wrong)


async def _counted(tenant: TenantSession) -> None:
    """There is something to count in: nobody has it from the start."""
    if await tenant.store.get(COUNTER_KIND, COUNTER) is None:
        begun = {"created_at": rfc3339(tenant.services.clock.now()), "value": 0}
        with suppress(Rejected):  # somebody else has begun to count
            await tenant.store.commit([Create(COUNTER_KIND, COUNTER, begun)])

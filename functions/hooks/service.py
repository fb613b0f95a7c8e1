"""The hook service: who may make, see, rotate and revoke which, and nothing about deliveries."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from functions.agents.models import Agent
from functions.hooks.models import COUNTER, MOST_HOOKS, Hook, HookItem, HookRotation, NewHook, Style
from functions.hooks.signatures import wrong_with_secret
from functions.hooks.tokens import HookTokens
from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.errors import Forbidden, Invalid
from shared.members.makers import maker_of
from shared.work.change import Change
from shared.work.counting import begin_to_count
from shared.work.kept_secrets import KeptSecrets
from shared.work.resources import Listing, PageRequest, find, load
from shared.work.session import TenantSession


class Place(NamedTuple):
    """Where a hook takes deliveries: it follows from the hook, and is written nowhere."""

    path: str
    url: str | None


class HookService:
    """A hook starts runs as the user who made it; so nobody else sets its secret, and admins may end it.

    One that was made with an API key ends with that; so whoever takes a key away takes all that it has made.
    """

    def __init__(self, secrets: KeptSecrets, tokens: HookTokens, public_url: str = "") -> None:
        self._secrets = secrets
        self._tokens = tokens
        self._public_url = public_url

    async def create(self, tenant: TenantSession, agent_id: str, new: NewHook) -> Hook:
        """`QuotaReached` beyond `MOST_HOOKS`."""
        await load(tenant, Agent, agent_id)
        maker = await maker_of(tenant)
        if maker is None:
            raise Forbidden("Only a user of the tenant can have hooks.")
        if new.secret is not None:
            _check(new.style, new.secret)
        await begin_to_count(tenant, COUNTER)
        id = tenant.services.ids.new()
        kept = None if new.secret is None else await self._secrets.put(tenant, HookItem.KIND, id, new.secret)
        change = tenant.change()
        fields = {
            "name": new.name,
            "style": new.style,
            "agent_id": agent_id,
            **maker.model_dump(),
            "secret_reference": kept,
            "old_secret_reference": None,
            "old_secret_until": None,
        }
        hook = change.create(HookItem, fields, id=id)
        change.touch(Agent.KIND, agent_id, "agent_id")
        await self._secrets.move(tenant, change, hook, None, kept)
        change.count(COUNTER, +1, limit=MOST_HOOKS, called="Hook")
        return await change.commit(_shown(hook, await self._place(tenant, id)))

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Hook]:
        """One page. `filters`: field -> value, None: any."""
        found = await find(tenant, HookItem, filters, page)
        return Listing([_shown(hook, await self._place(tenant, hook.id)) for hook in found.items], found.next)

    async def get(self, tenant: TenantSession, id: str) -> Hook:
        """`NotFound` for what never was and for another tenant's."""
        return _shown((await load(tenant, HookItem, id)).value, await self._place(tenant, id))

    async def rotate(self, tenant: TenantSession, id: str, asked: HookRotation) -> Hook:
        """The new secret is good at once, the old one for a while; the one before that, if any, ends now."""
        before = await self.get(tenant, id)
        if before.user_id != tenant.user_id or tenant.caller.role is Role.PLATFORM:
            raise Forbidden("Only the user who made a hook sets its secret.")
        key = tenant.caller.key
        if key is not None and key.id != before.made_with:
            raise Forbidden("By a key, only secrets of hooks that were made with it are set.")
        _check(before.style, asked.secret)
        kept = await self._secrets.put(tenant, HookItem.KIND, id, asked.secret)
        until = rfc3339(tenant.services.clock.now() + timedelta(hours=asked.overlap_hours))

        def fields(old: HookItem) -> Mapping[str, Any]:
            stays = old.secret_reference if asked.overlap_hours else None
            return {
                "secret_reference": kept,
                "old_secret_reference": stays,
                "old_secret_until": None if stays is None else until,
            }

        async def also(change: Change, old: HookItem, now: HookItem) -> None:
            await self._secrets.move(tenant, change, now, None, kept)
            for gone in {*_references(old)} - {*_references(now)}:
                await self._secrets.move(tenant, change, now, gone, None)

        place = await self._place(tenant, id)
        changed = tenant.modify(
            HookItem, id, fields, if_match=None, also=also, action="rotated", shown=lambda hook: _shown(hook, place)
        )
        return _shown(await changed, place)

    async def revoke(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """Over at once. It goes on while the tenant is restored."""

        async def last(change: Change, old: HookItem) -> None:
            for reference in _references(old):
                await self._secrets.move(tenant, change, old, reference, None)
            change.count(COUNTER, -1)

        hook, caller = await self.get(tenant, id), tenant.caller
        if hook.user_id != tenant.user_id and not (caller.role is not None and caller.role.includes(Role.ADMIN)):
            raise Forbidden("Only an admin revokes a hook of somebody else.")
        await tenant.past_the_fence().remove(HookItem, id, if_match=if_match, also=last)

    async def _place(self, tenant: TenantSession, id: str) -> Place:
        path = f"/api/hooks/in/{await self._tokens.of(tenant.id, id)}"
        return Place(path, f"{self._public_url}{path}" if self._public_url else None)


def _shown(hook: HookItem, place: Place) -> Hook:
    return Hook(**hook.model_dump(), path=place.path, url=place.url)


def _references(hook: HookItem) -> list[str]:
    return [one for one in (hook.secret_reference, hook.old_secret_reference) if one is not None]


def _check(style: Style, secret: str) -> None:
    """`Invalid`; a secret is never repeated, not even a wrong one."""
    if wrong := wrong_with_secret(style, secret):
        raise Invalid.of("secret", wrong)

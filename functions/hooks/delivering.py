"""Deliveries: what comes in at a hook's URL starts a run as the user who made the hook, once for each delivery.

The run's id follows from hook and delivery. A run stays for good, if not what was said in it; so no delivery starts a
second one, however late it comes again.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from functions.executions.models import MAX_INPUT_BYTES, Execution, RunLimits
from functions.executions.starting import Asked, Starting
from functions.hooks.models import Delivered, HookItem
from functions.hooks.signatures import Delivery, verified
from functions.hooks.tokens import HookTokens
from shared.auth.caller import SYSTEM, Caller, RequestInfo
from shared.auth.roles import Role
from shared.clock import parse_rfc3339
from shared.errors import Forbidden, Invalid, NotAMember, RoleNeeded, Taken, TenantSuspended, TooLarge, Unauthenticated
from shared.ids import derived_id
from shared.limits.port import RateLimiter, Window
from shared.members.apikeys import ApiKey
from shared.members.users import User
from shared.telemetry.log import log_fields
from shared.tenancy.directory import Directory, TenantEntry
from shared.tenancy.fence import Overtaken
from shared.work.kept_secrets import KeptSecrets
from shared.work.scope import Services
from shared.work.session import TRIES_AT_A_RACE, TenantSession

logger = logging.getLogger("flowgrid.auth")
REFUSED = "There is no such hook, or this is not signed with its secret, or was signed too long ago."


@dataclass(frozen=True)
class Sent:
    """A delivery as it comes."""

    token: str
    headers: Mapping[str, str]
    body: bytes
    request: RequestInfo


class Delivering:
    def __init__(
        self,
        directory: Directory,
        services: Services,
        limiter: RateLimiter,
        tokens: HookTokens,
        secrets: KeptSecrets,
        starting: Starting,
    ) -> None:
        self._directory = directory
        self._services = services
        self._limiter = limiter
        self._tokens = tokens
        self._secrets = secrets
        self._starting = starting

    async def take(self, sent: Sent, known: Callable[[], None]) -> Delivered:
        """`known` is called once the sender has shown itself. Until then everybody is told the same."""
        if len(sent.body) > MAX_INPUT_BYTES:
            raise TooLarge(f"A delivery has at most {MAX_INPUT_BYTES} bytes; this one has {len(sent.body)}.")
        session, hook = await self._named(sent)
        secrets = await self._good(session, hook)
        now = self._services.clock.now().timestamp()
        delivery = verified(hook.style, secrets, sent.headers, sent.body, now)
        if delivery is None:
            _refuse(sent)
        known()
        log_fields.set({**log_fields.get(), "tenant_id": session.id, "hook_id": hook.id})
        await self._limiter.take(window_of(session))
        _check(session.entry)
        session = await _as_owner(session, hook)
        if delivery.ping:
            return Delivered(execution_id=None)
        return Delivered(execution_id=await self._run(session, hook, delivery, _input(sent.body)))

    async def _named(self, sent: Sent) -> tuple[TenantSession, HookItem]:
        """The hook that the URL names, and its tenant's store, with nobody's rights yet."""
        named = await self._tokens.opened(sent.token)
        entry = None if named is None else await self._directory.entry(named[0])
        if named is None or entry is None:
            _refuse(sent)
        session = TenantSession(entry, self._directory.open(entry), SYSTEM, sent.request, self._services)
        stored = await session.store.get(HookItem.KIND, named[1])
        if stored is None:
            _refuse(sent)
        return session, HookItem.model_validate(stored.body)

    async def _good(self, session: TenantSession, hook: HookItem) -> list[str]:
        """The secrets that are good now, read side by side."""
        references = [hook.secret_reference]
        until = hook.old_secret_until
        if until is not None and parse_rfc3339(until) > self._services.clock.now():
            references.append(hook.old_secret_reference)
        found = await asyncio.gather(*(self._secrets.get(session, one) for one in references if one is not None))
        return [secret for secret in found if secret is not None]

    async def _run(self, session: TenantSession, hook: HookItem, delivery: Delivery, input: str) -> str:
        id = derived_id(Execution.KIND, "hook", session.id, hook.id, delivery.id)
        about = {"id": hook.id, "name": hook.name, "delivery": delivery.id, "event": delivery.event}
        asked = Asked(input, {"hook": about}, RunLimits(), "hook")
        for left in reversed(range(TRIES_AT_A_RACE)):
            if await session.store.get(Execution.KIND, id) is not None:
                return id
            try:
                await self._starting.start(session, hook.agent_id, asked, id=id)
            except Taken:  # the same delivery, at the same time
                return id
            except Overtaken:
                if not left:
                    raise
                continue
            return id
        raise AssertionError("the last try has ended otherwise")


def window_of(session: TenantSession) -> Window:
    """All deliveries of a tenant: as many as its calls, beside them."""
    most = session.plan.requests_per_minute
    return Window("hooks", session.id, most, 1, "Too many deliveries to this tenant in a minute")


def _refuse(sent: Sent) -> NoReturn:
    """One line for each: from where, and nothing that was sent."""
    logger.warning("a delivery was refused", extra={"reason": "hook", "address": sent.request.ip_address})
    raise Unauthenticated(REFUSED, reason="hook")


def _check(entry: TenantEntry) -> None:
    if entry.status == "suspended":
        raise TenantSuspended("This tenant is suspended; its data is kept. Write to support to resume it.")
    if entry.status not in ("active", "trial"):
        raise Forbidden(f"This tenant is {entry.status}; try again when that is done.")


async def _as_owner(session: TenantSession, hook: HookItem) -> TenantSession:
    """The session of the user who made the hook, in the role that the user has now. `Forbidden` when that is over."""
    stored = await session.store.get(User.KIND, hook.user_id)
    user = None if stored is None else User.model_validate(stored.body)
    if user is None or user.created_at != hook.user_since or user.status == "disabled":
        raise NotAMember("Whoever made this hook is no user of the tenant any more.")
    if hook.made_with is not None:
        key = await session.store.get(ApiKey.KIND, hook.made_with)
        if key is None or parse_rfc3339(key.body["expires_at"]) <= session.services.clock.now():
            raise NotAMember("The API key that this hook was made with is over.")
    role = Role(f"tenant:{user.role}")
    if not role.includes(Role.USER):
        raise RoleNeeded(f"This needs the role {Role.USER}; whoever made this hook has {role}.")
    caller = Caller(subject=user.id, email=user.email, name=user.name, tenant_id=session.id, role=role, user=user.id)
    return TenantSession(session.entry, session.store, caller, session.request, session.services)


def _input(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Invalid.of("body", "should be text in UTF-8") from error
    if not text.strip():
        raise Invalid.of("body", "should not be empty")
    return text

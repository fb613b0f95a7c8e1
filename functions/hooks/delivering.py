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
from shared.auth.caller import SYSTEM, RequestInfo
from shared.auth.roles import Role
from shared.clock import parse_rfc3339
from shared.errors import Forbidden, Invalid, Taken, TenantSuspended, TooLarge, Unauthenticated
from shared.ids import derived_id
from shared.limits.port import RateLimiter, Window
from shared.members.apikeys import ApiKeys
from shared.members.makers import as_maker
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
        keys: ApiKeys,
    ) -> None:
        self._directory = directory
        self._services = services
        self._limiter = limiter
        self._tokens = tokens
        self._secrets = secrets
        self._starting = starting
        self._keys = keys

    async def take(self, sent: Sent, known: Callable[[], None]) -> Delivered:
        """`known` is called once the sender has shown itself by something new. Until then everybody is told the same.

        What was caught and comes again is good, and shows nothing of who sends it: it spends what its address has.
        """
        if len(sent.body) > MAX_INPUT_BYTES:
            raise TooLarge(f"A delivery has at most {MAX_INPUT_BYTES} bytes; this one has {len(sent.body)}.")
        session, hook = await self._named(sent)
        secrets = await self._good(session, hook)
        now = self._services.clock.now().timestamp()
        delivery = verified(hook.style, secrets, sent.headers, sent.body, now)
        if delivery is None:
            _refuse(sent)
        log_fields.set({**log_fields.get(), "tenant_id": session.id, "hook_id": hook.id})
        id = derived_id(Execution.KIND, "hook", session.id, hook.id, delivery.id)
        again = await session.store.get(Execution.KIND, id) is not None
        if not again and not delivery.ping:
            known()
            await self._limiter.take(window_of(session))
        _check(session.entry)
        session = await as_maker(session, hook.maker, self._keys, Role.USER)
        if delivery.ping:
            return Delivered(execution_id=None)
        if not again:
            await self._run(session, hook, delivery, _input(sent.body), id)
        return Delivered(execution_id=id)

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

    async def _run(self, session: TenantSession, hook: HookItem, delivery: Delivery, input: str, id: str) -> None:
        about = {"id": hook.id, "name": hook.name, "delivery": delivery.id, "event": delivery.event}
        asked = Asked(input, {"hook": about}, RunLimits(), "hook")
        for left in reversed(range(TRIES_AT_A_RACE)):
            try:
                await self._starting.start(session, hook.agent_id, asked, id=id)
            except Taken:  # the same delivery, at the same time
                return
            except Overtaken:
                if not left:
                    raise
                continue
            return


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


def _input(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Invalid.of("body", "should be text in UTF-8") from error
    if not text.strip():
        raise Invalid.of("body", "should not be empty")
    return text

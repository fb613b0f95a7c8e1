"""`Idempotency-Key` on every POST: 24 hours long the same key gives the same answer, and the work is done once.

The record is committed in the handler's own batch, so there is no moment in which work was done and not recorded. Work
outside the caller's own partition has its record where it is (`TenantSession.once_in`), or sets a state that it sets
again; only then the answer is recorded afterwards (decision 0003). What was made may be gone since, by a deletion, a
restore or an onboarding that was undone: then it is not told again (a point read of each, at a repetition).
"""

import asyncio
import re
from dataclasses import replace
from hashlib import sha256
from typing import Any

import azure.functions as func

from shared.clock import Clock, rfc3339
from shared.database.port import PlatformStore, Rejected, Stored
from shared.errors import Conflict, Invalid, Unprocessable
from shared.http.answers import Replay
from shared.http.routes import Call, Content, Handler, Route
from shared.ids import derived_id
from shared.kinds import Kind
from shared.tenancy.directory import TENANT
from shared.work.change import AnsweredMeanwhile
from shared.work.scope import IDEMPOTENCY, IdempotencySlot
from shared.work.session import TenantSession

MAX_KEY = 255
KEY_PATTERN = r"^[!-~]{1,255}$"
_KEY = re.compile(KEY_PATTERN.replace("$", r"\Z"))


class Idempotency:
    """POSTs under an `Idempotency-Key`: carried out once in 24 hours, and answered the same (decision 0003)."""

    def __init__(self, clock: Clock, registry: PlatformStore) -> None:
        self._clock = clock
        self._registry = registry
        self._running: set[tuple[str, str]] = set()

    async def run(
        self, route: Route, req: func.HttpRequest, call: Call[Any, Any], handler: Handler
    ) -> tuple[Any, bool]:
        """The handler's answer, or the recorded one (then True)."""
        key = req.headers.get("idempotency-key")
        if route.method != "POST" or key is None or isinstance(route.answer, Content):
            return await handler(call), False
        slot = _slot(key, route, req, call.tenant)
        recorded = await call.tenant.store.get(IDEMPOTENCY, slot.id)
        if recorded is not None:
            return await self._replay(recorded, slot, call.tenant), True
        running = (call.tenant.id, slot.id)
        if running in self._running:
            raise Conflict("A request with this Idempotency-Key is being worked on; ask again in a moment.")
        self._running.add(running)
        try:
            return await self._first(slot, call, handler)
        finally:
            self._running.discard(running)

    async def _first(self, slot: IdempotencySlot, call: Call[Any, Any], handler: Handler) -> tuple[Any, bool]:
        session = replace(call.tenant, idempotency=slot)
        try:
            answer = await handler(replace(call, tenant=session))
        except AnsweredMeanwhile:
            return await self._winner(slot, session), True
        if not slot.stored:
            try:
                await session.store.commit([slot.record(answer, rfc3339(self._clock.now()))])
            except Rejected:
                return await self._winner(slot, session), True
        return answer, False

    async def _winner(self, slot: IdempotencySlot, session: TenantSession) -> Replay:
        recorded = await session.store.get(IDEMPOTENCY, slot.id)
        if recorded is None:
            raise Conflict("A request with this Idempotency-Key has just expired; send it again, or under a new key.")
        return await self._replay(recorded, slot, session)

    async def _replay(self, recorded: Stored, slot: IdempotencySlot, tenant: TenantSession) -> Replay:
        if recorded.body["fingerprint"] != slot.fingerprint:
            raise Unprocessable("This Idempotency-Key was used for another request; use a new key for a new request.")
        if gone := await self._gone(recorded, tenant):
            raise Conflict(
                "This Idempotency-Key was answered before, and what it made is gone since; "
                "use a new key to make it again.",
                id=gone[0],
            )
        return Replay(recorded.body["body"], recorded.body["etag"])

    async def _gone(self, recorded: Stored, tenant: TenantSession) -> list[str]:
        """The ids of what is gone of that which was made."""
        made = [one for one in (recorded.body.get("made"), *recorded.body.get("others", ())) if one is not None]
        whose = recorded.body["body"].get("tenant_id", tenant.id) if made else tenant.id
        kinds = tenant.services.kinds
        looks = [self._is_gone(kinds.named(kind), id, whose, tenant) for kind, id in made]
        return [id for (_, id), gone in zip(made, await asyncio.gather(*looks), strict=True) if gone]

    async def _is_gone(self, kind: Kind, id: str, tenant_id: str, tenant: TenantSession) -> bool:
        if kind == TENANT:
            entry = await self._registry.latest(kind, id, id)
            return entry is None or bool(entry.body.get("undo"))
        if kind.container != "items" or tenant_id != tenant.id:  # what staff have made for a tenant is there for ever
            return False
        return await tenant.store.get(kind, id) is None


def _slot(key: str, route: Route, req: func.HttpRequest, tenant: TenantSession) -> IdempotencySlot:
    if not _KEY.match(key):
        raise Invalid.of("Idempotency-Key", f"should be 1 to {MAX_KEY} visible ASCII characters", key[:MAX_KEY])
    target = req.url.partition("://")[2].partition("/")[2]  # without the Host, which a caller may name as it likes
    digest = sha256(f"{route.name}\n{target}\n".encode() + req.get_body()).hexdigest()
    return IdempotencySlot(derived_id("idempotency", tenant.caller.credential, key), digest)

"""A tenant at work: one caller, one request, one store. What it writes is a `Change` (shared/work/change.py)."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.database.port import TenantStore
from shared.errors import Contended, Stale
from shared.kinds import Kind
from shared.tenancy.directory import Directory, TenantEntry
from shared.tenancy.fence import Overtaken
from shared.work.change import AnsweredMeanwhile, Change
from shared.work.resources import Resource, Tombstone, Versioned, load
from shared.work.scope import IDEMPOTENCY, IdempotencySlot, Scope, Services

R = TypeVar("R", bound=Resource)

TRIES_AT_A_RACE = 5
LONGEST_STEP_ASIDE_SECONDS = 0.02  # after the first lost race; it doubles with each further one


@dataclass(frozen=True)
class TenantSession(Scope):
    """A scope in which changes are begun."""

    @classmethod
    def of_system(cls, entry: TenantEntry, directory: Directory, services: Services) -> "TenantSession":
        """The service at work in a tenant, by nobody's request."""
        return cls(entry, directory.open(entry), SYSTEM, SYSTEM_REQUEST, services)

    def without_key(self) -> "TenantSession":
        """The same without the request's idempotency key: what it writes is not the request's answer."""
        return replace(self, idempotency=None)

    def in_tenant(self, entry: TenantEntry, store: TenantStore) -> "TenantSession":
        """The same caller at work in another tenant, where the request's key means nothing but to `once_in`."""
        return replace(self, entry=entry, store=store, idempotency=None)

    async def once_in(
        self, tenant: "TenantSession", model: type[R], work: Callable[["TenantSession"], Awaitable[R]]
    ) -> R:
        """What this request makes in another tenant, by `work`: once under its key.

        The answer is kept in the batch of the work, in that tenant's partition; the request's own record, in this one,
        comes later, and may not come.
        """
        if self.idempotency is None:
            return await work(tenant)
        slot = IdempotencySlot(self.repeatable_id(IDEMPOTENCY.name), self.idempotency.fingerprint)
        for _ in range(2):
            recorded = await tenant.store.get(IDEMPOTENCY, slot.id)
            if recorded is not None:
                return model.model_validate(recorded.body["body"])
            try:
                return await work(replace(tenant, idempotency=slot))
            except AnsweredMeanwhile:
                continue
        raise Contended("A request with this Idempotency-Key is being worked on; ask again in a moment.")

    def past_the_fence(self) -> "TenantSession":
        """The same session for what goes on while the tenant is fenced: jobs, backups, the fence; never resources."""
        return replace(self, store=self.store.control)

    def change(self, *held: Versioned[Any], after: str | None = None) -> Change:
        """Begin a change; `held` are the resources and tombstones that it replaces. Stamped later than `after`."""
        return Change(self, held, after)

    async def buried(self, kind: Kind, ids: Sequence[str]) -> dict[str, Versioned[Tombstone]]:
        """The tombstones of those ids that belonged to something which was deleted."""
        found = await self.store.buried(kind, ids)
        return {stored.body["id"]: Versioned.of(Tombstone, stored) for stored in found}

    async def modify(
        self,
        model: type[R],
        id: str,
        new_fields: Callable[[R], Mapping[str, Any]],
        *,
        if_match: str | None,
        also: Callable[[Change, R, R], Awaitable[None]] | None = None,
        action: str = "updated",
        shown: Callable[[R], BaseModel] = lambda changed: changed,
    ) -> R:
        """Read, check If-Match, change, commit; a race is run again, and everything checked again with it.

        `also` gets the change, the old and the new resource: it checks, and adds to the same change. `action`: what the
        audit calls it. `shown`: the answer of the request, for when it comes again.
        """
        for lost in range(TRIES_AT_A_RACE):
            held = await load(self, model, id)
            held.value.check(if_match)
            change = self.change(held)
            updated = change.update(held, new_fields(held.value), action=action)
            if updated is held.value:
                return updated
            if also is not None:
                await also(change, held.value, updated)
            try:
                await change.commit(shown(updated))
                return updated
            except (Stale, Overtaken):
                await _step_aside(lost)
        raise Contended("Others keep changing this at the same time; try again.")

    async def remove(
        self,
        model: type[R],
        id: str,
        *,
        if_match: str | None,
        also: Callable[[Change, R], Awaitable[None]] | None = None,
    ) -> None:
        """Read, check If-Match, delete, commit; a race is run again, and everything checked again with it."""
        for lost in range(TRIES_AT_A_RACE):
            held = await load(self, model, id)
            held.value.check(if_match)
            change = self.change(held)
            change.delete(held)
            if also is not None:
                await also(change, held.value)
            try:
                return await change.commit(None)
            except (Stale, Overtaken):
                await _step_aside(lost)
        raise Contended("Others keep changing this at the same time; try again.")


async def _step_aside(lost: int) -> None:
    """Wait a little, each a different while, so that those who have met do not meet again."""
    await asyncio.sleep(random.uniform(0, LONGEST_STEP_ASIDE_SECONDS * 2**lost))  # noqa: S311 - no secret

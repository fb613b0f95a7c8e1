"""The usual service of a resource: create, get, list, replace, patch, delete. What is special about one is in hooks.

References and quota follow from the kind's declaration: what a resource names must be there and stays there, what is
named cannot be deleted, and the counter is exact.
"""

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from shared.database.port import Where
from shared.errors import Contended, InUse, Stale
from shared.kinds import Kind
from shared.work.change import Change
from shared.work.resources import Body, Listing, PageRequest, Resource, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

LISTED = 100
R = TypeVar("R", bound=Resource)
F = TypeVar("F", bound=Body)
Sent = TypeVar("Sent", bound=Body, covariant=True)


class Patch(Protocol[Sent]):
    """A merge patch of the fields that a client may set."""

    def onto(self, resource: Resource) -> Sent:
        """The fields as they are after it; `Invalid` where they cannot be."""
        ...


class ResourceService(Generic[R, F]):
    """`model`: the resource; `F`: what a client may set of it."""

    model: type[R]

    def values(self, sent: F, old: R | None) -> Mapping[str, Any]:
        """The stored fields for what a client sends; `old` None for a new resource."""
        return sent.model_dump()

    async def check(self, tenant: TenantSession, change: Change, old: R | None, new: R) -> None:
        """Raise what forbids the change; add to it what has to be so when it is committed."""

    def created(self, change: Change, new: R) -> None:
        """Add to the change what a new resource brings about."""

    async def create(self, tenant: TenantSession, new: F) -> R:
        """`QuotaReached` beyond the plan's number, where the kind has a counter."""
        for _ in range(TRIES_AT_A_RACE):
            change = tenant.change()
            resource = change.create(self.model, self.values(new, None))
            await self._checked(tenant, change, None, resource)
            if counter := self.model.KIND.counter:
                change.count(counter, +1, limit=tenant.plan.quota(counter))
            self.created(change, resource)
            try:
                return await change.commit(resource)
            except Stale:
                continue
        raise Contended("Others keep changing what this refers to; try again.")

    async def get(self, tenant: TenantSession, id: str) -> R:
        """`NotFound` in the same words for what never was and for another tenant's."""
        return (await load(tenant, self.model, id)).value

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[R]:
        """One page. `filters`: field -> value, None: any."""
        return await find(tenant, self.model, filters, page)

    async def replace(self, tenant: TenantSession, id: str, new: F, if_match: str | None) -> R:
        """All fields anew; `NotFound`, `Stale` by `if_match` (an ETag), and what `check` forbids."""

        async def checked(change: Change, old: R, now: R) -> None:
            await self._checked(tenant, change, old, now)

        return await tenant.modify(self.model, id, lambda old: self.values(new, old), if_match=if_match, also=checked)

    async def patch(self, tenant: TenantSession, id: str, patch: Patch[F], if_match: str | None) -> R:
        """RFC 7396; `NotFound`, `Stale` by `if_match` (an ETag), and what `check` forbids."""

        async def checked(change: Change, old: R, now: R) -> None:
            await self._checked(tenant, change, old, now)

        return await tenant.modify(
            self.model, id, lambda old: self.values(patch.onto(old), old), if_match=if_match, also=checked
        )

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """`Conflict`, listing them, while others refer to it."""

        async def last(change: Change, old: R) -> None:
            for kind, field in tenant.services.kinds.referring(self.model.KIND):
                await refuse_while_named(tenant, kind, field, old)
            if counter := self.model.KIND.counter:
                change.count(counter, -1)

        await tenant.remove(self.model, id, if_match=if_match, also=last)

    async def _checked(self, tenant: TenantSession, change: Change, old: R | None, new: R) -> None:
        for field, names in self.model.KIND.refers.items():
            named = getattr(new, field)
            if len(names) == 1 and named is not None and (old is None or getattr(old, field) != named):
                change.touch(change.kinds.named(names[0]), named, field)
        await self.check(tenant, change, old, new)


async def refuse_while_named(tenant: TenantSession, kind: Kind, field: str, target: Resource) -> None:
    """`Conflict`, listing them, while items of this kind name the target in this field."""
    found = (await tenant.store.query(kind, [Where(field, "=", target.id)], limit=LISTED)).items
    if found:
        listed = [{"id": stored.body["id"], "name": stored.body.get("name", "")} for stored in found]
        raise InUse(
            f"{kind.capitalize()}s refer to this {target.KIND}; give them another one, or none, first.",
            **{f"{kind}s": listed},
        )

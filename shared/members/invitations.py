"""Which tenants have invited an address: a hint in the registry, for who signs in and knows of no tenant yet.

It is written before the invitation and taken back after the user is removed; whether the tenant has such a user is
what counts, and is asked each time. So what a crash or a restore leaves is at most a hint that leads nowhere, or one
that the hourly round writes anew. It is named by a digest of the address, and holds none.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from shared.clock import Clock, rfc3339
from shared.database.port import Create, Database, Delete, Document, Rejected, Replace, Where
from shared.errors import Contended
from shared.ids import PLATFORM_TENANT_ID, derived_id
from shared.kinds import Kind
from shared.members.users import User, user_id
from shared.tenancy.directory import Directory
from shared.work.session import TRIES_AT_A_RACE, TenantSession

INVITED = Kind("invited_address", container="reservations")
MOST_TENANTS = 10  # that may have invited one address, and are asked when its owner signs in
PAGE_ITEMS = 200

logger = logging.getLogger("flowgrid.members")


class Invitations:
    def __init__(self, database: Database, directory: Directory, clock: Clock) -> None:
        self._platform = database.platform
        self._directory = directory
        self._clock = clock

    async def remember(self, tenant_id: str, email: str) -> None:
        """This tenant is about to invite this address. Again is no error.

        Beyond `MOST_TENANTS` those that have no such user (any more) make room; if all have, this one is not noted,
        and its user is told of it in another way.
        """
        id = derived_id(INVITED, email)
        mine: Create | Replace = Create(INVITED, id, self._hint([tenant_id]))  # most are invited once: one call
        for _ in range(TRIES_AT_A_RACE):
            try:
                await self._platform.put(mine, PLATFORM_TENANT_ID)
                return
            except Rejected:
                held = await self._platform.get(INVITED, PLATFORM_TENANT_ID, id)
            known: Sequence[str] = held.body["tenants"] if held else []
            if tenant_id in known:
                return
            if len(known) >= MOST_TENANTS:
                known = await self._still(known, email)
            if len(known) >= MOST_TENANTS:
                logger.warning("an address is invited by too many tenants", extra={"tenant_id": tenant_id})
                return
            hint = self._hint([*known, tenant_id])
            mine = Replace(INVITED, id, hint, held.etag) if held else Create(INVITED, id, hint)
        raise Contended("Others keep inviting this address at the same time; try again.")

    async def forget(self, tenant_id: str, email: str) -> None:
        """This tenant has no such user: the hint would lead nowhere. Where others keep changing it, it stays.

        Who has invited this address again meanwhile has found the hint that is taken back here: so it is written again.
        """
        await self._take_back(tenant_id, email)
        if await self._still([tenant_id], email):
            await self.remember(tenant_id, email)

    async def _take_back(self, tenant_id: str, email: str) -> None:
        id = derived_id(INVITED, email)
        for _ in range(TRIES_AT_A_RACE):
            held = await self._platform.get(INVITED, PLATFORM_TENANT_ID, id)
            if held is None or tenant_id not in held.body["tenants"]:
                return
            others = [one for one in held.body["tenants"] if one != tenant_id]
            less = Replace(INVITED, id, self._hint(others), held.etag) if others else Delete(INVITED, id, held.etag)
            with suppress(Rejected):
                await self._platform.put(less, PLATFORM_TENANT_ID)
                return

    async def tenants(self, email: str) -> Sequence[str]:
        """Those that may have invited this address, oldest first; one point read."""
        held = await self._platform.get(INVITED, PLATFORM_TENANT_ID, derived_id(INVITED, email))
        return [] if held is None else list(held.body["tenants"])

    async def of_tenant(self, tenant: TenantSession) -> int:
        """The round: whoever was invited before there were hints gets one. Returns how many are invited."""
        invited, after = 0, None
        while True:
            page = await tenant.store.query(User.KIND, [Where("status", "=", "invited")], limit=PAGE_ITEMS, after=after)
            for stored in page.items:
                await self.remember(tenant.id, stored.body["email"])
            invited += len(page.items)
            after = page.next
            if after is None:
                return invited

    def _hint(self, tenants: Sequence[str]) -> Document:
        return {"created_at": rfc3339(self._clock.now()), "tenants": list(tenants)}

    async def _still(self, tenants: Sequence[str], email: str) -> list[str]:
        async def there(tenant_id: str) -> bool:
            store = await self._directory.store(tenant_id)
            return store is not None and await store.get(User.KIND, user_id(tenant_id, email)) is not None

        found = await asyncio.gather(*(there(one) for one in tenants))
        return [one for one, is_there in zip(tenants, found, strict=True) if is_there]

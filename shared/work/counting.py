"""Counters that tenants have only once they count something."""

from contextlib import suppress

from shared.clock import rfc3339
from shared.database.port import Create, Rejected
from shared.work.change import COUNTER
from shared.work.session import TenantSession


async def begin_to_count(tenant: TenantSession, name: str) -> None:
    """There is a counter of this name to count in: at 0, where the tenant has had none yet."""
    if await tenant.store.get(COUNTER, name) is None:
        begun = {"created_at": rfc3339(tenant.services.clock.now()), "value": 0}
        with suppress(Rejected):  # somebody else has begun to count
            await tenant.store.commit([Create(COUNTER, name, begun)])

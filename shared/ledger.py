"""The timers' run ledger, in the registry: a missed slot is caught up once, two instances never run the same one."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from shared.clock import Clock, rfc3339, runs
from shared.database.port import Create, Database, Kind, Rejected, Replace
from shared.tenancy import PLATFORM_TENANT_ID

LEASE = timedelta(minutes=5)
KEPT_SECONDS = 40 * 86400


class Ledger:
    """Each slot of each timer is worked through once, whoever wakes up for it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run_once(self, name: str, slot: str, work: Callable[[], Awaitable[Mapping[str, Any]]]) -> bool:
        """Do `work` for this slot unless it is done or in hand; True when done now. One that raised comes again."""
        claim = f"run:{name}:{slot}"
        now = self._clock.now()
        body = {"created_at": rfc3339(now), "status": "running", "lease_until": rfc3339(now + LEASE)}
        platform = self._database.platform
        try:
            await platform.put(Create(Kind.RESERVATION, claim, body, ttl=KEPT_SECONDS), PLATFORM_TENANT_ID)
        except Rejected:
            held = await platform.get(Kind.RESERVATION, PLATFORM_TENANT_ID, claim)
            if held is None or held.body["status"] == "done" or runs(held.body["lease_until"], now, LEASE):
                return False
            try:
                await platform.put(
                    Replace(Kind.RESERVATION, claim, body, held.etag, ttl=KEPT_SECONDS), PLATFORM_TENANT_ID
                )
            except Rejected:
                return False
        summary = await work()
        done = {**body, "status": "done", "finished_at": rfc3339(self._clock.now()), "summary": dict(summary)}
        await platform.put(Replace(Kind.RESERVATION, claim, done, ttl=KEPT_SECONDS), PLATFORM_TENANT_ID)
        return True

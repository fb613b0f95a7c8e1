"""The timers' run ledger, in the registry: a missed slot is caught up once, two instances never run the same one."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.clock import Clock, parse_rfc3339, rfc3339, runs
from shared.database.port import Create, Database, Rejected, Replace, Stored
from shared.ids import PLATFORM_TENANT_ID
from shared.tenancy.directory import RESERVATION

LEASE = timedelta(minutes=11)  # no run is longer than a function may take (host.json)
KEPT_SECONDS = 40 * 86400


class Ledger:
    """Each slot of each timer is worked through once, whoever wakes up for it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run_once(self, name: str, slot: str, work: Callable[[], Awaitable[Mapping[str, Any]]]) -> bool:
        """Do `work` for this slot unless it is done or in hand; True when done now.

        One that raised, or whose worker died, is done once more when its lease has run out: `go_on` asks.
        """
        claim = f"run:{name}:{slot}"
        now = self._clock.now()
        body = {"created_at": rfc3339(now), "status": "running", "lease_until": rfc3339(now + LEASE)}
        platform = self._database.platform
        try:
            await platform.put(Create(RESERVATION, claim, body, ttl=KEPT_SECONDS), PLATFORM_TENANT_ID)
        except Rejected:
            held = await platform.get(RESERVATION, PLATFORM_TENANT_ID, claim)
            if held is None or not _left(held, now):
                return False
            try:
                await platform.put(Replace(RESERVATION, claim, body, held.etag, ttl=KEPT_SECONDS), PLATFORM_TENANT_ID)
            except Rejected:
                return False
        summary = await work()
        done = {**body, "status": "done", "finished_at": rfc3339(self._clock.now()), "summary": dict(summary)}
        await platform.put(Replace(RESERVATION, claim, done, ttl=KEPT_SECONDS), PLATFORM_TENANT_ID)
        return True

    async def go_on(self, name: str, slot: str, work: Callable[[], Awaitable[Mapping[str, Any]]]) -> bool:
        """`run_once` for a slot that was begun and that nobody has in hand; True when done now."""
        held = await self._database.platform.get(RESERVATION, PLATFORM_TENANT_ID, f"run:{name}:{slot}")
        return held is not None and _left(held, self._clock.now()) and await self.run_once(name, slot, work)

    async def summary(self, name: str, slot: str) -> Mapping[str, Any] | None:
        """What the work of a slot has come to; None while it is not done."""
        held = await self._database.platform.get(RESERVATION, PLATFORM_TENANT_ID, f"run:{name}:{slot}")
        return held.body["summary"] if held is not None and held.body["status"] == "done" else None

    async def finished(self, name: str, slot: str) -> datetime | None:
        """When the work of a slot came to its end; None while it has not."""
        held = await self._database.platform.get(RESERVATION, PLATFORM_TENANT_ID, f"run:{name}:{slot}")
        done = held is not None and held.body["status"] == "done"
        return parse_rfc3339(held.body["finished_at"]) if held is not None and done else None

    async def begun(self, name: str, slot: str) -> bool:
        """Whether anybody has begun with the work of a slot."""
        return await self._database.platform.get(RESERVATION, PLATFORM_TENANT_ID, f"run:{name}:{slot}") is not None


def _left(held: Stored, now: datetime) -> bool:
    return held.body["status"] != "done" and not runs(held.body["lease_until"], now, LEASE)

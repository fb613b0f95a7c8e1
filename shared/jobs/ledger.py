"""The timers' run ledger, in the registry: a missed slot is caught up once, two instances never run the same one.

A slot whose work has failed for somebody is not done: it is taken up again, for those, as long as anybody asks for it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.clock import Clock, parse_rfc3339, rfc3339, runs
from shared.database.port import Create, Database, Rejected, Replace, Stored
from shared.ids import PLATFORM_TENANT_ID
from shared.tenancy.directory import RESERVATION

LEASE = timedelta(minutes=11)  # no run is longer than a function may take (host.json)
AGAIN = timedelta(minutes=30)  # after a run that has failed for some; the slot's hour or day bounds how often
KEPT_SECONDS = 40 * 86400

Summary = Mapping[str, Any]
Work = Callable[[Summary | None], Awaitable[Summary]]  # is told what the run before it has come to, in the same slot


@dataclass(frozen=True)
class Outcome:
    """What the last run of a slot has come to, whether more is left of it or not."""

    ended: datetime
    summary: Summary

    @property
    def failed(self) -> int:
        return failed(self.summary)


def failed(summary: Summary) -> int:
    """For how many it could not be done, by the summary and the summaries in it."""
    parts = [part for part in summary.values() if isinstance(part, Mapping)]
    return int(summary.get("failed", 0)) + sum(map(failed, parts))


class Ledger:
    """Each slot of each timer is worked through once, whoever wakes up for it, and again while it fails for some."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run_once(self, name: str, slot: str, work: Work) -> bool:
        """Do `work` for this slot unless it is done or in hand; True when it came to its end now.

        One that raised, or whose worker died, is done once more when its lease has run out, and one that failed for
        some after a pause: `go_on` asks.
        """
        claim = f"run:{name}:{slot}"
        now = self._clock.now()
        body = {"created_at": rfc3339(now), "status": "running", "lease_until": rfc3339(now + LEASE)}
        platform = self._database.platform
        before: Outcome | None = None
        try:
            await platform.put(Create(RESERVATION, claim, body, ttl=KEPT_SECONDS), PLATFORM_TENANT_ID)
        except Rejected:
            held = await platform.get(RESERVATION, PLATFORM_TENANT_ID, claim)
            if held is None or not _left(held, now):
                return False
            before = _outcome(held)
            body = {**held.body, **body}
            try:
                await platform.put(Replace(RESERVATION, claim, body, held.etag, ttl=KEPT_SECONDS), PLATFORM_TENANT_ID)
            except Rejected:
                return False
        summary = await work(None if before is None else before.summary)
        now = self._clock.now()
        left = {"status": "left", "lease_until": rfc3339(now + AGAIN)} if failed(summary) else {"status": "done"}
        done = {**body, **left, "finished_at": rfc3339(now), "summary": dict(summary)}
        await platform.put(Replace(RESERVATION, claim, done, ttl=KEPT_SECONDS), PLATFORM_TENANT_ID)
        return True

    async def go_on(self, name: str, slot: str, work: Work) -> bool:
        """`run_once` for a slot that was begun, is not done and that nobody has in hand."""
        held = await self._database.platform.get(RESERVATION, PLATFORM_TENANT_ID, f"run:{name}:{slot}")
        return held is not None and _left(held, self._clock.now()) and await self.run_once(name, slot, work)

    async def outcome(self, name: str, slot: str) -> Outcome | None:
        """What the last run of a slot that came to its end has come to; None before that."""
        held = await self._database.platform.get(RESERVATION, PLATFORM_TENANT_ID, f"run:{name}:{slot}")
        return None if held is None else _outcome(held)

    async def begun(self, name: str, slot: str) -> bool:
        """Whether anybody has begun with the work of a slot."""
        return await self._database.platform.get(RESERVATION, PLATFORM_TENANT_ID, f"run:{name}:{slot}") is not None


def _left(held: Stored, now: datetime) -> bool:
    return held.body["status"] != "done" and not runs(held.body["lease_until"], now, AGAIN)


def _outcome(held: Stored) -> Outcome | None:
    ended = held.body.get("finished_at")
    return None if ended is None else Outcome(parse_rfc3339(ended), held.body["summary"])

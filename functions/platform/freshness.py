"""What is done again and again, and how old the last of it is: backups, hours of usage, what waits to be sent."""

from dataclasses import replace
from datetime import datetime, timedelta

from functions.platform.health import Seen
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.database.port import NEWEST_FIRST, Database, Where
from shared.errors import Concern, Unavailable
from shared.jobs.ledger import Ledger, Outcome
from shared.kinds import Kind
from shared.tenancy.directory import TENANT
from shared.work.outbox import OUTBOX

DAILY = timedelta(hours=26)  # and two hours to do it in
DAYS_LOOKED_AT = 3
CLOSED_WITHIN = timedelta(minutes=35)  # after its end: the grace, and some turns of the timer
SUMMED_UP_WITHIN = timedelta(minutes=95)  # since its beginning
SENT_WITHIN = timedelta(minutes=5)  # the sweep comes twice a minute
MOST = 50
NONE_YET = Seen("there was none yet")
AWAY = Seen("not known while a database is away")  # which is what the databases' own checks are there to say


class Freshness:
    """`backups`, `retention`: daily rounds as the ledger knows them; `hours`, `summed`: the kinds of hours of usage."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        clock: Clock,
        *,
        backups: str,
        retention: str,
        hours: Kind,
        summed: Kind,
    ) -> None:
        self._platform = database.platform
        self._ledger = ledger
        self._clock = clock
        self._backups = backups
        self._retention = retention
        self._hours = hours
        self._summed = summed

    async def backup_round(self) -> Seen:
        """How long ago the last round of daily backups came to its end, and for whom it failed; a few point reads."""
        try:
            now = self._clock.now()
            begun, pruned = await self._last(self._backups, now), await self._last(self._retention, now)
            if begun is not None:
                age = age_of(now, begun.ended)
                if begun.failed:
                    raise Concern(
                        f"No daily backup was begun for {begun.failed} tenants; see the log.", age_seconds=age
                    )
                if age > DAILY.total_seconds():
                    raise Concern(f"The last daily backup round ended {age // 3600} hours ago.", age_seconds=age)
                if pruned is not None and pruned.failed:
                    raise Concern(f"Old backups of {pruned.failed} tenants could not be removed; see the log.")
                return Seen(age_seconds=age)
            before = [Where("created_at", "<", rfc3339(now - DAILY))]
            if (await self._platform.query(TENANT, before, limit=1)).items:
                raise Concern(f"No daily backup round has come to its end in {DAYS_LOOKED_AT} days.")
        except Unavailable:
            return AWAY
        return NONE_YET

    async def _last(self, round: str, now: datetime) -> Outcome | None:
        for days in range(DAYS_LOOKED_AT):
            found = await self._ledger.outcome(round, (now - timedelta(days=days)).date().isoformat())
            if found is not None:
                return found
        return None

    async def rollups(self) -> Seen:
        """How old the last hour is that was summed up, and whether hours are over that nobody closes."""
        try:
            now = self._clock.now()
            over = rfc3339(now - timedelta(hours=1) - CLOSED_WITHIN)
            late = [Where("state", "=", "open"), Where("created_at", "<", over)]
            swept = await self._platform.sweep(self._hours, late, limit=MOST)
            found = swept.items
            last = (await self._platform.query(self._summed, order=NEWEST_FIRST, limit=1)).items
        except Unavailable:
            return AWAY
        if found:
            age = age_of(now, parse_rfc3339(found[0].body["created_at"]) + timedelta(hours=1))
            raise Concern(
                f"Hours of usage are over and not closed, since {age // 60} minutes.",
                age_seconds=age,
                waiting=len(found),
            )
        if not last:
            return AWAY if swept.missed else Seen("there was none yet")
        age = age_of(now, parse_rfc3339(last[0].body["created_at"]))
        if age > SUMMED_UP_WITHIN.total_seconds():
            raise Concern("The usage timer sums nothing up.", age_seconds=age)
        return replace(AWAY if swept.missed else Seen(), age_seconds=age)

    async def outbox(self) -> Seen:
        """How many events wait to be sent, up to a bound, and how long the oldest does."""
        try:
            swept = await self._platform.sweep(OUTBOX, [], limit=MOST)
        except Unavailable:
            return AWAY
        found = swept.items
        if not found:
            return AWAY if swept.missed else Seen(waiting=0)
        age = age_of(self._clock.now(), parse_rfc3339(found[0].body["created_at"]))
        if age > SENT_WITHIN.total_seconds():
            raise Concern("Events wait to be sent; see the log.", age_seconds=age, waiting=len(found))
        return replace(AWAY if swept.missed else Seen(), age_seconds=age, waiting=len(found))


def age_of(now: datetime, then: datetime) -> int:
    """In seconds; clocks differ."""
    return max(0, int((now - then).total_seconds()))

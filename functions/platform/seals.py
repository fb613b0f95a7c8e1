"""Whether audit trails are sealed, for health: the last hourly round that has come to its end, and how it went."""

from datetime import timedelta
from typing import ClassVar

from functions.platform.freshness import AWAY, NONE_YET, age_of
from functions.platform.health import Seen
from shared.clock import Clock, rfc3339
from shared.database.port import Database, Where
from shared.errors import Concern, Unavailable
from shared.jobs.ledger import Ledger
from shared.tenancy.directory import TENANT

HOURS_LOOKED_AT = 3


class Seals:
    """Of all tenants; whose trail it is, is in the log."""

    ROUND: ClassVar[str] = "audit seals"  # as the ledger knows it

    def __init__(self, database: Database, ledger: Ledger, clock: Clock) -> None:
        self._platform = database.platform
        self._ledger = ledger
        self._clock = clock

    async def check(self) -> Seen:
        """How old the last round is. `Concern` where it left tenants out, or where there was none; some point reads."""
        now = self._clock.now()
        try:
            for hours in range(HOURS_LOOKED_AT + 1):
                slot = f"{now - timedelta(hours=hours):%Y-%m-%dT%H}"
                outcome = await self._ledger.outcome(self.ROUND, slot)
                if outcome is None:
                    continue
                age = age_of(now, outcome.ended)
                if outcome.failed:
                    what = f"The audit trails of {outcome.failed} tenants could not be sealed; see the log."
                    raise Concern(what, age_seconds=age, waiting=outcome.failed)
                return Seen(age_seconds=age)
            before = [Where("created_at", "<", rfc3339(now - timedelta(hours=HOURS_LOOKED_AT)))]
            if (await self._platform.query(TENANT, before, limit=1)).items:
                raise Concern(f"No sealing of audit trails has come to its end in {HOURS_LOOKED_AT} hours.")
        except Unavailable:
            return AWAY
        return NONE_YET

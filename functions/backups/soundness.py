"""What health says of backups: those of the last day that failed, or whose items do not fit together."""

from datetime import timedelta

from functions.backups.models import Backup
from shared.clock import Clock, rfc3339
from shared.database.port import Database, Where
from shared.errors import Concern, Unavailable

LOOKS_BACK = timedelta(hours=25)  # a daily backup, and an hour to make it in
KEPT_SECONDS = 300.0  # the query asks every database, and anybody may ask for health
MOST = 200


class Soundness:
    """Raises `Concern`, for health, about backups that have lately failed or do not fit together."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._platform = database.platform
        self._clock = clock
        self._asked_at: float | None = None
        self._found = 0

    async def check(self) -> None:
        """`Concern` when there are such backups; how many is at most five minutes old. Whose is not told."""
        now = self._clock.monotonic()
        if self._asked_at is None or now - self._asked_at >= KEPT_SECONDS:
            since = rfc3339(self._clock.now() - LOOKS_BACK)
            bad = [Where("status", "in", ["failed", "inconsistent"]), Where("created_at", ">=", since)]
            try:
                swept = await self._platform.sweep(Backup.KIND, bad, limit=MOST)
            except Unavailable:  # which is what the databases' own checks are there to say
                return
            if swept.missed:  # the same; what was found there before is told until that is known again
                self._found = max(self._found, len(swept.items))
            else:
                self._found, self._asked_at = len(swept.items), now
        if self._found:
            many = "or more " if self._found == MOST else ""
            raise Concern(f"{self._found} {many}backups of the last day failed or do not fit together; see the log.")

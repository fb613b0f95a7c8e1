"""Rounds: what is done for every tenant once an hour or once a day, whoever wakes up for it.

One timer asks every few minutes; the ledger says what of this hour and day is left. So whatever was missed, was
interrupted, or failed for some tenants is caught up by a later asking.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from shared.apart import apart
from shared.clock import Clock
from shared.errors import Concern, Unavailable
from shared.jobs.ledger import Ledger, Work

logger = logging.getLogger("flowgrid.timers")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Rounds:
    """`hourly` and `daily`: what to do, by the name that the ledger knows it by."""

    def __init__(self, ledger: Ledger, clock: Clock, hourly: Mapping[str, Work], daily: Mapping[str, Work]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._hourly = hourly
        self._daily = daily

    async def run(self) -> int:
        """Do what is left of this hour and of this day; returns how many were done. One's failure stops no other."""
        now, done = self._clock.now(), 0
        slots = [
            *((name, _slot(now, HOUR), work) for name, work in self._hourly.items()),
            *((name, _slot(now, DAY), work) for name, work in self._daily.items()),
        ]
        for name, slot, work in slots:
            with apart(logger, "a round is left to the next asking", round=name):
                done += await self._ledger.run_once(name, slot, work)
        return done

    async def check(self) -> None:
        """`Concern`, for health, where the last of a round failed for some. Whose is in the log; a few point reads."""
        asked = [*((name, HOUR) for name in self._hourly), *((name, DAY) for name in self._daily)]
        try:
            found = await asyncio.gather(*(self._failed(name, step) for name, step in asked))
        except Unavailable:  # which is what the databases' own checks are there to say
            return
        if any(found):
            told = [f"{name}: {failed}" for (name, _), failed in zip(asked, found, strict=True) if failed]
            raise Concern(f"Rounds have failed for some tenants ({'; '.join(told)}) and are tried again; see the log.")

    async def _failed(self, name: str, step: timedelta) -> int:
        """For how many, in the slot that it is or else the one before."""
        now = self._clock.now()
        for at in (now, now - step):
            outcome = await self._ledger.outcome(name, _slot(at, step))
            if outcome is not None:
                return outcome.failed
        return 0


def _slot(at: datetime, step: timedelta) -> str:
    return f"{at:%Y-%m-%dT%H}" if step == HOUR else f"{at:%Y-%m-%d}"

"""Rounds: what is done for every tenant once an hour or once a day, whoever wakes up for it.

One timer asks every few minutes; the ledger says what of this hour and day is left. So whatever was missed, or was
interrupted, is caught up by the next asking.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from shared.apart import apart
from shared.clock import Clock
from shared.jobs.ledger import Ledger

logger = logging.getLogger("flowgrid.timers")
Work = Callable[[], Awaitable[Mapping[str, Any]]]


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
            *((name, f"{now:%Y-%m-%dT%H}", work) for name, work in self._hourly.items()),
            *((name, f"{now:%Y-%m-%d}", work) for name, work in self._daily.items()),
        ]
        for name, slot, work in slots:
            with apart(logger, "a round is left to the next asking", round=name):
                done += await self._ledger.run_once(name, slot, work)
        return done

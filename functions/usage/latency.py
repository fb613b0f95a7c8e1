"""How calls went: how long each took, in few and fixed buckets, and whether it failed, by whose fault.

A call is one key of its bucket, and one more where it failed; so what is told of a time is a sum of what is told of its
parts. Buckets grow by a fifth, as in DDSketch (https://arxiv.org/abs/1908.10693): what is read off for a bucket is at
most 10 % wrong, up to 240 s (Azure's front end waits for 230); what took longer is told as that. 200 ms, which is
promised, ends a bucket, so how many took longer is exact.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

PROMISED_MS = 200
LONGEST_MS = 240_000
CLIENT_ERRORS, SERVER_ERRORS = "4xx", "5xx"

Details = tuple[tuple[str, int], ...]  # what one event adds, by key


def _bounds() -> tuple[int, ...]:
    """The longest time of each bucket but the last, in whole milliseconds."""
    bounds = [0]
    while bounds[-1] < LONGEST_MS:
        shortest = bounds[-1] + 1
        longest = shortest * 11 // 9
        bounds.append(PROMISED_MS if shortest <= PROMISED_MS < longest else min(longest, LONGEST_MS))
    return tuple(bounds)


BOUNDS = _bounds()
_FINE: tuple[Details, ...] = tuple(((str(bucket), 1),) for bucket in range(len(BOUNDS) + 1))
_BY_CLASS = {4: ((CLIENT_ERRORS, 1),), 5: ((SERVER_ERRORS, 1),)}


def details_of_call(data: Mapping[str, Any]) -> Details:
    """What is added up of a call; nothing where it does not say how long it took and how it ended."""
    took, status = data.get("duration_ms"), data.get("status_code")
    if type(took) is not int or type(status) is not int or took < 0 or not 100 <= status <= 599:
        return ()
    return _FINE[bisect_left(BOUNDS, took)] + _BY_CLASS.get(status // 100, ())


@dataclass(frozen=True)
class Calls:
    """What is known of some calls: `measured` of them say how long they took."""

    measured: int
    client_errors: int
    server_errors: int
    within: int  # PROMISED_MS
    buckets: Mapping[int, int]

    @classmethod
    def of(cls, details: Mapping[str, int]) -> "Calls":
        buckets = {int(key): count for key, count in sorted(details.items()) if key.isdecimal()}
        promised = bisect_left(BOUNDS, PROMISED_MS)
        return cls(
            sum(buckets.values()),
            details.get(CLIENT_ERRORS, 0),
            details.get(SERVER_ERRORS, 0),
            sum(count for bucket, count in buckets.items() if bucket <= promised),
            buckets,
        )

    def percentile(self, percent: int) -> float | None:
        """So many percent took no longer, in milliseconds; None where nothing was measured."""
        left = ceil(self.measured * percent / 100)
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return _told(bucket)
        return None


def _told(bucket: int) -> float:
    """The time in a bucket that is wrong by the same part at both of its ends."""
    if bucket >= len(BOUNDS):
        return LONGEST_MS
    if bucket == 0:
        return 0
    shortest, longest = BOUNDS[bucket - 1] + 1, BOUNDS[bucket]
    return round(2 * shortest * longest / (shortest + longest), 1)

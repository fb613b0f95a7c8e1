"""What an hour's blocks add up to: a pure function of them, in whatever order they come.

An event that is in several blocks counts once. Where one key has several payloads, that of the earliest opening of the
hour counts, so that what a closed rollup says is not turned over by what comes later; of one opening, the first in the
order of their text. The others are kept where they are, and flagged. What is voided counts no more.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from functions.usage.blocks import Block, Sums, add
from functions.usage.details import put
from functions.usage.reading import Event, Key, row

Standing = Literal["counted", "voided", "conflicting"]


@dataclass(frozen=True)
class Tally:
    """Sums of an hour, with all their names; how many events were voided, and how many have a key that is taken."""

    sums: Sums
    voided: int = 0
    conflicting: int = 0


def tally(blocks: Sequence[Block]) -> Tally:
    """By the blocks' own sums where they have nothing in common; else event by event."""
    known: set[Key] = set()
    for block in blocks:
        known.update(block.keys)
    apart = len(known) == sum(len(block.keys) for block in blocks)
    if apart and all(block.whole for block in blocks) and not any(block.voids for block in blocks):
        return Tally(merged(block.sums for block in blocks))
    sums: Sums = {}
    times = {"counted": 0, "voided": 0, "conflicting": 0}
    for event, standing in judged(blocks):
        times[standing] += 1
        if standing == "counted":
            add(sums, [event])
    return Tally(sums, times["voided"], times["conflicting"])


def judged(blocks: Sequence[Block]) -> Iterator[tuple[Event, Standing]]:
    """Every event of these blocks of one hour once, and how it stands."""
    voided = frozenset[Key]().union(*(block.voids for block in blocks))
    found: dict[Key, dict[str, tuple[int, Event]]] = {}
    for block in blocks:
        for event in block.events():
            own = found.setdefault(event.key, {})
            text = row(event)
            if text not in own or block.opening < own[text][0]:
                own[text] = (block.opening, event)
    for key, payloads in found.items():
        first, *others = sorted(payloads, key=lambda text: (payloads[text][0], text))
        yield payloads[first][1], "voided" if key in voided else "counted"
        for text in others:
            yield payloads[text][1], "conflicting"


def merged(parts: Iterable[Sums]) -> Sums:
    """Sums of sums."""
    sums: Sums = {}
    for part in parts:
        for metric, one in part.items():
            own = sums.setdefault(metric, {"value": 0, "count": 0, "dimensions": {}})
            own["value"] += one["value"]
            own["count"] += one["count"]
            names = own["dimensions"]
            for name, value in one["dimensions"].items():
                names[name] = names.get(name, 0) + value
            if "details" in one:
                put(own.setdefault("details", {}), one["details"])
    return sums

"""Where a chain stands, by its heads and by its blobs: whoever takes away the ones has the others against him.

Blobs are listed before the heads are read. A sealer moves the heads before it writes the next blob, so that what is
listed is at most one segment ahead of them: the one that is just being sealed, or that a crash has left.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from functions.audit.chain import Found, Pruned, State
from functions.audit.segments import Listed, Segment, Segments

HEADS_GONE = "both heads are gone, and there are segments; the chain is as the last of them says"


@dataclass(frozen=True)
class Standing:
    """`state`: of the later head, or as the segments say where there is none. `wrong`: what no crash explains."""

    found: Found
    state: State
    wrong: list[str]
    listed: Listed | None


async def standing(find: Callable[[], Awaitable[Found]], segments: Segments, *, listing: bool) -> Standing:
    """By the heads, and by the blobs where that is asked or there is no head."""
    found, listed = await find(), None
    if listing or found.state is None:
        listed = await segments.listed()
        found = await find()
    if found.state is not None or listed is None:
        return Standing(found, found.state or State(), found.broken, listed)
    rebuilt = await _rebuilt(segments, listed)
    if rebuilt is None:
        return Standing(found, State(), found.broken, listed)
    return Standing(found, rebuilt, [*found.broken, HEADS_GONE], listed)


def after(state: State, segment: Segment) -> State:
    """Where a chain stands that this segment ends."""
    return state.model_copy(
        update={
            "segment": segment.number,
            "hash": segment.hash,
            "until": segment.until,
            "total": segment.total,
            "signed_from": segment.signed_from,
            "sealed_at": segment.sealed_at,
        }
    )


async def _rebuilt(segments: Segments, listed: Listed) -> State | None:
    """What the last segment says that is signed by us. None where there is none, or the first alone: a crash's."""
    if listed.last in ((), (1,)):
        return None
    for number in reversed(listed.last):
        last = await segments.readable(number)
        if last is not None:
            return after(State(pruned=await _before(segments, listed.first)), last)
    return None


async def _before(segments: Segments, number: int) -> Pruned | None:
    """The beginning that is no more; up to when it went, nobody has signed."""
    first = await segments.readable(number) if number > 1 else None
    if first is None:
        return None
    return Pruned(segment=number - 1, hash=first.previous, until="", total=first.total - len(first.lines))

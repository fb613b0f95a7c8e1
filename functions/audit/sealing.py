"""Sealing: each hour, what has been written since goes into the next segment of the tenant's chain.

Up to an instant after which nothing is stamped any more that is not committed (`SETTLED`). What comes later all the
same (a clock that is behind, a sweep that makes up for a crash) is looked for `LOOKED_BACK` behind the last segment's
end, and goes into the next one. A segment is the first blob under its number, whichever sealer wrote it: another that
finds it goes on from that, so that two at once, or one after a crash, make one chain with each entry in it once. Under
a number that somebody else has taken nothing is written, nor is it deleted (it may be immutable): the chain leaps over
it, and says so.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import accumulate

from functions.audit.chain import Chain, State, noted
from functions.audit.segments import AREA, SEGMENT_BYTES, SEGMENT_ENTRIES, Damaged, Line, Segment, Segments, lines_of
from functions.audit.standing import after, standing
from shared.blobs.port import Blobs
from shared.clock import SKEW, parse_rfc3339, rfc3339
from shared.database.port import OLDEST_FIRST, Where
from shared.errors import Conflict, Contended, Unavailable
from shared.tenancy.fence import AUDIT
from shared.tenancy.signing import Signatures
from shared.work.resources import PageRequest, bounded_page
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.audit")
SETTLED = SKEW + timedelta(minutes=5)
LOOKED_BACK = timedelta(hours=2)
SEGMENTS_PER_RUN = 100
MOST_LOOKED_BACK = 500  # segments
PAGE_ITEMS = 200


class Sealer:
    """Seals one tenant's entries; again, or at once with another, does no harm."""

    def __init__(self, blobs: Blobs, chain: Chain, signatures: Signatures, *, entries: int = SEGMENT_ENTRIES) -> None:
        self._blobs = blobs
        self._chain = chain
        self._signatures = signatures
        self._entries = entries

    async def seal(self, session: TenantSession) -> int:
        """The round; returns how many entries were sealed. At most `SEGMENTS_PER_RUN` segments, the rest next time."""
        session = session.past_the_fence()
        await self._signatures.refresh()
        await session.store.catch_up()
        segments = Segments(self._blobs.space(AREA, session.id), session.id, self._signatures)
        sealed, place = 0, _Place()
        for _ in range(SEGMENTS_PER_RUN):
            now = await standing(partial(self._chain.settle, session), segments, listing=False)
            state = now.state if now.found.state else noted(session, now.state, now.wrong)
            if place.segment != state.segment:
                place = await _look_back(segments, state)
            lines = await self._due(session, place)
            if not lines:
                return sealed
            taken = self._fitting(lines)
            made = self._made(session, state, lines[:taken], taken < len(lines))
            with suppress(Contended):  # by another sealer: one that is ahead, or has found the same segment
                segment, what = await self._written(session, segments, made)
                state = noted(session, state, what)
                if segment.lines == made.lines:
                    place = replace(place, segment=segment.number, after=(made.lines[-1].at, made.lines[-1].id))
                await self._chain.advance(session, now.found, after(state, segment))
                logger.info("audit entries are sealed", extra=_witness(session, segment))
                sealed += len(segment.lines)
        return sealed

    async def _due(self, session: TenantSession, place: "_Place") -> list[Line]:
        """What is not sealed yet, the oldest first: as many as a segment takes, and one more where there is more."""
        safe = rfc3339(session.services.clock.now() - SETTLED)
        lines: list[Line] = []
        size = 0
        async with aclosing(_entries(session, place, safe)) as pages:
            async for page in pages:
                new = [line for line in page if line.id not in place.known]
                lines, size = lines + new, size + sum(line.size for line in new)
                if len(lines) > self._entries or size > SEGMENT_BYTES:
                    break
        return lines[: self._entries + 1]

    def _fitting(self, lines: list[Line]) -> int:
        """How many of them a segment takes: at least one, however large it is."""
        sizes = accumulate(line.size for line in lines[: self._entries])
        return max(1, sum(size <= SEGMENT_BYTES for size in sizes))

    def _made(self, session: TenantSession, state: State, lines: list[Line], cut: bool) -> Segment:
        now = session.services.clock.now()
        return Segment(
            number=state.segment + 1,
            previous=state.hash,
            signed_from=state.signed_from or (lines[0].at if lines[0].signed else rfc3339(now)),
            sealed_at=rfc3339(now),
            until=max(state.until, lines[-1].at if cut else rfc3339(now - SETTLED)),
            total=state.total + len(lines),
            lines=tuple(lines),
        )

    async def _written(self, session: TenantSession, segments: Segments, made: Segment) -> tuple[Segment, list[str]]:
        """This segment, or the one that another sealer has put in its place; and what no crash explains."""
        written, ours = await _put(segments, made)
        if written is not None:
            # a crash leaves one segment that no head names, not two
            beyond = not ours and await segments.exists(made.number + 1)
            return written, [f"there were segments beyond {made.number}: the heads were set back"] if beyond else []
        free = await segments.free_after(made.number)
        left = await segments.readable(free - 1)  # by a sealer that has leapt before, and died
        if left is None or left.previous != made.previous:
            await self._chain.expect(session, made.number - 1)  # whoever has leapt and gone on, has moved it before
            left, _ = await _put(segments, replace(made, number=free))
        if left is None:
            raise Unavailable(
                f"The number {free} was taken meanwhile by what is not of this chain; it is sealed next time."
            )
        return left, [f"a blob that is not of this chain has the number {made.number}; it goes on behind it"]


@dataclass(frozen=True)
class _Place:
    """Where a run stands after a segment: what it looks at begins `since` then, or after the last that it has sealed.

    `known`: the ids of what is sealed of that time; those of two hours, 100 bytes each.
    """

    segment: int = -1
    since: str = ""
    known: frozenset[str] = frozenset()
    after: tuple[str, str] | None = None


async def _look_back(segments: Segments, state: State) -> _Place:
    since = rfc3339(parse_rfc3339(state.until) - LOOKED_BACK) if state.until else ""
    known: set[str] = set()
    oldest = max(state.first, state.segment - MOST_LOOKED_BACK)
    for number in range(state.segment, oldest - 1, -1):
        segment = await segments.readable(number)
        if segment is None:  # `verify` names it; what it held is sealed once more, which does no harm
            continue
        known |= {line.id for line in segment.lines}
        if segment.until <= since:
            break
    return _Place(state.segment, since, frozenset(known))


async def _put(segments: Segments, made: Segment) -> tuple[Segment | None, bool]:
    """The segment that now has this number, None where it does not follow the same one; and whether it is this one."""
    with suppress(Conflict):
        return await segments.write(made), True
    with suppress(Damaged):
        return await segments.following(made.number, made.previous), False
    return None, False


async def _entries(session: TenantSession, place: _Place, until: str) -> AsyncGenerator[list[Line], None]:
    """Pages of what a segment would say of the entries from a place on, up to this instant."""
    where = [Where("created_at", "<=", until), *([Where("created_at", ">=", place.since)] if place.since else [])]
    after = place.after
    while True:
        wanted = PageRequest(PAGE_ITEMS, after, OLDEST_FIRST, where)
        page = await bounded_page(session.store, AUDIT, {}, wanted)
        yield await lines_of(session.id, page.items)
        after = page.next
        if after is None:
            return


def _witness(session: TenantSession, segment: Segment) -> dict[str, object]:
    """What the log says of each: a copy of the head that nobody reaches who changes the stores."""
    return {
        "tenant_id": session.id,
        "segment": segment.number,
        "hash": segment.hash,
        "until": segment.until,
        "total": segment.total,
    }

"""Sealing: each hour, what has been written since goes into the next segment of the tenant's chain.

Up to an instant after which nothing is stamped any more that is not committed (`SETTLED`). What comes later all the
same (a clock that is behind, a sweep that makes up for a crash) is looked for `LOOKED_BACK` behind the last segment's
end, and goes into the next one. A segment is the first blob under its number, whoever wrote it: a sealer that finds one
goes on from that, so that two at once, or one after a crash, make one chain with each entry in it once.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from functions.audit.chain import Chain, State, noted
from functions.audit.segments import AREA, SEGMENT_ENTRIES, Damaged, Line, Segment, Segments, lines_of
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
SEGMENTS_PER_RUN = 20
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
        """The round; returns how many entries were sealed. At most `SEGMENTS_PER_RUN` segments, the rest the next time.

        `Unavailable` where the next segment's name is taken by what no sealer has written.
        """
        session = session.past_the_fence()
        await self._signatures.refresh()
        await session.store.catch_up()
        segments = Segments(self._blobs.space(AREA, session.id), session.id, self._signatures)
        sealed, place = 0, _Place()
        for _ in range(SEGMENTS_PER_RUN):
            found = await self._chain.settle(session)
            state = found.state or noted(session, State(), found.broken)
            if place.segment != state.segment:
                place = await _look_back(segments, state)
            lines = await self._due(session, place)
            if not lines:
                return sealed
            cut = len(lines) > self._entries
            made = self._made(session, state, lines[: self._entries], cut)
            segment, ours = await _written(segments, made)
            if segment.lines == made.lines:
                place = replace(place, segment=made.number, after=(made.lines[-1].at, made.lines[-1].id))
            if not ours and await segments.exists(
                segment.number + 1
            ):  # a crash leaves one segment that no head names, not two
                state = noted(session, state, [f"there were segments beyond {segment.number}: the heads were set back"])
            with suppress(Contended):  # by whoever has found the same segment
                await self._chain.advance(session, found, _after(state, segment))
                logger.info("audit entries are sealed", extra=_witness(session, segment))
                sealed += len(segment.lines)
        return sealed

    async def _due(self, session: TenantSession, place: "_Place") -> list[Line]:
        """What is not sealed yet, the oldest first: as many as a segment takes, and one more where there is more."""
        safe = rfc3339(session.services.clock.now() - SETTLED)
        lines: list[Line] = []
        async with aclosing(_entries(session, place, safe)) as pages:
            async for page in pages:
                lines += [line for line in page if line.id not in place.known]
                if len(lines) > self._entries:
                    break
        return lines[: self._entries + 1]

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
        try:
            segment = await segments.read(number)
        except Damaged:
            segment = None
        if segment is None:  # `verify` names it; what it held is sealed once more, which does no harm
            continue
        known |= {line.id for line in segment.lines}
        if segment.until <= since:
            break
    return _Place(state.segment, since, frozenset(known))


async def _written(segments: Segments, made: Segment) -> tuple[Segment, bool]:
    """This segment, and True; or, where there is one of its number, that one."""
    try:
        return await segments.write(made), True
    except Conflict:
        pass
    try:
        there = await segments.read(made.number)
    except Damaged as damage:
        raise Unavailable(f"The blob {made.name} {damage}; nothing is sealed while it is there.") from damage
    if there is None or there.previous != made.previous:
        raise Unavailable(f"The blob {made.name} does not follow the chain; nothing is sealed while it is there.")
    return there, False


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


def _after(state: State, segment: Segment) -> State:
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


def _witness(session: TenantSession, segment: Segment) -> dict[str, object]:
    """What the log says of each: a copy of the head that nobody reaches who changes the stores."""
    return {
        "tenant_id": session.id,
        "segment": segment.number,
        "hash": segment.hash,
        "until": segment.until,
        "total": segment.total,
    }

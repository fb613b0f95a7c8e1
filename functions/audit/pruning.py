"""Retention: entries go with the segments that seal them, the oldest first, when their time is over.

First both heads say up to where, signed (`Pruned`): from then on the chain begins there, and `verify` asks for nothing
before it. Then the entries go, then the segment's blob; what a crash leaves of that, the next round takes away.
The journal is needed by restores to a point in time: nothing goes that the oldest backup may need.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from functions.audit.chain import Chain, Pruned, State
from functions.audit.segments import AREA, Damaged, Segment, Segments
from shared.blobs.port import Blobs
from shared.clock import rfc3339
from shared.database.port import Delete, Rejected, Where
from shared.errors import Contended
from shared.tenancy.fence import AUDIT
from shared.tenancy.signing import Signatures
from shared.work.session import TenantSession

SEGMENTS_PER_RUN = 50
DELETED_AT_ONCE = 50

Needed = Callable[[TenantSession], Awaitable[str | None]]


class Pruner:
    """Prunes one tenant's trail; `needed_since`: from when on backups need the journal (None: none does)."""

    def __init__(self, blobs: Blobs, chain: Chain, signatures: Signatures, needed_since: Needed) -> None:
        self._blobs = blobs
        self._chain = chain
        self._signatures = signatures
        self._needed_since = needed_since

    async def prune(self, session: TenantSession) -> int:
        """The round; returns how many segments went. Again, or at once with another (`Contended`), it does no harm."""
        session = session.past_the_fence()
        await self._signatures.refresh()
        found = await self._chain.settle(session)
        if found.state is None:
            return 0
        segments = Segments(self._blobs.space(AREA, session.id), session.id, self._signatures)
        last = await self._last_due(session, segments, found.state)
        state = found.state
        if last is not None:
            pruned = Pruned(segment=last.number, hash=last.hash, until=last.until, total=last.total)
            state = state.model_copy(update={"pruned": pruned})
            await self._chain.advance(session, found, state)
        return 0 if state.pruned is None else await _take_away(session, segments, state.pruned.segment)

    async def _last_due(self, session: TenantSession, segments: Segments, state: State) -> Segment | None:
        """The last segment whose time is over; never the chain's last, by which the next one is made."""
        days = max(session.plan.audit_retention_days, session.plan.backup_retention_days)
        before = rfc3339(session.services.clock.now() - timedelta(days=days))
        needed = await self._needed_since(session)
        before = min(before, needed) if needed else before
        last: Segment | None = None
        for number in range(state.first, min(state.first + SEGMENTS_PER_RUN, state.segment)):
            segment = await segments.readable(number)
            if segment is None or segment.until >= before:  # what is lost or damaged stays to be told by `verify`
                return last
            last = segment
        return last


async def _take_away(session: TenantSession, segments: Segments, up_to: int) -> int:
    gone = 0
    async for number in segments.up_to(up_to):
        if gone == SEGMENTS_PER_RUN:
            break
        with suppress(Damaged):
            segment = await segments.read(number)
            ids = [line.id for line in segment.lines] if segment else []
            for start in range(0, len(ids), DELETED_AT_ONCE):
                await _delete(session, ids[start : start + DELETED_AT_ONCE])
        await segments.delete(number)
        gone += 1
    return gone


async def _delete(session: TenantSession, ids: list[str]) -> None:
    """Those that are still there; `Contended` when another round takes them away at the same time."""
    there = await session.store.query(AUDIT, [Where("id", "in", ids)], limit=DELETED_AT_ONCE)
    if not there.items:
        return
    try:
        await session.store.commit([Delete(AUDIT, stored.body["id"]) for stored in there.items])
    except Rejected as rejected:
        raise Contended("Another round prunes this trail too.") from rejected

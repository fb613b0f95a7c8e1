"""Verifying: the trail beside its chain, a slice of segments at a time; what is wrong is named, entry by entry.

Each segment is read, its signature, its number and the hash of the one before it checked. Then the entries of its time:
what is sealed must be there as it was (`changed`, `reordered`, `missing`), what is there must be sealed or signed
(`inserted`). Behind the last segment the signatures alone are checked: that is the unsealed tail.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from functions.audit.chain import Chain, Found
from functions.audit.models import AuditTail, AuditVerification
from functions.audit.segments import AREA, SEGMENT_BYTES, SEGMENT_ENTRIES, Damaged, Line, Segment, Segments
from functions.audit.slices import Seen, Slice, judge, look_at_heads, look_at_waiting
from functions.audit.standing import Standing, standing
from shared.blobs.port import Blobs
from shared.clock import rfc3339
from shared.database.port import OLDEST_FIRST, Stored, Where
from shared.errors import RateLimited, Unavailable
from shared.tenancy.fence import AUDIT
from shared.tenancy.signing import Signatures
from shared.work.resources import PageRequest, bounded_page
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.audit")

ENTRIES_PER_CALL = 4000
SEGMENTS_PER_CALL = 100
TAIL_ENTRIES = 4000  # that are looked at behind the last segment, where an hour and a quarter has fewer as a rule
LATER_SEGMENTS = 20  # in which an entry that came late is looked for
OF_ONE_INSTANT = 20  # segments that may end at one
SCANNED = 5  # times as many entries as are sealed are looked at, of a time into which many were inserted
PAGE_ITEMS = 200
SLICE_BYTES = SEGMENT_BYTES  # of entries; with the last segment's up to twice as many, and as many of the tail
READ_BYTES = 4 * SEGMENT_BYTES  # that are looked at, of a time into which large ones were inserted
AT_ONCE = 2
TURN_SECONDS = 5


class Verifier:
    """Verifies one tenant's trail. What is wrong is an answer, not an error."""

    def __init__(self, blobs: Blobs, chain: Chain, signatures: Signatures, *, entries: int = ENTRIES_PER_CALL) -> None:
        self._blobs = blobs
        self._chain = chain
        self._signatures = signatures
        self._entries = entries
        self._under_way: set[str] = set()  # tenants

    async def verify(
        self, session: TenantSession, *, since: str | None = None, until: str | None = None, after: int | None = None
    ) -> AuditVerification:
        """The segments from the one in which `since` lies to the one in which `until` does; or those after a number.

        One at a time of a tenant (`RateLimited`), two in a process (`Unavailable`): each may read megabytes.
        """
        with self._turn(session.id):
            verified = await self._verify(session.past_the_fence(), since, until, after)
        if not verified.ok:
            logger.error("an audit trail does not verify", extra={"tenant_id": session.id})
        return verified

    async def _verify(
        self, session: TenantSession, since: str | None, until: str | None, after: int | None
    ) -> AuditVerification:
        await self._signatures.refresh()
        await session.store.catch_up()
        segments = Segments(self._blobs.space(AREA, session.id), session.id, self._signatures)
        seen = await standing(partial(self._settled, session), segments, listing=after is None)
        verified = await self._verified(session, segments, seen, since, until, after)
        if verified.ok:
            return verified
        now = await standing(partial(self._settled, session), segments, listing=after is None)
        if now.state.first == seen.state.first:
            return verified
        return await self._verified(session, segments, now, since, until, after)  # it was pruned meanwhile

    @contextmanager
    def _turn(self, tenant_id: str) -> Iterator[None]:
        if tenant_id in self._under_way:
            message = "Another verification of this trail is under way."
            raise RateLimited(message, limit=1, retry_after=TURN_SECONDS)
        if len(self._under_way) >= AT_ONCE:
            raise Unavailable("Other trails are being verified; try again.", retry_after=TURN_SECONDS)
        self._under_way.add(tenant_id)
        try:
            yield
        finally:
            self._under_way.discard(tenant_id)

    async def _settled(self, session: TenantSession) -> Found:
        """The heads; looked at once more where a sealer may have moved them between two looks."""
        found = await self._chain.find(session)
        return await self._chain.find(session) if found.broken else found

    async def _verified(
        self,
        session: TenantSession,
        segments: Segments,
        seen: Standing,
        since: str | None,
        until: str | None,
        after: int | None,
    ) -> AuditVerification:
        slice = Slice(session, segments, seen.state)
        await look_at_heads(slice, seen)
        state = slice.state
        first = await _first_at(slice, since) if after is None else max(state.first, after + 1)
        last = await self._through(slice, first, until)
        await self._compare(slice)
        at_end = last >= state.segment
        unsealed = await self._tail(slice) if at_end and (until is None or until > state.until) else None
        if unsealed is not None:
            look_at_waiting(slice, unsealed)
        return AuditVerification(
            ok=not slice.findings,
            checked_at=rfc3339(session.services.clock.now()),
            findings=slice.findings,
            more_findings=slice.more,
            segments=max(0, last - first + 1),
            entries=slice.entries,
            signed_from=state.signed_from or None,
            sealed_until=state.until or None,
            pruned_until=(state.pruned.until or None) if state.pruned else None,
            late=len(slice.late),
            unsealed=unsealed,
            next=None if at_end or (until is not None and slice.upper >= until) else last,
        )

    async def _through(self, slice: Slice, first: int, until: str | None) -> int:
        """Take in the chain's segments from the first on; returns the number of the last."""
        state, room, number, size = slice.state, self._entries, first - 1, 0
        previous = await _link_before(slice, first)
        for number in range(first, min(first + SEGMENTS_PER_CALL - 1, state.segment) + 1):
            slice.last = number
            segment = await _segment(slice, number)
            if segment is None:
                previous, room = None, room - SEGMENT_ENTRIES
            else:
                if previous not in (None, segment.previous):
                    slice.find("segment_changed", "It does not follow the segment before it.", segment=number)
                    previous = None  # the next one may follow either
                else:
                    previous = segment.hash
                room, size = room - len(segment.lines), size + segment.size
                slice.upper = segment.until
                slice.expected |= {line.id: line for line in segment.lines}
            if number == state.segment and previous not in (None, state.hash):
                slice.find("segment_changed", "It is not the segment that the head names.", segment=number)
            if room <= 0 or size >= SLICE_BYTES or (until is not None and slice.upper >= until):
                return number
        return number

    async def _compare(self, slice: Slice) -> None:
        """What is there beside what is sealed."""
        if not slice.expected:
            return
        lower = slice.lower if slice.lower is not None else min(line.at for line in slice.expected.values())
        where = [Where("created_at", "<=", slice.upper), *([Where("created_at", ">=", lower)] if lower else [])]
        after: tuple[str, str] | None = None
        room = SCANNED * max(self._entries, len(slice.expected))
        while room > 0 and slice.read <= READ_BYTES:
            seen, after = await self._page(slice, where, after)
            room -= len(seen)
            for one in seen:
                self._look_at(slice, one)
            if after is None:
                break
        else:
            slice.find(
                "inserted", "There are far more entries than were sealed; not all were looked at.", segment=slice.last
            )
        ids = list(slice.expected)  # stamped at another time than the slice's: late, or stamped anew, or gone
        for start in range(0, len(ids), PAGE_ITEMS):
            await self._by_id(slice, ids[start : start + PAGE_ITEMS])
        await _explain(slice)

    async def _by_id(self, slice: Slice, ids: list[str]) -> None:
        wanted, after = [Where("id", "in", ids)], None
        while slice.read <= READ_BYTES:
            seen, after = await self._page(slice, wanted, after)
            for one in seen:
                self._look_at(slice, one)
            if after is None:
                break
        for id in ids:
            line = slice.expected.pop(id, None)
            if line is not None:
                gone = "is not there any more" if slice.read <= READ_BYTES else "was not looked at: too much is there"
                slice.find("missing", f"It was sealed and {gone}.", entry=line)

    def _look_at(self, slice: Slice, seen: Seen) -> None:
        sealed = slice.expected.pop(seen.line.id, None)
        if sealed is None:
            if seen.line.id not in slice.before:
                slice.extras[seen.line.id] = seen
            return
        slice.entries += 1
        if seen.line.at != sealed.at:
            slice.find("reordered", f"It was sealed as of {sealed.at}, and says {seen.line.at}.", entry=sealed)
        elif seen.line.digest != sealed.digest:
            slice.find("changed", "It is not as it was sealed.", entry=sealed)
        else:
            judge(slice, seen)

    async def _tail(self, slice: Slice) -> AuditTail:
        """What is behind the last segment: its signatures."""
        state = slice.state
        where = [Where("created_at", ">=", state.until)] if state.until else []
        _, sealed = await _ended_at(slice, state.segment)
        count, since, after, before = 0, None, None, slice.read
        while count < TAIL_ENTRIES and slice.read - before < SLICE_BYTES:
            seen, after = await self._page(slice, where, after)
            for one in seen:
                if one.line.id not in sealed:
                    count, since = count + 1, since or one.line.at
                    judge(slice, one)
            if after is None:
                break
        return AuditTail(count=count, since=since, more=after is not None)

    async def _page(
        self, slice: Slice, where: list[Where], after: tuple[str, str] | None
    ) -> tuple[list[Seen], tuple[str, str] | None]:
        wanted = PageRequest(PAGE_ITEMS, after, OLDEST_FIRST, where)
        page = await bounded_page(slice.session.store, AUDIT, {}, wanted)
        seen = await asyncio.to_thread(self._seen, slice.session.id, page.items)
        slice.read += sum(one.line.size for one in seen)
        return seen, page.next

    def _seen(self, tenant_id: str, entries: list[Stored]) -> list[Seen]:
        bodies = [stored.body for stored in entries]
        return [Seen(Line.of(tenant_id, body), self._signatures.check(tenant_id, body["id"], body)) for body in bodies]


async def _explain(slice: Slice) -> None:
    """Entries of the slice's time that are in none of its segments: they have come late, or are not ours."""
    following = range(slice.last + 1, min(slice.last + LATER_SEGMENTS, slice.state.segment) + 1)
    for later in following if slice.extras else ():
        segment = await slice.segments.readable(later)
        for line in segment.lines if segment else ():
            slice.extras.pop(line.id, None)  # its own slice compares it
    for seen in slice.extras.values():
        if seen.verdict == "good":
            slice.late.append(seen.line.at)
        else:
            said = "has no signature" if seen.verdict == "unsigned" else "its signature is not of it"
            slice.find("inserted", f"It is in no segment, and {said}.", entry=seen.line)


async def _link_before(slice: Slice, first: int) -> str | None:
    """The hash that the first segment must name; None: not known. Sets where the slice begins."""
    pruned = slice.state.pruned
    if first == slice.state.first:
        slice.lower = pruned.until if pruned else ""
        return pruned.hash if pruned else ""
    before, slice.before = await _ended_at(slice, first - 1)
    if before is None:
        return None
    slice.lower = before.until
    return before.hash


async def _ended_at(slice: Slice, number: int) -> tuple[Segment | None, frozenset[str]]:
    """A segment, and the ids in it and in those before it that end at the same instant."""
    last = await slice.segments.readable(number)
    if last is None:
        return None, frozenset()
    ids = {line.id for line in last.lines}
    for earlier in range(number - 1, max(number - OF_ONE_INSTANT, slice.state.first - 1), -1):
        segment = await slice.segments.readable(earlier)
        if segment is None or segment.until != last.until:
            break
        ids |= {line.id for line in segment.lines}
    return last, frozenset(ids)


async def _segment(slice: Slice, number: int) -> Segment | None:
    try:
        segment = await slice.segments.read(number)
    except Damaged as damage:
        slice.find("segment_changed", f"It {damage}; what it sealed cannot be compared.", segment=number)
        return None
    if segment is None:
        slice.find("segment_missing", "It is missing; what it sealed cannot be compared.", segment=number)
    return segment


async def _first_at(slice: Slice, since: str | None) -> int:
    """The number of the first segment that ends at this instant or later; some 13 blobs for a year."""
    low, high = slice.state.first, slice.state.segment + 1
    while since is not None and low < high:
        middle = (low + high) // 2
        segment = await slice.segments.readable(middle)
        if segment is not None and segment.until < since:
            low = middle + 1
        else:
            high = middle
    return low

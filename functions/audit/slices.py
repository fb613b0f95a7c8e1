"""A slice of a trail that is verified, and what is wrong with it: its findings, those about the chain's heads first."""

from dataclasses import dataclass, field
from datetime import timedelta

from functions.audit.chain import State
from functions.audit.models import AuditFinding, AuditTail, FindingKind
from functions.audit.segments import Damaged, Line, Segments
from functions.audit.standing import Standing, after
from shared.clock import rfc3339
from shared.tenancy.signing import Verdict
from shared.work.session import TenantSession

MOST_FINDINGS = 100
WAITING = timedelta(hours=3)  # so long nothing waits where the hourly round comes on


@dataclass(frozen=True)
class Seen:
    """An entry as it is now."""

    line: Line
    verdict: Verdict


@dataclass
class Slice:
    """What one call works on. It looks at entries from `lower` to `upper`, both RFC 3339 and included."""

    session: TenantSession
    segments: Segments
    state: State
    lower: str | None = None  # None: not known, for the segment before cannot be read
    upper: str = ""
    expected: dict[str, Line] = field(default_factory=dict)
    extras: dict[str, Seen] = field(default_factory=dict)  # that are in none of the slice's segments
    before: frozenset[str] = frozenset()  # sealed in the segment before the slice
    entries: int = 0
    read: int = 0  # bytes of entries
    late: list[str] = field(default_factory=list)  # instants of signed entries that no segment has
    findings: list[AuditFinding] = field(default_factory=list)
    more: int = 0
    last: int = 0  # number of its last segment

    def find(self, kind: FindingKind, message: str, *, entry: Line | None = None, segment: int | None = None) -> None:
        if len(self.findings) == MOST_FINDINGS:
            self.more += 1
            return
        id, at = (entry.id, entry.at) if entry else (None, None)
        self.findings.append(AuditFinding(kind=kind, entry_id=id, created_at=at, segment=segment, message=message))


def judge(slice: Slice, seen: Seen) -> None:
    """Whether an entry that is where it should be was written by us."""
    match seen.verdict:
        case "unsigned" if not slice.state.signed_from or seen.line.at < slice.state.signed_from:
            return
        case "unsigned":
            slice.find("unsigned", "It has no signature, though entries were signed by then.", entry=seen.line)
        case "forged":
            slice.find("forged", "Its signature is not of this entry.", entry=seen.line)
        case "unknown_key":
            slice.find("forged", "It is signed by a key that there is not.", entry=seen.line)


async def look_at_heads(slice: Slice, seen: Standing) -> None:
    """What is wrong with the heads; the segment that a crash has left behind them counts as the last."""
    state = slice.state
    for what in seen.wrong:
        slice.find("head", f"{what[:1].upper()}{what[1:]}.", segment=state.segment)
    for one in state.breaks:
        slice.find("head", f"At {one.found_at} {one.what}; sealing has gone on.", segment=one.segment)
    following = state.segment + 1
    try:
        left = await slice.segments.following(following, state.hash)
    except Damaged as damage:
        slice.find("head", f"The blob of the next segment {damage}.", segment=following)
    else:
        slice.state = after(state, left) if left else state
    if seen.listed is None:
        return
    beyond = next((number for number in seen.listed.last if number > following), None)
    if beyond is not None:
        slice.find("head", "There are segments beyond the head: it was set back.", segment=beyond)
    if seen.listed.cut:
        slice.find("head", "There are far more blobs than segments; not all were looked at.", segment=state.segment)


def look_at_waiting(slice: Slice, tail: AuditTail) -> None:
    """Whether entries wait that the sealer should have taken."""
    hours_ago = rfc3339(slice.session.services.clock.now() - WAITING)
    if tail.since is not None and tail.since < hours_ago and slice.state.sealed_at < hours_ago:
        what = f"Entries since {tail.since} wait, and nothing was sealed in the last hours."
        slice.find("head", what, segment=slice.state.segment)

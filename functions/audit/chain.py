"""The head of a tenant's chain of segments: where it stands, signed, in the tenant's partition and in the registry.

The blob is written first, then the registry's item (the anchor), then the tenant's (the head), each on condition that
it is the next: so of several sealers one goes on, and what a crash leaves behind the next one brings up to the anchor.
Whoever takes away blobs and the head together still has the anchor against him.
"""

import logging
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.clock import rfc3339
from shared.database.port import Create, PlatformStore, Rejected, Replace, Stored
from shared.errors import Contended
from shared.kinds import Kind
from shared.tenancy.signing import Signatures
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.audit")
HEAD = Kind("audit_head")
ANCHOR = Kind("audit_anchor", container="tenants")
ID = "chain"
MOST_BREAKS = 20  # that are remembered


class Pruned(BaseModel):
    """The beginning that is no more: the last segment that retention took away, with its hash, end and total."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    segment: int
    hash: str
    until: str
    total: int


class Break(BaseModel):
    """What the sealer found other than it had left it, and went on after."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    found_at: str
    segment: int
    what: str


class State(BaseModel):
    """Where a chain stands: its last segment. Entries from before `signed_from` may be without a signature."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    segment: int = 0
    hash: str = ""
    until: str = ""
    total: int = 0
    signed_from: str = ""
    sealed_at: str = ""
    pruned: Pruned | None = None
    breaks: tuple[Break, ...] = ()

    @property
    def first(self) -> int:
        """The number of the first segment that there should be."""
        return 1 if self.pruned is None else self.pruned.segment + 1


Standing = Literal["good", "missing", "forged"]


@dataclass(frozen=True)
class KeptState:
    """One of the two places: what is stored there, and the state that it shows, None unless its signature is good."""

    stored: Stored | None
    state: State | None

    @property
    def standing(self) -> Standing:
        return "good" if self.state else "missing" if self.stored is None else "forged"


@dataclass(frozen=True)
class Found:
    """Both places as they are; `state`: what is claimed by either, the later one."""

    anchor: KeptState
    head: KeptState

    @property
    def state(self) -> State | None:
        states = [kept.state for kept in (self.anchor, self.head) if kept.state is not None]
        return max(states, key=_rank, default=None)

    @property
    def broken(self) -> list[str]:
        """What no crash explains: one place without the other, or far behind it."""
        anchor, head = self.anchor, self.head
        found = [f"the {name} is forged" for name, kept in self._places if kept.standing == "forged"]
        if anchor.standing == "missing" and head.stored is not None:
            found.append("the anchor is missing")
        if head.standing == "missing" and anchor.state is not None and anchor.state.segment > 1:
            found.append("the head is missing")
        if anchor.state and head.state:
            behind = anchor.state.segment - head.state.segment
            if behind > 1:
                found.append(f"the head is {behind} segments behind the anchor")
            if behind < 0:
                found.append(f"the anchor is {-behind} segments behind the head")
        return found

    @property
    def _places(self) -> tuple[tuple[str, KeptState], ...]:
        return ("anchor", self.anchor), ("head", self.head)


class Chain:
    """Reads and moves the heads of tenants' chains."""

    def __init__(self, platform: PlatformStore, signatures: Signatures) -> None:
        self._platform = platform
        self._signatures = signatures

    async def find(self, session: TenantSession) -> Found:
        """Two point reads; `session` is past the fence."""
        anchor = await self._platform.latest(ANCHOR, session.id, ID)
        return Found(self._kept(session, anchor), self._kept(session, await session.store.get(HEAD, ID)))

    async def settle(self, session: TenantSession) -> Found:
        """As `find`, with both at the later of their states; what no crash explains is noted in it for good."""
        for _ in range(3):
            found = await self.find(session)
            state = found.state
            if state is None:
                return found
            if found.broken:
                state = noted(session, state, found.broken)
            elif found.anchor.state == found.head.state:
                return found
            await self._move(session, found, state)
        raise Contended("Others keep changing this chain.")

    async def expect(self, session: TenantSession, segment: int) -> None:
        """`Contended` when somebody has moved the chain beyond this segment."""
        state = (await self.find(session)).state
        if state is not None and state.segment > segment:
            raise Contended("Another sealer has moved this chain.")

    async def advance(self, session: TenantSession, found: Found, new: State) -> None:
        """To a state that follows what was found. `Contended` when somebody else has moved it meanwhile."""
        if not await self._move(session, found, new):
            raise Contended("Another sealer has moved this chain.")

    async def _move(self, session: TenantSession, found: Found, new: State) -> bool:
        body = {**new.model_dump(mode="json"), "created_at": new.sealed_at}
        body = self._signatures.signed(session.id, ID, body, "head")
        try:
            if found.anchor.state != new:
                await self._platform.put(_write(ANCHOR, found.anchor.stored, body), session.id)
            if found.head.state != new:
                await session.store.commit([_write(HEAD, found.head.stored, body)])
        except Rejected:
            return False
        return True

    def _kept(self, session: TenantSession, stored: Stored | None) -> KeptState:
        if stored is None or self._signatures.check(session.id, ID, stored.body, "head") != "good":
            return KeptState(stored, None)
        try:
            return KeptState(stored, State.model_validate(stored.body))
        except ValidationError:
            return KeptState(stored, None)


def noted(session: TenantSession, state: State, broken: list[str]) -> State:
    """The state with what was found, for `verify` to tell for good; the first of it, where there is much."""
    if not broken:
        return state
    now = rfc3339(session.services.clock.now())
    logger.error("the chain of an audit trail is broken", extra={"tenant_id": session.id, "what": broken})
    breaks = [Break(found_at=now, segment=state.segment, what=what) for what in broken]
    return state.model_copy(update={"breaks": (*state.breaks, *breaks)[:MOST_BREAKS]})


def _write(kind: Kind, stored: Stored | None, body: dict[str, Any]) -> Create | Replace:
    return Create(kind, ID, body) if stored is None else Replace(kind, ID, body, stored.etag)


def _rank(state: State) -> tuple[int, int, int]:
    return state.segment, 0 if state.pruned is None else state.pruned.segment, len(state.breaks)

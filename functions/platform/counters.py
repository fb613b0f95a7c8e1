"""The invariant of the counters: each says how many items there are of its kind."""

from dataclasses import dataclass

from shared.kinds import Kind
from shared.tenancy.fence import Fenced, current
from shared.work.change import COUNTER
from shared.work.session import TenantSession

LOOKS = 3  # before a difference is believed: no write may have come between, and no replica been behind


@dataclass(frozen=True)
class _Look:
    """What was there at one moment; `etag` and `permit` show whether that moment stood still."""

    value: int
    etag: str
    permit: str


async def counters(session: TenantSession) -> list[str]:
    """What is wrong with the tenant's counters. Nothing is said of one that moves all the time, or during a restore."""
    kinds = [kind for kind in session.services.kinds if kind.counter]
    found = [await _difference(session, kind, str(kind.counter)) for kind in kinds]
    return [one for one in found if one is not None]


async def _difference(session: TenantSession, kind: Kind, counter: str) -> str | None:
    seen: list[tuple[int, int]] = []
    for _ in range(LOOKS):
        try:
            before = await _look(session, counter)
            items = 0
            async for page in session.store.scan([kind]):
                items += len(page)
            after = await _look(session, counter)
        except Fenced:
            return None
        if before != after:
            continue
        if before.value == items:
            return None
        seen.append((before.value, items))
    if len(seen) < LOOKS or len(set(seen)) > 1:
        return None
    value, items = seen[0]
    return f"the counter `{counter}` is {value}, and there are {items} of the kind {kind}"


async def _look(session: TenantSession, counter: str) -> _Look:
    await session.store.catch_up()
    permit = await current(session.store)
    stored = await session.store.get(COUNTER, counter)
    return _Look(int(stored.body["value"]) if stored else 0, stored.etag if stored else "", str(permit.body["id"]))

"""An hour of a tenant: opened by the first block that comes, closed when it is over, opened again by one that is late.

Each opening has a number, a marker that is there while it takes blocks (`usage_open`), and a record of its own that
stays (`usage_hour`), so that no number is used twice. A block is committed with a read of the marker: when the marker
is gone, no block of that opening can come any more, whatever clocks, caches and stalled instances believe. The next one
is opened only by who has seen that.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

from functions.usage.blocks import BLOCK, KEPT_SECONDS, Packed
from shared.clock import parse_rfc3339
from shared.database.port import Create, Delete, Operation, Order, Read, Rejected, Replace, TenantStore, Where
from shared.errors import Contended
from shared.kinds import Kind

OPEN = Kind("usage_open", container="usage")
HOUR = Kind("usage_hour", container="usage", filtered=("state",))
TRIES = 20  # to follow others who open and close the same hour
MOST_KNOWN = 10_000
ONE_HOUR = timedelta(hours=1)


class Hours:
    """Puts blocks into hours; knows of those it has met which opening takes blocks, and finds out where it does not."""

    def __init__(self) -> None:
        self._openings: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def add(self, store: TenantStore, block: Packed) -> None:
        """Store a block; again is no error. One batch (two for the first of an hour) and no read; for one that is late,
        up to eight and one query. `Contended` where an hour is opened and closed faster than this can follow.
        """
        opening, looked = self._openings.get((store.tenant_id, block.hour), 1), False
        for _ in range(TRIES):
            if await self._in(store, block, opening):
                return
            opening += 1
            if not looked:  # others have opened and closed it meanwhile, who knows how often
                opening, looked = max(opening, await _newest(store, block.hour)), True
        raise Contended(f"The hour {block.hour} is opened and closed all the time.")

    async def _in(self, store: TenantStore, block: Packed, opening: int) -> bool:
        """Through this opening; False when it is closed."""
        marker, create = opening_id(block.hour, opening), _create(block, opening)
        through: list[Operation] = [Read(OPEN, marker), create]
        done = (
            await _committed(store, through)
            or await _committed(store, [*_opened(block.hour, opening), create])
            or await _committed(store, through)  # somebody has just opened it, or it was closed before
        )
        if done:
            self._remember(store.tenant_id, block.hour, opening)
        return done

    def _remember(self, tenant_id: str, hour: str, opening: int) -> None:
        self._openings[tenant_id, hour] = opening
        self._openings.move_to_end((tenant_id, hour))
        if len(self._openings) > MOST_KNOWN:
            self._openings.popitem(last=False)


async def stop(store: TenantStore, hour: str, opening: int) -> None:
    """No block comes in through this opening any more, and what is read here has all that have. Again is no error."""
    try:
        await store.commit([Delete(OPEN, opening_id(hour, opening))])
    except Rejected:
        await store.catch_up("usage")


def closed(hour: str, opening: int) -> Replace:
    """The operation that says of an opening that a rollup has its blocks."""
    return Replace(HOUR, opening_id(hour, opening), {**_record(hour, opening), "state": "closed"}, ttl=KEPT_SECONDS)


def opening_id(hour: str, opening: int) -> str:
    return f"{hour}:{opening:06}"


def end_of(hour: str) -> datetime:
    return parse_rfc3339(hour) + ONE_HOUR


async def _newest(store: TenantStore, hour: str) -> int:
    """The number of the hour's last opening, as far as is known here; 0 without one."""
    where = [Where("id", ">=", opening_id(hour, 0)), Where("id", "<", f"{hour};")]
    page = await store.query(HOUR, where, order=Order("id", descending=True), limit=1)
    return int(page.items[0].body["opening"]) if page.items else 0


def _opened(hour: str, opening: int) -> list[Operation]:
    marker, record = opening_id(hour, opening), _record(hour, opening)
    return [Create(HOUR, marker, {**record, "state": "open"}), Create(OPEN, marker, record)]


def _record(hour: str, opening: int) -> dict[str, object]:
    return {"created_at": hour, "opening": opening}


def _create(block: Packed, opening: int) -> Create:
    return Create(BLOCK, block.id, {**block.body, "opening": opening}, ttl=KEPT_SECONDS)


async def _committed(store: TenantStore, operations: list[Operation]) -> bool:
    """False when its hour does not take it this way; a block that is there already is one that is stored."""
    try:
        await store.commit(operations)
    except Rejected as rejected:
        return rejected.index == len(operations) - 1
    return True

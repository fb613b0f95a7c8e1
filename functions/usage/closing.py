"""Closing: hours that are over become rollups, then their days and months; what comes later is closed again.

Each step is one conditional write, so that whoever does it, how often, and where he stops, makes no difference: an
hour's rollup is replaced by its ETag and never by one of an earlier opening; a day's goes with the note that it is due,
by that note's ETag, which changes with each hour that is closed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from functions.usage.blocks import bounded
from functions.usage.hours import HOUR, ONE_HOUR, closed, stop
from functions.usage.periods import Period, end_of, start_of
from functions.usage.rollups import DUE, PARTS, ROLLUP, blocks_of, made, rollup_id, tally_of
from functions.usage.tally import Tally, merged
from shared.apart import apart
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.database.port import (
    Create,
    Database,
    Delete,
    Document,
    Operation,
    Rejected,
    Replace,
    Stored,
    TenantStore,
    Upsert,
    Where,
)
from shared.errors import Contended
from shared.kinds import Kind
from shared.tenancy.directory import Directory

logger = logging.getLogger("flowgrid.usage")
GRACE = timedelta(minutes=5)  # after the end of a period: most of what is late has come by then
ROLLUP_KEPT_SECONDS: dict[Period, int | None] = {"hour": 260 * 86400, "day": 800 * 86400, "month": None}
# Statements read hours where a plan has changed in a day, as far back as its history goes (shared/tenancy/history.py).
AT_ONCE = 8  # tenants
FOUND_AT_ONCE = 1000
LONGEST_SECONDS = 240.0  # of one sweep; the next goes on
TRIES = 5

Close = Callable[[TenantStore, Stored], Awaitable[None]]


class Closing:
    """Finds what is over, in all tenants, and closes it."""

    def __init__(self, database: Database, directory: Directory, clock: Clock) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock

    async def sweep(self) -> int:
        """Close what is over; returns how many hours, days and months. One tenant's failure stops no other."""
        before = self._clock.now() - GRACE
        until = self._clock.monotonic() + LONGEST_SECONDS
        open_hours = [Where("state", "=", "open"), Where("created_at", "<=", rfc3339(before - ONE_HOUR))]
        count = await self._each(HOUR, open_hours, _close_hour, until)
        for period in PARTS:
            due = [Where("period", "=", period), Where("created_at", "<=", rfc3339(before))]
            count += await self._each(DUE, due, close_longer, until)
        return count

    async def _each(self, kind: Kind, where: list[Where], close: Close, until: float) -> int:
        """The oldest first, a page at a time; what could not be closed is passed over, and keeps nobody waiting."""
        count, since = 0, ""
        while self._clock.monotonic() <= until:
            later = [Where("created_at", ">", since)] if since else []
            found = (await self._database.platform.sweep(kind, [*where, *later], limit=FOUND_AT_ONCE)).items
            done = await self._all(found, close)
            count += done
            if len(found) < FOUND_AT_ONCE:
                return count
            if done < len(found) // 2:
                since = str(found[-1].body["created_at"])
        return count

    async def _all(self, found: list[Stored], close: Close) -> int:
        slots, done = asyncio.Semaphore(AT_ONCE), 0

        async def one(stored: Stored) -> None:
            nonlocal done
            tenant_id = stored.body["tenant_id"]
            async with slots:
                with apart(logger, "usage is closed by the next sweep", tenant_id=tenant_id):
                    store = await self._directory.store(tenant_id)
                    if store is not None:
                        await close(store, stored)
                        done += 1

        await asyncio.gather(*map(one, found))
        return done


async def _close_hour(store: TenantStore, stored: Stored) -> None:
    await close_hour(store, stored.body["created_at"], stored.body["opening"])


async def close_hour(store: TenantStore, hour: str, opening: int) -> None:
    """Let no more blocks in through this opening, and make a rollup of all that have come. Again is no error."""
    await stop(store, hour, opening)
    id, done = rollup_id("hour", hour), closed(hour, opening)
    for _ in range(TRIES):
        held = await store.get(ROLLUP, id)
        operations: list[Operation] = [done]
        if held is None or held.body["opening"] < opening:
            body = _hour(hour, opening, await tally_of(await blocks_of(store, hour, opening=opening)))
            operations += [_put("hour", id, body, held), _due("day", hour)]
        try:
            return await store.commit(operations)
        except Rejected:  # another one has closed it meanwhile
            continue
    raise Contended("Others keep closing this hour.")


async def close_longer(store: TenantStore, due: Stored) -> None:
    """Make a day of its hours, or a month of its days; left to the next sweep when one of them changes meanwhile."""
    period, start = due.body["period"], due.body["start"]
    await store.catch_up("usage")  # no part is older than the note that says that it was made
    first = parse_rfc3339(start)
    parts = await made(store, PARTS[period], first, end_of(period, first))
    body = {"created_at": start, "period": period, "start": start, "metrics": bounded(merged(parts.values()))}
    rollup = Upsert(ROLLUP, rollup_id(period, start), body, ttl=ROLLUP_KEPT_SECONDS[period])
    operations: list[Operation] = [Delete(DUE, due.body["id"], due.etag), rollup]
    if period == "day":
        operations.append(_due("month", start))
    try:
        await store.commit(operations)
    except Rejected:
        logger.info("usage has changed while it was added up", extra={"tenant_id": store.tenant_id, "period": start})


def _hour(hour: str, opening: int, found: Tally) -> Document:
    return {
        "created_at": hour,
        "period": "hour",
        "start": hour,
        "opening": opening,
        "metrics": bounded(found.sums),
        "voided": found.voided,
        "conflicting": found.conflicting,
    }


def _put(period: Period, id: str, body: Document, held: Stored | None) -> Operation:
    ttl = ROLLUP_KEPT_SECONDS[period]
    return Create(ROLLUP, id, body, ttl=ttl) if held is None else Replace(ROLLUP, id, body, held.etag, ttl=ttl)


def _due(period: Period, instant: str) -> Upsert:
    start = start_of(period, parse_rfc3339(instant))
    body = {"created_at": rfc3339(end_of(period, start)), "period": period, "start": rfc3339(start)}
    return Upsert(DUE, rollup_id(period, body["start"]), body)

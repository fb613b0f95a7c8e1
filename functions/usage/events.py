"""The single events behind the sums, newest first, from the blocks of one hour after another."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from hashlib import blake2b

from functions.usage.blocks import Block
from functions.usage.models import UsageEvent, UsageEventQuery
from functions.usage.periods import end_of, start_of
from functions.usage.reading import Event, row
from functions.usage.rollups import IN_THE_LOOP, ROLLUP, blocks_of, open_hours
from functions.usage.tally import Standing, judged
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import NEWEST_FIRST, TenantStore, Where
from shared.work.resources import Listing

KEPT = timedelta(days=100)
MOST_HOURS = 100  # that one page looks through
HOURS_AT_ONCE = 50
TICK = timedelta(microseconds=1)
FIRST = ""  # sorts before every event of an instant, so that newest first it is the end of it

Position = tuple[str, str]  # time, and which of that instant


async def page_of_events(
    store: TenantStore, query: UsageEventQuery, now: datetime, limit: int, after: Position | None
) -> Listing[UsageEvent]:
    """Events in a range, newest first. A page may have fewer than `limit`, where much was looked through in vain."""
    start = max(parse_rfc3339(query.since), now - KEPT) if query.since else now - KEPT
    end = parse_rfc3339(query.until) if query.until else now + KEPT
    before = after or (rfc3339(end), FIRST)
    found: list[UsageEvent] = []
    last, looked = before, 0
    async for hour in _hours(store, query, start, before[0]):
        if looked == MOST_HOURS:
            return Listing(found, (rfc3339(end_of("hour", parse_rfc3339(hour))), FIRST))
        looked += 1
        for position, event, standing in await _events_of(store, hour):
            if position >= before or event.time < rfc3339(start) or not _wanted(query, event, standing):
                continue
            if len(found) == limit:
                return Listing(found, last)
            found.append(_shown(event, standing))
            last = position
    return Listing(found, None)


async def _hours(store: TenantStore, query: UsageEventQuery, start: datetime, before: str) -> AsyncIterator[str]:
    """The hours in which there may be such events, newest first."""
    first = start_of("hour", start)
    still_open = sorted(await open_hours(store, first, parse_rfc3339(before) + TICK))
    where = [
        Where("period", "=", "hour"),
        Where("created_at", ">=", rfc3339(first)),
        Where("created_at", "<=", before),
    ]
    after: tuple[str, str] | None = None
    while True:
        page = await store.query(ROLLUP, where, order=NEWEST_FIRST, limit=HOURS_AT_ONCE, after=after)
        for stored in page.items:
            hour, metrics = str(stored.body["created_at"]), stored.body["metrics"]
            while still_open and still_open[-1] > hour:
                yield still_open.pop()
            if still_open and still_open[-1] == hour:
                yield still_open.pop()
            elif query.metric is None or query.metric in metrics or query.standing not in (None, "counted"):
                yield hour
        after = page.next
        if after is None:
            break
    while still_open:
        yield still_open.pop()


async def _events_of(store: TenantStore, hour: str) -> list[tuple[Position, Event, Standing]]:
    """All of an hour, newest first."""
    blocks = await blocks_of(store, hour)
    many = sum(int(block.body["count"]) for block in blocks) > IN_THE_LOOP
    return await asyncio.to_thread(_sorted, blocks) if many else _sorted(blocks)


def _sorted(blocks: list[Block]) -> list[tuple[Position, Event, Standing]]:
    found = [
        ((event.time, blake2b(event.key + row(event).encode(), digest_size=8).hexdigest()), event, standing)
        for event, standing in judged(blocks)
    ]
    return sorted(found, key=lambda one: one[0], reverse=True)


def _wanted(query: UsageEventQuery, event: Event, standing: Standing) -> bool:
    return (
        query.metric in (None, event.metric)
        and query.name in (None, event.dimension)
        and query.standing in (None, standing)
    )


def _shown(event: Event, standing: Standing) -> UsageEvent:
    return UsageEvent(
        id=event.id,
        source=event.source,
        time=event.time,
        metric=event.metric,
        value=event.value,
        name=event.dimension,
        data=json.loads(event.data),
        standing=standing,
    )

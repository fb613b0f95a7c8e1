"""The single events behind the sums, newest first, from the blocks of one hour after another, archived or not."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from hashlib import blake2b

from functions.usage.archiving import Archive
from functions.usage.blocks import Sums
from functions.usage.dimensions import OTHER
from functions.usage.models import UsageEvent, UsageEventQuery
from functions.usage.periods import end_of, start_of
from functions.usage.reading import Event, row
from functions.usage.rollups import ROLLUP, judged_of, open_hours
from functions.usage.tally import Standing
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import NEWEST_FIRST, TenantStore, Where
from shared.work.events import Metric
from shared.work.resources import Listing

KEPT = timedelta(days=250)  # as hours are, which say where to look
MOST_HOURS = 100  # that one page looks through,
MOST_EVENTS = 20_000  # or as many hours as have so many events
HOURS_AT_ONCE = 50
TICK = timedelta(microseconds=1)
FIRST = ""  # sorts before every event of an instant, so that newest first it is the end of it

Position = tuple[str, str]  # time, and which of that instant


async def page_of_events(
    store: TenantStore, archive: Archive, query: UsageEventQuery, now: datetime, limit: int, after: Position | None
) -> Listing[UsageEvent]:
    """Events in a range, newest first. A page may have fewer than `limit`, where much was looked through in vain."""
    start = max(parse_rfc3339(query.since), now - KEPT) if query.since else now - KEPT
    end = min(parse_rfc3339(query.until), now + KEPT) if query.until else now + KEPT
    before = after or (rfc3339(end), FIRST)
    found: list[UsageEvent] = []
    last, looked, unpacked = before, 0, 0
    archived = await archive.so_far(store)
    async for hour in _hours(store, query, start, before):
        if looked == MOST_HOURS or unpacked >= MOST_EVENTS:
            return Listing(found, (rfc3339(end_of("hour", parse_rfc3339(hour))), FIRST))
        looked += 1
        events = _sorted(await judged_of(await archive.blocks(store, hour, archived)))
        unpacked += len(events)
        for position, event, standing in events:
            if position >= before or event.time < rfc3339(start) or not _wanted(query, event, standing):
                continue
            if len(found) == limit:
                return Listing(found, last)
            found.append(_shown(event, standing))
            last = position
    return Listing(found, None)


async def _hours(store: TenantStore, query: UsageEventQuery, start: datetime, before: Position) -> AsyncIterator[str]:
    """The hours in which there may be such events, newest first."""
    first = start_of("hour", start)
    last = parse_rfc3339(before[0]) if before[1] == FIRST else parse_rfc3339(before[0]) + TICK
    still_open = sorted(await open_hours(store, first, last))
    where = [
        Where("period", "=", "hour"),
        Where("created_at", ">=", rfc3339(first)),
        Where("created_at", "<", rfc3339(last)),
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
            elif _may_have(metrics, query) or stored.body["voided"] or stored.body["conflicting"]:
                yield hour
        after = page.next
        if after is None:
            break
    while still_open:
        yield still_open.pop()


def _may_have(metrics: Sums, query: UsageEventQuery) -> bool:
    """Whether a closed hour may have counted such an event, by its sums."""
    names = [one["dimensions"] for metric, one in metrics.items() if query.metric in (None, metric)]
    return bool(names) if query.name is None else any(query.name in one or OTHER in one for one in names)


def _sorted(events: list[tuple[Event, Standing]]) -> list[tuple[Position, Event, Standing]]:
    """Newest first."""
    found = [
        ((event.time, blake2b(event.key + row(event).encode(), digest_size=8).hexdigest()), event, standing)
        for event, standing in events
    ]
    return sorted(found, key=lambda one: one[0], reverse=True)


def _wanted(query: UsageEventQuery, event: Event, standing: Standing) -> bool:
    return (
        event.metric is not Metric.REQUEST_UNITS  # ours to pay
        and query.metric in (None, event.metric)
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

"""Rollups: what a tenant used in an hour, a day or a month, and reading them where some of it is still open.

One document for a tenant and period holds all metrics. Hours are made from blocks, days from hours, months from days
(functions/usage/closing.py). What is not closed yet is read from what it is made of, so sums are exact at any time.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import MAXYEAR, datetime, timedelta

from functions.usage.blocks import BLOCK, Block, Sums
from functions.usage.hours import HOUR
from functions.usage.periods import Period, end_of, start_of
from functions.usage.reading import Event
from functions.usage.tally import Standing, Tally, judged, merged, tally
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Stored, TenantStore, Where
from shared.kinds import Kind
from shared.work.events import Metric

# Its second version has details; what older releases made has none, and says so by having none.
ROLLUP = Kind("rollup", container="usage", filtered=("period",), backup="history", upcasts=(dict,))
# A day or a month that has to be made (again); created_at is its end.
DUE = Kind("usage_due", container="usage", filtered=("period",))
BLOCKS_AT_ONCE = 40  # of 256 KB at most
IN_THE_LOOP = 2000  # events; more are added up beside it
PARTS: Mapping[Period, Period] = {"day": "hour", "month": "day"}


def rollup_id(period: Period, start: str) -> str:
    return f"{period}:{start}"


async def blocks_of(store: TenantStore, hour: str, *, opening: int | None = None) -> list[Block]:
    """The blocks of an hour; those of an opening and all before it, or all there are."""
    stored = await all_of(store, BLOCK, [Where("created_at", "=", hour)], at_once=BLOCKS_AT_ONCE)
    blocks = [Block(one.body) for one in stored]
    return [block for block in blocks if opening is None or block.opening <= opening]


async def tally_of(blocks: list[Block]) -> Tally:
    """`tally`, beside the loop where there is much."""
    return await asyncio.to_thread(tally, blocks) if _much(blocks) else tally(blocks)


async def judged_of(blocks: list[Block]) -> list[tuple[Event, Standing]]:
    """`judged`, beside the loop where there is much."""
    return await asyncio.to_thread(lambda: list(judged(blocks))) if _much(blocks) else list(judged(blocks))


async def sums(store: TenantStore, period: Period, start: datetime, end: datetime) -> dict[str, Sums]:
    """Sums by the start of each period that begins in a range; nothing where nothing happened."""
    if start >= end:
        return {}
    last = start_of(period, end - timedelta(microseconds=1))  # is whole, too
    hours = await open_hours(store, start, max(end, end_of(period, last)) if last.year < MAXYEAR else end)
    if period == "hour":
        return await _hours(store, start, end, hours)
    due = await all_of(store, DUE, [Where("created_at", ">", rfc3339(start))])
    return await _made(store, period, start, end, hours, {(one.body["period"], one.body["start"]) for one in due})


async def totals(store: TenantStore, start: datetime, end: datetime) -> dict[Metric, int]:
    """How much of each metric from `start` to `end` (exclusive), both whole hours in UTC; exact, closed or not."""
    first_day = start_of("day", start + timedelta(days=1) - timedelta(microseconds=1))
    last_day = start_of("day", end)
    if first_day >= last_day:
        parts = [await sums(store, "hour", start, end)]
    else:
        parts = [
            await sums(store, "hour", start, first_day),
            await sums(store, "day", first_day, last_day),
            await sums(store, "hour", last_day, end),
        ]
    found = merged(one for part in parts for one in part.values())
    return {metric: found[metric]["value"] if metric in found else 0 for metric in Metric}


async def open_hours(store: TenantStore, start: datetime, end: datetime) -> set[str]:
    """Hours in a range that are open, or open again; one query."""
    where = [Where("state", "=", "open"), *between(start, end)]
    return {str(one.body["created_at"]) for one in await all_of(store, HOUR, where)}


async def made(store: TenantStore, period: Period, start: datetime, end: datetime) -> dict[str, Sums]:
    """The rollups of a period that begin in a range, as they were made."""
    where = [Where("period", "=", period), *between(start, end)]
    return {str(one.body["start"]): one.body["metrics"] for one in await all_of(store, ROLLUP, where)}


async def _hours(store: TenantStore, start: datetime, end: datetime, hours: Iterable[str]) -> dict[str, Sums]:
    found = await made(store, "hour", start, end)
    for hour in hours:
        found[hour] = (await tally_of(await blocks_of(store, hour))).sums
    return _in_order(found)


async def _made(
    store: TenantStore, period: Period, start: datetime, end: datetime, hours: set[str], due: set[tuple[Period, str]]
) -> dict[str, Sums]:
    """Days or months as they were made; those that are open or due from their parts."""
    found = await made(store, period, start, end)
    unmade = {rfc3339(start_of(period, parse_rfc3339(hour))) for hour in hours}
    for of, beginning in due:
        if of in (period, PARTS[period]):  # a day that is due makes its month due
            unmade.add(rfc3339(start_of(period, parse_rfc3339(beginning))))
    for beginning in unmade:
        first = parse_rfc3339(beginning)
        if not start <= first < end:
            continue
        last = end_of(period, first)
        own = {hour for hour in hours if beginning <= hour < rfc3339(last)}
        parts = (
            await _hours(store, first, last, own)
            if period == "day"
            else await _made(store, "day", first, last, own, due)
        )
        found[beginning] = merged(parts.values())
    return _in_order(found)


def _in_order(found: Mapping[str, Sums]) -> dict[str, Sums]:
    return {start: found[start] for start in sorted(found)}


def between(start: datetime, end: datetime) -> list[Where]:
    """What is created from `start` on and before `end`."""
    return [Where("created_at", ">=", rfc3339(start)), Where("created_at", "<", rfc3339(end))]


async def all_of(store: TenantStore, kind: Kind, where: list[Where], *, at_once: int = 200) -> list[Stored]:
    found: list[Stored] = []
    after: tuple[str, str] | None = None
    while True:
        page = await store.query(kind, where, limit=at_once, after=after)
        found += page.items
        after = page.next
        if after is None:
            return found


def _much(blocks: list[Block]) -> bool:
    return sum(int(block.body["count"]) for block in blocks) > IN_THE_LOOP

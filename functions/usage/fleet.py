"""What all tenants did in an hour, together and each: summed up by a timer, so that looking at it costs little.

Two items of the registry for each hour, made again and again from the tenants' usage (rollups, and blocks where an hour
is open) until two looks, two hours after its end and later, have found the same. What is metered later is in the
tenants' own sums, and not in these. A look that cannot reach somebody takes nothing out that an earlier one has found.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from functions.usage.blocks import Sums
from functions.usage.details import total
from functions.usage.hours import HOUR, ONE_HOUR
from functions.usage.latency import SERVER_ERRORS
from functions.usage.periods import start_of
from functions.usage.rollups import ROLLUP, between, blocks_of, tally_of
from shared.apart import apart
from shared.clock import Clock, rfc3339
from shared.database.port import Create, Database, Document, Rejected, Replace, Stored, Where
from shared.ids import PLATFORM_TENANT_ID
from shared.kinds import Kind
from shared.tenancy.directory import Directory
from shared.work.events import Metric

logger = logging.getLogger("flowgrid.usage")
FLEET = Kind("fleet_hour", container="tenants")  # all tenants together
SHARES = Kind("fleet_shares", container="tenants")  # each of those who had the most of it
FLEET_KEPT_SECONDS = 40 * 86400
SHARES_KEPT_SECONDS = 8 * 86400
LATE = timedelta(hours=2)  # after its end an hour is settled by the second look that finds the same
CAUGHT_UP = timedelta(days=1)  # so far back a missed hour is made up for
LONGEST_SECONDS = 120.0  # of one look, beside what closing takes
HOURS_AT_ONCE = 12  # of one look; the next goes on
MOST_TENANTS = 2000  # of an hour; more are left out, and it says so
MOST_SHARES = 200
AT_ONCE = 8


class Share(NamedTuple):
    """What one tenant did in some time; `details` of its calls (functions/usage/latency.py)."""

    tenant_id: str
    calls: int
    units: int
    details: dict[str, int]


class FleetHours:
    """Sums hours up, and reads them."""

    def __init__(self, database: Database, directory: Directory, clock: Clock) -> None:
        self._platform = database.platform
        self._directory = directory
        self._clock = clock

    async def sweep(self) -> int:
        """Sum up what is not settled, the newest first; returns how many hours. Again, or by two at once, is the same.

        Two sweeps over all databases for each hour, and the blocks of each tenant whose hour is open.
        """
        now, until, count = self._clock.now(), self._clock.monotonic() + LONGEST_SECONDS, 0
        first, current = start_of("hour", now - CAUGHT_UP), start_of("hour", now)
        held = {one.body["created_at"]: one for one in await self._all(FLEET, first, current + ONE_HOUR)}
        hours = [current - number * ONE_HOUR for number in range((current - first) // ONE_HOUR + 1)]
        for hour in _due(hours, held, now)[:HOURS_AT_ONCE]:
            if self._clock.monotonic() > until:
                break
            await self._sum_up(hour, held.get(rfc3339(hour)), now)
            count += 1
        return count

    async def together(self, start: datetime, end: datetime) -> list[Document]:
        """All tenants together, by the hour."""
        return [one.body for one in await self._all(FLEET, start, end)]

    async def shares(self, start: datetime, end: datetime) -> list[Share]:
        """Each tenant, the hours together; those who had little of every hour are not in it."""
        found: dict[str, Share] = {}
        for stored in await self._all(SHARES, start, end):
            for share in map(_stored, stored.body["shares"]):
                own = found.get(share.tenant_id, Share(share.tenant_id, 0, 0, {}))
                details = total({"before": own.details, "more": share.details})
                found[share.tenant_id] = Share(own.tenant_id, own.calls + share.calls, own.units + share.units, details)
        return list(found.values())

    async def _all(self, kind: Kind, start: datetime, end: datetime) -> list[Stored]:
        found: list[Stored] = []
        after: tuple[str, str] | None = None
        while True:
            page = await self._platform.query(kind, between(start, end), after=after)
            found += page.items
            after = page.next
            if after is None:
                return found

    async def _sum_up(self, hour: datetime, held: Stored | None, now: datetime) -> None:
        start = rfc3339(hour)
        found, missed = await self._shares_of(start)
        before = await self._platform.get(SHARES, PLATFORM_TENANT_ID, start)
        if missed and before is not None:  # of who was not reached, what was found earlier
            found = {share.tenant_id: share for share in map(_stored, before.body["shares"])} | found
        shares = sorted(found.values(), key=lambda share: share.tenant_id)[:MOST_TENANTS]
        sums: Document = {
            "tenants": len(shares),
            "calls": sum(one.calls for one in shares),
            "units": sum(one.units for one in shares),
            "details": total({one.tenant_id: one.details for one in shares}),
        }
        if missed and held is not None and held.body["calls"] > sums["calls"]:  # of those, too, who are no largest
            sums = {name: held.body[name] for name in sums}
        late = not missed and now >= hour + ONE_HOUR + LATE
        whole = not missed and len(shares) < MOST_TENANTS
        body: Document = {"created_at": start, **sums, "whole": whole, "late": late}
        body["settled"] = late and held is not None and all(held.body.get(name) == body[name] for name in body)
        largest = [list(one) for one in _largest(shares)]
        await self._put(SHARES, {"created_at": start, "shares": largest}, before, SHARES_KEPT_SECONDS)
        await self._put(FLEET, body, held, FLEET_KEPT_SECONDS)

    async def _put(self, kind: Kind, body: Document, held: Stored | None, ttl: int) -> None:
        """Where it has changed. Who finds that another one has put it meanwhile leaves it to him, and the next look."""
        id = body["created_at"]
        if held is not None and all(held.body.get(key) == value for key, value in body.items()):
            return
        operation = Create(kind, id, body, ttl) if held is None else Replace(kind, id, body, held.etag, ttl)
        try:
            await self._platform.put(operation, PLATFORM_TENANT_ID)
        except Rejected:
            logger.info("another one has summed up this hour meanwhile", extra={"hour": id})

    async def _shares_of(self, hour: str) -> tuple[dict[str, Share], bool]:
        """Closed hours by their rollups, open ones by their blocks; and whether anybody could not be reached."""
        of_hour = Where("created_at", "=", hour)
        made = await self._platform.sweep(ROLLUP, [Where("period", "=", "hour"), of_hour], limit=MOST_TENANTS)
        found = {one.body["tenant_id"]: _share(one.body["tenant_id"], one.body["metrics"]) for one in made.items}
        still_open = await self._platform.sweep(HOUR, [Where("state", "=", "open"), of_hour], limit=MOST_TENANTS)
        slots, missed = asyncio.Semaphore(AT_ONCE), bool(made.missed or still_open.missed)

        async def one(tenant_id: str) -> None:
            nonlocal missed
            async with slots:
                with apart(logger, "what a tenant does is summed up by the next look", tenant_id=tenant_id):
                    store = await self._directory.store(tenant_id)
                    if store is not None:
                        found[tenant_id] = _share(tenant_id, (await tally_of(await blocks_of(store, hour))).sums)
                    return
                missed = True

        await asyncio.gather(*(one(str(stored.body["tenant_id"])) for stored in still_open.items))
        return found, missed


def _due(hours: Iterable[datetime], held: Mapping[str, Stored], now: datetime) -> list[datetime]:
    """Those to look at, the newest first; behind those that nobody has seen come those that wait for who was missed.

    Settled is what is settled by this clock, too: another one may have been ahead.
    """

    def waits(hour: datetime) -> bool:
        return rfc3339(hour) in held and now >= hour + ONE_HOUR + LATE

    due = [hour for hour in hours if not (waits(hour) and held[rfc3339(hour)].body["settled"])]
    return sorted(due, key=waits)


def _stored(share: Sequence[Any]) -> Share:
    return Share(*share)


def _share(tenant_id: str, sums: Sums) -> Share:
    calls: Mapping[str, Any] = sums.get(Metric.API_CALLS, {"value": 0})
    units = sums.get(Metric.REQUEST_UNITS, {"value": 0})["value"]
    return Share(tenant_id, calls["value"], units, total(calls.get("details", {})))


def _largest(shares: Iterable[Share]) -> list[Share]:
    """Those who had the most of anything: of the calls, the request units, the errors that were ours."""
    own = list(shares)
    sums = [max(1, sum(amount(one) for one in own)) for amount in _AMOUNTS]

    def most(one: Share) -> float:
        return max(amount(one) / all_of_it for amount, all_of_it in zip(_AMOUNTS, sums, strict=True))

    return sorted(own, key=lambda one: (-most(one), one.tenant_id))[:MOST_SHARES]


_AMOUNTS: tuple[Callable[[Share], int], ...] = (
    lambda share: share.calls,
    lambda share: share.units,
    lambda share: share.details.get(SERVER_ERRORS, 0),
)


def hours_until(now: datetime, hours: int) -> tuple[datetime, datetime]:
    """From so many whole hours before the hour that it is to the end of that."""
    current = start_of("hour", now)
    return current - hours * ONE_HOUR, current + ONE_HOUR

"""Which tenant it is: who has how much of all calls, errors and request units, those with the most first.

Read from what a timer has summed up (functions/usage/fleet.py): two queries, of at most 25 hours. One tenant to the
minute is `GET v1/analytics` with `x-tenant-id`, for staff who have a grant.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from functions.usage.analytics import Quality, told
from functions.usage.fleet import FleetHours, Share, hours_until
from functions.usage.hours import ONE_HOUR
from functions.usage.latency import SERVER_ERRORS, Calls
from functions.usage.periods import start_of
from shared.clock import Clock, parse_rfc3339
from shared.database.port import Database, Where
from shared.errors import Invalid
from shared.http.pagination import PageQuery
from shared.http.times import Time
from shared.tenancy.directory import TENANT
from shared.work.resources import Id, Listing, PageRequest

LONGEST = timedelta(hours=24)
TICK = timedelta(microseconds=1)
Sort = Literal["calls", "request_units", "server_errors", "p95_ms"]


class TenantQuality(Quality):
    """How one tenant's calls went, and how much of everything it had; shares from 0 to 1."""

    tenant_id: Id = Field(description="The tenant.")
    name: str | None = Field(description="What it is called; null: it is gone.")
    share_of_calls: float = Field(description="Of the calls of all tenants.")
    request_units: int = Field(description="What its calls cost at the database.")
    share_of_request_units: float = Field(description="Of those of all tenants.")
    share_of_server_errors: float = Field(description="Of the answers of 500 and more to all tenants.")


class NeighborsQuery(PageQuery):
    """Whole hours in UTC, at most 24 and the one that it is; by default that one and the one before."""

    sort: Sort = Field("calls", description="Those with the most of this first.")
    since: Time | None = Field(None, alias="from", description="From this hour on; eight days are kept.")
    until: Time | None = Field(None, alias="to", description="Before this time.")


class Neighbors:
    """The tenants of an hour or some, the loudest first."""

    def __init__(self, database: Database, fleet: FleetHours, clock: Clock) -> None:
        self._platform = database.platform
        self._fleet = fleet
        self._clock = clock

    async def list(self, query: NeighborsQuery, page: PageRequest) -> Listing[TenantQuality]:
        """`Invalid` for a range that is empty or longer than a day. Who had little of every hour is not listed."""
        last = self._clock.now()  # there is nothing later, and no hour after the last of all years
        if query.until:
            last = min(last, parse_rfc3339(query.until) - TICK)
        start, end = hours_until(last, 1)
        if query.since:
            start = start_of("hour", parse_rfc3339(query.since))
        if not start < end <= start + LONGEST + ONE_HOUR:
            raise Invalid.of("from", f"is after `to`, or more than {LONGEST.days * 24} hours before it", query.since)
        shares = await self._fleet.shares(start, end)
        together = await self._fleet.together(start, end)
        ranked = sorted((_position(query.sort, one), one) for one in shares)
        after = None if page.after is None else _behind(*page.after)
        left = [(position, share) for position, share in ranked if after is None or position > after]
        own, rest = left[: page.limit], left[page.limit :]
        names = await self._names([share.tenant_id for _, share in own])
        sums = {
            "calls": sum(one["calls"] for one in together),
            "units": sum(one["units"] for one in together),
            "errors": sum(one["details"].get(SERVER_ERRORS, 0) for one in together),
        }
        items = [TenantQuality.model_validate(_told(share, sums, names)) for _, share in own]
        rank, tenant_id = own[-1][0] if own else (0, "")
        return Listing(items, (str(rank), tenant_id) if rest else None)

    async def _names(self, ids: Sequence[str]) -> dict[str, str]:
        if not ids:
            return {}
        found = await self._platform.query(TENANT, [Where("id", "in", ids)])
        return {one.body["id"]: one.body["name"] for one in found.items}


def _behind(rank: str, tenant_id: str) -> tuple[int, str]:
    """Where a page ended, from its cursor."""
    try:
        return int(rank), tenant_id
    except ValueError:
        raise Invalid.of("cursor", "is from a release that ranks otherwise; begin again without one", rank) from None


def _position(sort: Sort, share: Share) -> tuple[int, str]:
    known = Calls.of(share.details)
    amount = {
        "calls": share.calls,
        "request_units": share.units,
        "server_errors": known.server_errors,
        "p95_ms": int(10 * (known.percentile(95) or 0)),
    }[sort]
    return -amount, share.tenant_id


def _told(share: Share, sums: Mapping[str, int], names: Mapping[str, str]) -> dict[str, Any]:
    def of(amount: int, of_all: str) -> float:
        return round(amount / max(1, sums[of_all], amount), 6)

    return {
        "tenant_id": share.tenant_id,
        "name": names.get(share.tenant_id),
        **told(share.calls, share.details),
        "share_of_calls": of(share.calls, "calls"),
        "request_units": share.units,
        "share_of_request_units": of(share.units, "units"),
        "share_of_server_errors": of(share.details.get(SERVER_ERRORS, 0), "errors"),
    }

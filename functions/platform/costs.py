"""What each tenant costs Flowgrid in a month: what was metered of it, by a dated table of prices."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from functions.platform.prices import Prices, What, prices_of
from shared.clock import Clock
from shared.database.port import Database, Stored, TenantStore, Where
from shared.errors import FlowgridError, NotFound
from shared.http.pagination import ListQuery, Query
from shared.jobs.tenant_sweep import STATUSES
from shared.tenancy.directory import TENANT, Directory, TenantEntry
from shared.tenancy.history import month_after
from shared.tenancy.plans import Budget
from shared.work.budgets import counter_of
from shared.work.change import COUNTER
from shared.work.events import Metric
from shared.work.resources import Answer, Id, Listing, PageRequest, bounded_page
from shared.work.session import TenantSession

TARGET = 5_000_000  # micro-USD a tenant and month
TOLD = "Tenant Cost"  # the figure that telemetry is told of each tenant once a day, in micro-USD
SIDE_BY_SIDE = 8
Totals = Callable[[TenantStore, datetime, datetime], Awaitable[Mapping[Metric, int]]]


logger = logging.getLogger("flowgrid.costs")


class CostLine(Answer):
    """What one thing has cost."""

    what: What = Field(description="What was used: `storage` is by the byte and day.")
    quantity: int = Field(description="How much of it.")
    micro_usd: int = Field(description="What it has cost, in millionths of a dollar.")


class TenantCost(Answer):
    """What a tenant has cost in a month, by list prices."""

    tenant_id: Id = Field(description="The tenant.")
    name: str = Field(description="What it is called.")
    month: str = Field(examples=["2026-11"], description="The month, in UTC.")
    prices_from: str = Field(examples=["2026-01-01"], description="From which day on these prices are believed.")
    lines: list[CostLine] = Field(description="One for each thing that costs.")
    total_micro_usd: int = Field(description="The sum of the lines.")
    above_target: bool = Field(description=f"Whether that is more than ${TARGET // 1_000_000}.")
    unknown: bool = Field(False, description="Its database does not answer: there are no lines; ask again later.")


Month = Annotated[str, Field(pattern=r"^20\d\d-(0[1-9]|1[0-2])$", examples=["2026-11"])]


class CostQuery(Query):
    """The month."""

    month: Month | None = Field(None, description="The month, in UTC; none: this one.")


class CostListQuery(ListQuery):
    """Tenants, by when they were made, and the month."""

    month: Month | None = Field(None, description="The month, in UTC; none: this one.")


class Costs:
    """`totals`: how much of each metric a tenant has used in a time."""

    def __init__(self, database: Database, directory: Directory, clock: Clock, totals: Totals) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock
        self._totals = totals
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def get(self, tenant_id: str, query: CostQuery) -> TenantCost:
        """One tenant's; `NotFound` where there is no tenant that has data."""
        stored = await self._database.platform.get(TENANT, tenant_id, tenant_id)
        if stored is None or stored.body["status"] not in STATUSES:
            raise NotFound("There is no such tenant.")
        return await self._of(self._directory.remember(stored), self._month(query.month))

    async def tell(self, session: TenantSession) -> int:
        """Tell telemetry what a tenant has cost in this month so far; a point read and the month's sums."""
        cost = await self._of(session.entry, self._month(None))
        session.services.telemetry.metric(TOLD, session.id, cost.total_micro_usd, {"month": cost.month})
        return int(cost.above_target)

    async def list(self, query: CostListQuery, page: PageRequest) -> Listing[TenantCost]:
        """A page of the tenants that have data: the month's sums of each, and one point read."""
        month = self._month(query.month)
        wanted = replace(page, where=[*page.where, Where("status", "in", STATUSES)])
        found = await bounded_page(self._database.platform, TENANT, {}, wanted)
        costs = await asyncio.gather(*(self._or_unknown(stored, month) for stored in found.items))
        return Listing(costs, found.next)

    async def _or_unknown(self, stored: Stored, month: str) -> TenantCost:
        """One tenant's outage hides no other's costs."""
        try:
            return await self._of(self._directory.remember(stored), month)
        except FlowgridError as error:
            extra = {"tenant_id": stored.body["id"], "reason": str(error)}
            logger.warning("what a tenant costs is not known now", extra=extra)
            return TenantCost(
                tenant_id=stored.body["id"],
                name=stored.body["name"],
                month=month,
                prices_from=prices_of(month).valid_from,
                lines=[],
                total_micro_usd=0,
                above_target=False,
                unknown=True,
            )

    def _month(self, asked: str | None) -> str:
        return asked or f"{self._clock.now():%Y-%m}"

    async def _of(self, entry: TenantEntry, month: str) -> TenantCost:
        store = self._directory.open(entry)
        start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        async with self._places:
            used = await self._totals(store, start, month_after(start))
            spent = await store.get(COUNTER, counter_of(Budget.AI_SPEND, month))
        prices = prices_of(month)
        lines = _lines(used, prices, 0 if spent is None else int(spent.body["value"]))
        total = sum(line.micro_usd for line in lines)
        return TenantCost(
            tenant_id=entry.id,
            name=entry.name,
            month=month,
            prices_from=prices.valid_from,
            lines=lines,
            total_micro_usd=total,
            above_target=total > TARGET,
        )


def _lines(used: Mapping[Metric, int], prices: Prices, ai_spend: int) -> list[CostLine]:
    """An event is a message; AI tokens cost what was settled for them, whatever model they were of."""
    calls = used.get(Metric.API_CALLS, 0)
    quantities: dict[What, int] = {
        "request_units": used.get(Metric.REQUEST_UNITS, 0),
        "storage": used.get(Metric.STORAGE_BYTES, 0),
        "messages": calls + used.get(Metric.AGENTS_CREATED, 0) + used.get(Metric.EXECUTIONS, 0),
        "calls": calls,
        "compute": calls,
    }
    lines = [
        CostLine(what=what, quantity=quantity, micro_usd=prices.by[what].of(quantity))
        for what, quantity in quantities.items()
    ]
    return [*lines, CostLine(what="ai_tokens", quantity=used.get(Metric.AI_TOKENS, 0), micro_usd=ai_spend)]

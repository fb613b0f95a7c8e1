"""Reading usage."""

from collections.abc import Mapping
from typing import Any

from functions.usage.dimensions import shown
from functions.usage.models import ROLLUP, Bucket, Usage, UsageEvent, UsageQuery
from functions.usage.periods import LONGEST, LOOK_BACK, start_of
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Document, Where
from shared.errors import Invalid
from shared.work.resources import Listing, PageRequest, bounded_page
from shared.work.session import TenantSession


class UsageService:
    """Sums (`usage`) and single events (`events`); values are whole numbers."""

    async def usage(self, tenant: TenantSession, query: UsageQuery) -> Usage:
        """One metric's rollups over a range; `Invalid` for a range that is empty or too long for its period."""
        now = tenant.services.clock.now()
        end = parse_rfc3339(query.until) if query.until else now
        start = start_of(query.period, parse_rfc3339(query.since) if query.since else end - LOOK_BACK[query.period])
        if start > end:
            raise Invalid.of("from", "is after `to`", query.since)
        if end - start > LONGEST[query.period]:
            most = LONGEST[query.period].days
            raise Invalid.of("from", f"at most {most} days by {query.period}; take a longer period", query.since)
        where = [
            Where("metric", "=", query.metric.value),
            Where("period", "=", query.period),
            Where("created_at", ">=", rfc3339(start)),
            Where("created_at", "<", rfc3339(end)),
        ]
        items: list[Bucket] = []
        after: tuple[str, str] | None = None
        while True:
            page = await tenant.store.query(ROLLUP, where, after=after)
            items += [_bucket(stored.body) for stored in page.items]
            after = page.next
            if after is None:
                break
        return Usage.model_validate(
            {
                "metric": query.metric,
                "period": query.period,
                "from": rfc3339(start),
                "to": rfc3339(end),
                "total": sum(bucket.value for bucket in items),
                "items": items,
            }
        )

    async def events(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[UsageEvent]:
        found = await bounded_page(tenant.store, UsageEvent.KIND, filters, page)
        return Listing([UsageEvent.model_validate(stored.body) for stored in found.items], found.next)


def _bucket(body: Document) -> Bucket:
    return Bucket.model_validate({**body, "dimensions": {shown(name): n for name, n in body["dimensions"].items()}})

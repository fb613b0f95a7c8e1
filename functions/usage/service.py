"""Reading usage."""

from functions.usage.archiving import Archive
from functions.usage.blocks import bounded
from functions.usage.events import page_of_events
from functions.usage.models import Bucket, Usage, UsageEvent, UsageEventQuery, UsageQuery
from functions.usage.periods import LONGEST, LOOK_BACK, start_of
from functions.usage.rollups import sums
from shared.clock import parse_rfc3339, rfc3339
from shared.errors import Invalid
from shared.work.resources import Listing, PageRequest
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
        found = await sums(tenant.store, query.period, start, end)
        items = [
            Bucket.model_validate({"start": beginning, **bounded(metrics)[query.metric]})
            for beginning, metrics in found.items()
            if query.metric in metrics
        ]
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

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def events(self, tenant: TenantSession, query: UsageEventQuery, page: PageRequest) -> Listing[UsageEvent]:
        return await page_of_events(
            tenant.store, self._archive, query, tenant.services.clock.now(), page.limit, page.after
        )

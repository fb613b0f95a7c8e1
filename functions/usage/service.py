"""Reading usage."""

from functions.usage.archiving import Archive
from functions.usage.blocks import bounded
from functions.usage.events import page_of_events
from functions.usage.models import Bucket, Usage, UsageEvent, UsageEventQuery, UsageQuery
from functions.usage.periods import range_of
from functions.usage.rollups import sums
from shared.clock import rfc3339
from shared.work.resources import Listing, PageRequest
from shared.work.session import TenantSession


class UsageService:
    """Sums (`usage`) and single events (`events`); values are whole numbers."""

    async def usage(self, tenant: TenantSession, query: UsageQuery) -> Usage:
        """One metric's rollups over a range; `Invalid` for a range that is empty or too long for its period."""
        start, end = range_of(query.period, query.since, query.until, tenant.services.clock.now())
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
        """What was metered, one by one, the newest first; fewer than `page.limit` does not mean the last page."""
        return await page_of_events(
            tenant.store, self._archive, query, tenant.services.clock.now(), page.limit, page.after
        )

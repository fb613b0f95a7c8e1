"""How much of each metric a tenant has used in a time of whole days."""

from datetime import datetime

from functions.usage.models import ROLLUP
from shared.clock import rfc3339
from shared.database.port import TenantStore, Where
from shared.work.events import Metric


async def totals(store: TenantStore, start: datetime, end: datetime) -> dict[Metric, int]:
    """The sums from `start` to `end` (exclusive), both whole days in UTC."""
    between = [Where("created_at", ">=", rfc3339(start)), Where("created_at", "<", rfc3339(end))]
    found = dict.fromkeys(Metric, 0)
    after: tuple[str, str] | None = None
    while True:
        page = await store.query(ROLLUP, [Where("period", "=", "day"), *between], after=after)
        for stored in page.items:
            found[Metric(stored.body["metric"])] += stored.body["value"]
        after = page.next
        if after is None:
            return found

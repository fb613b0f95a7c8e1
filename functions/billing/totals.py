"""What was used between two hours, as the hourly rollups say."""

from collections.abc import Mapping
from datetime import datetime

from functions.usage.models import ROLLUP
from shared.clock import rfc3339
from shared.database.port import TenantStore, Where
from shared.work.events import Metric


async def totals(store: TenantStore, start: datetime, end: datetime) -> Mapping[Metric, int]:
    """By metric; `start` and `end` (exclusive) are whole hours in UTC."""
    where = [
        Where("period", "=", "hour"),
        Where("created_at", ">=", rfc3339(start)),
        Where("created_at", "<", rfc3339(end)),
    ]
    found: dict[Metric, int] = {}
    after: tuple[str, str] | None = None
    while True:
        page = await store.query(ROLLUP, where, after=after)
        for stored in page.items:
            metric = Metric(stored.body["metric"])
            found[metric] = found.get(metric, 0) + int(stored.body["value"])
        after = page.next
        if after is None:
            return found

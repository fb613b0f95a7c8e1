"""Reading usage and quotas."""

from collections.abc import Mapping
from typing import Any

from functions.usage.dimensions import shown
from functions.usage.models import ROLLUP, Bucket, Quota, Quotas, Usage, UsageEvent, UsageQuery
from functions.usage.periods import LONGEST, LOOK_BACK, start_of
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Document, Where
from shared.errors import Invalid
from shared.work.change import COUNTER
from shared.work.events import Metric
from shared.work.resources import Listing, PageRequest, bounded_page
from shared.work.session import TenantSession


class UsageService:
    """Sums (`usage`), single events (`events`) and what is left of the plan (`quotas`); values are whole numbers."""

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

    async def quotas(self, tenant: TenantSession) -> Quotas:
        month = rfc3339(start_of("month", tenant.services.clock.now()))
        plan = tenant.plan
        limits = {
            "agents": plan.max_agents,
            "users": plan.max_users,
            "ai_tokens_per_month": plan.ai_tokens_per_month,
            "backups": plan.max_backups,
            "copies": plan.max_copies,
        }
        rollups = {"ai_tokens_per_month": f"{Metric.AI_TOKENS}:month:{month}"}
        found = [
            await tenant.store.get(ROLLUP if name in rollups else COUNTER, rollups.get(name, name)) for name in limits
        ]
        current = [0 if stored is None else int(stored.body["value"]) for stored in found]
        return Quotas(
            tier=tenant.entry.tier,
            items=[
                Quota(resource=name, limit=limit, current=used, remaining=max(0, limit - used))
                for (name, limit), used in zip(limits.items(), current, strict=True)
            ],
        )


def _bucket(body: Document) -> Bucket:
    return Bucket.model_validate({**body, "dimensions": {shown(name): n for name, n in body["dimensions"].items()}})

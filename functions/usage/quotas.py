"""Quotas: what a tenant's plan allows, and how much of it is used.

What is told is what is enforced: the counters that each write moves in its own batch. What was metered may be another
number for some minutes, and is what is billed.
"""

import asyncio

from pydantic import Field

from functions.usage.periods import end_of
from shared.clock import rfc3339
from shared.tenancy.plans import Budget
from shared.work.budgets import counter_of
from shared.work.change import COUNTER
from shared.work.resources import Answer, Timestamp
from shared.work.session import TenantSession

NEAR_PERCENT = 80


class Quota(Answer):
    """One thing that is limited."""

    resource: str = Field(description="What is limited.")
    limit: int = Field(description="How much there may be; of money, micro-units (a millionth) of the currency.")
    used: int = Field(description="How much there is, what is reserved for work under way included.")
    remaining: int = Field(description="How much more there may be.")
    reset: Timestamp | None = Field(description="When `used` begins at 0 again; null: it does not.")
    near_limit: bool = Field(description=f"Whether {NEAR_PERCENT} % or more is used.")

    @classmethod
    def of(cls, resource: str, limit: int, used: int, reset: str | None) -> "Quota":
        near = used > 0 and used * 100 >= limit * NEAR_PERCENT
        return cls(
            resource=resource, limit=limit, used=used, remaining=max(0, limit - used), reset=reset, near_limit=near
        )


class Quotas(Answer):
    """What the plan allows."""

    tier: str = Field(description="The tenant's plan.")
    items: list[Quota] = Field(description="One for each thing that is limited.")


class QuotaService:
    """Reads the counters, all at once, by one point read each."""

    async def quotas(self, tenant: TenantSession) -> Quotas:
        return Quotas(tier=tenant.entry.tier, items=await quotas_of(tenant))


async def quotas_of(tenant: TenantSession) -> list[Quota]:
    """Every quota of the tenant as it is now."""
    now = tenant.services.clock.now()
    plan, month = tenant.plan, f"{now:%Y-%m}"
    limits = {
        "agents": plan.max_agents,
        "users": plan.max_users,
        **{budget.value: plan.budget(budget) for budget in Budget},
        "backups": plan.max_backups,
        "copies": plan.max_copies,
        "runs": plan.max_runs,
        "webhooks": plan.max_webhooks,
        "api_keys": plan.max_api_keys,
    }
    monthly = {budget.value: counter_of(budget, month) for budget in Budget}
    found = await asyncio.gather(*(tenant.store.get(COUNTER, monthly.get(name, name)) for name in limits))
    reset = rfc3339(end_of("month", now))
    return [
        Quota.of(name, limit, 0 if stored is None else int(stored.body["value"]), reset if name in monthly else None)
        for (name, limit), stored in zip(limits.items(), found, strict=True)
    ]

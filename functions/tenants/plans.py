"""Rules of plans: a tenant's numbers on another one, what stands in the way of a lower one, what a tenant is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from functions.tenants.models import Tenant
from shared.clock import parse_rfc3339
from shared.errors import Conflict
from shared.tenancy.plans import GRACE_DAYS, PLANS, Tier
from shared.work.notices import Code

NUMBERS = ("max_agents", "max_users")
LEVELS = [*Tier]  # from the smallest to the largest


@dataclass(frozen=True)
class Told:
    """What a tenant is to be told."""

    code: Code
    title: str
    text: str
    data: Mapping[str, Any]


class PlanTooSmall(Conflict):
    """`in_the_way`: each resource of which the tenant has more than the plan allows, with `used` and `limit`."""

    code = "plan_too_small"
    meaning = "The tenant has more than the lower plan allows; `in_the_way` says of what."
    remedy = "Delete as many as are too many, then ask again."

    def __init__(self, tier: Tier, in_the_way: list[dict[str, Any]]) -> None:
        super().__init__(f"The plan {tier} allows fewer {words(in_the_way)} than there are.", in_the_way=in_the_way)


def words(in_the_way: list[dict[str, Any]]) -> str:
    """`agents (60 of 50) and users (7 of 5)`."""
    return " and ".join(f"{one['resource']} ({one['used']} of {one['limit']})" for one in in_the_way)


def on_plan(tenant: Tenant, tier: Tier) -> dict[str, Any]:
    """What changes of a tenant with its plan: the numbers that are the old plan's; a downgrade that waited is off."""
    own, old, new = tenant.model_dump(include={*NUMBERS}), PLANS[tenant.tier], PLANS[tier]
    numbers = {name: getattr(new, name) for name in NUMBERS if own[name] == getattr(old, name)}
    return {"tier": tier, **numbers, "next_tier": None, "next_tier_at": None}


def in_the_way(tenant: Tenant, tier: Tier, used: Mapping[str, int]) -> list[dict[str, Any]]:
    """Of what there is more than the plan would allow this tenant; `used` counts each of them."""
    after = Tenant.model_validate({**tenant.model_dump(), **on_plan(tenant, tier)})
    own, plan = after.settings.limits, PLANS[tier]
    limits = {
        "agents": after.max_agents,
        "users": after.max_users,
        "backups": plan.max_backups if own.max_backups is None else own.max_backups,
        "api_keys": plan.max_api_keys if own.max_api_keys is None else own.max_api_keys,
    }
    return [
        {"resource": name, "used": used[name], "limit": limit} for name, limit in limits.items() if used[name] > limit
    ]


def grace_ends(trial_ends_at: str) -> datetime:
    """When a tenant is suspended whose trial ends then."""
    return parse_rfc3339(trial_ends_at) + timedelta(days=GRACE_DAYS)


def new_plan(old: Tenant, new: Tenant) -> Told:
    return Told(
        "plan_changed",
        f"Your plan is {new.tier} now",
        f"The plan was {old.tier}. Its numbers are in GET /api/v1/quotas, its prices in GET /api/v1/billing.",
        {"from": old.tier.value, "to": new.tier.value},
    )


def kept_plan(tenant: Tenant, tier: Tier, obstacles: list[dict[str, Any]]) -> Told:
    return Told(
        "plan_kept",
        f"Your plan is still {tenant.tier}",
        f"It was to become {tier}, which allows fewer {words(obstacles)}. Delete as many, then ask for it again.",
        {"tier": tenant.tier.value, "wanted": tier.value, "in_the_way": obstacles},
    )

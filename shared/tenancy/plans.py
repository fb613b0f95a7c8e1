"""What each tier may do: quotas, rate limits, retention. One table; a tenant's settings may override single values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Tier(StrEnum):
    STANDARD = "standard"
    PROFESSIONAL = "professional"
    ENTERPRISE = "enterprise"


class Budget(StrEnum):
    """What is limited by the month: the plan's number, the quota and its counters are all called so."""

    AI_TOKENS = "ai_tokens_per_month"
    AI_SPEND = "ai_spend_per_month"


class Limit(StrEnum):
    """A named rate limit of some routes that write, on top of the tenant's own."""

    AGENTS = "agents"
    DESIGN = "design"


@dataclass(frozen=True)
class Plan:
    """The numbers of a tier, or of a tenant: items, tokens, micro-units of money, calls per minute, days."""

    max_agents: int
    max_users: int
    ai_tokens_per_month: int
    ai_spend_per_month: int
    requests_per_minute: int
    agents_per_minute: int
    design_per_minute: int
    backup_retention_days: int
    max_backups: int  # on demand, kept at a time
    max_runs: int  # of agents at a time
    runs_retention_days: int  # of what was said in them
    audit_retention_days: int  # at least as long as backups are kept, which need it
    max_copies: int = 0  # tenants that restores may make of one
    max_api_keys: int = 10
    max_webhooks: int = 5

    def quota(self, counter: str) -> int:
        """How many items a counter may count (`Kind.counter`)."""
        return {
            "agents": self.max_agents,
            "users": self.max_users,
            "api_keys": self.max_api_keys,
            "webhooks": self.max_webhooks,
            "mcp_servers": MAX_MCP_SERVERS,
        }[counter]

    def budget(self, budget: Budget) -> int:
        """How much of a budget may be used in a month."""
        return {Budget.AI_TOKENS: self.ai_tokens_per_month, Budget.AI_SPEND: self.ai_spend_per_month}[budget]

    def route_limit(self, limit: Limit) -> int:
        """Calls per minute that one tenant may make to the routes of `limit`."""
        return {Limit.AGENTS: self.agents_per_minute, Limit.DESIGN: self.design_per_minute}[limit]

    def with_overrides(self, overrides: Mapping[str, int]) -> "Plan":
        """This plan with single values replaced; unknown names are refused by the tenant model before they get here.

        A tenant with its own number of requests has the limits of routes in proportion, where it names none.
        """
        share = overrides.get("requests_per_minute", self.requests_per_minute) / self.requests_per_minute
        routes = {
            name: max(1, round(getattr(self, name) * share)) for name in ("agents_per_minute", "design_per_minute")
        }
        return replace(self, **{**routes, **overrides})


MAX_MCP_SERVERS = 20
"""Of a tenant, whatever its plan."""

TRIAL_DAYS = 14
GRACE_DAYS = 7  # after a trial, before the tenant is suspended
GLOBAL_REQUESTS = 1000
GLOBAL_WINDOW_MINUTES = 15

PLANS: Mapping[Tier, Plan] = {
    Tier.STANDARD: Plan(50, 5, 1_000_000, 10_000_000, 10, 10, 5, 30, 5, 2, 90, 365),
    Tier.PROFESSIONAL: Plan(
        200, 25, 10_000_000, 100_000_000, 50, 50, 25, 30, 20, 10, 90, 730, max_api_keys=50, max_webhooks=20
    ),
    Tier.ENTERPRISE: Plan(
        1000,
        250,
        100_000_000,
        1_000_000_000,
        100,
        100,
        50,
        90,
        50,
        50,
        90,
        2555,
        max_copies=2,
        max_api_keys=500,
        max_webhooks=50,
    ),
}

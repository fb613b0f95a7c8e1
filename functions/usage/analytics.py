"""How a tenant's calls went and what its AI has cost, over time: read from the rollups, like its usage.

Of telemetry, which is sampled, nothing is in here. What older releases have made says nothing of how calls went: those
calls are counted, and not among the `measured`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from functions.usage.blocks import Sums, bounded
from functions.usage.details import COST, PRICED, total
from functions.usage.latency import LONGEST_MS, PROMISED_MS, Calls
from functions.usage.models import RangeQuery
from functions.usage.periods import Period, range_of
from functions.usage.rollups import sums
from functions.usage.tally import merged
from shared.clock import rfc3339
from shared.work.events import Metric
from shared.work.resources import Answer, Timestamp
from shared.work.session import TenantSession

_TOOK = "took no longer, in milliseconds; at most 10 % wrong, null where none is measured."


class Quality(Answer):
    """How some calls went. What is told of errors and times is of those that are `measured`."""

    calls: int = Field(description="Calls.")
    measured: int = Field(description="Calls that are known to have failed or not, and how long they took.")
    client_errors: int | None = Field(description="Answers of 400 to 499; null where none is measured.")
    server_errors: int | None = Field(description="Answers of 500 and more; null where none is measured.")
    within_promise: int | None = Field(description=f"Calls that took {PROMISED_MS} ms at most; exact.")
    p50_ms: float | None = Field(description=f"Half of the calls {_TOOK}")
    p95_ms: float | None = Field(description=f"95 % {_TOOK} What took longer than {LONGEST_MS // 1000} s is told so.")
    p99_ms: float | None = Field(description=f"99 % {_TOOK}")


class EndpointQuality(Quality):
    """How the calls of one endpoint went."""

    operation: str = Field(
        examples=["list_agents"], description="The endpoint's name in the API's description; `other`: all the rest."
    )


class PeriodQuality(Quality):
    """How the calls of one period went."""

    start: Timestamp = Field(description="When the period begins.")


class ModelUse(Answer):
    """What one model was used for."""

    provider: str = Field(examples=["platform"], description="The provider, by the name that agents call it.")
    model: str = Field(description="The model; empty where it has no name, and for `other`.")
    tokens: int = Field(description="Tokens, in and out.")
    priced_tokens: int = Field(description="Those of them whose price is known.")
    cost_micro_usd: int | None = Field(description="What those cost, in millionths of a dollar; null: of none it is.")


class Analytics(Answer):
    """How a tenant's calls went, and what its AI has cost."""

    period: Period = Field(description="How long each of `items` is.")
    start: Timestamp = Field(alias="from", serialization_alias="from", description="From this time on.")
    end: Timestamp = Field(alias="to", serialization_alias="to", description="Before this time.")
    calls: Quality = Field(description="All calls of that time.")
    endpoints: list[EndpointQuality] = Field(description="By endpoint, the 100 with the most calls and `other`.")
    ai: list[ModelUse] = Field(description="By provider and model, those with the most tokens first.")
    items: list[PeriodQuality] = Field(description="By period, oldest first; those without calls are left out.")


class AnalyticsService:
    """Reads what rollups say beside the sums of usage."""

    async def analytics(self, tenant: TenantSession, query: RangeQuery) -> Analytics:
        """`Invalid` for a range that is empty or too long for its period. Costs what `GET v1/usage` costs."""
        start, end = range_of(query.period, query.since, query.until, tenant.services.clock.now())
        found = await sums(tenant.store, query.period, start, end)
        everything = bounded(merged(found.values()))
        calls, tokens = everything.get(Metric.API_CALLS), everything.get(Metric.AI_TOKENS)
        return Analytics.model_validate(
            {
                "period": query.period,
                "from": rfc3339(start),
                "to": rfc3339(end),
                "calls": quality(calls),
                "endpoints": _by_name(calls),
                "ai": _models(tokens),
                "items": _periods(found),
            }
        )


def quality(calls: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of what a rollup says of calls, all names together; None: there were none."""
    return told(0, {}) if calls is None else told(calls["value"], total(calls.get("details", {})))


def told(calls: int, details: Mapping[str, int]) -> dict[str, Any]:
    """A `Quality` of so many calls, of which that much is known."""
    known = Calls.of(details)
    return {
        "calls": calls,
        "measured": known.measured,
        "client_errors": known.client_errors if known.measured or not calls else None,
        "server_errors": known.server_errors if known.measured or not calls else None,
        "within_promise": known.within if known.measured or not calls else None,
        **{f"p{percent}_ms": known.percentile(percent) for percent in (50, 95, 99)},
    }


def _by_name(calls: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if calls is None:
        return []
    names, details = calls["dimensions"], calls.get("details", {})
    largest = sorted(names, key=lambda name: (-names[name], name))
    return [{"operation": name, **told(names[name], details.get(name, {}))} for name in largest]


def _periods(found: Mapping[str, Sums]) -> list[dict[str, Any]]:
    of_calls = {start: metrics[Metric.API_CALLS] for start, metrics in found.items() if Metric.API_CALLS in metrics}
    return [{"start": start, **quality(calls)} for start, calls in of_calls.items()]


def _models(tokens: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if tokens is None:
        return []
    names, details = tokens["dimensions"], tokens.get("details", {})
    return [
        {
            **_named(name),
            "tokens": names[name],
            "priced_tokens": details.get(name, {}).get(PRICED, 0),
            "cost_micro_usd": details.get(name, {}).get(COST),
        }
        for name in sorted(names, key=lambda name: (-names[name], name))
    ]


def _named(name: str) -> dict[str, str]:
    """Provider and model of a name (functions/usage/dimensions.py)."""
    provider, _, model = name.partition("/")
    return {
        key: part.replace("%2F", "/").replace("%25", "%") for key, part in (("provider", provider), ("model", model))
    }

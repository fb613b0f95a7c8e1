"""What a month costs: pure functions of plan history, usage, prices, and what has been billed before.

Shares of a month are taken as differences of rounded running shares, so that those of a month add up to the whole to
the last micro-unit, however it is cut. Each line is rounded once, half up.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

from functions.billing.models import Line, Segment, Statement
from functions.billing.prices import Metered, PriceVersion
from shared.clock import parse_rfc3339, rfc3339
from shared.tenancy.history import PlanChange, month_after
from shared.work.events import Metric

Used = Mapping[Metric, int]
NAMES = {Metric.API_CALLS: "API calls", Metric.EXECUTIONS: "Executions", Metric.AI_TOKENS: "AI tokens"}
FREE = {"trial": ", in the trial: no charge", "suspended": ", suspended: no charge", "active": ""}


def segments(changes: Sequence[PlanChange], month: datetime) -> list[Segment]:
    """The month cut where the plan has changed; what was before the first plan is in none. Whole hours."""
    end = month_after(month)
    starts = [max(parse_rfc3339(one.at), month) for one in changes]
    ends = [min(start, end) for start in [*starts[1:], end]]
    return [
        Segment(start=start, end=until, tier=one.tier, status=one.status)
        for one, start, until in zip(changes, starts, ends, strict=True)
        if start < until
    ]


def share(whole: int, segment: Segment, month: datetime) -> int:
    """The segment's part of what a whole month has."""
    length = _seconds(month, month_after(month))
    until = _half_up(whole * _seconds(month, segment.end), length)
    return until - _half_up(whole * _seconds(month, segment.start), length)


def charge(metered: Metered, quantity: int, segment: Segment, month: datetime) -> tuple[int, int, int]:
    """Of so many units used in a segment: how many it includes, how many are billed, and what those cost."""
    included = share(metered.included, segment, month)
    billed = left = max(0, quantity - included)
    cost, below = 0, 0
    for tranche in metered.tranches:
        bound = None if tranche.up_to is None else max(below, share(tranche.up_to, segment, month))
        taken = left if bound is None else min(left, bound - below)
        cost, left, below = cost + taken * tranche.price, left - taken, below if bound is None else bound
    return included, billed, _half_up(cost, metered.per)


def rated(parts: Sequence[tuple[Segment, Used]], month: datetime, version: PriceVersion) -> list[Line]:
    """The lines of a month: for each segment its plan, and each metric that was used in it and has a price."""
    lines: list[Line] = []
    for segment, used in parts:
        price = version.plans[segment.tier]
        free = segment.status != "active"
        base = 0 if free else share(price.base, segment, month)
        lines.append(_line(segment, month, version, f"{segment.tier.capitalize()} plan", None, None, None, None, base))
        for metric, metered in price.metered.items():
            if quantity := used.get(metric, 0):
                included, billed, amount = charge(metered, quantity, segment, month)
                if free:
                    billed = amount = 0
                name = NAMES[metric]
                lines.append(_line(segment, month, version, name, metric, quantity, included, billed, amount))
    return lines


def corrections(
    due: Iterable[Line], earlier: Sequence[Statement], month: datetime, version: PriceVersion
) -> list[Line]:
    """What is due for a month by now, less what statements have billed for it; nothing where that is the same."""
    name = month_name(month)
    now = _sums(due)
    before = _sums(line for one in earlier for line in one.lines if line.month == name)
    found: list[Line] = []
    for metric in [None, *Metric]:
        quantity, billed, amount = (
            new - old for new, old in zip(now.get(metric, (0, 0, 0)), before.get(metric, (0, 0, 0)), strict=True)
        )
        if quantity or billed or amount:
            what = NAMES.get(metric, metric.value) if metric else "Plan"
            found.append(
                Line.model_validate(
                    {
                        "kind": "correction",
                        "month": name,
                        "description": f"{what} of {name}, counted since its statement",
                        "tier": None,
                        "metric": metric,
                        "from": rfc3339(month),
                        "to": rfc3339(month_after(month)),
                        "price_version": version.version,
                        "quantity": quantity if metric else None,
                        "included": None,
                        "billed": billed if metric else None,
                        "amount": amount,
                        "events": _events(metric, month, month_after(month)),
                    }
                )
            )
    return found


def month_name(month: datetime) -> str:
    return f"{month:%Y-%m}"


def _sums(lines: Iterable[Line]) -> dict[Metric | None, tuple[int, int, int]]:
    """By metric: units used, units billed, amount."""
    found: dict[Metric | None, tuple[int, int, int]] = {}
    for line in lines:
        quantity, billed, amount = found.get(line.metric, (0, 0, 0))
        found[line.metric] = (quantity + (line.quantity or 0), billed + (line.billed or 0), amount + line.amount)
    return found


def _line(
    segment: Segment,
    month: datetime,
    version: PriceVersion,
    what: str,
    metric: Metric | None,
    quantity: int | None,
    included: int | None,
    billed: int | None,
    amount: int,
) -> Line:
    return Line.model_validate(
        {
            "kind": "usage" if metric else "base",
            "month": month_name(month),
            "description": what + FREE[segment.status],
            "tier": segment.tier,
            "metric": metric,
            "from": rfc3339(segment.start),
            "to": rfc3339(segment.end),
            "price_version": version.version,
            "quantity": quantity,
            "included": included,
            "billed": billed,
            "amount": amount,
            "events": _events(metric, segment.start, segment.end),
        }
    )


def _events(metric: Metric | None, start: datetime, end: datetime) -> str | None:
    if metric is None:
        return None
    asked = {"metric": metric.value, "from": rfc3339(start), "to": rfc3339(end)}
    return f"/api/v1/usage/events?{urlencode(asked, safe=':')}"


def _seconds(start: datetime, end: datetime) -> int:
    return int((end - start).total_seconds())


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)

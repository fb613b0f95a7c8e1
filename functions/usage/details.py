"""What is added up of the events of a name beside their value: how calls went, what tokens have cost.

Counters by short keys, so that sums of sums are plain additions. Sums without `details` are of before there were any.
"""

from collections.abc import Container, Mapping
from typing import Any

from functions.usage.dimensions import OTHER
from functions.usage.latency import Details, details_of_call
from shared.work.events import Metric

DETAILED = frozenset({Metric.API_CALLS, Metric.AI_TOKENS})
COST, PRICED = "cost", "priced"  # micro-USD, and the tokens whose price was known
MOST_COST = 10**12  # of one event, as of its value

Named = dict[str, dict[str, int]]  # name -> key -> how much


def details_of(metric: Metric, value: int, data: Mapping[str, Any]) -> Details:
    """What an event adds, by its own data; nothing where that does not say it."""
    if metric is Metric.API_CALLS:
        return details_of_call(data)
    if metric is Metric.AI_TOKENS:
        cost = data.get("cost")
        if type(cost) is int and 0 <= cost <= MOST_COST:
            return ((COST, cost), (PRICED, value))
    return ()


def put(into: Named, more: Mapping[str, Mapping[str, int]]) -> None:
    """Add details to others."""
    for name, own in more.items():
        _add(into.setdefault(name, {}), own)


def within(names: Container[str], details: Mapping[str, Mapping[str, int]]) -> Named:
    """By name; those that are none of these names together are `other`."""
    found: Named = {}
    for name in sorted(details):
        _add(found.setdefault(name if name in names else OTHER, {}), details[name])
    return {name: found[name] for name in sorted(found)}


def total(details: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Those of all names together."""
    found: dict[str, int] = {}
    for own in details.values():
        _add(found, own)
    return found


def _add(into: dict[str, int], more: Mapping[str, int]) -> None:
    for key, amount in more.items():
        into[key] = into.get(key, 0) + amount

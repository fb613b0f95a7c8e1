"""What usage is divided by: names made of the events' own data, few and short enough for one document.

A `%`, and a `/` within a part, are written `%25` and `%2F`, since `/` parts the parts. What is too long counts as
`other`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from shared.work.events import Metric

MAX_NAMES = 100  # of one rollup and metric, `other` not counted
MAX_PART = 128  # characters
OTHER = "other"
_PARTS = {
    Metric.API_CALLS: ("operation",),
    Metric.AGENTS_CREATED: ("pattern",),
    Metric.AI_TOKENS: ("provider", "model"),
    Metric.EXECUTIONS: ("status",),
    Metric.STORAGE_BYTES: ("kind",),
    Metric.REQUEST_UNITS: ("operation",),
}


def dimension(metric: Metric, data: Mapping[str, Any]) -> str | None:
    """The name that an event counts under; None without one. ValueError for a part that is no text."""
    parts: tuple[str, ...] = ()
    for name in _PARTS[metric]:
        part = data.get(name, "")
        if type(part) is not str:
            raise ValueError(f"its {name} is no text")
        parts += (part,)
    return _joined(parts)


def largest(values: Mapping[str, int]) -> dict[str, int]:
    """The hundred names with the largest values, by name; the rest together is `other`."""
    names = [name for name in values if name != OTHER]
    if len(names) > MAX_NAMES:
        names = sorted(names, key=lambda name: (-values[name], name))[:MAX_NAMES]
    kept = {name: values[name] for name in sorted(names)}
    if len(kept) < len(values):
        kept[OTHER] = sum(values.values()) - sum(kept.values())
    return kept


@lru_cache(maxsize=1024)
def _joined(parts: tuple[str, ...]) -> str | None:
    if any(len(part) > MAX_PART for part in parts):
        return OTHER
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts).rstrip("/") or None

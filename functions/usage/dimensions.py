"""What a rollup is divided by: names made of the events' own data, few and short enough for one document.

A name is also the last part of an increment's dotted path, so dots are written `%2E` in the store; a `%`, and a `/`
within a part, are `%25` and `%2F` for whoever reads, too. What is too long, or one name too many, counts as `other`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from shared.work.events import Metric

MAX_NAMES = 100  # of one rollup, `other` not counted
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
    """The name, as stored, that an event counts under; None without one. ValueError for a part that is no text."""
    parts = [data.get(name, "") for name in _PARTS[metric]]
    for name, part in zip(_PARTS[metric], parts, strict=True):
        if not isinstance(part, str):
            raise ValueError(f"its {name} is no text")
    if any(len(part) > MAX_PART for part in parts):
        return OTHER
    return "/".join(map(_escaped, parts)).rstrip("/") or None


def shown(stored: str) -> str:
    """The name as it is told: still one of its own."""
    return stored.replace("%2E", ".")


def admit(wanted: Iterable[str], known: Iterable[str], counted: int) -> set[str]:
    """Which of `wanted` may be names of a rollup that has `known` ones and has counted so many; first come first."""
    names = set(known)
    room = MAX_NAMES - max(counted, len(names - {OTHER}))
    admitted: set[str] = set()
    for name in dict.fromkeys(wanted):
        if name in names or name == OTHER:
            admitted.add(name)
        elif room > 0:
            admitted.add(name)
            room -= 1
    return admitted


def _escaped(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F").replace(".", "%2E")

"""Azure Functions route templates: `v1/agents/{id:guid}`, `{id}.svg`, `{name?}`, `{*rest}`, matched as ASP.NET
routing does.

Literals match in any case, a trailing slash is ignored, literal beats constrained beats free beats catch-all.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Generic, TypeVar
from urllib.parse import unquote

from local.bindings import HostError

T = TypeVar("T")
_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_CONSTRAINTS: Mapping[str, str] = {
    "guid": _GUID,
    "int": r"-?\d{1,10}",
    "long": r"-?\d{1,19}",
    "bool": r"(?i:true|false)",
    "alpha": r"[a-zA-Z]+",
    "required": r".+",
}
_PARAMETER = re.compile(r"\{(?P<catch>\*{0,2})(?P<name>\w+)(?::(?P<constraint>[^}?=]+))?(?P<optional>\?)?\}")
_ENDING = re.compile(r"\{(?P<name>\w+)\}(?P<ending>\.\w+)")
_LITERAL, _CONSTRAINED, _FREE, _CATCH_ALL = range(4)
_LOOKED_UP = 3  # segments: the prefix, the version, the collection


@dataclass(frozen=True)
class _Segment:
    rank: int
    pattern: re.Pattern[str]
    name: str | None = None
    optional: bool = False
    literal: str = ""  # in lower case


@dataclass(frozen=True)
class Template(Generic[T]):
    """One route of one function; `methods` None takes every method."""

    segments: tuple[_Segment, ...]
    methods: frozenset[str] | None
    target: T

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(segment.rank for segment in self.segments)

    @cached_property
    def length(self) -> int | None:
        """How many segments the path has; None where that is not said."""
        said = all(segment.rank != _CATCH_ALL and not segment.optional for segment in self.segments)
        return len(self.segments) if said else None

    @property
    def begins(self) -> tuple[str, ...]:
        """The literals before anything else, up to as many as are looked up by."""
        literals = takewhile(lambda segment: segment.rank == _LITERAL, self.segments[:_LOOKED_UP])
        return tuple(segment.literal for segment in literals)

    def match(self, path: list[str]) -> dict[str, str] | None:
        """The route parameters, or None where the path is another one."""
        if self.length is not None and self.length != len(path):
            return None
        values: dict[str, str] = {}
        at = 0
        for segment in self.segments:
            if segment.rank == _CATCH_ALL:
                text, at = "/".join(path[at:]), len(path)
            elif at < len(path):
                text, at = path[at], at + 1
            elif segment.optional:
                continue
            else:
                return None
            if segment.rank == _LITERAL:
                if segment.literal != text.lower():
                    return None
                continue
            if not (matched := segment.pattern.fullmatch(text)):
                return None
            text = matched[1] if matched.re.groups else text
            if segment.name is not None and (text or segment.rank != _CATCH_ALL):
                values[segment.name] = text
        return values if at >= len(path) else None


@dataclass(frozen=True)
class Found(Generic[T]):
    target: T
    params: Mapping[str, str]


class RouteTable(Generic[T]):
    """All routes, most specific first; by length and the literals that they begin with, so that few are looked at."""

    def __init__(self, templates: Iterable[Template[T]]) -> None:
        ordered = sorted(templates, key=lambda template: template.order)
        self._others = _by_length([one for one in ordered if len(one.begins) < _LOOKED_UP])
        self._by_beginning = {
            begins: _by_length([one for one in ordered if one.begins == begins[: len(one.begins)]])
            for begins in {one.begins for one in ordered}
            if len(begins) == _LOOKED_UP
        }

    def find(self, method: str, path: str) -> Found[T] | frozenset[str]:
        """The function to call, or the methods the path does have (none: no such path). `path` is still quoted."""
        segments = split(path)
        allowed: set[str] = set()
        begins = tuple(segment.lower() for segment in segments[:_LOOKED_UP])
        of_length = self._by_beginning.get(begins, self._others)
        for template in of_length.get(len(segments), of_length[None]):
            params = template.match(segments)
            if params is None:
                continue
            if template.methods is None or method in template.methods:
                return Found(template.target, params)
            allowed |= template.methods
        return frozenset(allowed)


def _by_length(ordered: Sequence[Template[T]]) -> dict[int | None, list[Template[T]]]:
    """Those that a path of so many segments may mean; None: one of a number that no template says."""
    lengths = {one.length for one in ordered} | {None}
    return {length: [one for one in ordered if one.length in (length, None)] for length in lengths}


def template(text: str, methods: Iterable[str] | None, target: T, *, function: str) -> Template[T]:
    """Read a template; HostError for a constraint that is not known here."""
    segments = tuple(_segment(part, function) for part in text.strip("/").split("/") if part)
    allowed = frozenset(method.upper() for method in methods or ())
    return Template(segments, allowed or None, target)


def split(path: str) -> list[str]:
    """Segments, unquoted one by one; a quoted slash stays quoted, as Kestrel leaves it."""
    decode: Callable[[str], str] = lambda part: "%2F".join(unquote(piece) for piece in re.split("%2[fF]", part))  # noqa: E731
    trimmed = path.removeprefix("/").removesuffix("/")
    parts = trimmed.split("/") if trimmed else []
    return [decode(part) for part in parts] if "%" in trimmed else parts


def _segment(text: str, function: str) -> _Segment:
    parameter = _PARAMETER.fullmatch(text)
    if ending := _ENDING.fullmatch(text):  # before a parameter alone, as ASP.NET has it
        pattern = re.compile(f"(.+)(?i:{re.escape(ending['ending'])})", re.DOTALL)
        return _Segment(_CONSTRAINED, pattern, ending["name"])
    if parameter is None:
        if "{" in text or "}" in text:
            raise HostError(f"Function {function}: the local host does not know the route segment {text!r}.")
        return _Segment(_LITERAL, re.compile(re.escape(text)), literal=text.lower())
    constraint = parameter["constraint"]
    if parameter["catch"]:
        return _Segment(_CATCH_ALL, re.compile(".*", re.DOTALL), parameter["name"])
    if constraint is None:
        return _Segment(_FREE, re.compile(".+", re.DOTALL), parameter["name"], bool(parameter["optional"]))
    if constraint not in _CONSTRAINTS:
        raise HostError(f"Function {function}: the local host does not know the route constraint {constraint!r}.")
    pattern = re.compile(_CONSTRAINTS[constraint])
    return _Segment(_CONSTRAINED, pattern, parameter["name"], bool(parameter["optional"]))

"""Expressions of API Management's policies, as far as ours have them: a subset of C#, and of what `context` has.

https://learn.microsoft.com/azure/api-management/api-management-policy-expressions. What is not listed here is refused
when it is read, so that no policy works in a test by chance.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from tests.doubles.policy_context import (
    Answered,
    Asked,
    Claims,
    Context,
    Failure,
    Guid,
    Headers,
    Jwt,
    Matched,
    Url,
)

Value = Any
Compiled = Callable[["Context"], Value]
TOKENS = re.compile(r'\s*(?:(?P<text>"[^"\\]*")|(?P<char>\'[^\'\\]\')|(?P<number>\d+)|(?P<name>[A-Za-z]\w*)'
                    r"|(?P<sign>&&|\|\||==|!=|\?\?|\?\.|[?:!+><.,()\[\]]))")  # fmt: skip
TYPES: Mapping[str, type] = {"string": str, "bool": bool}


class ExpressionError(Exception):
    """It is no expression that this double knows, or the real gateway would fail to evaluate it."""


def _default(held: Headers | Claims, name: str, default: str) -> str:
    value = held.get(name.lower() if isinstance(held, Headers) else name)
    return default if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _parsed(text: str) -> int:
    if not re.fullmatch(r"-?\d+", text):
        raise ExpressionError(f"FormatException: {text!r} is no number")
    return int(text)


# What objects have: properties by class, then methods.
PROPERTIES: Mapping[type, frozenset[str]] = {
    Context: frozenset({"Request", "Response", "Operation", "LastError", "Variables", "RequestId"}),
    Asked: frozenset({"Headers", "IpAddress", "OriginalUrl"}),
    Answered: frozenset({"Headers", "StatusCode"}),
    Matched: frozenset({"Id"}),
    Failure: frozenset({"Source", "Reason"}),
    Url: frozenset({"Path"}),
    Jwt: frozenset({"Issuer", "Claims"}),
}
METHODS: Mapping[tuple[type, str], Callable[..., Value]] = {
    (str, "Replace"): str.replace,
    (str, "Contains"): lambda text, part: part in text,
    (str, "Split"): str.split,
    (str, "AsJwt"): Jwt.read,
    (str, "ToString"): str,
    (int, "ToString"): str,
    (Guid, "ToString"): lambda guid: guid.text,
    (Headers, "GetValueOrDefault"): _default,
    (Claims, "GetValueOrDefault"): _default,
    (dict, "ContainsKey"): lambda held, name: name in held,
}
STATICS: Mapping[tuple[str, str], Callable[..., Value]] = {
    ("Regex", "IsMatch"): lambda text, pattern: re.search(pattern, text) is not None,
    ("int", "Parse"): _parsed,
    ("long", "Parse"): _parsed,
}
NEW: Mapping[str, Callable[..., Value]] = {
    "JProperty": lambda name, value: (name, value),
    "JObject": lambda *members: dict(members),
    "JArray": lambda *items: list(items),
}
NAMES = {name for names in PROPERTIES.values() for name in names} | {name for _, name in METHODS}


@cache
def compiled(text: str) -> Compiled:
    """What stands in `@(…)`; anything else is a text, and is that."""
    if not text.startswith("@"):
        return lambda context: text
    if not (text.startswith("@(") and text.endswith(")")):
        raise ExpressionError(f"not one expression: {text}")
    reader = _Reader(text[2:-1])
    read = reader.conditional()
    reader.end()
    return read


class _Reader:
    """Recursive descent, by C#'s precedence."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            found = TOKENS.match(text, at)
            if found is None:
                raise ExpressionError(f"not understood: {text[at:]}")
            self._tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            at = found.end()

    def end(self) -> None:
        if self._tokens:
            raise ExpressionError(f"not understood, from {self._tokens[0][1]!r} on: {self._text}")

    def conditional(self) -> Compiled:
        condition = self._coalesced()
        if not self._take("?"):
            return condition
        yes = self.conditional()
        self._need(":")
        no = self.conditional()
        return lambda context: yes(context) if _bool(condition(context)) else no(context)

    def _coalesced(self) -> Compiled:
        left = self._either()
        if not self._take("??"):
            return left
        right = self._coalesced()
        return lambda context: right(context) if (value := left(context)) is None else value

    def _either(self) -> Compiled:
        left = self._both()
        while self._take("||"):
            left = _either(left, self._both())
        return left

    def _both(self) -> Compiled:
        left = self._compared()
        while self._take("&&"):
            left = _both(left, self._compared())
        return left

    def _compared(self) -> Compiled:
        left = self._sum()
        for sign, compare in COMPARE.items():
            if self._take(sign):
                return _compared(left, compare, self._sum())
        return left

    def _sum(self) -> Compiled:
        left = self._unary()
        while self._take("+"):
            left = _joined(left, self._unary())
        return left

    def _unary(self) -> Compiled:
        if self._take("!"):
            inner = self._unary()
            return lambda context: not _bool(inner(context))
        kinds = [value for _, value in self._tokens[:3]]
        if len(kinds) == 3 and kinds[0] == "(" and kinds[2] == ")" and kinds[1] in (*TYPES, "Jwt"):
            del self._tokens[:3]
            inner, kind = self._unary(), TYPES.get(kinds[1], Jwt)
            return lambda context: _cast(inner(context), kind)
        return self._chain()

    def _chain(self) -> Compiled:
        read = self._primary()
        while True:
            if self._take("["):
                read = _indexed(read, self.conditional())
                self._need("]")
            elif self._take("."):
                read = self._member(read)
            elif self._take("?."):
                return self._unless_null(read)
            else:
                return read

    def _unless_null(self, read: Compiled) -> Compiled:
        """`a?.b`: null where a is; ours have one such step, the last."""
        held: list[Value] = []
        rest = self._member(lambda context: held[-1])

        def either(context: Context) -> Value:
            if (value := read(context)) is None:
                return None
            held.append(value)
            try:
                return rest(context)
            finally:
                held.pop()

        return either

    def _member(self, read: Compiled) -> Compiled:
        name = self._name()
        if name not in NAMES:
            raise ExpressionError(f"no member {name} is known")
        if not self._take("("):
            return lambda context: _property(read(context), name)
        given = self._arguments()
        return lambda context: _called(read(context), name, [one(context) for one in given])

    def _primary(self) -> Compiled:
        kind, value = self._tokens.pop(0) if self._tokens else ("", "")
        if kind in ("text", "char"):
            return lambda context: value[1:-1]
        if kind == "number":
            return lambda context: int(value)
        if value == "(":
            inner = self.conditional()
            self._need(")")
            return inner
        if value in ("true", "false"):
            return lambda context: value == "true"
        if value == "context":
            return lambda context: context
        make = self._maker(value)
        given = self._arguments()
        return lambda context: make(*[one(context) for one in given])

    def _maker(self, value: str) -> Callable[..., Value]:
        """Of `new Name(`, or the static method of `Name.Method(`."""
        if value == "new":
            make = NEW.get(self._name())
        else:
            self._need(".")
            make = STATICS.get((value, self._name()))
        if make is None:
            raise ExpressionError(f"not known: {value} in {self._text}")
        self._need("(")
        return make

    def _arguments(self) -> list[Compiled]:
        given: list[Compiled] = []
        while not self._take(")"):
            if given:
                self._need(",")
            given.append(self.conditional())
        return given

    def _name(self) -> str:
        kind, value = self._tokens.pop(0) if self._tokens else ("", "")
        if kind != "name":
            raise ExpressionError(f"a name is missing: {self._text}")
        return value

    def _take(self, sign: str) -> bool:
        if self._tokens and self._tokens[0] == ("sign", sign):
            self._tokens.pop(0)
            return True
        return False

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise ExpressionError(f"{sign} is missing: {self._text}")


def _bool(value: Value) -> bool:
    return bool(_cast(value, bool))


def _cast(value: Value, kind: type) -> Value:
    if not isinstance(value, kind):
        raise ExpressionError(f"InvalidCastException: {value!r} is no {kind.__name__}")
    return value


def _equal(one: Value, other: Value) -> bool:
    if type(one) is not type(other):
        raise ExpressionError(f"{one!r} and {other!r} cannot be compared")
    return bool(one == other)


COMPARE: Mapping[str, Callable[[Value, Value], bool]] = {
    "==": _equal,
    "!=": lambda one, other: not _equal(one, other),
    ">": lambda one, other: bool(_cast(one, int) > _cast(other, int)),
}


def _either(one: Compiled, other: Compiled) -> Compiled:
    return lambda context: _bool(one(context)) or _bool(other(context))


def _both(one: Compiled, other: Compiled) -> Compiled:
    return lambda context: _bool(one(context)) and _bool(other(context))


def _compared(one: Compiled, compare: Callable[[Value, Value], bool], other: Compiled) -> Compiled:
    return lambda context: compare(one(context), other(context))


def _joined(one: Compiled, other: Compiled) -> Compiled:
    """Texts only: what C# would make of anything else is not known here."""
    return lambda context: _cast(one(context), str) + _cast(other(context), str)


def _indexed(read: Compiled, at: Compiled) -> Compiled:
    def taken(context: Context) -> Value:
        held, key = read(context), at(context)
        try:
            return held[key]
        except (KeyError, IndexError) as error:
            raise ExpressionError(f"there is no {key!r}") from error

    return taken


def _property(held: Value, name: str) -> Value:
    if held is None:
        raise ExpressionError(f"NullReferenceException at {name}")
    if name not in PROPERTIES.get(type(held), ()):
        raise ExpressionError(f"{type(held).__name__} has no {name}")
    return getattr(held, name)


def _called(held: Value, name: str, given: list[Value]) -> Value:
    if isinstance(held, dict) and name == "ToString":
        return json.dumps(held)
    method = METHODS.get((type(held), name))
    if method is None:
        raise ExpressionError(f"{type(held).__name__} has no method {name}")
    return method(held, *given)

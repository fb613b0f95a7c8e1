"""The subset of Cosmos DB's SQL that the double understands, parsed strictly: what the service refuses fails.

SELECT [TOP n] (* | <path> [AS name], …) FROM c [WHERE <condition>] [ORDER BY <path> [ASC|DESC], …]

Conditions are three-valued as in the service: a comparison with what is not there, or of different types, is undefined,
and only `true` selects. Property names that are keywords (`value`, `order`, …) need brackets: `c["value"]`.
"""

import re
from dataclasses import dataclass
from typing import Any

from tests.doubles.cosmos_values import (
    UNDEFINED,
    Evaluate,
    Parameters,
    all_of,
    any_of,
    begins,
    compare,
    contains,
    is_in,
    value_at,
)

Path = tuple[str, ...]

_WORDS = (
    "and array as asc between by desc distinct escape exists false from group having in is join left let like limit "
    "not null offset on or order right select top true udf undefined value where"
)
KEYWORDS = frozenset(_WORDS.split())
_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<parameter>@\w+)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<symbol><=|>=|!=|<>|[=<>()\[\]{},.:*]))"
)


class SqlError(Exception):
    """The query is not one that the double (or the service) takes."""


@dataclass(frozen=True)
class Select:
    """A parsed query; `fields` None means `*`. `equal`: the paths that every result has one value at."""

    top: int | None
    fields: tuple[tuple[str, Evaluate], ...] | None
    where: Evaluate
    order: tuple[tuple[Path, bool], ...]
    paths: frozenset[Path]
    equal: frozenset[Path]

    def matches(self, document: Any, parameters: Parameters) -> bool:
        return self.where(document, parameters) is True

    def project(self, document: Any, parameters: Parameters) -> Any:
        if self.fields is None:
            return document
        values = {name: evaluate(document, parameters) for name, evaluate in self.fields}
        return {name: value for name, value in values.items() if value is not UNDEFINED}


def parse(text: str) -> Select:
    """The query, or SqlError."""
    return _Parser(text).select()


def parse_predicate(text: str) -> Select:
    """A patch condition: `from c where …`."""
    return _Parser(text).predicate()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._position = 0
        self._alias = "c"
        self._paths: set[Path] = set()
        self._equal: set[Path] = set()
        self._depth = 0

    def select(self) -> Select:
        self._expect("select")
        top = None
        if self._take("top"):
            top = int(self._next()[1])
        start = self._position
        while self._peek() != "from":  # the alias comes after the fields
            self._next()
        end = self._position
        self._from()
        after = self._position
        self._position = start
        fields = None if self._take("*") else self._fields()
        if self._position != end:
            raise SqlError(f"cannot select this: {self._text}")
        self._paths.clear()  # what is selected needs no index
        self._equal.clear()
        self._position = after
        where = self._where()
        order = self._order_by()
        self._end()
        return Select(top, fields, where, order, frozenset(self._paths), frozenset(self._equal))

    def predicate(self) -> Select:
        self._from()
        where = self._where()
        self._end()
        return Select(None, None, where, (), frozenset(self._paths), frozenset(self._equal))

    def _from(self) -> None:
        self._expect("from")
        self._alias = self._identifier()

    def _where(self) -> Evaluate:
        return self._or() if self._take("where") else lambda document, parameters: True

    def _order_by(self) -> tuple[tuple[Path, bool], ...]:
        if not self._take("order"):
            return ()
        self._expect("by")
        order = []
        while True:
            path = self._path(self._identifier())
            descending = self._take("desc")
            if not descending:
                self._take("asc")
            order.append((path, descending))
            if not self._take(","):
                return tuple(order)

    def _fields(self) -> tuple[tuple[str, Evaluate], ...]:
        fields = []
        while True:
            if self._peek() == "[":
                evaluate, name = self._list(), "$1"
            else:
                path = self._path(self._identifier())
                evaluate, name = _at(path), path[-1] if path else self._alias
            if self._take("as"):
                name = self._identifier()
            fields.append((name, evaluate))
            if not self._take(","):
                return tuple(fields)

    def _list(self) -> Evaluate:
        """`[{"item": c.a}, {"item": c.b}]`, what a rewritten cross-partition query asks for."""
        self._expect("[")
        items: list[tuple[str, Evaluate]] = []
        while True:
            self._expect("{")
            name = str(_literal(*self._next()))
            self._expect(":")
            items.append((name, self._operand()))
            self._expect("}")
            if not self._take(","):
                break
        self._expect("]")

        def evaluate(document: Any, parameters: Parameters) -> Any:
            values = [(name, inner(document, parameters)) for name, inner in items]
            return [{} if value is UNDEFINED else {name: value} for name, value in values]

        return evaluate

    def _or(self) -> Evaluate:
        terms = [self._and()]
        while self._take("or"):
            terms.append(self._and())
        if len(terms) > 1 and not self._depth:
            self._equal.clear()
        return terms[0] if len(terms) == 1 else any_of(terms)

    def _and(self) -> Evaluate:
        terms = [self._not()]
        while self._take("and"):
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else all_of(terms)

    def _not(self) -> Evaluate:
        if not self._take("not"):
            return self._comparison()
        self._depth += 1
        inner = self._not()
        self._depth -= 1

        def evaluate(document: Any, parameters: Parameters) -> Any:
            value = inner(document, parameters)
            return not value if isinstance(value, bool) else UNDEFINED

        return evaluate

    def _comparison(self) -> Evaluate:
        if self._take("("):
            self._depth += 1
            inner = self._or()
            self._depth -= 1
            self._expect(")")
            return inner
        if self._take("is_defined"):
            [operand] = self._arguments(1)
            return lambda document, parameters: operand(document, parameters) is not UNDEFINED
        if self._take("array_contains"):
            [array, item] = self._arguments(2)
            return lambda document, parameters: contains(array(document, parameters), item(document, parameters))
        if self._take("startswith"):
            [text, start] = self._arguments(2)
            return lambda document, parameters: begins(text(document, parameters), start(document, parameters))
        named = set(self._paths)
        left = self._operand()
        if self._peek() == "=" and not self._depth:
            self._equal |= self._paths - named
        if self._take("in"):
            choices = self._arguments(None)
            return lambda document, parameters: is_in(
                left(document, parameters), [choice(document, parameters) for choice in choices]
            )
        if self._peek() in ("=", "!=", "<>", "<", "<=", ">", ">="):
            operator = self._next()[1]
            right = self._operand()
            return lambda document, parameters: compare(
                operator, left(document, parameters), right(document, parameters)
            )
        return left

    def _arguments(self, count: int | None) -> list[Evaluate]:
        self._expect("(")
        arguments = [self._operand()]
        while self._take(","):
            arguments.append(self._operand())
        self._expect(")")
        if count is not None and len(arguments) != count:
            raise SqlError(f"{count} arguments expected: {self._text}")
        return arguments

    def _operand(self) -> Evaluate:
        sort, text = self._next()
        if sort == "parameter":

            def parameter(document: Any, parameters: Parameters) -> Any:
                if text not in parameters:
                    raise SqlError(f"parameter {text} has no value")
                return parameters[text]

            return parameter
        if sort in ("string", "number") or text.lower() in ("true", "false", "null"):
            value = _literal(sort, text)
            return lambda document, parameters: value
        if sort == "name" and text == self._alias:
            return _at(self._path(text))
        raise SqlError(f"{text!r} is not expected here: {self._text}")

    def _path(self, alias: str) -> Path:
        if alias != self._alias:
            raise SqlError(f"{alias!r} is not the alias of the query: {self._text}")
        names: list[str] = []
        while self._peek() in (".", "["):
            if self._take("."):
                names.append(self._identifier())
            else:
                self._expect("[")
                sort, text = self._next()
                if sort != "string":
                    raise SqlError(f"a property name is expected in brackets: {self._text}")
                names.append(str(_literal(sort, text)))
                self._expect("]")
        if names:
            self._paths.add(tuple(names))
        return tuple(names)

    def _identifier(self) -> str:
        sort, text = self._next()
        if sort != "name" or text.lower() in KEYWORDS:
            raise SqlError(f"Syntax error, incorrect syntax near '{text}': {self._text}")
        return text

    def _peek(self) -> str:
        if self._position >= len(self._tokens):
            return ""
        sort, text = self._tokens[self._position]
        return text.lower() if sort in ("name", "symbol") else ""

    def _is(self, word: str) -> bool:
        return self._peek() == word

    def _take(self, word: str) -> bool:
        if self._peek() != word:
            return False
        self._position += 1
        return True

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise SqlError(f"{word!r} is expected: {self._text}")

    def _next(self) -> tuple[str, str]:
        if self._position >= len(self._tokens):
            raise SqlError(f"the query ends too early: {self._text}")
        self._position += 1
        return self._tokens[self._position - 1]

    def _end(self) -> None:
        if self._position != len(self._tokens):
            raise SqlError(f"{self._tokens[self._position][1]!r} is not understood: {self._text}")


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position, text = [], 0, text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise SqlError(f"cannot read {text[position : position + 20]!r}")
        found.append((match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    return found


def _literal(sort: str, text: str) -> Any:
    if sort == "string":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if sort == "number":
        return float(text) if "." in text else int(text)
    return {"true": True, "false": False, "null": None}[text.lower()]


def _at(path: Path) -> Evaluate:
    return lambda document, parameters: value_at(document, path)

"""Values and three-valued logic of Cosmos DB's SQL."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Parameters = Mapping[str, Any]
Evaluate = Callable[[Any, Parameters], Any]


class _Undefined:
    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = _Undefined()


def sort_key(value: Any) -> tuple[int, Any]:
    """The service's order over types: undefined, null, booleans, numbers, strings."""
    if value is UNDEFINED:
        return (0, 0)
    if value is None:
        return (1, 0)
    if isinstance(value, bool):
        return (2, value)
    return (3, value) if isinstance(value, int | float) else (4, str(value))


def value_at(document: Any, path: Sequence[str]) -> Any:
    """The value at a path, or UNDEFINED."""
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return UNDEFINED
        document = document[name]
    return document


def all_of(terms: list[Evaluate]) -> Evaluate:
    def evaluate(document: Any, parameters: Parameters) -> Any:
        values = [term(document, parameters) for term in terms]
        if any(value is False for value in values):
            return False
        return True if all(value is True for value in values) else UNDEFINED

    return evaluate


def any_of(terms: list[Evaluate]) -> Evaluate:
    def evaluate(document: Any, parameters: Parameters) -> Any:
        values = [term(document, parameters) for term in terms]
        if any(value is True for value in values):
            return True
        return False if all(value is False for value in values) else UNDEFINED

    return evaluate


def compare(operator: str, left: Any, right: Any) -> Any:
    if left is UNDEFINED or right is UNDEFINED:
        return UNDEFINED
    (left_sort, left), (right_sort, right) = sort_key(left), sort_key(right)
    if operator in ("=", "!=", "<>"):
        return ((left_sort, left) == (right_sort, right)) == (operator == "=")
    if left_sort != right_sort:
        return UNDEFINED
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def is_in(value: Any, choices: list[Any]) -> Any:
    if value is UNDEFINED:
        return UNDEFINED
    return any(compare("=", value, choice) is True for choice in choices)


def begins(text: Any, start: Any) -> Any:
    """STARTSWITH with two arguments: with regard to case (cosmos-db/nosql/query/startswith)."""
    return text.startswith(start) if isinstance(text, str) and isinstance(start, str) else UNDEFINED


def contains(array: Any, item: Any) -> Any:
    return UNDEFINED if not isinstance(array, list) else is_in(item, array)

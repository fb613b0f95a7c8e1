"""Cosmos DB's limits, checked before anything is sent, by every adapter, so that all of them fail alike.

Source: https://learn.microsoft.com/azure/cosmos-db/concepts-limits (per-item and per-request limits).
"""

from collections.abc import Sequence
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from shared.database.port import Create, Delete, Document, Increment, Operation, Read, Replace
from shared.errors import Invalid, TooLarge
from shared.kinds import Kind

MAX_OPERATIONS = 100
MAX_PATCHES = 10
MAX_BYTES = 2 * 1024 * 1024
MAX_ID_BYTES = 1023
MAX_NESTING = 128
MAX_INTEGER = 2**53
UNVERSIONED = {"touched", "revision"}  # what `Change.touch` moves means the same in every version


def encode(body: Document, *, within: int = 0) -> str:
    """The document as JSON text; Invalid for what the store cannot keep exactly (depth, integers, NaN, surrogates).

    `within`: how many levels of a document are around it.
    """
    _check_value(body, "", 1 + within)
    try:
        return to_json(body).decode()
    except PydanticSerializationError as error:
        raise Invalid.of("body", "holds half a character (a lone surrogate)") from error


def check_id(kind: Kind, id: str) -> str:
    """The id as stored, `<kind>:<id>`; Invalid when Cosmos would refuse it."""
    stored = f"{kind}:{id}"
    if not id or len(stored.encode()) > MAX_ID_BYTES or any(character in "/\\?#" for character in id):
        raise Invalid.of("id", f"an id is 1 to {MAX_ID_BYTES} bytes without / \\ ? #", id)
    return stored


def encode_batch(operations: Sequence[Operation]) -> list[str | None]:
    """The JSON text of every operation's body (None where it has none), after checking the batch as a whole."""
    count = sum(weight(operation) for operation in operations)
    if not 1 <= count <= MAX_OPERATIONS:
        raise TooLarge(f"A batch holds 1 to {MAX_OPERATIONS} operations, not {count}.")
    if len({operation.kind.container for operation in operations}) > 1:
        raise ValueError("a batch stays within one container")
    for one in operations:
        if isinstance(one, Increment) and one.kind.upcasts and not {*one.amounts} <= UNVERSIONED:
            raise ValueError(f"{one.kind} has schema versions: an item of an older one cannot be counted up unread")
    encoded = [_encoded(one) for one in operations]
    size = sum(len(text.encode()) for text in encoded if text)
    if size > MAX_BYTES:
        raise TooLarge(f"This change is {size} bytes of JSON; at most {MAX_BYTES} can be stored at once.")
    return encoded


def _encoded(operation: Operation) -> str | None:
    if isinstance(operation, Delete | Increment | Read):
        return None
    known = operation.text if isinstance(operation, Create | Replace) else None
    return encode(operation.body) if known is None else known


def weight(operation: Operation) -> int:
    """How many operations of a batch it takes: an increment of more than ten fields takes several patches."""
    return patches(len(operation.amounts)) if isinstance(operation, Increment) else 1


def patches(fields: int) -> int:
    """How many patches it takes to move so many fields of an item."""
    return max(1, -(-fields // MAX_PATCHES))


def _check_value(value: Any, path: str, depth: int) -> None:
    if depth > MAX_NESTING:
        raise Invalid.of(path, f"is nested deeper than {MAX_NESTING} levels")
    if isinstance(value, dict):
        for name, inner in value.items():
            kind = type(inner)
            if kind is str or inner is None or (kind is int and -MAX_INTEGER <= inner <= MAX_INTEGER):
                continue  # as most are
            _check_value(inner, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            if type(inner) is str:
                continue
            _check_value(inner, f"{path}.{position}", depth + 1)
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise Invalid.of(path, "is an integer beyond 2^53; send it as a string", str(value))
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise Invalid.of(path, "is not a finite number", str(value))

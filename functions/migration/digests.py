"""The digest of a row, made from the row and from what is stored of it: equal only if every field is.

SHA-256 of JSON with sorted names; a whole number is written as one, since databases of JSON have one kind of number.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from json.encoder import encode_basestring_ascii as _QUOTED
from typing import Any, Final

from functions.migration.models import Table

FIELDS: Final[Mapping[Table, tuple[str, ...]]] = {
    "elements": ("name", "type", "description", "properties"),
    "relationships": (
        "type",
        "source_id",
        "target_id",
        "name",
        "description",
        "properties",
        "access_type",
        "influence",
        "is_directed",
    ),
    "agents": ("name", "description", "pattern", "instructions", "config", "element_id", "status"),
}
NAMING: Final[Mapping[Table, tuple[str, ...]]] = {
    "elements": (),
    "relationships": ("source_id", "target_id"),
    "agents": ("element_id",),
}
"""Fields that name others; digests take the old keys of those."""
_ENCODE: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


def digest(table: Table, legacy_id: str, fields: Mapping[str, Any]) -> str:
    """`fields`: at least those of the table, with old keys for ids."""
    told = [_QUOTED(table), _QUOTED(legacy_id), *[_text(fields[name]) for name in FIELDS[table]]]
    return sha256(f"[{','.join(told)}]".encode()).hexdigest()


def _text(value: Any) -> str:
    """As JSON. Texts, and objects of texts, are nearly all that there is: those are put together here."""
    kind = type(value)
    if kind is str:
        return _QUOTED(value)
    if value is None:
        return "null"
    if kind is dict:
        return f"{{{','.join([f'{_QUOTED(name)}:{_text(value[name])}' for name in sorted(value)])}}}"
    return _ENCODE(_settled(value))


def _settled(value: Any) -> Any:
    kind = type(value)
    if kind is float and value.is_integer():
        return int(value)
    if kind is dict:
        return {name: _settled(inner) for name, inner in value.items()}
    if kind is list:
        return [_settled(inner) for inner in value]
    return value

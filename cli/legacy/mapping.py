"""From a row to the item that it becomes, or to the reason why it cannot: nothing is cut, guessed or left out.

What can be written otherwise without losing anything is, with a note: a pattern in another case, a number among the
properties, a date. Unknown columns become properties of an element or relationship, config of an agent.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, get_args

from pydantic import ValidationError

from cli.legacy.dates import as_rfc3339
from cli.legacy.reading import Read, Value, as_key
from functions.agents.models import AgentFields, Pattern, Status
from functions.catalog.archimate import ELEMENT_TYPES, RELATIONSHIP_TYPES
from functions.catalog.exchange import JUNCTION
from functions.catalog.models import ElementFields, RelationshipFields
from functions.migration.models import AgentRow, ElementRow, RelationshipRow, Row, Table
from shared.database.limits import MAX_INTEGER, encode
from shared.errors import Invalid

MAX_KEY: Final = 255
DATES: Final = ("created_at", "updated_at")
_TEXTS: Final = frozenset({"id", "tenant_id", "name", "description"})
_OF_TABLE: Final[Mapping[Table, frozenset[str]]] = {
    "elements": _TEXTS | {"type", "properties"},
    "relationships": _TEXTS
    | {"type", "source_id", "target_id", "properties", "access_type", "influence", "is_directed"},
    "agents": _TEXTS | {"pattern", "config", "element_id", "status"},
}
KNOWN: Final = frozenset[str]().union(*_OF_TABLE.values(), DATES)
"""Columns that mean something, whatever case they are written in."""


_ELEMENT_TYPES: Final = dict.fromkeys(ELEMENT_TYPES)
_RELATIONSHIP_TYPES: Final = dict.fromkeys(RELATIONSHIP_TYPES)
"""In their order, and found at once."""


class Defect(Exception):
    """Why a row cannot become an item, for a person to mend."""


@dataclass(slots=True)
class Mapped:
    """An item, and what was written otherwise for it."""

    row: Row[Any]
    notes: list[str] = field(default_factory=list)


def mapped(table: Table, read: Read) -> Mapped:
    """The item of a row; `Defect` with the first reason why there is none."""
    if read.broken:
        raise Defect(f"{read.broken[0]} is no valid UTF-8")
    if (key := read.key) is None:
        raise Defect("it has no key (id)")
    if len(key) > MAX_KEY:
        raise Defect(f"its key has {len(key)} characters; at most {MAX_KEY} can be kept")
    if read.repeated:
        raise Defect(f"another row has the key {key[:100]!r} too")
    notes: list[str] = []
    try:
        fields = _FIELDS[table](read.columns, notes)
        row: Row[Any] = _ROWS[table](legacy_id=key, fields=fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise Defect(f"{'.'.join(map(str, first['loc']))[:300]}: {first['msg']}") from error
    except Invalid as error:
        raise Defect(error.message[:300]) from error
    return Mapped(row, notes)


def _element(row: Mapping[str, Value], notes: list[str]) -> ElementFields:
    type = _word(row, "type", _ELEMENT_TYPES, notes)
    name = _text(row, "name")
    if not name.strip() and type != "Junction":
        raise Defect("name is empty")
    properties = _properties("elements", row, notes)
    if type != "Junction" and JUNCTION in properties:
        raise Defect(f"the property {JUNCTION} is of Junctions only")
    if type == "Junction" and JUNCTION not in properties:
        properties[JUNCTION] = "and"
        notes.append("a Junction without a kind is an And")
    return ElementFields.model_validate(
        {
            "name": _trimmed(name, notes),
            "type": type,
            "description": _text(row, "description"),
            "properties": properties,
        }
    )


def _relationship(row: Mapping[str, Value], notes: list[str]) -> RelationshipFields:
    type = _word(row, "type", _RELATIONSHIP_TYPES, notes)
    only = {"access_type": "Access", "influence": "Influence", "is_directed": "Association"}
    details: dict[str, Any] = {}
    for name, of in only.items():
        value = row.get(name)
        if value is None or value == "":
            continue
        if type != of:
            raise Defect(f"{name} belongs to a relationship of type {of} only")
        details[name] = bool(value) if name == "is_directed" and value in (0, 1) else _text(row, name)
    return RelationshipFields.model_validate(
        {
            "type": type,
            "source_id": _key(row, "source_id"),
            "target_id": _key(row, "target_id"),
            "name": _trimmed(_text(row, "name"), notes),
            "description": _text(row, "description"),
            "properties": _properties("relationships", row, notes),
            **details,
        }
    )


def _agent(row: Mapping[str, Value], notes: list[str]) -> AgentFields:
    name = _text(row, "name")
    if not name.strip():
        raise Defect("name is empty")
    config = _json_object(row, "config")
    _add_columns("agents", row, config, notes, _exact)
    encode(config, within=1)  # free JSON; all else is text, which is checked as it is read
    instructions = config.get("instructions")
    return AgentFields.model_validate(
        {
            "name": _trimmed(name, notes),
            "description": _text(row, "description"),
            "pattern": _word(row, "pattern", get_args(Pattern), notes),
            "instructions": instructions if isinstance(instructions, str) else "",
            "config": config,
            "element_id": None if row.get("element_id") in (None, "") else _key(row, "element_id"),
            "status": _word({"status": row.get("status") or "active"}, "status", get_args(Status), notes),
        }
    )


_FIELDS: Final[Mapping[Table, Callable[[Mapping[str, Value], list[str]], Any]]] = {
    "elements": _element,
    "relationships": _relationship,
    "agents": _agent,
}


def _exact(value: str | int | float) -> str | int | float:
    """A number that JSON would not keep, as text."""
    return str(value) if isinstance(value, int) and abs(value) > MAX_INTEGER else value


_ROWS: Final[Mapping[Table, type[Row[Any]]]] = {
    "elements": ElementRow,
    "relationships": RelationshipRow,
    "agents": AgentRow,
}


def _key(row: Mapping[str, Value], name: str) -> str:
    key = as_key(row.get(name))
    if key is None:
        raise Defect(f"{name} is empty, or no key")
    if len(key) > MAX_KEY:
        raise Defect(f"{name} has {len(key)} characters; no key has more than {MAX_KEY}")
    return key


def _text(row: Mapping[str, Value], name: str) -> str:
    """The text of a column, empty for none. Numbers are what SQLite makes of them in text."""
    value = row.get(name)
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Defect(f"{name} is no text, but bytes") from error
    return "" if value is None else str(value)


def _trimmed(text: str, notes: list[str]) -> str:
    trimmed = text.strip()
    if text != trimmed:
        notes.append("the name had spaces around it")
    return trimmed


def _word(row: Mapping[str, Value], name: str, known: Collection[str], notes: list[str]) -> str:
    """One of the known words, in whatever case, with `archimate:` before it, dashes in it or `Relationship` behind."""
    said = _text(row, name)
    if said in known:
        return said
    plain = _plain(said)
    for word in known:
        if plain in (_plain(word), f"{_plain(word)}relationship"):
            notes.append(f"{name} {said[:50]!r} is {word}")
            return word
    if not said.strip():
        raise Defect(f"{name} is empty")
    raise Defect(f"{name} {said[:100]!r} is none of {', '.join(known)}"[:600])


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]", "", text.rpartition(":")[2]).lower()


def _properties(table: Table, row: Mapping[str, Value], notes: list[str]) -> dict[str, str]:
    """Names and texts; what is no text is written as JSON."""
    found = _json_object(row, "properties")
    for name, value in found.items():
        if not isinstance(value, str):
            found[name] = json.dumps(value, ensure_ascii=False)
            notes.append("a property was no text: it is JSON now")
    _add_columns(table, row, found, notes, lambda value: value if isinstance(value, str) else json.dumps(value))
    return found


def _add_columns(
    table: Table,
    row: Mapping[str, Value],
    to: dict[str, Any],
    notes: list[str],
    written: Callable[[str | int | float], Any],
) -> None:
    """Columns of no field; a name that is taken gets `legacy_` before it, as dates have."""
    if row.keys() <= _OF_TABLE[table]:
        return
    for name, value in row.items():
        if name in _OF_TABLE[table] or value is None:
            continue
        if isinstance(value, bytes):
            raise Defect(f"{name[:100]} holds bytes, which no property can")
        if name in DATES:
            date = as_rfc3339(value)
            if date is None:
                notes.append(f"{name} is no date: it stays as it was")
            value, name = str(value) if date is None else date, f"legacy_{name}"
        name = f"legacy_{name}" if name in to else name
        if name in to:
            raise Defect(f"a column and the properties are both called {name[:100]}")
        to[name] = written(value)


def _json_object(row: Mapping[str, Value], name: str) -> dict[str, Any]:
    text = _text(row, name)
    if not text.strip():
        return {}
    try:
        found = _JSON.decode(text)
    except RecursionError as error:
        raise Defect(f"{name} is nested too deep") from error
    except ValueError as error:
        raise Defect(f"{name} is no valid JSON: {str(error)[:200]}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Defect(f"{name} is JSON, but no object")
    return found


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice in one object")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _float(text: str) -> float:
    """A number that is kept as it is; ValueError for one of more digits, or larger, than floats are."""
    value = float(text)
    try:
        if Decimal(text) == Decimal(repr(value)):
            return value
    except InvalidOperation:  # beyond even what decimals can say
        pass
    raise ValueError(f"{text[:50]} has more digits than a number can keep; make it a text")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_number, parse_float=_float)

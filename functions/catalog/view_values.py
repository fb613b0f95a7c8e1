"""What is kept of a view or a folder of a file: the form that an export and import gives back unchanged."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from functions.catalog.exchange import FoundPart, FoundView, Rows
from functions.catalog.exchange_xml import xml_id
from functions.catalog.models import Name, Properties, Text
from functions.catalog.values import MAX_FIELDS_BYTES, long_translation, settled_texts
from functions.catalog.view_models import Style, ViewConnection, ViewNode

TOO_LARGE: Final = f"It is more than {MAX_FIELDS_BYTES:,} bytes of JSON, which is what can be kept. Divide the view."
_NAMES: Final = ("identifier", "parent", "element_id", "relationship_id", "source", "target")


class _Kept(BaseModel):
    """What a view may hold."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    name: Name
    description: Text
    properties: Properties
    styles: list[Style]
    nodes: list[ViewNode]
    connections: list[ViewConnection]


def settled_view(found: FoundView) -> FoundView:
    return replace(
        found,
        identifier=xml_id(found.identifier),
        viewpoint_ref=None if found.viewpoint_ref is None else xml_id(found.viewpoint_ref),
        nodes=[_named(one) for one in found.nodes],
        connections=[_named(one) for one in found.connections],
        **settled_texts(found),
    )


def settled_part(found: FoundPart) -> FoundPart:
    if found.section != "organizations":
        return found
    rows: Rows = [
        {name: xml_id(value) if name in ("identifier", "ref") else value for name, value in row.items()}
        for row in found.rows
    ]
    return replace(found, rows=rows)


def refusal_of_view(found: FoundView) -> str | None:
    """Why a view is not taken although it is well formed."""
    if _is_too_large(found):
        return TOO_LARGE
    values: Mapping[str, Any] = {name: getattr(found, name) for name in _Kept.model_fields}
    try:
        kept = _Kept.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])[:300]}: {first['msg']}"
    called = [one["identifier"] for one in (*found.nodes, *found.connections)]
    if len(set(called)) < len(called):
        return "as XML names, two of its nodes or connections are called alike"
    size = len(json.dumps(kept.model_dump(), ensure_ascii=False, separators=(",", ":")).encode())
    size += len(json.dumps(found.translations, ensure_ascii=False).encode())
    if size > MAX_FIELDS_BYTES:
        return TOO_LARGE
    return long_translation(found.translations)


def _is_too_large(found: FoundView) -> bool:
    """Summed box by box, so that no view is held a second time, as values and as JSON, only to be refused."""
    size = 0
    for one in (*found.styles, *found.nodes, *found.connections):
        size += len(json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode())
        if size > MAX_FIELDS_BYTES:
            return True
    return False


def _named(one: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: xml_id(one[name]) for name in _NAMES if one.get(name)}
    return {**one, **named, "view_ids": [xml_id(ref) for ref in one["view_ids"]]}

"""Writes ArchiMate exchange XML as a stream; `exchange_read.read_model` gives back what was written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from functions.catalog.exchange import (
    JUNCTION,
    NAMESPACE,
    FoundElement,
    FoundRelationship,
    FoundView,
    ModelHeader,
    PropertyDefinition,
    Rows,
    Section,
)
from functions.catalog.exchange_text import PROPERTY, spread
from functions.catalog.exchange_write_views import folders, view, xml
from functions.catalog.exchange_xml import attributes, lines, xml_id

_SCHEMA: Final = "http://www.opengroup.org/xsd/archimate/3.1/archimate3_Diagram.xsd"


def write_model(
    model: ModelHeader | str,
    elements: Iterable[FoundElement],
    relationships: Iterable[FoundRelationship],
    views: Sequence[FoundView] = (),
    parts: Mapping[Section, Rows] = MappingProxyType({}),
) -> Iterator[bytes]:
    """`model` is a name or a whole header; its property definitions are kept, missing ones are added.

    `parts`: the sections that are kept as rows, but for the definitions.
    """
    header = ModelHeader("flowgrid-model", model) if isinstance(model, str) else model
    definitions = _Definitions(header.definitions)
    yield _opening(header, definitions).encode()
    if metadata := parts.get("metadata"):
        yield f"  {xml(metadata)}".encode()
    yield from _section("elements", (_element(element, definitions) for element in elements))
    yield from _section("relationships", (_relationship(each, definitions) for each in relationships))
    for piece in folders(parts.get("organizations", [])):
        yield piece.encode()
    for key in (key for one in views for key in one.properties):
        definitions.reference(key)  # what views refer to is written before them
    yield from _section("propertyDefinitions", map(_definition, definitions.all()))
    yield from _views(views, parts.get("viewpoints", []), definitions)
    yield b"</model>\n"


class _Definitions:
    """The property definitions by key: those of the model, and one more for each key that has none."""

    def __init__(self, given: Iterable[PropertyDefinition]) -> None:
        self._by_key = {definition.key: definition for definition in given}
        self._given_ids = {definition.identifier for definition in self._by_key.values()}
        self._number = 0

    def reference(self, key: str) -> str:
        if key not in self._by_key:
            self._by_key[key] = PropertyDefinition(self._new_id(), key)
        return xml_id(self._by_key[key].identifier)

    def all(self) -> Iterable[PropertyDefinition]:
        return self._by_key.values()

    def _new_id(self) -> str:
        while True:
            self._number += 1
            identifier = f"flowgrid-property-{self._number}"
            if identifier not in self._given_ids:
                return identifier


def _section(name: str, nodes: Iterator[str]) -> Iterator[bytes]:
    """The schema wants no empty sections."""
    opening = f"  <{name}>\n"
    for node in nodes:
        yield (opening + node).encode()
        opening = ""
    if not opening:
        yield f"  </{name}>\n".encode()


def _views(views: Sequence[FoundView], viewpoints: Rows, definitions: _Definitions) -> Iterator[bytes]:
    if not views and not viewpoints:
        return
    yield b"  <views>\n"
    if viewpoints:
        yield f"    {xml(viewpoints)}".encode()
    if views:
        yield b"    <diagrams>\n"
        for one in views:
            for piece in view(one, _texts(one, definitions, "        ", named=True)):
                yield piece.encode()
        yield b"    </diagrams>\n"
    yield b"  </views>\n"


def _opening(header: ModelHeader, definitions: _Definitions) -> str:
    values = {"identifier": xml_id(header.identifier), "version": header.version}
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<model xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{NAMESPACE} {_SCHEMA}"{attributes(values)}>\n'
        f"{_texts(header, definitions, '  ', named=True)}"
    )


def _element(element: FoundElement, definitions: _Definitions) -> str:
    kind: str = element.type
    if element.type == "Junction":
        kind = "OrJunction" if element.properties.get(JUNCTION) == "or" else "AndJunction"
        element = replace(element, properties={k: v for k, v in element.properties.items() if k != JUNCTION})
    values = {"identifier": xml_id(element.identifier), "xsi:type": kind}
    texts = _texts(element, definitions, "      ", named=element.type != "Junction")
    return f"    <element{attributes(values)}>\n{texts}    </element>\n"


def _relationship(relationship: FoundRelationship, definitions: _Definitions) -> str:
    values: dict[str, str | None] = {
        "identifier": xml_id(relationship.identifier),
        "source": xml_id(relationship.source),
        "target": xml_id(relationship.target),
        "xsi:type": relationship.type,
    }
    match relationship.type:
        case "Access":
            values["accessType"] = relationship.access_type
        case "Influence":
            values["modifier"] = relationship.influence
        case "Association" if relationship.is_directed is not None:
            values["isDirected"] = str(relationship.is_directed).lower()
    texts = _texts(relationship, definitions, "      ", named=False)
    return f"    <relationship{attributes(values)}>\n{texts}    </relationship>\n"


def _definition(definition: PropertyDefinition) -> str:
    values = {"identifier": xml_id(definition.identifier), "type": definition.type}
    unnamed = {"": "" if definition.key == definition.identifier else definition.key}
    names = (definition.names or unnamed).items()
    texts = lines("name", names, "      ") + lines("documentation", definition.descriptions.items(), "      ")
    return f"    <propertyDefinition{attributes(values)}>\n{texts}    </propertyDefinition>\n"


def _texts(
    item: ModelHeader | FoundElement | FoundRelationship | FoundView,
    definitions: _Definitions,
    indent: str,
    *,
    named: bool,
) -> str:
    """Names, documentation, properties. A `named` node has a name in the schema, be it empty."""
    fields = spread(item)
    names = fields.pop("name", [("", "")] if named else [])
    parts = [lines("name", names, indent), lines("documentation", fields.pop("description", []), indent)]
    if fields:
        parts.append(f"{indent}<properties>\n")
        for field, values in fields.items():
            ref = definitions.reference(field.removeprefix(PROPERTY))
            parts.append(f"{indent}  <property{attributes({'propertyDefinitionRef': ref})}>\n")
            parts.append(lines("value", values, f"{indent}    "))
            parts.append(f"{indent}  </property>\n")
        parts.append(f"{indent}</properties>\n")
    return "".join(parts)

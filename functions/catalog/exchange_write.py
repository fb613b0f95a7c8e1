"""Writes ArchiMate exchange XML as a stream; `exchange_read.read_model` gives back what was written.

What XML cannot hold is changed: control characters become U+FFFD, and an identifier that is no XML name (a bare UUID
may start with a digit) gets the prefix "id-".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from functions.catalog.exchange import (
    JUNCTION,
    NAMESPACE,
    FoundElement,
    FoundRelationship,
    ModelHeader,
    PropertyDefinition,
)
from functions.catalog.exchange_text import PROPERTY, spread

_SCHEMA: Final = "http://www.opengroup.org/xsd/archimate/3.1/archimate3_Model.xsd"
_UNWRITABLE: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_IN_TEXT: Final = str.maketrans(_ESCAPES)
_IN_ATTRIBUTE: Final = str.maketrans(_ESCAPES | {'"': "&quot;", "\n": "&#10;", "\t": "&#9;"})
_NAME_START: Final = "A-Za-z_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u3001-\ud7ff"
_NAME: Final = re.compile(f"[{_NAME_START}][{_NAME_START}0-9.\\-]*")
_NOT_IN_NAME: Final = re.compile(f"[^{_NAME_START}0-9.\\-]")


def write_model(
    model: ModelHeader | str, elements: Iterable[FoundElement], relationships: Iterable[FoundRelationship]
) -> Iterator[bytes]:
    """`model` is a name or a whole header; its property definitions are kept, missing ones are added."""
    header = ModelHeader("flowgrid-model", model) if isinstance(model, str) else model
    definitions = _Definitions(header.definitions)
    yield _opening(header, definitions).encode()
    yield from _section("elements", (_element(element, definitions) for element in elements))
    yield from _section("relationships", (_relationship(each, definitions) for each in relationships))
    yield from _section("propertyDefinitions", map(_definition, definitions.all()))
    yield b"</model>\n"


def xml_id(identifier: str) -> str:
    """The identifier as an XML name (xs:ID): itself, if it is one."""
    if _NAME.fullmatch(identifier):
        return identifier
    return "id-" + _NOT_IN_NAME.sub(lambda character: f"_x{ord(character[0]):x}_", identifier)


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


def _opening(header: ModelHeader, definitions: _Definitions) -> str:
    attributes = {"identifier": xml_id(header.identifier), "version": header.version}
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<model xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{NAMESPACE} {_SCHEMA}"{_attributes(attributes)}>\n'
        f"{_texts(header, definitions, '  ', named=True)}"
    )


def _element(element: FoundElement, definitions: _Definitions) -> str:
    kind: str = element.type
    if element.type == "Junction":
        kind = "OrJunction" if element.properties.get(JUNCTION) == "or" else "AndJunction"
        element = replace(element, properties={k: v for k, v in element.properties.items() if k != JUNCTION})
    attributes = {"identifier": xml_id(element.identifier), "xsi:type": kind}
    texts = _texts(element, definitions, "      ", named=element.type != "Junction")
    return f"    <element{_attributes(attributes)}>\n{texts}    </element>\n"


def _relationship(relationship: FoundRelationship, definitions: _Definitions) -> str:
    attributes: dict[str, str | None] = {
        "identifier": xml_id(relationship.identifier),
        "source": xml_id(relationship.source),
        "target": xml_id(relationship.target),
        "xsi:type": relationship.type,
    }
    match relationship.type:
        case "Access":
            attributes["accessType"] = relationship.access_type
        case "Influence":
            attributes["modifier"] = relationship.influence
        case "Association" if relationship.is_directed is not None:
            attributes["isDirected"] = str(relationship.is_directed).lower()
    texts = _texts(relationship, definitions, "      ", named=False)
    return f"    <relationship{_attributes(attributes)}>\n{texts}    </relationship>\n"


def _definition(definition: PropertyDefinition) -> str:
    attributes = {"identifier": xml_id(definition.identifier), "type": definition.type}
    names = (definition.names or {"": definition.key}).items()
    texts = _lines("name", names, "      ") + _lines("documentation", definition.descriptions.items(), "      ")
    return f"    <propertyDefinition{_attributes(attributes)}>\n{texts}    </propertyDefinition>\n"


def _texts(
    item: ModelHeader | FoundElement | FoundRelationship,
    definitions: _Definitions,
    indent: str,
    *,
    named: bool,
) -> str:
    """Names, documentation, properties. A `named` node has a name in the schema, be it empty."""
    fields = spread(item)
    names = fields.pop("name", [("", "")] if named else [])
    parts = [_lines("name", names, indent), _lines("documentation", fields.pop("description", []), indent)]
    if fields:
        parts.append(f"{indent}<properties>\n")
        for field, values in fields.items():
            ref = definitions.reference(field.removeprefix(PROPERTY))
            parts.append(f"{indent}  <property{_attributes({'propertyDefinitionRef': ref})}>\n")
            parts.append(_lines("value", values, f"{indent}    "))
            parts.append(f"{indent}  </property>\n")
        parts.append(f"{indent}</properties>\n")
    return "".join(parts)


def _lines(tag: str, texts: Iterable[tuple[str, str]], indent: str) -> str:
    return "".join(
        f"{indent}<{tag}{_attributes({'xml:lang': language or None})}>{_clean(text).translate(_IN_TEXT)}</{tag}>\n"
        for language, text in texts
    )


def _attributes(attributes: Mapping[str, str | None]) -> str:
    return "".join(
        f' {name}="{_clean(value).translate(_IN_ATTRIBUTE)}"' for name, value in attributes.items() if value is not None
    )


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)

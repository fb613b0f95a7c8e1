"""Reads ArchiMate exchange XML as a stream: no tree is kept, and what could attack a parser is refused.

Not taken: nodes of foreign namespaces in elements, relationships and views. Whether what is named exists, and whether
ArchiMate allows a relationship, is for the caller, who knows what is stored already.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeGuard, get_args
from xml.etree.ElementTree import Element

from functions.catalog.archimate import is_element_type, is_relationship_type
from functions.catalog.exchange import (
    JUNCTION,
    NAMESPACE,
    XSI_TYPE,
    AccessType,
    ExchangeError,
    ExchangeTooLarge,
    Found,
    FoundElement,
    FoundPart,
    FoundRelationship,
    FoundView,
    ItemKind,
    ModelHeader,
    PropertyDefinition,
    Skipped,
)
from functions.catalog.exchange_archi import read_archi
from functions.catalog.exchange_parse import LANG, MAX_CHARACTERS, MAX_NODES_IN_ONE, NS, nodes
from functions.catalog.exchange_room import MAX_DEFINITIONS, Room
from functions.catalog.exchange_rows import folder_rows, xml_rows
from functions.catalog.exchange_text import PROPERTY, Fields, Texts, choose
from functions.catalog.exchange_views import Drawing, Undrawable

_JUNCTIONS: Final = {"AndJunction": "and", "OrJunction": "or", "Junction": "and"}
_ACCESS_TYPES: Final = get_args(AccessType)
_BOOLEANS: Final = {None: None, "true": True, "1": True, "false": False, "0": False}
_ARCHI: Final = ("http://www.archimatetool.com/archimate}", "http://www.bolton.ac.uk/archimate}")
_ARCHIMATE_2: Final = "http://www.opengroup.org/xsd/archimate}"
_RENAMED: Final = {
    "CommunicationPath": "Path",
    "InfrastructureFunction": "TechnologyFunction",
    "InfrastructureInterface": "TechnologyInterface",
    "InfrastructureService": "TechnologyService",
    "Network": "CommunicationNetwork",
    "Realisation": "Realization",
    "Specialisation": "Specialization",
    "UsedBy": "Serving",
}
_OWN: Final = {f"{NS}name": 1, f"{NS}documentation": 1, f"{NS}properties": 1}
_IN_HEADER: Final = {**_OWN, f"{NS}propertyDefinitions": 2}
_IN_MODEL: Final = {
    f"{NS}metadata": 1,
    f"{NS}elements": 2,
    f"{NS}relationships": 2,
    f"{NS}organizations": 1,
    f"{NS}views": 0,
}
_KINDS: Final[dict[str, ItemKind]] = {
    f"{NS}element": "element",
    f"{NS}relationship": "relationship",
    f"{NS}view": "view",
}
MAX_KEY: Final = 255


def read_model(body: bytes, watch: Callable[[], None] = lambda: None) -> Iterator[Found]:
    """The model's header, then what it holds, in file order. Raises ExchangeError, mostly before anything is yielded.

    `watch` is called every few kilobytes; what it raises ends the reading.
    """
    if _root(body, watch).startswith(_ARCHI):
        yield from read_archi(body, watch)
        return
    room = Room()
    header, keys, language = _read_header(body, watch, room)
    yield header
    seen: set[str] = set()
    for line, node in nodes(body, _IN_MODEL, watch):
        room.line = line
        found: Found | None = None
        if node.tag == f"{NS}element":
            found = _element(node, keys, language)
        elif node.tag == f"{NS}relationship":
            found = _relationship(node, keys, language)
        elif node.tag == f"{NS}view":
            found = _view(node, keys, language)
        elif node.tag == f"{NS}organizations":
            found = FoundPart("organizations", folder_rows(node, language))
        elif node.tag in (f"{NS}metadata", f"{NS}viewpoints"):
            found = FoundPart("metadata" if node.tag == f"{NS}metadata" else "viewpoints", xml_rows(node))
        if isinstance(found, FoundElement | FoundRelationship | FoundView):
            if found.identifier in seen:
                found = _skipped(node, "The identifier stands in the file twice; give one of the two another.")
            else:
                seen.add(found.identifier)
                room.take_found(found)
        if found:
            room.take_item()
            yield found


class _Keys:
    """The keys of properties, by the identifier of their definition; no two definitions share one."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._taken = {JUNCTION}
        self.line = 1

    def of(self, identifier: str, name: str = "") -> str:
        if identifier not in self._keys:
            key = name or identifier
            while key in self._taken:
                key = f"{key} ({identifier})"
            if len(key) > MAX_KEY:
                raise ExchangeTooLarge(
                    f"The property definition {identifier:.50} is called {key:.50}…; a name may have at most {MAX_KEY} "
                    "characters, with the identifier where two definitions have one name.",
                    self.line,
                )
            self._taken.add(key)
            self._keys[identifier] = key
        return self._keys[identifier]


def _root(body: bytes, watch: Callable[[], None]) -> str:
    return next((node.tag for _, node in nodes(body, {}, watch)), "")


def _read_header(body: bytes, watch: Callable[[], None], room: Room) -> tuple[ModelHeader, _Keys, str]:
    """A first pass over the whole file, as the definitions that properties refer to stand at its end."""
    root: Element | None = None
    own: list[Element] = []
    definitions: dict[str, PropertyDefinition] = {}
    keys = _Keys()
    language = ""
    for line, node in nodes(body, _IN_HEADER, watch):
        room.line = keys.line = line
        if root is None:
            _check_root(node.tag)
            root, language = node, node.get(LANG, "")
        elif node.tag in _OWN:
            room.take("names, texts and properties of its own", MAX_NODES_IN_ONE)
            own.append(node)
        elif node.tag == f"{NS}propertyDefinition":
            room.take("property definitions", MAX_DEFINITIONS)
            identifier = _identifier(node)
            if identifier and identifier not in definitions:
                definitions[identifier] = _definition(identifier, node, keys, language)
                names = definitions[identifier]
                texts = [*names.names.values(), *names.descriptions.values()]
                room.take("characters of text", MAX_CHARACTERS, sum(map(len, texts)))
    if root is None:
        raise ExchangeError("The file holds no XML; send an ArchiMate Model Exchange File.")
    chosen = choose(_fields(own, keys, language))
    header = ModelHeader(
        _identifier(root), version=root.get("version"), definitions=tuple(definitions.values()), **chosen
    )
    room.take_found(header)
    return header, keys, language


def _definition(identifier: str, node: Element, keys: _Keys, language: str) -> PropertyDefinition:
    fields = _fields(node, keys, node.get(LANG, language))
    names = {lang: "\n".join(texts) for lang, texts in fields.get("name", {}).items()}
    descriptions = {lang: "\n".join(texts) for lang, texts in fields.get("description", {}).items()}
    key = keys.of(identifier, next(iter(names.values()), ""))
    return PropertyDefinition(identifier, key, node.get("type", "string"), names, descriptions)


def _element(node: Element, keys: _Keys, language: str) -> FoundElement | Skipped:
    kind = _type(node)
    texts = _texts(node, keys, language)
    if kind in _JUNCTIONS:
        texts["properties"][JUNCTION] = _JUNCTIONS[kind]
        kind = "Junction"
    if not (identifier := _identifier(node)):
        return _skipped(node, 'The element has no identifier; give it one: identifier="id-…".')
    if not is_element_type(kind):
        return _skipped(node, _wrong_type(kind, "element", "BusinessProcess"))
    return FoundElement(identifier, kind, **texts)


def _relationship(node: Element, keys: _Keys, language: str) -> FoundRelationship | Skipped:
    kind = _type(node)
    access, directed = node.get("accessType"), node.get("isDirected")
    ends = {end: node.get(end, "").strip() for end in ("source", "target")}
    if not (identifier := _identifier(node)):
        return _skipped(node, 'The relationship has no identifier; give it one: identifier="id-…".')
    if not is_relationship_type(kind):
        return _skipped(node, _wrong_type(kind, "relationship", "Serving"))
    for end, ref in ends.items():
        if not ref:
            return _skipped(node, f'The relationship has no {end}; name the concept: {end}="(its identifier)".')
    if not _is_access(access):
        return _skipped(node, f"accessType '{access:.50}' is unknown; use one of {', '.join(_ACCESS_TYPES)}.")
    if directed not in _BOOLEANS:
        return _skipped(node, f"isDirected '{directed:.50}' is unknown; use true or false.")
    return FoundRelationship(
        identifier,
        kind,
        **ends,
        access_type=access if kind == "Access" else None,
        influence=node.get("modifier") if kind == "Influence" else None,
        is_directed=_BOOLEANS[directed] if kind == "Association" else None,
        **_texts(node, keys, language),
    )


def _view(node: Element, keys: _Keys, language: str) -> FoundView | Skipped:
    if not (identifier := _identifier(node)):
        return _skipped(node, 'The view has no identifier; give it one: identifier="id-…".')
    try:
        drawing = Drawing.of(node, node.get(LANG, language))
    except Undrawable as wrong:
        return _skipped(node, f"The view cannot be taken: {wrong}.")
    return FoundView(
        identifier,
        viewpoint=node.get("viewpoint"),
        viewpoint_ref=node.get("viewpointRef"),
        styles=drawing.styles,
        nodes=drawing.nodes,
        connections=drawing.connections,
        **_texts(node, keys, language),
    )


def _is_access(text: str | None) -> TypeGuard[AccessType | None]:
    return text is None or text in _ACCESS_TYPES


def _identifier(node: Element) -> str:
    return node.get("identifier", "").strip()


def _type(node: Element) -> str:
    """xsi:type without its prefix; some tools still add "Relationship", as ArchiMate 2 did."""
    return node.get(XSI_TYPE, "").strip().rpartition(":")[2].removesuffix("Relationship")


def _skipped(node: Element, reason: str) -> Skipped:
    return Skipped(_identifier(node), _KINDS[node.tag], reason)


def _wrong_type(kind: str, what: str, example: str) -> str:
    if not kind:
        return f'The {what} has no type; give it one: xsi:type="{example}".'
    if kind in _RENAMED:
        return f"'{kind}' is a name of ArchiMate 2; ArchiMate 3 says '{_RENAMED[kind]}'."
    return f"'{kind:.50}' is no {what} type of ArchiMate 3.2; use one, such as '{example}'."


def _texts(node: Element, keys: _Keys, language: str) -> Texts:
    return choose(_fields(node, keys, node.get(LANG, language)))


def _fields(nodes: Iterable[Element], keys: _Keys, language: str) -> Fields:
    fields: Fields = {}
    for node in nodes:
        if node.tag == f"{NS}name":
            _add(fields, "name", node, language)
        elif node.tag == f"{NS}documentation":
            _add(fields, "description", node, language)
        elif node.tag == f"{NS}properties":
            for owned in _named(node, "property"):
                field = PROPERTY + keys.of(owned.get("propertyDefinitionRef", "").strip() or "unnamed")
                for value in _named(owned, "value") or [Element("value")]:
                    _add(fields, field, value, language)
    return fields


def _named(node: Element, name: str) -> list[Element]:
    return [inner for inner in node if inner.tag == f"{NS}{name}"]


def _add(fields: Fields, field: str, node: Element, language: str) -> None:
    text = "".join(node.itertext())
    if text or field.startswith(PROPERTY):
        fields.setdefault(field, {}).setdefault(node.get(LANG, language).strip(), []).append(text)


def _check_root(tag: str) -> None:
    if tag == f"{NS}model":
        return
    if tag.startswith(_ARCHIMATE_2):
        raise ExchangeError(
            "This is an exchange file of ArchiMate 2; open it in your tool and export it for ArchiMate 3."
        )
    raise ExchangeError(
        f"The root is <{_shown(tag)}>, so this is no ArchiMate Model Exchange File; its root is "
        f'<model xmlns="{NAMESPACE}">. Export the model in that format.'
    )


def _shown(tag: str) -> str:
    return f"{{{tag}"[:100] if "}" in tag else tag[:100]

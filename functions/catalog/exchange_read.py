"""Reads ArchiMate exchange XML as a stream: no tree is kept, and what could attack a parser is refused.

Not taken: views (each is reported), organizations, metadata, and nodes of foreign namespaces. Whether a source and a
target exist, and whether ArchiMate allows the relationship, is for the caller, who knows what is stored already.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Final, TypeGuard, get_args
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]  # it ships no types
from defusedxml.ElementTree import iterparse  # type: ignore[import-untyped]

from functions.catalog.archimate import is_element_type, is_relationship_type
from functions.catalog.exchange import (
    JUNCTION,
    NAMESPACE,
    AccessType,
    ExchangeError,
    Found,
    FoundElement,
    FoundRelationship,
    ModelHeader,
    PropertyDefinition,
    Skipped,
)
from functions.catalog.exchange_text import PROPERTY, Fields, Texts, choose

_NS: Final = f"{{{NAMESPACE}}}"
_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_XSI_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
_JUNCTIONS: Final = {"AndJunction": "and", "OrJunction": "or", "Junction": "and"}
_ACCESS_TYPES: Final = get_args(AccessType)
_BOOLEANS: Final = {None: None, "true": True, "1": True, "false": False, "0": False}
_ARCHI: Final = ("{http://www.archimatetool.com/archimate}", "{http://www.bolton.ac.uk/archimate}")
_ARCHIMATE_2: Final = "{http://www.opengroup.org/xsd/archimate}"
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
_WHOLE_AT: Final = {
    f"{_NS}{section}": depth
    for section, depth in {
        "name": 1,
        "documentation": 1,
        "properties": 1,
        "elements": 2,
        "relationships": 2,
        "propertyDefinitions": 2,
        "views": 3,
    }.items()
}
"""How deep the nodes stand that are looked at as a whole, by the section of the model they are in."""


def read_model(body: bytes) -> Iterator[Found]:
    """The model's header, then what it holds, in file order. Raises ExchangeError before anything is yielded."""
    header, keys, language = _read_header(body)
    yield header
    seen: set[str] = set()
    for node in _nodes(body):
        found: Found | None = None
        if node.tag == f"{_NS}element":
            found = _element(node, keys, language)
        elif node.tag == f"{_NS}relationship":
            found = _relationship(node, keys, language)
        elif node.tag == f"{_NS}view":
            found = Skipped(node.get("identifier", ""), "view", "Views are not imported; what they show is.")
        if isinstance(found, FoundElement | FoundRelationship):
            if found.identifier in seen:
                found = _skipped(node, "The identifier stands in the file twice; give one of the two another.")
            seen.add(found.identifier)
        if found:
            yield found


class _Keys:
    """The keys of properties, by the identifier of their definition; no two definitions share one."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._taken = {JUNCTION}

    def of(self, identifier: str, name: str = "") -> str:
        if identifier not in self._keys:
            key = name or identifier
            while key in self._taken:
                key = f"{key} ({identifier})"
            self._taken.add(key)
            self._keys[identifier] = key
        return self._keys[identifier]


def _read_header(body: bytes) -> tuple[ModelHeader, _Keys, str]:
    """A first pass over the whole file, as the definitions that properties refer to stand at its end."""
    root: Element | None = None
    own: list[Element] = []
    definitions: dict[str, PropertyDefinition] = {}
    keys = _Keys()
    language = ""
    for node in _nodes(body):
        if root is None:
            root, language = node, node.get(_LANG, "")
        elif node.tag in (f"{_NS}name", f"{_NS}documentation", f"{_NS}properties"):
            own.append(node)
        elif node.tag == f"{_NS}propertyDefinition":
            identifier = _identifier(node)
            if identifier and identifier not in definitions:
                definitions[identifier] = _definition(identifier, node, keys, language)
    if root is None:
        raise ExchangeError("The file holds no XML; send an ArchiMate Model Exchange File.")
    texts = choose(_fields(own, keys, language))
    header = ModelHeader(
        _identifier(root), version=root.get("version"), definitions=tuple(definitions.values()), **texts
    )
    return header, keys, language


def _definition(identifier: str, node: Element, keys: _Keys, language: str) -> PropertyDefinition:
    fields = _fields(node, keys, node.get(_LANG, language))
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


def _is_access(text: str | None) -> TypeGuard[AccessType | None]:
    return text is None or text in _ACCESS_TYPES


def _identifier(node: Element) -> str:
    return node.get("identifier", "").strip()


def _type(node: Element) -> str:
    """xsi:type without its prefix; some tools still add "Relationship", as ArchiMate 2 did."""
    return node.get(_XSI_TYPE, "").strip().rpartition(":")[2].removesuffix("Relationship")


def _skipped(node: Element, reason: str) -> Skipped:
    return Skipped(_identifier(node), "element" if node.tag == f"{_NS}element" else "relationship", reason)


def _wrong_type(kind: str, what: str, example: str) -> str:
    if not kind:
        return f'The {what} has no type; give it one: xsi:type="{example}".'
    if kind in _RENAMED:
        return f"'{kind}' is a name of ArchiMate 2; ArchiMate 3 says '{_RENAMED[kind]}'."
    return f"'{kind:.50}' is no {what} type of ArchiMate 3.2; use one, such as '{example}'."


def _texts(node: Element, keys: _Keys, language: str) -> Texts:
    return choose(_fields(node, keys, node.get(_LANG, language)))


def _fields(nodes: Iterable[Element], keys: _Keys, language: str) -> Fields:
    fields: Fields = {}
    for node in nodes:
        if node.tag == f"{_NS}name":
            _add(fields, "name", node, language)
        elif node.tag == f"{_NS}documentation":
            _add(fields, "description", node, language)
        elif node.tag == f"{_NS}properties":
            for owned in node.iterfind(f"{_NS}property"):
                field = PROPERTY + keys.of(owned.get("propertyDefinitionRef", "").strip() or "unnamed")
                for value in owned.findall(f"{_NS}value") or [Element("value")]:
                    _add(fields, field, value, language)
    return fields


def _add(fields: Fields, field: str, node: Element, language: str) -> None:
    text = "".join(node.itertext())
    if text or field.startswith(PROPERTY):
        fields.setdefault(field, {}).setdefault(node.get(_LANG, language).strip(), []).append(text)


def _nodes(body: bytes) -> Iterator[Element]:
    """The root as it opens, then each node that is looked at once it is whole; it is dropped afterwards."""
    above: list[Element] = []
    for event, node in _events(body):
        if event == "start":
            if not above:
                _check_root(node.tag)
                yield node
            above.append(node)
            continue
        above.pop()
        if not above:
            return
        section = above[1].tag if len(above) > 1 else node.tag
        whole_at = _WHOLE_AT.get(section, 0)
        if len(above) == whole_at:
            yield node
        if len(above) <= whole_at or whole_at in (0, 3):
            above[-1].remove(node)


def _events(body: bytes) -> Iterator[tuple[str, Element]]:
    if body.startswith(b"PK"):
        raise ExchangeError(f"This is a ZIP archive, perhaps Archi's own format with images. {_HOW_TO_EXPORT}")
    try:
        yield from iterparse(BytesIO(body), events=("start", "end"), forbid_dtd=True)
    except ParseError as error:
        line, column = error.position
        what = str(error).partition(": line")[0]
        raise ExchangeError(f"This is not well-formed XML ({what}); mend it there.", line, column + 1) from error
    except DefusedXmlException as error:
        raise ExchangeError(
            "The file declares a document type (<!DOCTYPE …>) or entities, which is refused for safety; "
            "remove the declaration and write the entities out.",
            body.count(b"\n", 0, max(body.find(b"<!DOCTYPE"), 0)) + 1,
        ) from error
    except (LookupError, ValueError) as error:
        raise ExchangeError(f"The encoding cannot be read ({error}); save the file as UTF-8.", 1) from error


_HOW_TO_EXPORT: Final = "Export the model with File > Export > Model to Open Exchange File, and send that."


def _check_root(tag: str) -> None:
    if tag == f"{_NS}model":
        return
    if tag.startswith(_ARCHI):
        raise ExchangeError(f"This is Archi's own format. {_HOW_TO_EXPORT}")
    if tag.startswith(_ARCHIMATE_2):
        raise ExchangeError(
            "This is an exchange file of ArchiMate 2; open it in your tool and export it for ArchiMate 3."
        )
    raise ExchangeError(
        f"The root is <{tag:.100}>, so this is no ArchiMate Model Exchange File; its root is "
        f'<model xmlns="{NAMESPACE}">. Export the model in that format.'
    )

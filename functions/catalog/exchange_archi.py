"""Reads Archi's own format (`.archimate`, not zipped) into what its exchange file of the same model would hold.

Source: Archi's model and its exporter (archimatetool/archi on GitHub, org.opengroup.archimate.xmlexchange).
Not taken: sketches, canvases, images, and what only Archi knows (label expressions, icons). What a box or line does not
say of its looks is left to who draws. ArchiMate 2's names are read as the ones that Archi gives them now.
"""

from collections.abc import Callable, Iterator
from typing import Final
from xml.etree.ElementTree import Element

from functions.catalog.archi_views import archi_view
from functions.catalog.archimate import is_element_type, is_relationship_type
from functions.catalog.exchange import (
    JUNCTION,
    XSI_TYPE,
    AccessType,
    ExchangeError,
    Found,
    FoundElement,
    FoundPart,
    FoundRelationship,
    FoundView,
    ItemKind,
    ModelHeader,
    PropertyDefinition,
    Rows,
    Skipped,
)
from functions.catalog.exchange_parse import MAX_FOLDERS, MAX_NODES_OF_VIEW, MAX_TEXT, Format, nodes
from functions.catalog.exchange_room import MAX_DEFINITIONS, Room
from functions.catalog.exchange_text import PROPERTY, Fields, Texts, choose
from functions.catalog.exchange_views import Undrawable
from functions.catalog.values import MAX_NAME

FORMAT: Final = Format(
    tags=frozenset(
        ("folder", "element", "documentation", "content", "property", "child", "bounds", "sourceConnection",
         "bendpoint", "purpose", "profile")
    ),
    texts=frozenset(("documentation", "content", "purpose")),
    attributes=frozenset(
        ("id", "name", "type", "key", "value", "source", "target", "accessType", "strength", "directed", "profiles",
         "viewpoint", "archimateElement", "archimateRelationship", "relationship", "model", "fillColor", "lineColor",
         "fontColor", "font", "alpha", "lineWidth", "x", "y", "width", "height", "startX", "startY", "endX", "endY",
         XSI_TYPE)
    ),
    anywhere=frozenset(("element", "documentation")),
    shells=frozenset(("folder",)),
    depths=True,
    most_in={"element": MAX_NODES_OF_VIEW},
    max_of=dict.fromkeys(("name", "value"), MAX_TEXT),
)  # fmt: skip
_SECTIONS: Final = {"folder": 0, "purpose": 1, "property": 1, "profile": 1}
_VIEW: Final = "ArchimateDiagramModel"
_NOT_VIEWS: Final = ("SketchModel", "CanvasModel")
_ACCESS: Final[dict[str, AccessType]] = {"0": "Write", "1": "Read", "2": "Access", "3": "ReadWrite"}
_SINCE_2: Final = {
    "BusinessActivity": "BusinessProcess",
    "CommunicationPath": "Path",
    "InfrastructureFunction": "TechnologyFunction",
    "InfrastructureInterface": "TechnologyInterface",
    "InfrastructureService": "TechnologyService",
    "Network": "CommunicationNetwork",
    "Realisation": "Realization",
    "Specialisation": "Specialization",
    "UsedBy": "Serving",
}
SPECIALIZATION: Final = "Specialization"


class _Known:
    """What the first pass has found out, which the second needs beforehand."""

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.profiles: dict[str, str] = {}
        self.views: dict[str, str] = {}

    def texts(self, node: Element, documentation: str = "documentation") -> Texts:
        """Its name, documentation and properties; of a specialization its name is a property, as Archi exports it."""
        fields: Fields = {}
        if name := node.get("name", ""):
            fields["name"] = {"": [name]}
        for one in node:
            if one.tag == documentation and one.text:
                fields["description"] = {"": [one.text]}
            elif one.tag == "property" and (key := one.get("key", "")):
                fields.setdefault(PROPERTY + key, {}).setdefault("", []).append(one.get("value", ""))
        if profile := self.profiles.get(node.get("profiles", "").split(" ")[0]):
            fields[PROPERTY + SPECIALIZATION] = {"": [profile]}
        return choose(fields)


def read_archi(body: bytes, watch: Callable[[], None]) -> Iterator[Found]:
    """As `exchange_read.read_model`."""
    room, known = Room(), _Known()
    yield _header(body, watch, room, known)
    seen: set[str] = set()
    folders: Rows = [{"depth": 0}]
    for line, node in nodes(body, _SECTIONS, watch, FORMAT):
        room.line = line
        depth = int(node.get("depth", "0"))
        if node.tag == "folder":
            name = node.get("name", "")
            folders.append({"depth": depth, **({"label": [_text(name)]} if name else {})})
            room.take("folders", MAX_FOLDERS)
        elif node.tag == "documentation" and node.text and folders[-1]["depth"] == depth - 1 > 0:
            folders[-1]["documentation"] = [_text(node.text)]
        elif node.tag == "element":
            found = _item(node, known)
            if not isinstance(found, Skipped):
                folders.append({"depth": depth, "ref": found.identifier})
                if found.identifier in seen:
                    found = _skipped(node, "The identifier stands in the file twice; give one of the two another.")
                else:
                    seen.add(found.identifier)
                    room.take_found(found)
            room.take_item()
            yield found
    yield FoundPart("organizations", _without_empty(folders))


def _header(body: bytes, watch: Callable[[], None], room: Room, known: _Known) -> ModelHeader:
    root: Element | None = None
    for line, node in nodes(body, _SECTIONS, watch, FORMAT):
        room.line = line
        if root is None:
            root = node
        elif node.tag in ("purpose", "property"):
            root.append(node)
        elif node.tag == "profile":
            known.profiles[node.get("id", "")] = node.get("name", "")
        elif node.tag == "element" and _type(node) == _VIEW:
            known.views[node.get("id", "")] = node.get("name", "")[:MAX_NAME]  # each box that leads there says it
        for one in node.iter("property"):
            known.keys[one.get("key", "")] = None
        if node.get("profiles"):
            known.keys[SPECIALIZATION] = None
        room.hold("property definitions", MAX_DEFINITIONS, len(known.keys))
    if root is None:
        raise ExchangeError("The file holds no XML; send an ArchiMate Model Exchange File.")
    keys = sorted(key for key in known.keys if key)
    numbers = {key: number for number, key in enumerate((key for key in known.keys if key), start=1)}
    ids = {key: "specialization" if key == SPECIALIZATION else f"propid-{number}" for key, number in numbers.items()}
    definitions = tuple(PropertyDefinition(ids[key], key, names={"": key}) for key in keys)
    header = ModelHeader(root.get("id", ""), definitions=definitions, **known.texts(root, "purpose"))
    room.take_found(header)
    return header


def _item(node: Element, known: _Known) -> FoundElement | FoundRelationship | FoundView | Skipped:
    kind, identifier = _type(node), node.get("id", "")
    if not identifier:
        return _skipped(node, 'It has no id; give it one: id="…".')
    texts = known.texts(node)
    if kind in ("Junction", "AndJunction", "OrJunction"):
        texts["properties"][JUNCTION] = "or" if "or" in (kind[:2].lower(), node.get("type")) else "and"
        kind = "Junction"
    if kind == _VIEW:
        try:
            drawing, viewpoint = archi_view(node, known.views)
        except Undrawable as wrong:
            return _skipped(node, f"The view cannot be taken: {wrong}.")
        drawn = {name: getattr(drawing, name) for name in ("styles", "nodes", "connections")}
        return FoundView(identifier, viewpoint=viewpoint, **drawn, **texts)
    if kind in _NOT_VIEWS:
        return _skipped(node, f"A {kind} is no view of ArchiMate; only Archi knows it.")
    if is_element_type(kind):
        return FoundElement(identifier, kind, **texts)
    if not is_relationship_type(kind):
        return _skipped(node, f"'{kind:.50}' is no type of ArchiMate 3.2.")
    ends = {end: node.get(end, "") for end in ("source", "target")}
    for end, ref in ends.items():
        if not ref:
            return _skipped(node, f"The relationship has no {end}.")
    return FoundRelationship(
        identifier,
        kind,
        **ends,
        access_type=_ACCESS.get(node.get("accessType", "0"), "Write") if kind == "Access" else None,
        influence=node.get("strength") or None if kind == "Influence" else None,
        is_directed=True if kind == "Association" and node.get("directed") == "true" else None,
        **texts,
    )


def _type(node: Element) -> str:
    kind = node.get(XSI_TYPE, "").strip().rpartition(":")[2].removesuffix("Relationship")
    return _SINCE_2.get(kind, kind)


def _skipped(node: Element, reason: str) -> Skipped:
    kind = _type(node)
    what: ItemKind = "relationship" if is_relationship_type(kind) or node.get("source") else "element"
    return Skipped(node.get("id", ""), "view" if kind in (_VIEW, *_NOT_VIEWS) else what, reason)


def _text(text: str) -> dict[str, str]:
    return {"language": "", "text": text}


def _without_empty(folders: Rows) -> Rows:
    """Archi has a folder for each layer, be it empty; those are not exported."""
    following = [*folders[1:], {"depth": 0}]
    return [
        row
        for row, after in zip(folders, following, strict=True)
        if row["depth"] != 1 or "ref" in row or after["depth"] > 1
    ]

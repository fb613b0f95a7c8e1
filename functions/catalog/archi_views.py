"""What a view of Archi's own format draws, as its exchange file would say it: places counted from the view's corner."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element

from functions.catalog.exchange import XSI_TYPE
from functions.catalog.exchange_views import HEIGHT, WIDTH, Drawing, font_style, half, present, whole

_TYPES: Final = {
    "DiagramObject": "Element",
    "Group": "Container",
    "Note": "Label",
    "DiagramModelReference": "Label",
}
_LETTERS_OF_COLOR: Final = 7
VIEWPOINTS: Final = {
    one.lower().replace(" ", "_"): one
    for one in (
        "Organization", "Information Structure", "Technology", "Layered", "Physical", "Product",
        "Application Structure", "Application Usage", "Technology Usage", "Business Process Cooperation",
        "Application Cooperation", "Service Realization", "Goal Realization", "Requirements Realization", "Motivation",
        "Strategy", "Outcome Realization", "Project", "Migration", "Stakeholder", "Value Stream",
    )
} | {
    "capability": "Capability Map",
    "resource": "Resource Map",
    "implementation_deployment": "Implementation and Deployment",
    "implementation_migration": "Implementation and Migration",
}  # fmt: skip
Bounds = tuple[int, int, int, int]


def archi_view(view: Element, names: Mapping[str, str]) -> tuple[Drawing, str | None]:
    """The drawing and its viewpoint's name; `names`: of all views, by id. `Undrawable` as `Drawing.of`."""
    drawing = Drawing()
    bounds: dict[str, Bounds] = {}
    parents: dict[str, str | None] = {}
    for parent, child in _children(view):
        kind = _TYPES.get(_type(child))
        id = child.get("id", "")
        if kind is None or (parent is not None and parent not in bounds):
            continue  # an image, or what is in one
        bounds[id] = _bounds(child, bounds.get(parent or ""))
        parents[id] = parent
        drawing.add_node(_node(child, kind, parent, bounds[id], names), _style(child))
    for line in view.iter("sourceConnection"):
        ends = line.get("source", ""), line.get("target", "")
        relationship = line.get("archimateRelationship") or line.get("relationship")  # as Archi 3 has it
        nested = relationship and (parents.get(ends[0]) == ends[1] or parents.get(ends[1]) == ends[0])
        if not nested:
            drawing.add_connection(_connection(line, relationship, ends, bounds), _style(line, of_line=True))
    drawing.settle()
    return drawing, VIEWPOINTS.get(view.get("viewpoint", ""))


def _children(view: Element) -> Iterator[tuple[str | None, Element]]:
    waiting: list[tuple[str | None, Element]] = [(None, one) for one in reversed(view) if one.tag == "child"]
    while waiting:
        parent, child = waiting.pop()
        yield parent, child
        waiting += [(child.get("id", ""), one) for one in reversed(child) if one.tag == "child"]


def _type(node: Element) -> str:
    return node.get(XSI_TYPE, "").rpartition(":")[2]


def _bounds(child: Element, within: Bounds | None) -> Bounds:
    """From the view's corner, where the file has them from the corner of what it is in."""
    found = next((one for one in child if one.tag == "bounds"), Element("bounds"))
    x, y = (whole(found.get(name), 0) for name in "xy")
    left, top = within[:2] if within else (0, 0)
    return left + x, top + y, whole(found.get("width"), -1), whole(found.get("height"), -1)


def _node(child: Element, kind: str, parent: str | None, at: Bounds, names: Mapping[str, str]) -> dict[str, Any]:
    leads_to = child.get("model") if _type(child) == "DiagramModelReference" else None
    label = child.get("name", "") if kind == "Container" else ""
    if kind == "Label":
        content = next((one.text or "" for one in child if one.tag == "content"), "")
        label = names.get(leads_to, "") if leads_to else content
    documentation = next((one.text or "" for one in child if one.tag == "documentation"), "")
    return {
        "identifier": child.get("id", ""),
        "type": kind,
        "parent": parent,
        "element_id": child.get("archimateElement") if kind == "Element" else None,
        "part": None,
        "label": _texts(label),
        "documentation": _texts(documentation if kind == "Container" else ""),
        "view_ids": [leads_to] if leads_to in names else [],
        "x": at[0],
        "y": at[1],
        "w": at[2] if at[2] > 0 else WIDTH,
        "h": at[3] if at[3] > 0 else HEIGHT,
    }


def _connection(
    line: Element, relationship: str | None, ends: tuple[str, str], bounds: Mapping[str, Bounds]
) -> dict[str, Any]:
    return {
        "identifier": line.get("id", ""),
        "type": "Relationship" if relationship else "Line",
        "relationship_id": relationship,
        "source": ends[0],
        "target": ends[1],
        "label": _texts("" if relationship else line.get("name", "")),
        "documentation": [],
        "view_ids": [],
        "source_attachment": None,
        "bendpoints": list(_bends(line, bounds.get(ends[0]), bounds.get(ends[1]))),
        "target_attachment": None,
    }


def _bends(line: Element, source: Bounds | None, target: Bounds | None) -> Iterator[dict[str, int]]:
    """Archi keeps a bend as its distances from the middles of both boxes, and weighs the two by where it is among all
    bends of the line; between lines it knows none."""
    if source is None or target is None:
        return
    bends = [one for one in line if one.tag == "bendpoint"]
    for number, bend in enumerate(bends, start=1):
        weight = number / (len(bends) + 1)
        place = {}
        for axis, at in (("X", 0), ("Y", 1)):
            start = source[at] + int(source[at + 2] / 2) + whole(bend.get(f"start{axis}"), 0)
            end = target[at] + int(target[at + 2] / 2) + whole(bend.get(f"end{axis}"), 0)
            place[axis.lower()] = int(start * (1.0 - weight) + end * weight)
        yield place


def _texts(text: str) -> list[dict[str, str]]:
    return [{"language": "", "text": text}] if text else []


def _style(node: Element, *, of_line: bool = False) -> dict[str, Any]:
    font = node.get("font", "").split("|")  # 1|Arial|14.0|0|…: its version, name, points, and 1 for bold, 2 for italic
    told = len(font) > 3
    bits = int(font[3]) if told and font[3].isdigit() else 0
    looks = " ".join(name for bit, name in ((1, "bold"), (2, "italic")) if bits & bit)
    fill, alpha = _color(node.get("fillColor")), node.get("alpha", "")
    if fill and alpha.isdigit():
        fill = f"{fill} {round(min(255, int(alpha[:4])) / 255 * 100)}%"
    width = node.get("lineWidth") if of_line else None
    return present(
        {
            "fill": None if of_line else fill,
            "line": _color(node.get("lineColor")),
            "line_width": max(1, whole(width)) if width else None,
            "font": font[1] if told else None,
            "font_size": half(font[2]) if told else None,
            "font_style": font_style(looks) if told else None,
            "font_color": _color(node.get("fontColor")),
        }
    )


def _color(text: str | None) -> str | None:
    text = (text or "").lower()
    is_one = len(text) == _LETTERS_OF_COLOR and text[0] == "#" and all(one in "0123456789abcdef" for one in text[1:])
    return text if is_one else None

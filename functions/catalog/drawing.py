"""A view as SVG: boxes in the colours of their layers, names in them, lines as ArchiMate draws each relationship.

Nothing of a model becomes markup: texts are escaped, colours and numbers are those that a view may hold, and there is
no script, no link, no font or image from elsewhere. Shapes of arrows: ArchiMate 3.2, appendix A (notation).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from functions.catalog.archimate import ElementType, Layer, RelationshipType, layer_of
from functions.catalog.lettering import FONT, FONT_SIZE, lettered
from functions.catalog.shapes import Box, Spot, edge_of, middle_of
from functions.catalog.view_models import Style, View, ViewConnection, ViewNode

COLORS: Final[Mapping[Layer, str]] = {
    "Motivation": "#ccccff",
    "Strategy": "#f5deaa",
    "Business": "#ffffb5",
    "Application": "#b5ffff",
    "Technology": "#c9e7b7",
    "Physical": "#c9e7b7",
    "Implementation": "#ffe0e0",
    "Composite": "#fbb875",
    "Connector": "#000000",
}
ROUND: Final = ("Process", "Function", "Interaction", "Event", "Service", "Capability", "ValueStream", "CourseOfAction")
MARGIN: Final = 10
MOST_ON_LINES: Final = 8  # lines, each of which begins or ends at another one; what hangs on more is not drawn
GROUP, NOTE, EDGE = "#e6e6e6", "#ffffff", "#5c5c5c"
DASHES: Final[Mapping[RelationshipType, str]] = {
    "Access": "2 3",
    "Influence": "6 4",
    "Realization": "3 4",
    "Flow": "6 4",
}
STARTS: Final[Mapping[RelationshipType, str]] = {
    "Composition": "diamond",
    "Aggregation": "hollow-diamond",
    "Assignment": "ball",
}
ENDS: Final[Mapping[RelationshipType, str]] = {
    "Assignment": "arrow",
    "Realization": "hollow-triangle",
    "Specialization": "hollow-triangle",
    "Serving": "open",
    "Influence": "open",
    "Triggering": "arrow",
    "Flow": "arrow",
}
MARKERS: Final[Mapping[str, tuple[str, bool]]] = {  # paths that end at (12, 6); whether they are filled
    "arrow": ("M4,2 L12,6 L4,10 Z", True),
    "open": ("M4,2 L12,6 L4,10", False),
    "hollow-triangle": ("M1,1 L12,6 L1,11 Z", False),
    "diamond": ("M0,6 L6,2 L12,6 L6,10 Z", True),
    "hollow-diamond": ("M0,6 L6,2 L12,6 L6,10 Z", False),
    "ball": ("M6,6 A3,3 0 1 0 12,6 A3,3 0 1 0 6,6 Z", True),
}


@dataclass(frozen=True)
class Shown:
    """What a view's boxes and lines stand for, by id: names, types, and how an Access or an Association is."""

    names: Mapping[str, str]
    elements: Mapping[str, ElementType]
    relationships: Mapping[str, RelationshipType]
    ends: Mapping[str, tuple[bool, bool]]  # of those whose arrows are told: at the source, at the target


def svg_of(view: View, shown: Shown) -> bytes:
    """Of any view that can be kept, in proportion to its size."""
    boxes = {node.identifier: Box(node.x, node.y, node.w, node.h) for node in view.nodes}
    lines = _lines(view, boxes)
    corners = [(box.x + box.w, box.y + box.h) for box in boxes.values()]
    corners += [spot for line in lines.values() for spot in line]
    width, height = (max((100.0, *(spot[axis] for spot in corners))) + 2 * MARGIN for axis in (0, 1))
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="{-MARGIN} {-MARGIN} {width:g} {height:g}" font-family={quoteattr(FONT)} '
        f'font-size="{FONT_SIZE}">',
        f"<title>{escape(view.name)}</title>",
        f"<defs>{''.join(_markers())}</defs>",
        f'<rect x="{-MARGIN}" y="{-MARGIN}" width="100%" height="100%" fill="#ffffff"/>',
    ]
    within = {node.parent for node in view.nodes if node.parent is not None}
    for node in view.nodes:
        body += _box(node, _style(view, node.style), shown, holds=node.identifier in within)
    for one in view.connections:
        if one.type != "NestingRelationship" and one.identifier in lines:
            body += _line(one, lines[one.identifier], _style(view, one.style), shown)
    return "\n".join([*body, "</svg>\n"]).encode()


def _style(view: View, number: int | None) -> Style:
    return view.styles[number] if number is not None and number < len(view.styles) else Style()


def _lines(view: View, boxes: Mapping[str, Box]) -> dict[str, list[Spot]]:
    """Where each line goes; a line may begin or end at the middle of another one, which is then drawn before."""
    lines: dict[str, list[Spot]] = {}
    waiting = list(view.connections)
    for _ in range(MOST_ON_LINES):
        left: list[ViewConnection] = []
        for one in waiting:
            ends = [_end(name, boxes, lines) for name in (one.source, one.target)]
            if ends[0] is None or ends[1] is None:
                left.append(one)
                continue
            bends = [(float(point.x), float(point.y)) for point in one.bendpoints]
            spots = [middle_of(ends[0]), *bends, middle_of(ends[1])]
            first = (one.source_attachment.x, one.source_attachment.y) if one.source_attachment else None
            last = (one.target_attachment.x, one.target_attachment.y) if one.target_attachment else None
            spots[0] = first or edge_of(ends[0], spots[1])
            spots[-1] = last or edge_of(ends[1], spots[-2])
            lines[one.identifier] = spots
        waiting = left
    return lines


def _end(name: str | None, boxes: Mapping[str, Box], lines: Mapping[str, list[Spot]]) -> Box | None:
    if name is None:
        return None
    if name in lines:
        spots = lines[name]
        (x1, y1), (x2, y2) = spots[(len(spots) - 1) // 2], spots[(len(spots) - 1) // 2 + 1]
        return Box((x1 + x2) / 2, (y1 + y2) / 2, 0, 0)
    return boxes.get(name)


def _markers() -> Iterator[str]:
    for name, (path, filled) in MARKERS.items():
        fill = "#000000" if filled else "#ffffff" if path.endswith("Z") else "none"
        yield (
            f'<marker id="{name}" markerWidth="13" markerHeight="13" refX="12" refY="6" orient="auto-start-reverse" '
            f'markerUnits="userSpaceOnUse"><path d="{path}" fill="{fill}" stroke="#000000" stroke-dasharray="none"/>'
            "</marker>"
        )


def _box(node: ViewNode, style: Style, shown: Shown, *, holds: bool) -> Iterator[str]:
    type = shown.elements.get(node.element_id or "")
    text = "\n".join(one.text for one in node.label[:1]) or shown.names.get(node.element_id or "", "")
    at = f'x="{node.x}" y="{node.y}" width="{node.w}" height="{node.h}"'
    if type == "Junction":
        yield (
            f'<ellipse cx="{node.x + node.w / 2:g}" cy="{node.y + node.h / 2:g}" rx="{node.w / 2:g}" '
            f'ry="{node.h / 2:g}" {_paint(style, COLORS["Connector"], style.line or EDGE)}/>'
        )
        return
    if node.type == "Label" or type is None:
        dash = ' stroke-dasharray="4 3"' if node.type == "Container" else ""
        yield f"<rect {at} {_paint(style, NOTE if node.type == 'Label' else GROUP, EDGE)}{dash}/>"
    else:
        corner = ' rx="8"' if type.endswith(ROUND) else ""
        dash = ' stroke-dasharray="4 3"' if type == "Grouping" else ""
        yield f"<rect {at}{corner} {_paint(style, COLORS[layer_of(type)], EDGE)}{dash}/>"
    centred = node.type == "Element" and not holds
    typed = type is not None and node.w >= 60 and node.h >= 50
    yield from lettered(text, Box(node.x, node.y, node.w, node.h - 8 * typed), style, centred=centred)
    if typed:
        yield (
            f'<text x="{node.x + node.w - 3}" y="{node.y + node.h - 4}" font-size="7" fill="#808080" '
            f'text-anchor="end">{type}</text>'
        )


def _paint(style: Style, fill: str, line: str) -> str:
    color, _, opacity = (style.fill or fill).partition(" ")
    shine = f' fill-opacity="{int(opacity[:-1]) / 100:g}"' if opacity else ""
    return f'fill="{color}"{shine} stroke="{(style.line or line)[:7]}" stroke-width="{min(style.line_width or 1, 20)}"'


def _line(one: ViewConnection, spots: list[Spot], style: Style, shown: Shown) -> Iterator[str]:
    id = one.relationship_id or ""
    type = shown.relationships.get(id)
    start, end = (STARTS.get(type), ENDS.get(type)) if type else (None, None)
    if id in shown.ends:
        start, end = ("open" if arrow else None for arrow in shown.ends[id])
    dash = DASHES.get(type, "") if type else "2 2"
    dash = f' stroke-dasharray="{dash}"' if dash else ""
    marks = "".join(f' marker-{where}="url(#{mark})"' for where, mark in (("start", start), ("end", end)) if mark)
    points = " ".join(f"{x:g},{y:g}" for x, y in spots)
    color = (style.line or "#000000")[:7]
    width = min(style.line_width or 1, 20)
    yield f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}"{dash}{marks}/>'
    text = "\n".join(label.text for label in one.label[:1]) or shown.names.get(id, "")
    if text:
        halfway = list(pairwise(spots))[(len(spots) - 1) // 2]
        (x1, y1), (x2, y2) = halfway
        yield from lettered(text, Box((x1 + x2) / 2 - 60, (y1 + y2) / 2 - 14, 120, 28), style, centred=True)

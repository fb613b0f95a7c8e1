"""What a view of an exchange file draws, as `view_models.View` keeps it: flat, nodes before what is in them.

Whatever the file says is brought into what its schema allows: no view begins left of or above 0 (all of it is moved),
and a box without a size has the one that Archi gives it. Colours are `#rrggbb`, with ` 80%` where they are not opaque.
"""

from typing import Any, Final
from xml.etree.ElementTree import Element

from functions.catalog.exchange import XSI_TYPE, Rows
from functions.catalog.exchange_parse import NS
from functions.catalog.exchange_rows import texts_of

WIDTH, HEIGHT = 120, 55
FARTHEST: Final = 1_000_000
_FONT_STYLES: Final = ("plain", "bold", "italic", "underline")


class Undrawable(ValueError):
    """A view that cannot be taken; the message says why."""


class Drawing:
    """`styles`, each once, `nodes`, `connections`: of one view."""

    def __init__(self) -> None:
        self.styles: Rows = []
        self.nodes: Rows = []
        self.connections: Rows = []
        self._style_numbers: dict[tuple[tuple[str, Any], ...], int] = {}
        self._taken: set[str] = set()

    @classmethod
    def of(cls, view: Element, language: str) -> "Drawing":
        """`Undrawable` where an identifier is missing or there twice, or a number is none."""
        drawing = cls()
        waiting: list[tuple[str | None, Element]] = [(None, one) for one in reversed(view) if one.tag == f"{NS}node"]
        while waiting:
            parent, node = waiting.pop()
            drawing.add_node(_node(node, parent, language), _style(node))
            identifier = drawing.nodes[-1]["identifier"]
            waiting += [(identifier, one) for one in reversed(node) if one.tag == f"{NS}node"]
        for one in view:
            if one.tag == f"{NS}connection":
                drawing.add_connection(_connection(one, language), _style(one))
        drawing.settle()
        return drawing

    def add_node(self, node: dict[str, Any], style: dict[str, Any]) -> None:
        self.nodes.append({**node, "style": self._numbered(style), "identifier": self._once(node["identifier"])})

    def add_connection(self, one: dict[str, Any], style: dict[str, Any]) -> None:
        self.connections.append({**one, "style": self._numbered(style), "identifier": self._once(one["identifier"])})

    def settle(self) -> None:
        """Move all of it so that nothing is left of or above 0; a line that ends nowhere ends nowhere by name."""
        points = [*self.nodes, *(point for one in self.connections for point in _points(one))]
        left, top = (min((0, *(point[axis] for point in points))) for axis in ("x", "y"))
        for point in points if left or top else ():
            point["x"] -= left
            point["y"] -= top
        for one in self.connections:
            for end in ("source", "target"):
                if one[end] not in self._taken:
                    if one["type"] != "Line":
                        raise Undrawable(f"its connection {one['identifier']:.50} has no {end} in it")
                    one[end] = None

    def _once(self, identifier: str) -> str:
        if not identifier or identifier in self._taken:
            raise Undrawable(f"two of its nodes or connections are called {identifier!r:.50}")
        self._taken.add(identifier)
        return identifier

    def _numbered(self, style: dict[str, Any]) -> int | None:
        if not style:
            return None
        key = tuple(sorted(style.items()))
        if key not in self._style_numbers:
            self._style_numbers[key] = len(self.styles)
            self.styles.append(style)
        return self._style_numbers[key]


def whole(text: str | None, default: int | None = None) -> int:
    """A coordinate; tools write fractions too."""
    if text is None and default is not None:
        return default
    try:
        number = round(float(text or ""))
    except (ValueError, OverflowError):
        raise Undrawable(f"a place or size in it, {text!r:.30}, is no number") from None
    if abs(number) > FARTHEST:
        raise Undrawable(f"something in it is at {number}, beyond {FARTHEST:,}")
    return number


def half(text: str) -> str | None:
    """The size of a font: in halves of a point, as the schema wants it."""
    try:
        points = round(float(text) * 2) / 2
    except (ValueError, OverflowError):
        return None
    return f"{points:g}" if 1 <= points <= 1000 else None


def font_style(text: str) -> str | None:
    return " ".join(one for one in text.split() if one in _FONT_STYLES) or None


def present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _points(one: dict[str, Any]) -> Rows:
    ends = [one["source_attachment"], one["target_attachment"]]
    return [*one["bendpoints"], *(point for point in ends if point is not None)]


def _type(node: Element, default: str) -> str:
    return node.get(XSI_TYPE, "").strip().rpartition(":")[2] or default


def _shared(node: Element, language: str) -> dict[str, Any]:
    return {
        "identifier": node.get("identifier", "").strip(),
        "label": texts_of(node, "label", language),
        "documentation": texts_of(node, "documentation", language),
        "view_ids": [ref for one in node if one.tag == f"{NS}viewRef" and (ref := one.get("ref", "").strip())],
    }


def _node(node: Element, parent: str | None, language: str) -> dict[str, Any]:
    element = node.get("elementRef") or node.get("conceptRef")
    kind = _type(node, "Element")
    w, h = whole(node.get("w"), WIDTH), whole(node.get("h"), HEIGHT)
    return {
        **_shared(node, language),
        "type": "Container" if not element and kind == "Element" else kind,
        "parent": parent,
        "element_id": element.strip() if element else None,
        "part": node.get("xpathPart"),
        "x": whole(node.get("x"), 0),
        "y": whole(node.get("y"), 0),
        "w": w if w > 0 else WIDTH,
        "h": h if h > 0 else HEIGHT,
    }


def _connection(node: Element, language: str) -> dict[str, Any]:
    relationship = node.get("relationshipRef")
    places: dict[str, Rows] = {}
    for one in node:
        if one.tag in (f"{NS}bendpoint", f"{NS}sourceAttachment", f"{NS}targetAttachment"):
            places.setdefault(one.tag, []).append({"x": whole(one.get("x"), 0), "y": whole(one.get("y"), 0)})
    return {
        **_shared(node, language),
        "type": _type(node, "Relationship") if relationship else "Line",
        "relationship_id": relationship.strip() if relationship else None,
        "source": node.get("source", "").strip() or None,
        "target": node.get("target", "").strip() or None,
        "source_attachment": next(iter(places.get(f"{NS}sourceAttachment", [])), None),
        "bendpoints": places.get(f"{NS}bendpoint", []),
        "target_attachment": next(iter(places.get(f"{NS}targetAttachment", [])), None),
    }


def _style(node: Element) -> dict[str, Any]:
    style = next((one for one in node if one.tag == f"{NS}style"), None)
    if style is None:
        return {}
    inner = {one.tag.removeprefix(NS): one for one in style}
    width = style.get("lineWidth")
    found: dict[str, Any] = {
        "fill": color(inner.get("fillColor")),
        "line": color(inner.get("lineColor")),
        "line_width": None if width is None else max(1, whole(width)),
    }
    if (font := inner.get("font")) is not None:
        found |= {
            "font": font.get("name"),
            "font_size": half(font.get("size", "")),
            "font_style": font_style(font.get("style", "")),
            "font_color": color(next((one for one in font if one.tag == f"{NS}color"), None)),
        }
    return present(found)


def color(node: Element | None) -> str | None:
    if node is None:
        return None
    red, green, blue = (min(255, max(0, whole(node.get(name), 0))) for name in "rgb")
    text = f"#{red:02x}{green:02x}{blue:02x}"
    return text if node.get("a") is None else f"{text} {min(100, max(0, whole(node.get('a'))))}%"

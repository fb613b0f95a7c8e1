"""Writes views, folders and the sections that are kept as XML, so that the reader gives back what was written."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from functions.catalog.exchange import FoundView, Rows
from functions.catalog.exchange_rows import OF_EVERY_FILE, nested, prefixes, qualified
from functions.catalog.exchange_xml import attributes, escaped, lines, xml_id


def view(found: FoundView, texts: str) -> Iterator[str]:
    """A `<view>`; `texts`: its names, documentation and properties, written."""
    opening = {
        "identifier": xml_id(found.identifier),
        "viewpoint": found.viewpoint,
        "viewpointRef": found.viewpoint_ref,
        "xsi:type": "Diagram",
    }
    yield f"      <view{attributes(opening)}>\n{texts}"
    open_nodes: list[str] = []
    for node in found.nodes:
        while open_nodes and open_nodes[-1] != node["parent"]:
            open_nodes.pop()
            yield f"{_indent(open_nodes)}</node>\n"
        yield _node(node, found.styles, _indent(open_nodes))
        open_nodes.append(node["identifier"])
    while open_nodes:
        open_nodes.pop()
        yield f"{_indent(open_nodes)}</node>\n"
    for one in found.connections:
        yield _connection(one, found.styles)
    yield "      </view>\n"


def folders(rows: Rows) -> Iterator[str]:
    """Every `<organizations>`; the schema wants none that is empty."""
    for row, ending in nested(rows):
        if row["depth"] == 0:
            yield "  <organizations>\n" if ending < 0 else ""
            continue
        indent = "  " * (row["depth"] + 1)
        values = {"identifier": row.get("identifier"), "identifierRef": row.get("ref")}
        inner = _texts("label", row.get("label", ()), f"{indent}  ")
        inner += _texts("documentation", row.get("documentation", ()), f"{indent}  ")
        yield f"{indent}<item{attributes(values)}>\n{inner}"
        for depth in range(row["depth"], row["depth"] - ending - 1, -1):
            yield f"{'  ' * (depth + 1)}</{'item' if depth else 'organizations'}>\n"


def xml(rows: Rows) -> str:
    """What `xml_rows` has kept, on one line; a namespace is declared where it begins."""
    known = prefixes(rows)
    declared = {f"xmlns:{prefix}": space for space, prefix in known.items() if prefix not in OF_EVERY_FILE}
    written: list[str] = []
    open_rows: list[dict[str, Any]] = []
    for row, ending in nested(rows):
        values = {qualified(name, known): value for name, value in row.get("attributes", {}).items()}
        if not open_rows:
            values = {**declared, **values}
        written.append(f"<{qualified(row['tag'], known)}{attributes(values)}>{escaped(row.get('text', ''))}")
        open_rows.append(row)
        for _ in range(ending + 1):
            closing = open_rows.pop()
            written.append(f"</{qualified(closing['tag'], known)}>{escaped(closing.get('tail', ''))}")
    return "".join(written) + "\n"


def _indent(open_nodes: list[str]) -> str:
    return "  " * (len(open_nodes) + 4)


def _node(node: Mapping[str, Any], styles: Rows, indent: str) -> str:
    ref = "conceptRef" if node["type"] == "Label" else "elementRef"
    values = {
        "identifier": node["identifier"],
        ref: node["element_id"],
        "xpathPart": node["part"] if node["type"] == "Label" else None,
        "xsi:type": node["type"],
        **{name: node[name] for name in ("x", "y", "w", "h")},
    }
    return f"{indent}<node{attributes(values)}>\n{_shared(node, styles, indent)}"


def _connection(one: Mapping[str, Any], styles: Rows) -> str:
    values = {
        "identifier": one["identifier"],
        "relationshipRef": one["relationship_id"],
        "source": one["source"],
        "target": one["target"],
        "xsi:type": one["type"],
    }
    ends = {"sourceAttachment": one["source_attachment"], "targetAttachment": one["target_attachment"]}
    bends = "".join(f"          <bendpoint{attributes(point)}/>\n" for point in one["bendpoints"])
    first, last = (f"          <{tag}{attributes(at)}/>\n" if at else "" for tag, at in ends.items())
    inner = f"{_shared(one, styles, '        ')}{first}{bends}{last}"
    return f"        <connection{attributes(values)}>\n{inner}        </connection>\n"


def _shared(one: Mapping[str, Any], styles: Rows, indent: str) -> str:
    inner = f"{indent}  "
    texts = _texts("label", one["label"], inner) + _texts("documentation", one["documentation"], inner)
    style = "" if one["style"] is None else _style(styles[one["style"]], inner)
    return texts + style + "".join(f"{inner}<viewRef{attributes({'ref': ref})}/>\n" for ref in one["view_ids"])


def _texts(tag: str, texts: Iterable[Mapping[str, str]], indent: str) -> str:
    return lines(tag, ((one["language"], one["text"]) for one in texts), indent)


def _style(style: Mapping[str, Any], indent: str) -> str:
    font = {"name": style.get("font"), "size": style.get("font_size"), "style": style.get("font_style")}
    inside = _color("color", style.get("font_color"))
    written = _color("lineColor", style.get("line")) + _color("fillColor", style.get("fill"))
    if inside or any(value is not None for value in font.values()):
        written += f"<font{attributes(font)}>{inside}</font>"
    return f"{indent}<style{attributes({'lineWidth': style.get('line_width')})}>{written}</style>\n"


def _color(tag: str, text: str | None) -> str:
    if text is None:
        return ""
    rgb, _, opacity = text.partition(" ")
    values = {name: int(rgb[at : at + 2], 16) for name, at in (("r", 1), ("g", 3), ("b", 5))}
    return f"<{tag}{attributes({**values, 'a': opacity.rstrip('%') or None})}/>"

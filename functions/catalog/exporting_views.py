"""Views and folders as a file has them: what they name, by what the export calls it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from functions.catalog.exchange import FoundView, Rows
from functions.catalog.naming import children_in_file
from functions.catalog.view_models import View, content_of


def shown_in(view: View) -> Iterator[str]:
    """The ids of what it shows."""
    for node in view.nodes:
        if node.element_id is not None:
            yield node.element_id
    for line in view.connections:
        if line.relationship_id is not None:
            yield line.relationship_id


def view_in_file(
    view: View, names: Mapping[str, str], taken: set[str], viewpoints: Sequence[Mapping[str, Any]]
) -> FoundView:
    """What it shows that is not in `names` has been deleted: its box or line is left. What is given is `taken`."""
    content = content_of(view)
    called = children_in_file(view.id, (one.identifier for one in (*view.nodes, *view.connections)), taken)
    if view.viewpoint_ref not in {row.get("attributes", {}).get("identifier") for row in viewpoints}:
        content["viewpoint_ref"] = None
    content["styles"] = [one.model_dump(exclude_none=True) for one in view.styles]
    content["nodes"] = [_node(one.model_dump(), names, called) for one in view.nodes]
    content["connections"] = [_line(one.model_dump(), names, called) for one in view.connections]
    return FoundView(names[view.id], **content)


def folders_in_file(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], taken: set[str]) -> Rows:
    """What was in a folder and is not in `names` is in none."""
    kept: Rows = []
    for number, row in enumerate(rows):
        bare = {name: value for name, value in row.items() if name not in ("kind", "id")}
        if bare.get("identifier") in taken:
            del bare["identifier"]
        elif "identifier" in bare:
            taken.add(bare["identifier"])
        inner = number + 1 < len(rows) and rows[number + 1]["depth"] > row["depth"]
        if row.get("id") in names:
            kept.append({**bare, "ref": names[row["id"]]})
        elif "id" not in row or inner or bare.keys() > {"depth"}:
            kept.append(bare)
    return kept


def _node(one: dict[str, Any], names: Mapping[str, str], called: Mapping[str, str]) -> dict[str, Any]:
    element = names.get(one["element_id"] or "")
    kind = "Container" if element is None and one["type"] == "Element" else one["type"]
    return {**_named(one, names, called), "element_id": element, "type": kind}


def _line(one: dict[str, Any], names: Mapping[str, str], called: Mapping[str, str]) -> dict[str, Any]:
    relationship = names.get(one["relationship_id"] or "")
    kind = "Line" if relationship is None else one["type"]
    return {**_named(one, names, called), "relationship_id": relationship, "type": kind}


def _named(one: dict[str, Any], names: Mapping[str, str], called: Mapping[str, str]) -> dict[str, Any]:
    named = ("identifier", "parent", "source", "target")
    ends: dict[str, Any] = {name: called.get(one[name] or "") for name in named if name in one}
    return {**one, **ends, "view_ids": [names[id] for id in one["view_ids"] if id in names]}

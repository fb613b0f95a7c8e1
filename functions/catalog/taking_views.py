"""Taking a file's views, once what they show has been taken."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from functions.catalog.exchange import FoundView, Rows
from functions.catalog.graph import by_ids
from functions.catalog.naming import child_of
from functions.catalog.taking import ITEMS_BETWEEN_OTHERS, Progress, Wanted, take, unhurried
from functions.catalog.view_models import View, content_of
from shared.work.session import TenantSession

VIEWS_AT_ONCE: Final = 20
DRAWN_AT_ONCE: Final = 1000  # boxes and lines: a batch holds each view three times, as it is, was, and will be


async def take_views(tenant: TenantSession, found: Sequence[FoundView], progress: Progress) -> None:
    """What a view shows that was not taken is left as the box or line that it was drawn as."""
    ids = await ids_of_views(tenant, found, progress)
    for some in _batches(found):
        wanted = [Wanted(one.identifier, _content(_resolved(one, progress, ids), progress)) for one in some]
        await take(tenant, View, wanted, progress)


async def ids_of_views(tenant: TenantSession, found: Sequence[FoundView], progress: Progress) -> dict[str, str]:
    """The id of each, by identifier, before any is made: they lead to each other."""
    meant = {one.identifier: progress.naming.meant(View.KIND, one.identifier) async for one in unhurried(found)}
    there = await by_ids(tenant, View.KIND, (id for one in meant.values() for id in one.ids))
    known = {id: View.model_validate(body) async for id, body in unhurried(there.items(), ITEMS_BETWEEN_OTHERS)}
    return {identifier: one.among(known) for identifier, one in meant.items()}


def _batches(found: Sequence[FoundView]) -> Iterator[list[FoundView]]:
    batch: list[FoundView] = []
    drawn = 0
    for one in found:
        size = len(one.nodes) + len(one.connections)
        if batch and (len(batch) == VIEWS_AT_ONCE or drawn + size > DRAWN_AT_ONCE):
            yield batch
            batch, drawn = [], 0
        batch.append(one)
        drawn += size
    if batch:
        yield batch


def _content(view: FoundView, progress: Progress) -> dict[str, Any]:
    """An export of the whole catalog has no viewpoints, which are a model's: what a view has of them, it keeps."""
    of_whole = progress.naming.model is None
    return {name: value for name, value in content_of(view).items() if name != "viewpoint_ref" or not of_whole}


def _resolved(view: FoundView, progress: Progress, ids: dict[str, str]) -> FoundView:
    own = ids[view.identifier]

    def of(one: dict[str, Any]) -> dict[str, Any]:
        named = ("identifier", "parent", "source", "target")
        names: dict[str, Any] = {name: child_of(own, one[name]) for name in named if name in one}
        return {**one, **names, "view_ids": [ids[ref] for ref in one["view_ids"] if ref in ids]}

    def node(one: dict[str, Any]) -> dict[str, Any]:
        element = progress.ids.get(one["element_id"] or "")
        if one["type"] == "Element" and (element is None or progress.concepts[one["element_id"]] == "Relationship"):
            return {**of(one), "type": "Container", "element_id": None}
        return {**of(one), "element_id": element}

    def line(one: dict[str, Any]) -> dict[str, Any]:
        relationship = progress.ids.get(one["relationship_id"] or "")
        if relationship is None or progress.concepts[one["relationship_id"]] != "Relationship":
            return {**of(one), "type": "Line", "relationship_id": None}
        return {**of(one), "relationship_id": relationship}

    nodes: Rows = [node(one) for one in view.nodes]
    return replace(view, nodes=nodes, connections=[line(one) for one in view.connections])

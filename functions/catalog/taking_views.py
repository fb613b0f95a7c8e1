"""Taking a file's views, once what they show has been taken."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from functions.catalog.exchange import FoundView, Rows
from functions.catalog.looking import Known, looked_up
from functions.catalog.naming import child_of
from functions.catalog.taking import Portion, Progress, Wanted, take
from functions.catalog.view_models import View, content_of
from shared.work.session import TenantSession

VIEWS_AT_ONCE: Final = 20
DRAWN_AT_ONCE: Final = 1000  # boxes and lines: a batch holds each view three times, as it is, was, and will be


async def take_views(
    tenant: TenantSession, found: Sequence[FoundView], progress: Progress, *, hold: bool
) -> Portion | None:
    """What a view shows that was not taken is left as the box or line that it was drawn as.

    `hold`: the last of them are answered, not taken.
    """
    known = await _known(tenant, found, progress)
    some = list(_batches(found))
    for number, batch in enumerate(some, 1):
        wanted = [Wanted(one.identifier, _content(_resolved(one, progress), progress)) for one in batch]
        portion = Portion(View, wanted, known)
        if hold and number == len(some):
            return portion
        await take(tenant, portion, progress)
    return None


async def _known(tenant: TenantSession, found: Sequence[FoundView], progress: Progress) -> Mapping[str, Known] | None:
    """The id of each, before any is made: they lead to each other. And what they lead to, if these are few."""
    few = len(found) <= VIEWS_AT_ONCE
    kept: dict[str, Known] = {}
    async for one, known in looked_up(tenant, View, found, progress.naming):
        progress.views[one.identifier] = known.id
        if few:
            kept[one.identifier] = known
    return kept if few else None


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


def _resolved(view: FoundView, progress: Progress) -> FoundView:
    ids, own = progress.views, progress.views[view.identifier]

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

"""Views: listed, read, drawn."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from functions.catalog.exporting_views import shown_in
from functions.catalog.graph import by_ids
from functions.catalog.models import Element, Relationship
from functions.catalog.view_models import View, ViewSummary
from shared.database.port import Document
from shared.work.resources import Listing, PageRequest, find, load
from shared.work.session import TenantSession

ARROWS: Final[Mapping[str, tuple[bool, bool]]] = {  # at the active end, at what is accessed
    "Access": (False, False),
    "Read": (True, False),
    "Write": (False, True),
    "ReadWrite": (True, True),
}


class ViewService:
    """Views as they were imported: read and drawn."""

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[ViewSummary]:
        """One page, without what they show. `filters`: field -> value, None: any."""
        found = await find(tenant, View, filters, page)
        return Listing([ViewSummary.of(one) for one in found.items], found.next)

    async def get(self, tenant: TenantSession, id: str) -> View:
        """With all that it shows. `NotFound`."""
        return (await load(tenant, View, id)).value

    async def draw(self, tenant: TenantSession, id: str) -> tuple[View, bytes]:
        """The view, and it as SVG (UTF-8), with what it shows as that is now."""
        view = await self.get(tenant, id)
        ids = set(shown_in(view))
        elements = await by_ids(tenant, Element.KIND, ids)
        relationships = await by_ids(tenant, Relationship.KIND, ids - elements.keys())
        return view, await asyncio.to_thread(_drawn, view, elements, relationships)


def _drawn(view: View, elements: Mapping[str, Document], relationships: Mapping[str, Document]) -> bytes:
    from functions.catalog.drawing import Shown, svg_of  # when the first view is drawn

    shown = Shown(
        names={id: str(body["name"]) for id, body in (*elements.items(), *relationships.items())},
        elements={id: body["type"] for id, body in elements.items()},
        relationships={id: body["type"] for id, body in relationships.items()},
        ends={id: ends for id, body in relationships.items() if (ends := _ends(body))},
    )
    return svg_of(view, shown)


def _ends(body: Document) -> tuple[bool, bool] | None:
    if body["type"] == "Access":
        return ARROWS.get(body["access_type"] or "Access")
    if body["type"] == "Association":
        return False, bool(body["is_directed"])
    return None

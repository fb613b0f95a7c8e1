"""What a tenant takes away: all of its exported kinds, item by item, in pages."""

from typing import Any

from pydantic import BaseModel, Field

from functions.backups.models import plain
from shared.database.port import Order
from shared.errors import Invalid
from shared.http.pagination import PageQuery
from shared.work.resources import Listing, PageRequest, bounded_page
from shared.work.session import TenantSession


class Exported(BaseModel):
    """An item as it is kept."""

    kind: str = Field(examples=["agent"], description="Its kind.")
    item: dict[str, Any] = Field(description="All of it, in the form of its kind.")


class ExportQuery(PageQuery):
    kind: str | None = Field(None, max_length=100, description="One kind only; all of them by default.")


async def export_page(
    tenant: TenantSession, kind: str | None, limit: int, after: tuple[str, str] | None
) -> Listing[Exported]:
    """A page of one kind's items by id; `next` is where to go on: a kind, and the id after which.

    `Invalid` for a kind that is not exported.
    """
    names = [one.name for one in tenant.services.kinds.exported if kind in (None, one)]
    if not names:
        known = ", ".join(tenant.services.kinds.exported)
        raise Invalid.of("kind", f"is not exported; choose from {known}", kind)
    name, last = after or (names[0], "")
    while True:
        one = tenant.services.kinds.named(name)
        wanted = PageRequest(limit, (last, last) if last else None, Order("id"))
        page = await bounded_page(tenant.store, one, {}, wanted)
        following = names[names.index(name) + 1 :]
        if page.items or not following:
            items = [Exported(kind=name, item=plain(stored.body)) for stored in page.items]
            return Listing(items, (name, page.next[1]) if page.next else (following[0], "") if following else None)
        name, last = following[0], ""

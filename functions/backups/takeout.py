"""What a tenant takes away: all of its exported kinds, item by item, in pages."""

from typing import Any, Literal

from pydantic import Field, create_model

from functions.backups.models import plain
from shared.database.port import Order
from shared.errors import Invalid
from shared.http.pagination import PageQuery
from shared.kinds import Kinds
from shared.work.resources import Answer, Listing, PageRequest, bounded_page
from shared.work.session import TenantSession


class Exported(Answer):
    """An item as it is kept."""

    kind: str = Field(examples=["agent"], description="Its kind.")
    item: dict[str, Any] = Field(description="All of it, in the form of its kind.")


class ExportQuery(PageQuery):
    """Pages of all kinds, or of one; `of` says which there are."""

    kind: str | None = Field(None, description="One kind only; all of them by default.")

    @classmethod
    def of(cls, kinds: Kinds) -> "type[ExportQuery]":
        """The query of an app that exports these kinds."""
        one: Any = Literal[tuple(kind.name for kind in kinds.exported)]
        return create_model("ExportQuery", __base__=cls, kind=(one | None, cls.model_fields["kind"]))


async def export_page(
    tenant: TenantSession, kind: str | None, limit: int, after: tuple[str, str] | None
) -> Listing[Exported]:
    """A page of one kind's items by id; `next` is where to go on: a kind, and the id after which.

    `Invalid` for a position in a kind that there is none of here.
    """
    names = [one.name for one in tenant.services.kinds.exported if kind in (None, one)]
    name, last = after or (names[0], "")
    if name not in names:
        raise Invalid.of("cursor", "is from a release that has other kinds; begin again without one", name)
    while True:
        one = tenant.services.kinds.named(name)
        wanted = PageRequest(limit, (last, last) if last else None, Order("id"))
        page = await bounded_page(tenant.store, one, {}, wanted)
        following = names[names.index(name) + 1 :]
        if page.items or not following:
            items = [Exported(kind=name, item=plain(stored.body)) for stored in page.items]
            return Listing(items, (name, page.next[1]) if page.next else (following[0], "") if following else None)
        name, last = following[0], ""

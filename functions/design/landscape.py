"""What the designer sees of a tenant's catalog: names and types, as many as fit, the likeliest first."""

from collections.abc import Sequence

from functions.catalog.models import Element
from functions.design.drafting import Known
from functions.design.words import stems
from shared.database.port import OLDEST_FIRST
from shared.work.resources import PageRequest, bounded_page
from shared.work.session import TenantSession

MOST_READ = 2000
PAGE_ITEMS = 200


async def known_elements(tenant: TenantSession) -> list[Known]:
    """The first elements of the catalog, two thousand at most: ten queries."""
    found: list[Known] = []
    after: tuple[str, str] | None = None
    while len(found) < MOST_READ:
        page = await bounded_page(tenant.store, Element.KIND, {}, PageRequest(PAGE_ITEMS, after, OLDEST_FIRST))
        found += [Known(one.body["id"], one.body["name"], one.body["type"]) for one in page.items]
        after = page.next
        if after is None:
            break
    return found[:MOST_READ]


def likeliest(known: Sequence[Known], text: str, most: int) -> list[Known]:
    """So many of them: first those that share most words with the text; alike ones by name."""
    heap = {*stems(text)}
    return sorted(known, key=lambda one: (-len(heap & one.meant_by), one.name, one.id))[:most]

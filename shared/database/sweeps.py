"""Items of all tenants, page after page: what the sweeps go through."""

from collections.abc import AsyncIterator, Sequence

from shared.database.port import Database, Stored, Where
from shared.kinds import Kind


async def swept(
    database: Database, kind: Kind, where: Sequence[Where] = (), *, page: int, pages: int
) -> AsyncIterator[Stored]:
    """Every such item, the oldest first, up to `pages` of `page` items each; each item once."""
    seen: set[tuple[str, str]] = set()
    since: list[Where] = []
    for _ in range(pages):
        found = (await database.platform.sweep(kind, [*where, *since], limit=page)).items
        new = [one for one in found if (one.body["tenant_id"], one.body["id"]) not in seen]
        for stored in new:
            seen.add((stored.body["tenant_id"], stored.body["id"]))
            yield stored
        if len(found) < page or not new:
            return
        since = [Where("created_at", ">=", found[-1].body["created_at"])]

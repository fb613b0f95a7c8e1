"""Over all databases: items of all tenants, page after page, and whether those of single tenants are there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from shared.database.port import Database, Stored, Swept, Where
from shared.errors import Unavailable
from shared.kinds import Kind

AT_ONCE = 8  # databases


async def swept(
    database: Database, kind: Kind, where: Sequence[Where] = (), *, page: int, pages: int
) -> AsyncIterator[Stored]:
    """Every such item, the oldest first, up to `pages` of `page` items each; each item once."""
    seen: set[tuple[str, str]] = set()
    async for found in _pages(database, kind, where, page=page, pages=pages):
        new = [one for one in found.items if (one.body["tenant_id"], one.body["id"]) not in seen]
        for stored in new:
            seen.add((stored.body["tenant_id"], stored.body["id"]))
            yield stored
        if not new:
            return


async def tenants_with(
    database: Database, kind: Kind, where: Sequence[Where] = (), *, page: int, pages: int
) -> set[str] | None:
    """Whose such items are; None where that is not known of all: too many, or a database that was not looked into."""
    whose, last = set[str](), ""
    async for found in _pages(database, kind, where, page=page, pages=pages):
        if found.missed:
            return None
        whose |= {one.body["tenant_id"] for one in found.items}
        if len(found.items) < page:
            return whose
        if found.items[-1].body["created_at"] == last:
            return None  # a page of one instant: what is behind it is not seen
        last = found.items[-1].body["created_at"]
    return None


async def _pages(
    database: Database, kind: Kind, where: Sequence[Where], *, page: int, pages: int
) -> AsyncIterator[Swept]:
    """Each begins with the instant that the one before it ends with; the last is not full, or one of too many."""
    since: list[Where] = []
    for _ in range(pages):
        found = await database.platform.sweep(kind, [*where, *since], limit=page)
        yield found
        if len(found.items) < page:
            return
        since = [Where("created_at", ">=", found.items[-1].body["created_at"])]


async def all_there(looks: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """`Unavailable` when some looks at databases of single tenants fail: how many, and not whose."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(look: Callable[[], Awaitable[object]]) -> None:
        async with gate:
            await look()

    found = await asyncio.gather(*map(one, looks), return_exceptions=True)
    lost = [error for error in found if error is not None]
    if lost:
        raise Unavailable(f"{len(lost)} of {len(looks)} databases of single tenants cannot be used.") from lost[0]

"""Blocks that no correction reaches any more go to blob storage, so that lines of statements still lead to events.

An hour that no void can reach any more is copied as it is: its blocks, a JSON line each, in one blob. What is archived
is told by one note a tenant (how far); from then on events of those hours are read from their blobs, since blocks leave
the database one by one, 100 days after each was written.
"""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

from functions.usage.blocks import KEPT_SECONDS, Block
from functions.usage.periods import start_of
from functions.usage.reading import VOIDABLE
from functions.usage.rollups import blocks_of, made, open_hours
from shared.blobs.port import Blobs
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import TenantStore, Upsert
from shared.errors import NotFound, Unavailable
from shared.kinds import Kind
from shared.work.session import TenantSession

ARCHIVED = Kind("usage_archived", container="usage")  # created_at: before this, everything is
SO_FAR = "so-far"
AREA = "usage"
AFTER = VOIDABLE + timedelta(days=2)
AT_ONCE = timedelta(days=31)


class Archive:
    """`keep` is asked once a day for each tenant; `blocks` are those of an hour, wherever they are."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def keep(self, session: TenantSession) -> int:
        """Copy the hours that are old enough; returns how many. Again, or at once with another, changes nothing.

        `Unavailable` while one of them is open.
        """
        store, now = session.store, session.services.clock.now()
        oldest = start_of("day", now - timedelta(seconds=KEPT_SECONDS))
        since = max(oldest, parse_rfc3339(await self.so_far(store) or rfc3339(oldest)))
        until = min(start_of("day", now - AFTER), since + AT_ONCE)
        if since >= until:
            return 0
        await store.catch_up("usage")
        if await open_hours(store, since, until):
            raise Unavailable("An hour that is to be archived is open; it is closed first.")
        hours = await made(store, "hour", since, until)
        for hour in hours:
            await self._blobs.space(AREA, store.tenant_id).write(_name(hour), _lines(await blocks_of(store, hour)))
        await store.commit([Upsert(ARCHIVED, SO_FAR, {"created_at": rfc3339(until)})])
        return len(hours)

    async def so_far(self, store: TenantStore) -> str:
        """Hours before this one are in blobs; empty where none is."""
        stored = await store.get(ARCHIVED, SO_FAR)
        return "" if stored is None else str(stored.body["created_at"])

    async def blocks(self, store: TenantStore, hour: str, so_far: str) -> list[Block]:
        """The blocks of an hour, from its blob where it is archived."""
        if hour >= so_far:
            return await blocks_of(store, hour)
        content = bytearray()
        try:
            async for chunk in self._blobs.space(AREA, store.tenant_id).read(_name(hour)):
                content += chunk
        except NotFound:
            return []
        return [Block(json.loads(line)) for line in content.splitlines()]


def _name(hour: str) -> str:
    return f"{parse_rfc3339(hour):%Y/%m/%d/%H}.jsonl"


async def _lines(blocks: list[Block]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield json.dumps(dict(block.body), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

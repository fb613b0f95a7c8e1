"""What metering has stored, as tests look behind it."""

from collections.abc import Iterable
from datetime import UTC, datetime

from functions.usage.blocks import BLOCK, Block
from functions.usage.reading import Event
from functions.usage.rollups import totals
from shared.database.port import Document, TenantStore

EVER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def events_in(blocks: Iterable[Document]) -> list[Event]:
    """The events of blocks, each once."""
    return list({event.key: event for body in blocks for event in Block(body).events()}.values())


async def stored_events(store: TenantStore) -> list[Event]:
    return events_in([one.body async for page in store.scan([BLOCK]) for one in page])


async def total_and_count(store: TenantStore) -> tuple[int, int]:
    """The value of all that was ever counted, and of how many events there are blocks."""
    return sum((await totals(store, *EVER)).values()), len(await stored_events(store))

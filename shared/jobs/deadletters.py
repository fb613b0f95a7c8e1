"""Messages that cannot be handled, with the reason: listed, mended and sent again by an operator."""

import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from shared.apart import apart
from shared.clock import Clock, rfc3339
from shared.database.limits import encode
from shared.database.port import Create, Database, Delete, Document, Rejected, Stored, Where
from shared.errors import FlowgridError, Invalid, NotFound, Unavailable
from shared.ids import PLATFORM_TENANT_ID, derived_id
from shared.kinds import Kind
from shared.messaging.port import Message, Messaging
from shared.work.resources import Answer, Id, Listing, PageRequest, Timestamp, bounded_page

logger = logging.getLogger("flowgrid.deadletters")
MAX_LETTER_BYTES = 1024 * 1024  # half of what the store takes for one item
MAX_TEXT = 500_000  # characters of a body that is kept as text: quotes and backslashes take two bytes in the letter
REPLAYED_AT_ONCE = 200
LOOKED_AT = 1000
PAGE_ITEMS = 20  # of 1 MB at most, and mostly of 1 KB
MAX_PART = 1000  # characters of an id or a reason


class DeadLetter(BaseModel):
    """A message moved aside; `tenant` is the one it named, if any."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    KIND: ClassVar[Kind] = Kind("dead_letter", container="tenants", filtered=("queue", "tenant", "reason"))

    id: Id = Field(description="Its id here.")
    created_at: Timestamp = Field(description="When it was moved aside.")
    queue: str = Field(description="The queue that it came from.")
    reason: str = Field(description="Why it cannot be handled.")
    message_id: str = Field(description="Its id there.")
    tenant: str = Field(description="The tenant that it named, if any.")
    body: dict[str, Any] = Field(description="What it said.")


class Replayed(Answer):
    """What has become of many letters."""

    replayed: int = Field(description="Sent to their queues again.")
    failed: int = Field(description="Could not be sent; they are still in the list.")
    next_from: Timestamp | None = Field(
        description="When the next one was moved aside: `created_from` of the next request; null: that was all."
    )


class DeadLetters:
    """Kept in the registry, without a lifetime. A message is kept as far as it can be, whatever is in it."""

    def __init__(self, database: Database, messaging: Messaging, clock: Clock) -> None:
        self._platform = database.platform
        self._messaging = messaging
        self._clock = clock

    async def add(self, queue: str, message: Message, reason: str) -> None:
        """Keep the message, whatever it is; the same message (id and body) of the same queue again is kept once."""
        written = _written(message.body)
        digest = sha256(written.encode()).hexdigest()
        document: Document = {
            "id": derived_id("dead-letter", queue, _plain(message.id), digest),
            "created_at": rfc3339(self._clock.now()),
            "queue": queue,
            "reason": _plain(reason),
            "message_id": _plain(message.id),
            "tenant": _plain(message.tenant_id),
            "body": message.body,
        }
        try:
            keepable = len(encode(document).encode()) <= MAX_LETTER_BYTES
        except Invalid:
            keepable = False
        if not keepable:
            document["body"] = {"unreadable": written[:MAX_TEXT]}
        try:
            await self._platform.put(Create(DeadLetter.KIND, document["id"], document), PLATFORM_TENANT_ID)
        except Rejected:
            return
        extra = {"tenant_id": document["tenant"], "queue": queue, "letter_id": document["id"]}
        logger.error("a message cannot be handled", extra=extra)

    async def list(self, page: PageRequest, filters: Mapping[str, Any] | None = None) -> Listing[DeadLetter]:
        """`filters`: queue, tenant, reason; equality, None is left out."""
        found = await bounded_page(self._platform, DeadLetter.KIND, filters or {}, page)
        return Listing([DeadLetter.model_validate(stored.body) for stored in found.items], found.next)

    async def get(self, id: str) -> DeadLetter:
        """`NotFound` when there is none (any more)."""
        return DeadLetter.model_validate((await self._stored(id)).body)

    async def replay(self, id: str) -> DeadLetter:
        """Send the message to its queue again (under a new message id, the old one is a duplicate) and forget it."""
        return await self._replay(await self._stored(id))

    async def replay_all(self, filters: Mapping[str, Any]) -> Replayed:
        """`replay` of the oldest of those letters, at most `REPLAYED_AT_ONCE`; one that cannot be sent stops no other.

        `filters` mean equality, but `created_from`. Raises `Unavailable` when the broker takes nothing.
        """
        since = filters.get("created_from")
        same = {name: value for name, value in filters.items() if name != "created_from" and value is not None}
        where = [Where(name, "=", value) for name, value in same.items()]
        if since is not None:
            where.append(Where("created_at", ">=", since))
        replayed = failed = 0
        next_from: str | None = None
        async for stored in self._oldest(where):
            if replayed == REPLAYED_AT_ONCE or replayed + failed == LOOKED_AT:
                next_from = stored.body["created_at"]
                break
            try:
                await self._replay(stored)
                replayed += 1
            except Unavailable:
                if not replayed:
                    raise
                next_from = stored.body["created_at"]
                break
            except FlowgridError as error:
                extra = {"letter_id": stored.body["id"], "reason": error.message}
                logger.warning("a dead letter cannot be sent again", extra=extra)
                failed += 1
        return Replayed(replayed=replayed, failed=failed, next_from=next_from)

    async def _oldest(self, where: Sequence[Where]) -> AsyncIterator[Stored]:
        """Those that there are, few at a time: they may be large."""
        after: tuple[str, str] | None = None
        while True:
            page = await self._platform.query(DeadLetter.KIND, where, limit=PAGE_ITEMS, after=after)
            for stored in page.items:
                yield stored
            after = page.next
            if after is None:
                return

    async def _replay(self, stored: Stored) -> DeadLetter:
        id = stored.body["id"]
        letter = DeadLetter.model_validate(stored.body)
        again = Message(derived_id("replay", letter.message_id, stored.etag), letter.tenant, letter.body)
        await self._messaging.send(letter.queue, [again])
        try:
            await self._platform.put(Delete(DeadLetter.KIND, id), PLATFORM_TENANT_ID)
        except Rejected:
            return letter
        return letter

    async def collect(self, queue: str) -> int:
        """Move what the queue itself has given up on into this list; returns how many.

        One that cannot be kept stays where it is, with what has the same id there, and stops no other.
        """
        found = await self._messaging.dead(queue)
        kept = Counter[str]()
        for message, reason in found:
            with apart(logger, "a dead message is left to the next sweep", queue=queue, message_id=message.id):
                await self.add(queue, message, reason)
                kept[message.id] += 1
        there = Counter(message.id for message, _ in found)
        for id in [id for id in kept.elements() if kept[id] == there[id]]:
            await self._messaging.drop_dead(queue, id)
        return kept.total()

    async def _stored(self, id: str) -> Stored:
        stored = await self._platform.get(DeadLetter.KIND, PLATFORM_TENANT_ID, id)
        if stored is None:
            raise NotFound("There is no such dead letter.")
        return stored


def _written(body: dict[str, Any]) -> str:
    """As JSON text in ASCII, in which half a character is an escape like any other."""
    try:
        return json.dumps(body)
    except (ValueError, RecursionError) as error:
        return f"it cannot be written: {error!r}"


def _plain(text: str) -> str:
    """As text that can be kept: bounded, and without halves of characters."""
    return text[:MAX_PART].encode(errors="replace").decode()

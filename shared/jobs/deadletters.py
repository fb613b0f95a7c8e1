"""Messages that cannot be handled, with the reason: listed, mended and sent again by an operator."""

import json
import logging
from collections import Counter
from hashlib import sha256
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from shared.apart import apart
from shared.clock import Clock, rfc3339
from shared.database.limits import encode
from shared.database.port import Create, Database, Delete, Document, Rejected, Stored
from shared.errors import Invalid, NotFound
from shared.ids import PLATFORM_TENANT_ID, derived_id
from shared.kinds import Kind
from shared.messaging.port import Message, Messaging
from shared.work.resources import Id, Listing, PageRequest, Timestamp, bounded_page

logger = logging.getLogger("flowgrid.deadletters")
MAX_LETTER_BYTES = 1024 * 1024  # half of what the store takes for one item
MAX_TEXT = 500_000  # characters of a body that is kept as text: quotes and backslashes take two bytes in the letter
MAX_PART = 1000  # characters of an id or a reason


class DeadLetter(BaseModel):
    """A message moved aside; `tenant` is the one it named, if any."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    KIND: ClassVar[Kind] = Kind("dead_letter", container="tenants")

    id: Id = Field(description="Its id here.")
    created_at: Timestamp = Field(description="When it was moved aside.")
    queue: str = Field(description="The queue that it came from.")
    reason: str = Field(description="Why it cannot be handled.")
    message_id: str = Field(description="Its id there.")
    tenant: str = Field(description="The tenant that it named, if any.")
    body: dict[str, Any] = Field(description="What it said.")


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

    async def list(self, page: PageRequest) -> Listing[DeadLetter]:
        found = await bounded_page(self._platform, DeadLetter.KIND, {}, page)
        return Listing([DeadLetter.model_validate(stored.body) for stored in found.items], found.next)

    async def get(self, id: str) -> DeadLetter:
        """`NotFound` when there is none (any more)."""
        return DeadLetter.model_validate((await self._stored(id)).body)

    async def replay(self, id: str) -> DeadLetter:
        """Send the message to its queue again (under a new message id, the old one is a duplicate) and forget it."""
        stored = await self._stored(id)
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

"""Messages that cannot be handled, with the reason: listed, mended and sent again by an operator."""

import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from shared.clock import Clock, rfc3339
from shared.database.limits import encode
from shared.database.port import NEWEST_FIRST, Create, Database, Delete, Kind, Rejected, Stored
from shared.errors import Invalid, NotFound
from shared.ids import derived_id
from shared.messaging.port import Message, Messaging
from shared.resources import Id, Listing, Timestamp, bounded_page
from shared.tenancy import PLATFORM_TENANT_ID


class DeadLetter(BaseModel):
    """A message moved aside; `tenant` is the one it named, if any."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    KIND: ClassVar[Kind] = Kind.DEAD_LETTER

    id: Id
    created_at: Timestamp
    queue: str
    reason: str
    message_id: str
    tenant: str
    body: dict[str, Any]


class DeadLetters:
    def __init__(self, database: Database, messaging: Messaging, clock: Clock) -> None:
        self._platform = database.platform
        self._messaging = messaging
        self._clock = clock

    async def add(self, queue: str, message: Message, reason: str) -> None:
        """Keep the message; the same message of the same queue again is kept once."""
        letter = DeadLetter(
            id=derived_id("dead-letter", queue, message.id),
            created_at=rfc3339(self._clock.now()),
            queue=queue,
            reason=reason,
            message_id=message.id,
            tenant=message.tenant_id,
            body=message.body,
        )
        document = letter.model_dump()
        try:
            encode(document)
        except Invalid:  # a body that the store would not keep is kept as text
            document["body"] = {"unreadable": json.dumps(message.body)}
        try:
            await self._platform.put(Create(Kind.DEAD_LETTER, letter.id, document), PLATFORM_TENANT_ID)
        except Rejected:
            return

    async def list(self, limit: int, after: tuple[str, str] | None) -> Listing[DeadLetter]:
        page = await bounded_page(self._platform, Kind.DEAD_LETTER, (), order=NEWEST_FIRST, limit=limit, after=after)
        return Listing([DeadLetter.model_validate(stored.body) for stored in page.items], page.next)

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
            await self._platform.put(Delete(Kind.DEAD_LETTER, id), PLATFORM_TENANT_ID)
        except Rejected:
            return letter
        return letter

    async def collect(self, queue: str) -> int:
        """Move what the queue itself has given up on into this list; returns how many."""
        dead = await self._messaging.dead(queue)
        for message, reason in dead:
            await self.add(queue, message, reason)
            await self._messaging.drop_dead(queue, message.id)
        return len(dead)

    async def _stored(self, id: str) -> Stored:
        stored = await self._platform.get(Kind.DEAD_LETTER, PLATFORM_TENANT_ID, id)
        if stored is None:
            raise NotFound("There is no such dead letter.")
        return stored

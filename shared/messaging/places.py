"""Places of an instance for messages that may take long: those of one tenant leave room for the others'."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from shared.messaging.port import Message, Messaging

SIDE_BY_SIDE = 16  # as host.json has them
LATER = timedelta(seconds=2)


async def side_by_side(take: Callable[[Message], Awaitable[None]], messages: Sequence[Message]) -> None:
    """One that takes long keeps no other waiting. Raises the first failure, when all are done."""
    slots = asyncio.Semaphore(SIDE_BY_SIDE)

    async def placed(message: Message) -> None:
        async with slots:
            await take(message)

    outcomes = await asyncio.gather(*map(placed, messages), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


class Places:
    """`queue`: where a message waits that has no place now, under a new id (`new_id`)."""

    def __init__(self, messaging: Messaging, queue: str, new_id: Callable[[], str]) -> None:
        self._messaging = messaging
        self._queue = queue
        self._new_id = new_id
        self._at_work = Counter[str]()

    async def give(self, message: Message, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, unless its tenant has as many places of this instance as are left: then later, or elsewhere.

        So there is always a place for somebody who has none, however many of another's hang.
        """
        own, left = self._at_work[message.tenant_id], SIDE_BY_SIDE - self._at_work.total()
        if own and own >= left:
            await self._messaging.send(self._queue, [message._replace(id=self._new_id())], delay=LATER)
            return
        self._at_work[message.tenant_id] += 1
        try:
            await work()
        finally:
            self._at_work[message.tenant_id] -= 1
            self._at_work += Counter()  # who has none is forgotten

"""The messaging port: named queues, at least once, no order, duplicate detection by message id.

Shaped by Azure Service Bus queues in peek-lock mode. Sending is all that services do; receiving is a trigger's business
(the Functions host, `local/` or the drain timer), so it is not part of the port.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared.errors import TooLarge

MAX_MESSAGE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Message:
    """`id` is the duplicate-detection key; `body` is a JSON object of at most 256 KB."""

    id: str
    tenant_id: str
    body: dict[str, Any]


def encode(message: Message) -> str:
    """The body as JSON text; `TooLarge` when no broker would take it."""
    text = json.dumps(message.body, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"Message {message.id} is larger than {MAX_MESSAGE_BYTES} bytes.")
    return text


class Messaging(ABC):
    """Errors: `Unavailable` when the broker does not take the messages; a repeated send does no harm."""

    @abstractmethod
    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        """Durable when it returns; delivered after `delay`. The same id again within 10 minutes is dropped."""

    @abstractmethod
    async def dead(self, queue: str, *, most: int = 100) -> list[tuple[Message, str]]:
        """What the queue itself has given up on, with the reasons, oldest first; it stays until `drop_dead`."""

    @abstractmethod
    async def drop_dead(self, queue: str, id: str) -> None:
        """Forget one of them."""

    @abstractmethod
    async def ping(self) -> None:
        """Raise `Unavailable` when the broker does not answer."""

    @abstractmethod
    async def close(self) -> None:
        """Give back files and sockets."""

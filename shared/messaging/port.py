"""The messaging port: named queues, at least once, no order, duplicate detection by message id.

Shaped by Azure Service Bus queues in peek-lock mode. Sending is all that services do; receiving is a trigger's business
(the Functions host, `local/` or the drain timer), so it is not part of the port.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from pydantic_core import to_json

from shared.errors import Invalid, TooLarge

MAX_MESSAGE_BYTES = 252 * 1024  # Service Bus takes 256 KB with headers, ids and properties
MAX_AROUND_BYTES = 2 * 1024  # of them: the ids (a traceparent has 55 more)


class Message(NamedTuple):
    """`id` is the duplicate-detection key; `body` is a JSON object of at most 252 KB.

    `traceparent`: of the work that has caused it; empty: of whoever sends it.
    """

    id: str
    tenant_id: str
    body: dict[str, Any]
    traceparent: str = ""


def as_text(message: Message) -> str:
    """The body as JSON text; `TooLarge` or `Invalid` (half a character) when no broker would take the message."""
    try:
        encoded = to_json(message.body)
        around = len(f"{message.id}{message.tenant_id}".encode())
    except ValueError as error:
        raise Invalid.of("message", "holds half a character (a lone surrogate)") from error
    if len(encoded) > MAX_MESSAGE_BYTES or around > MAX_AROUND_BYTES:
        raise TooLarge(f"Message {message.id} is larger than {MAX_MESSAGE_BYTES} bytes.")
    return encoded.decode()


class Messaging(ABC):
    """Errors: `Unavailable` when the broker takes nothing, others for the messages; a repeated send does no harm."""

    @abstractmethod
    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        """Durable when it returns; delivered after `delay`. The same id again within 10 minutes is dropped."""

    @abstractmethod
    async def dead(self, queue: str, *, most: int = 100) -> list[tuple[Message, str]]:
        """What the queue itself has given up on, with the reasons, oldest first; it stays until `drop_dead`."""

    @abstractmethod
    async def drop_dead(self, queue: str, id: str) -> None:
        """Forget one of them: of those that have this id, the oldest."""

    @abstractmethod
    async def ping(self) -> None:
        """Raise `Unavailable` when the broker does not answer."""

    @abstractmethod
    async def close(self) -> None:
        """Give back files and sockets."""

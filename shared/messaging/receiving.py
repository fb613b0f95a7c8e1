"""Receiving under a lock, as the local host and the drain timer do it; on Azure the Functions host receives."""

from dataclasses import dataclass
from typing import Protocol

from shared.messaging.port import Message


@dataclass(frozen=True)
class Lease:
    """Messages locked for one receiver until the lease runs out; each says how often it has been delivered."""

    token: str
    messages: list[tuple[Message, int]]


class Receiving(Protocol):
    """Where queues are received from. `lease_seconds`, `seconds`, `pause`: seconds."""

    async def waiting(self, queue: str) -> bool:
        """Whether `receive` may find something."""
        ...

    async def receive(self, queue: str, *, most: int = 1, lease_seconds: float = ...) -> Lease:
        """Lock up to `most` messages that are due."""
        ...

    async def renew(self, lease: Lease, seconds: float) -> None:
        """Keep them locked."""
        ...

    async def retry(self, lease: Lease, pause: float) -> None:
        """Give them back, for another delivery after a pause."""
        ...

    async def complete(self, lease: Lease) -> None:
        """They are done with."""
        ...

    async def close(self) -> None:
        """Give back files and sockets."""
        ...

"""The port to whatever makes the databases of dedicated tenants, beside the one to the databases themselves."""

from abc import ABC, abstractmethod


class Provisioner(ABC):
    """Makes databases of dedicated tenants where the database adapter itself cannot."""

    @abstractmethod
    def room(self, shards: int) -> int:
        """How many such databases there can be at most, beside the registry and so many shards."""

    @abstractmethod
    async def ensure(self, database: str, operation: str | None = None, *, tenant_id: str) -> str | None:
        """None when the database and its containers are there; else the operation to go on with, in the next call.

        `tenant_id`: whose it is, by which its cost can be told.
        Takes about a minute at most. Idempotent. Raises `Unavailable` (try again later) with what is to be done, and
        `Full` when there is no room for it.
        """

    @abstractmethod
    async def discard(self, database: str) -> None:
        """Unmake what there is of a database that never held anything. Idempotent."""

    @abstractmethod
    async def close(self) -> None:
        """Give back sockets."""

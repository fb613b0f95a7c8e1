"""The tenant that people are invited into: here, or behind an API. One port, two adapters.

What fails in passing is tried again by the adapter, for a bounded while; CliError says what else has failed.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Final

from functions.audit.models import AuditEntry
from functions.identity.models import NewUser
from functions.usage.quotas import Quota
from shared.members.users import User

LATER: Final = "Invite again later: it goes on where it is."
PAGE: Final = 200


class RefusedError(Exception):
    """This one is not invited; the message says why."""


class FullError(RefusedError):
    """Nobody more is: the plan allows no more users."""


class Guests(ABC):
    """A tenant's users, as its admins see them."""

    tenant_id: str

    @abstractmethod
    def users(self) -> AsyncIterator[User]:
        """All of them."""

    @abstractmethod
    def removals(self) -> AsyncIterator[AuditEntry]:
        """What the audit trail says of users that were removed."""

    @abstractmethod
    async def quota(self) -> Quota:
        """Of users."""

    @abstractmethod
    async def invite(self, new: NewUser) -> bool:
        """By the ordinary way; False for who is there by now. RefusedError, FullError."""

    @abstractmethod
    async def close(self) -> None:
        """Give back files and sockets."""

"""Users: people of a tenant, invited by their e-mail address, known by the identity that they first signed in with."""

import hmac
from functools import lru_cache
from typing import ClassVar, Literal

from pydantic import Field

from shared.ids import derived_id
from shared.kinds import Kind
from shared.tenancy.sharedkey import RegistryKey
from shared.work.resources import Resource, Timestamp

BINDING = Kind("binding")  # of a token's holder to a user; stays when the user is removed
REMOVED = Kind("removed")  # the mark of a removed user's address
OWN_ISSUER = Kind("issuer", sorted=("updated_at",))  # whose tokens are taken in this tenant only (issuers.py)

UserRole = Literal["viewer", "user", "admin"]
UserStatus = Literal["invited", "active", "disabled"]


class User(Resource):
    """A user of the tenant. The role can only narrow what the token says; a disabled user is refused."""

    KIND: ClassVar[Kind] = Kind(
        "user",
        filtered=("role", "status"),
        sorted=("updated_at", "name"),
        counter="users",
        backup="restored",
        journalled=True,
        exported=True,
        told=("created", "updated", "deleted"),
        path="users",
    )

    email: str = Field(description="The address that the user is invited by.")
    name: str = Field(description="What the user is called.")
    role: UserRole = Field(description="The most that the user may do here.")
    status: UserStatus = Field(description="`invited` until the first call; who is `disabled` is refused.")
    issuer: str | None = Field(None, description="Who issued the token that the user first came with.")
    subject: str | None = Field(None, description="Who that token spoke of: the user is this identity and no other.")
    last_login_at: Timestamp | None = Field(None, description="When the user last came.")

    @property
    def bound(self) -> bool:
        return self.issuer is not None and self.subject is not None


class Removals:
    """Marks of removed users. They hold no address, only what can be compared with one."""

    def __init__(self, key: RegistryKey) -> None:
        self._key = key

    async def id(self, tenant_id: str, email: str) -> str:
        """The id of the mark that removing this address leaves in the tenant."""
        await self._key.load()
        return hmac.digest(self._key(), f"{tenant_id}/{email}".encode(), "sha256").hex()


def user_id(tenant_id: str, email: str) -> str:
    """A user's id follows from tenant and e-mail, so that an address leads to its user with one point read."""
    return derived_id("user", tenant_id, email.casefold())


@lru_cache(maxsize=4096)
def binding_id(issuer: str, subject: str) -> str:
    """The id of the item that says which user an identity is."""
    return derived_id("binding", issuer, subject)

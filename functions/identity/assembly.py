"""All of the identity service's parts, put together once."""

from dataclasses import dataclass

from functions.identity.access import AccessService
from functions.identity.service import IdentityService
from shared.core import Core


@dataclass(frozen=True)
class Identity:
    users: IdentityService
    access: AccessService

    @classmethod
    def of(cls, core: Core) -> "Identity":
        users = IdentityService(core.members, core.names, core.removals, core.invitations)
        return cls(users, AccessService(core.directory))

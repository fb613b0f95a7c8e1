"""All of the identity service's parts, put together once."""

from dataclasses import dataclass

from functions.identity.access import AccessService
from functions.identity.apikeys import ApiKeyService
from functions.identity.issuers import IssuerService
from functions.identity.service import IdentityService
from shared.core import Core


@dataclass(frozen=True)
class Identity:
    users: IdentityService
    access: AccessService
    issuers: IssuerService
    api_keys: ApiKeyService

    @classmethod
    def of(cls, core: Core) -> "Identity":
        users = IdentityService(core.members, core.names, core.removals, core.invitations)
        issuers = IssuerService(
            core.own_issuers, core.names, core.settings.flowgrid_issuers, core.adapters.outgoing.allowed
        )
        return cls(users, AccessService(core.directory), issuers, ApiKeyService(core.api_keys))

"""Who asks, and in which request: carried explicitly."""

from dataclasses import dataclass

from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.ids import derived_id


@dataclass(frozen=True)
class RequestInfo:
    """The request as the audit records it."""

    request_id: str
    ip_address: str
    user_agent: str


@dataclass(frozen=True)
class ByKey:
    """The API key by which somebody calls: whose it is (the user who was made at `user_since`), and what it may."""

    id: str
    user: str
    user_since: str
    scopes: frozenset[KeyScope]
    last_used_at: str | None = None


@dataclass(frozen=True)
class Caller:
    """A verified token's holder. `tenant_id` is the token's claim, None for platform staff without one.

    `email` is canonical, and proves something only when `email_verified`. `user` is the tenant's user that the holder
    is bound to, None until `Members.admit` has found it; `role` is the token's until then, the user's afterwards.
    `own_issuer`: the token is of the tenant's own issuer, whose word counts nowhere else.
    `key`: they call by an API key; the identity is that of its user then.
    """

    subject: str
    email: str | None
    name: str | None
    tenant_id: str | None
    role: Role | None
    issuer: str = ""
    email_verified: bool = False
    user: str | None = None
    own_issuer: bool = False
    key: ByKey | None = None

    @property
    def user_id(self) -> str:
        """The id that the audit knows this caller by: the tenant's user's, or the subject."""
        return self.user or self.subject

    @property
    def credential(self) -> str:
        """Under which name requests are repeated: the key's own, or the identity's.

        Not the user's, whose id is their address's: whoever has that next is somebody else.
        """
        return derived_id("credential", self.issuer, self.subject) if self.key is None else self.key.id

    def may(self, scope: KeyScope) -> bool:
        """Whether what they call by is for this."""
        return self.key is None or scope in self.key.scopes


SYSTEM = Caller(subject="system", email=None, name="Flowgrid", tenant_id=None, role=Role.PLATFORM)
SYSTEM_REQUEST = RequestInfo(request_id="", ip_address="", user_agent="flowgrid")

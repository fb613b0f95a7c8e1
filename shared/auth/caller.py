"""Who asks, and in which request: carried explicitly."""

from dataclasses import dataclass

from shared.auth.roles import Role


@dataclass(frozen=True)
class RequestInfo:
    """The request as the audit records it."""

    request_id: str
    ip_address: str
    user_agent: str


@dataclass(frozen=True)
class Caller:
    """A verified token's holder. `tenant_id` is the token's claim, None for platform staff without one.

    `email` is canonical, and proves something only when `email_verified`. `user` is the tenant's user that the holder
    is bound to, None until `Members.admit` has found it; `role` is the token's until then, the user's afterwards.
    `own_issuer`: the token is of the tenant's own issuer, whose word counts nowhere else.
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

    @property
    def user_id(self) -> str:
        """The id that the audit knows this caller by: the tenant's user's, or the subject."""
        return self.user or self.subject


SYSTEM = Caller(subject="system", email=None, name="Flowgrid", tenant_id=None, role=Role.PLATFORM)
SYSTEM_REQUEST = RequestInfo(request_id="", ip_address="", user_agent="flowgrid")

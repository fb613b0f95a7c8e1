"""How each provider asks for claims, and how it is answered.

- Entra: https://learn.microsoft.com/entra/identity-platform/custom-claims-provider-reference
- B2C: https://learn.microsoft.com/azure/active-directory-b2c/add-api-connector-token-enrichment and
  .../add-api-connector; custom policies: .../restful-technical-profile#returning-validation-error-message
- Auth0: what the Action of docs/sign-in.md sends and sets, by
  https://auth0.com/docs/customize/actions/explore-triggers/signup-and-login-triggers/login-trigger
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from shared.auth.emails import canonical
from shared.auth.tokens import MAX_SUBJECT
from shared.http.routes import Content
from shared.issuers import ClaimsAsker
from shared.members.whereabouts import Absent, Person, Place

Subject = Annotated[str, Field(min_length=1, max_length=MAX_SUBJECT)]
Claims = Mapping[str, str | list[str]]
B2C_VERSION = "1.0.0"
BEFORE_THE_TOKEN = "PreTokenIssuance"  # noqa: S105 - a step of a user flow


class _Asked(BaseModel):
    """A provider says much more than is asked for here, and may say more tomorrow."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)


class EntraUser(_Asked):
    id: Subject
    mail: str | None = None


class EntraContext(_Asked):
    user: EntraUser


class EntraData(_Asked):
    authentication: EntraContext = Field(alias="authenticationContext")


class Entra(_Asked):
    """`onTokenIssuanceStart`. There is no answer that refuses a sign-in: who is nowhere gets a token without claims."""

    type: Literal["microsoft.graph.authenticationEvent.tokenIssuanceStart"]
    data: EntraData

    def person(self, verifies_email: bool) -> Person:
        user = self.data.authentication.user
        return Person(user.id, canonical(user.mail) if verifies_email else None)

    def answer(self, asker: ClaimsAsker, found: Place | Absent, tenant: str, roles: str) -> Any:
        claims: Claims = {tenant: found.tenant_id, roles: [found.role.value]} if isinstance(found, Place) else {}
        provided = {"@odata.type": "microsoft.graph.tokenIssuanceStart.provideClaimsForToken", "claims": claims}
        return {"data": {"@odata.type": "microsoft.graph.onTokenIssuanceStartResponseData", "actions": [provided]}}


class B2C(_Asked):
    """An API connector at any step of a user flow, or a REST profile of a custom policy (which names no step).

    What the answer leaves out comes from the directory, so who is nowhere gets empty claims. At other steps than the
    last it would be stored there, so those get none. Attributes are texts: the role is one.
    """

    subject: Subject | None = Field(None, alias="objectId")
    email: str | None = None
    step: str | None = None
    tenant: str | None = Field(None, max_length=63)

    def person(self, verifies_email: bool) -> Person:
        return Person(self.subject, canonical(self.email) if verifies_email else None, self.tenant or None)

    def answer(self, asker: ClaimsAsker, found: Place | Absent, tenant: str, roles: str) -> Any:
        if isinstance(found, Absent) and asker.refuse and self.step != BEFORE_THE_TOKEN:
            return self._refusal(found)
        going_on: dict[str, Any] = {"version": B2C_VERSION, "action": "Continue"}
        if self.step not in (None, BEFORE_THE_TOKEN):
            return going_on
        if isinstance(found, Absent):
            return {**going_on, tenant: "", roles: ""}
        return {**going_on, tenant: found.tenant_id, roles: found.role.value}

    def _refusal(self, why: Absent) -> Any:
        if self.step is not None:
            return {"version": B2C_VERSION, "action": "ShowBlockPage", "userMessage": why.value}
        told = {"version": B2C_VERSION, "status": 409, "userMessage": why.value}
        return Content(json.dumps(told).encode(), "application/json", 409)


class Auth0User(_Asked):
    user_id: Subject
    email: str | None = None
    email_verified: bool = False


class Auth0(_Asked):
    """The Action's call: `event.user` in short, and the tenant that the application has asked for."""

    user: Auth0User
    tenant: str | None = Field(None, max_length=63)

    def person(self, verifies_email: bool) -> Person:
        verified = canonical(self.user.email) if self.user.email_verified else None
        return Person(self.user.user_id, verified, self.tenant or None)

    def answer(self, asker: ClaimsAsker, found: Place | Absent, tenant: str, roles: str) -> Any:
        if isinstance(found, Absent):
            return {"claims": {}, "refused": found.value if asker.refuse else None}
        return {"claims": {tenant: found.tenant_id, roles: [found.role.value]}, "refused": None}


class Shape(Protocol):
    """What was asked, in one provider's form."""

    def person(self, verifies_email: bool) -> Person:
        """Who signs in; with an address only if it is verified."""

    def answer(self, asker: ClaimsAsker, found: Place | Absent, tenant: str, roles: str) -> Any:
        """JSON, or `Content`; `tenant` and `roles` are the names of the claims."""


SHAPES: Mapping[str, type[Entra] | type[B2C] | type[Auth0]] = {"entra": Entra, "b2c": B2C, "auth0": Auth0}

"""Whose word is taken, as settings say it: token issuers, and identity providers that ask who may be where."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.emulators import is_local

A_NAME = r"^[a-z0-9](?:[a-z0-9-]{0,78}[a-z0-9])?$"
MOST_SECRETS = 2  # of one provider: the old one and the new one
MOST_ASKERS = 20
MOST_GATEWAYS = 4  # such as one of each region, or the old and the new one


class Issuer(BaseModel):
    """An OpenID Connect provider whose tokens are accepted (keys come from its discovery document, or `jwks_uri`).

    `subject_claim` names who somebody is, for good (Entra: `oid`, since its `sub` differs from app to app).
    `email_verified_claim` must be true for an e-mail to count (Entra: `xms_edov`); null: this issuer asserts verified
    addresses only, as B2C's user flows do, which have no such claim. `tenant_claim`, `roles_claim`: where this issuer
    has other names for them than the settings (Auth0: URLs; Entra issues `roles` for app roles only).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    jwks_uri: str | None = None
    subject_claim: str = Field("sub", min_length=1)
    email_verified_claim: str | None = Field("email_verified", min_length=1)
    tenant_claim: str | None = Field(None, min_length=1)
    roles_claim: str | None = Field(None, min_length=1)


class ClaimsAsker(BaseModel):
    """An identity provider that asks `POST api/claims/{name}` before it issues a token of `issuer`.

    - `caller`: of Entra, whose tokens it shows itself by: the issuer and audience of its own calls.
    - `secrets`: of the others, names of secrets in the platform's own space; two are good at once, to be rotated.
    - `verifies_email`: it asks only for people whose address it has verified itself. (Auth0 says so for each.)
    - `refuse`: who is in no tenant is told so and not signed in, where the provider has an answer for that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]{1,32}$")
    provider: Literal["entra", "b2c", "auth0"]
    issuer: str = Field(min_length=1)
    caller: Issuer | None = None
    secrets: Annotated[tuple[Annotated[str, Field(pattern=A_NAME)], ...], Field(max_length=MOST_SECRETS)] = ()
    verifies_email: bool = False
    refuse: bool = False

    @model_validator(mode="after")
    def _shows_itself(self) -> Self:
        entra = self.provider == "entra"
        if entra != (self.caller is not None) or entra == bool(self.secrets):
            raise ValueError("entra needs caller, the others need secrets")
        return self


class Gateway(Issuer):
    """Who calls this app for everybody else: tokens of `issuer` whose holder (`subject_claim`) is `caller`.

    Of a managed identity, `oid` is its object id (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
    """

    caller: str = Field(min_length=1)
    subject_claim: str = Field("oid", min_length=1)


def from_json(value: Any) -> Any:
    """A setting that is a JSON list, as a list."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "[]")
    except ValueError as error:
        raise ValueError('it should be JSON, such as [{"issuer": "https://…/v2.0", "audience": "flowgrid"}]') from error


def wrong_askers(askers: tuple[ClaimsAsker, ...], issuers: tuple[Issuer, ...]) -> list[str]:
    """What is wrong with who asks for claims: two of one name, tokens of an issuer that there is not, plain HTTP."""
    known = {one.issuer for one in issuers}
    names = [one.name for one in askers]
    wrong = [f"{name!r} is there twice" for name in sorted({name for name in names if names.count(name) > 1})]
    wrong += [f"{one.issuer!r} is not one of FLOWGRID_ISSUERS" for one in askers if one.issuer not in known]
    return wrong + [f"{url!r} is not https" for one in askers if one.caller for url in plain(one.caller)]


def plain(issuer: Issuer) -> list[str]:
    """Its addresses from which keys would come over plain HTTP; between parts of this machine they may."""
    urls = [url for url in (issuer.issuer, issuer.jwks_uri) if url is not None and not url.lower().startswith("https:")]
    return [url for url in urls if not (is_local(url) and is_local(issuer.issuer))]

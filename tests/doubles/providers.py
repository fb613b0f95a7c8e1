"""Identity providers of three shapes: each asks our claims endpoint at sign-in in its own way, puts what it is told
into the token in its own form (RS256), and publishes its keys.

Entra: https://learn.microsoft.com/entra/identity-platform/custom-claims-provider-reference; B2C:
https://learn.microsoft.com/azure/active-directory-b2c/add-api-connector-token-enrichment; Auth0: the Action of
docs/sign-in.md.
"""

import hmac
import json
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.server import serving

EVENTS_APP = "99045fe1-7639-4a75-9d4a-577b6ca3810f"
EXTENSION_APP = "1c2d5a1e-0000-4000-8000-00000000ext1"
API = "flowgrid-api"
MAX_ENTRA_CLAIMS = 3 * 1024

Ask = Callable[[Mapping[str, str], bytes], Awaitable[tuple[int, Any]]]
P = TypeVar("P", bound="Provider")


class SignInRefused(Exception):
    """The provider shows this to whoever wanted to sign in, and issues no token."""


@dataclass(frozen=True)
class Human:
    """Somebody with an account at the provider. `verified`: the provider has seen that the address is theirs."""

    email: str
    verified: bool = True
    subject: str = field(default_factory=lambda: str(uuid4()))


class Provider:
    """`ask`: how our claims endpoint is reached. `kid`: of the key that it signs with."""

    path = ""

    def __init__(self, kid: str = "key-1") -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.kid = kid
        self.url = ""
        self.ask: Ask | None = None
        self.answers: list[Any] = []

    @property
    def issuer(self) -> str:
        return f"{self.url}{self.path}"

    def app(self) -> Starlette:
        async def discovery(request: Request) -> Response:
            return JSONResponse({"issuer": self.issuer, "jwks_uri": f"{self.url}/keys"})

        async def keys(request: Request) -> Response:
            public = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
            return JSONResponse({"keys": [{**public, "kid": self.kid, "use": "sig"}]})

        base = self.path.rstrip("/")
        return Starlette(routes=[Route(f"{base}/.well-known/openid-configuration", discovery), Route("/keys", keys)])

    def sign(self, **claims: Any) -> str:
        """A token of this provider with these claims."""
        now = int(time.time())
        own = {"iss": self.issuer, "aud": API, "iat": now, "nbf": now, "exp": now + 3600}
        return jwt.encode({**own, **claims}, self.key, "RS256", headers={"kid": self.kid})

    async def asked(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> tuple[int, Any]:
        assert self.ask is not None, "there is nobody to ask"
        raw = json.dumps(body).encode()
        status, answer = await self.ask({"content-type": "application/json", **self.shown(raw), **headers}, raw)
        self.answers.append(answer)
        return status, answer

    def shown(self, body: bytes) -> dict[str, str]:
        """The headers by which the provider shows itself."""
        raise NotImplementedError

    async def sign_in(self, human: Human) -> str:
        """The token; `SignInRefused` with what the provider shows."""
        raise NotImplementedError


class Entra(Provider):
    """Entra External ID with a custom authentication extension at `onTokenIssuanceStart`."""

    path = "/3f1d2c4b-0000-4000-8000-00000000cafe/v2.0"
    mapped = ("extension_TenantId", "flowgrid_roles")  # what the application's claims mapping takes

    def shown(self, body: bytes) -> dict[str, str]:
        return {"authorization": f"Bearer {self.caller_token()}"}

    def caller_token(self, **claims: Any) -> str:
        return self.sign(**{"aud": EXTENSION_APP, "azp": EVENTS_APP, "sub": "events", **claims})

    def question(self, human: Human) -> dict[str, Any]:
        context = {
            "correlationId": str(uuid4()),
            "client": {"ip": "30.51.176.110", "locale": "en-us", "market": "en-us"},
            "protocol": "OAUTH2.0",
            "clientServicePrincipal": {"id": str(uuid4()), "appId": str(uuid4()), "displayName": "Flowgrid"},
            "user": {"id": human.subject, "mail": human.email, "displayName": "Ada", "userType": "Member"},
        }
        data = {"@odata.type": "microsoft.graph.onTokenIssuanceStartCalloutData", "authenticationContext": context}
        return {"type": "microsoft.graph.authenticationEvent.tokenIssuanceStart", "source": "/tenants/x", "data": data}

    async def sign_in(self, human: Human) -> str:
        status, answer = await self.asked({}, self.question(human))
        if status != 200:
            raise SignInRefused("AADSTS1100001: Non-retryable error has occurred.")
        assert answer["data"]["@odata.type"] == "microsoft.graph.onTokenIssuanceStartResponseData"
        (action,) = answer["data"]["actions"]
        assert action["@odata.type"] == "microsoft.graph.tokenIssuanceStart.provideClaimsForToken"
        claims = action["claims"]
        assert len(json.dumps(claims)) <= MAX_ENTRA_CLAIMS
        for value in claims.values():
            assert isinstance(value, str) or all(isinstance(one, str) for one in value)
        mapped = {name: claims[name] for name in self.mapped if name in claims}
        verified = {"xms_edov": "1"} if human.verified else {}
        return self.sign(sub=str(uuid4()), oid=human.subject, email=human.email, **verified, **mapped)


class B2C(Provider):
    """A user flow with an API connector before the token, and one after the attributes are collected."""

    path = "/tfp/9d1c/b2c_1_signin/v2.0/"

    def __init__(self, kid: str = "key-1") -> None:
        super().__init__(kid)
        self.password = "flowgrid:first"
        self.directory: dict[str, dict[str, str]] = {}

    def shown(self, body: bytes) -> dict[str, str]:
        return {"authorization": f"Basic {b64encode(self.password.encode()).decode()}"}

    def question(self, human: Human, step: str = "PreTokenIssuance") -> dict[str, Any]:
        local = {"signInType": "emailAddress", "issuer": "x.onmicrosoft.com", "issuerAssignedId": human.email}
        asked = {"email": human.email, "identities": [local], "step": step, "client_id": "c", "ui_locales": "en-US"}
        return asked if step == "PostAttributeCollection" else {**asked, "objectId": human.subject}

    async def sign_up(self, human: Human) -> str:
        """With a connector before the user is made, and then as `sign_in`."""
        _, answer = await self.asked({}, self.question(human, "PostAttributeCollection"))
        if answer.get("action") == "ShowBlockPage":
            raise SignInRefused(answer["userMessage"])
        self.directory[human.subject] = {name: text for name, text in answer.items() if name.startswith("extension_")}
        return await self.sign_in(human)

    async def sign_in(self, human: Human) -> str:
        status, answer = await self.asked({}, self.question(human))
        if status != 200 or answer.get("action") != "Continue":
            raise SignInRefused("The API connector failed.")
        assert isinstance(answer["version"], str)
        told = {name: value for name, value in answer.items() if name.startswith("extension_")}
        assert all(isinstance(value, str) for value in told.values()), "attributes are texts"
        claims = {**self.directory.get(human.subject, {}), **told}
        return self.sign(sub=human.subject, emails=[human.email], **claims)


class Auth0(Provider):
    """A post-login Action, as docs/sign-in.md has it."""

    path = "/"

    def __init__(self, kid: str = "key-1", name: str = "auth0") -> None:
        super().__init__(kid)
        self.name = name
        self.secret = "a-secret-of-the-action"
        self.now: Callable[[], float] = time.time

    def shown(self, body: bytes) -> dict[str, str]:
        at = str(int(self.now()))
        text = f"{at}.{self.name}.".encode() + body
        signature = hmac.new(self.secret.encode(), text, "sha256").hexdigest()
        return {"x-flowgrid-timestamp": at, "x-flowgrid-signature": signature}

    def question(self, human: Human, tenant: str | None = None) -> dict[str, Any]:
        user = {"user_id": f"auth0|{human.subject}", "email": human.email, "email_verified": human.verified}
        return {"user": user, "tenant": tenant}

    async def sign_in(self, human: Human, tenant: str | None = None) -> str:
        status, answer = await self.asked({}, self.question(human, tenant))
        if status != 200:
            raise SignInRefused("Flowgrid cannot be asked now.")
        if answer["refused"]:
            raise SignInRefused(answer["refused"])
        own = {"email": human.email, "email_verified": human.verified}
        return self.sign(sub=f"auth0|{human.subject}", **own, **answer["claims"])


class Company(Provider):
    """A company's own provider, which nobody of ours has set up."""

    path = "/company"

    async def sign_in(self, human: Human, **claims: Any) -> str:
        own = {"sub": human.subject, "email": human.email, "email_verified": human.verified}
        return self.sign(**{**own, **claims})


@contextmanager
def published(provider: P) -> Iterator[P]:
    """The provider with its pages served; its address is part of its issuer's name."""
    with serving(provider.app()) as url:
        provider.url = url
        yield provider

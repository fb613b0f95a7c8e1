"""Bearer tokens: RS256 JWTs of the configured issuers, keys from their JWKS (RFC 7519, RFC 7517, OpenID Discovery)."""

import asyncio
import json
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared.auth.roles import highest
from shared.clock import Clock
from shared.context import Caller
from shared.emails import canonical
from shared.errors import Unauthenticated, Unavailable
from shared.ids import is_uuid
from shared.settings import Issuer

if TYPE_CHECKING:
    from jwt import PyJWK

KEYS_LIVE_SECONDS = 3600
REFRESH_AT_MOST_EVERY_SECONDS = 30
FETCH_TIMEOUT_SECONDS = 5
MAX_KEYS_BYTES = 256 * 1024
LEEWAY_SECONDS = 30
MAX_TOKEN_BYTES = 16 * 1024
MAX_SUBJECT = 255  # OpenID Connect Core §2


class TokenVerifier:
    """Turns an Authorization header into a `Caller`; raises `Unauthenticated` (the token's fault) or `Unavailable`."""

    def __init__(self, issuers: Sequence[Issuer], *, tenant_claim: str, roles_claim: str, clock: Clock) -> None:
        self._issuers = {issuer.issuer: (issuer, _Keys(issuer, clock)) for issuer in issuers}
        self._tenant_claim = tenant_claim
        self._roles_claim = roles_claim

    async def verify(self, authorization: str | None) -> Caller:
        token = _bearer(authorization)
        import jwt  # heavy (cryptography), so not at start

        try:
            unverified = jwt.decode_complete(token, options={"verify_signature": False})
        except jwt.PyJWTError as error:
            raise Unauthenticated("The token is not a JSON Web Token.") from error
        header, issuer_name = unverified["header"], unverified["payload"].get("iss")
        if header.get("alg") != "RS256":
            raise Unauthenticated("The token must be signed with RS256.")
        if not isinstance(issuer_name, str) or issuer_name not in self._issuers:
            raise Unauthenticated("The token's issuer is not one of this service's.")
        issuer, keys = self._issuers[issuer_name]
        key = await keys.get(header.get("kid"))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("The token has expired; sign in again.") from error
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"The token does not verify: {error}.") from error
        return self._caller(claims, issuer)

    def _caller(self, claims: Mapping[str, Any], issuer: Issuer) -> Caller:
        tenant_id = claims.get(self._tenant_claim)
        if tenant_id is not None and not (isinstance(tenant_id, str) and is_uuid(tenant_id)):
            raise Unauthenticated(f"The token's {self._tenant_claim} claim is not a tenant id.")
        return Caller(
            subject=_subject(claims, issuer),
            email=_email(claims),
            name=claims["name"] if isinstance(claims.get("name"), str) else None,
            tenant_id=tenant_id,
            role=highest(claims.get(self._roles_claim)),
            issuer=issuer.issuer,
            email_verified=_email_verified(claims, issuer),
        )


class _Keys:
    """One issuer's signing keys: kept an hour, fetched again for an unknown `kid`, but not more often than allowed."""

    def __init__(self, issuer: Issuer, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def get(self, kid: object) -> "PyJWK":
        if not isinstance(kid, str):
            raise Unauthenticated("The token names no key (kid).")
        if self._needs(kid):
            async with self._lock:
                if self._needs(kid):
                    await self._refresh()
        if kid not in self._keys:
            raise Unauthenticated("The token is signed with a key that its issuer does not publish.")
        return self._keys[kid]

    def _needs(self, kid: str) -> bool:
        now = self._clock.now().timestamp()
        wanted = kid not in self._keys or now - self._fetched_at > KEYS_LIVE_SECONDS
        return wanted and now - self._tried_at >= REFRESH_AT_MOST_EVERY_SECONDS

    async def _refresh(self) -> None:
        import jwt

        try:
            uri = self._issuer.jwks_uri or await self._discover()
            published = jwt.PyJWKSet.from_dict(await asyncio.to_thread(_fetch_json, uri)).keys
        except (OSError, HTTPException, ValueError, KeyError, jwt.PyJWTError) as error:
            if not self._keys:
                text = f"The keys of {self._issuer.issuer} cannot be read: {error}"
                raise Unavailable(text, retry_after=5) from error
            self._tried_at = self._clock.now().timestamp()
            return  # the keys that we have stay good while their issuer is away
        self._tried_at = self._clock.now().timestamp()  # only now: who comes meanwhile waits for these keys
        self._keys = {key.key_id: key for key in published if key.key_id and key.key_type == "RSA"}
        self._fetched_at = self._tried_at

    async def _discover(self) -> str:
        base = self._issuer.issuer.rstrip("/")
        document = await asyncio.to_thread(_fetch_json, f"{base}/.well-known/openid-configuration")
        if document["issuer"] != self._issuer.issuer:
            raise ValueError(f"its discovery document is of another issuer, {document['issuer']!r}")
        return str(document["jwks_uri"])


def _fetch_json(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError(f"{url} is not https")
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_SECONDS) as response:  # noqa: S310 - scheme checked
        document = json.loads(response.read(MAX_KEYS_BYTES))
    if not isinstance(document, dict):
        raise ValueError(f"{url} is not a JSON object")
    return document


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Send a token: Authorization: Bearer <token>.")
    if len(token) > MAX_TOKEN_BYTES:
        raise Unauthenticated("The token is too long.")
    return token.strip()


def _subject(claims: Mapping[str, Any], issuer: Issuer) -> str:
    subject = claims.get(issuer.subject_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise Unauthenticated(f"The token's {issuer.subject_claim} claim does not say who its holder is.")
    return subject


def _email(claims: Mapping[str, Any]) -> str | None:
    """`email`, or the first of B2C's `emails`; None for what is no address."""
    emails = claims.get("emails")
    return canonical(claims.get("email") or (emails[0] if isinstance(emails, list) and emails else None))


def _email_verified(claims: Mapping[str, Any], issuer: Issuer) -> bool:
    """Whether the issuer says so. Some write the boolean as a text or a number (Entra's `xms_edov`: "1")."""
    if issuer.email_verified_claim is None:
        return True
    return claims.get(issuer.email_verified_claim) in (True, 1, "true", "1")

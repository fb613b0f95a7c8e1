"""What is signed: RS256 JWTs of an issuer, keys from its JWKS (RFC 7519, RFC 7517, OpenID Discovery)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.auth.keys import ALGORITHM, SigningKeys
from shared.errors import Unauthenticated
from shared.issuers import Issuer

LEEWAY_SECONDS = 30
MAX_TOKEN_BYTES = 16 * 1024
_REASONS = {  # what the log calls a claim, or a signature, that does not verify
    "InvalidSignatureError": "signature",
    "InvalidAudienceError": "audience",
    "ImmatureSignatureError": "not_yet_valid",
    "MissingRequiredClaimError": "missing_claim",
}


@dataclass(frozen=True)
class Trusted:
    """An issuer whose word counts, with its keys and no other's.

    `tenant_id`: whose own it is: it speaks of that tenant's people only, whose addresses are of `email_domains`.
    """

    issuer: Issuer
    keys: SigningKeys
    tenant_id: str | None = None
    email_domains: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Opened:
    """A token that verifies: its claims, by whom, with which key, and until when (seconds since the epoch)."""

    claims: Mapping[str, Any]
    by: Trusted
    kid: object
    key: object
    until: int


Find = Callable[[str, Mapping[str, Any]], Awaitable[Trusted | None]]


async def opened(token: str, find: Find) -> Opened:
    """The token, verified; `Unauthenticated` (its own fault) or `Unavailable`.

    `find`: whom to believe, by the `iss` that it names and its claims, of which nothing is proved by then.
    """
    import jwt  # heavy (cryptography), so not at start

    try:
        unverified = jwt.decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise Unauthenticated("The token is not a JSON Web Token.", reason="no_jwt") from error
    header, issuer_name = unverified["header"], unverified["payload"].get("iss")
    if header.get("alg") != ALGORITHM:
        raise Unauthenticated("The token must be signed with RS256.", reason="algorithm")
    by = await find(issuer_name, unverified["payload"]) if isinstance(issuer_name, str) else None
    if by is None:
        raise Unauthenticated("The token's issuer is not one of this service's.", reason="unknown_issuer")
    issuer = by.issuer
    key = await by.keys.get(header.get("kid"))
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except jwt.ExpiredSignatureError as error:
        text = "The token has expired; sign in again."
        raise Unauthenticated(text, reason="expired", issuer=issuer.issuer) from error
    except jwt.PyJWTError as error:
        reason = _REASONS.get(type(error).__name__, "invalid")
        text = f"The token does not verify: {reason.replace('_', ' ')}."
        raise Unauthenticated(text, reason=reason, issuer=issuer.issuer) from error
    return Opened(claims, by, header["kid"], key, int(claims["exp"]) + LEEWAY_SECONDS)


def bearer(authorization: str | None) -> str:
    """The token of an Authorization header (RFC 6750)."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Send a token: Authorization: Bearer <token>.", reason="no_token")
    if len(token) > MAX_TOKEN_BYTES:
        raise Unauthenticated("The token is too long.", reason="too_long")
    return token.strip()

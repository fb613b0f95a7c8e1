"""Bearer tokens: RS256 JWTs of the configured issuers, keys from their JWKS (RFC 7519, RFC 7517, OpenID Discovery)."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.auth.caller import Caller
from shared.auth.emails import canonical
from shared.auth.keys import ALGORITHM, SigningKeys
from shared.auth.roles import highest
from shared.auth.verified import Verified, VerifiedTokens
from shared.errors import Unauthenticated
from shared.ids import is_uuid
from shared.settings import Issuer

LEEWAY_SECONDS = 30
MAX_TOKEN_BYTES = 16 * 1024
MAX_SUBJECT = 255  # OpenID Connect Core §2
_REASONS = {  # what the log calls a claim, or a signature, that does not verify
    "InvalidSignatureError": "signature",
    "InvalidAudienceError": "audience",
    "ImmatureSignatureError": "not_yet_valid",
    "MissingRequiredClaimError": "missing_claim",
}

Keys = Callable[[Issuer], SigningKeys]


class TokenVerifier:
    """Turns an Authorization header into a `Caller`; raises `Unauthenticated` (the token's fault) or `Unavailable`."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        tenant_claim: str,
        roles_claim: str,
        keys: Keys = SigningKeys,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._verified = VerifiedTokens(now)
        self._issuers = {issuer.issuer: (issuer, keys(issuer)) for issuer in issuers}
        self._tenant_claim = tenant_claim
        self._roles_claim = roles_claim

    async def verify(self, authorization: str | None) -> Caller:
        token = _bearer(authorization)
        return await self._verified.caller(token) or await self._verify(token)

    async def _verify(self, token: str) -> Caller:
        import jwt  # heavy (cryptography), so not at start

        try:
            unverified = jwt.decode_complete(token, options={"verify_signature": False})
        except jwt.PyJWTError as error:
            raise Unauthenticated("The token is not a JSON Web Token.", reason="no_jwt") from error
        header, issuer_name = unverified["header"], unverified["payload"].get("iss")
        if header.get("alg") != ALGORITHM:
            raise Unauthenticated("The token must be signed with RS256.", reason="algorithm")
        if not isinstance(issuer_name, str) or issuer_name not in self._issuers:
            raise Unauthenticated("The token's issuer is not one of this service's.", reason="unknown_issuer")
        issuer, keys = self._issuers[issuer_name]
        key = await keys.get(header.get("kid"))
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
        caller = self._caller(claims, issuer)
        until = int(claims["exp"]) + LEEWAY_SECONDS
        self._verified.keep(token, Verified(caller, keys, header["kid"], key, self._now(), until))
        return caller

    async def close(self) -> None:
        """Give up what is being fetched."""
        for _, keys in self._issuers.values():
            await keys.close()

    def _caller(self, claims: Mapping[str, Any], issuer: Issuer) -> Caller:
        tenant_id = claims.get(self._tenant_claim)
        if tenant_id is not None and not (isinstance(tenant_id, str) and is_uuid(tenant_id)):
            raise Unauthenticated(f"The token's {self._tenant_claim} claim is not a tenant id.", reason="tenant_claim")
        return Caller(
            subject=_subject(claims, issuer),
            email=_email(claims),
            name=_text(claims.get("name")),
            tenant_id=tenant_id,
            role=highest(claims.get(self._roles_claim)),
            issuer=issuer.issuer,
            email_verified=_email_verified(claims, issuer),
        )


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Send a token: Authorization: Bearer <token>.", reason="no_token")
    if len(token) > MAX_TOKEN_BYTES:
        raise Unauthenticated("The token is too long.", reason="too_long")
    return token.strip()


def _subject(claims: Mapping[str, Any], issuer: Issuer) -> str:
    subject = _text(claims.get(issuer.subject_claim))
    if subject is None or not 0 < len(subject) <= MAX_SUBJECT:
        raise Unauthenticated(
            f"The token's {issuer.subject_claim} claim does not say who its holder is.", reason="subject"
        )
    return subject


def _text(claim: object) -> str | None:
    """None for what is no text, or none that can be stored: JSON may hold half of a character (a lone surrogate)."""
    if not isinstance(claim, str) or any("\ud800" <= one <= "\udfff" for one in claim):
        return None
    return claim


def _email(claims: Mapping[str, Any]) -> str | None:
    """`email`, or the first of B2C's `emails`; None for what is no address."""
    emails = claims.get("emails")
    return canonical(claims.get("email") or (emails[0] if isinstance(emails, list) and emails else None))


def _email_verified(claims: Mapping[str, Any], issuer: Issuer) -> bool:
    """Whether the issuer says so. Some write the boolean as a text or a number (Entra's `xms_edov`: "1")."""
    if issuer.email_verified_claim is None:
        return True
    return claims.get(issuer.email_verified_claim) in (True, 1, "true", "1")

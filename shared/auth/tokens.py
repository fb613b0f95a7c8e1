"""Bearer tokens of the issuers whose word is taken, and whose they are."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.auth.caller import Caller
from shared.auth.emails import canonical
from shared.auth.keys import SigningKeys
from shared.auth.roles import highest
from shared.auth.signed import Trusted, bearer, opened
from shared.auth.verified import Verified, VerifiedTokens
from shared.errors import Unauthenticated
from shared.ids import is_uuid
from shared.issuers import Issuer

MAX_SUBJECT = 255  # OpenID Connect Core §2

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
        self._issuers = {issuer.issuer: Trusted(issuer, keys(issuer)) for issuer in issuers}
        self._tenant_claim = tenant_claim
        self._roles_claim = roles_claim

    async def verify(self, authorization: str | None) -> Caller:
        token = bearer(authorization)
        return await self._verified.caller(token) or await self._verify(token)

    async def close(self) -> None:
        """Give up what is being fetched."""
        for one in self._issuers.values():
            await one.keys.close()

    async def _verify(self, token: str) -> Caller:
        found = await opened(token, self._trusted)
        caller = self._caller(found.claims, found.by.issuer)
        self._verified.keep(token, Verified(caller, found.by.keys, found.kid, found.key, self._now(), found.until))
        return caller

    async def _trusted(self, issuer: str, claims: Mapping[str, Any]) -> Trusted | None:
        return self._issuers.get(issuer)

    def _caller(self, claims: Mapping[str, Any], issuer: Issuer) -> Caller:
        name = issuer.tenant_claim or self._tenant_claim
        tenant_id = None if claims.get(name) == "" else claims.get(name)  # as B2C has it for who is in none
        if tenant_id is not None and not (isinstance(tenant_id, str) and is_uuid(tenant_id)):
            raise Unauthenticated(f"The token's {name} claim is not a tenant id.", reason="tenant_claim")
        return Caller(
            subject=_subject(claims, issuer),
            email=_email(claims),
            name=_text(claims.get("name")),
            tenant_id=tenant_id,
            role=highest(claims.get(issuer.roles_claim or self._roles_claim)),
            issuer=issuer.issuer,
            email_verified=_email_verified(claims, issuer),
        )


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

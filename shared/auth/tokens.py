"""Bearer tokens of the issuers whose word is taken, and API keys: whose they are."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared.auth.apikeys import MARK, KeyText, parsed
from shared.auth.caller import Caller
from shared.auth.emails import canonical
from shared.auth.keys import SigningKeys
from shared.auth.roles import Role, highest
from shared.auth.signed import Find, Trusted, bearer, opened
from shared.auth.verified import Verified, VerifiedTokens
from shared.errors import Unauthenticated
from shared.ids import is_uuid
from shared.issuers import Issuer

MAX_NAME = 255  # as a member's
MAX_SUBJECT = 255  # OpenID Connect Core §2

Keys = Callable[[Issuer], SigningKeys]
ByKeys = Callable[[KeyText], Awaitable[Caller]]


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
        own: Find | None = None,
        api_keys: ByKeys | None = None,
    ) -> None:
        """`own`: finds issuers of tenants, which may come and go. `api_keys`: whose an API key is."""
        self._now = now
        self._own = own
        self._api_keys = api_keys
        self._verified = VerifiedTokens[Caller](now)
        self._issuers = {issuer.issuer: Trusted(issuer, keys(issuer)) for issuer in issuers}
        self._tenant_claim = tenant_claim
        self._roles_claim = roles_claim

    async def verify(self, authorization: str | None) -> Caller:
        token = bearer(authorization)
        if self._api_keys is not None and token.startswith(MARK):
            return await self._api_keys(parsed(token))
        return await self._verified.whose(token) or await self._verify(token)

    async def close(self) -> None:
        """Give up what is being fetched."""
        for one in self._issuers.values():
            await one.keys.close()

    async def _verify(self, token: str) -> Caller:
        found = await opened(token, self._trusted)
        by = found.by
        caller = self._caller(found.claims, by.issuer)

        async def still() -> bool:  # kept with the token: it holds on to nothing that the token says
            return await self._trusted(by.issuer.issuer, {"aud": by.issuer.audience}) is by

        if by.tenant_id is not None:
            caller = _of_its_tenant(caller, by)
        alive = None if by.tenant_id is None else still
        self._verified.keep(token, Verified(caller, by.keys, found.kid, found.key, self._now(), found.until, alive))
        return caller

    async def _trusted(self, issuer: str, claims: Mapping[str, Any]) -> Trusted | None:
        """The platform's issuers come first: none of a tenant can take the place of one."""
        known = self._issuers.get(issuer)
        return known if known is not None or self._own is None else await self._own(issuer, claims)

    def _caller(self, claims: Mapping[str, Any], issuer: Issuer) -> Caller:
        name = issuer.tenant_claim or self._tenant_claim
        tenant_id = None if claims.get(name) == "" else claims.get(name)  # as B2C has it for who is in none
        if tenant_id is not None and not (isinstance(tenant_id, str) and is_uuid(tenant_id)):
            raise Unauthenticated(f"The token's {name} claim is not a tenant id.", reason="tenant_claim")
        return Caller(
            subject=_subject(claims, issuer),
            email=_email(claims),
            name=(_text(claims.get("name")) or "")[:MAX_NAME] or None,
            tenant_id=tenant_id,
            role=highest(claims.get(issuer.roles_claim or self._roles_claim)),
            issuer=issuer.issuer,
            email_verified=_email_verified(claims, issuer),
        )


def _of_its_tenant(caller: Caller, by: Trusted) -> Caller:
    """The caller of a tenant's own issuer: of that tenant and no other, never staff, by an address of its domains."""
    issuer = by.issuer.issuer
    if caller.tenant_id not in (None, by.tenant_id):
        raise Unauthenticated("The token's issuer does not speak of that tenant.", reason="tenant", issuer=issuer)
    if caller.role is Role.PLATFORM:
        raise Unauthenticated("The token's issuer cannot speak of staff.", reason="role", issuer=issuer)
    if caller.email is not None and caller.email.rpartition("@")[2] not in by.email_domains:
        text = "The token's address is not of the domains that its issuer is for."
        raise Unauthenticated(text, reason="domain", issuer=issuer)
    role = Role.ADMIN if by.issuer.roles_claim is None else caller.role
    return replace(caller, tenant_id=by.tenant_id, role=role, own_issuer=True)


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

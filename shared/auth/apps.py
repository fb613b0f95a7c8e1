"""Tokens of programs that call for themselves (OAuth 2.0 client credentials, RFC 6749 §4.4), by issuer and app id."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.auth.keys import SigningKeys
from shared.auth.signed import Trusted, bearer, opened
from shared.errors import Unauthenticated
from shared.issuers import Issuer


class AppTokens:
    """`verify` says that a call comes from one app of one issuer. Each issuer has keys of its own."""

    def __init__(self, issuers: Sequence[Issuer], keys: Callable[[Issuer], SigningKeys] = SigningKeys) -> None:
        self._trusted = {issuer: Trusted(issuer, keys(issuer)) for issuer in issuers}

    async def verify(self, authorization: str | None, issuer: Issuer, app: str) -> None:
        """`Unauthenticated` for whatever is no token of this app by this issuer for its audience.

        The app is in `azp`, or in `appid` of Entra's tokens of version 1.
        """

        async def only(name: str, claims: Mapping[str, Any]) -> Trusted | None:
            return self._trusted[issuer] if name == issuer.issuer else None

        found = await opened(bearer(authorization), only)
        if found.claims.get("azp", found.claims.get("appid")) != app:
            raise Unauthenticated("The token is another app's.", reason="app", issuer=issuer.issuer)

    async def close(self) -> None:
        """Give up what is being fetched."""
        for one in self._trusted.values():
            await one.keys.close()

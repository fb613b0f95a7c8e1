"""The one way in: every call carries a token of the gateway's own identity, beside its caller's."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.auth.keys import SigningKeys
from shared.auth.signed import Find, Trusted, bearer, opened
from shared.auth.verified import Verified, VerifiedTokens
from shared.errors import AroundTheGateway, Unauthenticated
from shared.issuers import Gateway, Issuer

MOST = 16  # tokens of gateways; each has one at a time, and a new one every few hours


class Gateways:
    """`admit` lets calls of these gateways pass, and every call where there is none.

    Who comes around them may have made up where he comes from, so that is asked before anything is taken out of an
    address's window.
    """

    def __init__(
        self,
        gateways: Sequence[Gateway],
        keys: Callable[[Issuer], SigningKeys] = SigningKeys,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now`: seconds since the epoch, as the tokens' own times are."""
        self._trusted = [(one, Trusted(one, keys(one))) for one in gateways]
        self._now = now
        self._known = VerifiedTokens[Gateway](now, most=MOST)

    @property
    def required(self) -> bool:
        return bool(self._trusted)

    async def admit(self, authorization: str | None) -> None:
        """`AroundTheGateway` for a call that none of them has made, `Unavailable` while nobody can tell."""
        if not self._trusted:
            return
        try:
            token = bearer(authorization)
            if await self._known.whose(token) is None:
                await self._verify(token)
        except Unauthenticated as error:
            raise AroundTheGateway("Call this service through its gateway.") from error

    async def close(self) -> None:
        """Give up what is being fetched."""
        for _, one in self._trusted:
            await one.keys.close()

    async def _verify(self, token: str) -> None:
        """Gateways of one issuer are tried in turn: one may have another audience, or be another identity."""
        refused = Unauthenticated("The token is no gateway's.", reason="gateway")
        for gateway, trusted in self._trusted:
            try:
                found = await opened(token, _only(trusted))
            except Unauthenticated as error:
                refused = error
                continue
            if found.claims.get(gateway.subject_claim) == gateway.caller:
                keys = trusted.keys
                self._known.keep(token, Verified(gateway, keys, found.kid, found.key, self._now(), found.until))
                return
        raise refused


def _only(trusted: Trusted) -> Find:
    async def find(issuer: str, claims: Mapping[str, Any]) -> Trusted | None:
        return trusted if issuer == trusted.issuer.issuer else None

    return find

"""The one way in: every call carries a token of the gateway's own identity, beside its caller's."""

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from shared.auth.keys import SigningKeys
from shared.auth.signed import Find, Opened, Trusted, bearer, opened
from shared.errors import AroundTheGateway, Unauthenticated
from shared.issuers import Gateway, Issuer

MOST = 16  # tokens of gateways; each has one at a time, and a new one every few hours


class Gateways:
    """`admit` lets calls of these gateways pass, and every call where there is none.

    Who comes around them may have made up where he comes from, so that is asked before anything is taken out of an
    address's window. A token is verified once, and known by its digest until it expires or its key changes.
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
        self._known: dict[bytes, Opened] = {}

    @property
    def required(self) -> bool:
        return bool(self._trusted)

    async def admit(self, authorization: str | None) -> None:
        """`AroundTheGateway` for a call that none of them has made, `Unavailable` while nobody can tell."""
        if not self._trusted:
            return
        try:
            token = bearer(authorization)
            if not await self._is_known(token):
                await self._verify(token)
        except Unauthenticated as error:
            raise AroundTheGateway("Call this service through its gateway.") from error

    async def close(self) -> None:
        """Give up what is being fetched."""
        for _, one in self._trusted:
            await one.keys.close()

    async def _is_known(self, token: str) -> bool:
        known = self._known.get(sha256(token.encode()).digest())
        if known is None or self._now() >= known.until:
            return False
        return await known.by.keys.get(known.kid) is known.key

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
                self._keep(token, found)
                return
        raise refused

    def _keep(self, token: str, found: Opened) -> None:
        if len(self._known) >= MOST:
            self._known.pop(next(iter(self._known)))
        self._known[sha256(token.encode()).digest()] = found


def _only(trusted: Trusted) -> Find:
    async def find(issuer: str, claims: Mapping[str, Any]) -> Trusted | None:
        return trusted if issuer == trusted.issuer.issuer else None

    return find

"""Token issuers without a network: what they publish, how often they were asked, and whether they answer."""

import asyncio
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from shared.auth.keys import SigningKeys
from shared.issuers import Issuer
from tests.unit.world import FakeClock

ONE = "https://one.example/v2.0"
TWO = "https://two.example/"
KEYS = {kid: rsa.generate_private_key(65537, 2048) for kid in ("k1", "k2")}


def published(kid: str, /, **changes: Any) -> dict[str, Any]:
    """A key as a JWKS lists it."""
    return {**RSAAlgorithm.to_jwk(KEYS[kid].public_key(), as_dict=True), **{"kid": kid, **changes}}


class Web:
    """The issuers' pages. `away`: what asking raises; `hangs`: nobody is answered until it is set."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.fetched: list[str] = []
        self.away: Exception | None = None
        self.hangs: asyncio.Event | None = None
        self.publish(ONE, "k1")
        self.publish(TWO, "k2")

    async def fetch(self, url: str) -> dict[str, Any]:
        self.fetched.append(url)
        if self.hangs is not None:
            await self.hangs.wait()
        if self.away is not None:
            raise self.away
        page: dict[str, Any] = self.pages[url]
        return page

    def publish(self, issuer: str, *kids: str) -> None:
        base = issuer.rstrip("/")
        self.pages[f"{base}/.well-known/openid-configuration"] = {"issuer": issuer, "jwks_uri": f"{base}/keys"}
        self.pages[f"{base}/keys"] = {"keys": [published(kid) for kid in kids]}

    def keys(self, clock: FakeClock) -> Callable[[Issuer], SigningKeys]:
        """Keys that are fetched from here, and grow old by this clock."""
        return lambda issuer: SigningKeys(issuer, fetch=self.fetch, monotonic=lambda: clock.now().timestamp())

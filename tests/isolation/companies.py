"""Companies whose own issuers tenants set up: their pages are read without a network, all else is the app's own."""

from collections.abc import Sequence
from typing import Any

from jwt.algorithms import RSAAlgorithm

from shared.core import Core
from shared.members.issuers import OwnIssuers
from tests.doubles.providers import Company


def pages(issuer: str, keys: Sequence[Any]) -> dict[str, Any]:
    """An issuer's discovery document and its keys, in one."""
    return {"issuer": issuer, "jwks_uri": f"{issuer}/keys", "keys": list(keys)}


class Companies(OwnIssuers):
    """`of`: a company by its name. All of them give their keys the id `kid`: that of the platform's own."""

    def __init__(self, core: Core, kid: str) -> None:
        super().__init__(core.names, core.directory, core.adapters.outgoing, core.services.clock)
        self.kid = kid
        self._made: dict[str, Company] = {}

    def of(self, name: str) -> Company:
        if name not in self._made:
            self._made[name] = Company(self.kid)
            self._made[name].url = f"https://login.{name}.example"
        return self._made[name]

    async def _fetch(self, url: str) -> dict[str, Any]:
        [company] = [one for one in self._made.values() if url.startswith(one.issuer)]
        public = RSAAlgorithm.to_jwk(company.key.public_key(), as_dict=True)
        return pages(company.issuer, [{**public, "kid": company.kid, "use": "sig"}])

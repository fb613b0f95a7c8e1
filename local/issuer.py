"""A local OpenID Connect issuer, for development: keys on disk, discovery and JWKS over HTTP, tokens made by `mint`.

Sources: OpenID Connect Discovery 1.0, RFC 7517 (JWK), RFC 7519 (JWT). There is no sign-in: tokens come from Python or
from `python -m cli token`.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.clock import Clock, SystemClock
from shared.folders import private_folder
from shared.settings import Settings

FOLDER = "oidc"
KEY_BITS = 2048
ALGORITHM = "RS256"
_PUBLIC = ("kty", "n", "e", "kid", "use", "alg")


class Issuer:
    """Signs as `settings.flowgrid_issuers[0]`; several processes may share the data folder."""

    def __init__(self, data: Path, settings: Settings, clock: Clock | None = None) -> None:
        self.issuer = settings.flowgrid_issuers[0].issuer
        self.audience = settings.flowgrid_issuers[0].audience
        self._tenant_claim = settings.flowgrid_tenant_claim
        self._roles_claim = settings.flowgrid_roles_claim
        self._clock = clock or SystemClock()
        self._path = data / FOLDER / "keys.json"

    def routes(self) -> list[Route]:
        """Discovery document and keys, under `/oidc`."""
        return [
            Route(f"/{FOLDER}/.well-known/openid-configuration", self._discovery),
            Route(f"/{FOLDER}/jwks", self._jwks),
        ]

    def mint(
        self,
        subject: str,
        *,
        roles: Sequence[str],
        tenant_id: str | None = None,
        email: str | None = None,
        name: str | None = None,
        lifetime: timedelta = timedelta(hours=8),
    ) -> str:
        """A signed token; roles are `tenant:admin`, `tenant:user`, `tenant:viewer`, `platform:admin`."""
        import jwt  # heavy (cryptography), so not at start

        now = int(self._clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime.total_seconds()),
            self._roles_claim: list(roles),
        }
        verified = None if email is None else True
        optional = {"email": email, "email_verified": verified, "name": name, self._tenant_claim: tenant_id}
        claims |= {claim: value for claim, value in optional.items() if value is not None}
        current = self._keys()[-1]
        return jwt.encode(claims, _signing_key(json.dumps(current)), ALGORITHM, headers={"kid": current["kid"]})

    def rotate(self) -> str:
        """Sign with a new key from now on (its `kid`); the old ones stay published, so their tokens stay valid."""
        return str(self._replace(self._stored())[-1]["kid"])

    def public_keys(self) -> list[dict[str, Any]]:
        """The JWKS: public halves only, oldest first."""
        return [{member: key[member] for member in _PUBLIC} for key in self._keys()]

    def _keys(self) -> list[dict[str, Any]]:
        return self._stored() or self._replace([])

    def _stored(self) -> list[dict[str, Any]]:
        try:
            keys: list[dict[str, Any]] = json.loads(self._path.read_text(encoding="utf-8"))["keys"]
        except FileNotFoundError:
            return []
        return keys

    def _replace(self, old: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write the old keys without their private halves and a new one, readable by the owner only, atomically."""
        keys = [{member: key[member] for member in _PUBLIC} for key in old] + [_new_key()]
        private_folder(self._path.parent)
        temporary = self._path.with_name(f"keys.{uuid4().hex}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"keys": keys}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        try:
            if old:
                temporary.replace(self._path)
            else:
                os.link(temporary, self._path)
        except FileExistsError:
            return self._stored()  # another process made the first key
        finally:
            temporary.unlink(missing_ok=True)
        return keys

    async def _discovery(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/jwks",
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
            }
        )

    async def _jwks(self, request: Request) -> Response:
        return JSONResponse({"keys": await asyncio.to_thread(self.public_keys)})


@lru_cache(maxsize=8)
def _signing_key(jwk: str) -> Any:
    """Kept, as a private half is checked when it is read, which takes thirty times as long as to sign."""
    import jwt

    return jwt.PyJWK(json.loads(jwk)).key


def _new_key() -> dict[str, Any]:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from jwt.algorithms import RSAAlgorithm

    key: dict[str, Any] = dict(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, KEY_BITS), as_dict=True))
    key.pop("key_ops", None)  # of one half; RFC 7517 wants `use` or `key_ops`, not both
    return {**key, "kid": uuid4().hex, "use": "sig", "alg": ALGORITHM}

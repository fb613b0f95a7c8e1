"""The local issuer: tokens that verify with the published keys, across rotation and restarts."""

import asyncio
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from starlette.applications import Starlette

from local.issuer import Issuer
from shared.clock import SystemClock
from shared.settings import Settings

TENANT = "0190c2a8-7e10-7abc-8def-0123456789ab"


@pytest.fixture
def settings() -> Settings:
    return Settings.load({"FLOWGRID_ROLES_CLAIM": "extension_Roles"})


@pytest.fixture
def issuer(tmp_path: Path, settings: Settings) -> Issuer:
    return Issuer(tmp_path, settings)


def verified(issuer: Issuer, token: str) -> dict[str, Any]:
    """The claims, checked with the published key that the token names."""
    keys = jwt.PyJWKSet.from_dict({"keys": issuer.public_keys()})
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=["RS256"], audience="flowgrid", issuer="http://127.0.0.1:7071/oidc"
    )
    return claims


async def get(issuer: Issuer, path: str) -> Any:
    transport = httpx.ASGITransport(Starlette(routes=issuer.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7071") as http:
        return (await http.get(path)).raise_for_status().json()


def test_a_token_carries_the_claims_that_the_settings_name(issuer: Issuer) -> None:
    token = issuer.mint(
        "subject-1",
        email="ada@acme.example",
        name="Ada",
        tenant_id=TENANT,
        roles=["tenant:admin"],
        lifetime=timedelta(hours=1),
    )
    claims = verified(issuer, token)
    assert claims.pop("exp") - claims["iat"] == 3600
    assert claims.pop("iat") == claims.pop("nbf")
    assert claims == {
        "iss": "http://127.0.0.1:7071/oidc",
        "aud": "flowgrid",
        "sub": "subject-1",
        "email": "ada@acme.example",
        "email_verified": True,
        "name": "Ada",
        "extension_TenantId": TENANT,
        "extension_Roles": ["tenant:admin"],
    }


def test_a_token_without_a_tenant_has_no_tenant_claim(issuer: Issuer) -> None:
    assert "extension_TenantId" not in verified(issuer, issuer.mint("s", roles=["platform:admin"]))


def test_a_token_ends_after_its_lifetime(tmp_path: Path, settings: Settings) -> None:
    class Past(SystemClock):
        def now(self) -> datetime:
            return datetime.now(UTC) - timedelta(hours=2)

    issuer = Issuer(tmp_path, settings, Past())
    with pytest.raises(jwt.ExpiredSignatureError):
        verified(issuer, issuer.mint("s", roles=[], lifetime=timedelta(hours=1)))


def test_rotation_changes_the_key_and_keeps_old_tokens_valid(issuer: Issuer) -> None:
    old = issuer.mint("s", roles=[])
    kid = issuer.rotate()
    new = issuer.mint("s", roles=[])
    assert jwt.get_unverified_header(new)["kid"] == kid != jwt.get_unverified_header(old)["kid"]
    assert verified(issuer, old)["sub"] == verified(issuer, new)["sub"] == "s"


def test_keys_survive_a_restart_and_a_rotation_by_another_process_is_seen(
    issuer: Issuer, tmp_path: Path, settings: Settings
) -> None:
    other = Issuer(tmp_path, settings)
    verified(other, issuer.mint("s", roles=[]))
    kid = other.rotate()
    assert jwt.get_unverified_header(issuer.mint("s", roles=[]))["kid"] == kid


def test_the_key_file_is_for_its_owner_only_and_holds_one_private_key(issuer: Issuer, tmp_path: Path) -> None:
    issuer.rotate()
    issuer.rotate()
    path = tmp_path / "oidc" / "keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().count('"d":') == 1
    assert [item.name for item in path.parent.iterdir()] == ["keys.json"]


async def test_discovery_leads_to_the_public_keys_and_to_nothing_private(issuer: Issuer) -> None:
    document = await get(issuer, "/oidc/.well-known/openid-configuration")
    assert document["issuer"] == "http://127.0.0.1:7071/oidc"
    assert document["jwks_uri"] == "http://127.0.0.1:7071/oidc/jwks"
    jwks = await get(issuer, "/oidc/jwks")
    assert [sorted(key) for key in jwks["keys"]] == [["alg", "e", "kid", "kty", "n", "use"]]
    assert jwks["keys"][0]["alg"] == "RS256"


async def test_processes_that_start_together_agree_on_the_first_key(tmp_path: Path, settings: Settings) -> None:
    issuers = [Issuer(tmp_path, settings) for _ in range(8)]
    keys = await asyncio.gather(*(asyncio.to_thread(issuer.public_keys) for issuer in issuers))
    assert all(published == keys[0] for published in keys)

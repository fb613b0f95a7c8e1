"""The gateway put together from infra/gateway/, as infra/modules/gateway*.bicep put it together in Azure."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.doubles.gateway import Api, Gateway, loaded, operations

FOLDER = Path(__file__).parents[2] / "infra" / "gateway"
AUDIENCE = "api://flowgrid"
PUBLIC_URL = "https://gateway.flowgrid.example"
TENANT_CLAIM, ROLES_CLAIM = "extension_TenantId", "roles"


def read(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def named_values(issuers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """`issuers`: as FLOWGRID_ISSUERS has them."""
    values = {"gateway-audience": AUDIENCE, "public-url": PUBLIC_URL}
    for n, one in enumerate(issuers):
        values |= {
            f"issuer-{n}": one["issuer"],
            f"issuer-{n}-openid-config": one["issuer"].rstrip("/") + "/.well-known/openid-configuration",
            f"issuer-{n}-audience": one["audience"],
            f"issuer-{n}-tenant-claim": one.get("tenant_claim", TENANT_CLAIM),
            f"issuer-{n}-roles-claim": one.get("roles_claim", ROLES_CLAIM),
        }
    return values


def filled(name: str, issuers: int, origins: Sequence[str]) -> str:
    """A policy with what Bicep puts in the places that it has for that."""
    cors = read("cors.xml").replace("<!-- origins -->", "".join(f"<origin>{one}</origin>" for one in origins))
    each = "\n".join(read("issuer.xml").replace("issuer-N", f"issuer-{n}") for n in range(issuers))
    text = read(name).replace("<!-- cors -->", cors if origins else "")
    return text.replace("<!-- issuers -->", each)


def assembled(
    issuers: Sequence[Mapping[str, str]],
    app: str,
    apps: Mapping[str, str] | None = None,
    *,
    origins: Sequence[str] = (),
    own_token: Callable[[str], str] = lambda resource: f"token-for-{resource}",
) -> Gateway:
    """`app`: where services are, and `apps`: where single ones are instead."""
    named = named_values(issuers)

    def api(version: str | None, policy: str, document: str) -> Api:
        described: Mapping[str, Any] = json.loads(read(document))
        return Api(version, operations(described), loaded(filled(policy, len(issuers), origins), named))

    backends = {
        one["name"]: f"{(apps or {}).get(one['service'], app)}/{one['path']}"
        for one in json.loads(read("backends.json"))
    }
    return Gateway(
        everywhere=loaded(filled("global.xml", len(issuers), origins), named),
        apis=[api("v1", "v1.xml", "openapi.v1.json"), api(None, "open.xml", "openapi.json")],
        backends=backends,
        own_token=own_token,
    )

"""From a slug and an address to a person at work: a served Flowgrid, and providers that ask it at sign-in."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from shared.ids import PLATFORM_TENANT_ID
from tests.doubles.providers import Company, Human, published
from tests.e2e.api import AGENT, Api, Flowgrid, new_http
from tests.e2e.host import Host
from tests.unit.providers_world import B2C_SECRETS, Providers, providers

LOCAL = {"issuer": "http://127.0.0.1:7071/oidc", "audience": "flowgrid"}


class Served:
    """A host of its own, and who signs in to it."""

    def __init__(self, flowgrid: Flowgrid, found: Providers, company: Company) -> None:
        self.flowgrid = flowgrid
        self.providers = found
        self.company = company

    async def onboard(self) -> tuple[str, str]:
        """A tenant and the address of its first admin: all that staff do for it."""
        slug = f"t-{uuid4().hex[:20]}"
        new = {"name": slug, "slug": slug, "admin_email": f"ada@{slug}.example"}
        return (await self.flowgrid.staff.ok("POST", "platform/tenants", new))["id"], new["admin_email"]

    def with_token(self, token: str) -> Api:
        return Api(self.flowgrid.http, self.flowgrid.host.url, token)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    with ExitStack() as stack:
        found, company = stack.enter_context(providers()), stack.enter_context(published(Company()))
        settings = found.settings()
        host = Host(tmp_path_factory.mktemp("sign-in"))
        host.environment |= {
            "FLOWGRID_ISSUERS": json.dumps([LOCAL, *settings["flowgrid_issuers"]]),
            "FLOWGRID_CLAIMS": json.dumps(settings["flowgrid_claims"]),
            "FLOWGRID_OUTGOING_ALLOWED": company.url.removeprefix("http://"),
        }
        host.start()
        stack.callback(host.stop)
        async with host.core() as opened:
            secrets = opened.adapters.secrets.space(PLATFORM_TENANT_ID)
            await secrets.put(B2C_SECRETS[0], found.b2c.password)
            await secrets.put("claims-auth0", found.auth0.secret)
        async with new_http() as http:
            for name in ("entra", "b2c", "auth0"):
                found.named(name).ask = _asker(http, f"{host.url}/api/claims/{name}")
            yield Served(Flowgrid(host, http), found, company)


@pytest.mark.parametrize("shape", ["entra", "b2c", "auth0"])
async def test_who_is_invited_signs_in_for_the_first_time_and_makes_an_agent_with_nobodys_help(
    served: Served, shape: str
) -> None:
    provider = served.providers.named(shape)
    tenant, address = await served.onboard()
    ada = served.with_token(await provider.sign_in(Human(address)))
    colleague = f"grace@{uuid4().hex}.example"
    await ada.ok("POST", "users", {"email": colleague})
    grace = served.with_token(await provider.sign_in(Human(colleague)))
    made = await grace.ok("POST", "agents", AGENT)
    assert (made["tenant_id"], (await ada.ok("GET", "me"))["role"]) == (tenant, "tenant:admin")
    stranger = served.with_token(await provider.sign_in(Human("stranger@nowhere.example")))
    assert (await stranger.get("me")).status_code == 403


async def test_a_company_signs_in_by_its_own_provider_until_it_takes_that_out(served: Served) -> None:
    tenant, address = await served.onboard()
    ada = served.with_token(await served.providers.auth0.sign_in(Human(address)))
    new = {"issuer": served.company.issuer, "audience": "flowgrid-api", "email_domains": ["acme.example"]}
    issuer = await ada.ok("POST", "issuers", new)
    await ada.ok("POST", "users", {"email": "grace@acme.example"})
    grace = served.with_token(await served.company.sign_in(Human("grace@acme.example")))
    assert (await grace.ok("POST", "agents", AGENT))["tenant_id"] == tenant
    await ada.ok("DELETE", f"issuers/{issuer['id']}")
    assert (await grace.get("me")).status_code == 401


def _asker(http: httpx.AsyncClient, url: str) -> Any:
    async def ask(headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        answer = await http.post(url, content=body, headers=dict(headers))
        return answer.status_code, answer.json()

    return ask

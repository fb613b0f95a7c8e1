"""The gateway before an app that takes everything, an issuer, and those who call."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from local.issuer import Issuer
from shared.auth.roles import Role
from shared.http.problems import TITLES
from shared.settings import Settings
from shared.tenancy.plans import PLANS, Limit, Tier
from tests.doubles.gateway import Gateway
from tests.doubles.server import serving
from tests.unit.world import OTHER_ID, TENANT_ID

GATEWAY = "gateway.test"


class App:
    """What stands behind the gateway: answers all with `status`, and tells the limits of each tenant's plan."""

    def __init__(self) -> None:
        self.status, self.tells = 200, True
        self.tiers = {TENANT_ID: Tier.STANDARD, OTHER_ID: Tier.STANDARD}
        self.calls: list[tuple[str, dict[str, str]]] = []

    async def answer(self, request: Request) -> Response:
        self.calls.append((request.url.path, dict(request.headers)))
        tenant = request.headers.get("x-flowgrid-tenant")
        headers = {} if tenant is None or not self.tells else {"x-flowgrid-limits": told(self.tiers[tenant])}
        return Response(
            "{}", self.status, headers={**headers, "etag": '"1"', "x-request-id": request.headers["x-request-id"]}
        )


def told(tier: Tier) -> str:
    plan = PLANS[tier]
    return ",".join(map(str, (plan.requests_per_minute, *map(plan.route_limit, Limit))))


class Within(httpx.AsyncBaseTransport):
    """Calls apps by their host's name, without sockets and threads; at any other address nobody listens."""

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        self._apps = {host: httpx.ASGITransport(app) for host, app in apps.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if (app := self._apps.get(request.url.host)) is None:
            raise httpx.ConnectError(f"nobody listens at {request.url}")
        return await app.handle_async_request(request)


class Site:
    """A gateway before such an app, an issuer, and those who call; over sockets it is asked in tests/e2e."""

    def __init__(self, gateway: Gateway, app: App, issuer: Issuer, http: httpx.AsyncClient) -> None:
        self.gateway, self.app, self.issuer, self._http = gateway, app, issuer, http

    def token(self, tenant: str | None = TENANT_ID, role: Role = Role.USER) -> str:
        return self.issuer.mint("somebody", roles=[role.value], tenant_id=tenant)

    async def call(self, method: str, path: str, token: str | None = None, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        return await self._http.request(method, f"http://{GATEWAY}/api/{path}", headers=sent)

    async def passed(self, method: str, path: str, token: str, tries: int) -> int:
        """How many of so many calls came to the app."""
        before = len(self.app.calls)
        for _ in range(tries):
            await self.call(method, path, token)
        return len(self.app.calls) - before


@contextmanager
def issuing(folder: Path, audience: str = "flowgrid") -> Iterator[Issuer]:
    """A token issuer on an address of its own."""
    web = Starlette()
    with serving(web) as url:
        issuer = issuer_at(url, folder, audience)
        web.router.routes += issuer.routes()
        yield issuer


def issuer_at(url: str, folder: Path, audience: str = "flowgrid") -> Issuer:
    values = {"flowgrid_issuers": [{"issuer": f"{url}/oidc", "audience": audience}]}
    return Issuer(folder, Settings.model_validate(values))


def problem(answer: httpx.Response, status: int, code: str) -> None:
    """In the shape of the app's own (tests/e2e/test_main_job.py)."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told = answer.json()
    assert (told["status"], told["code"], told["type"]) == (status, code, f"/api/problems/{code}")
    assert told["title"] == TITLES[status] and told["detail"] == told["error"]
    assert told["request_id"] == answer.headers["x-request-id"]
    assert told["instance"] == answer.request.url.path
    assert answer.headers["x-content-type-options"] == "nosniff"

"""The API as its callers use it: who they are, and their tenants."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from shared.auth.roles import Role
from tests.e2e.host import Host

UNLIMITED = {
    "requests_per_minute": 1_000_000,
    "agents_per_minute": 1_000_000,
    "design_per_minute": 1_000_000,
    "max_copies": 1_000,
}
AGENT = {"name": "Claims intake", "pattern": "Orchestrator"}


@dataclass(frozen=True)
class Api:
    """One caller's way to the API; paths are below `/api/v1`, or absolute with a leading slash."""

    http: httpx.AsyncClient
    url: str
    token: str | None = None
    tenant_id: str | None = None

    async def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **rest: Any
    ) -> httpx.Response:
        sent = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        if self.tenant_id is not None:
            sent["x-tenant-id"] = self.tenant_id
        url = f"{self.url}{path}" if path.startswith("/") else f"{self.url}/api/v1/{path}"
        return await self.http.request(method, url, headers={**sent, **(headers or {})}, **rest)

    async def get(self, path: str, **rest: Any) -> httpx.Response:
        return await self.call("GET", path, **rest)

    async def post(self, path: str, json: Any = None, **rest: Any) -> httpx.Response:
        return await self.call("POST", path, json=json, **rest)

    async def put(self, path: str, json: Any, etag: str | None = None, **rest: Any) -> httpx.Response:
        return await self.call("PUT", path, json=json, headers=_if_match(etag), **rest)

    async def patch(self, path: str, json: Any, etag: str | None = None, **rest: Any) -> httpx.Response:
        return await self.call("PATCH", path, json=json, headers=_if_match(etag), **rest)

    async def delete(self, path: str, etag: str | None = None, **rest: Any) -> httpx.Response:
        return await self.call("DELETE", path, headers=_if_match(etag), **rest)

    async def ok(self, method: str, path: str, json: Any = None, **rest: Any) -> Any:
        """The answer's JSON (None without one); anything but success fails the test and shows itself."""
        answer = await self.call(method, path, json=json, **rest)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def every(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        return [item async for page in self.pages(path, **query) for item in page]

    async def pages(self, path: str, **query: Any) -> AsyncIterator[list[dict[str, Any]]]:
        while True:
            page = await self.ok("GET", path, params=query)
            yield page["items"]
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]


@dataclass(frozen=True)
class Tenant:
    """A tenant and the people who work in it; `staff` is Flowgrid's own, about this tenant."""

    document: dict[str, Any]
    admin: Api
    user: Api
    viewer: Api
    staff: Api

    @property
    def id(self) -> str:
        return str(self.document["id"])


@dataclass(frozen=True)
class Flowgrid:
    """The served host and its callers."""

    host: Host
    http: httpx.AsyncClient

    @property
    def anonymous(self) -> Api:
        return Api(self.http, self.host.url)

    @property
    def staff(self) -> Api:
        return Api(self.http, self.host.url, self.token(Role.PLATFORM))

    def token(self, role: Role | None, tenant_id: str | None = None, email: str | None = None) -> str:
        """One person has one subject, whatever the role; by default there is a person of each role in each tenant."""
        roles = [] if role is None else [role.value]
        if email is None and role is not None and tenant_id is not None:
            email = f"{role.name.lower()}@{tenant_id}.example"
        subject = f"{(email or str(role)).lower()} in {tenant_id}"
        return self.host.issuer.mint(subject, roles=roles, tenant_id=tenant_id, email=email)

    async def onboard(self, tier: str = "standard", *, limits: Mapping[str, int] = UNLIMITED, **fields: Any) -> Tenant:
        """A new tenant, open to whoever has a role, and to staff who look at what tests have done.

        `limits` are its own, by default none that a test would meet.
        """
        slug = f"t-{uuid4().hex[:20]}"
        new = {"name": slug, "slug": slug, "tier": tier, "admin_email": f"admin@{slug}.example"}
        settings = {"limits": dict(limits), "membership": "open"}
        document = await self.staff.ok("POST", "platform/tenants", {**new, "settings": settings, **fields})
        tenant = self.tenant(document)
        await self.break_glass(tenant)
        return tenant

    def tenant(self, document: dict[str, Any]) -> Tenant:
        """The people of a tenant that is there: its first admin, and two who become users by coming."""

        def person(role: Role) -> Api:
            email = document["admin_email"] if role is Role.ADMIN else None
            return Api(self.http, self.host.url, self.token(role, document["id"], email))

        staff = Api(self.http, self.host.url, self.token(Role.PLATFORM), document["id"])
        return Tenant(document, person(Role.ADMIN), person(Role.USER), person(Role.VIEWER), staff)

    async def break_glass(self, tenant: Tenant) -> None:
        """Let staff act in the tenant's data for four hours."""
        body = {"reason": "A test has to look.", "minutes": 240}
        await self.staff.ok("POST", f"platform/tenants/{tenant.id}/staff-access", body)

    async def run(self, function: str, given: Any = None) -> None:
        """Run a timer or queue function now, to its end."""
        answer = await self.anonymous.post(f"/admin/functions/{function}", {"input": given})
        assert answer.status_code == 202, answer.text


def _if_match(etag: str | None) -> dict[str, str]:
    return {} if etag is None else {"if-match": etag}


def new_http() -> httpx.AsyncClient:
    """As many connections as a test asks for; nothing here is slow enough for half a minute."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    return httpx.AsyncClient(timeout=30, limits=limits, trust_env=False, verify=False)

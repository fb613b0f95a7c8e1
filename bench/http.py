"""Get, list and create over 100 tenants (10 with --quick), beside a function that does nothing on the same host."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.load import Request, load
from cli.api import Api
from cli.child import Child

TENANTS = 100
LIMITS = {"requests_per_minute": 1_000_000, "agents_per_minute": 1_000_000}
UNLIMITED = {"FLOWGRID_GLOBAL_LIMIT": "100000000"}
AGENT = {"name": "Claims intake", "pattern": "Orchestrator"}


async def run(quick: bool) -> list[dict[str, Any]]:
    count = 500 if quick else 4000
    with (
        tempfile.TemporaryDirectory() as folder,
        Child(Path(folder), **UNLIMITED) as flowgrid,
        Child(Path(folder), module="bench.noop") as noop,
    ):
        return await _measure(flowgrid, noop, 10 if quick else TENANTS, count)


async def _measure(flowgrid: Child, noop: Child, tenants: int, count: int) -> list[dict[str, Any]]:
    tokens = await onboard(flowgrid, tenants)
    agents = {token: await create(flowgrid, token, 20) for token in tokens}
    loads = {
        "no-op": (noop, 200, lambda token: Request("GET", "/api/noop")),
        "get agent": (flowgrid, 200, lambda token: Request("GET", f"/api/v1/agents/{agents[token]}", token)),
        "list 20 agents": (flowgrid, 200, lambda token: Request("GET", "/api/v1/agents?limit=20", token)),
        "create agent": (
            flowgrid,
            201,
            lambda token: Request("POST", "/api/v1/agents", token, json.dumps(AGENT).encode()),
        ),
    }
    rows: list[dict[str, Any]] = []
    for name, (child, status, request) in loads.items():

        def requests(request: Any = request) -> Iterator[Request]:
            return (request(tokens[number % len(tokens)]) for number in range(count))

        await load(child.base_url, lambda: iter(list(requests())[: len(tokens)]), status)  # connections, caches
        figures = await load(child.base_url, requests, status)
        baseline = rows[0]["p50"] if rows else figures.p50
        rows.append({"call": name, **asdict(figures), "p50 / no-op": round(figures.p50 / baseline, 1)})
    return rows


async def onboard(flowgrid: Child, tenants: int) -> list[str]:
    staff = Api(flowgrid.base_url, flowgrid.issuer.mint("bench", roles=["platform:admin"]))
    try:
        return [await _tenant(flowgrid, staff, number) for number in range(tenants)]
    finally:
        await staff.close()


async def _tenant(flowgrid: Child, staff: Api, number: int) -> str:
    email = f"ada@bench{number}.example"
    body = {"name": "Bench", "slug": f"bench-{number}", "admin_email": email, "max_agents": 1_000_000}
    tenant = await staff.ok("POST", "v1/platform/tenants", json={**body, "settings": {"limits": LIMITS}})
    return flowgrid.issuer.mint(email, roles=["tenant:admin"], tenant_id=tenant["id"], email=email)


async def create(flowgrid: Child, token: str, count: int) -> str:
    api = Api(flowgrid.base_url, token)
    try:
        created = [await api.ok("POST", "v1/agents", json=AGENT) for _ in range(count)]
    finally:
        await api.close()
    return str(created[0]["id"])

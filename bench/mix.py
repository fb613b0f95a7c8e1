"""What many tenants do all day, by weights like those of real use; for the benches that put them to work."""

import json
import random
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from bench.http import AGENT
from bench.load import Request
from cli.api import Api
from cli.child import Child

TENANTS = 120
TIERS = ("standard", "professional", "enterprise")
LIMITS = {"requests_per_minute": 1_000_000, "agents_per_minute": 1_000_000, "max_runs": 1_000}
ELEMENT_NAMES = ("Claims", "Policies", "Payments", "Incidents", "Changes", "Orders")
WEIGHTS = {
    "get an agent": 220,
    "list agents": 140,
    "search elements": 100,
    "list elements": 80,
    "who am I": 80,
    "usage": 40,
    "audit": 40,
    "quotas": 20,
    "edit an agent": 80,
    "create an agent": 60,
    "create an element": 60,
    "delete an agent": 40,
    "run an agent": 20,
    "list runs": 15,
    "import a model": 5,
}
MODEL = """<?xml version="1.0" encoding="UTF-8"?>
<model xmlns="http://www.opengroup.org/xsd/archimate/3.0/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  identifier="id-{number}"><name xml:lang="en">Landscape {number}</name><elements>{elements}</elements></model>"""
ELEMENT = (
    '<element identifier="id-{number}-{at}" xsi:type="BusinessProcess"><name xml:lang="en">Step {at}</name></element>'
)


@dataclass
class Tenant:
    """`kept` agents are read and edited, those that are `made` are deleted again."""

    id: str
    token: str
    kept: list[str]
    made: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """One call that a tenant makes."""

    kind: str
    tenant: Tenant
    request: Request

    def learn(self, status: int, body: bytes) -> None:
        """What was made may be deleted later on."""
        if self.kind == "create an agent" and status == 201:
            self.tenant.made.append(json.loads(body)["id"])


class Mix:
    """Draws calls, of one tenant after the other."""

    def __init__(self, tenants: list[Tenant], seed: int = 20261130) -> None:
        self._chance = random.Random(seed)
        self._turns = cycle(tenants)
        self._kinds, self._weights = list(WEIGHTS), list(WEIGHTS.values())

    def next(self) -> Wanted:
        tenant = next(self._turns)
        kind = self._chance.choices(self._kinds, self._weights)[0]
        if kind == "delete an agent" and not tenant.made:
            kind = "create an agent"
        method, path, body, media_type = self._call(kind, tenant)
        return Wanted(kind, tenant, Request(method, f"/api/v1/{path}", tenant.token, body, media_type))

    def _call(self, kind: str, tenant: Tenant) -> tuple[str, str, bytes, str]:
        number = self._chance.randrange(1000)
        agent, name = self._chance.choice(tenant.kept), self._chance.choice(ELEMENT_NAMES)
        sent: Any = b""
        match kind:
            case "edit an agent":
                method, path, sent = "PATCH", f"agents/{agent}", {"description": f"As it is on day {number}."}
            case "create an agent":
                method, path, sent = "POST", "agents", AGENT
            case "create an element":
                method, path, sent = "POST", "elements", {"name": f"{name} {number}", "type": "BusinessProcess"}
            case "delete an agent":
                method, path = "DELETE", f"agents/{tenant.made.pop()}"
            case "run an agent":
                method, path, sent = "POST", f"agents/{agent}/executions", {"input": "A new claim: a broken roof."}
            case "import a model":
                elements = "".join(ELEMENT.format(number=number, at=at) for at in range(20))
                model = MODEL.format(number=number, elements=elements).encode()
                return "POST", "catalog/import", model, "application/xml"
            case _:
                method = "GET"
                path = {
                    "get an agent": f"agents/{agent}",
                    "list agents": "agents?limit=20",
                    "search elements": f"elements?q={name}&limit=20",
                    "list elements": "elements?limit=20&sort=name",
                    "who am I": "me",
                    "usage": "usage?period=day",
                    "audit": "audit?limit=20",
                    "quotas": "quotas",
                    "list runs": "executions?limit=20",
                }[kind]
        return method, path, json.dumps(sent).encode() if sent else b"", "application/json"


async def onboard(flowgrid: Child, count: int) -> list[Tenant]:
    """Tenants of all tiers, each with five agents and ten elements."""
    staff = Api(flowgrid.base_url, flowgrid.issuer.mint("bench", roles=["platform:admin"]))
    try:
        return [await _tenant(flowgrid, staff, number) for number in range(count)]
    finally:
        await staff.close()


async def _tenant(flowgrid: Child, staff: Api, number: int) -> Tenant:
    email = f"ada@bench{number}.example"
    body = {"name": "Bench", "slug": f"bench-{number}", "tier": TIERS[number % len(TIERS)], "admin_email": email}
    asked = {**body, "max_agents": 1_000_000, "settings": {"limits": LIMITS}}
    id = (await staff.ok("POST", "v1/platform/tenants", json=asked))["id"]
    token = flowgrid.issuer.mint(email, roles=["tenant:admin"], tenant_id=id, email=email)
    api = Api(flowgrid.base_url, token)
    try:
        kept = [(await api.ok("POST", "v1/agents", json=AGENT))["id"] for _ in range(5)]
        for at in range(10):
            name = f"{ELEMENT_NAMES[at % len(ELEMENT_NAMES)]} {at}"
            await api.ok("POST", "v1/elements", json={"name": name, "type": "BusinessProcess"})
    finally:
        await api.close()
    return Tenant(id, token, kept)

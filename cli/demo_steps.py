"""The steps of the demo, in order; each returns what it has checked."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.api import Api
from cli.child import Child
from shared.ids import Uuid7Ids

SAMPLE = Path(__file__).parent / "samples" / "it4it.xml"
ELEMENTS, RELATIONSHIPS, QUOTA = 60, 86, 50
RESOURCES = ("models", "elements", "relationships", "agents")
LIMITS = {"requests_per_minute": 100_000, "agents_per_minute": 100_000, "max_copies": 1}
TENANTS = {"north": "standard", "south": "professional", "west": "enterprise"}
WAIT_SECONDS = 30.0
Snapshot = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    step: str
    expected: str
    seen: str
    ok: bool


@dataclass
class Demo:
    """What the steps share."""

    child: Child
    staff: Api
    tenants: dict[str, dict[str, Any]] = field(default_factory=dict)
    apis: dict[str, Api] = field(default_factory=dict)
    before: Snapshot = field(default_factory=dict)
    backup_id: str = ""
    lead_id: str = ""

    @property
    def north(self) -> Api:
        return self.apis["north"]

    def api(self, tenant_id: str, email: str) -> Api:
        token = self.child.issuer.mint(email, roles=["tenant:admin"], tenant_id=tenant_id, email=email)
        return Api(self.child.base_url, token)

    async def close(self) -> None:
        for api in (self.staff, *self.apis.values()):
            await api.close()


def steps() -> list[Callable[[Demo], Awaitable[list[Check]]]]:
    from cli import demo_agents  # which takes from here what the steps share

    return [
        healthy,
        onboard,
        import_model,
        fill_quota,
        look_across,
        read_audit,
        read_usage,
        back_up,
        damage_and_restore,
        restore_elsewhere,
        demo_agents.design_team,
        demo_agents.run_team,
        suspend_and_resume,
    ]


def equal(step: str, expected: object, seen: object) -> Check:
    return Check(step, str(expected), str(seen), expected == seen)


async def healthy(demo: Demo) -> list[Check]:
    """Ask whether the service is well."""
    health = await demo.staff.ok("GET", "health")
    return [equal("health of database, queue and blobs", "healthy", health["status"])]


async def onboard(demo: Demo) -> list[Check]:
    """Onboard a tenant of each tier."""
    checks = []
    for slug, tier in TENANTS.items():
        body = {"name": slug.title(), "slug": slug, "tier": tier, "admin_email": f"ada@{slug}.example"}
        started = time.perf_counter()
        tenant = await demo.staff.ok(
            "POST", "v1/platform/tenants", json={**body, "max_agents": QUOTA, "settings": {"limits": LIMITS}}
        )
        took = time.perf_counter() - started
        demo.tenants[slug] = tenant
        demo.apis[slug] = demo.api(tenant["id"], f"ada@{slug}.example")
        mode = tenant["placement"]["mode"]
        wanted = "dedicated" if tier == "enterprise" else "shared"
        ok = tenant["status"] == "trial" and mode == wanted and took < 1
        seen = f"{tenant['status']}, {mode} database, {took * 1000:.0f} ms"
        checks.append(Check(f"onboard {slug} ({tier})", f"trial, {wanted} database, < 1 s", seen, ok))
    return checks


async def import_model(demo: Demo) -> list[Check]:
    """Import the IT4IT sample model, twice."""
    first = await demo.north.upload("v1/catalog/import", SAMPLE.read_bytes())
    again = await demo.north.upload("v1/catalog/import", SAMPLE.read_bytes())
    created = f"{first['elements']['created']} elements, {first['relationships']['created']} relationships"
    return [
        equal("import the IT4IT sample", f"{ELEMENTS} elements, {RELATIONSHIPS} relationships", created),
        equal("import it again", f"{ELEMENTS + RELATIONSHIPS} unchanged", f"{again['unchanged']} unchanged"),
    ]


async def fill_quota(demo: Demo) -> list[Check]:
    """Create agents until the quota says no, many at a time."""

    async def create(number: int) -> Any:
        body = {"name": f"Agent {number}", "pattern": "Specialist", "status": "active"}
        return await demo.north.send("POST", "v1/agents", json=body)

    answers = await asyncio.gather(*(create(number) for number in range(QUOTA + 10)))
    created = [answer for answer in answers if answer.status_code == 201]
    refused = [answer.json() for answer in answers if answer.status_code == 429]
    told = refused[0] if refused else {}
    body = {name: told.get(name) for name in ("error", "limit", "current", "upgradeUrl")}
    wanted = {"error": "Agent quota exceeded", "limit": QUOTA, "current": QUOTA, "upgradeUrl": "/billing/upgrade"}
    return [
        equal(
            f"{QUOTA + 10} agents at once, quota {QUOTA}",
            f"{QUOTA} created, 10 refused",
            f"{len(created)} created, {len(refused)} refused",
        ),
        equal("the 429 body", wanted, body),
    ]


async def look_across(demo: Demo) -> list[Check]:
    """Look for one tenant's agent with another tenant's token."""
    agent = (await demo.north.all("v1/agents"))[0]
    said = {}
    for id in (agent["id"], Uuid7Ids().new()):
        answer = await demo.apis["south"].send("GET", f"v1/agents/{id}")
        said[id] = (answer.status_code, answer.text.replace(id, "…").replace(answer.json()["request_id"], "…"))
    theirs, nothing = said.values()
    return [
        equal("another tenant's agent", 404, theirs[0]),
        equal("beside one that never was", "the same bytes", "the same bytes" if theirs == nothing else said),
    ]


async def read_audit(demo: Demo) -> list[Check]:
    """Read the audit trail."""
    entries = await demo.north.all("v1/audit")
    counts = {
        action: sum(one["action"] == action for one in entries) for action in ("element.created", "agent.created")
    }
    wanted = {"element.created": ELEMENTS, "agent.created": QUOTA}
    newest = [one["created_at"] for one in entries] == sorted((one["created_at"] for one in entries), reverse=True)
    return [
        equal("audit entries", wanted, counts),
        equal("their order", "newest first", "newest first" if newest else "mixed"),
    ]


async def read_usage(demo: Demo) -> list[Check]:
    """Compare what was metered with what was done."""
    made = demo.north.calls
    until = time.monotonic() + WAIT_SECONDS
    while True:
        calls = await demo.north.ok("GET", "v1/usage", params={"metric": "api_calls", "period": "hour"})
        if calls["total"] >= made or time.monotonic() > until:
            break
        made += 1
        await asyncio.sleep(0.2)
    agents = await demo.north.ok("GET", "v1/usage", params={"metric": "agents_created", "period": "hour"})
    quotas = await demo.north.ok("GET", "v1/quotas")
    used = next(one for one in quotas["items"] if one["resource"] == "agents")
    return [
        equal("calls metered", made, calls["total"]),
        equal("agents_created metered", QUOTA, agents["total"]),
        equal("quota of agents", f"{QUOTA} of {QUOTA}", f"{used['used']} of {used['limit']}"),
    ]


async def back_up(demo: Demo) -> list[Check]:
    """Back up, and read the backup back."""
    demo.before = await _snapshot(demo.north)
    begun = await demo.north.ok("POST", "v1/backups", json={"note": "demo"})
    demo.backup_id = begun["id"]
    backup = await _until(demo.north, f"v1/backups/{begun['id']}", "succeeded", "failed")
    report = await demo.north.ok("POST", f"v1/backups/{begun['id']}/verify")
    counts = {kind: backup["counts"].get(kind) for kind in ("element", "relationship", "agent")}
    wanted = {"element": ELEMENTS, "relationship": RELATIONSHIPS, "agent": QUOTA}
    return [
        equal("backup", wanted, counts),
        equal("read back", "no problems", "no problems" if report["ok"] else report["problems"]),
    ]


async def damage_and_restore(demo: Demo) -> list[Check]:
    """Do damage, and restore in place."""
    for element in list(demo.before["elements"])[:5]:
        await demo.north.ok("DELETE", f"v1/elements/{element}", params={"cascade": "true"})
    first, second = list(demo.before["agents"])[:2]
    await demo.north.ok("PATCH", f"v1/agents/{first}", json={"name": "Damaged"})
    await demo.north.ok("DELETE", f"v1/agents/{second}")
    lost = {name: len(demo.before[name]) - len(items) for name, items in (await _snapshot(demo.north)).items()}
    body = {"backup_id": demo.backup_id, "target": "in_place", "confirm": "north"}
    restore = await demo.north.ok("POST", "v1/restores", json=body)
    done = await _until(demo.north, f"v1/restores/{restore['id']}", "succeeded", "failed")
    after = await _snapshot(demo.north)
    aside = ("revision", "updated_at", "updated_by")
    return [
        Check(
            "damage",
            "5 elements and 1 agent lost",
            ", ".join(f"{count} {name}" for name, count in lost.items()),
            lost["elements"] == 5 and lost["agents"] == 1,
        ),
        equal("restore in place", "succeeded", done["error"] or done["status"]),
        _same("everything as it was", demo.before, after, *aside),
    ]


async def restore_elsewhere(demo: Demo) -> list[Check]:
    """Restore the same backup into a new tenant."""
    new = {"name": "North again", "slug": "north-again", "admin_email": "grace@north.example"}
    body = {"backup_id": demo.backup_id, "target": "new_tenant", "new_tenant": new}
    restore = await demo.north.ok("POST", "v1/restores", json=body)
    done = await _until(demo.north, f"v1/restores/{restore['id']}", "succeeded", "failed")
    demo.apis["north-again"] = demo.api(done["report"]["tenant_id"], "grace@north.example")
    copied = await _snapshot(demo.apis["north-again"])
    return [
        equal("restore into a new tenant", "succeeded", done["error"] or done["status"]),
        _same("field by field, but for the tenant", demo.before, copied, "tenant_id"),
    ]


async def suspend_and_resume(demo: Demo) -> list[Check]:
    """Suspend a tenant, and resume it."""
    path = f"v1/platform/tenants/{demo.tenants['west']['id']}"
    await demo.staff.ok("POST", f"{path}/suspend")
    refused = await demo.apis["west"].send("GET", "v1/me")
    await demo.staff.ok("POST", f"{path}/resume")
    again = await demo.apis["west"].send("GET", "v1/me")
    told = f"{refused.status_code} {refused.json().get('code')}, then {again.status_code}"
    return [equal("suspend, then resume", "403 tenant_suspended, then 200", told)]


async def _snapshot(api: Api) -> Snapshot:
    return {name: {item["id"]: item for item in await api.all(f"v1/{name}")} for name in RESOURCES}


async def _until(api: Api, path: str, *statuses: str) -> Any:
    until = time.monotonic() + WAIT_SECONDS
    while (found := await api.ok("GET", path))["status"] not in statuses:
        if time.monotonic() > until:
            raise RuntimeError(f"{path} is still {found['status']} after {WAIT_SECONDS:.0f} s")
        await asyncio.sleep(0.1)
    return found


def _same(step: str, one: Snapshot, other: Snapshot, *aside: str) -> Check:
    differing = [
        f"{name}/{id}"
        for name in RESOURCES
        for id in one[name].keys() | other[name].keys()
        if _without(one[name].get(id, {}), *aside) != _without(other[name].get(id, {}), *aside)
    ]
    total = sum(len(one[name]) for name in RESOURCES)
    seen = f"{total} items equal" if not differing else f"{len(differing)} differ, such as {differing[0]}"
    return Check(step, f"{total} items equal", seen, not differing and total > 0)


def _without(item: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in names}

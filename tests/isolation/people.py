"""The tenants of a site: a victim, an attacker's home, three that are not let in; and what each of them has."""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from shared.auth.roles import Role
from shared.database.port import Replace
from shared.messaging.port import Message
from shared.tenancy.directory import TENANT
from tests.isolation.elsewhere import MCP_HOST
from tests.isolation.site import Site

UNLIMITED = {
    "requests_per_minute": 1_000_000,
    "agents_per_minute": 1_000_000,
    "design_per_minute": 1_000_000,
    "max_copies": 1_000,
    "max_runs": 1_000,
    "max_webhooks": 1_000,
    "max_backups": 1_000,
    "max_api_keys": 1_000,
}
API = "flowgrid"
TWINS: dict[str, dict[str, Any]] = {  # what both have under one name; an id that follows from it is one id in both
    "provider": {"name": "twin", "wire": "openai", "models": ["gpt-5"], "key": "a-key-of-a-twin"},
    "tool": {"name": "twin", "url": "https://api.acme.example/", "secret": "a-secret-of-a-twin"},
    "mcp-server": {"name": "twin", "url": f"https://{MCP_HOST}/mcp", "secret": "a-secret-of-a-twin"},
    "user": {"email": "twin@example.com", "name": "Twin"},
}
XML = {"content-type": "application/xml"}
MODEL = b"""<?xml version="1.0" encoding="UTF-8"?>
<model xmlns="http://www.opengroup.org/xsd/archimate/3.0/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  identifier="id-landscape">
  <name xml:lang="en">NAME</name>
  <elements>
    <element identifier="id-1" xsi:type="BusinessActor"><name xml:lang="en">NAME desk</name></element>
    <element identifier="id-2" xsi:type="BusinessProcess"><name xml:lang="en">NAME process</name></element>
  </elements>
  <relationships>
    <relationship identifier="id-3" source="id-1" target="id-2" xsi:type="Assignment"/>
  </relationships>
  <organizations><item><label>NAME folder</label><item identifierRef="id-1"/></item></organizations>
  <views><diagrams><view identifier="id-4" xsi:type="Diagram"><name>NAME view</name>
    <node identifier="id-5" xsi:type="Element" elementRef="id-1" x="0" y="0" w="120" h="55"/>
  </view></diagrams></views>
</model>
"""


@dataclass
class Tenant:
    """`ids` by the name of the parameter that takes them; `words`: texts that only this tenant knows."""

    id: str
    slug: str
    admin_email: str
    ids: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    event_time: str = ""

    def email(self, role: Role) -> str:
        return self.admin_email if role is Role.ADMIN else f"{role.name.lower()}@{self.slug}.example"

    @property
    def canaries(self) -> dict[str, str]:
        """Whatever must be seen by nobody else, by what it is."""
        return {**self.ids, **self.words}


def staff(site: Site, name: str = "staff") -> str:
    return site.token(Role.PLATFORM, None, f"{name}@flowgrid.example")


def token(site: Site, tenant: Tenant, role: Role) -> str:
    return site.token(role, tenant.id, tenant.email(role))


async def onboard(site: Site, **fields: Any) -> Tenant:
    """A tenant beside others in one database, with an admin, a user and a viewer in its user list."""
    slug = f"t-{uuid4().hex[:20]}"
    new: dict[str, Any] = {
        "name": slug,
        "slug": slug,
        "tier": "enterprise",
        "dedicated": False,
        "admin_email": f"admin@{slug}.example",
    }
    settings = {"limits": UNLIMITED}
    made = await site.ok("POST v1/platform/tenants", staff(site), {**new, "settings": settings, **fields})
    tenant = Tenant(made["id"], slug, new["admin_email"])
    tenant.ids["tenant_id"] = tenant.id
    tenant.words |= {"slug": slug, "admin e-mail": tenant.admin_email}
    admin = token(site, tenant, Role.ADMIN)
    await site.ok("GET v1/me", admin)
    for role, name in ((Role.USER, "user"), (Role.VIEWER, "viewer")):
        made = await site.ok("POST v1/users", admin, {"email": tenant.email(role), "role": name})
        await site.ok("GET v1/me", token(site, tenant, role))
        tenant.ids[f"{name}'s user"] = made["id"]
    return tenant


async def be(site: Site, tenant: Tenant, status: str) -> None:
    """The tenant as the registry has it while something is done to it that takes its time."""
    registry = site.core.adapters.database.platform
    held = await registry.get(TENANT, tenant.id, tenant.id)
    assert held is not None
    await registry.put(Replace(TENANT, tenant.id, {**held.body, "status": status}, held.etag), tenant.id)
    site.core.directory.forget(tenant.id)


async def furnish(site: Site, tenant: Tenant) -> None:
    """One of everything that the API can make, all of it at rest."""
    admin, ids, words = token(site, tenant, Role.ADMIN), tenant.ids, tenant.words

    def word(what: str) -> str:
        words[what] = f"{what.replace(' ', '-')}-{uuid4().hex}"
        return words[what]

    element = {"name": word("element"), "type": "BusinessProcess", "description": word("description")}
    ids["element_id"] = (await site.ok("POST v1/elements", admin, element))["id"]
    other = await site.ok("POST v1/elements", admin, {"name": word("other element"), "type": "BusinessActor"})
    ids["other element"] = other["id"]
    link = {"type": "Association", "source_id": ids["element_id"], "target_id": other["id"]}
    ids["relationship_id"] = (await site.ok("POST v1/relationships", admin, link))["id"]
    agent = {"name": word("agent"), "pattern": "Orchestrator", "instructions": word("instructions")}
    agent["element_id"] = ids["element_id"]
    ids["agent_id"] = (await site.ok("POST v1/agents", admin, agent))["id"]
    provider: dict[str, Any] = {
        "name": f"p-{uuid4().hex[:12]}",
        "wire": "openai",
        "models": ["gpt-5"],
        "key": word("provider key"),
    }
    words["provider"] = provider["name"]
    made = await site.ok("POST v1/providers", admin, provider)
    ids["provider_id"], ids["key_reference"] = made["id"], made["key_reference"]
    tool = {"name": f"t-{uuid4().hex}", "url": "https://api.acme.example/", "secret": word("tool secret")}
    words["tool"] = tool["name"]
    made = await site.ok("POST v1/tools", admin, tool)
    ids["tool_id"], ids["secret_reference"] = made["id"], made["secret_reference"]
    server = {"name": f"m-{uuid4().hex}", "url": f"https://{MCP_HOST}/mcp", "secret": word("MCP secret")}
    words["MCP server"] = server["name"]
    made = await site.ok("POST v1/mcp-servers", admin, server)
    ids["mcp_server_id"], ids["MCP secret_reference"] = made["id"], made["secret_reference"]
    await site.ok("POST v1/mcp-servers/{mcp_server_id}/refresh", admin, params={"mcp_server_id": made["id"]})
    hook = {"name": word("hook"), "style": "github", "secret": word("hook secret")}
    made = await site.ok("POST v1/agents/{agent_id}/hooks", admin, hook, params={"agent_id": ids["agent_id"]})
    ids["hook_id"], ids["hook's secret_reference"] = made["id"], made["secret_reference"]
    ids["hook_token"] = made["path"].rpartition("/")[2]
    file = MODEL.replace(b"NAME", word("model").encode())
    report = await site.ok("POST v1/catalog/import", admin, file, headers=XML)
    ids["model_id"], ids["import_id"] = report["model_id"], report["id"]
    ids["view_id"] = (await site.ok("GET v1/views", admin))["items"][0]["id"]
    ids["migration_id"] = await _migrated(site, tenant, admin, word("old element"))
    ids["migration to undo"] = await _migrated(site, tenant, admin, word("other old element"))
    email = words["invited"] = f"{uuid4().hex}@example.com"
    ids["user_id"] = (await site.ok("POST v1/users", admin, {"email": email, "name": word("person")}))["id"]
    for what, twin in TWINS.items():
        await site.ok(f"POST v1/{what}s", admin, twin)
    case = {"agent_id": ids["agent_id"], "name": word("case"), "input": word("case input")}
    expected = [{"op": "contains", "value": "o"}]
    ids["case_id"] = (await site.ok("POST v1/cases", admin, {**case, "expected": expected}))["id"]
    ids["entry_id"] = (await site.ok("GET v1/audit", admin, query={"action": "agent.created"}))["items"][0]["id"]
    await _signed_in_otherwise(site, tenant, admin)
    await _work(site, tenant, admin)
    await _told_and_counted(site, tenant, admin)
    await _webhook(site, tenant, admin)


async def _migrated(site: Site, tenant: Tenant, admin: str, name: str) -> str:
    """The run of an element of an old database, which has changed since, so that an undo leaves it."""
    new = {"source_sha256": uuid4().hex * 2, "source_name": f"{name}.db"}
    run = {"migration_id": (await site.ok("POST v1/migrations", admin, new))["id"]}
    rows = {"elements": [{"legacy_id": name, "fields": {"name": name, "type": "BusinessProcess"}}]}
    await site.ok("POST v1/migrations/{migration_id}/rows", admin, rows, params=run)
    made = (await site.ok("GET v1/elements", admin, query={"name": name}))["items"][0]
    await site.ok("PATCH v1/elements/{element_id}", admin, {"description": name}, params={"element_id": made["id"]})
    tenant.ids[name] = made["id"]
    return str(run["migration_id"])


async def _signed_in_otherwise(site: Site, tenant: Tenant, admin: str) -> None:
    """An issuer of its own with an admin who comes by it, one who is invited, and a grant of staff."""
    ids, words, domain = tenant.ids, tenant.words, f"{tenant.slug}.example"
    company = site.companies.of(tenant.slug)
    words["issuer"] = company.issuer
    ids["issuer_id"] = (await site.ok("POST v1/issuers", admin, own_issuer(company.issuer, domain)))["id"]
    words["comes by its own issuer"], words["may come"] = f"sso@{domain}", f"{uuid4().hex}@{domain}"
    for email, role in ((words["comes by its own issuer"], "admin"), (words["may come"], "user")):
        await site.ok("POST v1/users", admin, {"email": email, "role": role})
    await site.ok("GET v1/me", of_company(site, tenant))
    words["reason"] = f"reason-{uuid4().hex}"
    ids["access_id"] = await grant(site, tenant, "another", words["reason"])


def own_issuer(issuer: str, domain: str, audience: str = API) -> dict[str, Any]:
    return {"issuer": issuer, "audience": audience, "email_domains": [domain]}


def of_company(site: Site, tenant: Tenant, **claims: Any) -> str:
    """A token of the tenant's own issuer, for its admin who comes by it."""
    email = tenant.words["comes by its own issuer"]
    own = {"aud": API, "sub": email, "email": email, "email_verified": True}
    return site.companies.of(tenant.slug).sign(**{**own, **claims})


async def grant(site: Site, tenant: Tenant, name: str, reason: str = "A case of theirs.", minutes: int = 240) -> str:
    """The id of a grant of this tenant, of staff by this name."""
    path, body = "POST v1/platform/tenants/{tenant_id}/staff-access", {"reason": reason, "minutes": minutes}
    return str((await site.ok(path, staff(site, name), body, params={"tenant_id": tenant.id}))["id"])


async def _work(site: Site, tenant: Tenant, admin: str) -> None:
    """What goes on behind an answer: a run, a design, a publication, a backup and its restore."""
    ids, agent = tenant.ids, {"agent_id": tenant.ids["agent_id"]}
    tenant.words["prompt"] = f"prompt-{uuid4().hex}"
    run = await site.ok("POST v1/agents/{agent_id}/executions", admin, {"input": tenant.words["prompt"]}, params=agent)
    ids["execution_id"] = run["id"]
    active = {"name": "In use", "pattern": "Specialist", "status": "active"}
    ids["published agent"] = (await site.ok("POST v1/agents", admin, active))["id"]
    of_active = {"agent_id": ids["published agent"]}
    task = await site.ok(
        "POST v1/agents/{agent_id}/executions", admin, {"input": tenant.words["prompt"]}, params=of_active
    )
    ids["task of it"] = task["id"]
    brief = {"brief": f"Triage new claims and answer them. {tenant.words['prompt']}"}
    ids["design_id"] = (await site.ok("POST v1/design/sessions", admin, brief))["id"]
    backup = await site.ok("POST v1/backups", admin, {"note": "mine"})
    ids["backup_id"], ids["job_id"] = backup["id"], backup["job_id"]

    async def over() -> bool:
        shown = [
            await site.ok("GET v1/backups/{backup_id}", admin, params={"backup_id": backup["id"]}),
            *[
                await site.ok("GET v1/executions/{execution_id}", admin, params={"execution_id": one["id"]})
                for one in (run, task)
            ],
        ]
        return all(one["status"] == "succeeded" for one in shown)

    await site.until(over)
    ids["publication_id"] = (await site.ok("POST v1/agents/{agent_id}/publish", admin, params=agent))["id"]
    slug = tenant.words["copy"] = f"t-{uuid4().hex[:20]}"
    twin = {"name": slug, "slug": slug, "admin_email": f"admin@{slug}.example"}
    asked = {"backup_id": backup["id"], "target": "new_tenant", "new_tenant": twin}
    ids["restore_id"] = (await site.ok("POST v1/restores", admin, asked))["id"]

    async def restored() -> bool:
        shown = await site.ok("GET v1/restores/{restore_id}", admin, params={"restore_id": ids["restore_id"]})
        return bool(shown["status"] == "succeeded")

    await site.until(restored)


async def _told_and_counted(site: Site, tenant: Tenant, admin: str) -> None:
    """A notification, a dead letter, and an event that is taken out of what was counted."""
    ids, boss = tenant.ids, staff(site)
    await site.deliver("store_usage", Message(uuid4().hex, tenant.id, {"nonsense": uuid4().hex}))
    query = {"tenant": tenant.id}
    ids["letter_id"] = (await site.ok("GET v1/platform/dead-letters", boss, query=query))["items"][0]["id"]
    await site.tick("sweep")  # which tells of the end of the trial
    ids["notification_id"] = (await site.ok("GET v1/notifications", admin))["items"][0]["id"]
    await site.settle()
    event = (await site.ok("GET v1/usage/events", admin, query={"name": "get_me"}))["items"][0]
    ids["event"], tenant.event_time = event["id"], event["time"]
    void = {"reason": "a trial call", "event": {"id": event["id"], "time": event["time"]}}
    path = "POST v1/platform/tenants/{tenant_id}/usage-adjustments"
    ids["adjustment_id"] = (await site.ok(path, boss, void, params={"tenant_id": tenant.id}))["id"]
    await site.settle()


async def _webhook(site: Site, tenant: Tenant, admin: str) -> None:
    """A webhook that is switched off, and what it would have been told."""
    ids, words = tenant.ids, tenant.words
    words["webhook"] = f"https://{uuid4().hex}.example/hook"
    made = await site.ok("POST v1/webhooks", admin, {"url": words["webhook"], "events": ["design.deleted"]})
    ids["webhook_id"], words["webhook secret"] = made["id"], made["secret"]
    ids["webhook secret_reference"], one = made["secret_reference"], {"webhook_id": made["id"]}
    ids["delivery_id"] = (await site.ok("POST v1/webhooks/{webhook_id}/test", admin, params=one))["id"]
    await site.ok("PATCH v1/webhooks/{webhook_id}", admin, {"enabled": False}, params=one)
    await site.settle()

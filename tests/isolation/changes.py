"""What the attacker does to its own, and succeeds: removals and changes, and the work that is done behind a 202."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from shared.auth.roles import Role
from tests.isolation.cases import Stage, own_body
from tests.isolation.expected import EXPECTED
from tests.isolation.people import TWINS, XML, token
from tests.isolation.prover import Leak
from tests.isolation.watch import Watch, changed

UNSAID = (  # words of the victim's that nobody else has ever sent
    *("description", "other element", "instructions", "person", "case", "case input", "prompt", "reason"),
    *("provider key", "tool secret", "MCP secret", "hook secret", "copy", "api key"),
)

HOOKS, HOOK = "POST v1/agents/{agent_id}/hooks", {"name": "Own", "style": "plain"}


@dataclass(frozen=True)
class Made:
    """How the attacker has one: the route, its body, the name of the id in the answer; `params` of its path."""

    route: str
    body: Any
    id: str = "id"
    params: Mapping[str, str] = field(default_factory=dict)


def of_ones_own(stage: Stage) -> dict[str, Made]:
    """By the parameter of the path that takes it: the twin of what the victim has too, where a name makes the id."""

    def fresh(route: str, id: str = "id") -> Made:
        return Made(route, own_body(stage, stage.site.routes[route]), id)

    company = f"{uuid4().hex}.example"
    issuer = {"issuer": f"https://login.{company}", "audience": "twin", "email_domains": [company]}
    return {
        "tool_id": Made("POST v1/tools", TWINS["tool"]),
        "mcp_server_id": Made("POST v1/mcp-servers", TWINS["mcp-server"]),
        "provider_id": Made("POST v1/providers", TWINS["provider"]),
        "user_id": Made("POST v1/users", TWINS["user"]),
        "issuer_id": Made("POST v1/issuers", issuer),
        "api_key_id": fresh("POST v1/api-keys"),
        "webhook_id": fresh("POST v1/webhooks"),
        "hook_id": Made(HOOKS, HOOK, params={"agent_id": stage.home.ids["agent_id"]}),
        "case_id": fresh("POST v1/cases"),
        "agent_id": fresh("POST v1/agents"),
        "relationship_id": fresh("POST v1/relationships"),
        "element_id": fresh("POST v1/elements"),
        "model_id": fresh("POST v1/catalog/import", "model_id"),
        "design_id": fresh("POST v1/design/sessions"),
        "backup_id": fresh("POST v1/backups"),
    }


JOBS = {"POST v1/models/{model_id}/deletion"}  # it would take away what the changes behind it are tried on


def changing() -> list[str]:
    """The routes that change one of a tenant's own by its ETag, removals last: the matrix sends one that never was."""
    found = [key for key, one in EXPECTED.items() if 412 in one.own and one.least != "staff" and key not in JOBS]
    return sorted(found, key=lambda key: key.startswith("DELETE "))


async def through_changes(stage: Stage, watch: Watch) -> AsyncIterator[Leak | None]:
    """Each change with the ETag that is right; what it has changed of the victim, or None."""
    site, admin, made = stage.site, token(stage.site, stage.home, Role.ADMIN), of_ones_own(stage)
    params = {parameter: {parameter: await _id(stage, one)} for parameter, one in made.items()}
    await site.settle()
    for key in changing():
        [parameter] = [name for name in made if f"{{{name}}}" in key]
        path, asked = key.partition(" ")[2], params[parameter]
        held = await site.call(f"GET {path[: path.rindex('}') + 1]}", admin, params=asked)
        before = watch.dump()
        body = _body(stage, key, made[parameter].body)
        query = {"cascade": "true"} if "cascade" in site.routes[key].query.model_fields else {}
        answer = await site.call(key, admin, body, params=asked, query=query, headers={"if-match": held.etag})
        where = f"{key} as admin, one's own with its ETag"
        if not 200 <= answer.status < 300:
            yield Leak(where, f"{answer.status} where it must succeed: {answer.raw[:300]!r}")
        found = changed(before, watch.dump())
        yield Leak(where, f"the victim's {', '.join(found[:5])} changed") if found else None


async def through_work(stage: Stage, watch: Watch) -> AsyncIterator[Leak | None]:
    """What is accepted, and done later: it changes nothing of the victim, and brings the attacker nothing of it."""
    site, home, admin, before = stage.site, stage.home, token(stage.site, stage.home, Role.ADMIN), watch.dump()
    agent = own_body(stage, site.routes["POST v1/agents"])
    of_agent = {"agent_id": (await site.ok("POST v1/agents", admin, agent))["id"]}
    backup = await site.ok("POST v1/backups", admin, {"note": "behind a 202"})
    await site.ok("POST v1/agents/{agent_id}/executions", admin, {"input": "Work."}, params=of_agent)
    await site.ok("POST v1/agents/{agent_id}/publish", admin, params=of_agent)
    await site.settle()
    slug = f"t-{uuid4().hex[:20]}"
    twin = {"name": slug, "slug": slug, "admin_email": f"admin@{slug}.example"}
    asked = {"backup_id": backup["id"], "target": "new_tenant", "new_tenant": twin}
    restore = await site.ok("POST v1/restores", admin, asked)
    await site.settle()
    for route, id in (("backups/{backup_id}", backup["id"]), ("restores/{restore_id}", restore["id"])):
        [name] = [part.strip("{}") for part in route.split("/")[1:]]
        shown = await site.ok(f"GET v1/{route}", admin, params={name: id})
        yield None if shown["status"] == "succeeded" else Leak(f"work behind {route}", f"is not done: {shown}")
    for tenant in (home.id, shown["report"]["tenant_id"]):
        async for leak in through_belongings(stage, tenant):
            yield leak
    await site.ok("DELETE v1/backups/{backup_id}", admin, params={"backup_id": backup["id"]})
    found = changed(before, watch.dump())
    yield Leak("work behind a 202", f"changed the victim's {found}") if found else None


async def through_belongings(stage: Stage, tenant: str) -> AsyncIterator[Leak | None]:
    """All that this tenant has, as it lies there: nothing in it is the victim's."""
    own = Watch(stage.site, tenant)
    lies = {where: text.encode() for where, text in own.dump().items()} | dict(own.blobs())
    own.close()
    for where, told in lies.items():
        found = [word for word in UNSAID if stage.victim.words[word].encode() in told]
        yield Leak(where, f"holds the victim's {', '.join(found)}") if found else None


async def _id(stage: Stage, one: Made) -> str:
    """Of one that the attacker has: a new one, or the twin that it has had all along."""
    site, admin = stage.site, token(stage.site, stage.home, Role.ADMIN)
    headers = XML if isinstance(one.body, bytes) else {}
    answer = await site.call(one.route, admin, one.body, params=one.params, headers=headers)
    if answer.status != 409:
        return str(answer.json[one.id])
    listed = await site.ok(one.route.replace("POST", "GET"), admin, query={"limit": "200"})
    [found] = [item["id"] for item in listed["items"] if item.get("name") == one.body["name"]]
    return str(found)


def _body(stage: Stage, key: str, made: Any) -> Any:
    """One that is taken: a PUT changes neither the name nor where a secret goes."""
    body = own_body(stage, stage.site.routes[key])
    if not key.startswith("PUT "):
        return body
    return {**body, **{name: value for name, value in made.items() if name in ("name", "url")}}

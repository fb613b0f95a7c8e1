"""The ways in beside HTTP: queues, timers, what agents do, jobs, and the spaces of blobs and secrets."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

from functions.providers.models import Provider
from functions.tools.mcp.models import McpServer
from functions.tools.models import Tool
from shared.auth.roles import Role
from shared.blobs.port import BlobSpace
from shared.clock import rfc3339
from shared.database.port import Replace
from shared.errors import FlowgridError, NotFound, Unavailable
from shared.jobs.jobs import enqueue
from shared.messaging.port import Message
from shared.work.events import SOURCE, VOID, Metric, usage_event
from shared.work.kept_secrets import KeptSecrets
from shared.work.session import TenantSession
from tests.doubles.models import calls, says
from tests.isolation.cases import Stage
from tests.isolation.expected import TIMERS
from tests.isolation.people import Tenant, token
from tests.isolation.prover import Leak
from tests.isolation.watch import Watch, changed, kind_of
from tests.unit.world import admin as as_admin
from tests.unit.world import session


def forged(stage: Stage, job: str, run: str) -> dict[str, list[Message]]:
    """By queue function: messages that name two tenants, or the one's with an id of the other's.

    `job`, `run`: two of the victim's that wait for their own messages; those in its ids are over.
    """
    home, victim, now = stage.home, stage.victim, stage.site.clock.now()
    theirs, own = victim.ids, home.ids

    def about(tenant: str, **body: Any) -> Message:
        return Message(uuid4().hex, tenant, body)

    event = usage_event(Metric.EXECUTIONS, id=uuid4().hex, tenant_id=home.id, at=now, value=1)
    void = {"type": VOID, "time": rfc3339(now), "data": {"events": [[SOURCE, theirs["event"]]]}}
    return {
        "store_usage": [
            event._replace(id=uuid4().hex, body={**event.body, "tenant_id": victim.id, "subject": victim.id}),
            about(home.id, **void),
            about(home.id, **void, tenant_id=victim.id),
            about("", **event.body),
        ],
        "run_job": [
            about(home.id, job_id=job, revision=1),
            about(home.id, job_id=job, revision=1, tenant_id=victim.id),
            about(victim.id, job_id=own["job_id"], revision=1),
            about(victim.id, job_id=theirs["job_id"], revision=1),
            about("", job_id=job, revision=1),
        ],
        "run_execution": [
            about(home.id, execution_id=run, revision=1),
            about(home.id, execution_id=run, revision=1, tenant_id=victim.id),
            about(home.id, cancel=run),
            about(victim.id, execution_id=own["execution_id"], revision=1),
            about(victim.id, execution_id=theirs["execution_id"], revision=1),
            about(victim.id, cancel=own["execution_id"]),
            about("", cancel=run),
        ],
        "deliver": [
            about(home.id, webhook_id=theirs["webhook_id"], urgent=True),
            about(home.id, webhook_id=theirs["webhook_id"], tenant_id=victim.id),
            about(victim.id, webhook_id=own["webhook_id"], urgent=True),
            about("", webhook_id=theirs["webhook_id"], urgent=True),
        ],
    }


async def through_queues(stage: Stage, watch: Watch) -> AsyncIterator[Leak | None]:
    """Each message, delivered; what it has changed of the victim, or None."""
    site, admin = stage.site, token(stage.site, stage.victim, Role.ADMIN)
    backup = await site.ok("POST v1/backups", admin)
    agent = {"agent_id": stage.victim.ids["agent_id"]}
    run = await site.ok("POST v1/agents/{agent_id}/executions", admin, {"input": "Do it."}, params=agent)
    await site.core.services.outbox.flush()
    for function, messages in forged(stage, backup["job_id"], run["id"]).items():
        for message in messages:
            before = watch.dump()
            with suppress(Unavailable):  # it names what is not there (yet), and comes again until it is a dead letter
                await site.deliver(function, message)
            found = changed(before, watch.dump())
            what = f"{function}, a message of {message.tenant_id or 'no tenant'}: {message.body}"
            yield Leak(what, f"the victim's {found} changed") if found else None
    await site.settle()


async def through_timers(stage: Stage, watch: Watch) -> AsyncIterator[Leak | None]:
    """Each timer, most of a day later: what it has changed of the victim beyond what is its to change, or None."""
    stage.site.clock.advance(hours=23)
    for name, own in TIMERS.items():
        if name not in stage.site.functions:
            continue
        before = watch.dump()
        await stage.site.tick(name)
        after = watch.dump()
        strange = {kind_of(where, after) for where in changed(before, after)} - own
        yield Leak(f"timer {name}", f"changed the victim's {sorted(strange)}") if strange else None


async def through_agents(stage: Stage, watch: Watch) -> AsyncIterator[Leak | None]:
    """Agents of the attacker whose models name what is the victim's: by tools, other agents, providers."""
    site, home, theirs = stage.site, stage.home, stage.victim
    admin, before = token(site, home, Role.ADMIN), watch.dump()
    read = [("catalog_read", {"id": id}) for id in (home.ids["element_id"], *theirs.ids.values())]
    around = [("catalog_neighbors", {"id": theirs.ids["element_id"], "depth": 3})]
    sought = [("catalog_search", {"name": theirs.words["element"][:30]})]
    sent = {*theirs.ids.values(), theirs.words["element"][:30]}
    site.models.scripts["the attacker's"] = [calls(*read[:16]), calls(*read[16:], *around, *sought), says("done")]
    body = {"pattern": "Specialist", "name": "Spy", "instructions": "the attacker's"}
    tools = ["catalog.read", "catalog.neighbors", "catalog.search"]
    made = await site.ok("POST v1/agents", admin, {**body, "tools": tools})
    run = await site.ok(
        "POST v1/agents/{agent_id}/executions", admin, {"input": "Spy."}, params={"agent_id": made["id"]}
    )
    await site.settle()
    asked = {"execution_id": run["id"]}
    shown = await site.ok("GET v1/executions/{execution_id}", admin, params=asked)
    steps = await site.call("GET v1/executions/{execution_id}/steps", admin, params=asked, query={"limit": "200"})
    used = [step for step in steps.json["items"] if step["type"] == "tool"]
    told = [question.messages for question in site.models.asked if question.instructions == "the attacker's"]
    text = str([message.text for one in told for message in one if message.role == "tool"]) + str(used)
    works = shown["status"] == "succeeded" and len(used) == len(read) + 2 and home.words["description"] in text
    yield None if works else Leak("a run of catalog tools", f"does not even see its own: {shown} {text[:500]}")
    for what, canary in theirs.canaries.items():
        if canary not in sent and canary in text:
            yield Leak("a run of catalog tools", f"was told the victim's {what}")
    yield await _refused(stage, admin, "another's agent", {"tools": [f"agent:{theirs.ids['agent_id']}"]})
    yield await _refused(stage, admin, "another's agent by name", {"tools": [f"agent:{theirs.words['agent']}"]})
    yield await _refused(stage, admin, "another's tool", {"tools": [f"http:{theirs.words['tool']}"]})
    named = f"mcp:{theirs.words['MCP server']}.find_ticket"
    yield await _refused(stage, admin, "a tool of another's MCP server", {"tools": [named]})
    yield await _refused(stage, admin, "another's provider", {"provider": theirs.words["provider"], "model": "gpt-5"})
    found = changed(before, watch.dump())
    yield Leak("the attacker's agents", f"changed the victim's {found}") if found else None


async def _refused(stage: Stage, admin: str, what: str, fields: dict[str, Any]) -> Leak | None:
    """An agent that names what is the victim's never gets it: it cannot be run, or fails."""
    site = stage.site
    body = {"pattern": "Orchestrator", "name": f"Spy {uuid4().hex[:8]}", **fields}
    made = await site.ok("POST v1/agents", admin, body)
    asked = {"agent_id": made["id"]}
    begun = await site.call("POST v1/agents/{agent_id}/executions", admin, {"input": "Spy."}, params=asked)
    if begun.status != 202:
        return None if begun.status == 409 else Leak(f"an agent with {what}", f"{begun.status} {begun.raw!r}")
    await site.settle()
    asked = {"execution_id": begun.json["id"]}
    shown = await site.ok("GET v1/executions/{execution_id}", admin, params=asked)
    return None if shown["status"] == "failed" else Leak(f"an agent with {what}", f"was run: {shown}")


async def through_references(stage: Stage) -> AsyncIterator[Leak | None]:
    """Items of the attacker that hold references to the victim's secrets, as if somebody had forged a backup."""
    site, own, theirs = stage.site, stage.home, stage.victim
    entry = await site.core.directory.entry(own.id)
    assert entry is not None
    store = site.core.directory.open(entry)
    kept = KeptSecrets(site.core.adapters.secrets)
    for kind, id, field in (
        (Tool.KIND, own.ids["tool_id"], "secret_reference"),
        (Provider.KIND, own.ids["provider_id"], "key_reference"),
        (McpServer.KIND, own.ids["mcp_server_id"], "secret_reference"),
    ):
        held = await store.get(kind, id)
        assert held is not None
        await store.control.commit([Replace(kind, id, {**held.body, field: theirs.ids[field]}, held.etag)])
        value = await kept.get(await _session(stage, own), theirs.ids[field])
        known = value in theirs.words.values()
        yield Leak(f"a {kind} with the victim's {field}", "was given the secret") if known else None


async def through_jobs(stage: Stage, watch: Watch) -> AsyncIterator[Leak | None]:
    """Jobs of the attacker whose input names what is the victim's."""
    site, own, theirs = stage.site, stage.home, stage.victim
    before = watch.dump()
    by = await _session(stage, own)
    backup = theirs.ids["backup_id"]
    restore = {"backup_id": backup, "as_of": None, "target": "in_place", "new_tenant": None}
    for type, input in (
        ("restore", restore),
        ("backup", {"backup_id": backup}),
        ("publish", {"agent_id": theirs.ids["agent_id"], "agent_revision": 1}),
    ):
        change = by.change()
        job = enqueue(change, by, site.core.settings.jobs_queue, type, input)
        await change.commit(job)
        await site.settle()
        asked = {"job_id": job.id}
        shown = await site.ok("GET v1/jobs/{job_id}", token(site, own, Role.ADMIN), params=asked)
        yield Leak(f"a job {type} of the victim's", "succeeded") if shown["status"] == "succeeded" else None
        found = changed(before, watch.dump())
        yield Leak(f"a job {type} of the victim's", f"changed {found}") if found else None


async def through_spaces(stage: Stage, watch: Watch) -> AsyncIterator[Leak | None]:
    """The same name in two tenants' spaces is two blobs, and two secrets; a space lists its own."""
    own, theirs, adapters = stage.home, stage.victim, stage.site.core.adapters
    folder, before = stage.site.core.settings.flowgrid_data_dir, watch.dump()
    for area in sorted(path.name for path in (folder / "blobs").iterdir() if path.is_dir()):
        lies = {path: path.parts[path.parts.index(area) + 2 :] for path in (folder / "blobs" / area).rglob("*")}
        of = {
            tenant: {"/".join(rest) for path, rest in lies.items() if path.is_file() and tenant in path.parts}
            for tenant in (own.id, theirs.id)
        }
        space = adapters.blobs.space(area, own.id)
        listed = {one.name async for one in space.list()}
        yield None if listed == of[own.id] else Leak(f"blobs {area}", f"lists {sorted(listed ^ of[own.id])} too")
        for name in of[theirs.id] - of[own.id]:
            yield Leak(f"blobs {area}", f"reads {name}") if await _readable(space, name) else None
            await space.write(name, _bytes(b"the attacker's"))
    for reference in ("key_reference", "secret_reference"):
        secrets, name = adapters.secrets.space(own.id), theirs.ids[reference].removeprefix("secret:")
        try:
            await secrets.get(theirs.ids[reference])
            yield Leak("secrets", f"opens the victim's {reference}")
        except (NotFound, Unavailable):
            yield None
        await secrets.put(name, "the attacker's")
        word = theirs.words["provider key" if reference == "key_reference" else "tool secret"]
        try:
            kept = await adapters.secrets.space(theirs.id).get(theirs.ids[reference])
        except FlowgridError as error:
            kept = str(error)
        yield None if kept == word else Leak("secrets", f"{reference} is now {kept!r}")
    found = changed(before, watch.dump())
    yield Leak("the attacker's spaces", f"changed the victim's {found}") if found else None


async def _readable(space: BlobSpace, name: str) -> bool:
    try:
        async for _chunk in space.read(name):
            return True
    except NotFound:
        return False
    return True


async def _bytes(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _session(stage: Stage, tenant: Tenant) -> TenantSession:
    core = stage.site.core
    entry = await core.directory.entry(tenant.id)
    assert entry is not None
    return session(core, entry, core.directory.open(entry), as_admin(tenant.id))

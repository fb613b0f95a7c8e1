"""The audit trail in the whole app: sealed by its round, verified, taken away as a file, and free of secrets."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import BaseModel

from functions.audit.segments import AREA, name_of
from functions.tools.http import EXAMPLE as TOOL
from shared.auth.roles import Role
from shared.database.port import Create, Delete, Replace
from shared.errors import Unavailable
from shared.http.bodies import Json, Merge
from shared.ids import PLATFORM_TENANT_ID
from shared.tenancy.fence import AUDIT
from tests.unit.world import AGENT, STAFF, Answer, World, admin, person

CANARIES = ["sk-canary-one-0123456789", "sk-canary-two-0123456789", "sk-canary-three-0123456789"]
PROVIDER = {"name": "ours", "wire": "openai", "models": ["gpt-5"], "key": CANARIES[0]}


@pytest.fixture
async def acme(world: World) -> str:
    return str((await world.onboard("acme"))["id"])


async def agents(world: World, tenant: str, *names: str) -> list[str]:
    made = [await world.call("create_agent", admin(tenant), {**AGENT, "name": name}) for name in names]
    assert {one.status for one in made} == {201}
    return [one.json["id"] for one in made]


async def an_hour(world: World) -> None:
    world.clock.advance(hours=1)
    await world.functions["rounds"](None)


async def verified(world: World, tenant: str) -> dict[str, Any]:
    answer = await world.call("verify_audit", admin(tenant))
    assert answer.status == 200, answer.raw
    found: dict[str, Any] = answer.json
    return found


async def trail(world: World, tenant: str) -> list[dict[str, Any]]:
    store = (await world.session(tenant)).store
    return [stored.body for stored in (await store.query(AUDIT)).items]


# Sealing and verifying


async def test_every_entry_is_signed_and_sealed_within_the_hour(world: World, acme: str) -> None:
    await agents(world, acme, "one", "two")
    before = await verified(world, acme)
    assert (before["ok"], before["sealed_until"], before["unsealed"]["count"]) == (True, None, 4)
    await an_hour(world)
    after = await verified(world, acme)
    assert (after["ok"], after["entries"], after["unsealed"]) == (True, 4, {"count": 0, "since": None, "more": False})
    assert all(one["mac"] and one["key_id"] for one in await trail(world, acme))


async def test_an_entry_that_is_changed_in_the_database_is_named(world: World, acme: str) -> None:
    await agents(world, acme, "one")
    await an_hour(world)
    entry = (await trail(world, acme))[-1]
    body = {name: value for name, value in entry.items() if name not in ("id", "kind", "tenant_id")}
    store = (await world.session(acme)).store.control
    await store.commit([Replace(AUDIT, entry["id"], {**body, "user_id": "grace"})])
    found = await verified(world, acme)
    assert [(one["kind"], one["entry_id"]) for one in found["findings"]] == [("changed", entry["id"])]


async def test_a_trail_that_does_not_verify_is_an_error_in_the_log_and_a_good_one_is_not(
    world: World, acme: str, caplog: pytest.LogCaptureFixture
) -> None:
    await agents(world, acme, "one")
    await an_hour(world)
    await verified(world, acme)
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []
    entry = (await trail(world, acme))[-1]
    await (await world.session(acme)).store.control.commit([Delete(AUDIT, entry["id"])])
    await verified(world, acme)
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == ["an audit trail does not verify"]


async def test_what_staff_restores_and_copies_write_is_verified_as_well(world: World) -> None:
    acme = str((await world.onboard("acme", tier="enterprise"))["id"])
    await agents(world, acme, "one", "two")
    backup = await world.backed_up(acme)
    new = {"name": "Copy", "slug": "acme-copy", "admin_email": "grace@acme.example"}
    copied = {"backup_id": backup["id"], "target": "new_tenant", "new_tenant": new}
    in_place = {"backup_id": backup["id"], "target": "in_place", "confirm": "acme"}
    made = []
    await world.break_glass(acme)
    for asked in (copied, in_place):
        begun = await world.call("create_restore", STAFF, asked, headers={"x-tenant-id": acme})
        assert begun.status == 202, begun.raw
        made.append(await world.settled("get_restore", acme, {"restore_id": begun.json["id"]}))
        assert made[-1]["status"] == "succeeded", made[-1]
    assert (await world.call("suspend_tenant", STAFF, params={"tenant_id": acme})).status == 200
    assert (await world.call("resume_tenant", STAFF, params={"tenant_id": acme})).status == 200
    await an_hour(world)
    for tenant in (acme, made[0]["tenant_id"]):
        found = await verified(world, tenant)
        assert (found["ok"], found["findings"], found["unsealed"]["count"]) == (True, [], 0)
        assert found["entries"] == len(await trail(world, tenant)) > 2
    actions = {one["action"] for one in await trail(world, acme)}
    assert {"tenant.suspended", "restore.requested", "fence.closed", "backup.created"} <= actions


async def test_the_chain_of_a_tenant_is_another_tenants_nothing(world: World, acme: str) -> None:
    other = str((await world.onboard("globex"))["id"])
    await agents(world, acme, "one")
    await an_hour(world)
    spaces = [world.core.adapters.blobs.space(AREA, tenant) for tenant in (acme, other)]
    data = [chunk async for chunk in spaces[0].read("segment-00000001.jsonl.zst")]

    async def planted() -> Any:
        for chunk in data:
            yield chunk

    await spaces[1].write("segment-00000001.jsonl.zst", planted())
    found = (await verified(world, other))["findings"]
    assert [(one["kind"], one["segment"]) for one in found] == [("segment_changed", 1)]


async def test_a_blob_in_the_way_neither_stops_sealing_nor_hides_what_is_cut_behind_it(world: World, acme: str) -> None:
    await an_hour(world)

    async def planted() -> AsyncIterator[bytes]:
        yield b"x"

    await world.core.adapters.blobs.space(AREA, acme).write(name_of(2), planted(), overwrite=False)
    [agent] = await agents(world, acme, "a deed")
    await an_hour(world)
    [entry] = [one["id"] for one in await trail(world, acme) if one["resource_id"] == agent]
    await (await world.session(acme)).store.control.commit([Delete(AUDIT, entry)])
    found = (await verified(world, acme))["findings"]
    assert {(one["kind"], one["entry_id"] or one["segment"]) for one in found} == {
        ("head", 1),
        ("segment_changed", 2),
        ("missing", entry),
    }


async def test_the_oldest_entries_go_when_the_plan_says_so(world: World) -> None:
    limits = {"audit_retention_days": 1, "backup_retention_days": 1}
    acme = str((await world.onboard("acme", settings={"limits": limits}))["id"])
    await an_hour(world)
    world.clock.advance(days=3)
    [id] = await agents(world, acme, "one")
    for _ in range(2):
        world.clock.advance(days=1)
        await world.functions["rounds"](None)
    left = await trail(world, acme)
    assert [one["resource_id"] for one in left if one["resource_type"] in ("agent", "user", "tenant")] == [id]
    found = await verified(world, acme)
    assert found["ok"] and found["pruned_until"] is not None


async def test_staff_makes_a_new_key_and_old_entries_are_still_good(world: World, acme: str) -> None:
    await agents(world, acme, "one")
    answer = await world.call("rotate_audit_key", STAFF)
    assert (answer.status, len(answer.json["keys"])) == (200, 2)
    await agents(world, acme, "two")
    keys = [one["key_id"] for one in await trail(world, acme)]
    assert keys[-1] == answer.json["current"] != keys[0]
    await an_hour(world)
    assert (await verified(world, acme))["ok"]
    assert (await world.call("rotate_audit_key", admin(acme))).status == 403


async def test_who_makes_a_new_key_is_in_the_platforms_trail(world: World) -> None:
    answer = await world.call("rotate_audit_key", STAFF)
    listed = await world.call(
        "list_audit", STAFF, query={"resource_type": "audit_key"}, headers={"x-tenant-id": PLATFORM_TENANT_ID}
    )
    [entry] = listed.json["items"]
    told = [entry[name] for name in ("action", "resource_id", "user_id", "old_value", "new_value", "key_id")]
    old, new = (one["id"] for one in answer.json["keys"])
    assert told == ["audit_key.requested", new, STAFF.user_id, {"current": old}, {"current": new}, old]


async def test_there_is_no_new_key_where_nobody_can_be_told_of_it(
    world: World, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object) -> None:
        raise Unavailable("The database cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(world.core.directory.open(world.core.directory.flowgrid), "commit", down)
        assert (await world.call("rotate_audit_key", STAFF)).status == 503
    assert len((await world.call("rotate_audit_key", STAFF)).json["keys"]) == 2


async def test_a_trail_is_verified_by_one_at_a_time_and_a_process_verifies_two(
    world: World, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [str((await world.onboard(slug))["id"]) for slug in ("globex", "initech")]
    refresh, go_on = world.core.signatures.refresh, asyncio.Event()
    under_way = asyncio.Semaphore(0)

    async def waiting() -> None:
        under_way.release()
        await go_on.wait()
        await refresh()

    monkeypatch.setattr(world.core.signatures, "refresh", waiting)
    first = [asyncio.ensure_future(world.call("verify_audit", admin(one))) for one in (acme, others[0])]
    for _ in first:
        await under_way.acquire()
    again, another = [await world.call("verify_audit", admin(one)) for one in (acme, others[1])]
    assert [(one.status, one.json["code"], one.headers["Retry-After"]) for one in (again, another)] == [
        (429, "rate_limited", "5"),
        (503, "unavailable", "5"),
    ]
    go_on.set()
    assert [(await one).status for one in first] == [200, 200]
    assert (await verified(world, others[1]))["ok"]


# Reads that are audited


@pytest.fixture
def reads(world: World, acme: str) -> dict[str, Callable[[], Awaitable[Answer]]]:
    who = admin(acme)
    return {
        "tenant": lambda: world.call("export_tenant", who),
        "catalog": lambda: world.call("export_catalog", who),
        "team": lambda: world.call("export_team", who),
        "audit": lambda: world.call("export_audit", who),
    }


@pytest.mark.parametrize("what", ["tenant", "catalog", "team", "audit"])
async def test_who_exports_is_in_the_audit(world: World, acme: str, what: str, reads: Any) -> None:
    await agents(world, acme, "one")
    assert (await reads[what]()).status == 200
    entry = (await trail(world, acme))[-1]
    told = [entry[name] for name in ("action", "resource_type", "resource_id", "user_id", "ip_address")]
    assert told == ["export.read", "export", what, admin(acme).user_id, "198.51.100.7"]


@pytest.mark.parametrize("what", ["tenant", "catalog", "team", "audit"])
async def test_nothing_is_exported_that_cannot_be_noted(
    world: World, acme: str, what: str, reads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agents(world, acme, "one")
    store = (await world.session(acme)).store.control

    async def down(*_: object) -> None:
        raise Unavailable("The database cannot be reached.")

    monkeypatch.setattr(store, "commit", down)
    answer = await reads[what]()
    assert (answer.status, answer.json["code"]) == (503, "unavailable")


async def test_an_export_that_finds_nothing_is_no_read(world: World, acme: str) -> None:
    count = len(await trail(world, acme))
    assert (await world.call("export_team", admin(acme), query={"id": acme})).status == 404
    assert len(await trail(world, acme)) == count


# Files


async def exported(world: World, tenant: str, **query: str) -> tuple[list[dict[str, Any]], list[Answer]]:
    """All files, each found by the `Link` of the one before."""
    entries: list[dict[str, Any]] = []
    answers: list[Answer] = []
    asked: dict[str, str] | None = query
    while asked is not None:
        answer = await world.call("export_audit", admin(tenant), query=asked)
        assert answer.status == 200, answer.raw
        text = answer.raw.decode()
        if query.get("format") == "csv":
            entries += csv.DictReader(io.StringIO(text, newline=""))
        else:
            entries += [json.loads(line) for line in text.splitlines()]
        answers.append(answer)
        link = answer.headers.get("Link")
        assert link is None or (link.startswith("</api/v1/audit/export?") and link.endswith('>; rel="next"'))
        asked = dict(parse_qsl(urlsplit(link[1:].partition(">")[0]).query)) if link else None
    return entries, answers


@pytest.mark.parametrize("format", ["jsonl", "csv"])
async def test_the_trail_is_exported_as_it_is_listed(world: World, acme: str, format: str) -> None:
    ids = await agents(world, acme, "one", "two", "three")
    query = {"format": format, "action": "agent.created", "sort": "created_at", "limit": "2"}
    entries, answers = await exported(world, acme, **query)
    assert [one["resource_id"] for one in entries] == ids
    assert len(answers) == 2
    assert answers[0].headers["Content-Disposition"] == f'attachment; filename="acme-audit-2026-11-24.{format}"'
    listed = (await world.call("list_audit", admin(acme), query={k: query[k] for k in ("action", "sort")})).json
    if format == "jsonl":
        assert entries == listed["items"]
    else:
        assert [json.loads(one["new_value"]) for one in entries] == [one["new_value"] for one in listed["items"]]


async def test_no_cell_is_a_formula(world: World, acme: str) -> None:
    who = admin(acme)
    sent = {"user-agent": "=HYPERLINK(1)"}
    await world.call("create_agent", who, AGENT, headers=sent)
    entries, _ = await exported(world, acme, format="csv", action="agent.created")
    assert [one["user_agent"] for one in entries] == ["'=HYPERLINK(1)"]
    lines, _ = await exported(world, acme, action="agent.created")
    assert [one["user_agent"] for one in lines] == ["=HYPERLINK(1)"]


@pytest.mark.parametrize("name", ["verify_audit", "export_audit"])
async def test_admins_alone_verify_and_export(world: World, acme: str, name: str) -> None:
    assert (await world.call(name, person(acme, Role.USER))).status == 403
    wrong = await world.call(name, admin(acme), query={"created_from": "yesterday"})
    assert wrong.status == 400


# Secrets


def secret_fields(model: type[BaseModel]) -> list[str]:
    extras = {name: one.json_schema_extra for name, one in model.model_fields.items()}
    return [name for name, said in extras.items() if isinstance(said, dict) and said.get("writeOnly")]


def test_bodies_with_secrets_are_those_that_the_canaries_are_sent_in(world: World) -> None:
    bodies = {one.body.model for one in world.core.endpoint.routes if isinstance(one.body, Json | Merge)}
    named = {model.__name__: secret_fields(model) for model in bodies if secret_fields(model)}
    elsewhere = {"NewHook": ["secret"], "HookRotation": ["secret"], "WebhookFields": ["signing_secret"]}  # of their own
    assert named == {"ProviderFields": ["key"], "ToolFields": ["secret"], "McpServerFields": ["secret"]} | elsewhere


async def test_no_secret_is_in_an_entry_nor_in_a_segment(world: World, acme: str) -> None:
    who = admin(acme)
    provider = await world.call("create_provider", who, PROVIDER)
    tool = await world.call("create_tool", who, {**TOOL, "secret": CANARIES[1]})
    peer = {"name": "one", "url": "https://mcp.acme.example/mcp", "secret": CANARIES[1]}
    server = await world.call("create_mcp_server", who, peer)
    made_of_each = {"provider": (provider, "key"), "tool": (tool, "secret"), "mcp_server": (server, "secret")}
    for name, (made, field) in made_of_each.items():
        assert made.status == 201, made.raw
        params = {f"{name}_id": made.json["id"]}
        changed = await world.call(f"patch_{name}", who, {field: CANARIES[2]}, params=params)
        assert changed.status == 200, changed.raw
        gone = await world.call(f"delete_{name}", who, params=params)
        assert gone.status == 204, gone.raw
    said = json.dumps(await trail(world, acme))
    assert all(made.json["id"] in said for made, _ in made_of_each.values())
    assert [canary for canary in CANARIES if canary in said] == []
    lines, _ = await exported(world, acme)
    assert [canary for canary in CANARIES if canary in json.dumps(lines)] == []


async def test_what_is_put_into_a_batch_by_hand_is_signed_too(world: World, acme: str) -> None:
    store = (await world.session(acme)).store.control
    await store.commit([Create(AUDIT, "by-hand", {"created_at": "2026-11-24T12:00:00.000000Z"})])
    assert (await trail(world, acme))[-1]["mac"]
    await store.commit([Delete(AUDIT, "by-hand")])


async def test_a_new_key_that_is_asked_for_again_is_the_same_one(world: World) -> None:
    key = {"idempotency-key": "once"}
    first, again = [await world.call("rotate_audit_key", STAFF, headers=key) for _ in range(2)]
    assert (first.status, again.json, again.headers["Idempotency-Replayed"]) == (200, first.json, "true")

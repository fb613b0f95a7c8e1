"""A tenant's MCP servers: who sets them, what is taken of their tools, and where their secrets are."""

import json
from collections.abc import Awaitable, Mapping
from typing import Any

import pytest

from functions.tools.mcp.calling import McpToolbox
from functions.tools.mcp.models import MAX_DESCRIPTION, MAX_TOOLS_BYTES, McpServer, RefreshQuery, RemoteTool, returned
from functions.tools.mcp.service import McpServerService
from functions.tools.mcp.taking import compared, digest_of, taken
from functions.tools.schemas import MAX_DEPTH
from shared.auth.roles import Role
from shared.database.port import Replace
from shared.errors import PeerFailed
from shared.tenancy.plans import MAX_MCP_SERVERS
from shared.work.kept_secrets import KeptSecrets
from tests.unit.world import Answer, World, admin, person

SECRET, ANOTHER = "sk-canary-one-0123456789", "sk-canary-two-0123456789"
TICKETS = {"name": "tickets", "url": "https://mcp.acme.example/mcp"}
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


@pytest.fixture
async def acme(world: World) -> str:
    return str((await world.onboard("acme", tier="enterprise"))["id"])


async def made(world: World, tenant_id: str, **fields: Any) -> dict[str, Any]:
    answer = await world.call("create_mcp_server", admin(tenant_id), {**TICKETS, **fields})
    assert answer.status == 201, answer.raw
    server: dict[str, Any] = answer.json
    return server


def patched(world: World, tenant_id: str, id: str, body: Any) -> Awaitable[Answer]:
    return world.call("patch_mcp_server", admin(tenant_id), body, params={"mcp_server_id": id})


async def with_tools(world: World, tenant_id: str, id: str, *names: str) -> None:
    """As a refresh has left it."""
    store = (await world.session(tenant_id)).store
    held = await store.get(McpServer.KIND, id)
    assert held is not None
    tools = [tool(name).model_dump() for name in names]
    own = {"tools": tools, "protocol_version": "2026-07-28", "refreshed_at": held.body["updated_at"]}
    await store.commit([Replace(McpServer.KIND, id, {**held.body, **own}, held.etag)])


def tool(name: str, **fields: Any) -> RemoteTool:
    return RemoteTool(**{"name": name, "description": "", "parameters": EMPTY, "digest": "1", **fields})


def said(name: Any = "find", schema: Any = None, **fields: Any) -> dict[str, Any]:
    return {"name": name, "description": "Finds.", "inputSchema": EMPTY if schema is None else schema, **fields}


def one(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}}


# Who, and how many


@pytest.mark.parametrize("role", [Role.VIEWER, Role.USER])
async def test_viewers_and_users_see_servers_and_admins_set_them(world: World, acme: str, role: Role) -> None:
    server, who = await made(world, acme), person(acme, role)
    params = {"mcp_server_id": server["id"]}
    assert (await world.call("get_mcp_server", who, params=params)).json == server
    assert (await world.call("list_mcp_servers", who, query={"name": "tickets"})).json["items"] == [server]
    refused = [
        await world.call("create_mcp_server", who, {**TICKETS, "name": "other"}),
        await world.call("replace_mcp_server", who, TICKETS, params=params, headers={"if-match": "*"}),
        await world.call("patch_mcp_server", who, {"timeout_seconds": 5}, params=params),
        await world.call("delete_mcp_server", who, params=params),
        await world.call("refresh_mcp_server", who, params=params),
    ]
    assert [answer.status for answer in refused] == [403] * 5


async def test_a_tenant_has_so_many_and_a_deleted_one_makes_room(world: World, acme: str) -> None:
    servers = [await made(world, acme, name=f"s{number}") for number in range(MAX_MCP_SERVERS)]
    full = await world.call("create_mcp_server", admin(acme), TICKETS)
    assert (full.status, full.json["code"], full.json["limit"]) == (429, "quota_exceeded", MAX_MCP_SERVERS)
    params = {"mcp_server_id": servers[0]["id"]}
    assert (await world.call("delete_mcp_server", admin(acme), params=params)).status == 204
    again = await made(world, acme, name="s0")
    assert (again["id"], again["revision"]) == (servers[0]["id"], 3)


async def test_a_name_is_one_servers(world: World, acme: str) -> None:
    server = await made(world, acme)
    assert (await world.call("create_mcp_server", admin(acme), TICKETS)).json["code"] == "taken"
    renamed = await patched(world, acme, server["id"], {"name": "other"})
    assert (renamed.status, renamed.json["errors"][0]["field"]) == (400, "name")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "http://mcp.acme.example/"}, "url"),
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": "https://me:pass@mcp.acme.example/"}, "url"),
        ({"url": "https://mcp.acme.example/#a"}, "url"),
        ({"auth_header": "Mcp-Session-Id"}, "auth_header"),
        ({"auth_header": "Host"}, "auth_header"),
        ({"auth_header": "Accept"}, "auth_header"),
        ({"name": "a.b"}, "name"),
        ({"timeout_seconds": 51}, "timeout_seconds"),
        ({"secret": "short"}, "secret"),
        ({"safe": ["find"]}, "safe"),
        ({"idempotent": ["find"]}, "idempotent"),
    ],
)
async def test_what_no_server_can_be_is_refused(world: World, acme: str, fields: dict[str, Any], field: str) -> None:
    answer = await world.call("create_mcp_server", admin(acme), {**TICKETS, **fields})
    assert (answer.status, [one["field"].split(".")[0] for one in answer.json["errors"]]) == (400, [field])


async def test_only_tools_that_were_taken_are_safe_or_idempotent(world: World, acme: str) -> None:
    server = await made(world, acme)
    await with_tools(world, acme, server["id"], "find", "close")
    good = await patched(world, acme, server["id"], {"safe": ["find"], "idempotent": ["find", "close"]})
    assert (good.status, good.json["safe"]) == (200, ["find"])
    for names in (["open"], ["find", "find"]):
        wrong = await patched(world, acme, server["id"], {"safe": names})
        assert (wrong.status, wrong.json["errors"][0]["field"]) == (400, "safe")


async def test_a_call_is_approved_and_not_repeated_after_a_crash_unless_an_admin_says_so(
    world: World, acme: str
) -> None:
    server, session = await made(world, acme), await world.session(acme)
    await with_tools(world, acme, server["id"], "find", "close")
    box = McpToolbox(world.core.adapters.outgoing, KeptSecrets(world.core.adapters.secrets))
    names = ["mcp:tickets.find", "mcp:tickets.close", "mcp:tickets.open", "mcp:other.find", "http:tickets", "mcp:"]
    usual = await box.find(session, names)
    assert {name: (one.approval, one.idempotent) for name, one in usual.items()} == {
        "mcp:tickets.find": (Role.USER, False),
        "mcp:tickets.close": (Role.USER, False),
    }
    said = {"approval": "admin", "safe": ["find"], "idempotent": ["find"]}
    assert (await patched(world, acme, server["id"], said)).status == 200
    told = await box.find(session, names)
    assert {name: (one.approval, one.idempotent) for name, one in told.items()} == {
        "mcp:tickets.find": (None, True),
        "mcp:tickets.close": (Role.ADMIN, False),
    }


async def test_another_address_is_another_server_of_which_nothing_is_known(world: World, acme: str) -> None:
    server = await made(world, acme)
    await with_tools(world, acme, server["id"], "find")
    await patched(world, acme, server["id"], {"safe": ["find"]})
    moved = {"url": "https://mcp.globex.example/mcp"}
    assert (await patched(world, acme, server["id"], moved)).status == 400  # what was safe there is not safe here
    answer = (await patched(world, acme, server["id"], {**moved, "safe": []})).json
    assert (answer["tools"], answer["protocol_version"], answer["refreshed_at"]) == ([], None, None)


async def test_a_secret_does_not_move_to_another_server_unless_it_is_sent_again(world: World, acme: str) -> None:
    server = await made(world, acme, secret=SECRET)
    moved = {"url": "https://mcp.globex.example/mcp"}
    refused = await patched(world, acme, server["id"], moved)
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "secret")
    kept = (await patched(world, acme, server["id"], {"timeout_seconds": 5})).json
    assert kept["secret_reference"] == server["secret_reference"]
    sent = (await patched(world, acme, server["id"], {**moved, "secret": ANOTHER})).json
    gone = (await patched(world, acme, server["id"], {"secret": ""})).json
    assert (sent["has_secret"], gone["has_secret"]) == (True, False)
    session = await world.session(acme)
    kept_secrets = KeptSecrets(world.core.adapters.secrets)
    assert await kept_secrets.get(session, sent["secret_reference"]) == ANOTHER  # calls that have begun end with it


async def test_nothing_holds_the_secret_of_a_server(world: World, log: pytest.LogCaptureFixture, acme: str) -> None:
    params: dict[str, str] = {}
    answers = []
    for name, key in (("tickets", "a"), ("other", "b")):
        body = {**TICKETS, "name": name, "secret": SECRET}
        for sent in (
            body,
            body,
            {**body, "url": "http://x"},
            {**body, "secrets": SECRET},
            {**body, "secret": SECRET * 300},
        ):
            answers.append(await world.call("create_mcp_server", admin(acme), sent, headers={"idempotency-key": key}))
        params["mcp_server_id"] = answers[-5].json["id"]
    answers += [
        await world.call("patch_mcp_server", admin(acme), {"secret": ANOTHER}, params=params),
        await world.call("patch_mcp_server", admin(acme), {"secret": [ANOTHER]}, params=params),
        await world.call(
            "replace_mcp_server",
            admin(acme),
            {**TICKETS, "name": "other", "secret": SECRET},
            params=params,
            headers={"if-match": "*"},
        ),
        await world.call("refresh_mcp_server", admin(acme), params=params),
    ]
    await world.backed_up(acme)
    for name in ("export_tenant", "list_audit", "list_mcp_servers", "list_jobs"):
        answers.append(await world.call(name, admin(acme)))
    await world.core.services.outbox.flush()
    folder = world.core.settings.flowgrid_data_dir
    kept = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in log.records)
    told = b"\n".join([*(answer.raw for answer in answers), logged.encode(), *kept.values()])
    assert [one for one in (SECRET, ANOTHER) if one.encode() in told] == []
    assert any("secret" in path for path in kept)


# What is taken of a list


def test_references_are_put_in_place_and_the_rest_is_as_other_schemas_are() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"who": {"$ref": "#/$defs/Who"}, "when": {"$ref": "#/definitions/When"}},
        "required": ["who"],
        "$defs": {"Who": {"type": "string", "maxLength": 9}},
        "definitions": {"When": {"type": "string"}},
    }
    [found], refused = taken([said(schema=schema)])
    who = {"type": "string", "maxLength": 9}
    assert found.parameters == {
        "type": "object",
        "properties": {"who": who, "when": {"type": "string"}},
        "required": ["who"],
    }
    assert (found.name, found.description, refused) == ("find", "Finds.", [])


def test_patterns_that_cannot_be_matched_in_linear_time_are_left_out() -> None:
    schema = one({"type": "string", "pattern": "^(?=a)b"})
    [found], _ = taken([said(schema=schema)])
    assert found.parameters == one({"type": "string"})
    assert found.digest == digest_of(said(schema=schema)) != digest_of(said(schema=one({"type": "string"})))


def doubling(levels: int) -> dict[str, Any]:
    """Small to send, and of two to the power of its levels when each reference is in place."""
    made = {f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(levels)}
    return {**one({"$ref": "#/$defs/d0"}), "$defs": {**made, f"d{levels}": {"type": "string"}}}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return one(schema)


BOMBS = {
    "doubling": doubling(30),
    "itself": {**one({"$ref": "#/$defs/Tree"}), "$defs": {"Tree": one({"$ref": "#/$defs/Tree"})}},
    "another": one({"$ref": "https://elsewhere.example/schema.json"}),
    "nothing": one({"$ref": "#/$defs/None"}),
    "deep": deep(MAX_DEPTH + 1),
    "deeper": deep(190),
    "wide": one({"enum": ["x" * 1000] * 100}),
    "number": one({"type": "number", "maximum": 2**60}),
    "text": {"type": "string"},
    "list": [],
    "none": "object",
    "false": one({"type": "nonsense"}),
    "headers": one({"type": "string", "x-mcp-header": "Region"}),
}


@pytest.mark.parametrize("schema", BOMBS.values(), ids=BOMBS)
def test_a_schema_that_is_a_bomb_or_none_is_refused_with_its_reason_and_the_others_are_taken(schema: Any) -> None:
    found, [refused] = taken([said("bad", schema), said("good")])
    assert [one.name for one in found] == ["good"]
    assert (refused.name, refused.became, bool(refused.reason)) == ("bad", "refused", True)


def test_a_schema_of_many_patterns_loses_them() -> None:
    many = {f"p{number}": {"type": "string", "pattern": "(a{1,500}){1,500}"} for number in range(60)}
    [found], refused = taken([said(schema={"type": "object", "properties": many})])
    assert refused == [] and "pattern" not in json.dumps(found.parameters)


@pytest.mark.parametrize("name", ["", "a" * 129, "a b", "ä", "a/b", "a\n", None, 5, ["find"]])
def test_a_name_that_no_model_could_call_is_refused(name: Any) -> None:
    found, [refused] = taken([said(name)])
    assert (found, refused.became) == ([], "refused")


def test_of_two_tools_of_one_name_the_first_is_taken() -> None:
    found, [refused] = taken([said(description="One."), said(description="Two.")])
    assert ([one.description for one in found], refused.reason) == (["One."], "another tool is called so")


@pytest.mark.parametrize(("description", "told"), [(None, ""), (5, ""), (" a\nb ", "a\nb"), ("x" * 5000, None)])
def test_a_description_is_text_and_has_a_bound(description: Any, told: str | None) -> None:
    [found], _ = taken([said(description=description)])
    assert found.description == ("x" * MAX_DESCRIPTION if told is None else told)


def test_tools_that_are_too_much_together_are_none() -> None:
    many = [said(f"t{number}", description="x" * MAX_DESCRIPTION) for number in range(MAX_TOOLS_BYTES // 2000)]
    with pytest.raises(PeerFailed) as failed:
        taken(many)
    assert failed.value.code == "mcp_too_large"


def test_a_change_beyond_what_is_shown_is_a_change_all_the_same() -> None:
    before, after = (taken([said(description="x" * 5000 + end)])[0] for end in ("a", "b"))
    assert before[0].description == after[0].description
    assert [one.became for one in compared(before, after)] == ["changed"]


def test_what_became_of_each_tool_is_told() -> None:
    old = [tool("same"), tool("other"), tool("old")]
    new = [tool("same"), tool("other", digest="2"), tool("new")]
    found = {change.name: change.became for change in compared(old, new)}
    assert found == {"old": "gone", "other": "changed", "new": "new"}


# Refreshes that meet


class Telling(McpServerService):
    """One whose server tells at once; `meanwhile`, somebody else is at work."""

    tools: list[RemoteTool]
    meanwhile: Any = None

    async def _told(self, tenant: Any, server: Any) -> Any:
        if self.meanwhile is not None:
            await self.meanwhile()
        return "2026-07-28", self.tools, []


@pytest.fixture
def telling(world: World) -> Telling:
    made = Telling(KeptSecrets(world.core.adapters.secrets), world.core.adapters.outgoing)
    made.tools = [tool("find")]
    return made


async def test_a_refresh_of_a_server_that_has_moved_meanwhile_takes_nothing(
    world: World, acme: str, telling: Telling
) -> None:
    server = await made(world, acme)

    async def moved() -> None:
        assert (await patched(world, acme, server["id"], {"url": "https://mcp.globex.example/mcp"})).status == 200

    telling.meanwhile = moved
    with pytest.raises(Exception, match="was changed while it was asked"):
        await telling.refresh(await world.session(acme), server["id"], RefreshQuery(), None)


async def test_what_is_made_safe_while_a_refresh_asks_stays_safe_if_it_is_as_it_was(
    world: World, acme: str, telling: Telling
) -> None:
    server, session = await made(world, acme), await world.session(acme)
    await with_tools(world, acme, server["id"], "find", "close")

    async def marked() -> None:
        assert (await patched(world, acme, server["id"], {"safe": ["find", "close"]})).status == 200

    telling.meanwhile = marked
    found = await telling.refresh(session, server["id"], RefreshQuery(), None)
    assert (found.safe, [one.name for one in found.tools]) == (["find"], ["find"])
    audited = (await world.call("list_audit", admin(acme), query={"action": "mcp_server.refreshed"})).json["items"]
    assert [entry["resource_id"] for entry in audited] == [server["id"]]


async def test_a_dry_run_changes_nothing(world: World, acme: str, telling: Telling) -> None:
    server, session = await made(world, acme), await world.session(acme)
    seen = await telling.refresh(session, server["id"], RefreshQuery(dry_run=True), None)
    assert [one.became for one in seen.changes] == ["new"] and seen.revision == 1
    shown = await world.call("get_mcp_server", admin(acme), params={"mcp_server_id": server["id"]})
    assert shown.json == server


async def test_a_server_comes_back_with_a_backup_its_tools_and_its_count(world: World, acme: str) -> None:
    server = await made(world, acme, secret=SECRET)
    await with_tools(world, acme, server["id"], "find")
    params = {"mcp_server_id": server["id"]}
    before = (await world.call("get_mcp_server", admin(acme), params=params)).json
    backup = await world.backed_up(acme)
    await world.call("delete_mcp_server", admin(acme), params=params)
    begun = await world.call(
        "create_restore", admin(acme), {"backup_id": backup["id"], "target": "in_place", "confirm": "acme"}
    )
    assert begun.status == 202, begun.raw
    over = await world.settled("get_restore", acme, {"restore_id": begun.json["id"]})
    assert (over["status"], over["report"]["counters"]["mcp_servers"]) == ("succeeded", 1)
    after = (await world.call("get_mcp_server", admin(acme), params=params)).json
    moving = {"revision", "updated_at", "updated_by"}
    assert {**after, **{name: before[name] for name in moving}} == before


# Restores


async def test_a_restore_brings_no_trust_back_that_was_taken_away_since(world: World, acme: str) -> None:
    server = await made(world, acme)
    await with_tools(world, acme, server["id"], "find")
    await patched(world, acme, server["id"], {"safe": ["find"], "idempotent": ["find"], "approval": "none"})
    other = await made(world, acme, name="other")
    backup = await world.backed_up(acme)
    await patched(world, acme, server["id"], {"safe": [], "approval": "admin", "timeout_seconds": 5})
    asked = {"backup_id": backup["id"], "target": "in_place", "confirm": "acme"}
    restore = await world.call("create_restore", admin(acme), asked)
    over = await world.settled("get_restore", acme, {"restore_id": restore.json["id"]})
    assert over["status"] == "succeeded"
    found = (await world.call("list_mcp_servers", admin(acme))).json["items"]
    back = {one["name"]: one for one in found}["tickets"]
    assert (back["safe"], back["idempotent"], back["approval"], back["timeout_seconds"]) == ([], [], "admin", 30)
    assert {one["name"]: one["revision"] for one in found}["other"] == other["revision"]


@pytest.mark.parametrize(
    ("then", "now", "back"),
    [("none", None, "user"), ("none", "none", "user"), ("admin", "none", "admin"), ("user", "admin", "admin")],
)
def test_a_restored_server_wants_the_higher_approval(then: str, now: str | None, back: str) -> None:
    body = {"approval": then, "safe": ["find"], "idempotent": ["find"]}
    once = returned(body, None if now is None else {"approval": now})
    assert once == {"approval": back, "safe": [], "idempotent": []} == returned(body, once)

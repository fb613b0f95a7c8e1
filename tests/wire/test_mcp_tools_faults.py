"""MCP servers that are slow, large, wrong or hostile: what an admin and a model are told, and what never happens."""

import asyncio
import base64
import json
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from functions.tools.mcp import wire
from functions.tools.mcp.calling import McpToolbox
from functions.tools.mcp.models import MAX_TOOLS, McpServer
from functions.tools.mcp.wire import MODERN
from functions.tools.models import MAX_ANSWER_BYTES
from functions.tools.port import Tool, ToolFailed
from shared.database.port import Replace
from shared.outgoing.client import Outgoing
from shared.work.kept_secrets import KeptSecrets
from shared.work.session import TenantSession
from tests.doubles.server import serving
from tests.unit.world import Answer, World, admin

SECRET = "sk-live-0123456789"
ANY = {"type": "object", "properties": {}}
FIND = {"name": "find", "description": "Finds.", "inputSchema": ANY}
FOUND = {"content": [{"type": "text", "text": "found"}]}
Says = Callable[[Mapping[str, Any]], Response]


def result(message: Mapping[str, Any], said: Any, **headers: str) -> Response:
    return JSONResponse({"jsonrpc": "2.0", "id": message.get("id"), "result": said}, headers=headers)


def error(message: Mapping[str, Any], code: int, said: str, status: int = 200) -> Response:
    told = {"code": code, "message": said}
    return JSONResponse({"jsonrpc": "2.0", "id": message.get("id"), "error": told}, status_code=status)


def stream(*messages: Any) -> Response:
    lines = "".join(f"event: message\ndata: {json.dumps(one)}\n\n" for one in messages)
    return Response(f": hello\n\nid: 1\ndata:\n\n{lines}", media_type="text/event-stream")


@dataclass
class Server:
    """Speaks the version without handshakes, but for what a test has it say; `came`: methods and headers."""

    says: dict[str, Says] = field(default_factory=dict)
    came: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    called: threading.Event = field(default_factory=threading.Event)
    hangs: str = ""

    async def handle(self, request: Request) -> Response:
        raw = await request.body()
        message = json.loads(raw) if raw else {"method": request.method}
        method = message["method"]
        self.came.append((method, dict(request.headers)))
        if method == "tools/call":
            self.called.set()
        if method == self.hangs:
            await asyncio.sleep(2)
        if method in self.says:
            return self.says[method](message)
        match method:
            case "server/discover":
                return result(message, {"supportedVersions": [MODERN]})
            case "tools/list":
                return result(message, {"tools": [FIND]})
            case "tools/call":
                return result(message, FOUND)
        return Response(status_code=202)

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.came]

    def with_sessions(self, version: str = "2025-11-25") -> None:
        about = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
        self.says["server/discover"] = lambda message: error(message, -32600, "Missing session ID", 400)
        self.says["initialize"] = lambda message: result(message, about, **{"mcp-session-id": "s-1"})


@dataclass
class Tenant:
    world: World
    session: TenantSession
    server: Server
    id: str = ""

    async def refreshed(self, **query: str) -> Answer:
        params = {"mcp_server_id": self.id}
        return await self.world.call("refresh_mcp_server", admin(self.session.id), params=params, query=query)

    async def tool(self, outgoing: Outgoing | None = None) -> Tool:
        """Once it is taken."""
        answer = await self.refreshed()
        assert answer.status == 200, answer.raw
        self.server.came.clear()
        adapters = self.world.core.adapters
        box = McpToolbox(outgoing or adapters.outgoing, KeptSecrets(adapters.secrets))
        return (await box.named(self.session, ["mcp:one.find"]))["mcp:one.find"]

    async def failed(self, outgoing: Outgoing | None = None, **says: Says) -> tuple[str, str]:
        """The code, and what a model is told, never with the secret."""
        tool = await self.tool(outgoing)
        self.server.says |= {f"tools/{name}": one for name, one in says.items()}
        with pytest.raises(ToolFailed) as failed:
            await tool.use(self.session, {}, "run:1")
        assert SECRET not in "".join(traceback.format_exception(failed.value))
        return failed.value.code, str(failed.value)


@pytest.fixture
async def tenant(tmp_path: Path) -> AsyncIterator[Tenant]:
    server = Server()
    with serving(Starlette(routes=[Route("/mcp", server.handle, methods=["POST", "DELETE", "GET"])])) as address:
        world = World.over(tmp_path, flowgrid_outgoing_allowed=address.removeprefix("http://"))
        session = await world.session(str((await world.onboard("acme"))["id"]))
        body = {"name": "one", "url": f"{address}/mcp", "secret": SECRET, "timeout_seconds": 20}
        made = await world.call("create_mcp_server", admin(session.id), body)
        assert made.status == 201, made.raw
        yield Tenant(world, session, server, made.json["id"])
        await world.close()


async def endless() -> AsyncIterator[bytes]:
    """To whoever reads a megabyte of it; a server that goes on sending to nobody would not stop with its test."""
    for _ in range(100):
        yield b'data: {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}\n\n' * 1000


PACKED = {"content-encoding": "gzip", "content-type": "application/json"}
WRONG: list[tuple[Says, str, str]] = [
    (lambda m: result({"id": 99}, FOUND), "mcp_malformed", "answered another question"),
    (lambda m: result({"id": True}, FOUND), "mcp_malformed", "answered another question"),
    (lambda m: result({"id": str(m["id"])}, FOUND), "mcp_malformed", "answered another question"),
    (lambda m: stream({"jsonrpc": "2.0", "id": 99, "result": FOUND}), "mcp_malformed", "answered another question"),
    (lambda m: JSONResponse([1]), "mcp_malformed", "no JSON-RPC"),
    (lambda m: JSONResponse({"jsonrpc": "2.0", "id": m["id"]}), "mcp_malformed", "without a result"),
    (lambda m: JSONResponse({"jsonrpc": "2.0", "id": m["id"], "result": []}), "mcp_malformed", "without a result"),
    (lambda m: Response("{", media_type="application/json"), "mcp_malformed", "no JSON"),
    (lambda m: Response("[" * 5000, media_type="application/json"), "mcp_malformed", "no JSON"),
    (lambda m: PlainTextResponse("hello"), "mcp_malformed", "text/plain"),
    (lambda m: Response(status_code=202), "mcp_malformed", "gave no answer"),
    (lambda m: stream(), "mcp_malformed", "ended its stream"),
    (lambda m: result(m, {"content": "text"}), "mcp_malformed", "no result of a tool"),
    (lambda m: result(m, {"resultType": "input_required"}), "mcp_malformed", "ask something back"),
    (lambda m: result(m, {"structuredContent": "x" * MAX_ANSWER_BYTES}), "mcp_too_large", "bytes"),
    (lambda m: stream({"id": m["id"], "result": "x" * MAX_ANSWER_BYTES}), "mcp_too_large", "bytes"),
    (lambda m: StreamingResponse(endless(), media_type="text/event-stream"), "mcp_too_large", "values"),
    (lambda m: Response(b"\x1f\x8b", headers=PACKED), "mcp_too_large", "packed"),
    (lambda m: RedirectResponse("http://169.254.169.254/"), "mcp_status", "redirects are not followed"),
    (lambda m: Response(status_code=500), "mcp_status", "answered 500"),
    (lambda m: Response(status_code=404), "mcp_status", "answered 404"),
    (lambda m: Response(status_code=401), "mcp_unauthorized", "answered 401"),
    (lambda m: error(m, -32000, "no", 403), "mcp_unauthorized", "answered 403"),
    (lambda m: error(m, -32602, "no such  tool"), "mcp_error", "one answered with error -32602: no such tool."),
    (lambda m: error(m, -32603, "x" * 900, 500), "mcp_error", "error -32603: " + "x" * 500 + "."),
    (lambda m: error({}, -32700, "unread", 400), "mcp_error", "error -32700: unread"),
]


@pytest.mark.parametrize(("says", "code", "said"), WRONG)
async def test_what_is_no_answer_has_a_name_and_is_told_in_words(
    tenant: Tenant, says: Says, code: str, said: str
) -> None:
    found, told = await tenant.failed(call=says)
    assert (found, said in told) == (code, True), told


@pytest.mark.parametrize(("says", "code", "said"), WRONG[:3] + WRONG[16:])
async def test_an_admin_is_told_the_same_of_a_refresh_and_nothing_is_taken(
    tenant: Tenant, says: Says, code: str, said: str
) -> None:
    tenant.server.says["tools/list"] = says
    answer = await tenant.refreshed()
    assert (answer.status, answer.json["code"]) == (502, code)
    assert answer.json["detail"].startswith("one ") and said.removeprefix("one ").rstrip(".") in answer.json["detail"]
    shown = await tenant.world.call("get_mcp_server", admin(tenant.session.id), params={"mcp_server_id": tenant.id})
    assert (shown.json["revision"], shown.json["tools"], shown.json["protocol_version"]) == (1, [], None)


@pytest.mark.parametrize(
    ("at", "says", "unknown"),
    [
        ("call", lambda m: stream(), True),
        ("call", lambda m: result(m, {"structuredContent": "x" * MAX_ANSWER_BYTES}), True),
        ("call", lambda m: Response("{", media_type="application/json"), True),
        ("call", lambda m: error(m, -32603, "no"), False),
        ("call", lambda m: result(m, {"content": "text"}), False),
        ("call", lambda m: Response(status_code=401), False),
        ("list", lambda m: stream(), False),
        ("list", lambda m: result(m, {"tools": []}), False),
    ],
)
async def test_of_a_call_that_has_gone_out_and_has_no_whole_answer_nobody_knows(
    tenant: Tenant, at: str, says: Says, unknown: bool
) -> None:
    tool = await tenant.tool()
    tenant.server.says[f"tools/{at}"] = says
    with pytest.raises(ToolFailed) as failed:
        await tool.use(tenant.session, {}, "run:1")
    assert failed.value.unknown == unknown


async def test_what_else_a_server_says_on_its_stream_is_passed_over(tenant: Tenant) -> None:
    tool = await tenant.tool()
    tenant.server.says["tools/call"] = lambda m: stream(
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "looking"}},
        {"jsonrpc": "2.0", "id": m["id"], "method": "sampling/createMessage", "params": {}},
        {"jsonrpc": "2.0", "id": m["id"], "result": FOUND},
        {"jsonrpc": "2.0", "id": m["id"], "result": {"content": []}},
    )
    assert await tool.use(tenant.session, {}, "run:1") == "found"


# Time


async def test_who_hangs_is_given_up(tenant: Tenant) -> None:
    params = {"mcp_server_id": tenant.id}
    who = admin(tenant.session.id)
    assert (await tenant.world.call("patch_mcp_server", who, {"timeout_seconds": 1}, params=params)).status == 200
    tool = await tenant.tool()
    tenant.server.hangs = "tools/call"
    with pytest.raises(ToolFailed, match="did not answer within 1 s; whether it has done") as failed:
        await tool.use(tenant.session, {}, "run:1")
    assert (failed.value.code, failed.value.unknown) == ("mcp_too_slow", True)


async def test_a_call_that_is_cancelled_ends_at_once(tenant: Tenant) -> None:
    tenant.server.with_sessions()
    tool = await tenant.tool()
    tenant.server.hangs = "tools/call"
    call = asyncio.create_task(tool.use(tenant.session, {}, "run:1"))
    await asyncio.to_thread(tenant.server.called.wait, 10)
    call.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_an_answer_is_not_lost_by_a_slow_goodbye(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant.server.with_sessions()
    tool = await tenant.tool()
    tenant.server.hangs = "DELETE"
    monkeypatch.setattr(wire, "END_SECONDS", 0.05)
    assert await tool.use(tenant.session, {}, "run:1") == "found"
    assert tenant.server.methods[-1] == "DELETE"


# Sessions and versions


async def test_a_session_that_is_lost_is_begun_again_once(tenant: Tenant) -> None:
    tenant.server.with_sessions()
    tool = await tenant.tool()
    lost = iter([Response(status_code=404)])
    tenant.server.says["tools/call"] = lambda m: next(lost, None) or result(m, FOUND)
    assert await tool.use(tenant.session, {}, "run:1") == "found"
    once = ["initialize", "notifications/initialized", "tools/list", "tools/call"]
    assert tenant.server.methods == [*once, *once, "DELETE"]


async def test_a_server_that_always_loses_its_sessions_is_asked_twice(tenant: Tenant) -> None:
    tenant.server.with_sessions()
    code, _ = await tenant.failed(call=lambda m: Response(status_code=404))
    assert (code, tenant.server.methods.count("tools/call")) == ("mcp_session_lost", 2)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_each_version_with_a_handshake_is_spoken_and_pinned(tenant: Tenant, version: str) -> None:
    tenant.server.with_sessions(version)
    tool = await tenant.tool()
    assert await tool.use(tenant.session, {}, "run:1") == "found"
    headers = [headers for method, headers in tenant.server.came if method != "initialize"]
    assert {(one["mcp-protocol-version"], one["mcp-session-id"]) for one in headers} == {(version, "s-1")}


async def test_a_version_that_nobody_knows_is_refused(tenant: Tenant) -> None:
    tenant.server.with_sessions("2099-01-01")
    answer = await tenant.refreshed()
    assert (answer.status, answer.json["code"]) == (502, "mcp_version")
    assert "speaks '2099-01-01'" in answer.json["detail"] and MODERN in answer.json["detail"]


async def test_a_server_that_has_become_of_another_version_is_refused_until_it_is_refreshed(tenant: Tenant) -> None:
    tenant.server.with_sessions()
    tool = await tenant.tool()
    tenant.server.with_sessions("2025-06-18")
    with pytest.raises(ToolFailed, match="refresh it") as failed:
        await tool.use(tenant.session, {}, "run:1")
    assert failed.value.code == "mcp_version" and "tools/call" not in tenant.server.methods
    assert await (await tenant.tool()).use(tenant.session, {}, "run:1") == "found"


async def test_an_id_of_a_session_that_no_header_can_carry_is_refused(tenant: Tenant) -> None:
    tenant.server.with_sessions()
    about = {"protocolVersion": "2025-11-25"}
    tenant.server.says["initialize"] = lambda m: result(m, about, **{"mcp-session-id": "a b"})
    answer = await tenant.refreshed()
    assert (answer.status, answer.json["code"]) == (502, "mcp_malformed")


# Lists of tools


async def test_a_thousand_tools_are_none(tenant: Tenant) -> None:
    many = [{**FIND, "name": f"t{number}"} for number in range(1000)]
    tenant.server.says["tools/list"] = lambda m: result(m, {"tools": many})
    answer = await tenant.refreshed()
    assert (answer.status, answer.json["code"]) == (502, "mcp_too_large")
    assert f"more than {MAX_TOOLS} tools" in answer.json["detail"]


async def test_pages_without_an_end_have_one(tenant: Tenant) -> None:
    tenant.server.says["tools/list"] = lambda m: result(m, {"tools": [], "nextCursor": "more"})
    answer = await tenant.refreshed()
    assert (answer.status, answer.json["code"]) == (502, "mcp_too_large")
    assert len(tenant.server.came) < 30


@pytest.mark.parametrize("said", [{}, {"tools": {}}, {"tools": [1]}, {"tools": [], "nextCursor": 5}])
async def test_a_list_that_is_none_is_refused(tenant: Tenant, said: Any) -> None:
    tenant.server.says["tools/list"] = lambda m: result(m, said)
    answer = await tenant.refreshed()
    assert (answer.status, answer.json["code"]) == (502, "mcp_malformed")


# Addresses, and the secret


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1"])
async def test_a_name_that_stands_for_a_private_address_is_not_called(tenant: Tenant, address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", address]

    await tenant.tool()
    held = await tenant.session.store.get(McpServer.KIND, tenant.id)
    assert held is not None
    moved = {**held.body, "url": "https://mcp.acme.example/mcp"}
    await tenant.session.store.commit([Replace(McpServer.KIND, tenant.id, moved, held.etag)])
    box = McpToolbox(Outgoing(resolve=resolve), KeptSecrets(tenant.world.core.adapters.secrets))
    tool = (await box.named(tenant.session, ["mcp:one.find"]))["mcp:one.find"]
    with pytest.raises(ToolFailed, match="was not called") as failed:
        await tool.use(tenant.session, {}, "run:1")
    assert failed.value.code == "mcp_unreachable" and address not in str(failed.value)
    assert tenant.server.came == []


async def test_an_address_that_is_allowed_no_more_is_not_called(tenant: Tenant) -> None:
    code, _ = await tenant.failed(Outgoing())
    assert (code, tenant.server.came) == ("mcp_unreachable", [])


async def test_a_secret_that_is_lost_is_told_and_nobody_called(tenant: Tenant) -> None:
    tool = await tenant.tool()
    params = {"mcp_server_id": tenant.id}
    shown = (await tenant.world.call("get_mcp_server", admin(tenant.session.id), params=params)).json
    await tenant.world.core.adapters.secrets.space(tenant.session.id).delete(shown["secret_reference"])
    with pytest.raises(ToolFailed, match="not kept any more"):
        await tool.use(tenant.session, {}, "run:1")
    assert tenant.server.came == []


async def test_a_server_that_repeats_the_secret_tells_it_to_nobody(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    coded = base64.b64encode(SECRET.encode()).decode()
    said = f"Bearer {SECRET}, {coded}"
    tenant.server.says["tools/list"] = lambda m: result(m, {"tools": [{**FIND, "description": said}]})
    tool = await tenant.tool()
    assert tool.spec.description == "Bearer ***, ***"
    tenant.server.says["tools/call"] = lambda m: result(m, {"structuredContent": {SECRET: [said]}})
    assert await tool.use(tenant.session, {}, "run:1") == {"***": ["Bearer ***, ***"]}
    code, told = await tenant.failed(call=lambda m: error(m, -32000, said))
    assert (code, told) == ("mcp_error", "one answered with error -32000: Bearer ***, ***.")
    tenant.server.says["tools/list"] = lambda m: error(m, -32000, said)
    refused = await tenant.refreshed()
    kept = [path.read_bytes() for path in tenant.world.core.settings.flowgrid_data_dir.rglob("*") if path.is_file()]
    for one in (SECRET.encode(), coded.encode()):
        assert one not in refused.raw + caplog.text.encode() + b"".join(kept)
    assert refused.json["code"] == "mcp_error" and len(kept) > 3


@pytest.mark.parametrize("kind", ["said", "refused"])
async def test_an_error_is_not_cut_within_the_secret(tenant: Tenant, kind: str) -> None:
    said = "x" * 490 + SECRET
    content = {"isError": True, "content": [{"type": "text", "text": said}]}
    _, told = await tenant.failed(call=lambda m: result(m, content) if kind == "said" else error(m, 1, said))
    assert told.rstrip(".").endswith("x***")

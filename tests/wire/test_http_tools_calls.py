"""HTTP tools against a real server on this machine: what arrives there, and what comes of every kind of answer."""

import asyncio
import base64
import json
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from functions.tools.calling import HttpToolbox
from functions.tools.port import Tool, ToolFailed
from shared.outgoing.client import Outgoing
from shared.work.kept_secrets import KeptSecrets
from shared.work.session import TenantSession
from tests.doubles.server import serving
from tests.unit.world import World, admin

SECRET = "sk-live-0123456789"
KEY = "run-1:00003:call-1"
ANY = {"type": "object", "properties": {"id": {}, "tags": {}, "note": {}}}


class Server:
    """Keeps what came, and answers as it is told."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[Request], Response] = lambda request: JSONResponse({"ok": True})
        self.called = threading.Event()
        self.hangs = False

    async def handle(self, request: Request) -> Response:
        target = request.scope["raw_path"].decode() + ("?" if request.url.query else "") + request.url.query
        self.came.append((request.method, target, dict(request.headers), await request.body()))
        self.called.set()
        if self.hangs:
            await asyncio.sleep(2)
        return self.answer(request)


class Tools:
    """A tenant whose tools call the server."""

    def __init__(self, world: World, session: TenantSession, address: str, server: Server) -> None:
        self.world = world
        self.session = session
        self.address = address
        self.server = server
        self.secrets = KeptSecrets(world.core.adapters.secrets)
        self.outgoing = world.core.adapters.outgoing

    async def tool(self, path: str = "/x", outgoing: Outgoing | None = None, **fields: Any) -> Tool:
        body = {"name": "one", "url": self.address + path, "parameters": ANY, **fields}
        made = await self.world.call("create_tool", admin(self.session.id), body)
        assert made.status == 201, made.raw
        box = HttpToolbox(outgoing or self.outgoing, self.secrets)
        return (await box.named(self.session, ["http:one"]))["http:one"]

    async def use(self, arguments: dict[str, Any] | None = None, **fields: Any) -> Any:
        return await (await self.tool(**fields)).use(self.session, arguments or {}, KEY)

    async def failed(self, arguments: dict[str, Any] | None = None, **fields: Any) -> str:
        """What the model is told; never with the secret, nor is what goes to the log."""
        tool = await self.tool(**fields)
        with pytest.raises(ToolFailed) as failed:
            await tool.use(self.session, arguments or {}, KEY)
        assert SECRET not in "".join(traceback.format_exception(failed.value))
        return str(failed.value)


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    server = Server()
    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    with serving(Starlette(routes=[Route("/{path:path}", server.handle, methods=every)])) as address:
        world = World.over(tmp_path, flowgrid_outgoing_allowed=address.removeprefix("http://"))
        session = await world.session(str((await world.onboard("acme"))["id"]))
        yield Tools(world, session, address, server)
        await world.close()


# What arrives


async def test_a_get_arrives_as_the_tool_says(tools: Tools) -> None:
    parameters = {**ANY, "required": ["id"]}
    found = await tools.use(
        {"id": "a/b c", "tags": ["x", "y&z"], "note": True},
        path="/claims/{id}?v=1",
        parameters=parameters,
        headers={"X-Client": "acme"},
        secret=SECRET,
        idempotency_header="Idempotency-Key",
    )
    ((method, target, headers, body),) = tools.server.came
    assert (found, method, body) == ({"ok": True}, "GET", b"")
    assert target == "/claims/a%2Fb%20c?v=1&tags=x&tags=y%26z&note=true"
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert (headers["x-client"], headers["idempotency-key"]) == ("acme", KEY)
    assert (headers["user-agent"].partition("/")[0], headers["accept-encoding"]) == ("Flowgrid", "identity")


async def test_whatever_a_provider_calls_its_call_the_key_of_it_arrives(tools: Tools) -> None:
    """It is in a header: what cannot be there would make a call of which nobody knows whether it was made."""
    tool = await tools.tool(idempotency_header="Idempotency-Key")
    await tool.use(tools.session, {}, "run-1:3:aufruf-ä\r\nX-Evil: 1")
    ((_, _, headers, _),) = tools.server.came
    assert headers["idempotency-key"] == "run-1:3:aufruf-%C3%A4%0D%0AX-Evil:%201"
    assert "x-evil" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_body_arrives_as_json(tools: Tools, method: str) -> None:
    fields = {"method": method, "query": ["tags"], "auth_header": "X-Api-Key", "auth_prefix": "", "secret": SECRET}
    await tools.use({"id": {"deep": [1.5]}, "note": "ü", "tags": "t"}, **fields)
    ((sent, target, headers, body),) = tools.server.came
    assert (sent, target, json.loads(body)) == (method, "/x?tags=t", {"id": {"deep": [1.5]}, "note": "ü"})
    assert (headers["content-type"], headers["x-api-key"]) == ("application/json", SECRET)
    assert "authorization" not in headers


async def test_wrong_arguments_call_nobody(tools: Tools) -> None:
    said = await tools.failed({"id": 5}, parameters={"type": "object", "properties": {"id": {"type": "string"}}})
    assert "id" in said
    assert tools.server.came == []


async def test_a_changed_secret_is_sent_by_who_looks_the_tool_up_again(tools: Tools) -> None:
    before = await tools.tool(secret=SECRET)
    listed = (await tools.world.call("list_tools", admin(tools.session.id))).json["items"]
    params = {"tool_id": listed[0]["id"]}
    await tools.world.call("patch_tool", admin(tools.session.id), {"secret": "another-secret"}, params=params)
    after = (await HttpToolbox(tools.outgoing, tools.secrets).named(tools.session, ["http:one"]))["http:one"]
    for tool in (before, after):
        await tool.use(tools.session, {}, KEY)
    assert [headers["authorization"] for _, _, headers, _ in tools.server.came] == [
        f"Bearer {SECRET}",
        "Bearer another-secret",
    ]


async def test_a_secret_that_is_lost_is_told_and_nobody_called(tools: Tools) -> None:
    tool = await tools.tool(secret=SECRET)
    listed = (await tools.world.call("list_tools", admin(tools.session.id))).json["items"]
    await tools.world.core.adapters.secrets.space(tools.session.id).delete(listed[0]["secret_reference"])
    with pytest.raises(ToolFailed, match="not kept any more"):
        await tool.use(tools.session, {}, KEY)
    assert tools.server.came == []


# What is answered


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (JSONResponse({"a": [1, 2.5, None]}), {"a": [1, 2.5, None]}),
        (JSONResponse([1], media_type="application/hal+json"), [1]),
        (JSONResponse("text", status_code=201), "text"),
        (PlainTextResponse("plain ü"), "plain ü"),
        (Response("<a/>", media_type="application/xml"), "<a/>"),
        (Response(b"no type"), "no type"),
        (Response(b"\xff", media_type="text/plain"), "�"),
        (Response(status_code=204), None),
        (JSONResponse(None), None),
    ],
)
async def test_a_good_answer_is_the_result(tools: Tools, answer: Response, result: Any) -> None:
    tools.server.answer = lambda request: answer
    assert await tools.use() == result


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (PlainTextResponse("no  such\nclaim", status_code=404), "one answered 404: no such claim"),
        (PlainTextResponse("x" * 1000, status_code=500), "one answered 500: " + "x" * 500),
        (PlainTextResponse("x" * 300_000, status_code=500), "one answered 500."),
        (Response(status_code=429), "one answered 429."),
        (RedirectResponse("http://169.254.169.254/"), "one answered 307: redirects are not followed."),
        (Response("{", media_type="application/json"), "no JSON, though it says so"),
        (Response("[" * 1000, media_type="application/json"), "no JSON, though it says so"),
        (Response('{"a": NaN}', media_type="application/json"), "no JSON, though it says so"),
        (Response(b"\x89PNG", media_type="image/png"), "image/png, which is neither JSON nor text"),
        (PlainTextResponse("x" * 1025), "more than 1024 bytes"),
        (PlainTextResponse("x" * 300_000), "more than 1024 bytes"),
        (Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}), "or packed"),
    ],
)
async def test_any_other_answer_is_told_in_words(tools: Tools, answer: Response, said: str) -> None:
    tools.server.answer = lambda request: answer
    assert said in await tools.failed(max_answer_bytes=1024, secret=SECRET)


def told(request: Request) -> dict[str, Any]:
    key = request.headers["authorization"]
    return {"headers": dict(request.headers), key: [key, {"b64": base64.b64encode(SECRET.encode()).decode()}]}


async def test_a_server_that_repeats_the_secret_tells_it_to_nobody(
    tools: Tools, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tools.server.answer = lambda request: JSONResponse(told(request))
    result = json.dumps(await tools.use(secret=SECRET))
    assert ('"authorization": "Bearer ***"' in result, '"b64": "***"' in result) == (True, True)
    assert SECRET not in result + caplog.text


async def test_an_error_that_repeats_the_secret_tells_it_to_nobody(
    tools: Tools, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tools.server.answer = lambda request: JSONResponse(told(request), status_code=401)
    assert "Bearer ***" in await tools.failed(secret=SECRET)
    assert SECRET not in caplog.text


async def test_an_error_is_not_cut_within_the_secret(tools: Tools) -> None:
    tools.server.answer = lambda request: PlainTextResponse("x" * 490 + SECRET, status_code=400)
    said = await tools.failed(secret=SECRET)
    assert said.endswith("x***")


async def test_a_cookie_is_not_sent_again(tools: Tools) -> None:
    tools.server.answer = lambda request: Response(headers={"set-cookie": "session=of-acme"})
    tool = await tools.tool()
    for _ in range(2):
        await tool.use(tools.session, {}, KEY)
    assert all("cookie" not in headers for _, _, headers, _ in tools.server.came)


# Trouble


async def test_who_hangs_is_given_up(tools: Tools) -> None:
    tools.server.hangs = True
    said = await tools.failed(timeout_seconds=1)
    assert said == "one did not answer within 1 s; whether it has done what was asked is not known."


async def test_who_never_ends_is_given_up(tools: Tools) -> None:
    async def drops() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x"
            await asyncio.sleep(0.1)

    tools.server.answer = lambda request: StreamingResponse(drops(), media_type="text/plain")
    assert "did not answer within 1 s" in await tools.failed(timeout_seconds=1)


async def test_a_call_that_is_cancelled_ends_at_once(tools: Tools) -> None:
    tools.server.hangs = True
    tool = await tools.tool()
    call = asyncio.create_task(tool.use(tools.session, {}, KEY))
    await asyncio.to_thread(tools.server.called.wait, 10)
    call.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_who_is_not_there_is_told_apart_from_who_may_have_done_it(tools: Tools) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tool = await tools.tool(outgoing=Outgoing(frozenset({("127.0.0.1", port)})))
    tool._tool = tool._tool.model_copy(update={"url": f"http://127.0.0.1:{port}/"})  # type: ignore[attr-defined]
    with pytest.raises(ToolFailed, match="cannot be reached; nothing was done"):
        await tool.use(tools.session, {}, KEY)


async def test_an_address_that_is_allowed_no_more_is_not_called(tools: Tools) -> None:
    tool = await tools.tool(outgoing=Outgoing(), secret=SECRET)
    with pytest.raises(ToolFailed, match="was not called"):
        await tool.use(tools.session, {}, KEY)
    assert tools.server.came == []


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "64:ff9b::7f00:1"])
async def test_a_name_that_stands_for_a_private_address_is_not_called(tools: Tools, address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", address]

    outgoing = Outgoing(tools.outgoing.allowed, resolve=resolve)
    fields = {"url": "https://api.acme.example/", "secret": SECRET}
    tool = await tools.tool(outgoing=outgoing, **fields)
    with pytest.raises(ToolFailed, match="was not called") as failed:
        await tool.use(tools.session, {}, KEY)
    assert address not in str(failed.value)
    assert tools.server.came == []

"""The MCP server, asked by the official SDK in each version that it speaks, and wrongly by nobody's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import azure.functions as func
import httpx2
import mcp.client.session as sdk
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from functions.mcp.service import MAX_BYTES
from functions.mcp.transport import HANDSHAKES, MODERN, VERSIONS
from shared.auth.caller import Caller
from shared.auth.roles import Role
from tests.doubles.models import says
from tests.unit.hooks_world import member
from tests.unit.keys_world import key_of
from tests.unit.runs_world import RunsWorld
from tests.unit.world import Answer, World, person

URL = "https://flowgrid.test/api/v1/mcp"


@pytest.fixture
async def grace(runs: RunsWorld) -> Caller:
    return await member(runs.world, runs.tenant)


def transport(world: World, seen: list[tuple[str, int]]) -> httpx2.MockTransport:
    """As the Functions host: the whole request to a function, its whole answer back."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        name = {"POST": "speak_mcp", "GET": "listen_to_mcp"}[request.method]
        headers = {**request.headers, "x-forwarded-for": "198.51.100.7:50123"}
        asked = func.HttpRequest(request.method, URL, headers=headers, params={}, route_params={}, body=request.content)
        response = await world.functions[name](asked)
        seen.append((request.method, response.status_code))
        told = {"content-type": response.mimetype, **dict(response.headers)}
        return httpx2.Response(response.status_code, headers=told, content=response.get_body())

    return httpx2.MockTransport(answer)


@asynccontextmanager
async def client(world: World, key: str, mode: str) -> AsyncIterator[tuple[Client, list[tuple[str, int]]]]:
    seen: list[tuple[str, int]] = []
    headers = {"authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(transport=transport(world, seen), headers=headers) as http,
        Client(streamable_http_client(URL, http_client=http), mode=mode, read_timeout_seconds=10) as made,
    ):
        yield made, seen


async def key(runs: RunsWorld, grace: Caller, *scopes: str) -> str:
    made = await key_of(runs.world, grace, role="user", scopes=list(scopes or ("read", "execute")))
    return str(made["key"])


async def rpc(world: World, caller: Caller | None, method: str, **params: Any) -> Answer:
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    return await world.call("speak_mcp", caller, body)


@pytest.mark.parametrize("version", [*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS, "auto"])
async def test_the_official_client_does_a_whole_job_by_an_api_key(
    runs: RunsWorld, grace: Caller, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    element = await runs.call("create_element", {"name": "Claims handling", "type": "BusinessProcess"})
    clerk = await runs.agent("clerk", [says("Filed.")], status="active")
    await runs.agent("a draft", [says("Never.")])
    mode = version
    if version in HANDSHAKE_PROTOCOL_VERSIONS:
        monkeypatch.setattr(sdk, "LATEST_HANDSHAKE_VERSION", version)
        mode = "legacy"
    async with client(runs.world, await key(runs, grace), mode) as (mcp, seen):
        assert mcp.protocol_version == ("2026-07-28" if version == "auto" else version)
        tools = {tool.name for tool in (await mcp.list_tools()).tools}
        assert tools == {
            *("list_agents", "run_agent", "get_execution"),
            *("catalog_search", "catalog_read", "catalog_neighbors"),
        }
        found = (await mcp.call_tool("catalog_search", {"name": "claims"})).structured_content
        assert found is not None and [one["id"] for one in found["elements"]] == [element.json["id"]]
        agents = (await mcp.call_tool("list_agents", {})).structured_content
        assert agents is not None and [one["id"] for one in agents["agents"]] == [clerk]
        begun = (await mcp.call_tool("run_agent", {"agent_id": clerk, "input": "My roof."})).structured_content
        assert begun is not None and begun["status"] == "queued"
        await runs.drain()
        over = await mcp.call_tool("get_execution", {"execution_id": begun["execution_id"]})
        assert over.structured_content is not None and not over.is_error
        assert (over.structured_content["status"], over.structured_content["output"]) == ("succeeded", "Filed.")
    assert {status for method, status in seen if method == "POST"} <= {200, 202}
    assert {status for method, status in seen if method == "GET"} <= {405}


def test_each_version_of_the_sdk_is_spoken() -> None:
    assert {*VERSIONS} == {*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS}


async def test_another_tenants_key_sees_nothing(runs: RunsWorld, grace: Caller) -> None:
    element = (await runs.call("create_element", {"name": "Claims handling", "type": "BusinessProcess"})).json["id"]
    clerk = await runs.agent("clerk", [says("Filed.")], status="active")
    run = await runs.start(clerk)
    other = await runs.beside("globex")
    eve = await member(other.world, other.tenant, "eve@globex.example")
    never = "01900000-0000-7000-8000-00000000dead"
    async with client(runs.world, await key(other, eve), "auto") as (mcp, _):
        assert (await mcp.call_tool("list_agents", {})).structured_content == {"agents": [], "more": False}
        nothing = {"elements": [], "more": False}
        assert (await mcp.call_tool("catalog_search", {})).structured_content == nothing
        for name, arguments, given in (
            ("run_agent", {"input": "x"}, ("agent_id", clerk)),
            ("get_execution", {}, ("execution_id", run)),
            ("catalog_read", {}, ("id", element)),
            ("catalog_neighbors", {}, ("id", element)),
        ):
            told = [await mcp.call_tool(name, {**arguments, given[0]: id}) for id in (given[1], never)]
            assert told[0] == told[1] and told[0].is_error, name
    assert len(await runs.runs()) == 1 and await other.runs() == []


async def test_who_may_not_run_agents_may_not_by_mcp(runs: RunsWorld, grace: Caller) -> None:
    clerk = await runs.agent("clerk", [says("Filed.")], status="active")
    draft = await runs.agent("a draft", [says("Never.")])
    asked = {"name": "run_agent", "arguments": {"agent_id": clerk, "input": "x"}}
    viewer = await rpc(runs.world, person(runs.tenant, Role.VIEWER), "tools/call", **asked)
    assert viewer.json["result"]["structuredContent"]["code"] == "role_needed"
    async with client(runs.world, await key(runs, grace, "read"), "auto") as (mcp, _):
        told = await mcp.call_tool("run_agent", asked["arguments"])  # type: ignore[arg-type]
        assert told.is_error and told.structured_content is not None
        assert told.structured_content["code"] == "scope_needed"
    asked["arguments"] = {"agent_id": draft, "input": "x"}
    answer = await rpc(runs.world, grace, "tools/call", **asked)
    assert answer.json["result"]["structuredContent"]["code"] == "wrong_state"
    assert await runs.runs() == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"[]", 400, -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', 400, -32600),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}', 400, -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "resources/list"}', 200, -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "none"}}', 200, -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": []}', 200, -32602),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', 400, -32600),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "ping", '
            b'"params": {"_meta": {"io.modelcontextprotocol/protocolVersion": "2030-01-01"}}}',
            400,
            -32020,
        ),
    ],
)
async def test_what_is_asked_wrongly_is_told_as_json_rpc_does(
    runs: RunsWorld, grace: Caller, body: bytes, status: int, code: int
) -> None:
    answer = await runs.world.call("speak_mcp", grace, body)
    assert (answer.status, answer.json["error"]["code"]) == (status, code)


PING, NEW = {"jsonrpc": "2.0", "id": 1, "method": "ping"}, MODERN[0]
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}


def modern(body: dict[str, Any], version: Any = NEW, **params: Any) -> dict[str, Any]:
    return {**body, "params": {**params, "_meta": {"io.modelcontextprotocol/protocolVersion": version}}}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        *((PING, {"mcp-protocol-version": version}, 200, None) for version in HANDSHAKES),
        (PING, {}, 200, None),
        *((PING, {"mcp-protocol-version": one}, 400, -32022) for one in ("1900-01-01", "2099-01-01", "none", "")),
        ({**PING, "id": None}, {"mcp-protocol-version": "1900-01-01"}, 400, -32022),
        (modern(PING), {"mcp-protocol-version": NEW, "mcp-method": "ping"}, 200, None),
        (modern(PING, "2030-01-01"), {"mcp-protocol-version": "2030-01-01"}, 400, -32022),
        (modern(PING), {"mcp-method": "ping"}, 400, -32020),
        (modern(PING), {"mcp-protocol-version": HANDSHAKES[-1], "mcp-method": "ping"}, 400, -32020),
        (PING, {"mcp-protocol-version": NEW, "mcp-method": "ping"}, 400, -32020),
        (modern(PING), {"mcp-protocol-version": NEW}, 400, -32020),
        (modern(PING), {"mcp-protocol-version": NEW, "mcp-method": "tools/list"}, 400, -32020),
        (modern(CALL, name="run_agent"), {"mcp-protocol-version": NEW, "mcp-method": "tools/call"}, 400, -32020),
        (
            modern(CALL, name="run_agent"),
            {"mcp-protocol-version": NEW, "mcp-method": "tools/call", "mcp-name": "list_agents"},
            400,
            -32020,
        ),
        (
            modern(CALL, name="list_agents"),
            {"mcp-protocol-version": NEW, "mcp-method": "tools/call", "mcp-name": "=?base64?bGlzdF9hZ2VudHM=?="},
            200,
            None,
        ),
        (
            modern(CALL, name="list_agents"),
            {"mcp-protocol-version": NEW, "mcp-method": "tools/call", "mcp-name": "=?base64?!?="},
            400,
            -32020,
        ),
    ],
)
async def test_headers_say_what_the_body_says(
    runs: RunsWorld, grace: Caller, body: Any, headers: dict[str, str], status: int, code: int | None
) -> None:
    answer = await runs.world.call("speak_mcp", grace, body, headers=headers)
    told = answer.json.get("error", {})
    assert (answer.status, told.get("code")) == (status, code), answer.raw
    if code == -32022:
        assert told["data"] == {"supported": [*VERSIONS], "requested": headers["mcp-protocol-version"]}


async def test_a_sessions_id_is_nobodys_and_none_is_given(runs: RunsWorld, grace: Caller) -> None:
    answers = [
        await runs.world.call("speak_mcp", grace, PING, headers={"mcp-session-id": id})
        for id in ("made-up", "x" * 5000)
    ]
    answers.append(await rpc(runs.world, grace, "initialize", protocolVersion=HANDSHAKES[-1]))
    assert [answer.status for answer in answers] == [200] * 3
    assert not any("mcp-session-id" in {**answer.headers} for answer in answers)


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json, text/event-stream", 200),
        ("Application/JSON;q=0.9", 200),
        ("application/*", 200),
        ("text/event-stream, */*;q=0.1", 200),
        ("", 200),
        ("text/event-stream", 406),
        ("text/html", 406),
    ],
)
async def test_who_takes_no_json_gets_none(runs: RunsWorld, grace: Caller, accept: str, status: int) -> None:
    answer = await runs.world.call("speak_mcp", grace, PING, headers={"accept": accept})
    assert answer.status == status and (status == 200 or answer.json["error"]["code"] == -32600)


async def test_pages_of_other_origins_are_refused_whatever_they_call_this_address(tmp_path: Path) -> None:
    """DNS that is bound anew makes a page's own Host lead here."""
    own, friend = "https://flowgrid.acme.example", "https://app.acme.example"
    world = World.over(tmp_path, flowgrid_public_url=own, flowgrid_cors_origins=friend)
    grace = await member(world, str((await world.onboard())["id"]))
    for origin, status in ((own, 200), (friend, 200), ("https://evil.example", 403), ("null", 403), ("", 403)):
        headers = {"origin": origin}
        answer = await world.call("speak_mcp", grace, PING, headers=headers, host="evil.example")
        assert answer.status == status, origin
        listened = await world.call("listen_to_mcp", grace, headers=headers)
        assert listened.status == (405 if status == 200 else 403)
    await world.close()


async def test_arguments_that_are_wrong_are_the_models_to_mend(runs: RunsWorld, grace: Caller) -> None:
    for name in ("run_agent", "catalog_read", "get_execution", "list_agents", "catalog_search"):
        answer = await rpc(runs.world, grace, "tools/call", name=name, arguments={"nonsense": 1})
        assert answer.json["result"]["isError"] and "nonsense" in answer.json["result"]["content"][0]["text"]


@pytest.mark.parametrize("tool", ["list_agents", "run_agent", "catalog_search"])
async def test_what_is_wrong_is_told_in_short_however_long_it_is(runs: RunsWorld, grace: Caller, tool: str) -> None:
    answer = await rpc(runs.world, grace, "tools/call", name=tool, arguments={"x" * 100_000: 1})
    assert answer.json["result"]["isError"] is True and "xxx" in answer.json["result"]["structuredContent"]["error"]
    assert len(answer.raw) < 5000


async def test_a_message_is_bounded_and_so_is_who_calls(runs: RunsWorld, grace: Caller) -> None:
    assert (await runs.world.call("speak_mcp", grace, b" " * (MAX_BYTES + 1))).status == 413
    assert (await runs.world.call("listen_to_mcp", grace)).status == 405
    noted = await runs.world.call("speak_mcp", grace, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (noted.status, noted.raw) == (202, b"")


async def test_who_brings_no_token_is_told_whose_are_taken(runs: RunsWorld) -> None:
    """RFC 9728 §3.3: `resource` is what the client has asked."""
    for name in ("speak_mcp", "listen_to_mcp"):
        refused = await runs.world.call(name, None, {} if name == "speak_mcp" else None)
        metadata = "https://flowgrid.test/api/.well-known/oauth-protected-resource"
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"] == f'Bearer realm="flowgrid", resource_metadata="{metadata}"'
    told = (await runs.world.call("get_protected_resource")).json
    issuers = [one.issuer for one in runs.world.core.settings.flowgrid_issuers]
    assert (told["resource"], told["authorization_servers"]) == (URL, issuers)
    other = await runs.world.call("list_agents")
    assert other.headers["WWW-Authenticate"] == 'Bearer realm="flowgrid"'


async def test_a_public_address_is_told_whatever_host_is_sent(tmp_path: Path) -> None:
    world = World.over(tmp_path, flowgrid_public_url="https://flowgrid.acme.example")
    refused = await world.call("speak_mcp", None, {}, host="evil.example")
    metadata = "https://flowgrid.acme.example/api/.well-known/oauth-protected-resource"
    assert refused.headers["WWW-Authenticate"].endswith(f'resource_metadata="{metadata}"')
    told = await world.call("get_protected_resource", host="evil.example")
    assert told.json["resource"] == "https://flowgrid.acme.example/api/v1/mcp" and b"evil" not in told.raw
    await world.close()


async def test_a_host_that_is_none_is_not_repeated(runs: RunsWorld) -> None:
    refused = await runs.world.call("speak_mcp", None, {}, host='evil",x="')
    assert "evil" not in refused.headers["WWW-Authenticate"]


async def test_a_request_under_an_idempotency_key_is_answered_as_without(runs: RunsWorld, grace: Caller) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    answers = [await runs.world.call("speak_mcp", grace, body, headers={"idempotency-key": "same"}) for _ in range(2)]
    assert [(one.status, json.loads(one.raw)["result"]) for one in answers] == [(200, {})] * 2


@pytest.mark.parametrize(("header", "argument"), [("same", None), (None, "same"), ("same", "another")])
async def test_a_call_that_comes_again_is_the_same_run(
    runs: RunsWorld, grace: Caller, header: str | None, argument: str | None
) -> None:
    clerk = await runs.agent("clerk", [says("Filed.")], status="active")
    headers = {} if header is None else {"idempotency-key": header}

    async def run(caller: Caller, agent: str, said: str = "My roof.", **more: str) -> Any:
        named = {} if argument is None else {"request_id": argument}
        params = {"name": "run_agent", "arguments": {"agent_id": agent, "input": said, **named, **more}}
        body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        told = (await runs.world.call("speak_mcp", caller, body, headers=headers)).json["result"]["structuredContent"]
        return told.get("execution_id") or told["code"]

    first = {await run(grace, clerk)} | {*await asyncio.gather(*(run(grace, clerk) for _ in range(3)))}
    assert len(first) == 1
    await runs.drain()
    await runs.world.call("replace_agent", runs.admin, {"name": "clerk", "pattern": "Specialist", "status": "retired"},
                          params={"agent_id": clerk}, headers={"if-match": "*"})  # fmt: skip
    assert {await run(grace, clerk)} == first
    assert await run(grace, clerk, "My door.") == "unprocessable"
    assert {run.id for run in await runs.runs()} == first
    other = await runs.agent("other", [says("Filed."), says("Filed.")], status="active")
    alan = await member(runs.world, runs.tenant, "alan@acme.example")
    assert len({await run(grace, other), await run(alan, other)} - first) == 2
    before = {one.id for one in await runs.runs()}
    assert (await run(grace, other, request_id="next") in before) == (header is not None)


async def test_the_same_call_at_the_same_moment_is_one_run(runs: RunsWorld, grace: Caller) -> None:
    clerk = await runs.agent("clerk", [says("Filed.")], status="active")
    asked = {"name": "run_agent", "arguments": {"agent_id": clerk, "input": "x", "request_id": "same"}}
    answers = await asyncio.gather(*(rpc(runs.world, grace, "tools/call", **asked) for _ in range(5)))
    assert len({one.json["result"]["structuredContent"]["execution_id"] for one in answers}) == 1
    assert len(await runs.runs()) == 1


async def test_calls_that_do_not_say_which_they_are_are_runs_of_their_own(runs: RunsWorld, grace: Caller) -> None:
    clerk = await runs.agent("clerk", [says("Filed."), says("Filed.")], status="active")
    asked = {"name": "run_agent", "arguments": {"agent_id": clerk, "input": "x"}}
    for _ in range(2):
        await rpc(runs.world, grace, "tools/call", **asked)
    assert len(await runs.runs()) == 2
    long = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": asked}
    told = await runs.world.call("speak_mcp", grace, long, headers={"idempotency-key": "x" * 256})
    assert told.json["result"]["structuredContent"]["code"] == "invalid_request"
    assert len(await runs.runs()) == 2


async def test_many_at_once_are_answered_each_with_its_own(runs: RunsWorld, grace: Caller) -> None:
    async def ask(id: int) -> Any:
        return (await runs.world.call("speak_mcp", grace, {"jsonrpc": "2.0", "id": id, "method": "ping"})).json["id"]

    assert await asyncio.gather(*map(ask, range(20))) == [*range(20)]

"""What one MCP server, or one tenant with its servers, can take of an instance that others use as well."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any

import httpx2
import pytest
from starlette.responses import Response

from functions.tools.mcp import wire
from functions.tools.mcp.errors import McpUnreachable
from functions.tools.mcp.models import McpServer
from functions.tools.mcp.peer import MAX_CONVERSATIONS, Peer
from functions.tools.mcp.wire import MAX_AT_ONCE, MAX_BYTES, MAX_VALUES, MODERN, Wire
from shared.errors import PeerFailed
from shared.outgoing.client import Outgoing
from shared.outgoing.masking import Mask
from shared.outgoing.transport import POOL_SECONDS
from shared.work.kept_secrets import KeptSecrets
from shared.work.session import TenantSession
from tests.unit.world import admin
from tests.wire.test_mcp_tools_faults import FIND, FOUND, SECRET, Tenant, result, stream, tenant

__all__ = ["tenant"]
LONG = "x" * (100 * 1024)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Of each JSON text that is read: its bytes, and whether on the event loop."""
    found = []
    plain = wire._read_json

    def reading(raw: bytes, mask: Mask, most: int) -> tuple[int, Any]:
        found.append((len(raw), threading.current_thread() is threading.main_thread()))
        return plain(raw, mask, most)

    monkeypatch.setattr(wire, "_read_json", reading)
    return found


async def test_a_conversation_has_so_many_bytes_on_however_many_pages(tenant: Tenant) -> None:
    page = {"tools": [], "nextCursor": "more", "x": LONG}
    tenant.server.says["tools/list"] = lambda m: result(m, page)
    answer = await tenant.refreshed()
    assert (answer.status, answer.json["code"]) == (502, "mcp_too_large")
    assert f"more than {MAX_BYTES} bytes" in answer.json["detail"]
    assert tenant.server.methods.count("tools/list") == MAX_BYTES // len(LONG) + 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_conversation_has_so_many_values_and_those_beyond_are_not_looked_at(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    masked = 0
    plain = Mask.over

    def over(self: Mask, value: Any) -> Any:
        nonlocal masked
        masked += 1
        return plain(self, value)

    monkeypatch.setattr(Mask, "over", over)
    many = [1] * (MAX_VALUES // 2)
    page: Mapping[str, Any] = {"tools": [], "nextCursor": "more", "x": many}
    if streamed:
        tenant.server.says["tools/list"] = lambda m: stream(*many, *many, *many)
    else:
        tenant.server.says["tools/list"] = lambda m: result(m, page)
    answer = await tenant.refreshed()
    assert (answer.status, answer.json["code"]) == (502, "mcp_too_large")
    assert f"more than {MAX_VALUES} values" in answer.json["detail"]
    assert MAX_VALUES // 2 <= masked <= MAX_VALUES


async def test_who_says_much_is_read_beside_the_event_loop(tenant: Tenant, read: list[tuple[int, bool]]) -> None:
    tool = await tenant.tool()
    assert all(here for _, here in read)
    read.clear()
    tenant.server.says["tools/list"] = lambda m: result(m, {"tools": [FIND], "x": LONG})
    assert await tool.use(tenant.session, {}, "run:1") == "found"
    assert [(size > MAX_AT_ONCE, here) for size, here in read] == [(True, False), (False, False)]


async def test_many_small_events_are_much_as_well(tenant: Tenant, read: list[tuple[int, bool]]) -> None:
    tool = await tenant.tool()
    read.clear()
    said = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "y" * 1000}}
    tenant.server.says["tools/call"] = lambda m: stream(
        *[said] * 200, {"jsonrpc": "2.0", "id": m["id"], "result": FOUND}
    )
    assert await tool.use(tenant.session, {}, "run:1") == "found"
    assert sum(size for size, here in read if here) <= 2 * MAX_AT_ONCE and not read[-1][1]


async def test_a_tenant_refreshes_two_servers_at_a_time(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, going_on = asyncio.Semaphore(0), asyncio.Event()

    async def talk(*_: Any) -> tuple[str, list[Any]]:
        begun.release()
        await going_on.wait()
        return MODERN, []

    monkeypatch.setattr(Peer, "talk", talk)
    two = [asyncio.create_task(tenant.refreshed(dry_run="true")) for _ in range(2)]
    await begun.acquire()
    await begun.acquire()
    third = await tenant.refreshed(dry_run="true")
    assert (third.status, third.json["code"]) == (409, "contended")
    going_on.set()
    assert [(await one).status for one in two] == [200, 200]
    assert (await tenant.refreshed(dry_run="true")).status == 200


async def test_a_tenant_has_so_many_conversations_and_others_have_theirs(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = tenant.world
    globex = await world.session(str((await world.onboard("globex"))["id"]))
    held = await tenant.session.store.get(McpServer.KIND, tenant.id)
    assert held is not None
    server = McpServer.model_validate({**held.body, "secret_reference": None})
    hurried = server.model_copy(update={"timeout_seconds": 0})
    begun, there, going_on = Counter[str](), asyncio.Event(), asyncio.Event()

    async def work(wire: Wire, version: str) -> str:
        begun[version] += 1
        if version == globex.id:
            there.set()
        await going_on.wait()
        return version

    async def opened(self: Wire, pinned: str | None) -> str:
        return str(pinned)

    monkeypatch.setattr(Wire, "open", opened)

    def talk(session: TenantSession, server: McpServer) -> Awaitable[str]:
        peer = Peer(server, world.core.adapters.outgoing, KeptSecrets(world.core.adapters.secrets))
        return peer.talk(session, session.id, work)

    many = [asyncio.ensure_future(talk(tenant.session, server)) for _ in range(MAX_CONVERSATIONS + 1)]
    another = asyncio.ensure_future(talk(globex, server))
    await there.wait()
    assert begun[tenant.session.id] == MAX_CONVERSATIONS
    with pytest.raises(McpUnreachable, match="nothing was done"):
        await talk(tenant.session, hurried)
    going_on.set()
    await asyncio.gather(*many, another)
    assert begun == {tenant.session.id: MAX_CONVERSATIONS + 1, globex.id: 1}


async def test_where_all_connections_are_taken_nothing_was_done() -> None:
    def taken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.PoolTimeout("", request=request)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(taken)) as client:
        with pytest.raises(McpUnreachable, match="nothing was done"):
            await Wire(client, "https://x.example/", {}, Mask(None)).open("2025-11-25")
    outgoing = Outgoing()
    assert outgoing.client().timeout.pool == POOL_SECONDS
    await outgoing.close()


# The secret


async def test_a_media_type_does_not_tell_the_secret_in_small_letters(tenant: Tenant) -> None:
    secret = "Sk-LIVE-0123456789"
    who, params = admin(tenant.session.id), {"mcp_server_id": tenant.id}
    assert (await tenant.world.call("patch_mcp_server", who, {"secret": secret}, params=params)).status == 200
    code, told = await tenant.failed(call=lambda m: Response("x", media_type=f"text/{secret}"))
    assert (code, "***" in told, secret.lower() in told.lower()) == ("mcp_malformed", True, False)


async def test_what_trouble_says_of_the_secret_is_masked_whoever_says_it(tenant: Tenant) -> None:
    held = await tenant.session.store.get(McpServer.KIND, tenant.id)
    assert held is not None
    adapters = tenant.world.core.adapters
    peer = Peer(McpServer.model_validate(held.body), adapters.outgoing, KeptSecrets(adapters.secrets))

    async def work(wire: Wire, version: str) -> None:
        raise PeerFailed(f"said {SECRET}")

    with pytest.raises(PeerFailed) as failed:
        await peer.talk(tenant.session, MODERN, work)
    assert (failed.value.message, str(failed.value)) == ("said ***", "said ***")

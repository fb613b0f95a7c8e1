"""An MCP server without sessions: one message in, one answer out (https://modelcontextprotocol.io/specification).

The SDK's server is an ASGI app with tasks of its own; a function has a request and an answer. Of the protocol there is
what tools need: `initialize` or `server/discover`, `ping`, `tools/list`, `tools/call`; what is added to results by the
version without handshakes, older clients leave out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

from functions.mcp.tools import Offers
from functions.mcp.transport import HANDSHAKES, VERSIONS, RpcError, check_accept, check_version
from shared.version import VERSION
from shared.work.session import TenantSession

MAX_BYTES: Final = 256 * 1024
MAX_ID: Final = 200
WHOLE: Final = {"resultType": "complete"}
KEPT: Final = {"ttlMs": 0, "cacheScope": "private", **WHOLE}
INSTRUCTIONS: Final = (
    "The enterprise's architecture is in the catalog tools. Agents run behind the answer: "
    "`run_agent` tells an id, `get_execution` what came of it."
)


@dataclass(frozen=True)
class Reply:
    """An answer and its status; None: of a notification, which gets none (202)."""

    message: dict[str, Any] | None
    status: int

    @property
    def body(self) -> bytes:
        return b"" if self.message is None else json.dumps(self.message, ensure_ascii=False).encode(errors="replace")


class McpService:
    def __init__(self, offers: Offers) -> None:
        self._offers = offers

    async def answer(self, session: TenantSession, headers: Mapping[str, str], body: bytes) -> Reply:
        """What stands against a message is told as JSON-RPC does; what fails on our side is a problem as elsewhere."""
        id: Any = None
        try:
            check_accept(headers.get("accept"))
            message = _read(body)
            id = message.get("id")
            if isinstance(id, bool) or not isinstance(id, str | int | None) or len(str(id)[: MAX_ID + 1]) > MAX_ID:
                id = None
                raise RpcError(-32600, "The id should be a number or a text of at most 200 characters.", 400)
            check_version(headers, message)
            if id is None:
                return Reply(None, 202)
            params = message.get("params")
            given, key = params if isinstance(params, dict) else {}, headers.get("idempotency-key")
            result = await self._result(session, message["method"], given, key)
        except RpcError as error:
            told = {"code": error.code, "message": str(error), **({} if error.data is None else {"data": error.data})}
            return Reply({"jsonrpc": "2.0", "id": id, "error": told}, error.status)
        return Reply({"jsonrpc": "2.0", "id": id, "result": result}, 200)

    async def _result(
        self, session: TenantSession, method: str, params: Mapping[str, Any], key: str | None
    ) -> dict[str, Any]:
        match method:
            case "initialize":
                asked = params.get("protocolVersion")
                version = asked if asked in HANDSHAKES else HANDSHAKES[-1]
                return {"protocolVersion": version, **_about()}
            case "server/discover":
                return {"supportedVersions": [*VERSIONS], **_about(), **KEPT}
            case "ping":
                return {}
            case "tools/list":
                return {"tools": await self._tools(session), **KEPT}
            case "tools/call":
                return await self._call(session, params, key)
        raise RpcError(-32601, f"There is no method {method[:100]!r} here.")

    async def _tools(self, session: TenantSession) -> list[dict[str, Any]]:
        return [
            {
                "name": one.name,
                "description": one.description,
                "inputSchema": {**one.schema},
                "annotations": {"readOnlyHint": one.reads, "destructiveHint": False, "openWorldHint": not one.reads},
            }
            for one in (await self._offers.all(session)).values()
        ]

    async def _call(self, session: TenantSession, params: Mapping[str, Any], key: str | None) -> dict[str, Any]:
        name, arguments = params.get("name"), params.get("arguments") or {}
        offer = (await self._offers.all(session)).get(name) if isinstance(name, str) else None
        if offer is None:
            raise RpcError(-32602, "There is no such tool; `tools/list` tells those that there are.")
        if not isinstance(arguments, dict):
            raise RpcError(-32602, "The arguments should be an object.")
        said, wrong = await self._offers.use(session, offer, arguments, key)
        text = {"type": "text", "text": json.dumps(said, ensure_ascii=False)}
        return {"content": [text], "structuredContent": said, "isError": wrong, **WHOLE}


def _read(body: bytes) -> dict[str, Any]:
    try:
        message = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RpcError(-32700, "The body is no JSON.", 400) from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        raise RpcError(-32600, "The body should be one request of JSON-RPC 2.0.", 400)
    return message


def _about() -> dict[str, Any]:
    return {
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "flowgrid", "title": "Flowgrid", "version": VERSION},
        "instructions": INSTRUCTIONS,
    }

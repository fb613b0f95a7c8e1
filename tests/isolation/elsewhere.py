"""What lies outside of a site: MCP servers at one host, and nobody else who can be reached."""

import json
from typing import Any

import httpx2

from functions.tools.mcp.wire import MODERN
from shared.outgoing.client import Outgoing

MCP_HOST = "mcp.acme.example"
TOOL = {"name": "find_ticket", "description": "Finds a ticket.", "inputSchema": {"type": "object", "properties": {}}}
RESULTS: dict[str, dict[str, Any]] = {
    "server/discover": {"supportedVersions": [MODERN]},
    "tools/list": {"tools": [TOOL]},
    "tools/call": {"content": [{"type": "text", "text": "It is open."}]},
}


class Elsewhere(Outgoing):
    """`asked`: the headers of each call to an MCP server."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, str]] = []

    def client(self, *, max_bytes: int = 0, seconds: float = 0) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.host != MCP_HOST:
            raise httpx2.ConnectError("nobody is there")
        self.asked.append(dict(request.headers))
        message = json.loads(request.content)
        return httpx2.Response(200, json={"jsonrpc": "2.0", "id": message["id"], "result": RESULTS[message["method"]]})

"""An MCP server by the official SDK, on real HTTP: it offers the tools it is given, and remembers what it was sent."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp.server.lowlevel.server import Server
from sse_starlette.sse import AppStatus
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.doubles.server import serving

FIND = types.Tool(
    name="find_ticket",
    description="Finds a ticket by its number.",
    input_schema={
        "type": "object",
        "properties": {"number": {"$ref": "#/$defs/Number"}},
        "required": ["number"],
        "$defs": {"Number": {"type": "integer", "minimum": 1}},
    },
)
CLOSE = types.Tool(name="close_ticket", description="Closes it.", input_schema={"type": "object", "properties": {}})


@dataclass(frozen=True)
class Sent:
    """One request; `rpc`: the method in its body."""

    method: str
    rpc: str | None
    headers: Mapping[str, str]


@dataclass
class McpDouble:
    """`old`: it knows nothing of the version without handshakes. `used`: calls of tools, with their arguments."""

    json_answers: bool
    stateless: bool
    old: bool
    url: str = ""
    tools: list[types.Tool] = field(default_factory=lambda: [FIND, CLOSE])
    page: int = 1
    result: types.CallToolResult | None = None
    sent: list[Sent] = field(default_factory=list)
    used: list[tuple[str, dict[str, Any] | None]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """As FLOWGRID_OUTGOING_ALLOWED has it."""
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def asked(self) -> list[str | None]:
        return [one.rpc or one.method for one in self.sent]

    async def list_tools(self, ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        begin = int(params.cursor) if params is not None and params.cursor else 0
        end = begin + self.page
        more = str(end) if end < len(self.tools) else None
        return types.ListToolsResult(tools=self.tools[begin:end], next_cursor=more)

    async def call_tool(self, ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        self.used.append((params.name, params.arguments))
        if self.result is not None:
            return self.result
        found = {"ticket": (params.arguments or {}).get("number"), "state": "open"}
        text = types.TextContent(type="text", text=json.dumps(found))
        return types.CallToolResult(content=[text], structured_content=found)

    def app(self) -> ASGIApp:
        server = Server("tickets", version="1", on_list_tools=self.list_tools, on_call_tool=self.call_tool)
        inner = server.streamable_http_app(json_response=self.json_answers, stateless_http=self.stateless)

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await inner(scope, receive, send)
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            body, parts = b"", list[Message]()
            while not parts or parts[-1].get("more_body"):
                parts.append(await receive())
                body += parts[-1].get("body", b"")
            rpc = json.loads(body)["method"] if body else None
            self.sent.append(Sent(scope["method"], rpc, headers))
            if self.old and rpc == "server/discover":
                return await _missing_session(send)

            async def again() -> Message:
                return parts.pop(0) if parts else await receive()

            await inner(scope, again, send)

        return watched


async def _missing_session(send: Send) -> None:
    """As servers of earlier releases answer what comes without a handshake."""
    error = {"code": -32600, "message": "Bad Request: Missing session ID"}
    raw = json.dumps({"jsonrpc": "2.0", "id": "server-error", "error": error}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": raw})


@contextmanager
def mcp_double(*, json_answers: bool, stateless: bool, old: bool) -> Iterator[McpDouble]:
    # The library keeps for the whole process that a server was told to end by a signal, and then cuts each stream off.
    AppStatus.should_exit = False
    double = McpDouble(json_answers, stateless, old)
    with serving(double.app(), lifespan="on") as address:
        double.url = f"{address}/mcp"
        yield double

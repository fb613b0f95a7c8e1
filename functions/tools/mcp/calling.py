"""Tools of MCP servers at work: one call in one conversation, of a tool that is still what it was when it was taken."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from functions.tools.mcp.errors import McpChanged, McpMalformed, in_short
from functions.tools.mcp.models import McpServer, RemoteTool, mcp_server_id
from functions.tools.mcp.peer import Peer, pages
from functions.tools.mcp.taking import digest_of
from functions.tools.mcp.wire import Wire
from functions.tools.models import MAX_ANSWER_BYTES
from functions.tools.port import Tool, Toolbox, ToolFailed
from functions.tools.schemas import wrong_with_arguments
from shared.ai.port import ToolSpec
from shared.auth.roles import Role
from shared.errors import PeerFailed
from shared.outgoing.client import Outgoing
from shared.work.kept_secrets import KeptSecrets
from shared.work.session import TenantSession

PREFIX: Final = "mcp:"
MAX_PARTS: Final = 100  # of a result
MAX_NAMED: Final = 300  # characters of what a part is named by


class McpTool:
    """A `Tool` of a server."""

    def __init__(self, server: McpServer, tool: RemoteTool, peer: Peer) -> None:
        self._server = server
        self._tool = tool
        self._peer = peer

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(f"mcp_{self._server.name}_{self._tool.name}", self._tool.description, self._tool.parameters)

    @property
    def idempotent(self) -> bool:
        return self._tool.name in self._server.idempotent

    @property
    def approval(self) -> Role | None:
        return self._server.approver(self._tool.name)

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        """What the server calls structured, or its text. `ToolFailed`, by the code of what went wrong, for all else.

        The protocol has no key of a call.
        """
        if wrong := wrong_with_arguments(self._tool.parameters, arguments):
            raise ToolFailed(wrong)

        async def work(wire: Wire, version: str) -> Mapping[str, Any]:
            await self._check(wire)
            call = {"name": self._tool.name, "arguments": dict(arguments)}
            return await wire.ask("tools/call", call, MAX_ANSWER_BYTES)

        try:
            result = await self._peer.talk(session, self._server.protocol_version, work)
            found = _read(result)
        except PeerFailed as failed:
            raise ToolFailed(f"{self._server.name} {failed.message}.", failed.code) from None
        if result.get("isError") is True:
            said = found if isinstance(found, str) else str(found)
            raise ToolFailed(f"{self._server.name} says of {self._tool.name}: {in_short(said)}")
        return found

    async def _check(self, wire: Wire) -> None:
        """`McpChanged` where the server means something else by the name than what was taken."""
        async for page in pages(wire):
            for said in page:
                if said.get("name") == self._tool.name:
                    if digest_of(said) == self._tool.digest:
                        return
                    raise McpChanged(f"says something else of {self._tool.name} than when it was taken; not called")
        raise McpChanged(f"offers no {self._tool.name} any more; not called")


class McpToolbox(Toolbox):
    """`mcp:<server>.<tool>`: as it was taken from the tenant's server of this name, one point read for each server."""

    def __init__(self, outgoing: Outgoing, secrets: KeptSecrets) -> None:
        self._outgoing = outgoing
        self._secrets = secrets

    async def find(self, session: TenantSession, names: Sequence[str]) -> dict[str, Tool]:
        wanted = {name: _parts(name) for name in names if name.startswith(PREFIX)}
        servers = list(dict.fromkeys(server for server, _ in wanted.values()))
        read = await asyncio.gather(*(session.store.get(McpServer.KIND, mcp_server_id(one)) for one in servers))
        there = {
            name: McpServer.model_validate(stored.body)
            for name, stored in zip(servers, read, strict=True)
            if stored is not None
        }
        found: dict[str, Tool] = {}
        for name, (server_name, tool_name) in wanted.items():
            server = there.get(server_name)
            tool = next((one for one in server.tools if one.name == tool_name), None) if server else None
            if server is not None and tool is not None:
                found[name] = McpTool(server, tool, Peer(server, self._outgoing, self._secrets))
        return found


def _parts(name: str) -> tuple[str, str]:
    server, _, tool = name.removeprefix(PREFIX).partition(".")
    return server, tool


def _read(result: Mapping[str, Any]) -> Any:
    """Images, sounds and files are named and left out: a run keeps text."""
    if result.get("resultType", "complete") != "complete":
        raise McpMalformed("wants to ask something back, which is not spoken here")
    structured, parts = result.get("structuredContent"), result.get("content", [])
    if structured is not None:
        return structured
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise McpMalformed("has answered with what is no result of a tool")
    said = [_said(part) for part in parts[:MAX_PARTS]]
    if len(parts) > MAX_PARTS:
        said.append(f"[{len(parts) - MAX_PARTS} more parts]")
    return "\n".join(said) if said else None


def _said(part: Mapping[str, Any]) -> str:
    match part.get("type"):
        case "text":
            return str(part.get("text", ""))
        case "image" | "audio" as kind:
            return f"[{kind}: {_short(part.get('mimeType'))}, {len(str(part.get('data', '')))} characters of base64]"
        case "resource_link":
            return f"[resource: {_short(part.get('uri'))} {_short(part.get('name'))}]"
        case "resource":
            resource = part.get("resource")
            return f"[resource: {_short(resource.get('uri')) if isinstance(resource, dict) else ''}]"
        case _:
            return "[a part of another kind]"


def _short(value: Any) -> str:
    return value[:MAX_NAMED] if isinstance(value, str) else ""

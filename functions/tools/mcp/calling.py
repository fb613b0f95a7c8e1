"""Tools of MCP servers at work: one call in one conversation, of a tool that is still what it was when it was taken."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from functions.tools.mcp.errors import OF_NO_ANSWER, McpChanged, McpMalformed, McpSessionLost, in_short
from functions.tools.mcp.models import McpServer, RemoteTool, mcp_server_id
from functions.tools.mcp.peer import Peer, pages
from functions.tools.mcp.taking import digest_of
from functions.tools.mcp.wire import Wire
from functions.tools.models import MAX_ANSWER_BYTES
from functions.tools.port import Tool, Toolbox, ToolFailed, fingerprint_of
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

    def __init__(self, server: McpServer, tool: RemoteTool, outgoing: Outgoing, secrets: KeptSecrets) -> None:
        self._server = server
        self._tool = tool
        self._outgoing = outgoing
        self._secrets = secrets

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(f"mcp_{self._server.name}_{self._tool.name}", self._tool.description, self._tool.parameters)

    @property
    def idempotent(self) -> bool:
        return self._tool.name in self._server.idempotent

    @property
    def approval(self) -> Role | None:
        return self._server.approver(self._tool.name)

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self._server.url, self._tool.digest)

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        """What the server calls structured, or its text. `ToolFailed`, by the code of what went wrong, for all else.

        The protocol has no key of a call, so of one without a whole answer nobody knows.
        """
        if wrong := wrong_with_arguments(self._tool.parameters, arguments):
            raise ToolFailed(wrong)

        called = False

        async def work(wire: Wire, version: str) -> Mapping[str, Any]:
            nonlocal called
            await self._check(wire)
            called = True
            call = {"name": self._tool.name, "arguments": dict(arguments)}
            try:
                return await wire.ask("tools/call", call, MAX_ANSWER_BYTES)
            except McpSessionLost:
                called = False
                raise

        try:
            server = await self._current(session)
            result = await Peer(server, self._outgoing, self._secrets).talk(session, server.protocol_version, work)
            called = False  # it was answered
            found = _read(result)
        except PeerFailed as failed:
            unknown = called and isinstance(failed, OF_NO_ANSWER)
            raise ToolFailed(f"{self._server.name} {failed.message}.", failed.code, unknown=unknown) from None
        if result.get("isError") is True:
            said = found if isinstance(found, str) else str(found)
            raise ToolFailed(f"{self._server.name} says of {self._tool.name}: {in_short(said)}")
        return found

    async def _current(self, session: TenantSession) -> McpServer:
        """The server as it is now, whatever it was when the run began to work: an admin's word counts from then on.

        `McpChanged` where the tool is another or gone, or waits for somebody by now; asked for again, it does wait.
        """
        stored, before = await session.store.get(McpServer.KIND, self._server.id), self.approval
        now = None if stored is None else McpServer.model_validate(stored.body)
        tool = None if now is None else now.tool(self._tool.name)
        if now is None or tool is None or (now.url, tool.digest) != (self._server.url, self._tool.digest):
            raise McpChanged(f"has no {self._tool.name} any more that is what it was; not called")
        self._server = now
        if self.approval is not None and (before is None or not before.includes(self.approval)):
            raise McpChanged(f"has a {self._tool.name} that needs an approval by now; not called, ask for it again")
        return now

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
            tool = server.tool(tool_name) if server else None
            if server is not None and tool is not None:
                found[name] = McpTool(server, tool, self._outgoing, self._secrets)
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

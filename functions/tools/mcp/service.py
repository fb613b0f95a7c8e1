"""The service of MCP servers: every rule about them, and nothing about HTTP."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from functions.tools.mcp.errors import McpOtherTools, McpTooLarge
from functions.tools.mcp.models import (
    MAX_TOOLS,
    McpServer,
    McpServerFields,
    RefreshQuery,
    RemoteTool,
    ToolChange,
    mcp_server_id,
)
from functions.tools.mcp.peer import Peer, pages
from functions.tools.mcp.taking import compared, taken
from functions.tools.mcp.wire import Wire
from functions.tools.rules import RESERVED, moved_with_its_secret
from shared.clock import rfc3339
from shared.errors import Contended, FieldError, Invalid, PeerFailed, Stale, Taken, WrongState
from shared.outgoing.addresses import wrong_with
from shared.outgoing.client import Outgoing
from shared.outgoing.seats import Seats
from shared.tenancy.plans import MAX_MCP_SERVERS
from shared.work.change import Change
from shared.work.counting import begin_to_count
from shared.work.kept_secrets import KeptSecrets
from shared.work.service import Patch, ResourceService
from shared.work.session import TRIES_AT_A_RACE, TenantSession

NOTHING: dict[str, Any] = {"protocol_version": None, "refreshed_at": None, "tools": [], "changes": []}
COUNTED = "mcp_servers"
MAX_REFRESHES = 2  # of a tenant at a time: each may hold a megabyte of schemas
_REFRESHES = Seats(MAX_REFRESHES)
CARRIED = RESERVED | {"accept", "content-type", "user-agent"}


class McpServerService(ResourceService[McpServer, McpServerFields]):
    """A server's id follows from its name, which stays. What is known of its tools is what the last refresh took."""

    model = McpServer

    def __init__(self, secrets: KeptSecrets, outgoing: Outgoing) -> None:
        self._secrets = secrets
        self._outgoing = outgoing

    async def create(self, tenant: TenantSession, new: McpServerFields) -> McpServer:
        """`Taken` when there is one of this name, `QuotaReached` beyond `MAX_MCP_SERVERS`."""
        self._check(new, None)
        id = mcp_server_id(new.name)
        if await tenant.store.get(McpServer.KIND, id) is not None:
            raise Taken("There is such an MCP server already.", id=id)
        await begin_to_count(tenant, COUNTED)
        kept = await self._secrets.put(tenant, McpServer.KIND, id, new.secret) if new.secret else None
        for _ in range(TRIES_AT_A_RACE):
            buried = (await tenant.buried(McpServer.KIND, [id])).get(id)
            change = tenant.change(*([buried] if buried else []))
            server = change.create(McpServer, {**_fields(new, kept), **NOTHING}, id=id, buried=buried)
            await self._secrets.move(tenant, change, server, None, kept)
            change.count(COUNTED, +1, limit=MAX_MCP_SERVERS, called="MCP server")
            try:
                return await change.commit(server)
            except Stale:
                continue
        raise Contended("Others keep changing this at the same time; try again.")

    async def replace(self, tenant: TenantSession, id: str, new: McpServerFields, if_match: str | None) -> McpServer:
        return await self._change(tenant, id, lambda _: new, if_match)

    async def patch(
        self, tenant: TenantSession, id: str, patch: Patch[McpServerFields], if_match: str | None
    ) -> McpServer:
        return await self._change(tenant, id, patch.onto, if_match)

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """Its secret goes with it. Agents may still name its tools: what they begin says that there are none."""

        async def last(change: Change, old: McpServer) -> None:
            await self._secrets.move(tenant, change, old, old.secret_reference, None)
            change.count(COUNTED, -1)

        await tenant.remove(McpServer, id, if_match=if_match, also=last)

    async def refresh(self, tenant: TenantSession, id: str, asked_for: RefreshQuery, if_match: str | None) -> McpServer:
        """Take the tools as the server has them now; `dry_run`: say what that would make of it. `McpOtherTools` where
        they are not those that are expected.

        `PeerFailed` where the server does not tell, `WrongState` where it has become another meanwhile, `Contended`
        where others are under way.
        """
        asked = await self.get(tenant, id)
        asked.check(if_match)
        seats = _REFRESHES.of(tenant.id)
        if seats.locked():
            raise Contended(f"{MAX_REFRESHES} refreshes are under way; try again when they are over.")
        async with seats:
            version, tools, refused = await self._told(tenant, asked)
        now = rfc3339(tenant.services.clock.now())

        def fields(old: McpServer) -> Mapping[str, Any]:
            if (old.url, old.secret_reference) != (asked.url, asked.secret_reference):
                raise WrongState("This server was changed while it was asked; refresh it again.")
            changes = [*compared(old.tools, tools), *refused]
            as_before = {one.name for one in tools} - {one.name for one in changes if one.became != "refused"}
            return {
                "protocol_version": version,
                "refreshed_at": now,
                "tools": [one.model_dump() for one in tools],
                "changes": [one.model_dump() for one in changes],
                "safe": [name for name in old.safe if name in as_before],
                "idempotent": [name for name in old.idempotent if name in as_before],
            }

        seen = McpServer.model_validate({**asked.model_dump(), **fields(asked)})
        if asked_for.expect not in (None, seen.tools_digest):
            raise McpOtherTools(f"{asked.name} has other tools by now than those that were looked at; look again.")
        if asked_for.dry_run:
            return seen
        return await tenant.modify(McpServer, id, fields, if_match=if_match, action="refreshed")

    async def _told(self, tenant: TenantSession, server: McpServer) -> tuple[str, list[RemoteTool], list[ToolChange]]:
        async def work(wire: Wire, version: str) -> tuple[str, list[Mapping[str, Any]]]:
            found: list[Mapping[str, Any]] = []
            async for page in pages(wire):
                found += page
                if len(found) > MAX_TOOLS:
                    raise McpTooLarge(f"has more than {MAX_TOOLS} tools")
            return version, found

        try:
            version, listed = await Peer(server, self._outgoing, self._secrets).talk(tenant, None, work)
            tools, refused = await asyncio.to_thread(taken, listed)
        except PeerFailed as failed:
            failed.message = f"{server.name} {failed.message}."
            raise
        return version, tools, refused

    async def _change(
        self, tenant: TenantSession, id: str, sent: Callable[[McpServer], McpServerFields], if_match: str | None
    ) -> McpServer:
        """`sent`: what is sent whole, or what a patch makes of the server as it is."""
        before = await self.get(tenant, id)
        before.check(if_match)
        first = sent(before)
        self._check(first, before)
        kept = await self._secrets.put(tenant, McpServer.KIND, id, first.secret) if first.secret else None

        def fields(old: McpServer) -> Mapping[str, Any]:
            new = sent(old)
            self._check(new, old)
            held = old.secret_reference if new.secret is None else kept
            return {**_fields(new, held), **(NOTHING if new.url != old.url else {})}

        async def also(change: Change, old: McpServer, now: McpServer) -> None:
            await self._secrets.move(tenant, change, now, old.secret_reference, now.secret_reference)

        return await tenant.modify(McpServer, id, fields, if_match=if_match, also=also)

    def _check(self, new: McpServerFields, old: McpServer | None) -> None:
        """`Invalid` with all that is wrong."""
        errors = []
        if old is not None and new.name != old.name:
            errors.append(FieldError("name", "stays as it is, for agents name its tools by it", new.name))
        if wrong := wrong_with(new.url, self._outgoing.allowed):
            errors.append(FieldError("url", wrong, new.url))
        elif "#" in new.url:
            errors.append(FieldError("url", "has a fragment, which no server gets to see", new.url))
        keeps = old is not None and old.secret_reference is not None and new.secret is None
        if old is not None and keeps and (moved := moved_with_its_secret(old.url, new.url)):
            errors.append(moved)
        header = new.auth_header.lower()
        if header in CARRIED or header.startswith("mcp-"):
            errors.append(FieldError("auth_header", "is a header of the protocol's own; choose another", header))
        known = {tool.name for tool in old.tools} if old is not None and old.url == new.url else set[str]()
        for field, names in (("safe", new.safe), ("idempotent", new.idempotent)):
            if unknown := [name for name in names if name not in known]:
                errors.append(FieldError(field, "is none of its tools as the last refresh took them", unknown[0]))
            elif len({*names}) < len(names):
                errors.append(FieldError(field, "names one twice", names))
        if errors:
            raise Invalid(errors)


def _fields(sent: McpServerFields, secret_reference: str | None) -> dict[str, Any]:
    """All but the secret."""
    return {**sent.model_dump(exclude={"secret"}), "secret_reference": secret_reference}

"""Whom a tenant's MCP server is: what is asked of it in one conversation, within its seconds, with its secret."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from functions.tools.mcp.errors import (
    NOT_KNOWN,
    McpMalformed,
    McpSessionLost,
    McpTooLarge,
    McpTooSlow,
    McpUnauthorized,
    McpUnreachable,
)
from functions.tools.mcp.models import MAX_SECONDS, McpServer
from functions.tools.mcp.wire import MAX_BYTES, Wire
from shared.errors import PeerFailed
from shared.outgoing.client import Outgoing
from shared.outgoing.masking import Mask
from shared.outgoing.seats import Seats
from shared.work.kept_secrets import KeptSecrets
from shared.work.session import TenantSession

MAX_PAGES: Final = 20  # of a list of tools
MAX_CURSOR: Final = 4096
MAX_CONVERSATIONS: Final = 8  # of a tenant at a time, of the connections that all have
_CONVERSATIONS: Final = Seats(MAX_CONVERSATIONS)
T = TypeVar("T")


class Peer:
    """What a server says goes out of here without the secret, trouble too."""

    def __init__(self, server: McpServer, outgoing: Outgoing, secrets: KeptSecrets) -> None:
        self._server = server
        self._outgoing = outgoing
        self._secrets = secrets

    async def talk(self, session: TenantSession, pinned: str | None, work: Callable[[Wire, str], Awaitable[T]]) -> T:
        """What the work comes to with a wire and the version that is spoken.

        Raises `PeerFailed`. Once more, from the start, where the server has lost the session: nothing was done then.
        """
        server, secret = self._server, None
        if server.secret_reference is not None:
            secret = await self._secrets.get(session, server.secret_reference)
            if secret is None:
                raise McpUnauthorized("was not called: its key is not kept any more; set it again")
        headers = {} if secret is None else {server.auth_header.lower(): server.auth_prefix + secret}
        mask, deadline = Mask(secret), asyncio.get_running_loop().time() + server.timeout_seconds
        seats = _CONVERSATIONS.of(session.id)
        try:
            await _seated(seats, deadline)
            try:
                return await self._once(headers, mask, pinned, work, deadline)
            except McpSessionLost:
                return await self._once(headers, mask, pinned, work, deadline)
            finally:
                seats.release()
        except TimeoutError:
            raise McpTooSlow(f"did not answer within {server.timeout_seconds} s; {NOT_KNOWN}") from None
        except PeerFailed as failed:
            failed.message = mask.text(failed.message)
            failed.args = (failed.message,)
            raise failed from None

    async def _once(
        self,
        headers: Mapping[str, str],
        mask: Mask,
        pinned: str | None,
        work: Callable[[Wire, str], Awaitable[T]],
        deadline: float,
    ) -> T:
        client = self._outgoing.client(max_bytes=MAX_BYTES, seconds=MAX_SECONDS)  # one for all servers
        wire = Wire(client, self._server.url, headers, mask)
        try:
            async with asyncio.timeout_at(deadline):
                return await work(wire, await wire.open(pinned))
        except asyncio.CancelledError:
            wire.forget()
            raise
        finally:
            await wire.end()  # beyond the deadline: what was answered in time is not lost by a slow goodbye


async def _seated(seats: asyncio.Semaphore, deadline: float) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await seats.acquire()
    except TimeoutError:
        raise McpUnreachable(f"was not called: {MAX_CONVERSATIONS} others are under way; nothing was done") from None


async def pages(wire: Wire) -> AsyncIterator[list[Mapping[str, Any]]]:
    """The tools that the server has, as it sends them."""
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        said = await wire.ask("tools/list", {} if cursor is None else {"cursor": cursor})
        tools = said.get("tools")
        if not isinstance(tools, list) or not all(isinstance(one, dict) for one in tools):
            raise McpMalformed("has a list of tools that is none")
        yield tools
        cursor = said.get("nextCursor")
        if cursor is None:
            return
        if not isinstance(cursor, str) or len(cursor) > MAX_CURSOR:
            raise McpMalformed("has a list of tools whose cursor is none")
    raise McpTooLarge(f"has a list of tools of more than {MAX_PAGES} pages")

"""The one way to call what a tenant names: public addresses only, no redirects, answers within bounds.

Nothing is imported before the first client is made; httpx2 takes a while.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from shared.outgoing.addresses import Allowed
from shared.outgoing.resolving import Resolver
from shared.outgoing.seats import Whose
from shared.tracing import Tell

if TYPE_CHECKING:
    import ssl

    import httpx2

MAX_BYTES = 8 * 1024 * 1024
MAX_SECONDS = 600.0
Resolve = Callable[[str, int], Awaitable[list[str]]]


class Outgoing:
    """`allowed`: addresses and ports that are called although they are not public. `tell`: is told of each call.

    `resolve`, `tls`: for tests.
    """

    def __init__(
        self,
        allowed: Allowed = frozenset(),
        *,
        tell: Tell | None = None,
        whose: Whose = str,
        resolve: "Resolve | None" = None,
        tls: "ssl.SSLContext | None" = None,
    ) -> None:
        self.allowed = allowed
        self._tell = tell
        self._whose = whose
        self._resolve = resolve or Resolver(whose)
        self._tls = tls
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[int, float], httpx2.AsyncClient]]
        self._clients = WeakKeyDictionary()

    def client(self, *, max_bytes: int = MAX_BYTES, seconds: float = MAX_SECONDS) -> "httpx2.AsyncClient":
        """The client of these bounds, to be used in the running loop and not to be closed by who uses it.

        A call raises `OutgoingFailed` and its kinds, or what httpx2 raises; `max_bytes` of an answer's body, `seconds`
        from the call to the end of it.
        """
        clients = self._clients.setdefault(asyncio.get_running_loop(), {})
        if (max_bytes, seconds) not in clients:
            from shared.outgoing.transport import guarded_client

            clients[max_bytes, seconds] = guarded_client(
                self.allowed,
                self._resolve,
                self._whose,
                max_bytes=max_bytes,
                seconds=seconds,
                tls=self._tls,
                tell=self._tell,
            )
        return clients[max_bytes, seconds]

    async def close(self) -> None:
        """Close the clients of the running loop; those of a loop that is gone are gone with it."""
        for client in self._clients.pop(asyncio.get_running_loop(), {}).values():
            await client.aclose()

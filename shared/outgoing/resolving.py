"""What names stand for, as the system's resolver says: in threads of their own, of which each tenant takes a few.

A server of names may hang, and a lookup keeps its thread, and so its seat, when nobody waits for it any more.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from shared.outgoing.seats import Seats, Whose, party

MAX_LOOKUPS: Final = 32
MAX_OF_ONE: Final = 4
_THREADS: Final = ThreadPoolExecutor(MAX_LOOKUPS, "resolver")
Lookup = Callable[..., Sequence[tuple[Any, ...]]]


class Resolver:
    """`lookup`: for tests."""

    def __init__(self, whose: Whose, lookup: Lookup = socket.getaddrinfo) -> None:
        self._whose = whose
        self._lookup = lookup
        self._seats = Seats(MAX_OF_ONE)

    async def __call__(self, host: str, port: int) -> list[str]:
        """Addresses. OSError where there are none."""
        seats = self._seats.of(party(self._whose, host))
        await seats.acquire()
        ask = partial(self._lookup, host, port, type=socket.SOCK_STREAM)
        asking = asyncio.get_running_loop().run_in_executor(_THREADS, ask)
        asking.add_done_callback(lambda _: seats.release())
        return [str(info[4][0]) for info in await asyncio.shield(asking)]

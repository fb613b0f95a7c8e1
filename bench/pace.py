"""An open loop: calls begin when it is their time, whether or not those before them are answered.

A call's time runs from when it should have begun, so that who comes while the server is stuck counts as waiting.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.load import Request, answer

MOST_CONNECTIONS = 200
IDLE_SECONDS = 2.0
PATIENCE_SECONDS = 30.0


@dataclass
class Seen:
    """`times` in seconds, and `errors`, what was no success, by kind of call; `refused`: how many were 429."""

    times: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)
    refused: int = 0

    def add(self, kind: str, seconds: float, status: int, body: bytes) -> None:
        self.times.setdefault(kind, []).append(seconds)
        if status == 429:
            self.refused += 1
        if not 200 <= status < 300:
            self.errors.setdefault(kind, []).append(f"{status} {body[:200]!r}")

    def tell(self) -> None:
        """The first few errors."""
        for kind, errors in self.errors.items():
            print(kind, *errors[:3], sep="\n  ")

    @property
    def all(self) -> list[float]:
        return [seconds for times in self.times.values() for seconds in times]

    @property
    def failed(self) -> int:
        return sum(map(len, self.errors.values()))


class Connections:
    """Kept-alive connections, as many as there are calls under way; `OSError` when there would be too many."""

    def __init__(self, base_url: str) -> None:
        address = urlsplit(base_url)
        self._host, self._port, self._name = address.hostname or "", address.port or 80, address.netloc
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._open = 0

    async def ask(self, request: Request) -> tuple[int, bytes]:
        """0 and what went wrong where no answer came."""
        try:
            reader, writer = await self._connection()
        except OSError as error:
            return 0, repr(error).encode()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                writer.write(request.encode(self._name))
                found = await answer(reader)
        except (OSError, EOFError, TimeoutError) as error:
            self._open -= 1
            writer.close()
            return 0, repr(error).encode()
        self._idle.append((time.perf_counter(), reader, writer))
        return found

    async def close(self) -> None:
        while self._idle:
            self._drop()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The one that was used last; those that were long ago may be being closed at the other end."""
        while self._idle and time.perf_counter() - self._idle[0][0] > IDLE_SECONDS:
            self._drop()
        if self._idle:
            return self._idle.pop()[1:]
        if self._open >= MOST_CONNECTIONS:
            raise OSError("too many calls wait")
        self._open += 1
        return await asyncio.open_connection(self._host, self._port)

    def _drop(self) -> None:
        self._idle.pop(0)[2].close()
        self._open -= 1


@asynccontextmanager
async def connected(base_url: str) -> AsyncIterator[Connections]:
    connections = Connections(base_url)
    try:
        yield connections
    finally:
        await connections.close()


async def pace(per_second: float, seconds: float, call: Callable[[float], "asyncio.Future[None]"]) -> None:
    """Begin `call(its time)` so often for so long, and wait for all of them."""
    began, calls = time.perf_counter(), set[asyncio.Future[None]]()
    for number in range(round(per_second * seconds)):
        due = began + number / per_second
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        one = call(due)
        calls.add(one)
        one.add_done_callback(calls.discard)
    await asyncio.gather(*calls)

"""A load of HTTP calls over kept-alive connections: a client so thin that what is measured is the server."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import quantiles
from urllib.parse import urlsplit

CONNECTIONS = 8


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    token: str = ""
    body: bytes = b""
    media_type: str = "application/json"

    def encode(self, host: str) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(self.body)}"]
        if self.body:
            lines.append(f"Content-Type: {self.media_type}")
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Figures:
    """What a load has seen; times in milliseconds."""

    requests: int
    per_second: float
    p50: float
    p95: float
    p99: float
    worst: float

    @classmethod
    def of(cls, seconds: float, times: list[float]) -> "Figures":
        cuts = quantiles(times, n=100, method="inclusive")
        p50, p95, p99 = (round(cuts[at] * 1000, 2) for at in (49, 94, 98))
        return cls(len(times), round(len(times) / seconds, 1), p50, p95, p99, round(max(times) * 1000, 2))


async def load(base_url: str, requests: Callable[[], Iterator[Request]], status: int) -> Figures:
    """Send all of `requests()` over a few connections; RuntimeError when one is not answered with `status`."""
    address = urlsplit(base_url)
    host, port = address.hostname or "", address.port or 80
    waiting = requests()
    times: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            for request in waiting:
                started = time.perf_counter()
                writer.write(request.encode(address.netloc))
                answered, body = await answer(reader)
                times.append(time.perf_counter() - started)
                if answered != status:
                    raise RuntimeError(f"{request.method} {request.path}: {answered} {body[:200]!r}")
        finally:
            writer.close()
            await writer.wait_closed()

    started = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return Figures.of(time.perf_counter() - started, times)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next one."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return int(head[0].split()[1]), await reader.readexactly(int(headers.get("content-length", "0")))

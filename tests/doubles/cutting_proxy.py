"""A TCP proxy before an HTTP server that breaks chosen requests: before it, half-way, after it, or with an answer.

async with CuttingProxy(target_port) as proxy:
    proxy.cut(Cut("answer", at=3))  # the fourth request from now reaches the server, its answer reaches nobody
"""

import asyncio
from dataclasses import dataclass
from typing import Literal

Headers = dict[str, str]


@dataclass(frozen=True)
class Cut:
    """What happens to `times` requests from number `at` (from 0) on.

    `refuse`: the server is not asked, `status` and `code` answer. Note that aiohttp itself repeats a PUT or GET once
    when a kept connection is closed under it, so that a failure takes two.
    """

    how: Literal["before", "half", "answer", "half_answer", "refuse"]
    at: int = 0
    times: int = 1
    status: int = 503
    code: str = "ServerBusy"


class CuttingProxy:
    def __init__(self, target: int) -> None:
        self._target = target
        self._cut: Cut | None = None
        self.requests: list[str] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> "CuttingProxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, cut: Cut | None) -> None:
        """One request from now on; the record begins anew."""
        self._cut = cut
        self.requests = []

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            while await self._exchange(reader, writer, upstream_reader, upstream):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            for one in (writer, upstream):
                one.transport.abort()
            self._tasks.discard(task)

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; False when the connection is over."""
        head = await reader.readuntil(b"\r\n\r\n")
        line, headers = _parsed(head)
        cut = self._cut if self._cut and 0 <= len(self.requests) - self._cut.at < self._cut.times else None
        self.requests.append(line)
        if cut and cut.how == "before":
            return False
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if cut and cut.how == "refuse":
            writer.write(_refusal(cut))
            await writer.drain()
            return True
        if cut and cut.how == "half":
            upstream.write(head + body[: len(body) // 2])
            await upstream.drain()
            return False
        upstream.write(head + body)
        await upstream.drain()
        answer_head, answer = await _answer(upstream_reader, line)
        if cut and cut.how == "answer":
            return False
        if cut and cut.how == "half_answer":
            writer.write(answer_head + answer[: len(answer) // 2])
            await writer.drain()
            writer.write_eof()
            return False
        writer.write(answer_head + answer)
        await writer.drain()
        return True


async def _answer(reader: asyncio.StreamReader, request: str) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    line, headers = _parsed(head)
    if request.startswith("HEAD ") or " 304 " in line or " 204 " in line:
        return head, b""
    if headers.get("transfer-encoding") != "chunked":
        return head, await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while True:
        size = await reader.readline()
        chunk = await reader.readexactly(int(size, 16) + 2)
        body += size + chunk
        if int(size, 16) == 0:
            return head, body


def _parsed(head: bytes) -> tuple[str, Headers]:
    line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    return line, {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}


def _refusal(cut: Cut) -> bytes:
    return f"HTTP/1.1 {cut.status} No\r\nx-ms-error-code: {cut.code}\r\ncontent-length: 0\r\n\r\n".encode()

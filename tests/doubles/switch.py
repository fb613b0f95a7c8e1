"""A TCP proxy before any server, which lets through, refuses, or takes everything and gives nothing back.

async with Switch(target_port) as switch:
    switch.hang()
"""

import asyncio
import socket


class Switch:
    """`port` stays the same. Down: nobody listens, and who was connected is cut off. Hanging: nothing passes any more,
    on the connections that there are, nor on new ones."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._passes = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> "Switch":
        await self.on()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.down()

    async def on(self) -> None:
        """As if nothing were between; whoever waits is served."""
        self._passes.set()
        await self._listen()

    async def hang(self) -> None:
        self._passes.clear()
        await self._listen()

    async def down(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        if self._server is None:
            listener = socket.create_server(("127.0.0.1", self.port))
            self._server = await asyncio.start_server(self._accept, sock=listener)
            self.port = listener.getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            await self._passes.wait()
            back, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(upstream)
            await asyncio.gather(self._pipe(reader, upstream), self._pipe(back, writer))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            for one in (writer, upstream):
                if one is not None:
                    one.transport.abort()
                    self._writers.discard(one)
            self._tasks.discard(task)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while some := await source.read(65536):
            await self._passes.wait()
            sink.write(some)
            await sink.drain()
        sink.write_eof()

"""`python -m cli.legacy.worker FD`: calls to the services in a process beside, asked over a socket that it was given.

Each way go pickles behind their length. First comes the settings, then calls; answers come in any order. It ends when
the socket does: whoever has started it has no more to ask, or is no more.
"""

import asyncio
import signal
import socket
import sys
from asyncio import StreamWriter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from cli.errors import CliError
from cli.heap import seldom_collected
from cli.legacy.here import Here, opened
from cli.legacy.pickles import receive, send
from functions.composition import Parts
from functions.kinds import KINDS
from shared.core import Core, core

CALLS: Final[Mapping[str, Callable[..., Awaitable[Any]]]] = {"take": Here.take, "look": Here.look}


class Worker:
    """Answers calls, as many side by side as come."""

    def __init__(self, own: Core, writer: StreamWriter) -> None:
        self._core = own
        self._parts = Parts(own)
        self._writer = writer
        self._places: dict[str, Here] = {}

    async def answer(self, number: int, what: str, tenant_id: str, arguments: tuple[Any, ...]) -> None:
        """Its result, or the text of the CliError that it has ended with."""
        try:
            if tenant_id not in self._places:
                self._places[tenant_id] = await opened(self._core, self._parts, tenant_id)
            result, error = await CALLS[what](self._places[tenant_id], *arguments), None
        except CliError as failure:
            result, error = None, str(failure)
        with suppress(OSError):  # whoever asked is gone
            send(self._writer, (number, error, result))
            await self._writer.drain()


async def serve(socket_of: int) -> None:
    """Until nobody asks any more, or a call fails as none should: then it ends with that, which whoever asks sees."""
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=socket_of))
    own = core(await receive(reader), KINDS)
    try:
        worker = Worker(own, writer)
        async with asyncio.TaskGroup() as calls:
            while True:
                try:
                    call = await receive(reader)
                except (EOFError, OSError):
                    break
                calls.create_task(worker.answer(*call))
    finally:
        await own.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for whoever has started this
    with seldom_collected():
        asyncio.run(serve(int(sys.argv[1])))

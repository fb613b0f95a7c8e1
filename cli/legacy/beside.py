"""Processes beside this one in which rows are taken and looked at.

Python uses one processor a process, and of a migration into embedded stores nearly all is Python's work. Into Azure it
is the answers that are waited for, so there nobody is beside.
"""

import asyncio
import os
import socket
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from contextlib import suppress
from itertools import count
from typing import Any, Final

from cli.child import ROOT
from cli.errors import CliError
from cli.legacy.pickles import receive, send
from cli.legacy.target import LATER
from shared.settings import Settings

PROCESSES: Final = 2
"""More would wait for the one file that all of them write."""
CALLS_ALONE: Final = 30
"""Before they are begun: a file of fewer calls is migrated by the time that they are up."""
END_SECONDS: Final = 20.0


class Beside:
    """The processes, once there are any. `most` 0: there never are."""

    def __init__(self, settings: Settings, most: int) -> None:
        self._settings = settings
        self._most = most if os.name == "posix" and not settings.flowgrid_cosmos_endpoint else 0
        self._calls = 0
        self._begun: asyncio.Task[list[_Process]] | None = None

    def process(self) -> "_Process | None":
        """The one with the least to do, for a call; None while calls are this process's own."""
        self._calls += 1
        if self._most and self._calls > CALLS_ALONE:
            self.begin()
        if self._begun is None or not self._begun.done() or self._begun.exception() is not None:
            return None
        return min(self._begun.result(), key=lambda one: one.pending)

    def begin(self) -> "asyncio.Task[list[_Process]]":
        """Start them, once; where that cannot be, calls stay this process's own."""
        if self._begun is None:
            self._begun = asyncio.create_task(self._begin())
        return self._begun

    async def close(self) -> None:
        """They end; whoever does not is ended."""
        if self._begun is not None:
            await asyncio.wait([self._begun])
            if self._begun.exception() is None:
                await asyncio.gather(*(one.close() for one in self._begun.result()))

    async def _begin(self) -> "list[_Process]":
        return [await _Process.begun(self._settings) for _ in range(self._most)]


class _Process:
    """One of them; its calls are answered in any order."""

    def __init__(self, process: Process, reader: StreamReader, writer: StreamWriter) -> None:
        self.process = process
        self._writer = writer
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._hearing = asyncio.create_task(self._hear(reader))

    @classmethod
    async def begun(cls, settings: Settings) -> "_Process":
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cli.legacy.worker", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        send(writer, settings)
        return cls(process, reader, writer)

    @property
    def pending(self) -> int:
        return len(self._waiting)

    async def call(self, what: str, tenant_id: str, *arguments: Any) -> Any:
        """What the service says; CliError for what does not pass, or when the process has ended."""
        number, told = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = told
        try:
            if self._hearing.done():
                raise _gone()
            with suppress(OSError):  # then it is gone, which is heard of
                send(self._writer, (number, what, tenant_id, arguments))
                await self._writer.drain()
            return await told
        finally:
            del self._waiting[number]

    async def close(self) -> None:
        self._writer.close()
        try:
            await asyncio.wait_for(self.process.wait(), END_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._hearing

    async def _hear(self, reader: StreamReader) -> None:
        with suppress(EOFError, OSError):
            while True:
                number, error, result = await receive(reader)
                told = self._waiting.get(number)
                if told is not None and not told.done():
                    told.set_result(result) if error is None else told.set_exception(CliError(error))
        for told in self._waiting.values():
            if not told.done():
                told.set_exception(_gone())


def _gone() -> CliError:
    return CliError(f"A process beside has ended. {LATER}")

"""What the embedded adapters share: SQLite files used from one writer and one reader thread.

Writes are durable when their call returns (WAL with synchronous=FULL), so `kill -9` and power loss lose nothing.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from shared.errors import Unavailable
from shared.folders import private_folder

T = TypeVar("T")
BUSY_TIMEOUT_SECONDS = 10.0
_OUTAGES = {  # the file's or the disk's fault, not the statement's
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


class SqliteFiles:
    """Opens files on first use, each once per thread; `read` and `write` run a function on a connection."""

    def __init__(self, folder: Path, schema: str) -> None:
        self._folder = folder
        self._schema = schema
        self._writer = _Thread(self._open, "sqlite-writer")
        self._reader = _Thread(self._open, "sqlite-reader")

    async def read(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the file's reading connection."""
        return await self._reader.run(name, work)

    async def write(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` inside one transaction: all of it happens, or (when it raises) none."""

        def transact(connection: sqlite3.Connection) -> T:
            with transaction(connection):
                return work(connection)

        return await self._writer.run(name, transact)

    def names(self) -> list[str]:
        """The files there are, by name without suffix."""
        return sorted(path.stem for path in self._folder.glob("*.db"))

    async def close(self) -> None:
        await self._writer.close()
        await self._reader.close()

    def _open(self, name: str) -> sqlite3.Connection:
        private_folder(self._folder)
        connection = sqlite3.connect(
            self._folder / f"{name}.db",
            isolation_level=None,
            timeout=BUSY_TIMEOUT_SECONDS,
            check_same_thread=False,
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(self._schema)
        return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when the block or the COMMIT raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled it back by itself
            connection.execute("ROLLBACK")
        raise


class _Thread:
    """One thread and the connections that it has opened."""

    def __init__(self, open_file: Callable[[str], sqlite3.Connection], name: str) -> None:
        self._open_file = open_file
        self._connections: dict[str, sqlite3.Connection] = {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._call, name, work)

    def _call(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if name not in self._connections:
                self._connections[name] = self._open_file(name)
            return work(self._connections[name])
        except (OSError, sqlite3.OperationalError) as error:
            if isinstance(error, OSError) or error.sqlite_errorcode & 0xFF in _OUTAGES:
                raise Unavailable(f"The file {name}.db cannot be used: {error}") from error
            raise

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._close_all)
        self._executor.shutdown()

    def _close_all(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

"""What the embedded adapters share: SQLite files used from one writer and one reader thread.

Writes are durable when their call returns (WAL with synchronous=FULL), so `kill -9` and power loss lose nothing.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TypeVar

from shared.errors import Unavailable
from shared.sqlite_file import Opened, names, open_file

T = TypeVar("T")
BUSY_TIMEOUT_SECONDS = 10.0
LEAST_FREE_BYTES = 16 * 2**20  # with less, health says so while writes still work
_PROBE = "INSERT OR REPLACE INTO file VALUES ('probe', datetime('now'))"
_OUTAGES = {  # the file's or the disk's fault, not the statement's
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}


class SqliteFiles:
    """Opens files on first use, each once per thread; `read` and `write` run a function on a connection.

    `Unavailable`: the disk is full, a file is missing, damaged, or no longer the one that was opened.
    """

    def __init__(self, folder: Path, schema: str) -> None:
        self._folder = folder
        self._schema = schema
        self._opening = Lock()
        self._whole: set[str] = set()
        self._writer = _Thread(self._open, "sqlite-writer")
        self._reader = _Thread(self._open, "sqlite-reader")

    async def read(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the file's reading connection."""

        def check_and_read(file: Opened) -> T:
            file.check()
            return work(file.connection)

        return await self._reader.run(name, check_and_read)

    async def write(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` inside one transaction: all of it happens, or (when it raises) none."""

        def transact(file: Opened) -> T:
            with transaction(file.connection):
                result = work(file.connection)
                file.check()  # last, so that nothing is acknowledged into a file that has gone meanwhile
                return result

        return await self._writer.run(name, transact)

    async def probe(self, name: str) -> None:
        """Write, as any change would; `Unavailable` when that fails or the disk is all but full."""
        await self.write(name, lambda db: db.execute(_PROBE) and None)
        free = shutil.disk_usage(self._folder).free
        if free < LEAST_FREE_BYTES:
            raise Unavailable(f"The disk is all but full: {free // 2**20} MB are left.")

    def names(self) -> list[str]:
        """The files that there are or should be, by name without suffix."""
        return names(self._folder)

    async def close(self) -> None:
        await self._writer.close()
        await self._reader.close()

    def _open(self, name: str) -> Opened:
        with self._opening:
            check = name not in self._whole
            file = open_file(self._folder, name, self._schema, timeout=BUSY_TIMEOUT_SECONDS, check=check)
            self._whole.add(name)
            return file


def is_outage(error: BaseException | None) -> bool:
    """Whether it is the file's or the disk's fault, not the statement's."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUTAGES


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
    """One thread and the files that it has opened."""

    def __init__(self, open_file: Callable[[str], Opened], name: str) -> None:
        self._open_file = open_file
        self._files: dict[str, Opened] = {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, name: str, work: Callable[[Opened], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._call, name, work)

    def _call(self, name: str, work: Callable[[Opened], T]) -> T:
        try:
            if name not in self._files:
                self._files[name] = self._open_file(name)
            return work(self._files[name])
        except (OSError, sqlite3.DatabaseError) as error:
            if isinstance(error, OSError) or is_outage(error):
                raise Unavailable(f"The file {name}.db cannot be used: {error}") from error
            raise

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown)
        while self._files:
            self._files.popitem()[1].connection.close()

"""What the embedded adapters share: SQLite files, each written from one thread, read where they are asked or in others.

What an index finds at once is read on the spot, on a connection of the loop's own: that takes microseconds, and handing
it to a thread and back ten times as long. What may have to look at much is the reader thread's.

Writes are durable when their call returns (WAL with synchronous=FULL), so `kill -9` and power loss lose nothing. Those
that wait for the same file are committed together: the disk is waited for once, and each is a transaction all the same.
"""

import asyncio
import shutil
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from shared.errors import Unavailable
from shared.sqlite_file import Opened, names, open_file

T = TypeVar("T")
BUSY_TIMEOUT_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.001  # whether another process has done writing
TOGETHER = 64  # writes at most that one commit makes durable
READER_CACHE_KIB = 256  # an eighth of SQLite's, for a file and thread
LEAST_FREE_BYTES = 16 * 2**20  # with less, health says so while writes still work
_PROBE = "INSERT OR REPLACE INTO file VALUES ('probe', datetime('now'))"
_PROBED = "SELECT value FROM file WHERE name = 'probe'"
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


READERS = 4  # threads; whoever has much to look at keeps one


class SqliteFiles:
    """Opens files on first use, each once per thread; `read` and `write` run a function on a connection.

    `Unavailable`: the disk is full, a file is missing, damaged, or no longer the one that was opened.
    """

    def __init__(self, folder: Path, schema: str) -> None:
        self._folder = folder
        self._schema = schema
        self._opening = Lock()
        self._whole: set[str] = set()
        self._writer = _Writer(lambda: _Thread(self._open_to_write, "sqlite-writer"))
        self._readers = [_Thread(self._open_to_read, "sqlite-reader") for _ in range(READERS)]
        self._here: dict[str, Opened] = {}

    async def read(self, name: str, work: Callable[[sqlite3.Connection], T], *, brief: bool = False) -> T:
        """Run `work` on a reading connection; `brief`: on the spot, as it takes no longer than a hop to a thread."""

        def check_and_read(file: Opened) -> T:
            file.check(reading=True)
            return work(file.connection)

        if brief and (file := self._here.get(name)) is not None:
            try:
                return _or_outage(name, lambda: check_and_read(file))
            except Unavailable as outage:
                if not _is_locked(outage.__cause__):  # who has to wait does so in the thread
                    raise
        elif brief:
            await self._reader.run(name, lambda _: self._open_here(name))
        return await self._reader.run(name, check_and_read)

    @property
    def _reader(self) -> "_Thread":
        """The one with the least to do."""
        return min(self._readers, key=lambda reader: reader.pending)

    async def write(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` inside a transaction: all of it happens, or (when it raises) none."""
        return await self._writer.write(name, work)

    async def probe(self, name: str) -> None:
        """Write, as any change would, and read it; `Unavailable` when that fails or the disk is all but full."""
        await self.write(name, lambda db: db.execute(_PROBE) and None)
        await self.read(name, lambda db: db.execute(_PROBED).fetchone(), brief=True)
        free = shutil.disk_usage(self._folder).free
        if free < LEAST_FREE_BYTES:
            raise Unavailable(f"The disk is all but full: {free // 2**20} MB are left.")

    def names(self) -> list[str]:
        """The files that there are or should be, by name without suffix."""
        return names(self._folder)

    async def close(self) -> None:
        await self._writer.close()
        await asyncio.gather(*(reader.close() for reader in self._readers))
        while self._here:
            self._here.popitem()[1].connection.close()

    def _open(self, name: str) -> Opened:
        with self._opening:
            check = name not in self._whole
            file = open_file(self._folder, name, self._schema, timeout=BUSY_TIMEOUT_SECONDS, check=check)
            self._whole.add(name)
            return file

    def _open_to_write(self, name: str) -> Opened:
        file = self._open(name)
        file.connection.execute("PRAGMA busy_timeout=0")  # it waits itself, to begin; whoever has begun is alone
        return file

    def _open_to_read(self, name: str) -> Opened:
        """Of several threads each opens each file, and what they read is kept once for all by the system."""
        file = self._open(name)
        file.connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}")
        return file

    def _open_here(self, name: str) -> None:
        if name not in self._here:
            file = self._open(name)
            file.connection.execute("PRAGMA busy_timeout=0")  # nobody waits in the loop
            self._here[name] = file


def is_outage(error: BaseException | None) -> bool:
    """Whether it is the file's or the disk's fault, not the statement's."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUTAGES


def _is_locked(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _or_outage(name: str, work: Callable[[], T]) -> T:
    """What it comes to; `Unavailable` where the file or the disk is at fault."""
    try:
        return work()
    except (OSError, sqlite3.DatabaseError) as error:
        if (outage := outage_of(name, error)) is error:
            raise
        raise outage from error


def outage_of(name: str, error: BaseException) -> BaseException:
    """`Unavailable` where it is the file's or the disk's fault; else the error itself."""
    if not (isinstance(error, OSError) or is_outage(error)):
        return error
    outage = Unavailable(f"The file {name}.db cannot be used: {error}")
    outage.__cause__ = error
    return outage


@dataclass
class _Write:
    """One that waits; its outcome is told when it is durable."""

    work: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    told: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None


class _Writer:
    """Writes of many callers, to each file in the order in which they came, by a thread of its own: one that is locked
    keeps nobody waiting for another."""

    def __init__(self, thread: Callable[[], "_Thread"]) -> None:
        self._new_thread = thread
        self._threads: dict[str, _Thread] = {}
        self._lock = Lock()
        self._waiting: dict[str, deque[_Write]] = {}

    async def write(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        mine = _Write(work, loop, loop.create_future())
        with self._lock:
            if name not in self._threads:
                self._threads[name] = self._new_thread()
            if name not in self._waiting:
                self._threads[name].submit(lambda: self._some(name))
            self._waiting.setdefault(name, deque()).append(mine)
        result: T = await mine.told
        return result

    async def close(self) -> None:
        await asyncio.gather(*(thread.close() for thread in self._threads.values()))

    def _some(self, name: str) -> None:
        """Those that wait for the file by now."""
        with self._lock:
            some = list(islice(self._waiting[name], TOGETHER))
        wanted = [one for one in some if not one.told.cancelled()]
        try:
            self._threads[name].call(name, lambda file: _committed(file, wanted))
        except BaseException as error:
            for one in wanted:  # also those that were refused: by what others had done, which has not happened
                one.error = error
        with self._lock:
            for _ in some:
                self._waiting[name].popleft()
            more = bool(self._waiting[name])
            if not more:
                del self._waiting[name]
        for loop in {one.loop for one in wanted}:
            with suppress(RuntimeError):  # it is closed: nobody listens
                loop.call_soon_threadsafe(_tell, name, [one for one in wanted if one.loop is loop])
        if more:
            try:
                self._threads[name].submit(lambda: self._some(name))
            except RuntimeError:  # it is being closed, and waits for this
                self._some(name)


def _tell(name: str, writes: list[_Write]) -> None:
    """In the loop that they wait in, all in one go."""
    for one in writes:
        if one.told.cancelled():
            continue
        if one.error is None:
            one.told.set_result(one.result)
        else:
            one.told.set_exception(outage_of(name, one.error))


def _committed(file: Opened, writes: list[_Write]) -> None:
    """BEGIN IMMEDIATE … COMMIT around all of them, a savepoint around each; raises when none of them has happened."""
    connection = file.connection
    _begin(connection)
    try:
        if len(writes) == 1:
            writes[0].result = writes[0].work(connection)
        else:
            _each(connection, writes)
        file.check()  # last, so that nothing is acknowledged into a file that has gone meanwhile
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection) -> None:
    """BEGIN IMMEDIATE, as soon as no other process writes. SQLite's own waiting sleeps up to 100 ms at a time."""
    until = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_locked(error) or time.monotonic() >= until:
                raise
            time.sleep(LOOK_AGAIN_SECONDS)
        else:
            return


def _each(connection: sqlite3.Connection, writes: list[_Write]) -> None:
    for one in writes:
        connection.execute("SAVEPOINT one")
        try:
            one.result = one.work(connection)
        except BaseException as error:
            if not connection.in_transaction:  # a full disk has rolled all of it back by itself
                raise
            one.error = error
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")


class _Thread:
    """One thread and the files that it has opened."""

    def __init__(self, open_file: Callable[[str], Opened], name: str) -> None:
        self._open_file = open_file
        self._files: dict[str, Opened] = {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self.pending = 0

    async def run(self, name: str, work: Callable[[Opened], T]) -> T:
        self.pending += 1
        running = asyncio.get_running_loop().run_in_executor(self._executor, self.call, name, work)
        running.add_done_callback(self._done)
        return await running

    def _done(self, _: "asyncio.Future[Any]") -> None:
        self.pending -= 1

    def submit(self, work: Callable[[], None]) -> None:
        """Run it in its turn; RuntimeError when it is closed, or about to be."""
        self._executor.submit(work)

    def call(self, name: str, work: Callable[[Opened], T]) -> T:
        def opened_and_run() -> T:
            if name not in self._files:
                self._files[name] = self._open_file(name)
            return work(self._files[name])

        return _or_outage(name, opened_and_run)

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown)
        while self._files:
            self._files.popitem()[1].connection.close()

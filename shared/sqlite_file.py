"""One SQLite file that is what it was: made whole, known by an id, and the very file that was opened.

SQLite alone makes an empty database where a file is missing, and goes on writing into one that has been unlinked. So
each file carries an id, and `made/<folder>/<name>` beside its folder says which id belongs to the name: a file that is
gone, alone or with its folder, or another one in its place, is refused. While it is open its inodes are compared at
every write, and at reads a hundred times a second.
"""

import os
import secrets
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from shared.errors import Unavailable
from shared.folders import MADE, mark_of, private_folder

_FILE = "CREATE TABLE IF NOT EXISTS file (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
LOG_PAGES = 8000  # 32 MB, eight times SQLite's: a page that changes again and again is copied to the file seldom
LOOK_AGAIN_SECONDS = 0.01  # at a file that is read: asking for its inode takes a tenth of a short read
_OF_ONE_FILE = ("", "-wal", "-shm")


class Opened:
    """A connection, and the inodes that it works on."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path
        self._paths = [f"{path}{suffix}" for suffix in _OF_ONE_FILE]
        self._inodes = _inodes(self._paths)
        self._looked = 0.0

    def check(self, *, reading: bool = False) -> None:
        """`Unavailable` when the path does not lead to what is open: what is written there would be lost.

        `reading`: the file itself is looked at, not the log beside it, which is read as it was opened; and not again
        where that was a moment ago.
        """
        now = time.monotonic()
        if reading and now - self._looked < LOOK_AGAIN_SECONDS:
            return
        paths = self._paths[:1] if reading else self._paths
        if _inodes(paths) != self._inodes[: len(paths)]:
            raise Unavailable(
                f"{self._path.name} is not the file that was opened: put that one back, or start again with this one."
            )
        self._looked = now


def names(folder: Path) -> list[str]:
    """The files that there are or should be, by name without suffix."""
    made = (path.name for path in mark_of(folder).glob("*") if not path.name.startswith("."))
    return sorted({path.stem for path in folder.glob("*.db")} | set(made))


def open_file(folder: Path, name: str, schema: str, *, timeout: float, check: bool) -> Opened:
    """Open the file, making it when it was never made; with `check`, read all of it for damage first (linear).

    Raises `Unavailable` for a file that is missing, damaged, or another than the one that was made.
    """
    path, mark = folder / f"{name}.db", mark_of(folder) / name
    known = _read(mark)  # before the file: whoever makes both makes the file first
    if not path.exists():
        if known is not None:
            raise Unavailable(
                f"{path.name} is missing; put it back (or remove {MADE}/{folder.name}/{name} to begin without it)."
            )
        _make(path, schema)
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=timeout,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        if check:
            _check(connection, path)
        found = _id(connection)
        if known is not None and found != known:
            raise Unavailable(f"{path.name} is another file than the one that was made under this name.")
        connection.executescript(_FILE + schema)
        if known is None:
            _mark(mark, found or _new_id(connection), path)
        return Opened(connection, path)
    except BaseException:
        connection.close()
        raise


def _inodes(paths: list[str]) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return found


def _make(path: Path, schema: str) -> None:
    """A whole new file under its name, or none; when somebody else was faster, theirs stays."""
    private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # for good: nobody has to switch to it with others beside
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_FILE + schema)
            _new_id(connection)
        _publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _mark(mark: Path, id: str, path: Path) -> None:
    """Note that the file was made; `Unavailable` when another one was, a moment ago."""
    private_folder(mark.parent)
    temporary = mark.with_name(f".{mark.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("x", encoding="ascii") as file:
            file.write(id)
            file.flush()
            os.fsync(file.fileno())
        _publish(temporary, mark)
    finally:
        temporary.unlink(missing_ok=True)
    if _read(mark) != id:
        raise Unavailable(f"{path.name} is another file than the one that was made under this name.")


def _publish(temporary: Path, path: Path) -> None:
    with suppress(FileExistsError):
        os.link(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(mark: Path) -> str | None:
    try:
        return mark.read_text(encoding="ascii")
    except FileNotFoundError:
        return None


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise Unavailable(f"{path.name} is damaged and not served; put a copy of it back ({found}).")


def _id(connection: sqlite3.Connection) -> str | None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'file'").fetchone() is None:
        return None
    row = connection.execute("SELECT value FROM file WHERE name = 'id'").fetchone()
    return None if row is None else str(row[0])


def _new_id(connection: sqlite3.Connection) -> str:
    """The file's id; made now unless somebody else has just done so."""
    connection.execute("INSERT OR IGNORE INTO file VALUES ('id', ?)", (secrets.token_hex(16),))
    return str(_id(connection))

"""The old database file, opened to be read: never written, not even by SQLite; what cannot be read is said in one line.

A file with a write-ahead log or a hot journal beside it needs recovery, which writes: a copy in a temporary folder gets
it (https://sqlite.org/wal.html, "Read-Only Databases"). The hash before and after says that nothing has changed.
"""

import base64
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cli.errors import CliError

MAGIC: Final = b"SQLite format 3\0"
WAITS_SECONDS: Final = 5.0
CHUNK: Final = 1024 * 1024
MOST_COLUMNS: Final = 300
TABLES: Final = ("elements", "relationships", "agents")
BYTES: Final = "base64"
"""In a quarantine file, the only name of an object that stands for bytes."""
_WAL: Final = 2  # of the header's bytes 18 and 19 (https://sqlite.org/fileformat.html, 1.3)


@dataclass(frozen=True)
class OldFile:
    """A file that can be read: its connection, its name and its hash (of the log beside it too)."""

    connection: sqlite3.Connection
    name: str
    sha256: str


@contextmanager
def opened(path: Path) -> Iterator[OldFile]:
    """CliError for what is no such file, and when the file has changed by the end."""
    if not path.is_file():
        raise CliError(f"There is no file {path}.")
    path = path.resolve()  # a log lies beside the file, not beside a link to it
    with ExitStack() as stack:
        before = _hash(path)
        try:
            connection = stack.enter_context(_connection(path, stack))
            if len(found := _tables(connection)) == 0:
                raise CliError(f"{path} has none of the tables {', '.join(TABLES)}.")
            for table in found:
                if len(columns(connection, table)) > MOST_COLUMNS:
                    raise CliError(f"{path}: {table} has more than {MOST_COLUMNS} columns.")
            yield OldFile(connection, path.name, before)
        except sqlite3.DatabaseError as error:
            raise CliError(_told(path, error)) from error
        if _hash(path) != before:
            raise CliError(f"{path} has changed while it was read; stop what writes to it, then migrate again.")


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """The names of a table's columns; none for a table that is not there. CliError for one that cannot be named."""
    try:
        # the names are bytes, since all text is
        return [row[0].decode() for row in connection.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))]
    except UnicodeDecodeError as error:
        said = f"{table} has a column whose name is no valid UTF-8 ({error.object!r})"
        raise CliError(f"{said}; give it another name in a copy, and migrate that.") from error


def _name(raw: Any) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


def _tables(connection: sqlite3.Connection) -> list[str]:
    return [table for table in TABLES if columns(connection, table)]


@contextmanager
def _connection(path: Path, stack: ExitStack) -> Iterator[sqlite3.Connection]:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        where, uri = _from_lines(path, _folder(stack)), False
    else:
        where, uri = _readable(path, stack)
    connection = sqlite3.connect(where, uri=uri, timeout=WAITS_SECONDS, isolation_level=None)
    try:
        connection.text_factory = bytes
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN")  # one moment of the file, and nobody writes meanwhile
        for (said,) in connection.execute("PRAGMA quick_check(1)"):
            if said != b"ok":
                raise sqlite3.DatabaseError(_name(said))
        yield connection
    finally:
        connection.close()


def _readable(path: Path, stack: ExitStack) -> tuple[str, bool]:
    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(MAGIC):
        raise CliError(f"{path} is no SQLite database, or an encrypted one; decrypt it with what has encrypted it.")
    beside = [one for one in (_beside(path, "-wal"), _beside(path, "-journal")) if one.is_file() and one.stat().st_size]
    if not beside and header[18:20] != bytes([_WAL, _WAL]):
        return f"{path.resolve().as_uri()}?mode=ro", True
    folder = _folder(stack)
    before = _hash(path)
    for one in (path, *beside):
        shutil.copyfile(one, folder / one.name)
    if _hash(path) != before:
        raise CliError(f"{path} has changed while it was copied; stop what writes to it, then migrate again.")
    return str(folder / path.name), False


def _from_lines(path: Path, folder: Path) -> str:
    """A quarantine file as a database, so that one reader reads both: read once for its columns, once for its rows."""
    names: dict[str, dict[str, None]] = {table: {} for table in TABLES}
    for table, row in _lines(path):
        names[table] |= dict.fromkeys(row)
        if len(names[table]) > MOST_COLUMNS:
            raise CliError(f"{path}: {table} has more than {MOST_COLUMNS} columns.")
    where = folder / "lines.db"
    with closing(sqlite3.connect(where)) as made, made:
        try:
            for table, found in names.items():
                if found:
                    made.execute(f"CREATE TABLE {table} ({', '.join(map(quoted, found))})")
            for table, row in _lines(path):
                marks = ", ".join("?" * len(row))
                into = f"INSERT INTO {table} ({', '.join(map(quoted, row))}) VALUES ({marks})"  # noqa: S608 - quoted
                made.execute(into, [*row.values()])
        except (sqlite3.Error, OverflowError) as error:
            raise CliError(f"{path} holds a row that no table can: {error}.") from error
    return str(where)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                told = json.loads(line)
                table, row = told["table"], told["row"]
                if not row:
                    raise ValueError("the row has no columns")
                yield _known(table), {name: _value(value) for name, value in row.items()}
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
                said = f"{path}, line {number}, is no line of a quarantine file: {error}"
                raise CliError(f'{said} (it should be {{"table": …, "row": {{…}}}})') from error


def _known(table: str) -> str:
    if table not in TABLES:
        raise ValueError(f"table {table!r} is none of {', '.join(TABLES)}")
    return table


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value[BYTES], validate=True)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        value.encode()  # half a character cannot be stored
    return value


def quoted(name: str) -> str:
    """A name in SQL. Of a column it is safe with its table's before it: alone, SQLite may take it for a text."""
    return '"' + name.replace('"', '""') + '"'


def _folder(stack: ExitStack) -> Path:
    """For its owner alone, as `mkdtemp` makes them."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowgrid-migrate-")))


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _hash(path: Path) -> str:
    """Of the file, and of what of its log it still needs."""
    hashed = sha256()
    for one in (path, _beside(path, "-wal")):
        if not one.is_file() or (one is not path and not os.path.getsize(one)):
            continue
        with one.open("rb") as file:
            while chunk := file.read(CHUNK):
                hashed.update(chunk)
    return hashed.hexdigest()


def _told(path: Path, error: sqlite3.DatabaseError) -> str:
    if "locked" in str(error):
        return f"{path} is in use by another program; stop it, then migrate again."
    return f"{path} is damaged ({error}); `sqlite3 {path.name} .recover` makes a new file of what can be read."

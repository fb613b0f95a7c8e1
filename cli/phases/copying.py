"""The copy that phase 1 works on. The source is read as a file and never opened by SQLite, so nothing can change it.

What lies beside it (a write-ahead log, a hot journal) is copied too, and SQLite brings it into the copy
(https://sqlite.org/wal.html). The copy has its name only when it is whole.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

from cli.errors import CliError
from cli.phases.plan import RECORD, SOURCE, TABLES
from cli.phases.reading import broken, digests, schema, tables
from cli.phases.record import begin, record, recorded

MAGIC: Final = b"SQLite format 3\0"
WAITS_SECONDS: Final = 10.0
BESIDE: Final = ("", "-wal", "-journal")


def connected(path: Path) -> sqlite3.Connection:
    """A connection on which altering a table changes that table alone (https://sqlite.org/lang_altertable.html, 7)."""
    connection = sqlite3.connect(path.resolve().as_uri() + "?mode=rw", uri=True, timeout=WAITS_SECONDS)
    connection.isolation_level = None
    for pragma in ("trusted_schema = OFF", "foreign_keys = OFF", "legacy_alter_table = ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def copied(source: Path, copy: Path) -> None:
    """Make the copy; where it is there, see that it is this source's. CliError for what cannot be copied."""
    _check(source)
    if copy.exists() and os.path.samefile(source, copy):
        raise CliError(f"{copy} is the source, which is never changed; choose another --out.")
    before = _hash(source)
    if copy.exists():
        return _same(copy, source, before)
    part = copy.with_name(copy.name + ".part")
    for suffix in (*BESIDE, "-shm"):
        _beside(part, suffix).unlink(missing_ok=True)
    for suffix in BESIDE:
        if _beside(source, suffix).is_file():
            shutil.copyfile(_beside(source, suffix), _beside(part, suffix))
    if _hash(source) != before:
        raise CliError(f"{source} has changed while it was copied; stop what writes to it, then try again.")
    try:
        with closing(connected(part)) as connection:
            _describe(connection, source, before)
    except sqlite3.DatabaseError as error:
        raise CliError(f"{source} is damaged ({error}); `sqlite3 {source.name} .recover` saves what can be.") from error
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, copy)


def _check(source: Path) -> None:
    if not source.is_file():
        raise CliError(f"There is no file {source}.")
    with source.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise CliError(f"{source} is no SQLite database, or an encrypted one; decrypt it with what encrypted it.")


def _describe(connection: sqlite3.Connection, source: Path, hashed: str) -> None:
    """Write the record's first line: what the source is like."""
    connection.execute("PRAGMA journal_mode = DELETE")
    for (said,) in connection.execute("PRAGMA quick_check(1)"):
        if said != "ok":
            raise sqlite3.DatabaseError(said)
    names = tables(connection)
    if RECORD in (name for _, name, _ in schema(connection)):
        raise CliError(f"{source} is a copy that phase 1 has made already; name the original.")
    if not names:
        raise CliError(f"{source} has none of the tables {', '.join(TABLES)}.")
    before: dict[str, Any] = {
        "sha256": hashed,
        "tables": names,
        "sql": {name: sql for kind, name, sql in schema(connection) if kind == "table" and name in names},
        "digests": digests(connection, names),
        "broken": broken(connection, names),
    }
    connection.execute("BEGIN IMMEDIATE")
    begin(connection)
    record(connection, SOURCE, before)
    connection.execute("COMMIT")


def _same(copy: Path, source: Path, hashed: str) -> None:
    try:
        with closing(connected(copy)) as connection:
            found = recorded(connection).get(SOURCE)
    except sqlite3.Error:
        found = None
    if found is None:
        raise CliError(f"{copy} is there, and no copy that phase 1 has made; choose another --out.")
    if found["sha256"] != hashed:
        raise CliError(f"{copy} was made of another file than {source} is now; choose another --out.")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _hash(path: Path) -> str:
    """Of the file and of what lies beside it."""
    hashed = sha256()
    for suffix in BESIDE:
        one = _beside(path, suffix)
        if one.is_file():
            with one.open("rb") as file:
                hashed.update(suffix.encode() + file_digest(file, "sha256").digest())
    return hashed.hexdigest()

"""The record of a copy: each step that is done, when, and what its undoing needs."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cli.phases.plan import RECORD
from shared.clock import SystemClock, rfc3339


def begin(connection: sqlite3.Connection) -> None:
    connection.execute(f"CREATE TABLE {RECORD} (step TEXT PRIMARY KEY, at TEXT NOT NULL, detail TEXT NOT NULL)")


def record(connection: sqlite3.Connection, step: str, detail: Any) -> None:
    line = (step, rfc3339(SystemClock().now()), json.dumps(detail))
    connection.execute(f"INSERT INTO {RECORD} VALUES (?, ?, ?)", line)  # noqa: S608 - a name of ours


def forget(connection: sqlite3.Connection, step: str) -> None:
    connection.execute(f"DELETE FROM {RECORD} WHERE step = ?", (step,))  # noqa: S608 - a name of ours


def recorded(connection: sqlite3.Connection) -> dict[str, Any]:
    """Step -> detail; nothing where there is no record."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (RECORD,)).fetchone():
        return {}
    lines = connection.execute(f"SELECT step, detail FROM {RECORD} ORDER BY rowid")  # noqa: S608 - a name of ours
    return {step: json.loads(detail) for step, detail in lines}


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; others that write wait, or this one does."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")

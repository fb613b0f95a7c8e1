"""What is in a SQLite file: its schema, its keys, a digest of its rows, what in it does not work."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cli.phases.plan import COLUMN, TABLES


@dataclass(frozen=True)
class Column:
    """`key`: its place in the primary key, from 1; `generated`: no value is ever written to it."""

    name: str
    key: int
    generated: bool


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def schema(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Kind, name and statement of all that has a statement, in the order of its making."""
    found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
    return [(str(kind), str(name), str(sql)) for kind, name, sql in found]


def tables(connection: sqlite3.Connection) -> list[str]:
    """Those of the old tables that are there, as they are spelled there, in the order of their making."""
    return [name for kind, name, _ in schema(connection) if kind == "table" and name.lower() in TABLES]


def columns(connection: sqlite3.Connection, table: str) -> list[Column]:
    """In their order, generated ones too (https://sqlite.org/pragma.html#pragma_table_xinfo)."""
    found = connection.execute("SELECT name, pk, hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1", (table,))
    return [Column(name, key, hidden in (2, 3)) for name, key, hidden in found]


def column(connection: sqlite3.Connection, table: str) -> str | None:
    """The table's tenant column, as it is spelled there."""
    return next((one.name for one in columns(connection, table) if one.name.lower() == COLUMN), None)


def keys(connection: sqlite3.Connection, table: str) -> list[str]:
    """Names that tell one row from the others: the rowid by a name that no column has, or the primary key."""
    found = columns(connection, table)
    (without,) = connection.execute("SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'", (table,)).fetchone()
    taken = {one.name.lower() for one in found}
    free = [] if without else [name for name in ("rowid", "_rowid_", "oid") if name not in taken]
    return free[:1] or [one.name for one in sorted(found, key=lambda one: one.key) if one.key]


def digests(connection: sqlite3.Connection, names: Iterable[str]) -> dict[str, list[Any]]:
    """Table -> number of rows and SHA-256 of all values with their types and keys, but for the tenant's column."""
    asked = {table: _rows(connection, table) for table in names}
    before, connection.text_factory = connection.text_factory, lambda raw: ("text", raw)  # it may be no UTF-8
    try:
        return {table: _digest(connection.execute(statement)) for table, statement in asked.items()}
    finally:
        connection.text_factory = before


def _rows(connection: sqlite3.Connection, table: str) -> str:
    by = [quoted(name) for name in keys(connection, table)]
    own = [quoted(one.name) for one in columns(connection, table) if one.name.lower() != COLUMN]
    return f"SELECT {', '.join([*by, *own])} FROM {quoted(table)} ORDER BY {', '.join(by) or '1'}"  # noqa: S608


def _digest(rows: Iterable[Any]) -> list[Any]:
    hashed, count = sha256(), 0
    for row in rows:
        hashed.update(repr(row).encode())
        count += 1
    return [count, hashed.hexdigest()]


def broken(connection: sqlite3.Connection, names: Iterable[str]) -> dict[str, str]:
    """What SQLite cannot compile any more -> why: views, and writing to the old tables (their triggers' programs)."""
    tried = {name: f"SELECT * FROM {quoted(name)}" for kind, name, _ in schema(connection) if kind == "view"}  # noqa: S608
    for table in names:
        kept = [quoted(one.name) for one in columns(connection, table) if not one.generated]
        tried[f"inserting into {table}"] = f"INSERT INTO {quoted(table)} DEFAULT VALUES"
        tried[f"updating {table}"] = f"UPDATE {quoted(table)} SET {', '.join(f'{one} = {one}' for one in kept)}"  # noqa: S608
        tried[f"deleting from {table}"] = f"DELETE FROM {quoted(table)}"  # noqa: S608
    found = {}
    for what, statement in tried.items():
        try:
            connection.execute(f"EXPLAIN {statement}").close()
        except sqlite3.Error as error:
            found[what] = str(error)
    return found

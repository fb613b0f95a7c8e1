"""Rows of an old table, one after the other, ordered by tenant and key: rows of one key stand side by side.

Every value is read as SQLite holds it, whatever the column was declared as; text that is no UTF-8 is not refused by
the database, so it is looked at here.
"""

import sqlite3
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from cli.legacy.source import columns, quoted

TENANT: Final = "tenant_id"
Value = None | int | float | str | bytes


@dataclass
class Read:
    """A row as it was read. `broken`: columns whose text is no UTF-8, left as bytes; `repeated`: of the key before."""

    number: int
    columns: dict[str, Value]
    broken: list[str] = field(default_factory=list)
    repeated: bool = False

    @property
    def key(self) -> str | None:
        """What others name it by: a whole number as its digits; None where there is nothing to name."""
        return as_key(self.columns.get("id"))

    @property
    def tenant(self) -> str:
        """What the file says; empty: nothing."""
        return as_key(self.columns.get(TENANT)) or ""


def as_key(value: Value) -> str | None:
    """A key as text, so that 7 and "7" are one; None for none, and for what cannot be one."""
    if isinstance(value, str | int | float):
        return str(value) if str(value).strip() else None
    return None


def count(connection: sqlite3.Connection, table: str) -> int:
    """Rows of a table; 0 where there is none."""
    if not columns(connection, table):
        return 0
    found: int = connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0]  # noqa: S608 - a known name
    return found


def rows(connection: sqlite3.Connection, table: str, known: Container[str]) -> Iterator[Read]:
    """All of them; the same order each time, since the file stands still. `known`: columns whose case means nothing."""
    names = columns(connection, table)
    if not names:
        return
    folded = {name.lower(): name for name in names}
    called = [name.lower() if name.lower() in known else name for name in names]
    column = {name: f"{quoted(table)}.{quoted(name)}" for name in names}
    order = [f"CAST({column[folded[name]]} AS TEXT)" for name in (TENANT, "id") if name in folded]
    # the types tell apart what the order does not: a column and its value, for NULL and text of any encoding
    picked = ", ".join(f"typeof({column[name]}), {column[name]}" for name in names)
    asked = f"SELECT {picked} FROM {quoted(table)}"  # noqa: S608 - names of the file, quoted
    if order:
        asked += f" ORDER BY {', '.join(order)}"
    before: tuple[str, str | None] | None = None
    for number, raw in enumerate(connection.execute(asked)):
        one = _read(number, called, raw)
        one.repeated = one.key is not None and (one.tenant, one.key) == before
        before = (one.tenant, one.key)
        yield one


def _read(number: int, names: list[str], raw: tuple[Any, ...]) -> Read:
    found = Read(number, {})
    for position, name in enumerate(names):
        kind, value = raw[2 * position], raw[2 * position + 1]
        if kind == b"text":
            try:
                value = value.decode()
            except UnicodeDecodeError:
                found.broken.append(name)
        found.columns[name] = value
    return found

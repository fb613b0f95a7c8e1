"""Rows of an old table, one after the other, ordered by tenant and place: rows of one key stand side by side.

Every value is read as SQLite holds it, whatever the column was declared as; text that is no UTF-8 is not refused by
the database, so it is looked at here.
"""

import sqlite3
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cli.legacy.old_file import columns, quoted

TENANT: Final = "tenant_id"
Value = None | int | float | str | bytes


@dataclass(slots=True)
class Read:
    """A row as it was read.

    `key`: what others name it by, a whole number as its digits; None where there is nothing to name. `tenant`: what the
    file says; empty: nothing. `broken`: columns whose text is no UTF-8, left as bytes; `repeated`: of the key before.
    """

    number: int
    columns: dict[str, Value]
    broken: Sequence[str] = ()
    repeated: bool = False
    key: str | None = field(init=False)
    tenant: str = field(init=False)

    def __post_init__(self) -> None:
        self.key = as_key(self.columns.get("id"))
        self.tenant = as_key(self.columns.get(TENANT)) or ""


def as_key(value: Value) -> str | None:
    """A key as text, so that 7 and "7" are one; None for none, and for what cannot be one."""
    if value is None or isinstance(value, bytes):
        return None
    text = value if isinstance(value, str) else str(value)
    return text if text and not text.isspace() else None


def count(connection: sqlite3.Connection, table: str) -> int:
    """Rows of a table; 0 where there is none."""
    if not columns(connection, table):
        return 0
    found: int = connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0]  # noqa: S608 - a known name
    return found


def tenants(connection: sqlite3.Connection, table: str, among: Sequence[str]) -> set[str]:
    """Those of these that rows of a table say they are of."""
    owner, _ = _owner_and_key(connection, table)
    if not owner:
        return set()
    marks = ", ".join("?" * len(among))
    asked = f"SELECT DISTINCT {owner} FROM {quoted(table)} WHERE {owner} IN ({marks})"  # noqa: S608 - quoted, and bound
    return {value.decode() for (value,) in connection.execute(asked, [*among])}


def shared_key(connection: sqlite3.Connection, group: Sequence[str], among: Sequence[str]) -> str | None:
    """A key that rows of several of these tenants have, in a group of tables in which keys name rows."""
    each = []
    for table in group:
        tenant, key = _owner_and_key(connection, table)
        if tenant and key:
            each.append(f"SELECT {tenant} AS whose, {key} AS name FROM {quoted(table)}")  # noqa: S608 - quoted
    if not each:
        return None
    marks = ", ".join("?" * len(among))
    asked = f"""SELECT name FROM ({" UNION ALL ".join(each)}) WHERE whose IN ({marks}) AND trim(name) <> ''
        GROUP BY name HAVING count(DISTINCT whose) > 1 LIMIT 1"""  # noqa: S608 - quoted, and values are bound
    found = connection.execute(asked, [*among]).fetchone()
    return str(found[0], "utf-8", "replace") if found else None


def _owner_and_key(connection: sqlite3.Connection, table: str) -> tuple[str, str]:
    """In SQL, as text; empty for a column that is not there."""
    folded = {name.lower(): f"{quoted(table)}.{quoted(name)}" for name in columns(connection, table)}
    said = f"CAST({folded[TENANT]} AS TEXT)" if TENANT in folded else ""
    owner = said and f"CASE WHEN trim(coalesce({said}, '')) = '' THEN '' ELSE {said} END"
    return owner, f"CAST({folded['id']} AS TEXT)" if "id" in folded else ""


def rows(
    connection: sqlite3.Connection, table: str, known: Container[str], place: Callable[[str, str], str]
) -> Iterator[Read]:
    """All of them; the same order each time, since the file stands still. `known`: columns whose case means nothing.

    `place`: by what rows of a tenant are sorted, of the tenant and the key. (The id that a row gets, so that an index
    of ids grows at its end: in the order of keys each id is somewhere else, and each write a page of its own.)
    """
    names = columns(connection, table)
    if not names:
        return
    folded = {name.lower(): name for name in names}
    called = [name.lower() if name.lower() in known else name for name in names]
    column = {name: f"{quoted(table)}.{quoted(name)}" for name in names}
    tenant, key = (f"CAST({column[folded[name]]} AS TEXT)" if name in folded else "" for name in (TENANT, "id"))
    order = [tenant] if tenant else []
    if key:
        # as bytes, which may be no UTF-8
        order.append(f"placed(CAST({tenant or 'NULL'} AS BLOB), CAST({key} AS BLOB))")
    # the types tell apart what the order does not: a column and its value, for NULL and text of any encoding
    picked = ", ".join(f"typeof({column[name]}), {column[name]}" for name in names)
    asked = f"SELECT {picked} FROM {quoted(table)}"  # noqa: S608 - names of the file, quoted
    if order:
        asked += f" ORDER BY {', '.join(order)}"
    connection.create_function("placed", 2, lambda *said: place(*map(_replaced, said)), deterministic=True)
    before: tuple[str, str | None] | None = None
    for number, raw in enumerate(connection.execute(asked)):
        one = _read(number, called, raw)
        now = one.tenant, one.key
        one.repeated = now[1] is not None and now == before
        before = now
        yield one


def _replaced(said: bytes | None) -> str:
    return (said or b"").decode("utf-8", "replace")


def _read(number: int, names: list[str], raw: tuple[Any, ...]) -> Read:
    columns: dict[str, Value] = {}
    broken: list[str] = []
    for name, kind, value in zip(names, raw[::2], raw[1::2], strict=True):
        if kind == b"text":
            try:
                value = value.decode()
            except UnicodeDecodeError:
                broken.append(name)
        columns[name] = value
    return Read(number, columns, broken or ())

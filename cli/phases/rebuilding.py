"""A SQLite table made anew under another statement, with all that belongs to it.

SQLite alters little in place, so a table is renamed, made anew and filled from the old one; its indexes and triggers
are made again by their own statements (https://sqlite.org/lang_altertable.html, 7, with legacy_alter_table: no view, no
other table's key and no trigger's program is rewritten). Inside the caller's transaction, so it is whole or not at all.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from cli.errors import CliError
from cli.phases.plan import COLUMN, RECORD, TENANTS
from cli.phases.reading import column, columns, keys, quoted


def rebuild(connection: sqlite3.Connection, table: str, statement: str) -> None:
    """Rows keep their rowids, and a table that counts up goes on where it was."""
    own = _beside(connection, table, "index", "trigger")
    counted = _sequence(connection, table)
    old = f"{RECORD}_{table}"
    connection.execute(f"ALTER TABLE {quoted(table)} RENAME TO {quoted(old)}")
    connection.execute(statement)
    there = {one.name.lower() for one in columns(connection, old)}
    kept = [one.name for one in columns(connection, table) if not one.generated and one.name.lower() in there]
    named = {name.lower() for name in kept}
    both = ", ".join(quoted(name) for name in [*(key for key in keys(connection, table) if key not in named), *kept])
    connection.execute(f"INSERT INTO {quoted(table)} ({both}) SELECT {both} FROM {quoted(old)}")  # noqa: S608 - quoted
    connection.execute(f"DROP TABLE {quoted(old)}")
    for one in own:
        connection.execute(one)
    if counted is not None:
        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, counted))


@contextmanager
def without_triggers(connection: sqlite3.Connection, table: str) -> Iterator[None]:
    """Its triggers are for what users do: none may run when a column of ours is filled."""
    named = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE ORDER BY rowid"
    triggers = connection.execute(named, (table,)).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {quoted(name)}")
    yield
    for _, statement in triggers:
        connection.execute(statement)


def statement_of(connection: sqlite3.Connection, table: str) -> str:
    """The statement that makes it."""
    found = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
    return str(found[0])


def constrained(statement: str, table: str) -> str:
    """The statement with a tenant in each row: a column of its own, or the one that is there bound by constraints.

    SQLite writes the column into a table in memory; the constraints go before the bracket that ends every table.
    """
    with closing(sqlite3.connect(":memory:")) as made:
        made.execute(statement)
        name = column(made, table)
        if name is None:
            added = f"ADD COLUMN {COLUMN} TEXT NOT NULL REFERENCES {TENANTS}(id)"
            made.execute(f"ALTER TABLE {quoted(table)} {added}")
            return statement_of(made, table)
        before = columns(made, table)
    end = statement.rindex(")")
    bound = f"CHECK ({quoted(name)} IS NOT NULL), FOREIGN KEY ({quoted(name)}) REFERENCES {TENANTS}(id)"
    changed = f"{statement[:end]}, {bound}{statement[end:]}"
    with closing(sqlite3.connect(":memory:")) as made:
        try:
            made.execute(changed)
            held = made.execute('SELECT 1 FROM pragma_foreign_key_list(?) WHERE "table" = ?', (table, TENANTS))
            if columns(made, table) == before and held.fetchone():
                return changed
        except sqlite3.Error:
            pass  # told below
    raise CliError(f"{table} is made by a statement that nothing can be added to; mend that in the file first.")


def _beside(connection: sqlite3.Connection, table: str, *kinds: str) -> list[str]:
    marks = ", ".join("?" * len(kinds))
    named = f"type IN ({marks}) AND tbl_name = ? COLLATE NOCASE AND sql IS NOT NULL"
    found = connection.execute(f"SELECT sql FROM sqlite_master WHERE {named} ORDER BY rowid", (*kinds, table))  # noqa: S608
    return [str(one) for (one,) in found]


def _sequence(connection: sqlite3.Connection, table: str) -> int | None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        return None
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return None if found is None else int(found[0])

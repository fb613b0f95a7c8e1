"""The steps of phase 1 in SQLite, each with what takes it back. `detail` is what a step leaves for that.

The column is TEXT: what SQLite makes of "UUID" is a number where it can (https://sqlite.org/datatype3.html, 3.1).
"""

import sqlite3
from typing import Any, Final

from cli.errors import CliError
from cli.phases.plan import COLUMN, RECORD, SOURCE, TENANTS, Step, Tenants, new_tenants
from cli.phases.reading import column, columns, keys, quoted, schema
from cli.phases.rebuilding import constrained, rebuild, statement_of, without_triggers
from cli.phases.record import recorded
from shared.ids import DEFAULT_TENANT_ID

EACH: Final = ("column", "backfill", "constraints", "index")
_TENANTS_TABLE: Final = f"""CREATE TABLE {TENANTS} (
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  slug TEXT UNIQUE NOT NULL,
  tier TEXT DEFAULT 'standard',
  status TEXT DEFAULT 'active',
  max_agents INTEGER DEFAULT 50,
  max_users INTEGER DEFAULT 5,
  settings TEXT DEFAULT '{{}}',
  created_at TEXT DEFAULT CURRENT_TIMESTAMP,
  updated_at TEXT DEFAULT CURRENT_TIMESTAMP
)"""


def done(connection: sqlite3.Connection, step: Step, tables: list[str]) -> Any:
    """Do a step; what it leaves for its undoing."""
    match step.name:
        case "tenants":
            return _tenants(connection)
        case "default":
            return _default(connection, tables)
        case "column":
            return _column(connection, step.table)
        case "backfill":
            return _backfill(connection, step.table)
        case "constraints":
            before = statement_of(connection, step.table)
            rebuild(connection, step.table, constrained(_original(connection, step.table), step.table))
            return before
        case _:
            return _index(connection, step.table)


def undone(connection: sqlite3.Connection, step: Step, detail: Any) -> None:
    """Take a step back, those behind it being taken back already."""
    match step.name:
        case "tenants" if detail:
            connection.execute(f"DROP TABLE {TENANTS}")
        case "default":
            connection.executemany(f"DELETE FROM {TENANTS} WHERE id = ?", [(id,) for id in detail])  # noqa: S608
        case "column" if detail:
            rebuild(connection, step.table, _original(connection, step.table))
        case "backfill" if detail:
            _give_back(connection, step.table)
        case "constraints":
            rebuild(connection, step.table, detail)
        case "index" if detail:
            connection.execute(f"DROP INDEX {_index_name(step.table)}")


def refuse_loss(connection: sqlite3.Connection) -> None:
    """CliError where the old tables could not hold what has come since: rows and tenants beside the default one."""
    found = recorded(connection)
    if found.get("tenants"):
        ours = set(found.get("default", []))
        more = [id for (id,) in connection.execute(f"SELECT id FROM {TENANTS}") if id not in ours]  # noqa: S608
        if more:
            raise CliError(f"{len(more)} tenants have come since, such as {more[0]}; undoing would lose them.")
    for table in found[SOURCE]["tables"]:
        if found.get(f"column {table}"):  # the column goes, and with it whose a row is
            where = f"{COLUMN} <> '{DEFAULT_TENANT_ID}'"
            (count,) = connection.execute(f"SELECT count(*) FROM {quoted(table)} WHERE {where}").fetchone()  # noqa: S608
            if count:
                raise CliError(f"{count} rows of {table} are of other tenants by now; undoing would mix them.")


def _tenants(connection: sqlite3.Connection) -> bool:
    """Whether the table is ours."""
    found = {one.name.lower() for one in columns(connection, TENANTS)}
    if not found:
        connection.execute(_TENANTS_TABLE)
    elif not {"id", "name", "slug"} <= found:
        raise CliError(f"There is a table {TENANTS} without id, name and slug; rename it in the source's copy first.")
    return not found


def _default(connection: sqlite3.Connection, tables: list[str]) -> list[str]:
    """The ids of the tenants that were missing."""
    lines = connection.execute(f"SELECT CAST(id AS TEXT), slug FROM {TENANTS}").fetchall()  # noqa: S608
    ids, slugs = {id for id, _ in lines}, {slug for _, slug in lines}
    values: list[str | None] = []
    for table in tables:
        name = column(connection, table)
        if name is not None:
            found = connection.execute(f"SELECT DISTINCT CAST({quoted(name)} AS BLOB) FROM {quoted(table)}")  # noqa: S608
            values += [_text(value) for (value,) in found]
    missing = new_tenants(values, Tenants(ids), ids, slugs)
    connection.executemany(f"INSERT INTO {TENANTS} (id, name, slug) VALUES (?, ?, ?)", missing)  # noqa: S608
    return [id for id, _, _ in missing]


def _column(connection: sqlite3.Connection, table: str) -> bool:
    """Whether it is ours."""
    if column(connection, table) is not None:
        return False
    connection.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {COLUMN} TEXT")
    return True


def _backfill(connection: sqlite3.Connection, table: str) -> bool:
    """Whether there were values before; then they lie in a table beside, until they are given back."""
    name, target = quoted(column(connection, table) or COLUMN), quoted(table)
    had = not recorded(connection)[f"column {table}"]
    if had:
        known = {str(id) for (id,) in connection.execute(f"SELECT CAST(id AS TEXT) FROM {TENANTS}")}  # noqa: S608
        tenants = Tenants(known)
        connection.create_function("tenant_of", 1, lambda value: tenants.of(_text(value)), deterministic=True)
        now = f"tenant_of(CAST({name} AS BLOB))"
        if not keys(connection, table):
            raise CliError(f"{table} has a {COLUMN} already and no key to keep its values by; give it one first.")
        by = ", ".join(f"{quoted(key)} AS key_{number}" for number, key in enumerate(keys(connection, table)))
        kept = f"SELECT {by}, {name} AS was, {now} AS now FROM {target}"  # noqa: S608 - quoted
        connection.execute(f"CREATE TABLE {_kept(table)} AS {kept}")
    else:
        now = f"'{DEFAULT_TENANT_ID}'"
    with without_triggers(connection, table):
        connection.execute(f"UPDATE {target} SET {name} = {now}")  # noqa: S608 - quoted
    return had


def _give_back(connection: sqlite3.Connection, table: str) -> None:
    """The values from before, in the rows whose tenant is still what was made of them."""
    name, kept = quoted(column(connection, table) or COLUMN), _kept(table)
    by = [f"key_{number} = {quoted(table)}.{quoted(key)}" for number, key in enumerate(keys(connection, table))]
    named = ", ".join(f"key_{number}" for number in range(len(by)))
    connection.execute(f"CREATE INDEX {quoted(f'{RECORD}_by_key')} ON {kept} ({named})")
    same = f"FROM {kept} WHERE {' AND '.join(by)} AND now = {quoted(table)}.{name}"
    with without_triggers(connection, table):
        connection.execute(
            f"UPDATE {quoted(table)} SET {name} = (SELECT was {same}) WHERE EXISTS (SELECT 1 {same})"  # noqa: S608
        )
    connection.execute(f"DROP TABLE {kept}")


def _index(connection: sqlite3.Connection, table: str) -> bool:
    """Whether it is ours."""
    if any(name == _index_name(table) for _, name, _ in schema(connection)):
        return False
    name = quoted(column(connection, table) or COLUMN)
    connection.execute(f"CREATE INDEX {_index_name(table)} ON {quoted(table)}({name})")
    return True


def _original(connection: sqlite3.Connection, table: str) -> str:
    return str(recorded(connection)[SOURCE]["sql"][table])


def _index_name(table: str) -> str:
    return f"idx_{table.lower()}_tenant"


def _kept(table: str) -> str:
    return quoted(f"{RECORD}_was_{table}")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")

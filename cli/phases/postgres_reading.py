"""What is in a PostgreSQL database: its tables, a digest of their rows, who gets past a policy."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from cli.phases.plan import COLUMN, TABLES

if TYPE_CHECKING:
    from asyncpg import Connection

LEGACY: Final = f"legacy_{COLUMN}"
"""What a `tenant_id` that was there is called from then on."""


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


async def tables(connection: "Connection") -> list[str]:
    """Those of the old tables that are in the schema."""
    found = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"
        " AND relname = ANY($1)",
        list(TABLES),
    )
    names = {line["relname"] for line in found}
    return [table for table in TABLES if table in names]


async def columns(connection: "Connection", table: str) -> list[str]:
    """Their names, in their order."""
    found = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        quoted(table),
    )
    return [line["attname"] for line in found]


async def digests(connection: "Connection", names: Iterable[str]) -> dict[str, list[Any]]:
    """Table -> rows, and a sum of hashes of their values, but for the tenant's columns: so of rows in any order."""
    found = {}
    async with unforced(connection, names):
        for table in names:
            own = [quoted(name) for name in await columns(connection, table) if name not in (COLUMN, LEGACY)]
            hashed = f"hashtextextended(ROW({', '.join(own)})::text, 0)::numeric"
            said = f"SELECT count(*), COALESCE(sum({hashed}), 0)::text FROM {quoted(table)}"  # noqa: S608 - quoted
            line = await connection.fetchrow(said)
            found[table] = [line[0], line[1]]
    return found


@asynccontextmanager
async def unforced(connection: "Connection", names: Iterable[str]) -> AsyncIterator[None]:
    """The tables as their owner sees them without a policy; it is rolled back, so nobody else ever does."""
    looking = connection.transaction()
    await looking.start()
    try:
        for table in names:
            await connection.execute(f"ALTER TABLE {quoted(table)} NO FORCE ROW LEVEL SECURITY")
        yield
    finally:
        await looking.rollback()


async def notes(connection: "Connection", names: list[str], role: str) -> list[str]:
    """Who sees more than a tenant's rows all the same."""
    found = []
    owners = await connection.fetch(
        "SELECT DISTINCT rolname FROM pg_class JOIN pg_roles r ON r.oid = relowner WHERE (rolsuper OR rolbypassrls)"
        " AND relnamespace = current_schema()::regnamespace AND relname = ANY($1)",
        names,
    )
    for line in owners:
        found.append(f"the tables' owner {line['rolname']} is above row-level security; programs work as {role}")
    views = await connection.fetch(
        "SELECT DISTINCT v.relname FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid"
        " JOIN pg_class v ON v.oid = w.ev_class JOIN pg_class t ON t.oid = d.refobjid"
        " WHERE d.classid = 'pg_rewrite'::regclass AND v.relkind IN ('v', 'm') AND t.relname = ANY($1)"
        " AND t.relnamespace = current_schema()::regnamespace ORDER BY v.relname",
        names,
    )
    for line in views:
        found.append(f"the view {line['relname']} reads with its owner's rights; give it to nobody who is one tenant's")
    return found

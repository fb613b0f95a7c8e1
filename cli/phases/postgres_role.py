"""The role that programs work as: not the owner, not above the policies, with no more than rows of one tenant need."""

from typing import TYPE_CHECKING, Any, Final

from cli.errors import CliError
from cli.phases.plan import TENANTS
from cli.phases.postgres_reading import quoted

if TYPE_CHECKING:
    from asyncpg import Connection

ROWS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")


async def given(connection: "Connection", role: str, names: list[str], *, ours: bool) -> dict[str, Any]:
    """Make it if need be, and grant what it has not; what of it is ours. `ours`: the table of tenants."""
    made = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role) is None
    if made:
        await connection.execute(f"CREATE ROLE {quoted(role)} NOLOGIN NOSUPERUSER NOBYPASSRLS")
    await _refuse_above(connection, role, names)
    wanted = [(privilege, quoted(table)) for table in names for privilege in ROWS]
    wanted += [("SELECT", TENANTS)] if ours else []
    grants = []
    for privilege, table in wanted:
        if not await connection.fetchval("SELECT has_table_privilege($1, $2, $3)", role, table, privilege):
            grants.append(f"{privilege} ON {table}")
    for sequence in await _sequences(connection, names):
        if not await connection.fetchval("SELECT has_sequence_privilege($1, $2, 'USAGE')", role, sequence):
            grants.append(f"USAGE ON SEQUENCE {sequence}")
    schema = quoted(await connection.fetchval("SELECT current_schema()"))
    if not await connection.fetchval("SELECT has_schema_privilege($1, current_schema(), 'USAGE')", role):
        grants.append(f"USAGE ON SCHEMA {schema}")
    for grant in grants:
        await connection.execute(f"GRANT {grant} TO {quoted(role)}")
    return {"made": made, "grants": grants}


async def taken_back(connection: "Connection", role: str, detail: dict[str, Any]) -> list[str]:
    """What was given; the role too, if it was made here and nobody else has come to need it."""
    import asyncpg

    for grant in detail["grants"]:
        await connection.execute(f"REVOKE {grant} FROM {quoted(role)}")
    if detail["made"]:
        try:
            async with connection.transaction():
                await connection.execute(f"DROP ROLE {quoted(role)}")
        except asyncpg.DependentObjectsStillExistError:
            return [f"the role {role} stays: other databases or objects need it"]
    return []


async def _refuse_above(connection: "Connection", role: str, names: list[str]) -> None:
    above = await connection.fetchval("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = $1", role)
    for table in names:
        line = await connection.fetchrow(
            "SELECT pg_has_role($1, relowner, 'MEMBER') AS owner, has_table_privilege($1, oid, 'TRUNCATE') AS truncate"
            " FROM pg_class WHERE oid = to_regclass($2)",
            role,
            quoted(table),
        )
        above = above or line["owner"] or line["truncate"]
    if above:
        said = "is above row-level security: a superuser, BYPASSRLS, the tables' owner, or may TRUNCATE them"
        raise CliError(f"The role {role} {said}; name another with --role.")


async def _sequences(connection: "Connection", names: list[str]) -> list[str]:
    """Those that count a column of the tables (serial); identities need no grant."""
    found = await connection.fetch(
        "SELECT DISTINCT s.oid::regclass::text AS name FROM pg_depend d JOIN pg_class s ON s.oid = d.objid"
        " JOIN pg_class t ON t.oid = d.refobjid WHERE s.relkind = 'S' AND d.deptype = 'a'"
        " AND t.relnamespace = current_schema()::regnamespace AND t.relname = ANY($1)",
        names,
    )
    return [line["name"] for line in found]

"""The steps of phase 1 in PostgreSQL, each with what takes it back. `detail` is what a step leaves for that.

Who sees which rows is decided by the setting `app.current_tenant` of a connection: unset, nobody sees any. A tenant's
column that was there keeps its values, and all that refers to it, under another name.
"""

from typing import TYPE_CHECKING, Any, Final

from cli.errors import CliError
from cli.phases.plan import COLUMN, SOURCE, TENANTS, Step, Tenants, new_tenants
from cli.phases.postgres_reading import LEGACY, columns, quoted, unforced
from cli.phases.postgres_role import given, taken_back
from shared.ids import DEFAULT_TENANT_ID

if TYPE_CHECKING:
    from asyncpg import Connection

EACH: Final = ("column", "backfill", "not_null", "foreign_key", "index", "policy")
LAST: Final = ("role",)
POLICY: Final = "tenant_isolation_policy"
ALWAYS: Final = "tenant_isolation_always"
"""Restrictive: it holds whatever else another policy lets through (CREATE POLICY, "AS RESTRICTIVE")."""
_OWN: Final = "{column} = NULLIF(current_setting('app.current_tenant', true), '')::uuid"
"""A setting that a transaction has set is empty behind it, and no UUID: so is nothing, and no error."""
_TENANTS_TABLE: Final = f"""CREATE TABLE {TENANTS} (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name varchar(255) NOT NULL,
  slug varchar(100) UNIQUE NOT NULL,
  tier varchar(50) DEFAULT 'standard',
  status varchar(50) DEFAULT 'active',
  max_agents integer DEFAULT 50,
  max_users integer DEFAULT 5,
  settings jsonb DEFAULT '{{}}',
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz DEFAULT now()
)"""


async def done(connection: "Connection", step: Step, found: dict[str, Any]) -> Any:
    """Do a step; what it leaves for its undoing. `found`: the record."""
    table = quoted(step.table)
    match step.name:
        case "tenants":
            return await _tenants(connection)
        case "default":
            return await _default(connection, found[SOURCE]["tables"])
        case "column":
            return await _column(connection, step.table)
        case "backfill":
            return await _backfill(connection, step.table, had=found[f"column {step.table}"] is not None)
        case "not_null":
            return await connection.execute(f"ALTER TABLE {table} ALTER COLUMN {COLUMN} SET NOT NULL")
        case "foreign_key":
            key = f"ADD CONSTRAINT {_key(step.table)} FOREIGN KEY ({COLUMN}) REFERENCES {TENANTS}(id)"
            return await connection.execute(f"ALTER TABLE {table} {key}")
        case "index":
            return await _index(connection, step.table)
        case "policy":
            return await _policy(connection, step.table)
        case _:
            return await given(connection, found[SOURCE]["role"], found[SOURCE]["tables"], ours=found["tenants"])


async def undone(connection: "Connection", step: Step, found: dict[str, Any]) -> list[str]:
    """Take a step back, those behind it being taken back already; what to know of it."""
    table, detail = quoted(step.table), found[str(step)]
    match step.name:
        case "tenants" if detail:
            await connection.execute(f"DROP TABLE {TENANTS}")
        case "default":
            await connection.execute(f"DELETE FROM {TENANTS} WHERE id = ANY($1)", detail)  # noqa: S608 - a name of ours
        case "column":
            await connection.execute(f"ALTER TABLE {table} DROP COLUMN {COLUMN}")
            if detail is not None:
                await connection.execute(f"ALTER TABLE {table} RENAME COLUMN {LEGACY} TO {COLUMN}")
                if detail["not_null"]:
                    await connection.execute(f"ALTER TABLE {table} ALTER COLUMN {COLUMN} SET NOT NULL")
        case "not_null":
            await connection.execute(f"ALTER TABLE {table} ALTER COLUMN {COLUMN} DROP NOT NULL")
        case "foreign_key":
            await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {_key(step.table)}")
        case "index" if detail:
            await connection.execute(f"DROP INDEX idx_{step.table}_tenant")
        case "policy":
            for name in (POLICY, ALWAYS):
                await connection.execute(f"DROP POLICY {name} ON {table}")
            if not detail["enabled"]:
                await connection.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
            if not detail["forced"]:
                await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        case "role":
            return await taken_back(connection, found[SOURCE]["role"], detail)
    return []


async def refuse_loss(connection: "Connection", found: dict[str, Any]) -> None:
    """CliError where the old tables could not hold what has come since: rows and tenants beside the default one."""
    if found.get("tenants") and "default" in found:
        more = await connection.fetchval(f"SELECT count(*) FROM {TENANTS} WHERE id <> ALL($1)", found["default"])  # noqa: S608
        if more:
            raise CliError(f"{more} tenants have come since; undoing would lose them.")
    names = [table for table in found[SOURCE]["tables"] if f"column {table}" in found]
    async with unforced(connection, names):
        for table in names:
            new = f"{COLUMN} <> $1" + (f" AND {LEGACY} IS NULL" if found[f"column {table}"] is not None else "")
            said = f"SELECT count(*) FROM {quoted(table)} WHERE {new}"  # noqa: S608 - quoted
            if count := await connection.fetchval(said, DEFAULT_TENANT_ID):
                raise CliError(f"{count} rows of {table} are of other tenants by now; undoing would mix them.")


async def _tenants(connection: "Connection") -> bool:
    """Whether the table is ours. Its owner makes tenants; whoever else reads it sees the own one."""
    found = set(await columns(connection, TENANTS))
    if not found:
        await connection.execute(_TENANTS_TABLE)
        await connection.execute(f"CREATE POLICY {POLICY} ON {TENANTS} USING ({_OWN.format(column='id')})")
        await connection.execute(f"ALTER TABLE {TENANTS} ENABLE ROW LEVEL SECURITY")
    elif not {"id", "name", "slug"} <= found:
        raise CliError(f"There is a table {TENANTS} without id, name and slug; rename it first.")
    return not found


async def _default(connection: "Connection", names: list[str]) -> list[str]:
    """The ids of the tenants that were missing."""
    lines = await connection.fetch(f"SELECT id::text, slug FROM {TENANTS}")  # noqa: S608 - a name of ours
    ids, slugs = {line["id"] for line in lines}, {line["slug"] for line in lines}
    values: list[str | None] = []
    for table in names:
        if COLUMN in await columns(connection, table):
            found = await connection.fetch(f"SELECT DISTINCT {COLUMN}::text AS value FROM {quoted(table)}")  # noqa: S608
            values += [line["value"] for line in found]
    missing = new_tenants(values, Tenants(ids), ids, slugs)
    await connection.executemany(f"INSERT INTO {TENANTS} (id, name, slug) VALUES ($1, $2, $3)", missing)  # noqa: S608
    return [id for id, _, _ in missing]


async def _column(connection: "Connection", table: str) -> dict[str, bool] | None:
    """What an older column was like, which has another name from now on."""
    older = await connection.fetchrow(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped",
        quoted(table),
        COLUMN,
    )
    if older is not None:
        await connection.execute(f"ALTER TABLE {quoted(table)} RENAME COLUMN {COLUMN} TO {LEGACY}")
        await connection.execute(f"ALTER TABLE {quoted(table)} ALTER COLUMN {LEGACY} DROP NOT NULL")
    await connection.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {COLUMN} uuid")
    return None if older is None else {"not_null": older["attnotnull"]}


async def _backfill(connection: "Connection", table: str, *, had: bool) -> None:
    """Without the table's triggers, which are for what users do."""
    triggers = await connection.fetch(
        "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = to_regclass($1) AND NOT tgisinternal"
        " AND tgenabled <> 'D'",
        quoted(table),
    )
    for line in triggers:
        await connection.execute(f"ALTER TABLE {quoted(table)} DISABLE TRIGGER {quoted(line['tgname'])}")
    await connection.execute(f"UPDATE {quoted(table)} SET {COLUMN} = $1", DEFAULT_TENANT_ID)  # noqa: S608 - quoted
    if had:
        known = {line["id"] for line in await connection.fetch(f"SELECT id::text FROM {TENANTS}")}  # noqa: S608
        lines = await connection.fetch(f"SELECT DISTINCT {LEGACY}::text AS value FROM {quoted(table)}")  # noqa: S608
        values = [line["value"] for line in lines if line["value"] is not None]
        ids = [Tenants(known).of(value) for value in values]
        meant = "unnest($1::text[], $2::uuid[]) AS meant(value, id)"
        which = f"UPDATE {quoted(table)} SET {COLUMN} = meant.id FROM {meant} WHERE {LEGACY}::text = meant.value"  # noqa: S608
        await connection.execute(which, values, ids)
    for line in triggers:
        how = {b"R": "ENABLE REPLICA", b"A": "ENABLE ALWAYS"}.get(line["tgenabled"], "ENABLE")
        await connection.execute(f"ALTER TABLE {quoted(table)} {how} TRIGGER {quoted(line['tgname'])}")


async def _index(connection: "Connection", table: str) -> bool:
    """Whether it is ours."""
    if await connection.fetchval("SELECT to_regclass($1)", f"idx_{table}_tenant") is not None:
        return False
    await connection.execute(f"CREATE INDEX idx_{table}_tenant ON {quoted(table)}({COLUMN})")
    return True


async def _policy(connection: "Connection", table: str) -> dict[str, bool]:
    """What was on before. The owner is bound too (FORCE)."""
    before = await connection.fetchrow(
        "SELECT relrowsecurity AS enabled, relforcerowsecurity AS forced FROM pg_class WHERE oid = to_regclass($1)",
        quoted(table),
    )
    own = _OWN.format(column=COLUMN)
    for name, kind in ((POLICY, "PERMISSIVE"), (ALWAYS, "RESTRICTIVE")):
        await connection.execute(f"CREATE POLICY {name} ON {quoted(table)} AS {kind} USING ({own}) WITH CHECK ({own})")
    for what in ("ENABLE", "FORCE"):
        await connection.execute(f"ALTER TABLE {quoted(table)} {what} ROW LEVEL SECURITY")
    return dict(before)


def _key(table: str) -> str:
    return f"{table}_tenant_id_fkey_phase_1"

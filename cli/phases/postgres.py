"""Phase 1 in a PostgreSQL database, and back: the same steps, and row-level security.

It works where it is sent, in the schema that comes first in the search path. `createdb --template` makes a copy.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from cli.errors import CliError
from cli.phases.plan import RECORD, SOURCE, TABLES, Report, Step, steps
from cli.phases.postgres_reading import digests, notes, tables
from cli.phases.postgres_steps import EACH, LAST, done, refuse_loss, undone

if TYPE_CHECKING:
    from asyncpg import Connection

WAITS_SECONDS: Final = 10
"""For a lock that others hold, and for the server to take a connection."""
_LOCK: Final = 5_301_001
"""One run at a time, by PostgreSQL's own locks; the number is ours by chance."""


async def forward(address: str, role: str) -> Report:
    """All steps that are not done yet. CliError says which one could not be; nothing of it is done then."""
    async with _connected(address) as connection:
        report = Report(await connection.fetchval("SELECT current_database()"))
        before = await _begun(connection, role)
        for step in steps(before["tables"], EACH, LAST):
            async with _transaction(connection, step):
                found = await recorded(connection)
                if str(step) in found:
                    report.before += 1
                    continue
                await _record(connection, str(step), await done(connection, step, found))
            report.steps.append(str(step))
        counted = await digests(connection, before["tables"])
        if report.steps:
            report.equal = counted == before["digests"]
        report.rows = {table: rows for table, (rows, _) in counted.items()}
        report.tenants = await connection.fetchval("SELECT count(*) FROM tenants")
        report.notes = await notes(connection, before["tables"], before["role"])
    return report


async def back(address: str) -> Report:
    """Every step taken back, the last one first; the record goes with them."""
    async with _connected(address) as connection:
        report = Report(await connection.fetchval("SELECT current_database()"), undo=True)
        before = (await recorded(connection)).get(SOURCE)
        if before is None:
            raise CliError(f"{report.database} has no phase that could be undone.")
        for step in reversed(steps(before["tables"], EACH, LAST)):
            async with _transaction(connection, step):
                found = await recorded(connection)
                if str(step) not in found:
                    report.before += 1
                    continue
                await refuse_loss(connection, found)
                report.notes += await undone(connection, step, found)
                await connection.execute(f"DELETE FROM {RECORD} WHERE step = $1", str(step))  # noqa: S608
            report.steps.append(str(step))
        counted = await digests(connection, before["tables"])
        report.equal = counted == before["digests"]
        report.rows = {table: rows for table, (rows, _) in counted.items()}
        await connection.execute(f"DROP TABLE {RECORD}")
    return report


async def recorded(connection: "Connection") -> dict[str, Any]:
    """Step -> detail; nothing where there is no record."""
    if await connection.fetchval("SELECT to_regclass($1)", RECORD) is None:
        return {}
    return {line["step"]: json.loads(line["detail"]) for line in await connection.fetch(f"SELECT * FROM {RECORD}")}  # noqa: S608


async def _begun(connection: "Connection", role: str) -> Any:
    """What the database was like before; written down by the first run."""
    async with _transaction(connection):
        found = (await recorded(connection)).get(SOURCE)
        if found is not None:
            if found["role"] != role:
                raise CliError(f"The phase was begun with the role {found['role']}; go on with that.")
            return found
        names = await tables(connection)
        if not names:
            raise CliError(f"The database has none of the tables {', '.join(TABLES)}.")
        found = {"role": role, "tables": names, "digests": await digests(connection, names)}
        await connection.execute(
            f"CREATE TABLE {RECORD} (step text PRIMARY KEY, at timestamptz DEFAULT now(), detail text NOT NULL)"
        )
        await _record(connection, SOURCE, found)
        return found


async def _record(connection: "Connection", step: str, detail: Any) -> None:
    await connection.execute(f"INSERT INTO {RECORD} (step, detail) VALUES ($1, $2)", step, json.dumps(detail))  # noqa: S608


@asynccontextmanager
async def _connected(address: str) -> AsyncIterator["Connection"]:
    try:
        import asyncpg
    except ImportError as error:
        said = "--postgres needs asyncpg: .venv/bin/python -m pip install -r requirements/postgres.txt"
        raise CliError(said) from error
    try:
        connection = await asyncpg.connect(address, timeout=WAITS_SECONDS)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CliError(f"The database cannot be opened: {error or type(error).__name__}.") from error
    try:
        await connection.execute(f"SET lock_timeout = '{WAITS_SECONDS}s'")
        yield connection
    except asyncpg.PostgresError as error:
        raise CliError(f"The database says: {error}.") from error
    finally:
        await connection.close(timeout=WAITS_SECONDS)


@asynccontextmanager
async def _transaction(connection: "Connection", step: Step | None = None) -> AsyncIterator[None]:
    """All of it or nothing, and nobody else's run meanwhile."""
    import asyncpg

    try:
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            yield
    except asyncpg.PostgresError as error:
        where = f"Step {step}" if step else "The beginning"
        raise CliError(f"{where}: {error}. What was done before is kept; again goes on from there.") from error

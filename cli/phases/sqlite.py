"""Phase 1 on a copy of a SQLite file, and back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cli.errors import CliError
from cli.phases.copying import connected, copied
from cli.phases.plan import RECORD, SOURCE, TENANTS, Report, Step, steps
from cli.phases.reading import broken, digests
from cli.phases.record import forget, record, recorded, transaction
from cli.phases.sqlite_steps import EACH, done, refuse_loss, undone


def forward(source: Path, copy: Path) -> Report:
    """All steps that are not done yet. CliError says which one could not be; nothing of it is done then."""
    copied(source, copy)
    report = Report(str(copy))
    with closing(connected(copy)) as connection:
        before = recorded(connection)[SOURCE]
        for step in steps(before["tables"], EACH):
            with _told(copy, step):
                _do(connection, step, before["tables"], report)
    with closing(connected(copy)) as connection:  # what the file says, and not what this process believes
        found = digests(connection, before["tables"])
        if report.steps:
            report.equal = found == before["digests"]
        for what, why in broken(connection, before["tables"]).items():
            if what not in before["broken"]:
                report.notes.append(f"{what} does not work any more: {why}")
        report.rows = {table: rows for table, (rows, _) in found.items()}
        (report.tenants,) = connection.execute(f"SELECT count(*) FROM {TENANTS}").fetchone()  # noqa: S608
    return report


def back(copy: Path) -> Report:
    """Every step taken back, the last kind first; the record goes with them.

    Of each kind in the tables' own order, as the one that is made last is the last in a dump.
    """
    if not copy.is_file():
        raise CliError(f"There is no copy {copy}.")
    report = Report(str(copy), undo=True)
    with _told(copy), closing(connected(copy)) as connection:
        before = recorded(connection).get(SOURCE)
        if before is None:
            raise CliError(f"{copy} has no phase that could be undone.")
        for step in reversed(steps(before["tables"][::-1], EACH)):
            with _told(copy, step):
                _undo(connection, step, report)
        found = digests(connection, before["tables"])
        report.equal = found == before["digests"]
        report.rows = {table: rows for table, (rows, _) in found.items()}
        connection.execute(f"DROP TABLE {RECORD}")
    return report


@contextmanager
def _told(copy: Path, step: Step | None = None) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        where = f"{copy}, step {step}" if step else str(copy)
        raise CliError(f"{where}: {error}. What was done before is kept; again goes on from there.") from error


def _do(connection: sqlite3.Connection, step: Step, tables: list[str], report: Report) -> None:
    with transaction(connection):
        if str(step) in recorded(connection):
            report.before += 1
            return
        record(connection, str(step), done(connection, step, tables))
    report.steps.append(str(step))


def _undo(connection: sqlite3.Connection, step: Step, report: Report) -> None:
    with transaction(connection):
        found = recorded(connection)
        if str(step) not in found:
            report.before += 1
            return
        refuse_loss(connection)
        undone(connection, step, found[str(step)])
        forget(connection, str(step))
    report.steps.append(str(step))

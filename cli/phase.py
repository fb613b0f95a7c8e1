"""`python -m cli phase 1`: the roadmap's first phase, for those who stay on SQL a little longer.

What it makes, and why, is in docs/decisions/0053.
"""

import asyncio
import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.errors import CliError
from cli.phases.plan import Report


def run(source: Path | None, *, copy: Path | None, postgres: str | None, role: str, undo: bool, as_json: bool) -> bool:
    """Do the phase, or take it back, and tell; False when something is not what it was before."""
    if postgres is not None and source is None:
        if copy is not None:
            raise CliError("--out is for SQLite; a copy in PostgreSQL is made with `createdb --template`.")
        from cli.phases.postgres import back as back_there
        from cli.phases.postgres import forward as forward_there

        report = asyncio.run(back_there(postgres) if undo else forward_there(postgres, role))
    elif source is not None and postgres is None:
        from cli.phases.sqlite import back, forward

        where = copy or Path(f"{source.stem}.phase-1.db")
        report = back(where) if undo else forward(source, where)
    else:
        raise CliError("Name the old SQLite file, or --postgres with the address of a database.")
    if as_json:
        print(json.dumps(report.as_json(), ensure_ascii=False, indent=2))
    else:
        _tell(Console(), report)
    return report.equal is not False


def _tell(console: Console, report: Report) -> None:
    grid = Table("table", "rows")
    for table, rows in report.rows.items():
        grid.add_row(escape(table), f"{rows:,}")
    console.print(grid)
    verb = "taken back" if report.undo else "done"
    console.print(f"{len(report.steps)} steps {verb} now, {report.before} before, in {escape(report.database)}")
    if report.equal is not None:
        console.print("all rows are as they were" if report.equal else "[red]rows are not what they were before[/]")
    for note in report.notes:
        console.print(f"[yellow]{escape(note)}[/]")

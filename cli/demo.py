"""`make demo`: the whole main job on a fresh Flowgrid, told in one table. Every line is checked, not just shown."""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.api import Api
from cli.child import Child
from cli.demo_steps import Check, Demo, steps


def run() -> bool:
    """Tell the story; True when all of it was true."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="flowgrid-demo-") as folder:
        try:
            with Child(Path(folder), FLOWGRID_GLOBAL_LIMIT="100000") as child:
                checks = asyncio.run(_tell(child, console))
        except RuntimeError as error:
            checks.append(Check("the demo", "to run", str(error), False))
    console.print(_table(checks))
    failed = [check for check in checks if not check.ok]
    console.print(
        f"[bold red]{len(failed)} of {len(checks)} were not as expected[/]" if failed else "[bold green]All true.[/]"
    )
    return not failed


async def _tell(child: Child, console: Console) -> list[Check]:
    staff = Api(child.base_url, child.issuer.mint("demo", roles=["platform:admin"], email="staff@flowgrid.example"))
    demo = Demo(child, staff)
    checks: list[Check] = []
    try:
        for step in steps():
            console.print(f"[dim]{step.__doc__}[/]")
            checks += await _checked(step, demo)
    finally:
        await demo.close()
    return checks


async def _checked(step: Callable[[Demo], Awaitable[list[Check]]], demo: Demo) -> list[Check]:
    try:
        return await step(demo)
    except KeyError as error:
        seen = f"{error} is missing: an earlier step failed, or an answer has another shape"
    except Exception as error:  # whatever it is, it is told, and the next steps are tried
        seen = f"{type(error).__name__}: {error}"
    return [Check(str(step.__doc__).rstrip("."), "no error", seen, False)]


def _table(checks: list[Check]) -> Any:
    table = Table(title="Flowgrid, the main job", title_style="bold", show_lines=False, expand=False)
    for column in ("", "step", "expected", "seen"):
        table.add_column(column, overflow="fold")
    for check in checks:
        mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
        table.add_row(mark, *map(escape, (check.step, check.expected, check.seen)))
    return table

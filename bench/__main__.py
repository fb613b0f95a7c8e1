"""`python -m bench [NAME …] [--quick] [--json FILE]`: measured claims, each beside a baseline of the same run."""

import argparse
import asyncio
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

BENCHES = (
    "cold_start",
    "onboarding",
    "http",
    "telemetry",
    "units",
    "usage",
    "measured",
    "uploads",
    "adapter",
    "memory",
    "audit",
    "migrate",
    "limits",
    "tenants",
    "neighbor",
    "hour",
)

TEXTS = ("call", "tier", "import", "file", "answers", "what")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHES)}; all of them by default")
    parser.add_argument("--quick", action="store_true", help="fewer calls, rougher figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(BENCHES)}")
    console = Console(width=110)
    results: dict[str, list[dict[str, Any]]] = {}
    for name in options.names or BENCHES:
        module = import_module(f"bench.{name}")
        results[name] = asyncio.run(module.run(options.quick))
        console.print(_table(name, str(module.__doc__).splitlines()[0], results[name]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def _table(name: str, about: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{name}: {about}", title_justify="left", min_width=100)
    for column in rows[0]:
        table.add_column(
            column, justify="left" if column in ("call", "tier", "import", "file", "answers", "what") else "right"
        )
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


main()

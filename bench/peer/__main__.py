"""`python -m bench.peer [--quick] [--baseline COMMIT]`: beside what a team would write instead, in alternating rounds.

The peer is FastAPI, SQLAlchemy and PostgreSQL with row-level security, one process of it beside one of ours, called by
the same client: see app.py. Ratios are of medians. CPU-milliseconds are the server's per call, with what follows behind
its answer; `database`: those of the processes of PostgreSQL beside them, which we have none of.
"""

import argparse
import asyncio
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.peer.rounds import Row, measure
from bench.peer.sides import MISSING, PYTHON


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 tenants, one round of few calls: rough figures")
    parser.add_argument(
        "--baseline", action="append", default=[], metavar="COMMIT", help="an earlier commit of ours in the same rounds"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    if not PYTHON.exists():
        parser.error(MISSING)
    rows = asyncio.run(measure(options.quick, options.baseline))
    Console(width=120).print(_table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def _table(rows: list[Row]) -> Table:
    table = Table(title="peer: medians of alternating rounds", title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("call", "side") else "right")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table


main()

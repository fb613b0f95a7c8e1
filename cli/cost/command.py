"""`python -m cli cost`: what a month costs, what it would cost otherwise, and where a stamp ends."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cli.cost.load import Load
from cli.cost.model import bill
from cli.cost.plot import svg
from cli.cost.report import (
    FLEETS,
    basis,
    beside_the_roadmap,
    dearest,
    environments_of,
    fullness_of,
    items_of,
    limits_of,
    lines_of,
    sizes_of,
    unconfirmed,
)

FLEET_HEAD = ["item, a month", *(f"{tenants:,} tenants" for tenants in FLEETS)]
PLACES_HEAD = ["a tenant, as deployed in", *(f"{tenants:,} tenants" for tenants in FLEETS)]
ROADMAP_HEAD = ["roadmap's row", "its price", "here", "costs"]
LINES_HEAD = ["item", "what", "quantity", "of", "costs"]
LIMITS_HEAD = ["limit of a stamp", "tenants", "beyond it", "what helps"]
SIZES_HEAD = ["tenants", "limits passed", "stamps", "shards", "a tenant costs"]
FULL_HEAD = ["plan", "audit is kept, days", "of the partition", "calls a day that fill it"]
Rows = list[list[str]]


def run(load: Load, *, scale: bool, as_json: bool, plot: Path | None) -> None:
    if plot is not None:
        plot.write_text(svg(load), "utf-8")
    if as_json:
        print(json.dumps(_scaled(load) if scale else _billed(load), indent=1))
        return
    console = Console(width=130)
    if scale:
        tables = [(LIMITS_HEAD, limits_of(load)), (SIZES_HEAD, sizes_of(load)), (FULL_HEAD, fullness_of(load))]
    else:
        fleets = sorted({*FLEETS, load.tenants})
        head = [FLEET_HEAD[0], *(f"{tenants:,} tenants" for tenants in fleets)]
        tables = [(head, items_of(load, fleets)), (LINES_HEAD, lines_of(bill(load)))]
        tables += [(ROADMAP_HEAD, beside_the_roadmap(load)), (PLACES_HEAD, environments_of(load))]
    for table in tables:
        console.print(_table(*table))
    console.print(f"{basis()}. At {load.tenants:,} tenants, {load.calls:,} calls a day each. Nothing was deployed.")
    console.print(f"Of that: {dearest(bill(load))}.")
    console.print(f"From memory, to be confirmed: {', '.join(unconfirmed(bill(load)))}.")
    for name, value, means in load.assumed.told():
        console.print(f"Assumed: {name} = {value:g}, {means}.", highlight=False)


def _billed(load: Load) -> dict[str, object]:
    made = bill(load)
    rows = [
        {"item": row.item, "what": row.what, "meter": row.meter.value, "quantity": row.quantity, "usd": row.cost}
        for row in made.rows
    ]
    totals = {"usd": made.total, "usd_per_tenant": made.per_tenant, "unconfirmed": unconfirmed(made)}
    return {"tenants": load.tenants, "calls": load.calls, "basis": basis(), **totals, "rows": rows}


def _scaled(load: Load) -> dict[str, object]:
    named = {"limits": (LIMITS_HEAD, limits_of(load)), "sizes": (SIZES_HEAD, sizes_of(load))}
    return {name: [dict(zip(head, row, strict=True)) for row in rows] for name, (head, rows) in named.items()}


def _table(head: list[str], rows: Rows) -> Table:
    table = Table()
    for number, column in enumerate(head):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(cell.replace("**", "").replace("`", "") for cell in row))
    return table

"""A statement as a file for spreadsheets (CSV, RFC 4180) and as a page that prints well."""

import base64
import csv
import io
from hashlib import sha256
from html import escape

from functions.billing.models import Line, Statement
from functions.billing.prices import UNIT
from shared.http.spreadsheets import cell

COLUMNS = (
    "month",
    "kind",
    "description",
    "tier",
    "metric",
    "from",
    "to",
    "price_version",
    "quantity",
    "included",
    "billed",
    "amount",
    "currency",
    "events",
)
STYLE = """
body { font: 10pt/1.4 system-ui, sans-serif; color: #111; max-width: 62em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 16pt; margin: 0; }
table { border-collapse: collapse; width: 100%; margin: 1.5em 0; }
th, td { padding: .35em .6em; text-align: left; vertical-align: top; border-bottom: 1px solid #ccc; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
tfoot td { font-weight: bold; border-top: 2px solid #111; border-bottom: none; }
a { color: inherit; }
@page { size: A4; margin: 18mm 15mm; }
@media print { body { margin: 0; padding: 0; max-width: none; } a { text-decoration: none; } }
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>{tenant}<br>{state}<br>Prices: version {version}. All amounts in {currency}; all times in UTC.</p>
<table>
<thead><tr><th>What</th><th>From</th><th>To</th><th class="number">Quantity</th><th class="number">Included</th>\
<th class="number">Billed</th><th class="number">Amount</th></tr></thead>
<tbody>
{rows}
</tbody>
<tfoot><tr><td colspan="6">Total</td><td class="number">{total}</td></tr></tfoot>
</table>
</body>
</html>
"""
STATES = {"final": "Final.", "open": "Open: as it stands; it becomes final on the third day of the next month."}


def money(micro: int) -> str:
    """Micro-units as a decimal number: at least two places, and as many as it has."""
    whole, rest = divmod(abs(micro), UNIT)
    places = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micro < 0 else ''}{whole}.{places}"


def as_csv(statement: Statement) -> bytes:
    """One record per line, and one for the total. Amounts are decimal numbers of the currency."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for line in statement.lines:
        cells = line.model_dump(mode="json", by_alias=True)
        cells |= {"amount": money(line.amount), "currency": statement.currency}
        table.writerow([_cell(name, cells[name]) for name in COLUMNS])
    last = {"month": statement.month, "kind": "total", "description": statement.tenant_name}
    last |= {"amount": money(statement.total), "currency": statement.currency}
    table.writerow([_cell(name, last.get(name)) for name in COLUMNS])
    return text.getvalue().encode()


def as_html(statement: Statement) -> bytes:
    """The page; it loads nothing, and `POLICY` lets it load nothing."""
    return HTML.format(
        title=escape(f"Statement {statement.month}"),
        style=STYLE,
        tenant=escape(statement.tenant_name),
        state=escape(STATES[statement.status]),
        version=escape(statement.price_version),
        currency=escape(statement.currency),
        rows="\n".join(map(_row, statement.lines)),
        total=money(statement.total),
    ).encode()


def _cell(name: str, value: str | int | None) -> str | int | None:
    """Texts that a spreadsheet would run are marked as texts; numbers below zero are numbers."""
    return value if name == "amount" else cell(value)


def _row(line: Line) -> str:
    what = escape(line.description)
    if line.events is not None:
        what = f'<a href="{escape(line.events)}">{what}</a>'
    numbers = [*("" if one is None else f"{one:,}" for one in (line.quantity, line.included, line.billed))]
    cells = "".join(f'<td class="number">{one}</td>' for one in (*numbers, money(line.amount)))
    return f"<tr><td>{what}</td><td>{_when(line.start)}</td><td>{_when(line.end)}</td>{cells}</tr>"


def _when(instant: str) -> str:
    return escape(f"{instant[:10]} {instant[11:16]}")

"""A plot of the bill as SVG: US dollars a tenant and month over the number of tenants, a curve for each item."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from cli.cost.load import Load
from cli.cost.model import bill

FLEETS = tuple(round(10 ** (1 + number / 10)) for number in range(21))  # 10 to 1,000
WIDTH, HEIGHT, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 760, 420, 60, 30, 520, 340
LEAST, MOST = 0.001, 10.0  # US dollars, on a logarithmic scale
COLORS = ("#0b6e99", "#c4554d", "#448361", "#9065b0", "#d9730d", "#787774", "#cb912f", "#337ea9", "#c14c8a", "#9f6b53")


def plot() -> str:
    """`docs/cost.svg`: of the usual load."""
    return svg(Load())


def svg(load: Load) -> str:
    """Items that never reach a tenth of a cent are left out."""
    bills = [bill(load.of(tenants)) for tenants in FLEETS]
    curves: dict[str, list[float]] = {"all": [one.per_tenant for one in bills]}
    for name in bill(load).items():
        costs = [one.item(name) / tenants for one, tenants in zip(bills, FLEETS, strict=True)]
        if max(costs) >= LEAST:
            curves[name] = costs
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"',
        ' font-size="12">',
        f"<title>What a tenant costs in a month, at {load.calls:,} calls a day</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_axes(),
    ]
    for number, (name, costs) in enumerate(curves.items()):
        color, width = ("#111111", 2.5) if name == "all" else (COLORS[(number - 1) % len(COLORS)], 1.5)
        points = " ".join(f"{_x(tenants):.1f},{_y(cost):.1f}" for tenants, cost in zip(FLEETS, costs, strict=True))
        parts.append(
            f'<polyline id="{escape(name)}" points="{points}" fill="none" stroke="{color}" stroke-width="{width}"/>'
        )
        y = TOP + 10 + 18 * number
        parts.append(f'<rect x="{LEFT + PLOT_WIDTH + 20}" y="{y - 6}" width="14" height="3" fill="{color}"/>')
        parts.append(f'<text x="{LEFT + PLOT_WIDTH + 40}" y="{y}">{escape(name)}, ${_at(costs):.2f} at 100</text>')
    return "\n".join([*parts, "</svg>", ""])


def _axes() -> list[str]:
    lines = []
    for cost in (0.001, 0.01, 0.1, 1.0, 10.0):
        lines.append(_line(LEFT, _y(cost), LEFT + PLOT_WIDTH, _y(cost)))
        lines.append(f'<text x="{LEFT - 8}" y="{_y(cost) + 4:.1f}" text-anchor="end">${cost:g}</text>')
    for tenants in (10, 100, 1_000):
        lines.append(_line(_x(tenants), TOP, _x(tenants), TOP + PLOT_HEIGHT))
        lines.append(
            f'<text x="{_x(tenants):.1f}" y="{TOP + PLOT_HEIGHT + 18}" text-anchor="middle">{tenants:,}</text>'
        )
    lines.append(f'<text x="{LEFT + PLOT_WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">tenants</text>')
    lines.append(f'<text x="{LEFT}" y="{TOP - 12}">US dollars a tenant and month</text>')
    return lines


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="#dddddd"/>'


def _x(tenants: float) -> float:
    return LEFT + PLOT_WIDTH * (math.log10(tenants) - 1) / 2


def _y(cost: float) -> float:
    share = math.log(max(LEAST, min(MOST, cost)) / LEAST) / math.log(MOST / LEAST)
    return TOP + PLOT_HEIGHT * (1 - share)


def _at(costs: Sequence[float]) -> float:
    return costs[FLEETS.index(100)]

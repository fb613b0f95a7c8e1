"""The bill in words: tables for the terminal and for the pages, and what the roadmap had reckoned with."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from cli.cost.deployed import deployed
from cli.cost.load import Load, measured
from cli.cost.model import Bill, bill
from cli.cost.scale import SIZES, fullness, limits, shards, stamps
from functions.platform.price_list import LIST, READ
from shared.tenancy.plans import PLANS, Tier

FLEETS = (10, 100, 1_000)
ENVIRONMENTS = ("dev", "prod", "private")
GOAL, MOST = 2.0, 5.0  # US dollars a tenant and month: the goal, and the roadmap's success metric
ROADMAP: Sequence[tuple[str, str, str, Callable[[Load], float]]] = (
    ("Azure SQL, shared", "$50 to 200", "database, blobs", lambda load: _items(load, "database", "blobs")),
    (
        "Azure SQL, an enterprise tenant's own",
        "$50 each",
        "a database of its own more",
        lambda load: _more(load, replace(load, dedicated=load.dedicated + 1)),
    ),
    ("Azure AD B2C", "free to $50", "sign-in (Entra External ID)", lambda load: _items(load, "sign-in")),
    (
        "Azure API Management",
        "$140 to 550",
        "Basic v2, when there is one",
        lambda load: _more(load, replace(load, gateway=True)),
    ),
    ("Application Insights", "$20 to 100", "logs, watching", lambda load: _items(load, "logs", "watching")),
    ("Redis Cache", "$15", "when there is one", lambda load: _more(load, replace(load, redis=True))),
    ("Azure Service Bus", "$10", "messages", lambda load: _items(load, "messages")),
    ("Compute", "left out", "functions", lambda load: _items(load, "functions")),
    ("All", "$285 to 560, without compute", "all of it", lambda load: bill(load).total),
    (
        "",
        "",
        "all of it, with gateway and Redis",
        lambda load: bill(replace(load, gateway=True, redis=True)).total,
    ),
    (
        "",
        "",
        "and in a private network",
        lambda load: bill(replace(load, gateway=True, redis=True, private=True)).total,
    ),
    ("To break even, a tenant", "$5 to 10", "all of it, by tenants", lambda load: bill(load).per_tenant),
)


def _items(load: Load, *names: str) -> float:
    return sum(bill(load).item(name) for name in names)


def _more(less: Load, more: Load) -> float:
    return bill(more).total - bill(less).total


def items_of(load: Load, fleets: Sequence[int] = FLEETS) -> list[list[str]]:
    """A line for each item, the dearest first, then all, and what a tenant costs; a column for each fleet."""
    bills = [bill(load.of(tenants)) for tenants in fleets]
    rows = [[name, *(dollars(one.item(name)) for one in bills)] for name in bill(load).items()]
    rows.append(["**all**", *(f"**{dollars(one.total)}**" for one in bills)])
    return [*rows, ["**a tenant**", *(f"**{dollars(one.per_tenant)}**" for one in bills)]]


def lines_of(made: Bill) -> list[list[str]]:
    """A line for each row: how much of what, by which price."""
    return [
        [row.item, row.what, _figure(row.quantity), row.meter.value, dollars(row.cost)]
        for row in made.rows
        if row.quantity
    ]


def _figure(quantity: float) -> str:
    return f"{quantity:,.0f}" if quantity >= 10 else f"{quantity:.1f}"


def beside_the_roadmap(load: Load) -> list[list[str]]:
    """The roadmap's rows, for a hundred tenants, and what is here in the place of each."""
    plain = replace(load, gateway=False, redis=False, private=False)
    return [[row, theirs, ours, dollars(cost(plain))] for row, theirs, ours, cost in ROADMAP]


def environments_of(load: Load) -> list[list[str]]:
    """What a tenant costs where it is deployed as infra/environments says, and with a gateway before that."""
    rows = []
    for name in ENVIRONMENTS:
        for gateway in (False, True):
            there = replace(deployed(name, load), gateway=gateway)
            costs = [dollars(bill(there.of(tenants)).per_tenant) for tenants in FLEETS]
            rows.append([f"{name}{' and a gateway' if gateway else ''}", *costs])
    return rows


def limits_of(load: Load) -> list[list[str]]:
    """A line for each limit of a stamp, the first to be reached first."""
    return [
        [one.what, f"{one.tenants:,}", "refused or not done" if one.hard else "late, or told in part", one.helps]
        for one in limits(load)
    ]


def sizes_of(load: Load) -> list[list[str]]:
    """What so many tenants need, and which limits of one stamp with one shard they are beyond."""
    found, rows = limits(load), []
    for tenants in SIZES:
        count = stamps(load, tenants)
        beyond = [one.what for one in found if one.tenants < tenants]
        cost = bill(load.of(math.ceil(tenants / count))).per_tenant
        rows.append(
            [f"{tenants:,}", f"{len(beyond)} of {len(found)}", str(count), str(shards(load, tenants)), dollars(cost)]
        )
    return rows


def fullness_of(load: Load) -> list[list[str]]:
    """Of one tenant's partition, as its audit grows: how full it is when the plan lets go of the oldest entries."""
    return [
        [tier.value, f"{PLANS[tier].audit_retention_days:,}", f"{share:.0%}", f"{load.calls / share:,.0f}"]
        for tier in Tier
        if (share := fullness(load, tier))
    ]


def dearest(made: Bill) -> str:
    """The items that take a tenth of it or more, with their shares."""
    shares = {name: cost / made.total for name, cost in made.items().items()}
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.1)


def unconfirmed(made: Bill) -> list[str]:
    """The meters of this bill whose prices no page confirms."""
    return sorted({row.meter.value for row in made.rows if row.quantity and not LIST[row.meter].confirmed})


def basis() -> str:
    """Where the figures are from."""
    return f"Measured {measured()['measured']}; list prices as read {READ}, East US"


def dollars(cost: float) -> str:
    return f"${cost:,.0f}" if abs(cost) >= 100 else f"${cost:,.2f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], right: int = 1) -> str:
    """A table; from column `right` on figures."""
    rule = "|".join("---" if number < right else "---:" for number in range(len(head)))
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"

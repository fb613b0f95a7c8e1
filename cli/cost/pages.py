"""What pages of docs/ and the README say of costs and limits: tables made by the model."""

from textwrap import fill

from cli.cost.command import FLEET_HEAD, FULL_HEAD, LIMITS_HEAD, PLACES_HEAD, ROADMAP_HEAD, SIZES_HEAD
from cli.cost.load import Load
from cli.cost.model import bill
from cli.cost.report import (
    basis,
    beside_the_roadmap,
    dearest,
    environments_of,
    fullness_of,
    items_of,
    limits_of,
    markdown,
    sizes_of,
    unconfirmed,
)


def month() -> str:
    """What a month costs, and the roadmap's rows beside it."""
    load = Load()
    by_item = markdown(FLEET_HEAD, items_of(load))
    places = markdown(PLACES_HEAD, environments_of(load))
    beside = markdown(ROADMAP_HEAD, beside_the_roadmap(load), right=3)
    most = f"Of what {load.tenants} tenants cost: {dearest(bill(load))}"
    notes = fill(f"{most}. {basis()}. From memory, to be confirmed: {'; '.join(unconfirmed(bill(load)))}.", 120) + "\n"
    return f"\n{by_item}\n{notes}\n{beside}\n{places}\n"


def limits_of_a_stamp() -> str:
    """At how many tenants which limit is reached."""
    return f"\n{markdown(LIMITS_HEAD, limits_of(Load()), right=4)}\n"


def sizes() -> str:
    """What so many tenants need, and how full a tenant's partition gets."""
    return f"\n{markdown(SIZES_HEAD, sizes_of(Load()), right=0)}\n{markdown(FULL_HEAD, fullness_of(Load()))}\n"

"""What Flowgrid pays for what its tenants use: list prices, each with its source and the day from which it is believed.

Micro-USD (a millionth of a dollar) for so many units. Free amounts and what is paid whatever is used (the namespace,
health checks) are nobody's, and not in here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from functions.platform.price_list import GB, LIST, MILLION, Meter

What = Literal["request_units", "storage", "messages", "calls", "compute", "ai_tokens"]


@dataclass(frozen=True)
class Price:
    """`micro_usd` for `per` units."""

    micro_usd: int
    per: int
    source: str

    def of(self, quantity: int) -> int:
        """What so much costs, rounded half up."""
        return (2 * quantity * self.micro_usd + self.per) // (2 * self.per)


@dataclass(frozen=True)
class Prices:
    """The prices that are believed from a day (`2026-01-01`) on."""

    valid_from: str
    by: Mapping[What, Price]


def _tenants() -> Mapping[What, Price]:
    """Of what is metered of a tenant: without free amounts and steps, as nobody's are first."""
    return {
        "request_units": _price(Meter.REQUEST_UNITS, MILLION),
        "storage": _price(Meter.DATABASE_GB, 30 * GB, "by the byte and day, of months of 30 days"),
        "messages": _price(
            Meter.BUS_OPERATIONS, MILLION, "13 to 100 million; a message is sent, received and completed", times=3
        ),
        "calls": _price(Meter.EXECUTIONS, MILLION),
        "compute": _price(Meter.GB_SECONDS, MILLION, "by the call, taken to have 512 MB for 80 ms", times=40_000),
    }


def _price(meter: Meter, per: int, what: str = "", *, times: int = 1) -> Price:
    """The first step that is not free, `times` over."""
    listed = LIST[meter]
    first = next(micro_usd for _, micro_usd in listed.steps if micro_usd)
    return Price(first * times, per, f"{listed.source}, {listed.read}{what and '; '}{what}")


PRICES = (Prices("2026-01-01", _tenants()),)


def prices_of(month: str) -> Prices:
    """The prices of a month (`2026-11`); of one before all of them, the first."""
    known = [prices for prices in PRICES if prices.valid_from[:7] <= month]
    return known[-1] if known else PRICES[0]

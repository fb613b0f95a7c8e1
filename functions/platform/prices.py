"""What Flowgrid pays for what its tenants use: list prices, each with its source and the day from which it is believed.

Micro-USD (a millionth of a dollar) for so many units. Free amounts and what is paid whatever is used (the namespace,
health checks) are nobody's, and not in here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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


MILLION = 1_000_000
COSMOS = "Azure Cosmos DB serverless, pay per request, East US: $0.25 for a million RU, $0.25 for a GB and month"
FUNCTIONS = "Azure Functions Flex Consumption on demand, East US: $0.40 for a million executions, $0.000026 for a GB-s"
PRICES = (
    Prices(
        "2026-01-01",
        {
            "request_units": Price(250_000, MILLION, COSMOS),
            "storage": Price(250_000, 30 * 10**9, f"{COSMOS}; by the byte and day, of months of 30 days"),
            "messages": Price(
                2_400_000,
                MILLION,
                "Azure Service Bus Standard, 13 to 100 million operations: $0.80 for a million; a message is sent, "
                "received and completed",
            ),
            "calls": Price(400_000, MILLION, FUNCTIONS),
            "compute": Price(1_040_000, MILLION, f"{FUNCTIONS}; by the call, taken to have 512 MB for 80 ms"),
        },
    ),
)


def prices_of(month: str) -> Prices:
    """The prices of a month (`2026-11`); of one before all of them, the first."""
    known = [prices for prices in PRICES if prices.valid_from[:7] <= month]
    return known[-1] if known else PRICES[0]

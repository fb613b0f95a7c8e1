"""What each plan costs: one table, versions by month. Money is whole micro-units (10^-6) of the version's currency.

A version is never changed once a month has been billed by it: what is new is a new version, valid from a later month.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.tenancy.history import month_of
from shared.tenancy.plans import Tier
from shared.work.events import Metric

UNIT = 1_000_000  # micro-units of one dollar, euro, …


@dataclass(frozen=True)
class Tranche:
    """What `per` units cost up to so many beyond the included ones; `up_to` None: all further ones."""

    up_to: int | None
    price: int


@dataclass(frozen=True)
class Metered:
    """A month's amount of a metric that the base price includes, and the graduated prices of what is beyond it."""

    included: int
    per: int
    tranches: tuple[Tranche, ...]


@dataclass(frozen=True)
class Price:
    """A plan's price of a whole month, and of what is used in it."""

    base: int
    metered: Mapping[Metric, Metered]


@dataclass(frozen=True)
class PriceVersion:
    """The prices of every plan from a month on."""

    version: str
    valid_from: datetime
    currency: str
    plans: Mapping[Tier, Price]


class Prices:
    """The versions, oldest first. ValueError for a table by which nobody could be billed."""

    def __init__(self, versions: Sequence[PriceVersion]) -> None:
        self._versions = [*versions]
        starts = [one.valid_from for one in versions]
        if not starts or starts != sorted(set(starts)) or len({one.version for one in versions}) < len(starts):
            raise ValueError("versions have names of their own and are in the order of their months")
        if len({one.currency for one in versions}) > 1:
            raise ValueError("a statement corrects earlier months, so all versions have one currency")
        for one in versions:
            if one.valid_from != month_of(one.valid_from):
                raise ValueError(f"version {one.version} does not begin with a month")
            if {*one.plans} != {*Tier}:
                raise ValueError(f"version {one.version} has not a price for every plan")
            for metered in (metered for price in one.plans.values() for metered in price.metered.values()):
                _check(metered, one.version)

    def of(self, month: datetime) -> PriceVersion:
        """The version by which a month is billed; the first one for what was before it."""
        valid = [one for one in self._versions if one.valid_from <= month]
        return valid[-1] if valid else self._versions[0]


def _check(metered: Metered, version: str) -> None:
    bounds = [tranche.up_to for tranche in metered.tranches]
    inner = [bound for bound in bounds if bound is not None]
    if not bounds or bounds[-1] is not None or len(inner) != len(bounds) - 1 or inner != sorted({*inner}):
        raise ValueError(f"version {version} has tranches that do not follow each other up to the last, which is open")
    if min(metered.included, metered.per - 1, *(tranche.price for tranche in metered.tranches), *inner) < 0:
        raise ValueError(f"version {version} has a price or an amount below what there can be")


def _metered(calls: int, executions: int, tokens: int, discount: int) -> Mapping[Metric, Metered]:
    """Included amounts, and prices of which so many percent are off."""

    def price(full: int) -> int:
        return full * (100 - discount) // 100

    return {
        Metric.API_CALLS: Metered(calls, 1_000, (Tranche(1_000_000, price(400_000)), Tranche(None, price(250_000)))),
        Metric.EXECUTIONS: Metered(executions, 1, (Tranche(10_000, price(20_000)), Tranche(None, price(12_000)))),
        Metric.AI_TOKENS: Metered(tokens, 1_000, (Tranche(10_000_000, price(12_000)), Tranche(None, price(9_000)))),
    }


PRICES = Prices(
    [
        PriceVersion(
            "2026-01",
            datetime(2026, 1, 1, tzinfo=UTC),
            "USD",
            {
                Tier.STANDARD: Price(49 * UNIT, _metered(100_000, 1_000, 1_000_000, 0)),
                Tier.PROFESSIONAL: Price(249 * UNIT, _metered(1_000_000, 10_000, 10_000_000, 20)),
                Tier.ENTERPRISE: Price(990 * UNIT, _metered(10_000_000, 100_000, 100_000_000, 40)),
            },
        )
    ]
)

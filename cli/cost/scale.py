"""How many tenants reach which limit of one stamp, from the same figures as the bill: what breaks first."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from cli.cost.load import DAYS, HOST, SECONDS, Load
from cli.cost.quantities import Work
from functions.usage.fleet import MOST_TENANTS
from shared.database.cosmos.provisioner import MOST, PARTS, REGISTRY_PARTS
from shared.tenancy.plans import PLANS, Tier

SIZES = (1_000, 10_000, 100_000)
CONTAINER_UNITS = 5_000  # RU/s of a serverless container (learn.microsoft.com/azure/cosmos-db/serverless-performance)
CONTAINER_BYTES = 10**12  # of a serverless container (learn.microsoft.com/azure/cosmos-db/concepts-limits)
PARTITION_BYTES = 20 * 10**9  # of a logical partition (the same)
CREDITS = 1_000  # a second, of a Standard namespace; a send is one, a receive is one (service-bus-throttling)
INSTANCES = 1_000  # of a Flex app (learn.microsoft.com/azure/azure-functions/flex-consumption-plan)
SWEEP_SECONDS = 30  # between two (sweep_schedule)
FAR = 10**9
STAMP = "another stamp"


@dataclass(frozen=True)
class Limit:
    """`tenants`: that reach it. `hard`: what is beyond it is not done, or refused; else it is late, or told in part."""

    what: str
    tenants: int
    hard: bool
    helps: str
    shard: bool = False  # of each shard: a second one holds as many again


def limits(load: Load) -> list[Limit]:
    """Of one stamp with one shard, the first to be reached first."""
    return sorted(_limits(load), key=lambda one: one.tenants)


def _limits(load: Load) -> Iterator[Limit]:
    assumed = load.assumed
    one = Work(replace(load, tenants=1_000))
    units, peak = one.request_units(), assumed.peak / SECONDS / 1_000
    items = (units["calls"] + units["calls, what is not cached"] + units["timers, each tenant"]) * peak
    more = "FLOWGRID_SHARDS"
    yield Limit(f"{CONTAINER_UNITS:,} RU/s of `items` in a shard", int(CONTAINER_UNITS / items), True, more, True)
    yield Limit(
        f"{CONTAINER_UNITS:,} RU/s of `usage` in a shard",
        _reached(load, lambda work: _usage_units(work) * assumed.peak, CONTAINER_UNITS),
        True,
        more,
        True,
    )
    stored = one.stored_bytes()
    kept = (stored["audit"] + stored["agents and elements"]) / 1_000
    yield Limit("1 TB of `items` in a shard", int(CONTAINER_BYTES / kept), True, more, True)
    yield Limit(
        f"{CONTAINER_UNITS:,} RU/s of the registry",
        _reached(load, lambda work: _registry_units(work) * assumed.peak, CONTAINER_UNITS),
        True,
        STAMP,
    )
    messages = sum(one.messages().values()) * 2 * peak
    yield Limit(f"{CREDITS:,} credits/s of Service Bus Standard", int(CREDITS / messages), True, "Premium")
    yield Limit(
        "a sweep within its half minute", _reached(load, Work.sweep_seconds, SWEEP_SECONDS), False, "SWEEP_SCHEDULE"
    )
    timeout = _timeout()
    yield Limit("a sweep within the function's time", _reached(load, Work.sweep_seconds, timeout), True, STAMP)
    yield Limit(
        "the hourly rounds within the function's time",
        _reached(load, Work.round_seconds, timeout),
        True,
        STAMP,
    )
    yield Limit("the closing of an hour within five minutes", _reached(load, Work.closing_seconds, 240), False, STAMP)
    yield Limit("tenants in the sums of all", MOST_TENANTS, False, "they are left out, and it says so")
    calls = one.rate / 1_000 * assumed.peak * assumed.call_seconds / load.at_once / assumed.fullness
    yield Limit(f"{INSTANCES:,} instances of the app", int(INSTANCES / calls), True, "FLOWGRID_SERVICES, more memory")
    places = (MOST - REGISTRY_PARTS - PARTS) // PARTS
    yield Limit("databases of single tenants in an account", places, True, "another stamp, or no database of its own")


def _usage_units(work: Work) -> float:
    units = work.request_units()
    return (units["metering"] + units["closing of hours"]) / SECONDS


def _registry_units(work: Work) -> float:
    """The tenant's entry for each call that finds it in no cache (the other read is its user's); one for each block."""
    units = work.request_units()
    return (units["calls, what is not cached"] / 2 + work.blocks()) / SECONDS


def _reached(load: Load, need: Callable[[Work], float], most: float) -> int:
    """How many tenants need so much: by halving, as not all of it grows evenly."""
    least, beyond = 1, FAR
    while beyond - least > max(1, least // 1000):
        middle = math.isqrt(least * beyond) or 1
        if middle in (least, beyond):
            break
        if need(Work(replace(load, tenants=middle))) > most:
            beyond = middle
        else:
            least = middle
    return least


def _timeout() -> int:
    hours, minutes, seconds = json.loads(HOST.read_text("utf-8"))["functionTimeout"].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def fullness(load: Load, tier: Tier) -> float:
    """The share of a tenant's logical partition that its audit takes when the plan lets go of the oldest entries."""
    a_day = Work(replace(load, tenants=1)).audit_bytes() / DAYS
    return a_day * PLANS[tier].audit_retention_days * load.assumed.index / PARTITION_BYTES


def shards(load: Load, tenants: int) -> int:
    """How many shards hold so many."""
    return math.ceil(tenants / min(one.tenants for one in _limits(load) if one.shard))


def stamps(load: Load, tenants: int) -> int:
    """How many stamps hold so many, where none has a database of its own: with shards and Premium as they need."""
    return math.ceil(tenants / min(one.tenants for one in _limits(load) if one.hard and one.helps == STAMP))

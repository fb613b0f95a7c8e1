"""A month's bill: how much of each meter, from what the bench has measured, times what a list asks for it."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from cli.cost.load import HOURS, SECONDS, Load, measured
from cli.cost.quantities import Work
from functions.platform.price_list import GB, LIST, Meter
from functions.platform.price_list import HOURS as PRICED_HOURS
from shared.tenancy.plans import PLANS, Tier

REGISTRY_UNITS = 1_000  # RU/s, the least that autoscale may have
BUS_OPERATIONS = 3  # a message is sent, received and completed


@dataclass(frozen=True)
class Row:
    """So much of a meter, for `what`, and its part of what all of that meter costs, in US dollars."""

    item: str
    what: str
    meter: Meter
    quantity: float
    cost: float = 0.0


@dataclass(frozen=True)
class Bill:
    """Of a month."""

    load: Load
    rows: tuple[Row, ...]

    @property
    def total(self) -> float:
        return sum(row.cost for row in self.rows)

    @property
    def per_tenant(self) -> float:
        """What each has to bring in: below it, Azure is paid by somebody else."""
        return self.total / self.load.tenants

    def items(self) -> dict[str, float]:
        """Item -> US dollars, the dearest first."""
        sums: defaultdict[str, float] = defaultdict(float)
        for row in self.rows:
            sums[row.item] += row.cost
        return dict(sorted(sums.items(), key=lambda one: -one[1]))

    def item(self, name: str) -> float:
        return sum(row.cost for row in self.rows if row.item == name)


def bill(load: Load) -> Bill:
    """Free amounts and steps are of all rows of a meter together."""
    rows = list(_rows(load, Work(load)))
    totals: defaultdict[Meter, float] = defaultdict(float)
    for row in rows:
        totals[row.meter] += row.quantity
    priced = [
        Row(row.item, row.what, row.meter, row.quantity, _share(row.quantity, totals[row.meter], row.meter))
        for row in rows
    ]
    return Bill(load, tuple(priced))


def _share(quantity: float, total: float, meter: Meter) -> float:
    return LIST[meter].of(total) * quantity / total if total else 0.0


def _rows(load: Load, work: Work) -> Iterator[Row]:
    yield from _database(load, work)
    for what, count in work.messages().items():
        yield Row("messages", what, Meter.BUS_OPERATIONS, BUS_OPERATIONS * count)
    if load.private:
        yield Row("messages", "a namespace in a private network", Meter.BUS_PREMIUM, PRICED_HOURS)
    else:
        yield Row("messages", "the namespace", Meter.BUS, PRICED_HOURS)
    yield from _functions(load, work)
    for what, size in work.log_bytes().items():
        yield Row("logs", what, Meter.LOGS_GB, size / GB)
    yield from _blobs(load, work)
    yield Row("secrets", "keys that processes hold for an hour", Meter.VAULT, work.secrets())
    yield Row("sent", "answers", Meter.SENT_GB, work.answer_bytes() / GB)
    yield Row("sign-in", "users", Meter.USERS, load.tenants * load.assumed.users)
    yield Row("watching", "alert rules", Meter.ALERTS, load.assumed.alerts)
    yield Row("watching", "alert rules that look less often", Meter.SLOW_ALERTS, load.assumed.slow_alerts)
    yield Row("watching", "the alert on probes", Meter.SERIES, load.assumed.series)
    yield Row("watching", "probes", Meter.PROBES, load.assumed.probes * HOURS)
    yield from _extras(load)


def _database(load: Load, work: Work) -> Iterator[Row]:
    units = work.request_units()
    if load.autoscale:
        yield from _autoscale(load, sum(units.values()) / SECONDS * load.assumed.peak)
    else:
        for what, count in units.items():
            yield Row("database", what, Meter.REQUEST_UNITS, count)
    stored = work.stored_bytes()
    for what, size in stored.items():
        yield Row("database", what, Meter.DATABASE_GB, size / GB)
    if load.long_backup:
        yield Row("database", "to go back 30 days", Meter.LONG_BACKUP_GB, sum(stored.values()) / GB)


def _autoscale(load: Load, a_second: float) -> Iterator[Row]:
    """The busiest second of each hour, as if each hour had its peak; a tenth of the most at the least."""
    shard = min(load.autoscale, max(load.autoscale / 10, a_second / load.shards))
    yield Row("database", "shards", Meter.AUTOSCALE, load.shards * shard / 100 * PRICED_HOURS)
    yield Row("database", "registry", Meter.AUTOSCALE, REGISTRY_UNITS / 10 / 100 * PRICED_HOURS)


def _functions(load: Load, work: Work) -> Iterator[Row]:
    memory = load.memory / 1024
    for what, count in work.executions().items():
        yield Row("functions", what, Meter.EXECUTIONS, count)
    ready = min(1.0, load.ready / work.instances)
    for what, seconds in work.active_seconds().items():
        share = ready if what == "calls" else 0.0
        yield Row("functions", what, Meter.GB_SECONDS, seconds * memory * (1 - share))
        yield Row("functions", what, Meter.READY_BUSY, seconds * memory * share)
    yield Row("functions", "always ready", Meter.READY, load.ready * memory * SECONDS)


def _blobs(load: Load, work: Work) -> Iterator[Row]:
    kept = PLANS[Tier.STANDARD].backup_retention_days
    a_day = measured()["work"]["a backup, 1 tenant"]["blob_bytes"]
    scale = work.landscape_share()
    yield Row("blobs", "backups", Meter.BLOB_GB, load.tenants * kept * a_day * scale / GB)
    yield Row("blobs", "sealed audit", Meter.BLOB_GB, work.sealed_bytes() / GB)
    writes, reads = work.blob_operations()
    yield Row("blobs", "writes", Meter.BLOB_WRITES, writes)
    yield Row("blobs", "reads", Meter.BLOB_READS, reads)


def _extras(load: Load) -> Iterator[Row]:
    if load.gateway:
        kind = (
            (Meter.PRIVATE_GATEWAY, Meter.PRIVATE_GATEWAY_CALLS)
            if load.private
            else (Meter.GATEWAY, Meter.GATEWAY_CALLS)
        )
        yield Row("gateway", "a unit", kind[0], 1)
        yield Row("gateway", "calls", kind[1], load.per_month)
    if load.redis:
        yield Row("redis", "an instance", Meter.REDIS, 1)
    if load.private:
        yield Row("private network", "endpoints", Meter.ENDPOINTS, load.assumed.endpoints * PRICED_HOURS)
        yield Row("private network", "DNS zones", Meter.ZONES, load.assumed.zones)

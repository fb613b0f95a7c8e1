"""Usage: what metering costs at Cosmos DB (as the double charges), how fast it stores, and how fast usage is read.

Everything is counted: blocks, the closing of their hours, day and month, the timer's looks, the registry. The rate of
storing is beside `executemany` of a row an event into a file with the same settings, in batches of the same size.
"""

import json
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import azure.functions as func

from cli.heap import collect_seldom
from functions.billing.models import Account
from functions.billing.service import BillingService
from functions.kinds import KINDS
from functions.usage.archiving import Archive
from functions.usage.bus import blueprint
from functions.usage.closing import GRACE, Closing
from functions.usage.fleet import FLEET, FleetHours
from functions.usage.metering import Metering
from functions.usage.models import UsageQuery
from functions.usage.neighbors import Neighbors, NeighborsQuery
from functions.usage.reading import AHEAD
from functions.usage.rollups import totals
from functions.usage.service import UsageService
from functions.usage.slo import SloService
from local.messages import service_bus_batch
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.clock import rfc3339
from shared.core import Core, core
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Database
from shared.ids import PLATFORM_TENANT_ID, Uuid7Ids
from shared.jobs.deadletters import DeadLetters
from shared.messaging.port import Message
from shared.messaging.queues import GATHERED_WITHIN, MESSAGES_AT_ONCE
from shared.settings import Settings
from shared.tenancy.directory import TENANT, Directory
from shared.work.events import Metric, usage_event
from shared.work.session import TenantSession
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database

START = datetime(2026, 11, 1, tzinfo=UTC)
PLAN = {"at": "2026-10-01T00:00:00.000000Z", "tier": "standard", "status": "active"}
ONE_HOUR = timedelta(hours=1)
OPERATIONS = ["get_agent", "list_agents", "get_element", "list_elements", "patch_agent", "get_me", "create_agent"]
TIMER = timedelta(minutes=5)
NO_BLOBS: Any = None  # sums are in no archive
MONTH_EVENTS = 1_000_000
READS = 200
TURN = 10  # deliveries, in a row, as from a queue that is never empty
Row = dict[str, Any]


async def run(quick: bool) -> list[Row]:
    rows = [
        await _charged("100 tenants, 0.1 calls/s each", tenants=10 if quick else 100, per_minute=6),
        await _charged("one tenant, 5 calls/s", tenants=1, per_minute=300),
        await _summed_up(tenants=10 if quick else 100),
    ]
    with tempfile.TemporaryDirectory() as folder:
        rows.append(await _stored(Path(folder), 20 if quick else 100))
    with tempfile.TemporaryDirectory() as folder:
        rows += await _read(Path(folder), MONTH_EVENTS // 20 if quick else MONTH_EVENTS)
    return rows


class _Clock:
    """Set by the bench."""

    def __init__(self, instant: datetime) -> None:
        self.instant = instant

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()


class _World:
    """Metering and closing over a database, with a clock that the bench owns."""

    def __init__(self, database: Database, clock: _Clock, messaging: Any = None) -> None:
        self.clock = clock
        self.database = database
        self.directory = Directory(database, clock)
        self.metering = Metering(self.directory, DeadLetters(database, messaging, clock), messaging, clock, "usage")
        self.closing = Closing(database, self.directory, clock)
        self._ids = Uuid7Ids()

    async def register(self, number: int) -> str:
        id = f"0190c2a8-7e10-7abc-8def-{number:012x}"
        body = {
            "created_at": "2026-10-01T00:00:00.000000Z",
            "id": id,
            "name": "T",
            "slug": f"t{number}",
            "tier": "standard",
            "status": "active",
            "max_agents": 1,
            "max_users": 1,
            "placement": {"mode": "shared", "database": "shard-1", "generation": 1},
            "settings": {"limits": {}},
        }
        await self.database.platform.put(Create(TENANT, id, body), id)
        return id

    def event(self, tenant_id: str, at: datetime, number: int) -> Message:
        return usage_event(
            Metric.API_CALLS,
            id=self._ids.new(),
            tenant_id=tenant_id,
            at=at,
            value=1,
            endpoint="/api/v1/agents/{agent_id}",
            method="GET",
            operation=OPERATIONS[number % len(OPERATIONS)],
            duration_ms=3 + number * 7 % 40,
            status_code=200,
        )

    def events(self, tenant_id: str, start: datetime, span: timedelta, count: int) -> list[Message]:
        return [self.event(tenant_id, start + span * number / count, number) for number in range(count)]

    async def session(self, tenant_id: str) -> TenantSession:
        entry = await self.directory.entry(tenant_id)
        assert entry is not None
        services: Any = _Services(self.clock)
        return TenantSession(entry, self.directory.open(entry), SYSTEM, SYSTEM_REQUEST, services)

    async def sum(self, tenant_id: str, **query: Any) -> int:
        session = await self.session(tenant_id)
        return (await UsageService(Archive(NO_BLOBS)).usage(session, UsageQuery.model_validate(query))).total

    async def billed(self, tenant_id: str) -> int:
        """The calls on the statement of the month, as it stands."""
        body = {"name": "T", "tier": "standard", "status": "active", "plan_changes": [PLAN]}
        account = Account.model_validate(body)
        statement = await BillingService(self.database, totals).made(await self.session(tenant_id), account, START, [])
        return sum(line.quantity or 0 for line in statement.lines)


class _Services:
    def __init__(self, clock: _Clock) -> None:
        self.clock = clock


async def _charged(name: str, *, tenants: int, per_minute: int) -> Row:
    """One hour of calls, a delivery a minute, and the timer until hour, day and month are closed."""
    with CosmosDouble() as double:
        clock = _Clock(START)
        database: CosmosDatabase = cosmos_database(double.endpoint, clock, shards=1)
        world = _World(database, clock)
        ids = [await world.register(number) for number in range(tenants)]
        await world.closing.sweep()  # the client's own looks at the account
        double.forget()
        calls = 0
        for _ in range(int(ONE_HOUR / GATHERED_WITHIN)):
            start = clock.now()
            clock.instant += GATHERED_WITHIN
            delivery = [one for id in ids for one in world.events(id, start, GATHERED_WITHIN, per_minute)]
            for at in range(0, len(delivery), MESSAGES_AT_ONCE):
                await world.metering.store(delivery[at : at + MESSAGES_AT_ONCE])
            calls += len(delivery)
        stored = _units(double)
        double.forget()
        open_sum = await world.sum(ids[0], metric="api_calls", period="hour")
        reading = _units(double)
        double.forget()
        for _ in range(int(ONE_HOUR / TIMER)):
            clock.instant += TIMER
            await world.closing.sweep()
        clock.instant = datetime(2026, 12, 1, tzinfo=UTC) + GRACE
        await world.closing.sweep()
        closed = _units(double)
        if open_sum != per_minute * 60 or await world.sum(ids[-1], metric="api_calls") != per_minute * 60:
            raise RuntimeError("usage was counted wrongly")
        await database.close()
    return {
        "what": name,
        "figure": f"{(stored + closed) / calls:.2f} RU a call",
        "beside": f"blocks {stored / calls:.2f}, closing {closed / calls:.2f}; GET usage {reading:.1f} RU",
    }


async def _summed_up(tenants: int) -> Row:
    """All tenants together: the timer's look while their hour is open and when it is closed, and reading it."""
    with CosmosDouble() as double:
        clock = _Clock(START)
        database: CosmosDatabase = cosmos_database(double.endpoint, clock, shards=1)
        world = _World(database, clock)
        fleet = FleetHours(database, world.directory, clock)
        for number in range(tenants):
            id = await world.register(number)
            for start in (START, START + AHEAD / 2):
                await world.metering.store(world.events(id, start - timedelta(minutes=1), ONE_HOUR / 60, 6))
        looks = []
        for hours in (0, 1.2):
            clock.instant += hours * ONE_HOUR
            await world.closing.sweep()
            for _ in range(6):  # the first ones make up for the day before, and settle it
                double.forget()
                await fleet.sweep()
            looks.append(_units(double))
        body = (await fleet.together(START - ONE_HOUR, START))[0]
        for hour in range(26, 720):
            at = rfc3339(START - hour * ONE_HOUR)
            await database.platform.put(Create(FLEET, at, {**body, "created_at": at, "id": at}), PLATFORM_TENANT_ID)
        double.forget()
        await SloService(fleet, clock).slo()
        slo = _units(double)
        double.forget()
        query = NeighborsQuery.model_validate({"to": rfc3339(START)})
        await Neighbors(database, fleet, clock).list(query, query.wanted(None))
        ranked = _units(double)
        await database.close()
    return {
        "what": f"all of {tenants} tenants summed up, every five minutes",
        "figure": f"{looks[0]:.0f} RU a look",
        "beside": f"closed {looks[1]:.0f}; GET platform/slo {slo:.0f}, GET platform/analytics {ranked:.0f} RU",
    }


def _units(double: CosmosDouble) -> float:
    return float(sum(call.charge for call in list(double.calls)))


async def _stored(folder: Path, deliveries: int) -> Row:
    """Through the queue function, as the host calls it; in turns with the baseline."""
    own, raw = 0.0, 0.0
    collect_seldom()  # as the host
    app, world, tenant_id = await _embedded(folder / "own")
    function = _function(app)
    with closing(sqlite3.connect(folder / "raw.db", isolation_level=None)) as baseline:
        baseline.execute("PRAGMA journal_mode=WAL")
        baseline.execute("PRAGMA synchronous=FULL")
        baseline.execute("CREATE TABLE events (id TEXT PRIMARY KEY, tenant TEXT, body TEXT) WITHOUT ROWID")
        for _ in range(deliveries // TURN):
            turn = [
                world.events(tenant_id, world.clock.now() - timedelta(minutes=5), GATHERED_WITHIN, MESSAGES_AT_ONCE)
                for _ in range(TURN)
            ]
            batches = [service_bus_batch([(one, 1) for one in events], "binary") for events in turn]
            rows = [[(one.id, tenant_id, json.dumps(one.body)) for one in events] for events in turn]
            begun = time.perf_counter()
            for some in rows:
                baseline.execute("BEGIN")
                baseline.executemany("INSERT INTO events VALUES (?, ?, ?)", some)
                baseline.execute("COMMIT")
            raw += time.perf_counter() - begun
            begun = time.perf_counter()
            for batch in batches:
                await function(batch)
            own += time.perf_counter() - begun
    await app.close()
    count = deliveries * MESSAGES_AT_ONCE
    return {
        "what": f"store {count:,} events, {MESSAGES_AT_ONCE} a delivery",
        "figure": f"{raw / own:.2f} x executemany",
        "beside": f"{count / own:,.0f} events/s beside {count / raw:,.0f} rows/s",
    }


async def _embedded(folder: Path) -> tuple[Core, _World, str]:
    app = core(Settings(flowgrid_data_dir=folder), KINDS)
    clock = _Clock(datetime.now(UTC))
    world = _World(app.adapters.database, clock, app.adapters.messaging)
    return app, world, await world.register(1)


def _function(app: Core) -> Callable[[Sequence[func.ServiceBusMessage]], Any]:
    metering = Metering(
        app.directory, app.dead_letters, app.adapters.messaging, app.services.clock, app.settings.usage_queue
    )
    (builder,) = blueprint(metering, app.adapters.telemetry)._function_builders
    function: Callable[[Sequence[func.ServiceBusMessage]], Any] = builder._function.get_user_function()
    return function


async def _read(folder: Path, month: int) -> list[Row]:
    """Embedded: an open hour of 18,000 events in deliveries of 300; then a month of a million."""
    app, world, tenant_id = await _embedded(folder)
    world.clock.instant = START + ONE_HOUR
    for minute in range(60):
        await world.metering.store(world.events(tenant_id, START + minute * GATHERED_WITHIN, GATHERED_WITHIN, 300))
    hour_of_calls = partial(world.sum, tenant_id, metric="api_calls", period="hour")
    rows = [await _timed("GET usage, 18,000 events in the open hour", 18_000, hour_of_calls)]
    hours = 30 * 24
    for hour in range(1, hours):
        start = START + hour * ONE_HOUR
        world.clock.instant = start + ONE_HOUR
        await world.metering.store(world.events(tenant_id, start, ONE_HOUR, month // hours))
        if hour % 24 == 0:
            world.clock.instant += GRACE
            await world.closing.sweep()
    total = 18_000 + (hours - 1) * (month // hours)
    calls = partial(world.sum, tenant_id, metric="api_calls", period="month")
    rows.append(await _timed(f"GET usage, a month of {total:,} events", total, calls))
    rows.append(await _timed("its statement", total, partial(world.billed, tenant_id)))
    await app.close()
    return rows


async def _timed(name: str, total: int, read: Callable[[], Awaitable[int]]) -> Row:
    taken = []
    for _ in range(READS):
        begun = time.perf_counter()
        found = await read()
        taken.append(time.perf_counter() - begun)
        if found != total:
            raise RuntimeError(f"{found} were counted of {total}")
    taken.sort()
    median, late = taken[len(taken) // 2] * 1000, taken[int(len(taken) * 0.95)] * 1000
    return {"what": name, "figure": f"p95 {late:.1f} ms", "beside": f"median {median:.1f} ms"}

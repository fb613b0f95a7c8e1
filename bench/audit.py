"""The audit trail: creating agents signed beside unsigned (goal: at least 0.95), and what sealing costs.

As a call through every step of the pipeline but the socket; and below HTTP, where little else hides the difference.
They take turns, eight calls at a time, on one database. Sealing, pruning and verifying are as the double of Cosmos DB
charges them.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from functions.agents.models import AgentFields
from functions.agents.service import AgentService
from functions.audit.chain import Chain
from functions.audit.pruning import Pruner
from functions.audit.sealing import Sealer
from functions.audit.verifying import Verifier
from functions.kinds import KINDS
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.blobs.files import FileBlobs
from shared.clock import rfc3339
from shared.core import core
from shared.database.port import Create, Placement
from shared.ids import Uuid7Ids
from shared.secrets.file import FileSecrets
from shared.settings import Settings
from shared.tenancy.directory import Directory, TenantEntry
from shared.tenancy.fence import AUDIT, Handle, first_permit
from shared.tenancy.plans import Tier
from shared.tenancy.signing import Signatures
from shared.work.change import COUNTER
from shared.work.outbox import a_moment
from shared.work.session import TenantSession
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database
from tests.unit.world import World, admin

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
SHARD = Placement("shared", "shard-1")
ENTRY = TenantEntry(TENANT, "Acme", "acme", Tier.ENTERPRISE, "active", 100_000_000, 10, SHARD)
AGENT = {"name": "Claims intake", "pattern": "Orchestrator", "description": "Routes. " * 40}
LANES = ("signed", "unsigned", "unsigned again")  # the third says how much the machine's other work disturbs
AT_ONCE = 8
ENTRIES = 100
HOUR = timedelta(hours=1)
Row = dict[str, Any]
Creating = Callable[[bool], Awaitable[None]]  # one agent, with its audit entry signed or not
Close = Callable[[], Awaitable[None]]


async def run(quick: bool) -> list[Row]:
    turns, rows = 30 if quick else 150, list[Row]()
    for what, begun in (("a call of create agent", _calls), ("create agent, below HTTP", _below)):
        with tempfile.TemporaryDirectory() as folder:
            create, close = await begun(Path(folder))
            rows.append(await _throughput(what, create, turns, 80))
            await close()
    with tempfile.TemporaryDirectory() as folder:
        rows += await _charged(Path(folder))
    return rows


async def _calls(folder: Path) -> tuple[Creating, Close]:
    """Through the registered function, as the worker calls it."""
    world = World.over(folder, flowgrid_log_level="WARNING")
    world.core.services.outbox.pause = a_moment  # as it is where no test owns the time
    tenant = await world.onboard(tier="enterprise", max_agents=1_000_000)
    caller, endpoint, own = admin(tenant["id"]), world.core.endpoint, world.core
    directories = {
        signed: Directory(own.adapters.database, own.services.clock, own.signatures if signed else None)
        for signed in (False, True)
    }

    async def create(signed: bool) -> None:
        endpoint.directory = directories[signed]  # a call takes it before it waits for anything
        answer = await world.call("create_agent", caller, AGENT)
        assert answer.status == 201, answer.raw

    return create, world.close


async def _below(folder: Path) -> tuple[Creating, Close]:
    own = core(Settings.model_validate({"flowgrid_data_dir": folder, "flowgrid_log_level": "WARNING"}), KINDS)
    database, clock = own.adapters.database, own.services.clock
    counters = [Create(COUNTER, "agents", {"created_at": "", "value": 0})]
    await database.tenant(TENANT, SHARD).commit([first_permit(), *counters])
    sessions = {
        signed: TenantSession(
            ENTRY,
            Directory(database, clock, own.signatures if signed else None).open(ENTRY),
            SYSTEM,
            SYSTEM_REQUEST,
            own.services,
        )
        for signed in (False, True)
    }
    agents, fields = AgentService(), AgentFields.model_validate(AGENT)

    async def create(signed: bool) -> None:
        await agents.create(sessions[signed], fields)

    return create, own.close


async def _throughput(what: str, create: Creating, turns: int, count: int) -> Row:
    async def turn(lane: str) -> float:
        async def some() -> None:
            for _ in range(count // AT_ONCE):
                await create(lane == "signed")

        started = time.perf_counter()
        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        return count / (time.perf_counter() - started)

    rates: dict[str, list[float]] = {lane: [] for lane in LANES}
    for number in range(turns + 1):
        for lane in (*LANES[number % 3 :], *LANES[: number % 3]):
            rates[lane].append(await turn(lane))
    signed, first, again = (median(rates[lane][1:]) for lane in LANES)
    unsigned = (first + again) / 2
    return {
        "what": f"{what}, signed ÷ unsigned",
        "figure": f"{signed / unsigned:.3f}",
        "beside": f"{signed:.0f}/s, {unsigned:.0f}/s; unsigned ÷ itself {again / first:.3f}",
    }


async def _charged(folder: Path) -> list[Row]:
    """An hour with a hundred entries, one with none; a day of them verified; a segment of them pruned."""
    with CosmosDouble() as double:
        clock = _Clock(datetime(2026, 11, 1, tzinfo=UTC))
        database = cosmos_database(double.endpoint, clock, shards=1)
        signatures = Signatures(FileSecrets(folder / "secrets", lambda: b"q" * 43 + b"="), database, clock)
        chain, blobs = Chain(database.platform, signatures), FileBlobs(folder / "blobs")
        sealer, verifier = Sealer(blobs, chain, signatures), Verifier(blobs, chain, signatures)
        handle = Handle(database.tenant(TENANT, SHARD), signer=signatures)
        services: Any = _Services(clock)
        session = TenantSession(ENTRY, handle, SYSTEM, SYSTEM_REQUEST, services)
        ids, units, marks = Uuid7Ids(), {}, []

        def charged(what: str) -> None:
            units[what] = sum(call.charge for call in list(double.calls))
            double.forget()

        for hour in range(25):
            for _ in range(ENTRIES if hour < 24 else 0):
                clock.instant += timedelta(seconds=30)
                body: Row = {"created_at": rfc3339(clock.now()), "action": "agent.created", "resource_type": "agent"}
                body |= {"new_value": AGENT, "old_value": None, "user_id": "ada", "resource_id": ids.new()}
                await handle.control.commit([Create(AUDIT, ids.new(), body)])
            clock.instant += HOUR
            double.forget()
            marks.append(await sealer.seal(session))
            charged(f"sealing, an hour of {marks[-1]} entries")
        assert sum(marks) == 24 * ENTRIES and [*pairwise(marks)][-1] == (ENTRIES, 0)
        found = await verifier.verify(session)
        assert found.ok and found.entries == 24 * ENTRIES
        charged(f"verifying a day of {found.entries} entries")
        clock.instant += timedelta(days=10_000)
        pruned = await Pruner(blobs, chain, signatures, _nothing).prune(session)
        charged(f"pruning {(pruned) * ENTRIES} entries")
        await database.close()
    return [{"what": what, "figure": f"{figure:.0f} RU", "beside": ""} for what, figure in units.items()]


async def _nothing(_: TenantSession) -> None:
    return None


class _Clock:
    """Set by the bench."""

    def __init__(self, instant: datetime) -> None:
        self.instant = instant

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()


class _Services:
    def __init__(self, clock: _Clock) -> None:
        self.clock = clock

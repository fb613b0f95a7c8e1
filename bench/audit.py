"""The audit trail: creating agents signed beside unsigned (goal: at least 0.95), and what sealing costs.

Below HTTP, so that nothing else hides the difference; they take turns, eight calls at a time, on one database. Sealing,
pruning and verifying are as the double of Cosmos DB charges them.
"""

import asyncio
import tempfile
import time
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
from shared.work.session import TenantSession
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
SHARD = Placement("shared", "shard-1")
ENTRY = TenantEntry(TENANT, "Acme", "acme", Tier.ENTERPRISE, "active", 100_000_000, 10, SHARD)
AGENT = AgentFields.model_validate({"name": "Claims intake", "pattern": "Orchestrator", "description": "Routes. " * 40})
LANES = ("signed", "unsigned", "unsigned again")  # the third says how much the machine's other work disturbs
AT_ONCE = 8
ENTRIES = 100
HOUR = timedelta(hours=1)
Row = dict[str, Any]


async def run(quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        rows = [await _throughput(Path(folder), 30 if quick else 150, 80)]
    with tempfile.TemporaryDirectory() as folder:
        rows += await _charged(Path(folder))
    return rows


async def _throughput(folder: Path, turns: int, count: int) -> Row:
    own = core(Settings.model_validate({"flowgrid_data_dir": folder, "flowgrid_log_level": "WARNING"}), KINDS)
    database, clock = own.adapters.database, own.services.clock
    store = database.tenant(TENANT, SHARD)
    counters = [Create(COUNTER, "agents", {"created_at": "", "value": 0})]
    await store.commit([first_permit(), *counters])
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
    agents = AgentService()

    async def turn(lane: str) -> float:
        async def some() -> None:
            for _ in range(count // AT_ONCE):
                await agents.create(sessions[lane == "signed"], AGENT)

        started = time.perf_counter()
        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        return count / (time.perf_counter() - started)

    rates: dict[str, list[float]] = {lane: [] for lane in LANES}
    for number in range(turns + 1):
        for lane in (*LANES[number % 3 :], *LANES[: number % 3]):
            rates[lane].append(await turn(lane))
    await own.close()
    signed, first, again = (median(rates[lane][1:]) for lane in LANES)
    unsigned = (first + again) / 2
    return {
        "what": "create agent, signed ÷ unsigned",
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
                value = {"description": AGENT.description, "name": AGENT.name, "pattern": AGENT.pattern}
                body |= {"new_value": value, "old_value": None, "user_id": "ada", "resource_id": ids.new()}
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

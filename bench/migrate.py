"""A million rows of an old database, beside the store's own batches of the same documents (goal: 0.6; memory flat).

The same folder. The store's batches are made beforehand and not counted, as many side by side as each process of the
migration has; that reads, converts, checks, signs and writes, then reads all back and compares. All in processes that
collect as the command's do. Memory and CPU are those of all of them.
"""

import asyncio
import json
import os
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final, TypeVar

from cli.heap import seldom_collected
from cli.legacy.here import CALLS, MIGRATION, REQUEST
from cli.migrate import Options, migrate
from functions.catalog.models import Element
from functions.kinds import KINDS
from functions.migration.taking import AT_ONCE
from shared.core import core
from shared.database.port import Create, Operation, Where
from shared.ids import DEFAULT_TENANT_ID
from shared.settings import Settings
from shared.tenancy.fence import AUDIT
from shared.work.session import TenantSession

T = TypeVar("T")
QUICK, WHOLE = 20_000, 1_000_000
BATCH: Final = AT_ONCE["elements"]


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock, and of the processor: on a busy machine the second says more."""

    seconds: float
    cpu: float

    @classmethod
    def now(cls) -> "Spent":
        return cls(perf_counter(), sum(_cpu(pid) for pid in _processes()) + sum(os.times()[2:4]))

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds + other.seconds, self.cpu + other.cpu)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds - other.seconds, self.cpu - other.cpu)


async def run(quick: bool) -> list[dict[str, Any]]:
    count = QUICK if quick else WHOLE
    with tempfile.TemporaryDirectory(prefix="flowgrid-bench-") as folder, seldom_collected():
        return await measured(Path(folder), count)


async def measured(folder: Path, count: int) -> list[dict[str, Any]]:
    """The migration of so many elements, and as many in the store's own batches."""
    _old(folder / "old.db", count)
    resident: dict[str, float] = {}
    marks: dict[str, Spent] = {}

    def advance(what: str, done: int, total: int) -> None:
        if done * 10 >= total and "at a tenth" not in resident:
            resident["at a tenth"] = _resident()
        if what == "elements" and done == total:
            marks.setdefault("written", Spent.now())
        if what == "elements, compared" and done == total:
            resident["at the end"] = _resident()

    began = Spent.now()
    options = Options(tenant="default", data=folder / "data")
    report = await migrate(folder / "old.db", options, dry_run=False, quarantine=folder / "q.jsonl", advance=advance)
    whole, written = Spent.now() - began, marks["written"] - began
    if not report.complete:
        raise RuntimeError(f"not all of it was migrated: {report.as_json()}")
    bare, own = await _store(folder / "data", count)
    rows = [
        ("the port's batches, made beforehand", bare),
        ("the store's own: made by a change, audited, signed", own),
        ("migrated", written),
        ("migrated, and compared", whole),
    ]
    return [
        {
            "what": what,
            "rows": f"{count:,}",
            "rows/s": round(count / took.seconds),
            "/ the port's": round(bare.seconds / took.seconds, 2),
            "/ the store's": round(own.seconds / took.seconds, 2),
            "CPU us a row": round(took.cpu * 1e6 / count),
            "by CPU": round(own.cpu / took.cpu, 2),
            "MiB at a tenth": round(resident["at a tenth"]),
            "MiB at the end": round(resident["at the end"]),
        }
        for what, took in rows
    ]


def _old(path: Path, count: int) -> None:
    text = "What it is, in a sentence of the usual length, as people write them."
    properties = json.dumps({"Owner": "Operations", "Criticality": "high"})
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE elements (id TEXT PRIMARY KEY, name TEXT, type TEXT, description TEXT, properties TEXT)")
    rows = ((f"id-{n:08d}", f"Element {n}", "BusinessProcess", text, properties) for n in range(count))
    db.executemany("INSERT INTO elements VALUES (?, ?, ?, ?, ?)", rows)
    db.commit()
    db.close()


async def _store(data: Path, count: int) -> tuple[Spent, Spent]:
    """What it takes for as many elements in batches of as many: of the port alone, and as every service writes them."""
    own = core(Settings.model_validate({"flowgrid_data_dir": data}), KINDS)
    entry = await own.directory.entry(DEFAULT_TENANT_ID)
    assert entry is not None
    session = TenantSession(entry, own.directory.open(entry), MIGRATION, REQUEST, own.services)
    element = (await session.store.query(Element.KIND, limit=1)).items[0].body
    page = await session.store.query(AUDIT, [Where("resource_type", "=", "element")], limit=1)
    bare = own.adapters.database.tenant("00000000-0000-0000-0000-00000000ba4e", entry.placement)

    async def commit(batch: list[Operation]) -> None:
        await bare.commit(batch)

    async def create(numbers: list[int]) -> None:
        change = session.change()
        for number in numbers:
            change.create(Element, {**element, "name": f"Element {number}"})
        await change.commit(None)

    alone = await _timed(count, lambda numbers: list(_documents(numbers, element, page.items[0].body)), commit)
    made = await _timed(count, lambda numbers: numbers, create)
    await own.close()
    return alone, made


async def _timed(count: int, prepare: Callable[[list[int]], T], write: Callable[[T], Awaitable[None]]) -> Spent:
    """What the writes alone take, as many side by side as the migration has."""
    spent, numbers = Spent(0.0, 0.0), iter(range(count))
    while wave := [one for one in (list(islice(numbers, BATCH)) for _ in range(CALLS)) if one]:
        batches = [prepare(some) for some in wave]
        began = Spent.now()
        await asyncio.gather(*map(write, batches))
        spent = spent + (Spent.now() - began)
    return spent


def _documents(numbers: list[int], element: dict[str, Any], audit: dict[str, Any]) -> Iterator[Operation]:
    for number in numbers:
        yield Create(Element.KIND, f"{number:036d}", {**element, "name": f"Element {number}"})
        yield Create(AUDIT, f"{number:036d}", audit)


def _processes() -> list[str]:
    """This one and those that it has begun."""
    return ["self", *Path("/proc/self/task", str(os.getpid()), "children").read_text(encoding="ascii").split()]


def _resident() -> float:
    each = [Path("/proc", pid, "status").read_text(encoding="utf-8") for pid in _processes()]
    return sum(int(status.split("VmRSS:")[1].split()[0]) for status in each) / 1024


def _cpu(pid: str) -> float:
    fields = Path("/proc", pid, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

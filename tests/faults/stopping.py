"""Instances that stop in the middle of a write: one held just before its commits, one stopped as a whole."""

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from functions.agents.models import AgentFields
from functions.agents.service import AgentService
from functions.catalog.models import ElementFields, RelationshipFields
from functions.catalog.service import ElementService, RelationshipService
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.core import Core
from shared.database.port import Operation
from shared.errors import FlowgridError
from shared.work.session import TenantSession
from tests.e2e.host import eventually
from tests.unit.world import WatchedStore


@dataclass
class Stall:
    """An instance that reads the directory and the data, and then comes no further for a while."""

    session: TenantSession
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    writes: list[asyncio.Task[Any]] = field(default_factory=list)
    waiting: int = 0

    @classmethod
    async def of(cls, opened: Core, tenant_id: str) -> "Stall":
        entry = await opened.directory.entry(tenant_id)
        assert entry is not None
        store = WatchedStore(opened.directory.open(entry))
        stall = cls(TenantSession(entry, store, SYSTEM, SYSTEM_REQUEST, opened.services))
        store.before = stall.hold
        return stall

    async def hold(self, operations: Sequence[Operation]) -> None:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1

    async def begin(self, known: dict[str, list[str]], dice: random.Random) -> int:
        """Writes of every sort, each up to its commit; how many have come so far."""
        catalog, arrows, agents, session = ElementService(), RelationshipService(), AgentService(), self.session
        elements, relationships = known["element"], known["relationship"]

        def work() -> Iterator[Awaitable[Any]]:
            for element in dice.sample(elements, min(4, len(elements))):
                to_another = RelationshipFields(type="Association", source_id=element, target_id=dice.choice(elements))
                yield catalog.delete(session, element, None, cascade=True)
                yield arrows.create(session, to_another)
                yield agents.create(session, AgentFields(name="stalled", pattern="Router", element_id=element))
                yield catalog.create(session, ElementFields(name="stalled", type="BusinessProcess"))
            for relationship in dice.sample(relationships, min(4, len(relationships))):
                yield arrows.delete(session, relationship, None, cascade=True)

        self.writes = [asyncio.ensure_future(one) for one in work()]

        async def come_so_far() -> bool:
            """each write is before its commit, or refused"""
            return self.waiting + sum(one.done() for one in self.writes) == len(self.writes)

        await eventually(come_so_far)
        assert self.waiting, "no write has come to its commit"
        return self.waiting

    async def end(self) -> Counter[str]:
        self.gate.set()
        outcomes = await asyncio.gather(*self.writes, return_exceptions=True)
        strange = [one for one in outcomes if isinstance(one, BaseException) and not isinstance(one, FlowgridError)]
        assert strange == []
        return Counter(f"stalled: {one.code if isinstance(one, FlowgridError) else 'written'}" for one in outcomes)


async def stopped_without_a_lock(pid: int, *folders: Path) -> None:
    """Stop a process where it holds no lock of a file: one that does stops everybody who shares its disk."""

    def writable(path: Path) -> bool:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=3)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            database.execute("ROLLBACK")
            return True

    files = [path for folder in folders for path in folder.glob("*.db")]
    for _ in range(20):
        os.kill(pid, signal.SIGSTOP)
        if all([await asyncio.to_thread(writable, path) for path in files]):
            return
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.01)
    raise AssertionError("the host was always found with a lock")

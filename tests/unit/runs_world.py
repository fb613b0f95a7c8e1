"""A tenant with agents whose models answer by script, in a time that passes when a test says so."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from functions.catalog.service import ElementService, RelationshipService
from functions.design.tools import WizardTools
from functions.executions.admission import RUNS
from functions.executions.assembly import Executions
from functions.executions.cancelling import Cancelling
from functions.executions.conversing import snapshot_of, steps_of
from functions.executions.models import TICKET, TREE, Execution, Snapshot, Step, stored
from functions.executions.working import World as Runs
from functions.publishing.service import Publishing
from functions.tools.catalog import CatalogTools
from functions.tools.port import Tool, Toolbox, Toolboxes
from shared.ai.port import ToolSpec
from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.database.port import OLDEST_FIRST, Create, Operation, TenantStore, Where
from shared.jobs.jobs import Job
from shared.tenancy.directory import TenantEntry
from shared.tenancy.plans import Budget
from shared.work.budgets import RESERVED, counter_of
from shared.work.change import COUNTER
from shared.work.session import TenantSession
from tests.doubles.models import Reply, ScriptedModels, anywhere
from tests.doubles.time import Time
from tests.unit.world import UNLIMITED, Answer, FakeClock, WatchedStore, World, admin

LIMITS = {**UNLIMITED, "max_runs": 2, "ai_tokens_per_month": 10_000_000}
MONTH = "2026-11"


@dataclass
class Letter:
    """A tool that does something outside, each time that it is used; `raises` it afterwards."""

    spec: ToolSpec
    idempotent: bool = False
    approval: Role | None = None
    fingerprint: str = "as it was"
    raises: Exception | None = None
    hangs: bool = False
    sent: list[str] = field(default_factory=list)

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        self.sent.append(key)
        if self.hangs:
            await asyncio.Event().wait()
        if self.raises is not None:
            raise self.raises
        return {"sent": True}


class Desk(Toolbox):
    """`letter`: not to be sent twice; `order`: to be approved by an admin; `note`: idempotent."""

    def __init__(self) -> None:
        spec = {name: ToolSpec(name, f"Sends a {name}.", {"type": "object"}) for name in ("letter", "order", "note")}
        self.letter, self.note = Letter(spec["letter"]), Letter(spec["note"], idempotent=True)
        self.order = Letter(spec["order"], approval=Role.ADMIN)
        self._tools: dict[str, Tool] = {"letter": self.letter, "order": self.order, "note": self.note}

    async def find(self, session: TenantSession, names: Sequence[str]) -> dict[str, Tool]:
        return {name: self._tools[name] for name in names if name in self._tools}


@dataclass
class RunsWorld:
    world: World
    models: ScriptedModels
    time: Time
    tenant: str
    desk: Desk
    executions: Executions

    @classmethod
    async def over(cls, folder: Path, **limits: int) -> "RunsWorld":
        clock, models = FakeClock(), ScriptedModels()
        time = Time(clock)
        desk = Desk()
        toolbox = Toolboxes(CatalogTools(ElementService(), RelationshipService()), desk)
        parts = Runs(toolbox, models, anywhere, WizardTools(), time.pause)
        world = World.over(folder, clock=clock, runs=parts)
        executions = Executions.of(world.core, parts)
        made = await world.onboard("acme", limits={**LIMITS, **limits})
        return cls(world, models, time, made["id"], desk, executions)

    async def agent(
        self,
        name: str,
        script: Sequence[Reply],
        *,
        pattern: str = "Specialist",
        tools: Sequence[str] = (),
        **fields: Any,
    ) -> str:
        """An agent whose instructions are its name, and its model's script."""
        self.models.scripts[name] = list(script)
        body = {"name": name, "pattern": pattern, "instructions": name, "tools": list(tools), **fields}
        answer = await self.call("create_agent", body)
        assert answer.status == 201, answer.raw
        return str(answer.json["id"])

    @property
    def publishing(self) -> Publishing:
        executions = self.executions
        return Publishing(executions.starting, executions.service, self.world.core.settings.jobs_queue)

    async def job(self, id: str) -> Job:
        found = await (await self.session()).store.get(Job.KIND, id)
        assert found is not None
        return Job.model_validate(found.body)

    async def call(self, name: str, body: Any = None, **params: str) -> Answer:
        return await self.world.call(name, admin(self.tenant), body, params=params)

    async def start(self, agent: str, input: str = "Do it.", **limits: int) -> str:
        answer = await self.call("create_execution", {"input": input, "limits": limits}, agent_id=agent)
        assert answer.status == 202, answer.raw
        return str(answer.json["id"])

    @property
    def admin(self) -> Caller:
        return admin(self.tenant)

    def now(self) -> str:
        return rfc3339(self.world.clock.now())

    async def work(self, most: int | None = None) -> None:
        """Work until nothing is left in the queue of runs, or on so many messages; usage stays in its queue."""
        messaging, queue = self.world.queue, self.world.core.settings.executions_queue
        while (lease := await messaging.receive(queue, most=most or 16)).messages:
            await self.executions.messages.take_all([message for message, _ in lease.messages])
            await messaging.complete(lease)
            if most is not None:
                return

    async def beside(self, slug: str) -> "RunsWorld":
        """Another tenant of the same service."""
        made = await self.world.onboard(slug, limits=LIMITS)
        return replace(self, tenant=made["id"])

    async def commit(self, operations: Sequence[Operation]) -> None:
        """Past everything that watches, and past the fence."""
        entry = await self.world.core.directory.entry(self.tenant)
        assert entry is not None
        await self.world.core.adapters.database.tenant(self.tenant, entry.placement).commit(operations)

    @property
    def cancelling(self) -> Cancelling:
        return self.executions.messages._cancelling

    def watch(self, look: Callable[[Sequence[Operation]], Any]) -> None:
        """From now on `look` before each commit of any tenant."""
        directory, opened, stores = self.world.core.directory, self.world.core.directory.open, dict[str, WatchedStore]()

        def watched(entry: TenantEntry) -> TenantStore:
            if entry.id not in stores:
                stores[entry.id] = WatchedStore(opened(entry))
                stores[entry.id].before = look
            return stores[entry.id]

        directory.open = watched  # type: ignore[method-assign]

    async def copied(self, waiting: Execution, many: int) -> None:
        """So many other runs that wait as this one does."""
        store, new = (await self.session()).store.control, self.world.core.services.ids.new
        snapshot = await snapshot_of(store, waiting.id)
        for start in range(0, many, 20):
            operations: list[Operation] = []
            for _ in range(min(20, many - start)):
                id = new()
                run = waiting.model_copy(update={"id": id, "root_id": id})
                zero = {"created_at": run.created_at, "steps": 0, "tokens": 0, "cost": 0, "runs": 0, "cancelled": 0}
                ticket = {"created_at": run.root_created_at, "run_id": id}
                operations += [
                    Create(Execution.KIND, id, stored(run)),
                    Create(Snapshot.KIND, id, stored(snapshot.model_copy(update={"id": id}))),
                    Create(TREE, id, zero),
                    Create(TICKET, run.ticket, ticket),
                ]
            await store.commit(operations)

    async def advance(self, id: str) -> None:
        """A message about this run comes (again)."""
        await self.time.passing(self.executions.runner.advance(self.tenant, id))

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.ensure_future(work)

    async def killed(self, working: asyncio.Task[None]) -> None:
        """The process that works on this is no more: it writes nothing from now on."""
        working.cancel()
        await asyncio.wait([working])

    async def until(self, so: Callable[[], bool]) -> None:
        """Until this is so, without any time passing."""
        for _ in range(2000):
            if so():
                return
            await asyncio.sleep(0.002)
        raise AssertionError("this never comes")

    async def leased_beyond(self, id: str, until: str) -> None:
        """Until the run's lease runs longer than that."""
        while (await self.stored(id)).lease_until <= until:
            await self.time.pause(1)

    async def drain(self) -> None:
        """Work until nothing is left in the queues."""
        settings, queue = self.world.core.settings, self.world.queue
        names = (settings.usage_queue, settings.jobs_queue, settings.executions_queue)
        await self.time.passing(self.world.drain())
        while any([await queue.waiting(name) for name in names]):  # the timer takes twenty seconds at most
            await self.time.passing(self.world.drain())

    async def run(self, agent: str, input: str = "Do it.", **limits: int) -> dict[str, Any]:
        """The run, over or waiting."""
        id = await self.start(agent, input, **limits)
        await self.drain()
        return await self.shown(id)

    async def shown(self, id: str) -> dict[str, Any]:
        answer = await self.call("get_execution", execution_id=id)
        assert answer.status == 200, answer.raw
        found: dict[str, Any] = answer.json
        return found

    async def session(self) -> TenantSession:
        return await self.world.session(self.tenant)

    async def stored(self, id: str) -> Execution:
        found = await (await self.session()).store.get(Execution.KIND, id)
        assert found is not None
        return Execution.model_validate(found.body)

    async def runs(self, *where: Where) -> list[Execution]:
        """All of them, the oldest first."""
        store, found, after = (await self.session()).store, list[Execution](), None
        while True:
            page = await store.query(Execution.KIND, list(where), order=OLDEST_FIRST, after=after)
            found += [Execution.model_validate(one.body) for one in page.items]
            after = page.next
            if after is None:
                return found

    async def steps(self, id: str) -> list[Step]:
        return await steps_of((await self.session()).store, await self.stored(id))

    async def tree(self, id: str) -> dict[str, Any]:
        found = await (await self.session()).store.get(TREE, id)
        assert found is not None
        return found.body

    async def counter(self, name: str = RUNS) -> int:
        found = await (await self.session()).store.get(COUNTER, name)
        return 0 if found is None else int(found.body["value"])

    async def budget(self, budget: Budget = Budget.AI_TOKENS) -> int:
        return await self.counter(counter_of(budget, MONTH))

    async def tickets(self) -> int:
        return len((await (await self.session()).store.query(TICKET)).items)

    async def held(self) -> int:
        """Reservations that are neither settled nor given back."""
        return len((await (await self.session()).store.query(RESERVED, [Where("status", "=", "held")])).items)

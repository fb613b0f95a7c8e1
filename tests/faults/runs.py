"""Runs under everything at once: several processes over one tenant, killed at any call, and what must be true after.

A process is a runner with handles, an outbox and a memory of its own; database, queue, blobs and models are outside. It
dies at the call that it is told: without making it, or without hearing of its answer. Dead, it does nothing any more.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from functions.agents.models import Agent, AgentFields
from functions.executions.admission import RUNS
from functions.executions.cancelling import Cancelling
from functions.executions.conversing import steps_of
from functions.executions.models import ACTIVE, TICKET, TREE, Execution, RunLimits, Step
from functions.executions.runner import Runner
from functions.executions.starting import Asked, Starting
from functions.executions.sweeping import Sweeping
from functions.executions.working import World
from functions.kinds import KINDS
from functions.tools.port import Tool, Toolbox
from shared.ai.port import Answer, Connection, Models, Question, TokenUsage, ToolSpec
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.auth.roles import Role
from shared.blobs.port import Blobs
from shared.database.port import (
    OLDEST_FIRST,
    Create,
    Database,
    Increment,
    Operation,
    Order,
    Page,
    Placement,
    PlatformStore,
    Stored,
    TenantStore,
    Traces,
    Where,
)
from shared.errors import Unavailable
from shared.kinds import Container, Kind
from shared.messaging.port import Message, Messaging
from shared.tenancy.directory import TENANT, Directory
from shared.tenancy.fence import first_permit
from shared.tenancy.plans import Budget
from shared.work.budgets import RESERVED, counter_of
from shared.work.change import COUNTER
from shared.work.outbox import OUTBOX, Outbox, sweep_outbox
from shared.work.scope import Services
from shared.work.session import TenantSession
from tests.doubles.clock import never
from tests.doubles.models import ScriptedModels, anywhere
from tests.doubles.time import Time
from tests.unit.world import FakeClock, FakeIds, entry

SHARD = Placement("shared", "shard-1")
QUEUE, USAGE = "executions", "usage-events"
LIMITS = RunLimits(steps=1000, tokens=10**7, children=50, seconds=7 * 86400)
ROUNDS = 40
MONTH = "2026-11"
BEFORE_OR_AFTER = pytest.mark.parametrize("done_all_the_same", [False, True], ids=["before", "after"])
ALONE_OR_NOT = pytest.mark.parametrize("competing", [False, True], ids=["alone", "competing"])


class Killed(BaseException):
    """The process is no more."""


@dataclass
class Life:
    """Of a process: how many calls it has made, and which one it does not live to make, or to hear of."""

    dies_at: int | None = None
    done_all_the_same: bool = False
    calls: int = 0
    dead: bool = False

    async def call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        if self.dead:
            raise Killed
        dies = self.calls == self.dies_at
        self.calls += 1
        if dies and not self.done_all_the_same:
            self.dead = True
            raise Killed
        if dies:
            self.dead = True
        found = await work()
        if self.dead:
            raise Killed
        return found


class LivingStore(TenantStore):
    def __init__(self, inner: TenantStore, life: Life, watch: Callable[[], Awaitable[None]] | None) -> None:
        self.tenant_id = inner.tenant_id
        self._inner = inner
        self._life = life
        self._watch = watch

    async def get(self, kind: Kind, id: str) -> Stored | None:
        found: Stored | None = await self._life.call(lambda: self._inner.get(kind, id))
        return found

    async def catch_up(self, container: Container = "items") -> None:
        await self._life.call(lambda: self._inner.catch_up(container))

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        work = self._inner.query
        page: Page = await self._life.call(lambda: work(kind, where, order=order, limit=limit, after=after))
        return page

    def scan(self, kinds: Sequence[Kind], *, since: str | None = None) -> AsyncIterator[list[Stored]]:
        raise NotImplementedError

    async def buried(self, kind: Kind, ids: Sequence[str]) -> list[Stored]:
        found: list[Stored] = await self._life.call(lambda: self._inner.buried(kind, ids))
        return found

    async def traces(self, kind: Kind, ids: Sequence[str]) -> Traces:
        raise NotImplementedError

    async def commit(self, operations: Sequence[Operation]) -> None:
        await self._life.call(lambda: self._inner.commit(operations))
        if self._watch is not None and any(one.kind == COUNTER for one in operations if isinstance(one, Increment)):
            await self._watch()


class LivingDatabase(Database):
    def __init__(self, inner: Database, life: Life, watch: Callable[[], Awaitable[None]] | None) -> None:
        self._inner = inner
        self._life = life
        self._watch = watch

    @property
    def platform(self) -> PlatformStore:
        return self._inner.platform

    def tenant(self, tenant_id: str, placement: Placement) -> TenantStore:
        return LivingStore(self._inner.tenant(tenant_id, placement), self._life, self._watch)

    async def provision(self, placement: Placement) -> None:
        await self._inner.provision(placement)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        return None


@dataclass
class Queue(Messaging):
    """What was sent, each id once; `due` is still to be delivered."""

    sent: dict[tuple[str, str], Message] = field(default_factory=dict)
    due: list[Message] = field(default_factory=list)

    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        for message in messages:
            if (queue, message.id) not in self.sent:
                self.sent[queue, message.id] = message
                if queue == QUEUE:
                    self.due.append(message)

    async def dead(self, queue: str, *, most: int = 100) -> list[tuple[Message, str]]:
        return []

    async def drop_dead(self, queue: str, id: str) -> None:
        return None

    async def ping(self) -> None:
        return None

    async def close(self) -> None:
        return None


class LivingQueue(Queue):
    def __init__(self, inner: Queue, life: Life) -> None:
        super().__init__(inner.sent, inner.due)
        self._life = life

    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        work = super().send
        await self._life.call(lambda: work(queue, messages, delay=delay))


class LivingModels(Models):
    def __init__(self, inner: Models, life: Life) -> None:
        self._inner = inner
        self._life = life

    async def ask(self, connection: Connection, question: Question) -> Answer:
        answer: Answer = await self._life.call(lambda: self._inner.ask(connection, question))
        return answer

    def price(self, connection: Connection, model: str, usage: TokenUsage) -> int | None:
        return self._inner.price(connection, model, usage)

    async def close(self) -> None:
        return None


@dataclass
class Noting:
    """A tool that notes its keys; `uses`: how often each was used."""

    uses: Counter[str]
    life: Life
    idempotent: bool = True
    approval: Role | None = None
    fingerprint: str = ""
    spec: ToolSpec = field(default_factory=lambda: ToolSpec("note", "Notes.", {"type": "object"}))

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        async def noted() -> str:
            self.uses[key] += 1
            return "noted"

        return await self.life.call(noted)


class Notebook(Toolbox):
    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._tools = tools

    async def find(self, session: TenantSession, names: Sequence[str]) -> dict[str, Tool]:
        return {name: self._tools[name] for name in names if name in self._tools}


class Process:
    """One instance of the service."""

    def __init__(self, plant: "Plant", number: int, life: Life | None = None) -> None:
        self.life = life = life or Life()
        database = LivingDatabase(plant.database, life, plant.watch)
        queue = LivingQueue(plant.queue, life)
        outbox = Outbox(queue, pause=never)
        self.services = Services(plant.clock, FakeIds(number), outbox, USAGE, KINDS)
        self.directory = Directory(database, plant.clock)
        pause = plant.time.pause
        toolbox = Notebook({"note": Noting(plant.uses, life)})
        world = World(toolbox, LivingModels(plant.models, life), anywhere, pause=pause, queue=QUEUE)
        self.runner = Runner(world, plant.blobs, self.directory, self.services)
        self.cancelling = Cancelling(self.runner, QUEUE, pause)
        self.starting = Starting(toolbox, QUEUE, pause)
        self.sweeping = Sweeping(self.runner, database, self.directory, queue, self.services, QUEUE, pause)

    async def session(self, tenant_id: str) -> TenantSession:
        found = await self.directory.entry(tenant_id)
        assert found is not None
        return TenantSession(found, self.directory.open(found), SYSTEM, SYSTEM_REQUEST, self.services)

    async def take(self, message: Message) -> bool:
        """Whether the message is done with."""
        try:
            if "cancel" in message.body:
                await self.cancelling.end_tree(await self.session(message.tenant_id), message.body["cancel"])
            else:
                await self.runner.advance(message.tenant_id, message.body["execution_id"], message.body["revision"])
        except (Killed, Unavailable):
            return False
        return True

    async def close(self) -> None:
        forgetting = self.services.outbox._forgetting
        if forgetting is not None:
            forgetting.cancel()
            await asyncio.wait([forgetting])


@dataclass
class Plant:
    """What the processes share, and one tenant of it at a time. `most`: runs of it at a time."""

    database: Database
    blobs: Blobs
    most: int = 2
    clock: FakeClock = field(default_factory=FakeClock)
    models: ScriptedModels = field(default_factory=ScriptedModels)
    queue: Queue = field(default_factory=Queue)
    uses: Counter[str] = field(default_factory=Counter)
    tenant: str = ""
    agents: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        self.time = Time(self.clock)

    async def open(self, number: int, **limits: int) -> None:
        """A new tenant without anything."""
        self.tenant = f"0190c2a8-7e10-7abc-8def-{number:012x}"
        limits = {"max_runs": self.most, "ai_tokens_per_month": 10**9, "ai_spend_per_month": 10**9, **limits}
        found = entry(self.tenant, settings={"limits": limits})
        line: dict[str, Any] = {
            "id": self.tenant,
            "created_at": "2026-11-01T00:00:00.000000Z",
            "name": "Acme",
            "slug": f"t{number}",
        }
        line |= {"tier": "standard", "status": "active", "max_agents": 50, "max_users": 2, "plan_changes": []}
        line |= {"placement": found.placement.as_document(), "settings": {"limits": limits}}
        await self.database.platform.put(Create(TENANT, self.tenant, line), self.tenant)
        store = self.database.tenant(self.tenant, SHARD)
        await store.commit([Create(COUNTER, "agents", {"created_at": "", "value": 0}), first_permit()])

    async def agent(self, name: str, pattern: str, tools: Sequence[str] = ()) -> str:
        """An agent whose instructions are its name."""
        fields = AgentFields.model_validate(
            {"name": name, "pattern": pattern, "instructions": name, "tools": list(tools)}
        )
        change = (await self.process().session(self.tenant)).change()
        made = change.create(Agent, fields.model_dump())
        self.agents[name] = (await change.commit(made)).id
        return self.agents[name]

    def process(self, life: Life | None = None) -> Process:
        self.made += 1
        made = Process(self, self.made, life)
        self.processes.append(made)
        return made

    async def start(self, process: Process, agent: str, limits: RunLimits = LIMITS) -> Execution:
        asked = Asked("Do it.", {}, limits)
        return await process.starting.start(await process.session(self.tenant), self.agents[agent], asked)

    async def watch(self) -> None:
        """Never more at a time than may be."""
        found = await self.store.get(COUNTER, RUNS)
        assert found is None or 0 <= found.body["value"] <= self.most, found

    @property
    def store(self) -> TenantStore:
        return self.database.tenant(self.tenant, SHARD)

    async def settle(self, *alive: Process) -> None:
        """Deliver, sweep, and let time pass, until nothing is under way; who has died is followed by another."""
        living = list(alive)
        for _ in range(ROUNDS):
            living = [one if not one.life.dead else self.process() for one in living]
            await self.time.passing(self.deliver(living))
            if not await self.active():
                break
            self.time.forward(95)
            await self.sweep()
        else:
            raise AssertionError(await self.active())
        await self.sweep()

    async def sweep(self) -> None:
        last = self.process()
        self.time.forward(20)
        await sweep_outbox(self.database, last.directory, self.queue, self.clock)
        await self.time.passing(last.sweeping.sweep())

    async def deliver(self, processes: Sequence[Process]) -> None:
        """Every message to every process at the same time, several messages at once."""
        for _ in range(400):
            due = [self.queue.due.pop(0) for _ in range(min(4, len(self.queue.due)))]
            if not due:
                return
            takes = [(message, process.take(message)) for message in due for process in processes]
            outcomes = await asyncio.gather(*(one for _, one in takes))
            for message in due:
                done = [outcome for (of, _), outcome in zip(takes, outcomes, strict=True) if of is message]
                if not any(done):
                    self.queue.due.append(message)  # it comes again
            if all(process.life.dead for process in processes):
                return

    async def active(self) -> list[Execution]:
        where = [Where("status", "in", list(ACTIVE))]
        return [Execution.model_validate(one.body) for one in (await self.store.query(Execution.KIND, where)).items]

    async def runs(self) -> list[Execution]:
        return [Execution.model_validate(one.body) for one in (await self.store.query(Execution.KIND)).items]

    async def close(self) -> None:
        for process in self.processes:
            await process.close()
        self.processes.clear()

    # what must be true

    async def events(self) -> dict[str, dict[str, Any]]:
        """Usage events of the tenant, sent or about to be, each once."""
        found = {id: one.body for (queue, id), one in self.queue.sent.items() if queue == USAGE}
        found = {id: body for id, body in found.items() if self.queue.sent[USAGE, id].tenant_id == self.tenant}
        for stored in (await self.store.query(OUTBOX)).items:
            if stored.body["queue"] == USAGE:
                found[stored.body["id"]] = stored.body["message"]
        return found

    async def check(self) -> Counter[str]:
        """Nothing is left, and all sums are the same; the runs' statuses, counted."""
        runs, events = await self.runs(), await self.events()
        steps = [step for run in runs for step in await self._steps_of(run)]
        tokens = sum(run.tokens.total for run in runs)
        cost = sum(run.cost or 0 for run in runs)
        usage = [one["data"] for one in events.values() if one["type"] == "ai_tokens"]
        assert tokens == sum(step.usage.total for step in steps if step.usage)
        assert (
            tokens == sum(one["value"] for one in usage) == await self.counter(counter_of(Budget.AI_TOKENS, "2026-11"))
        )
        assert cost == sum(one["cost"] for one in usage) == await self.counter(counter_of(Budget.AI_SPEND, "2026-11"))
        trees = [one.body for one in (await self.store.query(TREE)).items]
        assert (tokens, cost) == (sum(one["tokens"] for one in trees), sum(one["cost"] for one in trees))
        assert len(steps) == sum(one["steps"] for one in trees)
        ended = [one["data"] for one in events.values() if one["type"] == "executions"]
        assert sorted(one["execution_id"] for one in ended) == sorted(run.id for run in runs)
        assert await self.counter(RUNS) == 0
        assert (await self.store.query(TICKET)).items == []
        assert (await self.store.query(RESERVED, [Where("status", "=", "held")])).items == []
        assert not [run for run in runs if not run.ended or run.admitted]
        return Counter(run.status for run in runs)

    async def _steps_of(self, run: Execution) -> list[Step]:
        steps = await steps_of(self.store, run)
        assert [step.number for step in steps] == list(range(1, run.steps + 1))
        assert all(step.over for step in steps), steps
        assert run.tokens.total == sum(step.usage.total for step in steps if step.usage)
        return steps

    async def counter(self, name: str) -> int:
        found = await self.store.get(COUNTER, name)
        return 0 if found is None else int(found.body["value"])

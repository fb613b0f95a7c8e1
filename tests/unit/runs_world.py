"""A tenant with agents whose models answer by script, in a time that passes when a test says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from functions.executions.admission import RUNS
from functions.executions.conversing import steps_of
from functions.executions.models import TICKET, TREE, Execution, Step
from functions.executions.working import World as Runs
from shared.database.port import OLDEST_FIRST, Where
from shared.tenancy.plans import Budget
from shared.work.budgets import RESERVED, counter_of
from shared.work.change import COUNTER
from shared.work.session import TenantSession
from tests.doubles.models import Reply, ScriptedModels, anywhere
from tests.doubles.time import Time
from tests.unit.world import UNLIMITED, Answer, FakeClock, World, admin

LIMITS = {**UNLIMITED, "max_runs": 2, "ai_tokens_per_month": 10_000_000}
MONTH = "2026-11"


@dataclass
class RunsWorld:
    world: World
    models: ScriptedModels
    time: Time
    tenant: str

    @classmethod
    async def over(cls, folder: Path, **limits: int) -> "RunsWorld":
        clock, models = FakeClock(), ScriptedModels()
        time = Time(clock)
        world = World.over(folder, clock=clock, runs=Runs(models, anywhere, time.pause))
        made = await world.onboard("acme", limits={**LIMITS, **limits})
        return cls(world, models, time, made["id"])

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

    async def call(self, name: str, body: Any = None, **params: str) -> Answer:
        return await self.world.call(name, admin(self.tenant), body, params=params)

    async def start(self, agent: str, input: str = "Do it.", **limits: int) -> str:
        answer = await self.call("create_execution", {"input": input, "limits": limits}, agent_id=agent)
        assert answer.status == 202, answer.raw
        return str(answer.json["id"])

    async def drain(self) -> None:
        """Work until nothing is left in the queues."""
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
        store = (await self.session()).store
        found = await store.query(Execution.KIND, list(where), order=OLDEST_FIRST)
        return [Execution.model_validate(one.body) for one in found.items]

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

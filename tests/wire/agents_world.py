"""Tenants whose agents ask providers on this machine, through the real SDKs; and what each side has counted."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from functions.catalog.service import ElementService, RelationshipService
from functions.design.tools import WizardTools
from functions.executions.admission import RUNS
from functions.executions.models import TREE
from functions.executions.working import World as Runs
from functions.providers.connections import Connections
from functions.tools.catalog import CatalogTools
from shared.ai.port import Answer, Connection, Models, ModelTimeout, Question, TokenUsage, Wire
from shared.core import Core
from shared.database.port import Where
from shared.tenancy.plans import Budget
from shared.work.budgets import RESERVED, counter_of
from shared.work.change import COUNTER
from tests.doubles.ai import AiDouble, Fault
from tests.doubles.time import Time
from tests.unit.world import UNLIMITED, FakeClock, World, admin
from tests.unit.world import Answer as HttpAnswer
from tests.wire.ai_connections import connection, question

LIMITS = {**UNLIMITED, "max_runs": 10, "ai_tokens_per_month": 10_000_000}
MONTH = "2026-11"
LEAD, FIRST, SECOND = range(3)
NAMES: Mapping[Wire, Sequence[str]] = {
    "openai": ("gpt-5", "gpt-5-mini", "gpt-4.1"),
    "azure_openai": ("gpt-5", "gpt-5-mini", "gpt-4.1"),
    "anthropic": ("claude-opus-5", "claude-haiku-4-5", "claude-sonnet-5"),
}


@dataclass(frozen=True)
class Books:
    """AI tokens, as one side has counted them, of so many `answers`. `events`, `runs`: input, output and cached."""

    answers: int
    total: int
    by_model: Mapping[str, int]
    events: tuple[int, int, int]
    runs: tuple[int, int, int]
    trees: int
    budget: int
    reservations_held: int = 0
    places_taken: int = 0


@dataclass
class Hurried(Models):
    """Those of the app. Time stands still while a question is under way; then what hangs may take `seconds`."""

    models: Models
    double: AiDouble
    time: Time
    seconds: float = 0.05

    async def ask(self, connection: Connection, question: Question) -> Answer:
        if not any(isinstance(one, Fault) and one.hangs for one in self.double.script[:1]):
            with self.time.standing_still():
                return await self.models.ask(connection, question)
        asked, loop = asyncio.Event(), asyncio.get_running_loop()
        self.double.on_asked = lambda: loop.call_soon_threadsafe(asked.set)
        asking = asyncio.create_task(self.models.ask(connection, question))
        try:
            with self.time.standing_still():
                await asked.wait()
            await asyncio.wait([asking], timeout=self.seconds)
            raise ModelTimeout("The AI provider did not answer.")
        finally:
            asking.cancel()
            await asyncio.wait([asking])

    def price(self, connection: Connection, model: str, usage: TokenUsage) -> int | None:
        return self.models.price(connection, model, usage)

    async def close(self) -> None:
        await self.models.close()


@dataclass
class Wired:
    """A tenant. `keys`: of its providers, by their names."""

    world: World
    double: AiDouble
    tenant: str
    keys: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def over(
        cls, folder: Path, double: AiDouble, wire: Wire, runs: Any = None, *, beside: Sequence[str] = (), **more: Any
    ) -> "Wired":
        """With one provider, `ours`; the SDK is loaded by then. `beside`: addresses that may be called, too."""
        allowed = ",".join([f"127.0.0.1:{double.port}", *beside])
        world = World.over(folder, runs=runs, flowgrid_outgoing_allowed=allowed, **more)
        await world.core.adapters.models.ask(connection(double, wire), question(wire))
        double.reset()
        made = await world.onboard("acme", limits=LIMITS)
        wired = cls(world, double, made["id"])
        await wired.provider("ours", wire)
        return wired

    async def beside(self, slug: str, wire: Wire) -> "Wired":
        """Another tenant of the same service, with a provider of the same name and another key."""
        made = await self.world.onboard(slug, limits=LIMITS)
        other = Wired(self.world, self.double, made["id"])
        await other.provider("ours", wire)
        return other

    async def call(self, name: str, body: Any = None, query: Mapping[str, str] | None = None, **params: str) -> Any:
        """What a call that succeeds answers."""
        answer = await self.answer(name, body, query, **params)
        assert answer.status < 300, answer.raw
        return answer.json

    async def answer(
        self, name: str, body: Any = None, query: Mapping[str, str] | None = None, **params: str
    ) -> HttpAnswer:
        return await self.world.call(name, admin(self.tenant), body, query=query, params=params)

    async def provider(self, name: str, wire: Wire) -> None:
        url = f"{self.double.url}/v1" if wire == "openai" else self.double.url
        self.keys[name] = f"key-{name}-of-{self.tenant}"
        body = {"name": name, "wire": wire, "base_url": url, "models": [*NAMES[wire]], "key": self.keys[name]}
        await self.call("create_provider", body)

    async def agent(self, name: str, model: str, pattern: str = "Specialist", **fields: Any) -> str:
        body = {
            "name": name,
            "pattern": pattern,
            "provider": "ours",
            "model": model,
            "instructions": f"You are {name}.",
        }
        return str((await self.call("create_agent", {**body, **fields}))["id"])

    async def start(self, agent: str, **limits: int) -> str:
        body = {"input": "What of incidents?", "limits": limits}
        return str((await self.call("create_execution", body, agent_id=agent))["id"])

    async def run(self, agent: str, **limits: int) -> Any:
        """The run, over."""
        id = await self.start(agent, **limits)
        await self.drain()
        return await self.call("get_execution", execution_id=id)

    async def drain(self) -> None:
        """All queues: the second time, what the first has sent to one that was empty by then."""
        for _ in range(2):
            await self.world.drain()

    async def books(self) -> Books:
        """What Flowgrid says that the tenant has used, wherever it says so."""
        usage = await self.call("get_usage", query={"metric": "ai_tokens", "period": "day"})
        events = [one["data"] for one in await self._all("list_usage_events", metric="ai_tokens")]
        runs = await self._all("list_executions")
        store = (await self.world.session(self.tenant)).store
        roots = [await store.get(TREE, one["id"]) for one in runs if one["parent_id"] is None]
        by_model: dict[str, int] = {}
        for bucket in usage["items"]:
            for name, value in bucket["dimensions"].items():
                by_model[name] = by_model.get(name, 0) + value
        return Books(
            answers=len(events),
            total=usage["total"],
            by_model=by_model,
            events=_sums(events),
            runs=_sums([one["tokens"] for one in runs]),
            trees=sum(root.body["tokens"] for root in roots if root is not None),
            budget=await self._counter(counter_of(Budget.AI_TOKENS, MONTH)),
            reservations_held=len((await store.query(RESERVED, [Where("status", "=", "held")])).items),
            places_taken=await self._counter(RUNS),
        )

    def bill(self) -> Books:
        """What the providers say that its keys have used."""
        kinds = [sum(self.double.billed[key, kind] for key in self.keys.values()) for kind in KINDS]
        told = (kinds[0], kinds[1], kinds[2])
        by_model = {
            f"{name}/{model}": tokens
            for name, key in self.keys.items()
            for (whose, model), tokens in self.double.billed_models.items()
            if whose == key
        }
        answers, total = sum(self.double.billed[key, "answers"] for key in self.keys.values()), told[0] + told[1]
        return Books(answers, total, by_model, told, told, total, total)

    async def _all(self, name: str, **query: str) -> list[Any]:
        found, cursor = list[Any](), ""
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = await self.call(name, query={"limit": "200", **query, **more})
            found += page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                return found

    async def _counter(self, name: str) -> int:
        found = await (await self.world.session(self.tenant)).store.get(COUNTER, name)
        return 0 if found is None else int(found.body["value"])


KINDS = ("input", "output", "cached")


def _sums(counted: Sequence[Mapping[str, int]]) -> tuple[int, int, int]:
    found = [sum(one[kind] for one in counted) for kind in KINDS]
    return (found[0], found[1], found[2])


@dataclass
class Pressed(Wired):
    """One whose time passes as its tests say, and which does not wait long for what hangs."""

    time: Time = field(init=False)
    models: Hurried = field(init=False)
    paused: list[float] = field(default_factory=list)

    @classmethod
    async def over(cls, folder: Path, double: AiDouble, wire: Wire, runs: Any = None, **more: Any) -> "Pressed":
        clock = FakeClock()
        time, paused, hurried = Time(clock), list[float](), list[Hurried]()

        async def pause(seconds: float) -> None:
            paused.append(seconds)
            await time.pause(seconds)

        def parts(core: Core) -> Runs:
            hurried.append(Hurried(core.adapters.models, double, time))
            tools = CatalogTools(ElementService(), RelationshipService())
            resolve = Connections(core.adapters.secrets, core.settings).resolve
            return Runs(tools, hurried[0], resolve, WizardTools(), pause)

        base = await Wired.over(folder, double, wire, parts, clock=clock, **more)
        own = cls(base.world, double, base.tenant, base.keys, paused=paused)
        own.time, own.models = time, hurried[0]
        return own

    async def drain(self) -> None:
        for _ in range(2):
            await self.time.passing(self.world.drain())

"""A Flowgrid on the double of Cosmos DB that counts what each piece of work takes (bench/measured.py)."""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from shared.auth.caller import Caller
from shared.messaging.port import Message
from shared.messaging.sqlite import SqliteMessaging
from shared.telemetry.insights import Insights
from shared.tenancy.fence import AUDIT
from shared.work.events import Metric, usage_event
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import KEY
from tests.unit.world import FakeClock, World, admin

FILE = Path(__file__).with_name("measured.json")
CONNECTION = "InstrumentationKey=11111111-2222-3333-4444-555555555555;IngestionEndpoint=http://127.0.0.1:9"
JOB_TURNS = 50
LOOKS = 8
OPERATIONS = ["get_agent", "list_agents", "get_element", "list_elements", "patch_agent", "get_me", "create_agent"]
Figures = dict[str, Any]


@asynccontextmanager
async def opened() -> AsyncIterator["Bench"]:
    """In a folder of its own, which goes afterwards."""
    clock = FakeClock()
    with CosmosDouble(lambda: clock.now().timestamp()) as cosmos, tempfile.TemporaryDirectory() as folder:
        world = World.over(
            Path(folder),
            clock=clock,
            flowgrid_database="cosmos",
            flowgrid_cosmos_endpoint=cosmos.endpoint,
            flowgrid_cosmos_emulator_key=KEY,
            applicationinsights_connection_string=CONNECTION,
        )
        try:
            yield Bench(world, cosmos, Path(folder) / "blobs")
        finally:
            await world.close()


class KeptTelemetry:
    """In the place of the thread that sends telemetry: what was told, as it would be sent."""

    key = CONNECTION
    tags: Mapping[str, str] = {"ai.cloud.role": "flowgrid", "ai.cloud.roleInstance": "0" * 32}

    def __init__(self, telemetry: Insights) -> None:
        self._telemetry = telemetry
        self.items: list[Any] = []

    def put(self, item: Any) -> None:
        self.items.append(item)

    def close(self, seconds: float) -> None:
        self.items.clear()

    def bytes(self, items: Sequence[Any]) -> int:
        """Of these items, as they would be sent."""
        one: Any = self
        return sum(len(json.dumps(self._telemetry._envelope(item, one))) for item in items)


class Bench:
    """`figures`: what was spent so far, by the name of the work."""

    def __init__(self, world: World, cosmos: CosmosDouble, blobs: Path) -> None:
        self._world, self._cosmos, self._blobs = world, cosmos, blobs
        telemetry, queue = world.core.adapters.telemetry, world.core.adapters.receiving
        assert isinstance(telemetry, Insights)
        assert isinstance(queue, SqliteMessaging)
        self._kept = telemetry.delivery = KeptTelemetry(telemetry)  # type: ignore[assignment]
        self._queue, self._send = queue, queue.send
        queue.send = self._sent  # type: ignore[method-assign]
        world.core.adapters.charges._monotonic = world.clock.monotonic
        world.core.adapters.charges.listener = None  # what it sends by the clock is reckoned (cli/cost)
        settings = world.core.settings
        self._queues = (settings.usage_queue, settings.jobs_queue, settings.executions_queue)
        self._messages = self._answered = 0
        self._admins: dict[str, Caller] = {}
        self.figures: dict[str, Figures] = {}

    async def _sent(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        self._messages += len(messages)
        await self._send(queue, messages, delay=delay)

    async def onboard(self, slug: str, *, dedicated: bool = False) -> str:
        made = await self._world.onboard(slug, tier="enterprise", dedicated=dedicated)
        self._admins[made["id"]] = admin(made["id"], f"admin@{slug}.example")
        await self.idle()
        return str(made["id"])

    async def call(self, tenant: str, name: str, body: Any = None, **more: Any) -> Any:
        """What a call that succeeds answers."""
        answer = await self._world.call(name, self._admins[tenant], body, **more)
        assert answer.status < 300, answer.raw
        self._answered = len(answer.raw)
        return answer.json if answer.raw else None

    async def asked(self, what: str, tenant: str, name: str, body: Any = None, **more: Any) -> Any:
        """The same, and what it has taken is written down, with all that follows but its metering."""
        answers: list[Any] = []

        async def work() -> None:
            answers.append(await self.call(tenant, name, body, **more))

        await self.spent(what, work(), metering=name == "get_usage")
        return answers[0]

    async def spent(self, what: str, work: Awaitable[Any], *, metering: bool = True) -> None:
        """`metering`: whether what is done in the container of usage is part of it."""
        self._cosmos.forget()
        self._kept.items.clear()
        self._messages = self._answered = 0
        before, told_before = self._blob_bytes(), self._audit_bytes()
        await work
        await self.idle()
        calls = [one for one in list(self._cosmos.calls) if metering or one.container != "usage"]
        told = [one for one in self._kept.items if one.type != "Metric"]  # those come by the clock
        told = [one for one in told if metering or not one.data.get("name", "").endswith(" usage")]
        outside = Counter(
            (one.data["type"], one.data["name"].split()[0]) for one in told if one.type == "RemoteDependency"
        )
        self.figures[what] = {
            "request_units": round(sum(call.charge for call in calls), 1),
            "calls": dict(sorted(Counter(f"{one.operation} {one.container}" for one in calls).items())),
            "messages": self._messages,
            "blob_writes": sum(outside["files", name] for name in ("write", "list")),
            "blob_reads": sum(outside["files", name] for name in ("read", "info")),
            "blob_bytes": self._blob_bytes() - before,
            "audit_bytes": self._audit_bytes() - told_before,
            "secrets": sum(count for (kind, _), count in outside.items() if kind == "secrets"),
            "telemetry_items": len(told),
            "telemetry_bytes": self._kept.bytes(told),
            "answer_bytes": self._answered,
        }

    def _blob_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._blobs.rglob("*") if path.is_file())

    def sizes(self) -> dict[str, int]:
        """Bytes of an item, as JSON, by kind: the mean of those that are in the database."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for document in self._documents():
            found[document["kind"]].append(_size(document))
        return {kind: sum(sizes) // len(sizes) for kind, sizes in sorted(found.items())}

    def _audit_bytes(self) -> int:
        """Of all entries, as they lie in the database."""
        return sum(_size(document) for document in self._documents() if document["kind"] == AUDIT)

    def _documents(self) -> Iterator[Figures]:
        for containers in self._cosmos.store.databases.values():
            for container in containers.values():
                yield from container.documents(None, self._now.timestamp())

    def metric_bytes(self) -> int:
        """Of what is told each half minute of a tenant and an operation: its request units."""
        self._kept.items.clear()
        self._world.core.adapters.charges.flush()
        told = [item for item in self._kept.items if item.type == "Metric"]
        return self._kept.bytes(told) // len(told)

    async def idle(self, *, seconds: float = 0) -> None:
        """All that was begun is done; then so much time passes."""
        for _ in range(JOB_TURNS):
            await self._world.core.services.outbox.flush()
            if not [queue for queue in self._queues if await self._queue.waiting(queue)]:
                break
            await self._world.drain()
        self._world.clock.advance(seconds=seconds)

    async def timer(self, name: str) -> None:
        await self._world.functions[name](None)

    async def block(self, tenant: str, events: int) -> None:
        """One delivery, of so many calls of a tenant."""
        at, ids = self._now, self._world.core.services.ids
        made = [
            usage_event(
                Metric.API_CALLS,
                id=ids.new(),
                tenant_id=tenant,
                at=at,
                value=1,
                endpoint="/api/v1/agents/{agent_id}",
                method="GET",
                operation=OPERATIONS[number % len(OPERATIONS)],
                duration_ms=3 + number * 7 % 40,
                status_code=200,
            )
            for number in range(events)
        ]
        await self._send(self._world.core.settings.usage_queue, made)
        await self.idle()

    async def next_hour(self) -> None:
        """Six minutes into it, when the hour before may be closed and what was written in it sealed."""
        self._world.clock.instant = self._now.replace(minute=6, second=0, microsecond=0) + timedelta(hours=1)

    async def next_day(self) -> None:
        """After two, when the hours and rounds before are done with."""
        self._world.clock.instant = self._now.replace(hour=2, minute=6, second=0, microsecond=0) + timedelta(days=1)
        await self.steady()

    async def steady(self) -> None:
        """The timers have found all that they find: what was missed while the clock leapt is made up for."""
        for _ in range(LOOKS):
            for name in ("sweep", "close_usage", "rounds"):
                await self.timer(name)
            await self.idle()
            self._world.clock.advance(minutes=1)

    async def day(self) -> None:
        """What the day's timers begin, to its end."""
        for name in ("backup_daily", "backup_retention"):
            await self.timer(name)
            await self.idle()

    @property
    def _now(self) -> datetime:
        return self._world.clock.now()


def _size(document: Figures) -> int:
    """Bytes of JSON, the store's own fields included."""
    return len(json.dumps(document, separators=(",", ":")))

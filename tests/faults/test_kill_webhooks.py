"""Deliveries killed at each call of whoever makes them: everything is told, in order, and what was recorded once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

import pytest

from functions.agents.models import Agent, AgentFields
from functions.kinds import KINDS
from functions.webhooks.lines import Lines
from functions.webhooks.messages import look_at
from functions.webhooks.models import LEASE, Delivery, Line, Webhook, stored
from functions.webhooks.sending import Answered, Ready, Sender
from functions.webhooks.working import Deliverer, Sweeping
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.clock import rfc3339
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Database
from shared.errors import Unavailable
from shared.jobs.deadletters import DeadLetters
from shared.messaging.port import Message
from shared.tenancy.directory import TENANT, Directory
from shared.tenancy.fence import first_permit
from shared.work.change import COUNTER
from shared.work.happenings import HAPPENED
from shared.work.outbox import Outbox, sweep_outbox
from shared.work.scope import Services
from shared.work.session import TenantSession
from tests.doubles.clock import never
from tests.doubles.cosmos import CosmosDouble
from tests.faults.runs import ALONE_OR_NOT, BEFORE_OR_AFTER, SHARD, Killed, Life, LivingDatabase, LivingQueue
from tests.faults.runs import Queue as Sent
from tests.unit.world import FakeClock, FakeIds, entry

QUEUE, USAGE = "deliveries", "usage-events"
EVENTS = 4
ROUNDS = 60
SAMPLED = {"SqliteDatabase": 9, "CosmosDatabase": 37}  # every so many calls are killed, where not all are


@dataclass
class Queue(Sent):
    """With delays."""

    clock: FakeClock = field(default_factory=FakeClock)
    later: list[tuple[str, Message]] = field(default_factory=list)

    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        for message in messages:
            if queue == QUEUE and (queue, message.id) not in self.sent:
                self.sent[queue, message.id] = message
                self.later.append((rfc3339(self.clock.now() + (delay or timedelta())), message))

    def come(self) -> list[Message]:
        now = rfc3339(self.clock.now())
        due = [message for at, message in self.later if at <= now]
        self.later = [(at, message) for at, message in self.later if at > now]
        return due


class DyingQueue(LivingQueue):
    """What a process sends, as long as it lives."""

    def __init__(self, inner: Queue, life: Life) -> None:
        super().__init__(inner, life)
        self.inner = inner

    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        await self._life.call(lambda: self.inner.send(queue, messages, delay=delay))


@dataclass
class Receiver:
    """Has no time when it is first called. `taken`: what it has acknowledged, in order."""

    refused: int = 1
    taken: list[str] = field(default_factory=list)

    async def take(self, delivery: Delivery, at: str) -> Answered:
        if self.refused:
            self.refused -= 1
            return Answered(at, 1, 503)
        self.taken.append(delivery.event_id)
        return Answered(at, 1, 204)


class LivingSender:
    def __init__(self, receiver: Receiver, life: Life, clock: FakeClock) -> None:
        self._receiver = receiver
        self._life = life
        self._clock = clock

    async def ready(self, tenant: TenantSession, webhook: Webhook) -> Ready:
        return Ready(webhook, ["a key"], webhook.url)

    async def send(self, ready: Ready, delivery: Delivery) -> Answered:
        at = rfc3339(self._clock.now())
        answered: Answered = await self._life.call(lambda: self._receiver.take(delivery, at))
        return answered


class Process:
    """One instance of the service."""

    def __init__(self, plant: "Plant", number: int, life: Life | None = None) -> None:
        self.life = life = life or Life()
        self.database = LivingDatabase(plant.database, life, None)
        self.queue = DyingQueue(plant.queue, life)
        self.clock = plant.clock
        self.services = Services(plant.clock, FakeIds(number), Outbox(self.queue, pause=never), USAGE, KINDS)
        self.directory = Directory(self.database, plant.clock)
        sender = cast(Sender, LivingSender(plant.receiver, life, plant.clock))
        letters = DeadLetters(self.database, self.queue, plant.clock)
        lines = Lines(sender, self.queue, plant.pause)
        self.deliverer = Deliverer(lines, self.directory, self.services, letters, self.queue)
        self.sweeping = Sweeping(self.database, self.services, self.queue)

    async def session(self, tenant_id: str) -> TenantSession:
        found = await self.directory.entry(tenant_id)
        assert found is not None
        return TenantSession(found, self.directory.open(found), SYSTEM, SYSTEM_REQUEST, self.services)

    async def take(self, message: Message) -> bool:
        """Whether the message is done with."""
        try:
            await self.deliverer.take(message)
        except (Killed, Unavailable):
            return False
        return True

    async def sweep(self) -> None:
        try:
            await sweep_outbox(self.database, self.directory, self.queue, self.clock)
            await self.sweeping.sweep()
        except Killed:
            return

    async def close(self) -> None:
        forgetting = self.services.outbox._forgetting
        if forgetting is not None:
            forgetting.cancel()
            await asyncio.wait([forgetting])


@dataclass
class Plant:
    database: Database
    clock: FakeClock
    tenant: str = ""
    receiver: Receiver = field(default_factory=Receiver)
    drop: Callable[[str], None] = lambda _: None
    processes: list[Process] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        self.queue = Queue(clock=self.clock)

    async def pause(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)

    def process(self, life: Life | None = None) -> Process:
        self.made += 1
        self.processes.append(Process(self, self.made, life))
        return self.processes[-1]

    async def open(self, number: int) -> str:
        """A new tenant with a webhook, whose id is answered."""
        self.tenant = f"0190c2a8-7e10-7abc-8def-{number:012x}"
        self.receiver, self.queue, self.made = Receiver(), Queue(clock=self.clock), 0
        found = entry(self.tenant)
        line: dict[str, Any] = {"id": self.tenant, "created_at": "2026-11-01T00:00:00.000000Z", "name": "Acme"}
        line |= {"slug": f"t{number}", "tier": "standard", "status": "active", "max_agents": 50, "max_users": 2}
        line |= {"placement": found.placement.as_document(), "settings": {"limits": {}}, "webhooks": True}
        await self.database.platform.put(Create(TENANT, self.tenant, {**line, "plan_changes": []}), self.tenant)
        store = self.database.tenant(self.tenant, SHARD)
        await store.commit([Create(COUNTER, "agents", {"created_at": "", "value": 0}), first_permit()])
        change = (await self.process().session(self.tenant)).change()
        fields = {"url": "https://hooks.acme.example/", "events": ["agent.created"], "description": ""}
        hook = change.create(Webhook, {**fields, "enabled": True, "secret_reference": "secret:kept"})
        change.write(Create(Line.KIND, hook.id, stored(Line(id=hook.id, created_at=change.at))))
        return (await change.commit(hook)).id

    async def agents(self, process: Process) -> None:
        for number in range(EVENTS):
            change = (await process.session(self.tenant)).change()
            fields = AgentFields.model_validate({"name": f"agent {number}", "pattern": "Router", "instructions": ""})
            try:
                await change.commit(change.create(Agent, fields.model_dump()))
            except Killed:
                return

    async def settle(self, *workers: Process) -> None:
        """Until everything is told: who is dead is replaced, and a lease runs out between two sweeps."""
        alive = list(workers)
        for _ in range(ROUNDS):
            while due := self.queue.come():
                done = await asyncio.gather(*(alive[n % len(alive)].take(one) for n, one in enumerate(due)))
                self.queue.later += [("", one) for one, over in zip(due, done, strict=True) if not over]
                alive = [one if not one.life.dead else self.process() for one in alive]
            if await self.over():
                return
            self.clock.advance(seconds=LEASE.total_seconds() + 1)
            await alive[0].sweep()
            alive = [one if not one.life.dead else self.process() for one in alive]
        raise AssertionError("this never comes to its end")

    async def over(self) -> bool:
        store = self.database.tenant(self.tenant, SHARD)
        lines = (await store.query(Line.KIND)).items
        left = (await store.query(HAPPENED)).items
        return not left and all(one.body["waiting"] == 0 and one.body["holder"] is None for one in lines)

    async def close(self) -> None:
        for one in self.processes:
            await one.close()
        self.processes.clear()


@pytest.fixture
async def plant(killed_on: Database, moved_clock: FakeClock, request: pytest.FixtureRequest) -> AsyncIterator[Plant]:
    made = Plant(killed_on, moved_clock)
    if isinstance(killed_on, CosmosDatabase):
        double: CosmosDouble = request.getfixturevalue("cosmos")
        made.drop = double.store.drop
    yield made
    await made.close()


class Unheard(Life):
    """It lives on: one of its calls is not made, or its answer is lost on the way."""

    missed: bool = False

    async def call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        misses = self.calls == self.dies_at
        self.calls += 1
        self.missed |= misses
        found = await work() if self.done_all_the_same or not misses else None
        if misses:
            raise Unavailable("The database does not answer.")
        return found


async def told_by(plant: Plant, number: int, life: Life, *, competing: bool) -> int:
    """How often something was told twice, of four events told by a process with this life, beside another or alone."""
    await plant.open(number)
    first, second = plant.process(life), plant.process()
    if isinstance(life, Unheard):  # of the database and the queue: of what a receiver does not answer, its sender knows
        first.deliverer._lines._sender = cast(Sender, LivingSender(plant.receiver, Life(), plant.clock))
    dies_at, life.dies_at = life.dies_at, None
    await plant.agents(second)
    life.calls, life.dies_at = 0, dies_at
    await plant.settle(*([first, second] if competing else [first]))
    store = plant.database.tenant(plant.tenant, SHARD)
    deliveries = [Delivery.model_validate(one.body) for one in (await store.query(Delivery.KIND)).items]
    in_order = [one.event_id for one in deliveries]
    assert len(in_order) == EVENTS and {one.status for one in deliveries} == {"succeeded"}
    taken = plant.receiver.taken
    assert list(dict.fromkeys(taken)) == in_order
    twice = [one for one, after in pairwise(taken) if one == after]
    assert len(taken) == EVENTS + len(twice), "one that was told again was told again at once"
    await plant.close()
    plant.drop(plant.tenant)  # sweeps look at all that there is: what is done with would slow those of the next
    return len(twice)


async def killed(plant: Plant, number: int, dies_at: int, done_all_the_same: bool, *, competing: bool) -> bool:
    """Whether a process that dies at this call has died."""
    life = Life(dies_at, done_all_the_same)
    twice = await told_by(plant, number, life, competing=competing)
    assert twice <= (1 if life.dead else 0), "only what a death has left without a record is told again"
    return life.dead


async def test_events_that_nobody_kills_are_told_in_order_and_each_once(plant: Plant) -> None:
    assert not await killed(plant, 1, 10**9, False, competing=True)
    assert len(plant.receiver.taken) == EVENTS


@BEFORE_OR_AFTER
@ALONE_OR_NOT
async def test_all_is_told_in_order_although_its_process_dies_at_some_of_its_calls(
    plant: Plant, competing: bool, done_all_the_same: bool
) -> None:
    dies_at = 0
    while await killed(plant, dies_at + 1, dies_at, done_all_the_same, competing=competing):
        dies_at += SAMPLED[type(plant.database).__name__]
    assert dies_at > 20


@BEFORE_OR_AFTER
@ALONE_OR_NOT
async def test_whoever_does_not_hear_of_one_of_its_calls_tells_each_once(
    plant: Plant, competing: bool, done_all_the_same: bool
) -> None:
    life, number = Unheard(0, done_all_the_same), 1
    while not await told_by(plant, number, life, competing=competing) and life.missed:
        number += SAMPLED[type(plant.database).__name__]
        life = Unheard(number - 1, done_all_the_same)
    assert not life.missed and number > 20, "all is told once, whatever was not heard of"


class Slow(LivingSender):
    """Stands still in one of its two steps, the first time, until it is let go."""

    def __init__(self, plant: Plant, stands_in: str) -> None:
        super().__init__(plant.receiver, Life(), plant.clock)
        self._stands_in = stands_in
        self.stands, self.goes_on = asyncio.Event(), asyncio.Event()

    async def ready(self, tenant: TenantSession, webhook: Webhook) -> Ready:
        await self._stand("ready")
        return await super().ready(tenant, webhook)

    async def send(self, ready: Ready, delivery: Delivery) -> Answered:
        await self._stand("send")
        return await super().send(ready, delivery)

    async def _stand(self, step: str) -> None:
        if step == self._stands_in and not self.stands.is_set():
            self.stands.set()
            await self.goes_on.wait()


@pytest.mark.parametrize(
    ("stands_in", "ahead", "passes"),
    [
        pytest.param("send", 61, 0, id="another's clock is ahead while it calls"),
        pytest.param("ready", 0, 61, id="its secrets take a minute"),
        pytest.param("ready", 0, LEASE.total_seconds() + 1, id="its secrets take longer than its lease"),
    ],
)
async def test_whoever_is_slow_or_behind_tells_nothing_that_another_has_told(
    plant: Plant, stands_in: str, ahead: float, passes: float
) -> None:
    hook = await plant.open(1)
    plant.receiver.refused = 0
    elsewhere = replace(plant, clock=FakeClock(plant.clock.now() + timedelta(seconds=ahead + passes)))
    elsewhere.queue = plant.queue
    slow, sender, other = plant.process(), Slow(plant, stands_in), elsewhere.process()
    slow.deliverer._lines._sender = cast(Sender, sender)
    await plant.agents(plant.process())
    await slow.deliverer.take(Message("handed out", plant.tenant, {"happened": ""}))
    working = asyncio.ensure_future(slow.take(look_at("one", plant.tenant, hook)))
    await sender.stands.wait()
    plant.clock.advance(seconds=passes)
    await other.take(look_at("another", plant.tenant, hook))
    sender.goes_on.set()
    await working
    await plant.settle(slow)
    assert len(plant.receiver.taken) == len(set(plant.receiver.taken)) == EVENTS
    await elsewhere.close()


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@BEFORE_OR_AFTER
@ALONE_OR_NOT
async def test_all_is_told_in_order_whichever_of_its_calls_its_process_dies_at(
    plant: Plant, competing: bool, done_all_the_same: bool
) -> None:
    dies_at = 0
    while await killed(plant, dies_at + 1, dies_at, done_all_the_same, competing=competing):
        dies_at += 1
    assert dies_at > 20

"""What others deliver, killed at each call of whoever takes it: a run for each delivery, and none that was promised is
lost.

A sender sends again what was not answered with a run, as GitHub and Stripe do; signed anew, under the same id.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from functions.hooks.delivering import Delivering, Sent
from functions.hooks.models import Hook, NewHook
from functions.hooks.service import HookService
from functions.hooks.tokens import HookTokens
from shared.auth.caller import SYSTEM_REQUEST, Caller
from shared.auth.roles import Role
from shared.blobs.files import FileBlobs
from shared.database.port import Database
from shared.errors import RateLimited, Unavailable
from shared.limits.memory import MemoryLimiter
from shared.limits.port import Allowance, Window
from shared.members.apikeys import ApiKeys
from shared.members.users import User
from shared.secrets.file import FileSecrets
from shared.secrets.port import Secrets, SecretSpace
from shared.telemetry.log import log_fields
from shared.tenancy.fence import AUDIT
from shared.tenancy.sharedkey import HOOKS, RegistryKey
from shared.work.kept_secrets import KeptSecrets
from shared.work.session import TenantSession
from tests.doubles.models import calls, says
from tests.faults.runs import ALONE_OR_NOT, BEFORE_OR_AFTER, Killed, Life, Plant, Process, Queue
from tests.unit.hooks_world import SECRETS, raw, signed
from tests.unit.world import FakeClock

DELIVERIES = 3  # one more than runs may be at a time: it waits for its turn
MOST_TRIES = 6
ISSUER = "https://login.flowgrid.test"
SAMPLED = {"SqliteDatabase": 4, "CosmosDatabase": 7}  # every so many calls are killed, where not all are


class LivingLimiter(MemoryLimiter):
    def __init__(self, clock: FakeClock, life: Life) -> None:
        super().__init__(clock)
        self._life = life

    async def take(self, *windows: Window) -> list[Allowance]:
        work = super().take
        left: list[Allowance] = await self._life.call(lambda: work(*windows))
        return left


class LivingSpace(SecretSpace):
    def __init__(self, inner: SecretSpace, life: Life) -> None:
        self._inner = inner
        self._life = life

    async def put(self, name: str, value: str) -> str:
        raise NotImplementedError

    async def get(self, reference: str) -> str:
        value: str = await self._life.call(lambda: self._inner.get(reference))
        return value

    async def delete(self, reference: str) -> None:
        raise NotImplementedError


class LivingSecrets(Secrets):
    def __init__(self, inner: Secrets, life: Life) -> None:
        self._inner = inner
        self._life = life

    def space(self, tenant_id: str) -> SecretSpace:
        return LivingSpace(self._inner.space(tenant_id), self._life)

    async def ping(self) -> None:
        return None

    async def close(self) -> None:
        return None


@dataclass
class Sender:
    """`answers`: which runs it was told of, of each of its deliveries."""

    plant: Plant
    secrets: Secrets
    hook: Hook | None = None
    answers: dict[int, set[str]] = field(default_factory=dict)

    def tokens(self) -> HookTokens:
        return HookTokens(RegistryKey(self.plant.database, self.plant.clock, HOOKS))

    async def register(self) -> None:
        """An agent, a user of the tenant, and a hook of theirs."""
        await self.plant.agent("clerk", "Specialist", ["note"])
        session = await self.plant.process().session(self.plant.tenant)
        change = session.change()
        named = {"email": "grace@acme.example", "name": "Grace", "role": "user", "status": "active"}
        named |= {"issuer": ISSUER, "subject": "grace"}
        user = await change.commit(change.create(User, named))
        grace = Caller("grace", user.email, user.name, session.id, Role.USER, ISSUER, user=user.id)
        own = TenantSession(session.entry, session.store, grace, SYSTEM_REQUEST, session.services)
        new = NewHook(name="Claims", style="standard", secret=SECRETS["standard"])
        hooks = HookService(KeptSecrets(self.secrets), self.tokens())
        self.hook = await hooks.create(own, self.plant.agents["clerk"], new)

    def taking(self, process: Process) -> Delivering:
        life, services = process.life, process.services
        secrets = KeptSecrets(LivingSecrets(self.secrets, life))
        limiter = LivingLimiter(self.plant.clock, life)
        keys = ApiKeys(process.directory, self.plant.clock, "test", {ISSUER})
        return Delivering(process.directory, services, limiter, self.tokens(), secrets, process.starting, keys)

    async def send(self, number: int, to: Delivering) -> None:
        assert self.hook is not None
        body, now = raw({"claim": number}), self.plant.clock.now().timestamp()
        headers = signed("standard", SECRETS["standard"], body, now, f"msg_{number}")
        sent = Sent(self.hook.path.rpartition("/")[2], headers, body, SYSTEM_REQUEST)
        log_fields.set({"operation": "deliver_to_hook"})
        try:
            taken = await to.take(sent, lambda: None)
        except (Killed, Unavailable, RateLimited):
            return  # it hears nothing, or that it should come again
        assert taken.execution_id is not None
        self.answers.setdefault(number, set()).add(taken.execution_id)

    async def deliver(self, *processes: Process) -> None:
        """Until each delivery is taken: all of them at once to each process, and a minute between two tries."""
        for _ in range(MOST_TRIES):
            left = [number for number in range(DELIVERIES) if number not in self.answers]
            if not left:
                return
            alive = [one if not one.life.dead else self.plant.process() for one in processes]
            takers = [self.taking(one) for one in alive]
            sending = [self.send(number, taker) for number in left for taker in takers]
            await self.plant.time.passing(asyncio.gather(*sending))
            self.plant.time.forward(61)
        raise AssertionError("this is never taken")


@pytest.fixture
async def sender(killed_on: Database, moved_clock: FakeClock, tmp_path: Path) -> AsyncIterator[Sender]:
    plant, key = Plant(killed_on, FileBlobs(tmp_path / "blobs"), clock=moved_clock), Fernet.generate_key()
    plant.models.scripts = {"clerk": [calls(("note", {"text": "a claim"})), says("Filed.")]}
    yield Sender(plant, FileSecrets(tmp_path / "secrets", lambda: key))
    await plant.close()


async def forgets(process: Process) -> None:
    """What a process does behind its answers."""
    try:
        await process.services.outbox.flush()
    except Killed:
        return


async def killed(sender: Sender, number: int, dies_at: int, done_all_the_same: bool, *, competing: bool) -> bool:
    """Three deliveries to a process that dies at this call, beside another or before it; whether it has died."""
    plant = sender.plant
    plant.queue, plant.made = Queue(), 0
    await plant.open(number, requests_per_minute=1000)
    sender.answers = {}
    await sender.register()
    first, second = plant.process(Life(dies_at, done_all_the_same)), plant.process()
    await sender.deliver(*([first, second] if competing else [first]))
    await forgets(first)
    await plant.settle(second)
    assert await plant.check() == {"succeeded": DELIVERIES}
    told = dict(sender.answers)
    assert all(len(runs) == 1 for runs in told.values()), "whoever was told of a run was always told of the same"
    assert {run for runs in told.values() for run in runs} == {run.id for run in await plant.runs()}
    assert await started(plant) == sorted(run.id for run in await plant.runs())
    last = sender.taking(plant.process())
    for each in range(DELIVERIES):
        await sender.send(each, last)
    assert sender.answers == told and len(await plant.runs()) == DELIVERIES, "what comes again starts nothing"
    await plant.close()
    return first.life.dead


async def started(plant: Plant) -> list[str]:
    """The runs whose start the audit tells of, as often as it does."""
    store = (await plant.process().session(plant.tenant)).store
    found: list[dict[str, Any]] = [dict(one.body) for one in (await store.query(AUDIT)).items]
    return sorted(one["resource_id"] for one in found if one["action"] == "execution.started")


async def test_deliveries_that_nobody_kills_are_a_run_each(sender: Sender) -> None:
    assert not await killed(sender, 1, 10**9, False, competing=True)
    assert sender.plant.uses.total() == DELIVERIES


@BEFORE_OR_AFTER
@ALONE_OR_NOT
async def test_a_delivery_is_one_run_although_its_process_dies_at_some_of_its_calls(
    sender: Sender, competing: bool, done_all_the_same: bool
) -> None:
    dies_at = competing + 2 * done_all_the_same  # each way at others, so that on SQLite all have their turn
    while await killed(sender, dies_at + 1, dies_at, done_all_the_same, competing=competing):
        dies_at += SAMPLED[type(sender.plant.database).__name__]
    assert dies_at > 20


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@BEFORE_OR_AFTER
@ALONE_OR_NOT
async def test_a_delivery_is_one_run_whichever_of_its_calls_its_process_dies_at(
    sender: Sender, competing: bool, done_all_the_same: bool
) -> None:
    dies_at = 0
    while await killed(sender, dies_at + 1, dies_at, done_all_the_same, competing=competing):
        dies_at += 1
    assert dies_at > 20

"""What is done once an hour or a day: caught up whoever asks, done once; what must be true is looked at and told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from functions.agents.models import Agent
from functions.platform.counters import counters
from functions.platform.invariants import Invariants
from functions.platform.rounds import Rounds
from functions.usage.archiving import Archive
from shared.clock import rfc3339
from shared.database.port import Create, Increment, Stored, TenantStore
from shared.errors import Concern, Unavailable
from shared.jobs import tenant_sweep
from shared.jobs.ledger import AGAIN, Summary
from shared.jobs.tenant_sweep import TenantSweep
from shared.kinds import Kind
from shared.tenancy.fence import rotate
from shared.work.change import COUNTER
from shared.work.fencing import close
from shared.work.session import TenantSession
from tests.unit.world import AGENT, WatchedStore, World, admin


class Work:
    def __init__(self) -> None:
        self.runs = Counter[str]()
        self.error: Exception | None = None

    async def hourly(self, before: Summary | None) -> Summary:
        return self._ran("hourly")

    async def daily(self, before: Summary | None) -> Summary:
        return self._ran("daily")

    def _ran(self, name: str) -> Summary:
        self.runs[name] += 1
        if self.error is not None:
            raise self.error
        return {}


def rounds_of(world: World, work: Work) -> Rounds:
    return Rounds(world.core.ledger, world.clock, {"h": work.hourly}, {"d": work.daily})


async def test_however_often_it_is_asked_each_is_done_once_an_hour_or_a_day(world: World, twin: World) -> None:
    work = Work()
    for minutes in (5, 5, 60, 60 * 24):
        for own in (world, twin):
            await rounds_of(own, work).run()
        world.clock.advance(minutes=minutes)
    assert work.runs == {"hourly": 2, "daily": 1}


async def test_what_nobody_asked_for_when_it_was_due_is_done_by_the_next_asking(world: World) -> None:
    work = Work()
    world.clock.advance(hours=9)
    assert await rounds_of(world, work).run() == 2


async def test_what_failed_is_done_once_more_and_stops_no_other(world: World) -> None:
    work = Work()
    work.error = ValueError("surprise")
    assert await rounds_of(world, work).run() == 0
    work.error = None
    world.clock.advance(seconds=AGAIN.total_seconds() + 600)
    assert (await rounds_of(world, work).run(), work.runs) == (2, {"hourly": 2, "daily": 2})


# Invariants


@pytest.fixture
async def tenant(world: World) -> AsyncIterator[TenantSession]:
    id = str((await world.onboard(tier="enterprise"))["id"])
    for _ in range(3):
        await world.call("create_agent", admin(id), AGENT)
    yield await world.session(id)


async def off_by_one(tenant: TenantSession) -> None:
    await tenant.store.commit([Increment(COUNTER, "agents", {"value": 1})])


async def test_a_tenant_whose_counters_say_what_there_is_is_well(world: World, tenant: TenantSession) -> None:
    made = await world.call("create_agent", admin(tenant.id), AGENT)
    await world.call("delete_agent", admin(tenant.id), params={"agent_id": made.json["id"]})
    assert await counters(tenant) == []


async def test_a_counter_that_is_wrong_is_named(tenant: TenantSession) -> None:
    await off_by_one(tenant)
    assert await counters(tenant) == ["the counter `agents` is 4, and there are 3 of the kind agent"]


async def test_an_agent_that_comes_and_goes_meanwhile_is_not_taken_for_a_wrong_counter(
    world: World, tenant: TenantSession
) -> None:
    """The scan sees it each time; the counter, before and after, does not count it."""
    made: list[str] = []

    async def come() -> None:
        made.append((await world.call("create_agent", admin(tenant.id), AGENT)).json["id"])

    async def go() -> None:
        await world.call("delete_agent", admin(tenant.id), params={"agent_id": made[-1]})

    assert await counters(replace(tenant, store=BetweenStore(tenant.store, come, go))) == []
    assert len(made) == 3


async def test_what_a_restore_has_written_and_not_counted_yet_is_not_taken_for_a_wrong_counter(
    world: World, tenant: TenantSession
) -> None:
    id, at = world.core.services.ids.new(), rfc3339(world.clock.now())
    await tenant.store.control.commit([Create(Agent.KIND, id, {"created_at": at})])

    async def moment() -> None:
        await rotate(tenant.store, world.core.services.ids.new(), world.clock.now())

    assert await counters(replace(tenant, store=BetweenStore(tenant.store, moment, moment))) == []


async def test_a_tenant_that_is_being_restored_is_left_alone(tenant: TenantSession) -> None:
    await off_by_one(tenant)
    await close(tenant, "a restore")
    assert await counters(tenant) == []


Happens = Callable[[], Awaitable[None]]


class BetweenStore(WatchedStore):
    """Something happens before each scan of the agents, and after it."""

    def __init__(self, store: TenantStore, before: Happens, after: Happens) -> None:
        super().__init__(store)
        self._around = (before, after)

    async def scan(self, kinds: Sequence[Kind], *, since: str | None = None) -> AsyncIterator[list[Stored]]:
        before, after = self._around
        if kinds[0] == Agent.KIND:
            await before()
        async for page in super().scan(kinds, since=since):
            yield page
        if kinds[0] == Agent.KIND:
            await after()


async def health(world: World, name: str = "invariants") -> dict[str, Any]:
    world.clock.advance(minutes=6)
    found: dict[str, Any] = (await world.call("get_health")).json["checks"][name]
    return found


async def test_health_warns_of_what_the_last_round_has_found_without_saying_whose(
    world: World, tenant: TenantSession, log: pytest.LogCaptureFixture
) -> None:
    await world.functions["rounds"](None)
    well = await health(world)
    await off_by_one(tenant)
    world.clock.advance(days=1)
    await world.functions["rounds"](None)
    warned = await health(world)
    assert (well["status"], warned["status"]) == ("ok", "error")
    assert "counters: 1" in warned["message"] and tenant.id not in warned["message"]
    (line,) = [vars(one) for one in log.records if one.name == "flowgrid.invariants"]
    assert (line["tenant_id"], line["check"]) == (tenant.id, "counters")


async def test_the_warning_ends_with_the_round_that_finds_nothing(world: World, tenant: TenantSession) -> None:
    await off_by_one(tenant)
    await world.functions["rounds"](None)
    warned = await health(world)
    await tenant.store.commit([Increment(COUNTER, "agents", {"value": -1})])
    world.clock.advance(days=1)
    still = await health(world)  # of yesterday, until today's is done
    await world.functions["rounds"](None)
    assert [one["status"] for one in (warned, still, await health(world))] == ["error", "error", "ok"]


async def test_a_check_that_fails_is_told_and_stops_no_other(world: World, tenant: TenantSession) -> None:
    async def broken(_: TenantSession) -> list[str]:
        raise ValueError("surprise")

    async def finds(_: TenantSession) -> list[str]:
        return ["one", "two"]

    each = TenantSweep(world.core.adapters.database, world.core.directory, world.core.services)
    own = Invariants(each, {"first": broken, "second": finds}, world.core.ledger, world.clock)
    await world.core.ledger.run_once(Invariants.ROUND, "2026-11-24", own.run)
    with pytest.raises(Concern, match="second: 2; first of 1 tenants not looked at"):
        await own.check()


async def test_a_look_that_has_never_come_to_its_end_is_told_the_day_after(world: World, tenant: TenantSession) -> None:
    async def killed(session: TenantSession) -> list[str]:
        raise KeyboardInterrupt

    each = TenantSweep(world.core.adapters.database, world.core.directory, world.core.services)
    invariants = Invariants(each, {"counters": killed}, world.core.ledger, world.clock)
    rounds = Rounds(world.core.ledger, world.clock, {}, {Invariants.ROUND: invariants.run})
    with pytest.raises(KeyboardInterrupt):
        await rounds.run()
    await invariants.check()
    world.clock.advance(days=1)
    with pytest.raises(Concern, match="has never come to its end"):
        await invariants.check()


async def test_a_tenant_that_hangs_keeps_those_behind_it_waiting_for_so_long_only(
    world: World, tenant: TenantSession
) -> None:
    other = str((await world.onboard("globex"))["id"])
    first = min(tenant.id, other)

    async def work(session: TenantSession) -> int:
        if session.id == first:
            await asyncio.Event().wait()
        return 1

    each = TenantSweep(world.core.adapters.database, world.core.directory, world.core.services, within=0.05)
    summary = await each.each(work)
    assert (summary["done"], list(summary["failures"])) == (1, [first])


# What failed for some tenants


@pytest.fixture
async def tenants(world: World) -> list[str]:
    return sorted([str((await world.onboard(slug))["id"]) for slug in ("acme", "globex", "initech")])


class Fails:
    """Work that fails for these tenants; who was asked."""

    def __init__(self, *for_whom: str) -> None:
        self.for_whom = for_whom
        self.asked: list[str] = []

    async def __call__(self, session: TenantSession) -> int:
        self.asked.append(session.id)
        if session.id in self.for_whom:
            raise Unavailable("The shard is away.")
        return 1


def sweep_of(world: World) -> TenantSweep:
    return TenantSweep(world.core.adapters.database, world.core.directory, world.core.services)


async def test_for_whom_a_round_failed_it_is_done_again_and_for_nobody_else(world: World, tenants: list[str]) -> None:
    work = Fails(tenants[1])
    rounds = Rounds(world.core.ledger, world.clock, {}, {"statements": sweep_of(world).over_all(work)})
    await rounds.run()
    work.for_whom = ()
    world.clock.advance(seconds=AGAIN.total_seconds() + 1)
    for _ in range(2):
        await rounds.run()
    assert work.asked == [*tenants, tenants[1]]
    outcome = await world.core.ledger.outcome("statements", "2026-11-24")
    assert outcome and outcome.summary == {"tenants": 3, "done": 3, "failed": 0, "failures": {}}


async def test_where_it_failed_for_more_than_are_named_it_is_done_for_all_once_more(
    world: World, tenants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_sweep, "NAMED_FAILURES", 1)
    work = Fails(*tenants[1:])
    before = await sweep_of(world).each(work)
    work.for_whom = ()
    after = await sweep_of(world).each(work, before)
    assert (list(before["failures"]), work.asked) == ([tenants[1]], [*tenants, *tenants])
    assert after == {"tenants": 3, "done": 3, "failed": 0, "failures": {}}


async def test_a_tenant_that_is_gone_is_not_waited_for(world: World, tenants: list[str]) -> None:
    before = {"tenants": 4, "done": 3, "failed": 1, "failures": {"gone": "The shard is away."}}
    assert await sweep_of(world).each(Fails(), before) == {"tenants": 3, "done": 3, "failed": 0, "failures": {}}


@pytest.mark.parametrize("hourly", [True, False])
async def test_a_round_that_failed_for_some_is_told_until_one_failed_for_none(
    world: World, tenants: list[str], hourly: bool
) -> None:
    work = Fails(*tenants[:2])
    own = {"secrets": sweep_of(world).over_all(work)}
    rounds = Rounds(world.core.ledger, world.clock, own if hourly else {}, {} if hourly else own)
    await rounds.check()
    await rounds.run()
    for hours in (0, 1 if hourly else 24):  # the next one has not begun
        world.clock.advance(hours=hours)
        with pytest.raises(Concern, match=r"\(secrets: 2\) and are tried again"):
            await rounds.check()
    work.for_whom = ()
    await rounds.run()
    await rounds.check()


async def test_health_tells_of_rounds_that_failed_for_some_and_not_for_whom(
    world: World, tenants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(archive: Archive, session: TenantSession) -> int:
        raise Unavailable("The shard is away.")

    monkeypatch.setattr(Archive, "keep", away)
    other = World.over(world.core.settings.flowgrid_data_dir, clock=world.clock, process=9)
    await other.functions["rounds"](None)
    told = await health(world, "rounds")
    await other.close()
    assert told["status"] == "error" and "usage archive: 3" in told["message"] and tenants[0] not in told["message"]

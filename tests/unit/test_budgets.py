"""Budgets of a month: reserved within the plan, settled whatever comes, each once, whoever crashes or repeats."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from shared.database.port import Create, Increment, Operation, Page, Stored, TenantStore, Where
from shared.errors import Conflict, NotFound, QuotaReached
from shared.jobs.tenant_sweep import TenantSweep
from shared.kinds import Kind
from shared.tenancy.plans import Budget
from shared.work.budgets import (
    RESERVED,
    Reservation,
    counter_of,
    release_abandoned,
    reserve,
    reserve_once,
    settle,
    settle_once,
)
from shared.work.change import COUNTER
from shared.work.fencing import close, reopen
from shared.work.resources import Versioned
from shared.work.session import TenantSession
from tests.unit.world import TENANT_ID, UNLIMITED, WatchedStore, World, admin, entry, register, session

T = TypeVar("T")
TOKENS, SPEND = Budget.AI_TOKENS, Budget.AI_SPEND
LIMIT = 100
MONTH = "2026-11"


async def tenant_of(world: World) -> TenantSession:
    settings = {"limits": {**UNLIMITED, "ai_tokens_per_month": LIMIT, "ai_spend_per_month": 10 * LIMIT}}
    await register(world.core, settings=settings)
    found = entry(settings=settings)
    return session(world.core, found, world.core.directory.open(found), admin(TENANT_ID))


@pytest.fixture
async def tenant(world: World) -> TenantSession:
    return await tenant_of(world)


async def counted(tenant: TenantSession, budget: Budget = TOKENS, month: str = MONTH) -> int:
    stored = await tenant.store.get(COUNTER, counter_of(budget, month))
    return 0 if stored is None else int(stored.body["value"])


async def reservation(tenant: TenantSession, id: str) -> Versioned[Reservation]:
    stored = await tenant.store.get(RESERVED, id)
    assert stored is not None
    return Versioned.of(Reservation, stored)


# Reserving


async def test_what_is_reserved_is_counted_and_what_was_used_is_counted_in_its_place(tenant: TenantSession) -> None:
    await reserve_once(tenant, "call", {TOKENS: 60, SPEND: 500})
    reserved = await counted(tenant), await counted(tenant, SPEND)
    await settle_once(tenant, "call", {TOKENS: 20, SPEND: 130})
    assert (reserved, (await counted(tenant), await counted(tenant, SPEND))) == ((60, 500), (20, 130))


async def test_nothing_is_reserved_beyond_the_plan_and_the_refusal_is_that_of_every_quota(
    tenant: TenantSession,
) -> None:
    await reserve_once(tenant, "one", {TOKENS: 60})
    with pytest.raises(QuotaReached) as refused:
        await reserve_once(tenant, "two", {TOKENS: 41})
    assert (refused.value.message, refused.value.members) == (
        "AI token quota exceeded",
        {"limit": LIMIT, "current": 60, "upgradeUrl": "/billing/upgrade"},
    )
    await reserve_once(tenant, "three", {TOKENS: 40})
    assert await counted(tenant) == LIMIT


async def test_where_one_budget_has_no_room_nothing_is_reserved_of_the_other(tenant: TenantSession) -> None:
    with pytest.raises(QuotaReached, match="AI spend"):
        await reserve_once(tenant, "call", {TOKENS: 1, SPEND: 10 * LIMIT + 1})
    assert (await counted(tenant), await tenant.store.get(RESERVED, "call")) == (0, None)


async def test_settling_one_and_reserving_the_next_in_one_change_is_one_movement_within_the_limit(
    tenant: TenantSession,
) -> None:
    await reserve_once(tenant, "one", {TOKENS: 90})
    change = tenant.change()
    assert settle(change, await reservation(tenant, "one"), {TOKENS: 20})
    await reserve(change, tenant, "two", {TOKENS: 80})
    await change.commit(None)
    assert await counted(tenant) == LIMIT


async def test_what_does_not_fit_beside_what_was_used_is_refused_as_that_quotas_and_nothing_is_settled(
    tenant: TenantSession,
) -> None:
    await reserve_once(tenant, "one", {TOKENS: 90})
    change = tenant.change()
    assert settle(change, await reservation(tenant, "one"), {TOKENS: 20})
    await reserve(change, tenant, "two", {TOKENS: 81})
    with pytest.raises(QuotaReached, match="AI token") as refused:
        await change.commit(None)
    assert refused.value.members == {"limit": LIMIT, "current": 90, "upgradeUrl": "/billing/upgrade"}
    assert ((await reservation(tenant, "one")).value.status, await counted(tenant)) == ("held", 90)


async def test_movements_of_one_counter_are_one_operation_within_the_lowest_limit(tenant: TenantSession) -> None:
    store = WatchedStore(tenant.store)
    await store.commit([Create(COUNTER, "things", {"created_at": "", "value": 0})])
    change = replace(tenant, store=store).change()
    change.count("things", 5)
    change.count("things", 3, limit=10)
    change.count("things", -2, limit=20)
    await change.commit(None)
    (moved,) = [one for one in store.batches[-1] if isinstance(one, Increment)]
    assert (moved.amounts, moved.at_most) == ({"value": 6}, {"value": 10})


async def test_the_same_reservation_again_is_the_same(tenant: TenantSession) -> None:
    first = await reserve_once(tenant, "call", {TOKENS: 60})
    again = await reserve_once(tenant, "call", {TOKENS: 60})
    assert (again, await counted(tenant)) == (first, 60)


async def test_of_many_that_reserve_at_once_as_many_get_room_as_there_is(world: World, twin: World) -> None:
    tenants = [await tenant_of(world)]
    tenants.append(replace(tenants[0], store=twin.core.directory.open(tenants[0].entry)))

    async def take(number: int) -> bool:
        try:
            await reserve_once(tenants[number % 2], f"call-{number}", {TOKENS: 30})
        except QuotaReached:
            return False
        return True

    assert sum(await asyncio.gather(*map(take, range(10)))) == 3
    assert await counted(tenants[0]) == 90


async def test_two_that_reserve_the_same_at_once_reserve_it_once(world: World, twin: World) -> None:
    one = await tenant_of(world)
    other = replace(one, store=twin.core.directory.open(one.entry))
    await asyncio.gather(*(reserve_once(tenant, "call", {TOKENS: 60}) for tenant in (one, other)))
    assert await counted(one) == 60


async def test_a_reservation_may_be_part_of_another_change(tenant: TenantSession) -> None:
    for _ in range(2):
        change = tenant.change()
        await reserve(change, tenant, "call", {TOKENS: 10})
        change.count("agents", 1)
        try:
            await change.commit(None)
        except Conflict:
            continue
    agents = await tenant.store.get(COUNTER, "agents")
    assert (await counted(tenant), agents and agents.body["value"]) == (10, 1)


@pytest.mark.parametrize("amounts", [{}, {TOKENS: -1}, {TOKENS: 10**12 + 1}])
async def test_what_is_no_amount_is_a_mistake(tenant: TenantSession, amounts: dict[Budget, int]) -> None:
    with pytest.raises(ValueError, match="an amount is"):
        await reserve_once(tenant, "call", amounts)


# Settling


async def test_more_than_was_reserved_is_settled_though_it_is_beyond_the_plan(tenant: TenantSession) -> None:
    await reserve_once(tenant, "call", {TOKENS: LIMIT})
    await settle_once(tenant, "call", {TOKENS: 5 * LIMIT})
    assert await counted(tenant) == 5 * LIMIT
    with pytest.raises(QuotaReached):
        await reserve_once(tenant, "next", {TOKENS: 0})


async def test_the_same_settled_again_changes_nothing(tenant: TenantSession) -> None:
    await reserve_once(tenant, "call", {TOKENS: 60})
    for used in (20, 30):
        await settle_once(tenant, "call", {TOKENS: used})
    assert (await counted(tenant), (await reserve_once(tenant, "call", {TOKENS: 60})).status) == (20, "settled")


async def test_two_that_settle_at_once_settle_once(world: World, twin: World) -> None:
    one = await tenant_of(world)
    other = replace(one, store=twin.core.directory.open(one.entry))
    await reserve_once(one, "call", {TOKENS: 60})
    await asyncio.gather(*(settle_once(tenant, "call", {TOKENS: 20}) for tenant in (one, other)))
    assert await counted(one) == 20


async def test_what_is_settled_after_the_end_of_the_month_is_the_old_months(
    world: World, tenant: TenantSession
) -> None:
    world.clock.advance(days=6, hours=11, minutes=59)
    await reserve_once(tenant, "call", {TOKENS: 60})
    world.clock.advance(minutes=2)
    await settle_once(tenant, "call", {TOKENS: 70})
    assert (await counted(tenant), await counted(tenant, month="2026-12")) == (70, 0)


async def test_what_was_never_reserved_is_not_settled(tenant: TenantSession) -> None:
    with pytest.raises(NotFound):
        await settle_once(tenant, "call", {TOKENS: 1})


async def test_other_budgets_than_were_reserved_are_a_mistake(tenant: TenantSession) -> None:
    await reserve_once(tenant, "call", {TOKENS: 60})
    with pytest.raises(ValueError, match="reserved"):
        settle(tenant.change(), await reservation(tenant, "call"), {SPEND: 1})


# What a crash leaves


async def test_what_is_held_for_too_long_is_given_back_once(world: World, tenant: TenantSession) -> None:
    for number in range(3):
        await reserve_once(tenant, f"call-{number}", {TOKENS: 10})
    world.clock.advance(minutes=59)
    early = await release_abandoned(tenant)
    await reserve_once(tenant, "late", {TOKENS: 5})
    world.clock.advance(minutes=2)
    each = TenantSweep(world.core.adapters.database, world.core.directory, world.core.services)
    summary = await each.each(release_abandoned)
    assert (early, summary["done"], await release_abandoned(tenant), await counted(tenant)) == (0, 3, 0, 5)


async def test_what_is_settled_after_it_was_given_back_still_counts(world: World, tenant: TenantSession) -> None:
    await reserve_once(tenant, "call", {TOKENS: 60})
    world.clock.advance(hours=2)
    await release_abandoned(tenant)
    for _ in range(2):
        await settle_once(tenant, "call", {TOKENS: 20})
    assert await counted(tenant) == 20


async def test_who_goes_on_after_it_was_given_back_reserves_anew(world: World, tenant: TenantSession) -> None:
    await reserve_once(tenant, "call", {TOKENS: 60})
    world.clock.advance(hours=2)
    await release_abandoned(tenant)
    again = await reserve_once(tenant, "call", {TOKENS: 60})
    assert (again.status, await counted(tenant), await release_abandoned(tenant)) == ("held", 60, 0)


async def test_what_is_settled_while_it_is_given_back_stays_settled(world: World, tenant: TenantSession) -> None:
    await reserve_once(tenant, "call", {TOKENS: 60})
    world.clock.advance(hours=2)
    store = WatchedStore(tenant.store)

    async def settle_first(_: object) -> None:
        store.main.before = None
        await settle_once(tenant, "call", {TOKENS: 20})

    store.main.before = settle_first
    assert (await release_abandoned(replace(tenant, store=store)), await counted(tenant)) == (0, 20)


class Killed(BaseException):
    """The end of a process."""


Work = Callable[[TenantSession], Awaitable[object]]
WORKS: dict[str, Work] = {
    "reserve": lambda one: reserve_once(one, "call", {TOKENS: 60, SPEND: 5}),
    "settle": lambda one: settle_once(one, "call", {TOKENS: 20, SPEND: 9}),
    "release": release_abandoned,
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", WORKS)
async def test_whatever_call_a_process_dies_at_the_work_done_again_counts_once(
    world: World, name: str, when: str, tmp_path: Path
) -> None:
    expected = {"reserve": (60, 5), "settle": (20, 9), "release": (0, 0)}[name]
    for dies_at in range(20):
        own = World.over(tmp_path / f"{dies_at}")
        tenant = await tenant_of(own)
        if name != "reserve":
            await reserve_once(tenant, "call", {TOKENS: 60, SPEND: 5})
            own.clock.advance(hours=2)
        died = await _dies(tenant, WORKS[name], dies_at, when)
        await WORKS[name](tenant)
        assert (await counted(tenant), await counted(tenant, SPEND)) == expected, (dies_at, when)
        await own.close()
        if not died:
            assert dies_at >= 2
            return
    raise AssertionError("it never ends")


async def _dies(tenant: TenantSession, work: Work, dies_at: int, when: str) -> bool:
    """Whether it came as far as the call of the store at which it dies: before it, or after it is done."""
    store = DyingStore(tenant.store, dies_at, when == "after")
    try:
        await work(replace(tenant, store=store))
    except Killed:
        return True
    return False


class DyingStore(WatchedStore):
    """The process dies at its nth call of the store."""

    def __init__(self, store: TenantStore, dies_at: int, after: bool) -> None:
        super().__init__(store)
        self._left = dies_at
        self._after = after

    @property
    def control(self) -> "DyingStore":
        return self

    async def get(self, kind: Kind, id: str) -> Stored | None:
        return await self._die(super().get(kind, id))

    async def query(self, kind: Kind, where: Sequence[Where] = (), **more: Any) -> Page:
        return await self._die(super().query(kind, where, **more))

    async def commit(self, operations: Sequence[Operation]) -> None:
        await self._die(super().commit(operations))

    async def _die(self, call: Coroutine[Any, Any, T]) -> T:
        now, self._left = self._left == 0, self._left - 1
        if now and not self._after:
            call.close()
            raise Killed
        found = await call
        if now:
            raise Killed
        return found


# Whatever happens, in whatever order

IDS = st.sampled_from(["a", "b", "c", "d"])
AMOUNTS = st.integers(0, 60)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), IDS, AMOUNTS),
        st.tuples(st.just("settle"), IDS, AMOUNTS),
        st.tuples(st.just("wait"), st.just(""), st.integers(1, 90)),
        st.tuples(st.just("release"), st.just(""), st.just(0)),
    ),
    max_size=30,
)


@profile(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_the_counter_is_what_a_simple_book_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    asyncio.run(_play(tmp_path_factory.mktemp("book"), steps))


async def _play(folder: Path, steps: list[tuple[str, str, int]]) -> None:
    world = World.over(folder)
    tenant = await tenant_of(world)
    book: dict[str, int] = {}
    held: dict[str, float] = {}  # since which minute
    settled = set[str]()
    minute = 0.0
    for what, id, number in steps:
        if what == "wait":
            minute += number
            world.clock.advance(minutes=number)
        elif what == "release":
            await release_abandoned(tenant)
            for one in [one for one, since in held.items() if minute - since > 60]:
                del held[one]
                book[one] = 0
        elif what == "reserve":
            fits = id in held or id in settled or sum(book.values()) + number <= LIMIT
            try:
                await reserve_once(tenant, id, {TOKENS: number})
                assert fits
            except QuotaReached:
                assert not fits
                continue
            if id not in held and id not in settled:
                book[id], held[id] = number, minute
        else:
            known = id in book
            try:
                await settle_once(tenant, id, {TOKENS: number})
                assert known
            except NotFound:
                assert not known
                continue
            if id not in settled:
                book[id] = number
                settled.add(id)
                held.pop(id, None)
        assert await counted(tenant) == sum(book.values())
    await world.close()


async def test_what_was_used_is_settled_while_the_tenant_is_fenced_too(tenant: TenantSession) -> None:
    await reserve_once(tenant, "call", {TOKENS: 100})
    await close(tenant.past_the_fence(), "job-1")
    await settle_once(tenant, "call", {TOKENS: 90})
    await reopen(tenant.past_the_fence(), "job-1")
    month = f"{tenant.services.clock.now():%Y-%m}"
    stored = await tenant.store.get(COUNTER, counter_of(TOKENS, month))
    assert stored is not None and stored.body["value"] == 90

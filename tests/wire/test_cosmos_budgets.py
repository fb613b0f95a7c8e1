"""Budgets on Cosmos DB: the limit is kept by the service's own condition; what each step costs."""

import asyncio

from functions.usage.quotas import quotas_of
from shared.errors import QuotaReached
from shared.tenancy.plans import Budget
from shared.work.budgets import counter_of, release_abandoned, reserve_once, settle_once
from shared.work.change import COUNTER
from tests.doubles.clock import FakeClock
from tests.wire.test_cosmos_calls import World, world

__all__ = ["world"]
TOKENS = Budget.AI_TOKENS


async def used(world: World) -> int:
    stored = await world.session.store.get(COUNTER, counter_of(TOKENS, f"{world.session.services.clock.now():%Y-%m}"))
    return 0 if stored is None else int(stored.body["value"])


async def test_of_many_that_reserve_at_once_as_many_get_room_as_there_is(world: World) -> None:
    share = world.session.plan.budget(TOKENS) // 3

    async def take(number: int) -> bool:
        try:
            await reserve_once(world.session, f"call-{number}", {TOKENS: share})
        except QuotaReached:
            return False
        return True

    assert sum(await asyncio.gather(*map(take, range(8)))) == 3
    assert await used(world) == 3 * share


async def test_two_that_settle_at_once_settle_once(world: World) -> None:
    await reserve_once(world.session, "call", {TOKENS: 100})
    await asyncio.gather(*(settle_once(world.session, "call", {TOKENS: 20}) for _ in range(5)))
    assert await used(world) == 20


async def test_what_a_reservation_its_settling_and_the_quotas_cost(world: World) -> None:
    both = {TOKENS: 100, Budget.AI_SPEND: 9}
    await reserve_once(world.session, "first", both)  # opens the month
    world.forget()
    spent: list[float] = []
    for work in (
        reserve_once(world.session, "call", both),
        settle_once(world.session, "call", {TOKENS: 60, Budget.AI_SPEND: 5}),
        quotas_of(world.session),
    ):
        await work
        spent.append(round(sum(world.charges.values()), 1))
        world.forget()
    assert spent == [33.5, 36.1, 9.0]


async def test_what_is_abandoned_is_found_by_an_index_and_given_back(world: World, clock: FakeClock) -> None:
    await reserve_once(world.session, "call", {TOKENS: 100})
    clock.forward(hours=2)
    assert (await release_abandoned(world.session), await used(world)) == (1, 0)

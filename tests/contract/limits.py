"""What every rate limiter must do. An adapter's test module is this suite, a `limiter` fixture, and `advance`."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shared.errors import RateLimited
from shared.limits.port import Allowance, RateLimiter, Window

Advance = Callable[[float], Awaitable[None]]
TENANT = Window("tenant", "acme", 3, 1, "Too many")
AGENTS = Window("agents", "acme", 2, 1, "Too many agents")


async def take(limiter: RateLimiter, window: Window = TENANT) -> Allowance:
    (allowance,) = await limiter.take(window)
    return allowance


async def spend(limiter: RateLimiter, calls: int = 3, window: Window = TENANT) -> None:
    for _ in range(calls):
        await take(limiter, window)


async def refused(limiter: RateLimiter, *windows: Window) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        await limiter.take(*windows)
    return caught.value


class LimitsContract:
    async def test_a_ping_is_answered(self, limiter: RateLimiter) -> None:
        await limiter.ping()

    async def test_an_allowance_counts_down(self, limiter: RateLimiter) -> None:
        assert [await take(limiter) for _ in range(3)] == [Allowance(3, left, 60) for left in (2, 1, 0)]

    async def test_a_spent_window_refuses(self, limiter: RateLimiter) -> None:
        await spend(limiter)
        error = await refused(limiter, TENANT)
        assert (error.message, error.limit, error.retry_after) == ("Too many", 3, 60)

    async def test_the_wait_grows_shorter(self, limiter: RateLimiter, advance: Advance) -> None:
        await spend(limiter)
        await advance(40.5)
        assert (await refused(limiter, TENANT)).retry_after == 20

    async def test_who_waits_as_long_as_told_is_let_in(self, limiter: RateLimiter, advance: Advance) -> None:
        await spend(limiter)
        await advance(40.5)
        await advance((await refused(limiter, TENANT)).retry_after)
        assert (await take(limiter)).remaining == 2

    async def test_refused_calls_do_not_make_the_window_longer(self, limiter: RateLimiter, advance: Advance) -> None:
        await spend(limiter)
        for _ in range(6):
            await advance(9.5)
            await refused(limiter, TENANT)
        await advance(4)
        assert (await take(limiter)).remaining == 2

    async def test_each_key_has_a_window_of_its_own(self, limiter: RateLimiter) -> None:
        await spend(limiter)
        assert (await take(limiter, TENANT._replace(key="other"))).remaining == 2

    async def test_each_scope_has_a_window_of_its_own(self, limiter: RateLimiter) -> None:
        await spend(limiter)
        assert (await take(limiter, AGENTS)).remaining == 1

    async def test_a_call_is_taken_out_of_all_its_windows_or_of_none(self, limiter: RateLimiter) -> None:
        for left in ((2, 1), (1, 0)):
            allowances = await limiter.take(TENANT, AGENTS)
            assert tuple(one.remaining for one in allowances) == left
        assert (await refused(limiter, TENANT, AGENTS)).message == "Too many agents"
        assert (await take(limiter)).remaining == 0

    async def test_the_first_that_is_spent_is_told(self, limiter: RateLimiter) -> None:
        await spend(limiter)
        await spend(limiter, 2, AGENTS)
        assert (await refused(limiter, TENANT, AGENTS)).message == "Too many"

    async def test_a_limit_that_has_changed_counts_at_once(self, limiter: RateLimiter) -> None:
        await spend(limiter)
        assert (await take(limiter, TENANT._replace(limit=5))).remaining == 1
        assert (await refused(limiter, TENANT._replace(limit=2))).limit == 2

    async def test_calls_at_once_are_counted_exactly(self, limiter: RateLimiter) -> None:
        calls = (limiter.take(TENANT._replace(limit=10)) for _ in range(48))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in answers].count(list) == 10

    async def test_who_enters_and_leaves_has_spent_nothing(self, limiter: RateLimiter) -> None:
        for _ in range(20):
            limiter.enter(TENANT).leave()
        assert (await take(limiter)).remaining == 2

    async def test_who_enters_may_spend(self, limiter: RateLimiter) -> None:
        left = [(await limiter.enter(TENANT).spend()).remaining for _ in range(3)]
        assert left == [2, 1, 0]
        with pytest.raises(RateLimited):
            limiter.enter(TENANT)

    async def test_no_more_are_inside_than_could_spend(self, limiter: RateLimiter) -> None:
        inside = [limiter.enter(TENANT) for _ in range(3)]
        with pytest.raises(RateLimited):
            limiter.enter(TENANT)
        inside[0].leave()
        assert [(await one.spend()).limit for one in (inside[1], inside[2], limiter.enter(TENANT))] == [3, 3, 3]

    async def test_who_leaves_gives_nothing_to_the_next_window(self, limiter: RateLimiter, advance: Advance) -> None:
        inside = limiter.enter(TENANT)
        await advance(60)
        await spend(limiter)
        inside.leave()
        await refused(limiter, TENANT)

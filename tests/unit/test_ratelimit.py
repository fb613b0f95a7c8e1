"""Rate limits and plans: windows, what a refused call is told, and whose numbers count."""

import asyncio
from typing import Any

import pytest

from shared.errors import RateLimited, Unavailable
from shared.limits.memory import MANY, MemoryLimiter
from shared.limits.port import Window
from shared.tenancy.plans import PLANS, Limit, Tier
from tests.unit.world import AGENT, STAFF, Answer, World, admin, entry


def window(key: str) -> Window:
    return Window("global", key, 1, 15, "Too many")


async def test_windows_that_are_over_are_not_kept(world: World) -> None:
    limiter = MemoryLimiter(world.clock)
    await limiter.take(Window("long", "lasting", 1, 60, "Too many"))
    for key in range(3 * MANY):
        world.clock.advance(seconds=900)
        await limiter.take(window(str(key)))
    assert len(limiter._windows) <= MANY


async def test_there_is_an_end_of_windows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.limits.memory.MANY", 4)
    monkeypatch.setattr("shared.limits.memory.MOST", 10)
    limiter = MemoryLimiter(world.clock)
    limiter._many = 4
    for key in range(100):
        await limiter.take(window(str(key)))
        assert len(limiter._windows) <= 10
    with pytest.raises(RateLimited):  # the latest are those that are kept
        await limiter.take(window("99"))


# Through the pipeline


def headers(answer: Answer) -> dict[str, str]:
    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After")
    return {name: answer.headers[name] for name in names if name in answer.headers}


async def tenant(world: World, **fields: Any) -> str:
    return str((await world.onboard(**{"limits": {}, **fields}))["id"])


async def test_an_answer_tells_what_is_left_of_the_tightest_window(world: World) -> None:
    answer = await world.call("get_me", admin(await tenant(world)))
    assert headers(answer) == {"RateLimit-Limit": "10", "RateLimit-Remaining": "9", "RateLimit-Reset": "60"}


async def test_a_standard_tenant_has_ten_calls_a_minute(world: World) -> None:
    caller = admin(await tenant(world))
    assert [(await world.call("get_me", caller)).status for _ in range(11)] == [200] * 10 + [429]


async def test_an_enterprise_tenant_has_a_hundred_calls_a_minute(world: World) -> None:
    caller = admin(await tenant(world, tier="enterprise"))
    assert [(await world.call("get_me", caller)).status for _ in range(101)] == [200] * 100 + [429]


async def test_a_professional_tenant_has_fifty_calls_a_minute(world: World) -> None:
    caller = admin(await tenant(world, tier="professional"))
    assert [(await world.call("get_me", caller)).status for _ in range(51)] == [200] * 50 + [429]


async def test_a_limit_of_routes_refuses_what_the_tenant_still_could(world: World) -> None:
    caller = admin(await tenant(world, limits={"agents_per_minute": 2}))
    answers = [await world.call("create_agent", caller, AGENT) for _ in range(3)]
    assert [answer.status for answer in answers] == [201, 201, 429]
    assert (await world.call("get_me", caller)).status == 200


async def test_reading_agents_is_not_limited_like_writing_them(world: World) -> None:
    caller = admin(await tenant(world, limits={"agents_per_minute": 1}))
    assert [(await world.call("list_agents", caller)).status for _ in range(11)] == [200] * 10 + [429]


def test_no_route_that_reads_has_a_limit_of_its_own(world: World) -> None:
    limited = [route for route in world.core.endpoint.routes if route.limit is not None]
    assert limited and not [route.name for route in limited if route.method == "GET"]


async def test_a_call_that_is_refused_tells_the_limit_that_refused_it(world: World) -> None:
    caller = admin(await tenant(world, tier="enterprise", limits={"agents_per_minute": 2}))
    for _ in range(2):
        await world.call("create_agent", caller, AGENT)
    world.clock.advance(seconds=15)
    assert headers(await world.call("create_agent", caller, AGENT)) == {
        "RateLimit-Limit": "2",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "45",
        "Retry-After": "45",
    }


async def test_an_address_that_calls_too_often_is_refused_before_its_token_is_looked_at(world: World) -> None:
    world.core.endpoint.global_limit = 2
    answers = [await world.call("get_me") for _ in range(3)]
    assert ([answer.status for answer in answers], headers(answers[-1])) == (
        [401, 401, 429],
        {"RateLimit-Limit": "2", "RateLimit-Remaining": "0", "RateLimit-Reset": "900", "Retry-After": "900"},
    )


async def test_an_address_spends_a_call_when_nobody_can_tell_who_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may name an issuer whose keys are away."""

    async def away(_: Any) -> Any:
        raise Unavailable("The issuer's keys cannot be had.")

    world.core.endpoint.global_limit = 2
    monkeypatch.setattr(world.verifier, "verify", away)
    assert [(await world.call("get_me")).status for _ in range(3)] == [503, 503, 429]


async def test_our_own_outage_and_a_hang_up_cost_an_address_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, entry = admin(await tenant(world)), world.core.directory.entry
    world.core.endpoint.global_limit = 1

    async def hangs(_: str) -> Any:
        await asyncio.Event().wait()

    async def breaks(_: str) -> Any:
        raise OSError("broken")

    monkeypatch.setattr(world.core.directory, "entry", hangs)
    for _ in range(3):
        call = asyncio.ensure_future(world.call("get_me", caller))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    monkeypatch.setattr(world.core.directory, "entry", breaks)
    assert [(await world.call("get_me", caller)).status for _ in range(3)] == [500] * 3
    monkeypatch.setattr(world.core.directory, "entry", entry)
    assert (await world.call("get_me", caller)).status == 200


async def test_another_address_is_not_refused(world: World) -> None:
    world.core.endpoint.global_limit = 1
    await world.call("get_health")
    other = await world.call("get_health", headers={"x-forwarded-for": "203.0.113.9:1"})
    assert other.status == 200


async def test_one_tenants_calls_do_not_use_up_anothers(world: World) -> None:
    caller = admin(await tenant(world))
    for _ in range(11):
        await world.call("get_me", caller)
    other = admin(await tenant(world, slug="globex"))
    assert (await world.call("get_me", other)).status == 200


async def test_a_new_minute_is_a_new_window(world: World) -> None:
    caller = admin(await tenant(world))
    for _ in range(11):
        await world.call("get_me", caller)
    world.clock.advance(seconds=60)
    assert (await world.call("get_me", caller)).status == 200


async def test_a_refused_call_is_not_metered(world: World) -> None:
    caller = admin(await tenant(world))
    for _ in range(15):
        await world.call("get_me", caller)
    calls = [event for event in await world.queued("usage-events") if event["type"] == "api_calls"]
    assert len(calls) == 10


async def test_a_tenants_own_number_counts_instead_of_its_plans(world: World) -> None:
    caller = admin(await tenant(world, limits={"requests_per_minute": 2}))
    assert [(await world.call("get_me", caller)).status for _ in range(3)] == [200, 200, 429]


async def test_a_changed_number_counts_within_seconds(world: World) -> None:
    id = await tenant(world, limits={"requests_per_minute": 2})
    for _ in range(3):
        await world.call("get_me", admin(id))
    settings = {"settings": {"limits": {"requests_per_minute": 50}}}
    await world.call("patch_tenant", STAFF, settings, params={"tenant_id": id})
    assert (await world.call("get_me", admin(id))).headers["RateLimit-Limit"] == "50"


# Plans


@pytest.mark.parametrize(
    ("tier", "requests", "agents", "retention"),
    [(Tier.STANDARD, 10, 50, 30), (Tier.PROFESSIONAL, 50, 200, 30), (Tier.ENTERPRISE, 100, 1000, 90)],
)
def test_the_plans_are_as_they_were_sold(tier: Tier, requests: int, agents: int, retention: int) -> None:
    plan = PLANS[tier]
    assert (plan.requests_per_minute, plan.max_agents, plan.backup_retention_days) == (requests, agents, retention)


def test_every_tier_has_a_plan() -> None:
    assert set(PLANS) == set(Tier)


@pytest.mark.parametrize(
    ("tier", "agents", "design"), [(Tier.STANDARD, 10, 5), (Tier.PROFESSIONAL, 50, 25), (Tier.ENTERPRISE, 100, 50)]
)
def test_the_limits_of_routes_are_the_roadmaps_and_grow_with_the_tier(tier: Tier, agents: int, design: int) -> None:
    plan = PLANS[tier]
    assert (plan.route_limit(Limit.AGENTS), plan.route_limit(Limit.DESIGN)) == (agents, design)


def test_a_tenants_plan_is_its_tiers_with_its_own_numbers() -> None:
    plan = entry(max_agents=7, settings={"limits": {"design_per_minute": 99}}).plan
    assert (plan.max_agents, plan.design_per_minute, plan.requests_per_minute) == (7, 99, 10)


@pytest.mark.parametrize(
    ("own", "agents", "design"),
    [
        ({"requests_per_minute": 600}, 600, 300),
        ({"requests_per_minute": 2}, 2, 1),
        ({"requests_per_minute": 1}, 1, 1),
        ({"requests_per_minute": 600, "agents_per_minute": 20}, 20, 300),
    ],
)
def test_the_limits_of_routes_follow_a_tenants_own_number_of_requests(
    own: dict[str, int], agents: int, design: int
) -> None:
    plan = entry(settings={"limits": own}).plan
    assert (plan.agents_per_minute, plan.design_per_minute) == (agents, design)

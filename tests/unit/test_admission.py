"""Who is let in, and what a refusal costs whom: the address until its token is verified, then the tenant."""

import asyncio
from typing import Any

import pytest

from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.errors import Unavailable
from shared.http.addresses import client_address, window_of
from tests.unit.world import AGENT, STAFF, TENANT_ID, Answer, World, admin, person


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise", limits={}))["id"])


async def spent(world: World, **headers: str) -> int:
    """Calls of the address that count so far, as one that is refused is told."""
    answer = await world.call("list_agents", headers=headers)
    return int(answer.headers["RateLimit-Limit"]) - int(answer.headers["RateLimit-Remaining"]) - 1


async def left(world: World, tenant: str) -> int:
    """Calls that the tenant has left this minute, after one more."""
    return int((await world.call("get_me", admin(tenant))).headers["RateLimit-Remaining"])


async def refused(world: World, tenant: str, why: str) -> Answer:
    if why == "no token":
        return await world.call("list_agents")
    if why == "no role":
        return await world.call("list_agents", person(tenant, None))
    if why == "no user":
        return await world.call("list_agents", admin(tenant, "stranger@acme.example"))
    if why == "no room":
        full = {"max_users": 1, "settings": {"membership": "open"}}
        await world.call("patch_tenant", STAFF, full, params={"tenant_id": tenant})
        return await world.call("list_agents", admin(tenant, "stranger@acme.example"))
    if why == "too low a role":
        return await world.call("create_agent", person(tenant, Role.VIEWER), AGENT)
    if why == "no tenant":
        return await world.call("list_agents", admin(TENANT_ID))
    if why == "disabled":
        email = "admin@acme.example"
        users = (await world.call("list_users", admin(tenant))).json["items"]
        assert users[0]["email"] == email
        await world.call("create_user", admin(tenant), {"email": "b@acme.example", "name": "B", "role": "admin"})
        where = {"user_id": users[0]["id"]}
        changed = await world.call("patch_user", admin(tenant), {"status": "disabled"}, params=where)
        assert changed.status == 200, changed.raw
        return await world.call("list_agents", admin(tenant, email))
    assert why == "suspended"
    await world.call("suspend_tenant", STAFF, params={"tenant_id": tenant})
    return await world.call("list_agents", admin(tenant))


REFUSALS = ["no token", "no user", "no room", "no role", "too low a role", "no tenant", "disabled", "suspended"]


@pytest.mark.parametrize("why", REFUSALS)
async def test_who_is_refused_spends_a_call_of_the_address(world: World, tenant: str, why: str) -> None:
    answer = await refused(world, tenant, why)
    assert (answer.status in (401, 403, 429), await spent(world)) == (True, 1)


@pytest.mark.parametrize("why", REFUSALS)
async def test_who_is_refused_spends_nothing_of_the_tenant(world: World, tenant: str, why: str) -> None:
    before = await left(world, tenant)
    answers = 1 if why != "disabled" else 4  # three calls of the admin lead there
    await refused(world, tenant, why)
    if why == "suspended":
        await world.call("resume_tenant", STAFF, params={"tenant_id": tenant})
    assert await left(world, tenant) == before - answers


@pytest.mark.parametrize("why", ["no token", "no role", "too low a role", "no tenant", "suspended"])
async def test_who_is_refused_is_not_metered_to_the_tenant(world: World, tenant: str, why: str) -> None:
    await refused(world, tenant, why)
    assert [event for event in await world.queued("usage-events") if event["type"] == "api_calls"] == []


async def test_a_plan_can_be_used_up_from_one_address(world: World, tenant: str) -> None:
    world.core.endpoint.global_limit = 3
    answers = [await world.call("get_me", admin(tenant)) for _ in range(101)]
    assert [answer.status for answer in answers] == [200] * 100 + [429]
    assert await spent(world) == 0


async def test_a_call_that_was_let_in_and_failed_spends_nothing_of_the_address(world: World, tenant: str) -> None:
    await world.call("get_agent", admin(tenant), params={"agent_id": TENANT_ID})
    await world.call("create_agent", admin(tenant), {"nonsense": 1})
    assert await spent(world) == 0


async def test_staff_who_name_no_tenant_id_spend_nothing_of_the_address(world: World) -> None:
    await world.call("list_agents", STAFF, headers={"x-tenant-id": "acme"})
    assert await spent(world) == 0


async def test_what_is_not_the_callers_fault_spends_nothing_of_the_address(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise Unavailable("The registry cannot be read now.")

    with monkeypatch.context() as patch:
        patch.setattr(world.core.directory, "entry", away)
        assert (await world.call("list_agents", admin(tenant))).status == 503
    assert await spent(world) == 0


async def test_open_routes_spend_the_address(world: World) -> None:
    await world.call("get_health")
    assert await spent(world) == 1


async def test_refused_calls_at_once_are_counted_exactly(world: World, tenant: str) -> None:
    world.core.endpoint.global_limit = 10
    stranger = person(tenant, None)
    answers = await asyncio.gather(*(world.call("list_agents", stranger) for _ in range(30)))
    assert sorted(answer.status for answer in answers) == [403] * 10 + [429] * 20


async def test_calls_that_are_let_in_at_once_give_back_exactly_what_they_took(world: World, tenant: str) -> None:
    world.core.endpoint.global_limit = 60
    calls = [world.call("get_me", admin(tenant)) for _ in range(40)] + [world.call("get_me") for _ in range(10)]
    answers = await asyncio.gather(*calls)
    assert [answer.status for answer in answers] == [200] * 40 + [401] * 10
    assert await spent(world) == 10


async def test_calls_refused_by_the_address_itself_do_not_count_further(world: World, tenant: str) -> None:
    """One is let in while the window is full: what it gives back is one call, whoever knocked meanwhile."""
    world.core.endpoint.global_limit = 2
    entered, go = asyncio.Event(), asyncio.Event()
    verify = world.verifier.verify

    async def slow(authorization: str | None) -> Caller:
        if authorization is not None:
            entered.set()
            await go.wait()
        return await verify(authorization)

    world.verifier.verify = slow  # type: ignore[method-assign]
    good = asyncio.create_task(world.call("get_me", admin(tenant)))
    await entered.wait()
    statuses = [(await world.call("get_me")).status for _ in range(5)]
    go.set()
    assert (statuses, (await good).status) == ([401] + [429] * 4, 200)
    assert [(await world.call("get_me")).status for _ in range(2)] == [401, 429]


async def test_a_call_gives_nothing_back_to_a_window_that_it_took_nothing_of(world: World, tenant: str) -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    verify = world.verifier.verify

    async def slow(authorization: str | None) -> Caller:
        if authorization is not None:
            entered.set()
            await go.wait()
        return await verify(authorization)

    world.verifier.verify = slow  # type: ignore[method-assign]
    good = asyncio.create_task(world.call("get_me", admin(tenant)))
    await entered.wait()
    world.clock.advance(minutes=16)
    await world.call("get_me")
    go.set()
    await good
    assert await spent(world) == 1


async def test_an_answer_to_somebody_let_in_tells_nothing_of_the_address(world: World, tenant: str) -> None:
    world.core.endpoint.global_limit = 5
    assert (await world.call("get_me", admin(tenant))).headers["RateLimit-Limit"] == "100"


# Addresses


async def test_an_ipv6_network_is_one_address(world: World) -> None:
    world.core.endpoint.global_limit = 2
    addresses = ["2001:db8:1:2::1", "[2001:db8:1:2:ffff::9]:443", "2001:db8:1:2:3:4:5:6", "2001:db8:1:3::1"]
    answers = [await world.call("get_me", headers={"x-forwarded-for": address}) for address in addresses]
    assert [answer.status for answer in answers] == [401, 401, 429, 401]


@pytest.mark.parametrize(
    ("address", "window"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
    ],
)
def test_a_window_is_an_ipv4_address_or_an_ipv6_network(address: str, window: str) -> None:
    assert window_of(address) == window


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ("", 1, ""),
        ("198.51.100.7", 1, "198.51.100.7"),
        ("198.51.100.7:50123", 1, "198.51.100.7"),
        ("10.0.0.1, 198.51.100.7:50123", 1, "198.51.100.7"),
        ("10.0.0.1,198.51.100.7:50123", 1, "198.51.100.7"),
        ("[2001:db8::1]:443", 1, "2001:db8::1"),
        ("[2001:DB8:0::1]", 1, "2001:db8::1"),
        ("2001:db8::1", 1, "2001:db8::1"),
        ("::ffff:198.51.100.7", 1, "198.51.100.7"),
        # behind a gateway
        ("198.51.100.7, 10.0.0.9:4711", 2, "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7:1, 10.0.0.9:4711", 2, "198.51.100.7"),
        ("6.6.6.6, 5.5.5.5, 198.51.100.7, 10.0.0.8, 10.0.0.9", 3, "198.51.100.7"),
        # fewer than there should be: all of them are the proxies' own, and the first is the farthest
        ("10.0.0.9:4711", 2, "10.0.0.9"),
        ("10.0.0.8, 10.0.0.9:4711", 3, "10.0.0.8"),
        # nobody is trusted
        ("198.51.100.7", 0, ""),
        ("6.6.6.6, 198.51.100.7", 0, ""),
        # what is no address where one should be
        ("198.51.100.7, unknown", 1, ""),
        ("198.51.100.7, _hidden, 10.0.0.9", 2, ""),
        ("198.51.100.7,", 1, ""),
        (",,,", 2, ""),
        ("198.51.100.7, 1.2.3", 1, ""),
        ("198.51.100.7, 1.2.3.4.5:80", 1, ""),
        ("198.51.100.7, [::1", 1, ""),
        ("198.51.100.7, x:1", 1, ""),
        ("198.51.100.7, 0x7f.1", 1, ""),
        ("a" * 10_000, 1, ""),
    ],
)
def test_the_address_is_the_one_that_the_farthest_trusted_proxy_saw(forwarded: str, proxies: int, address: str) -> None:
    assert client_address(forwarded, proxies) == address


async def test_a_caller_cannot_choose_a_window_by_what_it_sends(world: World) -> None:
    world.core.endpoint.global_limit, world.core.endpoint.trusted_proxies = 2, 2
    answers = [
        await world.call("get_me", headers={"x-forwarded-for": f"{number}.1.1.1, 198.51.100.7, 10.0.0.9"})
        for number in range(3)
    ]
    assert [answer.status for answer in answers] == [401, 401, 429]


async def test_callers_behind_a_gateway_have_windows_of_their_own(world: World) -> None:
    world.core.endpoint.global_limit, world.core.endpoint.trusted_proxies = 1, 2
    answers = [
        await world.call("get_me", headers={"x-forwarded-for": f"198.51.100.{number}, 10.0.0.9"}) for number in range(3)
    ]
    assert [answer.status for answer in answers] == [401, 401, 401]


async def test_the_audit_keeps_the_whole_address(world: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), AGENT, headers={"x-forwarded-for": "[2001:db8:1:2:3::4]:443"})
    entries = (await world.call("list_audit", admin(tenant), query={"action": "agent.created"})).json["items"]
    assert [entry["ip_address"] for entry in entries] == ["2001:db8:1:2:3::4"]

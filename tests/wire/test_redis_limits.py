"""Rate limits over two instances on the real Redis: exact while it answers, each one's own at once when it does not."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import jwt
import pytest
from redis.asyncio import Redis

from shared.errors import Concern, RateLimited
from shared.limits.port import RateLimiter, Window
from shared.limits.redis import ANSWER_SECONDS, RedisLimiter
from shared.telemetry.log import log_fields
from shared.tracing import Call
from tests.doubles.certificate import make_certificate
from tests.doubles.clock import FakeClock
from tests.doubles.redis_server import RedisServer, redis_server
from tests.unit.world import AGENT, World, admin

TENANT = Window("tenant", "acme", 10, 1, "Too many")
LATE_SECONDS = 30.0  # what nobody may wait, by far; how long a call takes is measured in bench/


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes longer for an answer than a call is given; how long that is, is a test of its own."""
    monkeypatch.setattr("shared.limits.redis.ANSWER_SECONDS", LATE_SECONDS)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as running:
        yield running


class Looks:
    """The pauses between looks at a Redis that is away: they end when the test says so."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        await self._next.wait()
        self._next.clear()

    def again(self) -> None:
        self._next.set()


@asynccontextmanager
async def limiter_of(url: str, looks: Looks | None = None, **options: Any) -> AsyncIterator[RedisLimiter]:
    limiter = RedisLimiter(url, FakeClock(), pause=looks or Looks(), **options)
    try:
        await connected(limiter)
        yield limiter
    finally:
        await limiter.close()


async def shares(limiter: RateLimiter) -> bool:
    try:
        await limiter.ping()
    except Concern:
        return False
    return True


async def connected(limiter: RateLimiter) -> None:
    async with asyncio.timeout(LATE_SECONDS):
        while not await shares(limiter):  # noqa: ASYNC110  a condition, not an event
            await asyncio.sleep(0.005)


async def taken(limiter: RateLimiter, calls: int, window: Window = TENANT) -> int:
    answers = await asyncio.gather(*(limiter.take(window) for _ in range(calls)), return_exceptions=True)
    assert {type(one) for one in answers} <= {list, RateLimited}
    return [type(one) for one in answers].count(list)


@pytest.fixture
async def pair(tmp_path: Path, server: RedisServer) -> AsyncIterator[tuple[World, World]]:
    """Two instances of the app, on one Redis."""
    settings: dict[str, Any] = {"flowgrid_rate_limits": "redis", "flowgrid_redis_url": server.url}
    one = World.over(tmp_path / "data", **settings)
    other = World.over(tmp_path / "data", clock=one.clock, process=1, **settings)
    for world in (one, other):
        await connected(world.core.adapters.limiter)
    yield one, other
    await one.close()
    await other.close()


async def test_a_tenants_window_is_exact_over_two_instances(pair: tuple[World, World]) -> None:
    caller = admin((await pair[0].onboard(limits={}))["id"])
    calls = [pair[number % 2].call("get_me", caller) for number in range(48)]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status for answer in answers) == [200] * 10 + [429] * 38


async def test_an_addresss_window_is_exact_over_two_instances(pair: tuple[World, World]) -> None:
    for world in pair:
        world.core.endpoint.global_limit = 10
    answers = await asyncio.gather(*(pair[number % 2].call("get_me") for number in range(48)))
    assert sorted(answer.status for answer in answers) == [401] * 10 + [429] * 38


async def test_all_windows_of_a_call_are_one_round_trip(pair: tuple[World, World], server: RedisServer) -> None:
    caller = admin((await pair[0].onboard())["id"])
    await pair[0].call("get_me", caller)
    async with Redis.from_url(server.url) as raw:
        before = (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert (await pair[0].call("create_agent", caller, AGENT)).status == 201
        assert (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"] == before + 1


async def test_health_says_that_windows_are_not_shared_while_calls_go_on(
    pair: tuple[World, World], server: RedisServer
) -> None:
    caller = admin((await pair[0].onboard())["id"])
    assert (await pair[0].call("get_health")).json["checks"]["redis"]["status"] == "ok"
    server.kill()
    pair[0].clock.advance(seconds=6)
    assert (await pair[0].call("get_me", caller)).status == 200
    answer = await pair[0].call("get_health")
    assert answer.status == 200
    assert "each instance has rate limits of its own" in answer.json["checks"]["redis"]["message"]


async def test_a_redis_that_is_killed_is_gone_on_without_and_found_again(server: RedisServer) -> None:
    looks = Looks()
    async with limiter_of(server.url, looks) as one, limiter_of(server.url) as other:
        assert await taken(one, 4) + await taken(other, 3) == 7
        server.kill()
        assert await taken(one, 48) == 6  # it has heard of its own four; what others take it does not hear
        assert not await shares(one)
        server.start()
        looks.again()
        await connected(one)
        assert await taken(other, 48) <= 10


async def test_what_redis_has_said_last_is_known_when_it_is_away(server: RedisServer) -> None:
    async with limiter_of(server.url) as one, limiter_of(server.url) as other:
        await taken(other, 8)
        assert await taken(one, 1) == 1
        server.kill()
        assert await taken(one, 48) == 1


async def test_a_redis_that_is_stalled_keeps_nobody_waiting(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what a call is given, not by a clock: with a bound of an hour, the test would hang."""
    given: list[float] = []
    timeout = asyncio.timeout

    def bounded(seconds: float) -> Any:
        given.append(seconds)
        return timeout(seconds)

    async with limiter_of(server.url) as limiter:
        await limiter.take(TENANT)
        monkeypatch.setattr("shared.limits.redis.ANSWER_SECONDS", ANSWER_SECONDS)
        server.stall()
        monkeypatch.setattr("shared.limits.redis.asyncio.timeout", bounded)
        begun = time.monotonic()
        assert await taken(limiter, 48) == 9
        assert await taken(limiter, 48) == 0
        assert time.monotonic() - begun < LATE_SECONDS
        server.resume()
    assert given and max(given) <= 0.05 and len(given) <= 48  # after the first nobody asks any more


async def test_one_that_is_spent_is_not_asked_for_again(server: RedisServer) -> None:
    async with limiter_of(server.url) as limiter, Redis.from_url(server.url) as raw:
        await taken(limiter, 48)
        before = (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert await taken(limiter, 48) == 0
        assert (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"] == before


async def test_what_is_kept_ends_by_itself_and_names_nobody_else(server: RedisServer) -> None:
    async with limiter_of(server.url) as limiter, Redis.from_url(server.url) as raw:
        await limiter.take(TENANT, Window("agents", "acme", 5, 1, "Too many"))
        keys = sorted([key async for key in raw.scan_iter("flowgrid:{acme}:*")])
        assert keys == [b"flowgrid:{acme}:agents", b"flowgrid:{acme}:tenant"]
        for key in keys:
            assert 0 < await raw.pttl(key) <= 60_000
        await raw.persist(keys[1])  # as it never is
        await limiter.take(TENANT)
        assert 0 < await raw.pttl(keys[1]) <= 60_000


class Token:
    """What the identity's credential gives: a token, good for an hour."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> Any:
        self.scopes += scopes
        return type("AccessToken", (), {"token": TOKEN, "expires_on": time.time() + 3600})()

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> "Token":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        pass


OBJECT_ID = "6f1c2f0e-identity"
TOKEN = jwt.encode({"oid": OBJECT_ID}, "x" * 32, algorithm="HS256")


async def test_in_azure_the_apps_identity_signs_in_over_tls(tmp_path: Path) -> None:
    credential = Token()
    with redis_server(tmp_path, make_certificate(tmp_path)) as server:
        async with Redis.from_url(server.url, ssl_cert_reqs="none") as raw:
            await raw.acl_setuser(
                OBJECT_ID, enabled=True, passwords=[f"+{TOKEN}"], keys=["flowgrid:*"], categories=["+@all"]
            )
            await raw.acl_setuser("default", enabled=False)
            async with limiter_of(server.url, credential=lambda: credential, ssl_cert_reqs="none") as limiter:
                assert await taken(limiter, 48) == 10
                assert await raw.get("flowgrid:{acme}:tenant") == b"10"
    assert set(credential.scopes) == {"https://redis.azure.com/.default"}


async def _refusing(*_: str, **__: Any) -> Any:
    raise RuntimeError("the identity's endpoint is away")


async def test_a_sign_in_that_fails_in_the_middle_is_a_redis_that_is_away(tmp_path: Path) -> None:
    """Redis closes connections whose token has expired, and the next one may be refused."""

    calls: list[Call] = []
    with redis_server(tmp_path, make_certificate(tmp_path)) as server:
        async with Redis.from_url(server.url, ssl_cert_reqs="none") as raw:
            rights: dict[str, Any] = {"keys": ["flowgrid:*"], "categories": ["+@all"]}
            await raw.acl_setuser(OBJECT_ID, enabled=True, passwords=[f"+{TOKEN}"], **rights)
            credential = Token()
            options: dict[str, Any] = {"credential": lambda: credential, "ssl_cert_reqs": "none", "tell": calls.append}
            async with limiter_of(server.url, **options) as limiter:
                credential.get_token = _refusing  # type: ignore[method-assign]
                await raw.client_kill_filter(_type="normal", skipme=True)
                assert await taken(limiter, 1) == 1
                assert not await shares(limiter)
                assert await taken(limiter, 48) == 9
    assert calls and {(call.kind, call.ok) for call in calls} == {("Redis", False)}


async def test_a_redis_that_only_reads_is_one_that_is_away(server: RedisServer) -> None:
    async with limiter_of(server.url) as limiter, Redis.from_url(server.url) as raw:
        await raw.config_set("min-replicas-to-write", 1)
        assert not await shares(limiter)
        assert await taken(limiter, 48) == 10


async def test_what_is_logged_of_redis_names_no_tenant(server: RedisServer) -> None:
    seen: list[dict[str, str]] = []
    looks = Looks()
    async with limiter_of(server.url, looks) as limiter:
        looked = limiter._look

        async def look(pause: float) -> None:
            seen.append(log_fields.get({}))
            await looked(pause)

        limiter._look = look  # type: ignore[method-assign]
        log_fields.set({"tenant_id": "acme"})
        server.kill()
        assert await taken(limiter, 1) == 1
        await asyncio.sleep(0)
    assert seen == [{}]


async def test_a_redis_that_takes_nobody_is_one_that_is_away(tmp_path: Path) -> None:
    with redis_server(tmp_path, make_certificate(tmp_path)) as server:
        limiter = RedisLimiter(server.url, FakeClock(), credential=Token, pause=Looks(), ssl_cert_reqs="none")
        assert await taken(limiter, 48) == 10
        assert not await shares(limiter)
        await limiter.close()

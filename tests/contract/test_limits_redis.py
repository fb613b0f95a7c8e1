from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from shared.errors import Concern
from shared.limits.port import RateLimiter
from shared.limits.redis import RedisLimiter
from tests.contract.limits import Advance, LimitsContract
from tests.doubles.clock import FakeClock
from tests.doubles.redis_server import RedisServer, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator["Redis"]:
    async with Redis.from_url(server.url) as client:
        await client.flushall()
        yield client


class TestRedisLimiter(LimitsContract):
    @pytest.fixture
    async def limiter(
        self, server: RedisServer, clock: FakeClock, raw: "Redis", monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[RateLimiter]:
        monkeypatch.setattr("shared.limits.redis.ANSWER_SECONDS", 30.0)  # a busy machine is no Redis that is away
        limiter = RedisLimiter(server.url, clock)
        with suppress(Concern):
            await limiter.ping()
        if limiter._looking is not None:
            await limiter._looking
        yield limiter
        await limiter.close()

    @pytest.fixture
    def advance(self, clock: FakeClock, raw: "Redis") -> Advance:
        """Redis has a clock of its own: what its windows have left is made less."""

        async def advance(seconds: float) -> None:
            clock.forward(seconds=seconds)
            async for key in raw.scan_iter("*"):
                await raw.pexpire(key, await raw.pttl(key) - round(seconds * 1000))

        return advance

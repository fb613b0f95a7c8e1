"""Rate limits over instances: windows in Redis, all of a call in one round trip, by one script.

Whoever calls waits no longer than `ANSWER_SECONDS` for Redis. When it does not answer, each process goes on with
windows of its own at once, which know what Redis has said last; one task looks whether it is back, and no call does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared.clock import Clock
from shared.errors import Concern
from shared.limits.memory import MemoryLimiter, spent
from shared.limits.port import Allowance, Inside, RateLimiter, Window
from shared.tracing import Tell, calling

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from redis.asyncio import Redis

logger = logging.getLogger("flowgrid.limits")
ANSWER_SECONDS = 0.05
CONNECT_SECONDS = 5.0  # with a token to be fetched and TLS; nobody's call waits for it
CONNECTIONS = 8
LOOK_AGAIN_SECONDS = 1.0
TAKEN = 0
PROBE = Window("probe", "flowgrid", 2**31, 1, "")  # a write: a Redis that only reads is one that is away
# Answers TAKEN, and of each window how many are taken and the milliseconds left; or which is spent, and for how long.
# The keys of one call have one tag, so they lie in one slot where Redis is a cluster.
SCRIPT = """
local function left(i)
  local milliseconds = redis.call('PTTL', KEYS[i])
  if milliseconds < 0 then
    milliseconds = tonumber(ARGV[2 * i])
    redis.call('PEXPIRE', KEYS[i], milliseconds)
  end
  return milliseconds
end
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[2 * i - 1]) then
    return {i, left(i)}
  end
end
local answer = {0}
for i, key in ipairs(KEYS) do
  answer[2 * i], answer[2 * i + 1] = redis.call('INCR', key), left(i)
end
return answer
"""


class RedisLimiter(RateLimiter):
    """`url`: `rediss://<host>:<port>`, where the app's own identity signs in, or `redis://` on this machine.

    `tell`: who is told of calls that fail. `credential` is for tests. `pause`: what passes between two looks at a Redis
    that is away.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        tell: Tell | None = None,
        credential: "Callable[[], AsyncTokenCredential] | None" = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **options: Any,
    ) -> None:
        self._url = url
        self._host = urlsplit(url).hostname or ""
        self._told = None if tell is None else lambda call: None if call.ok else tell(call)
        self._own = MemoryLimiter(clock)
        self._make_credential = credential
        self._pause = pause
        self._options = options
        self._credential: AsyncTokenCredential | None = None
        self._client: Redis | None = None
        self._script: Any = None
        self._looking: asyncio.Task[None] | None = None

    async def take(self, *windows: Window) -> list[Allowance]:
        self._own.refuse_spent(*windows)
        told = await self._shared(*windows)
        return await self._own.take(*windows) if told is None else told

    def enter(self, window: Window) -> Inside:
        return _Inside(lambda: self._shared(window), self._own.enter(window))

    async def ping(self) -> None:
        await self._ask([PROBE])
        if self._looking is not None:
            raise Concern("Redis does not answer: each instance has rate limits of its own.")

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        client, credential = self._client, self._credential
        self._client = self._credential = None
        if client is not None:
            await client.aclose()
        if credential is not None:
            await credential.close()

    async def _shared(self, *windows: Window) -> list[Allowance] | None:
        """What Redis says of a call that is taken out of each; None while it is away. `RateLimited` by one of them."""
        answer = await self._ask(windows)
        if answer is None:
            return None
        first, *numbers = answer
        if first != TAKEN:
            window, seconds = windows[first - 1], numbers[0] / 1000
            self._own.learn(window, window.limit, seconds)
            raise spent(window, seconds)
        told = zip(windows, numbers[::2], numbers[1::2], strict=True)
        return [self._own.learn(window, count, left / 1000) for window, count, left in told]

    async def _ask(self, windows: Sequence[Window]) -> list[int] | None:
        """What the script answers; None while Redis is away, as it is until it has been connected to."""
        if self._script is None and self._looking is None:
            self._looking = self._begun(0.0)
        if self._looking is not None:
            return None
        try:
            with calling(self._told, "Redis", self._host, "take"):
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._run(windows)
        except Exception as error:  # of whatever kind: of a sign-in that fails, redis-py tells in the words of others
            if self._looking is None:  # of many that wait, the first
                logger.warning("rate limits are each instance's own", extra={"reason": type(error).__name__})
                self._looking = self._begun(LOOK_AGAIN_SECONDS)
            return None

    def _begun(self, pause: float) -> "asyncio.Task[None]":
        """Nobody's call: what is logged of it names no tenant."""
        return asyncio.get_running_loop().create_task(self._look(pause), context=Context())

    async def _look(self, pause: float) -> None:
        """Until Redis answers on all connections; a pause before each look but, at the beginning, the first."""
        if self._script is None:
            await asyncio.to_thread(import_module, "redis.asyncio")  # takes as long as some calls may
            self._client = self._connected()
            self._script = self._client.register_script(SCRIPT)
        while True:
            if pause:
                await self._pause(pause)
            pause = LOOK_AGAIN_SECONDS
            looks = [asyncio.wait_for(self._run([PROBE]), CONNECT_SECONDS) for _ in range(CONNECTIONS)]
            found = await asyncio.gather(*looks, return_exceptions=True)
            trouble = next((one for one in found if isinstance(one, Exception)), None)
            if trouble is None:
                break
            logger.warning("Redis is away", extra={"reason": type(trouble).__name__})
        logger.info("rate limits are shared")
        self._looking = None

    async def _run(self, windows: Sequence[Window]) -> list[int]:
        keys = [f"flowgrid:{{{window.key}}}:{window.scope}" for window in windows]
        values = [number for window in windows for number in (window.limit, window.minutes * 60_000)]
        answer: list[int] = await self._script(keys=keys, args=values)
        return answer

    def _connected(self) -> "Redis":
        """A client of few connections; what it sends anew is what went over one that had been closed meanwhile."""
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        options = dict(self._options)
        if self._url.startswith("rediss://"):
            from azure.identity.aio import DefaultAzureCredential

            from shared.limits.identity import Identity

            self._credential = (self._make_credential or DefaultAzureCredential)()
            options["credential_provider"] = Identity(self._credential)
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=CONNECTIONS,
            timeout=CONNECT_SECONDS,
            socket_timeout=CONNECT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 1),
            **options,
        )
        return Redis.from_pool(pool)


class _Inside(Inside):
    def __init__(self, share: Callable[[], Awaitable[list[Allowance] | None]], own: Inside) -> None:
        self._share = share
        self._own = own

    async def spend(self) -> Allowance:
        told = await self._share()
        return await self._own.spend() if told is None else told[0]

    def leave(self) -> None:
        self._own.leave()

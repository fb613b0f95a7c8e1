"""Two hosts on one Redis: a tenant's window over both, and what calls wait for when Redis is killed, stalled, back.

The worst call of each part is beside the worst of the part before it, with Redis; the goal is 100 ms more at most.
"""

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cli.environment import ISSUER_FILE
from local.issuer import FOLDER
from tests.doubles.redis_server import RedisServer, redis_server
from tests.e2e.api import Api, Flowgrid
from tests.e2e.host import Host

AT_ONCE = 8
Row = dict[str, Any]


async def run(quick: bool) -> list[Row]:
    calls = 400 if quick else 4000
    with tempfile.TemporaryDirectory() as folder, _hosts(Path(folder)) as (hosts, redis):
        async with httpx.AsyncClient(timeout=30) as http:
            limited = await Flowgrid(hosts[0], http).onboard(limits={})
            tenant = await Flowgrid(hosts[0], http).onboard()
            apis = [Api(http, host.url, tenant.admin.token) for host in hosts]
            await _load(apis, 200)  # connections, caches
            rows = [await _window([Api(http, host.url, limited.admin.token) for host in hosts])]
            rows += await _parts(apis, redis, calls)
            return rows


async def _window(apis: Sequence[Api]) -> Row:
    answers = await asyncio.gather(*(apis[number % 2].get("me") for number in range(48)))
    found = Counter(answer.status_code for answer in answers)
    return {"what": "48 calls at once over both, 10 a minute", "worst ms": "", "beside": "", "answers": _said(found)}


async def _parts(apis: Sequence[Api], redis: RedisServer, calls: int) -> list[Row]:
    before, first = await _load(apis, calls)
    rows = [{"what": "with Redis", "worst ms": round(before, 1), "beside": "", "answers": _said(first)}]
    for what, change in (("killed", redis.kill), ("begun again", redis.start), ("stalled", redis.stall)):
        worst, found = await _load(apis, calls, change)
        rows.append(
            {"what": what, "worst ms": round(worst, 1), "beside": f"{worst - before:+.1f} ms", "answers": _said(found)}
        )
        await asyncio.sleep(1.5)  # which is looked for once a second
    redis.resume()
    return rows


async def _load(
    apis: Sequence[Api], calls: int, meanwhile: Callable[[], None] | None = None
) -> tuple[float, Counter[int]]:
    """The worst call in milliseconds, and the answers; `meanwhile`: what happens after a quarter of them."""
    numbers, worst, found = iter(range(calls)), 0.0, Counter[int]()

    async def some() -> None:
        nonlocal worst
        for number in numbers:
            if meanwhile is not None and number == calls // 4:
                await asyncio.to_thread(meanwhile)
            begun = time.perf_counter()
            answer = await apis[number % 2].get("me")
            worst = max(worst, 1000 * (time.perf_counter() - begun))
            found[answer.status_code] += 1

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return worst, found


def _said(found: Counter[int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(found.items()))


@contextmanager
def _hosts(folder: Path) -> Iterator[tuple[list[Host], RedisServer]]:
    """Two over one folder; the second takes the tokens of the first one's issuer."""
    (folder / "redis").mkdir()
    one, other = Host(folder / "one"), Host(folder / "other")
    (folder / "one").mkdir()
    (folder / "other").mkdir()
    other.data = one.data
    with redis_server(folder / "redis") as redis:
        shared = {"FLOWGRID_RATE_LIMITS": "redis", "FLOWGRID_REDIS_URL": redis.url}
        try:
            one.environment |= shared
            one.start()
            issuers = [{"issuer": f"{one.url}/oidc", "audience": "flowgrid"}]
            other.environment |= {**shared, "FLOWGRID_ISSUERS": json.dumps(issuers)}
            written = one.data / FOLDER / ISSUER_FILE
            issuer = written.read_text()
            other.start()
            written.write_text(issuer)
            yield [one, other], redis
        finally:
            one.kill()
            other.kill()

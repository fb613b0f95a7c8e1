"""Hostile uploads, one after the other and many at once, beside another tenant's calls on the same host.

Each is sent for a while, as often as an enterprise plan lets one tenant call. The goals: the host's memory grows by
less than 200 MB, and the other tenant's p50 stays below 3 times its quiet value just before.
"""

import asyncio
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.http import UNLIMITED, create, onboard
from cli.child import Child
from tests.doubles.hostile_files import FILES, file

QUIET_CALLS = 500
QUIET_SECONDS = 0.7
SEND_SECONDS = 2.4
SEND_EVERY = 0.6  # a hundred in a minute
AT_ONCE = 8
SAMPLE_SECONDS = 0.02
CALL_SECONDS = 600.0


async def run(quick: bool) -> list[dict[str, Any]]:
    names = list(FILES)[:10] if quick else list(FILES)
    loop = asyncio.get_running_loop()
    with (
        tempfile.TemporaryDirectory() as folder,
        Child(Path(folder), **UNLIMITED) as child,
        ProcessPoolExecutor(AT_ONCE, get_context("spawn")) as senders,
    ):
        tokens = await onboard(child, 1 + AT_ONCE)
        agent = await create(child, tokens[0], 5)
        watch = _Watch(child, tokens[0], agent)
        for _ in range(QUIET_CALLS):
            await watch.call()
        watch.p50()
        before = child.resident_mib()
        rows: list[dict[str, Any]] = []

        async def send(name: str, token: str) -> Counter[int]:
            return await loop.run_in_executor(senders, upload, child.base_url, token, name)

        async with watch:
            for name in names:
                quiet = await watch.quiet()
                rows.append(watch.row(name, await send(name, tokens[1]), quiet, before))
            quiet = await watch.quiet()
            answers = await asyncio.gather(*map(send, names, tokens[1:]))
            rows.append(watch.row(f"{AT_ONCE} of them at once", sum(answers, Counter[int]()), quiet, before))
        await watch.close()
    worst = max(float(row["p50 / quiet"]) for row in rows)
    most = max(float(row["grown MiB"]) for row in rows)
    goal = "yes" if worst < 3 and most < 200 else "NO"
    total = {"file": f"the worst; within the goals: {goal}", "answers": "", "seconds": ""}
    return [*rows, {**total, "quiet": "", "p50 ms": "", "p50 / quiet": worst, "grown MiB": most}]


def upload(base_url: str, token: str, name: str) -> Counter[int]:
    """Send the file, again and again for a while, from a process of its own; how often it was answered with what."""
    body = file(name)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/xml"}
    statuses: Counter[int] = Counter()
    until = time.monotonic() + SEND_SECONDS
    with httpx.Client(headers=headers, timeout=CALL_SECONDS) as client:
        while not statuses or time.monotonic() < until:
            answer = client.post(f"{base_url}/api/v1/catalog/import", content=body)
            if answer.status_code not in (200, 400, 413, 503):
                raise RuntimeError(f"{answer.status_code}: {answer.text[:200]}")
            statuses[answer.status_code] += 1
            time.sleep(max(0.0, SEND_EVERY - answer.elapsed.total_seconds()))
    return statuses


class _Watch:
    """Another tenant that reads one agent again and again, and what the host's memory is meanwhile."""

    def __init__(self, child: Child, token: str, agent: str) -> None:
        self._child = child
        self._client = httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=CALL_SECONDS)
        self._url = f"{child.base_url}/api/v1/agents/{agent}"
        self._times: list[float] = []
        self._most = 0.0
        self._since = time.perf_counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def call(self) -> None:
        started = time.perf_counter()
        (await self._client.get(self._url)).raise_for_status()
        self._times.append(time.perf_counter() - started)

    def p50(self) -> float:
        """Of the calls since it was asked for last."""
        times, self._times = self._times, []
        return median(times) if times else 0.0

    async def quiet(self) -> float:
        """The p50 while nothing is sent, in what the machine does just now."""
        self.p50()
        await asyncio.sleep(QUIET_SECONDS)
        self._since, self._most = time.perf_counter(), 0.0
        return self.p50()

    def row(self, name: str, statuses: Counter[int], quiet: float, before: float) -> dict[str, Any]:
        seconds, self._since = time.perf_counter() - self._since, time.perf_counter()
        most, self._most = self._most, 0.0
        p50 = self.p50()
        return {
            "file": name,
            "answers": ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())),
            "seconds": round(seconds, 1),
            "quiet": round(quiet * 1000, 2),
            "p50 ms": round(p50 * 1000, 2),
            "p50 / quiet": round(p50 / quiet, 2),
            "grown MiB": round(max(most - before, 0.0), 1),
        }

    async def __aenter__(self) -> "_Watch":
        self._since = time.perf_counter()
        self._tasks = [asyncio.create_task(self._calls()), asyncio.create_task(self._memory())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        await self._client.aclose()

    async def _calls(self) -> None:
        while True:
            await self.call()

    async def _memory(self) -> None:
        while True:
            self._most = max(self._most, self._child.resident_mib())
            await asyncio.sleep(SAMPLE_SECONDS)

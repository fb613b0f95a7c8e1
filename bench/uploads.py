"""Hostile uploads, one after the other and many at once, beside another tenant's calls on the same host.

The goals: the host's memory grows by less than 200 MB, and the other tenant's p50 stays below 3 times its quiet value.
"""

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.http import UNLIMITED, create, onboard
from cli.child import Child
from tests.doubles.hostile_files import FILES, file

QUIET_CALLS = 300
AT_ONCE = 8
SAMPLE_SECONDS = 0.02
CALL_SECONDS = 600.0


async def run(quick: bool) -> list[dict[str, Any]]:
    names = list(FILES)[:10] if quick else list(FILES)
    with tempfile.TemporaryDirectory() as folder, Child(Path(folder), **UNLIMITED) as child:
        hostile, other, *more = await onboard(child, 2 + AT_ONCE)
        agent = await create(child, other, 5)
        watch = _Watch(child, other, agent)
        for _ in range(QUIET_CALLS):
            await watch.call()
        quiet, before = watch.p50(), child.resident_mib()
        rows: list[dict[str, Any]] = []
        async with watch:
            for name in names:
                answered = await _send(child, hostile, await asyncio.to_thread(file, name))
                rows.append(watch.row(name, str(answered), quiet, before))
            bodies = [await asyncio.to_thread(file, name) for name in names[:AT_ONCE]]
            statuses = await asyncio.gather(*map(_send, [child] * len(more), more, bodies))
            counted = ", ".join(f"{status} x{count}" for status, count in sorted(Counter(statuses).items()))
            rows.append(watch.row(f"{len(bodies)} files at once", counted, quiet, before))
        await watch.close()
    worst = max(float(row["p50 / quiet"]) for row in rows)
    most = max(float(row["grown MiB"]) for row in rows)
    goal = "yes" if worst < 3 and most < 200 else "NO"
    total = {"file": f"the worst; within the goals: {goal}", "answer": "", "seconds": ""}
    return [*rows, {**total, "p50 ms": round(quiet * 1000, 2), "p50 / quiet": worst, "grown MiB": most}]


async def _send(child: Child, token: str, body: bytes) -> int:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/xml"}
    async with httpx.AsyncClient(timeout=CALL_SECONDS) as client:
        answer = await client.post(f"{child.base_url}/api/v1/catalog/import", content=body, headers=headers)
    if answer.status_code not in (200, 400, 413, 503):
        raise RuntimeError(f"{answer.status_code}: {answer.text[:200]}")
    return answer.status_code


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

    def row(self, name: str, answered: str, quiet: float, before: float) -> dict[str, Any]:
        seconds, self._since = time.perf_counter() - self._since, time.perf_counter()
        most, self._most = self._most, 0.0
        p50 = self.p50()
        return {
            "file": name,
            "answer": answered,
            "seconds": round(seconds, 1),
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

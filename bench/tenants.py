"""120 tenants of all tiers at mixed work: 110 calls a second for five minutes, an open loop.

With --quick 12 of them, for twenty seconds. The goal: p95 below 200 ms, no errors. Client and host share the machine;
`load` is how busy that was.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.http import UNLIMITED
from bench.load import Figures
from bench.mix import TENANTS, WEIGHTS, Mix, onboard
from bench.pace import Connections, Seen, connected, pace
from cli.child import Child

PER_SECOND = 110
SECONDS = 300.0
GOAL_MS = 200.0


async def run(quick: bool) -> list[dict[str, Any]]:
    seconds = 20.0 if quick else SECONDS
    with tempfile.TemporaryDirectory() as folder, Child(Path(folder), **UNLIMITED) as child:
        mix, seen = Mix(await onboard(child, 12 if quick else TENANTS)), Seen()
        async with connected(child.base_url) as connections:
            await work(connections, mix, Seen(), PER_SECOND, 5.0)  # connections, caches
            before = child.resident_mib()
            took = await work(connections, mix, seen, PER_SECOND, seconds)
        rows = [_row(kind, seen.times.get(kind, []), took, seen) for kind in WEIGHTS]
        whole = _row("all of them", seen.all, took, seen)
        whole |= {"errors": seen.failed, "goal": "yes" if _met(whole, seen) else "NO"}
        whole |= {"MiB": f"{before:.0f} → {child.resident_mib():.0f}", "load": f"{os.getloadavg()[0]:.1f}"}
        seen.tell()
    return [whole, *({**dict.fromkeys(whole, ""), **row} for row in rows)]


async def work(connections: Connections, mix: Mix, seen: Seen, per_second: float, seconds: float) -> float:
    """The tenants' calls at their pace; answers how many seconds it took."""

    async def one(due: float) -> None:
        wanted = mix.next()
        status, body = await connections.ask(wanted.request)
        seen.add(wanted.kind, time.perf_counter() - due, status, body)
        wanted.learn(status, body)

    began = time.perf_counter()
    await pace(per_second, seconds, lambda due: asyncio.ensure_future(one(due)))
    return time.perf_counter() - began


def _row(kind: str, times: list[float], took: float, seen: Seen) -> dict[str, Any]:
    if len(times) < 2:
        return {"call": kind, "calls": len(times)}
    figures = Figures.of(took, times)
    return {
        "call": kind,
        "calls": figures.requests,
        "per second": figures.per_second,
        "p50 ms": figures.p50,
        "p95 ms": figures.p95,
        "p99 ms": figures.p99,
        "worst ms": figures.worst,
        "errors": len(seen.errors.get(kind, ())),
    }


def _met(whole: dict[str, Any], seen: Seen) -> bool:
    return bool(whole["p95 ms"] < GOAL_MS and whole["per second"] >= 100 and not seen.failed)

"""One tenant floods: the others' p95 beside theirs without the flood, in alternating phases of one run (goal < 1.5).

The others make 110 calls a second together. The flood: ten times the tenant's limit of 600 a minute, so 100 calls a
second of its own, nearly as many as all of theirs; and the same within a limit that it never meets.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench.http import UNLIMITED
from bench.load import Request
from bench.mix import TENANTS, Mix, Tenant, onboard
from bench.pace import Connections, Seen, connected, pace
from bench.tenants import PER_SECOND, work
from cli.api import Api
from cli.child import Child

GOAL = 1.5
LIMIT = 600  # calls a minute
TIMES = 10


async def run(quick: bool) -> list[dict[str, Any]]:
    rounds, seconds = (3, 4.0) if quick else (6, 15.0)
    with tempfile.TemporaryDirectory() as folder, Child(Path(folder), **UNLIMITED) as child:
        noisy, *others = await onboard(child, 12 if quick else TENANTS)
        mix, rows = Mix(others), []
        async with connected(child.base_url) as connections:
            await work(connections, mix, Seen(), PER_SECOND, 5.0)
            for name, limit in (("10 x its limit", LIMIT), ("the same within its limit", 1_000_000)):
                await _limit(child, noisy, limit)
                rows.append({"what": name, **await _alternating(connections, mix, noisy, rounds, seconds)})
    return rows


async def _alternating(
    connections: Connections, mix: Mix, noisy: Tenant, rounds: int, seconds: float
) -> dict[str, Any]:
    alone, beside, flooding = Seen(), Seen(), Seen()
    for _ in range(rounds):
        await work(connections, mix, alone, PER_SECOND, seconds)
        await asyncio.gather(
            work(connections, mix, beside, PER_SECOND, seconds), _flood(connections, noisy, flooding, seconds)
        )
    without, with_it, errors = _p95(alone), _p95(beside), alone.failed + beside.failed
    for seen in (alone, beside):
        seen.tell()
    return {
        "its calls/s": round(len(flooding.all) / rounds / seconds),
        "refused": f"{flooding.refused / len(flooding.all):.0%}",
        "others' p95 ms": without,
        "with the flood": with_it,
        "ratio": round(with_it / without, 2),
        "errors": errors,
        "goal": "yes" if with_it / without < GOAL and not errors else "NO",
        "load": f"{os.getloadavg()[0]:.1f}",
    }


async def _flood(connections: Connections, noisy: Tenant, seen: Seen, seconds: float) -> None:
    async def one(due: float) -> None:
        status, body = await connections.ask(_request(noisy))
        seen.add("flood", time.perf_counter() - due, status, body)

    await pace(LIMIT / 60 * TIMES, seconds, lambda due: asyncio.ensure_future(one(due)))


def _request(noisy: Tenant) -> Request:
    return Request("GET", "/api/v1/agents?limit=20", noisy.token)


async def _limit(child: Child, tenant: Tenant, per_minute: int) -> None:
    staff = Api(child.base_url, child.issuer.mint("bench", roles=["platform:admin"]))
    try:
        limits = {"limits": {"requests_per_minute": per_minute}}
        await staff.ok("PATCH", f"v1/platform/tenants/{tenant.id}", json={"settings": limits})
    finally:
        await staff.close()
    await asyncio.sleep(6.0)  # until the host has read it


def _p95(seen: Seen) -> float:
    return round(quantiles(seen.all, n=100, method="inclusive")[94] * 1000, 2)

"""An hour's worth of calls at 100 a second, sent as fast as they are answered: whether the host's memory grows.

360,000 of the mixed work of 120 tenants (6,000 of 12 with --quick), on the embedded adapters.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.http import UNLIMITED
from bench.mix import TENANTS, Mix, onboard
from bench.pace import Connections, Seen, connected
from cli.child import Child

CALLS = 360_000
STEPS = 6
CALLERS = 8


async def run(quick: bool) -> list[dict[str, Any]]:
    count = (6_000 if quick else CALLS) // STEPS
    with tempfile.TemporaryDirectory() as folder, Child(Path(folder), **UNLIMITED) as child:
        mix = Mix(await onboard(child, 12 if quick else TENANTS))
        async with connected(child.base_url) as connections:
            await _some(connections, mix, 2_000)  # connections, caches, the allocator
            first = child.resident_mib()
            rows: list[dict[str, Any]] = []
            for step in range(1, STEPS + 1):
                began = time.perf_counter()
                errors = await _some(connections, mix, count)
                now = child.resident_mib()
                rows.append(
                    {
                        "calls": step * count,
                        "per second": round(count / (time.perf_counter() - began)),
                        "errors": errors,
                        "resident MiB": f"{first:.1f} → {now:.1f}",
                        "ratio": round(now / first, 3),
                    }
                )
    return rows


async def _some(connections: Connections, mix: Mix, count: int) -> int:
    """How many of so many calls failed."""
    seen, left = Seen(), iter(range(count))

    async def caller() -> None:
        for _ in left:
            wanted = mix.next()
            status, body = await connections.ask(wanted.request)
            seen.add(wanted.kind, 0.0, status, body)
            wanted.learn(status, body)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return seen.failed

"""Whether the host's memory stays flat over 50,000 requests, on the Azure adapters (doubles in another process)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.doubles import doubles
from bench.http import UNLIMITED, create, onboard
from bench.load import Request, load
from cli.child import Child

STEPS = 5


async def run(quick: bool) -> list[dict[str, Any]]:
    count = (2_000 if quick else 50_000) // STEPS
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        doubles() as settings,
        Child(Path(folder), **UNLIMITED, **settings) as child,
    ):
        tokens = await onboard(child, 10)
        agents = {token: await create(child, token, 5) for token in tokens}

        def requests() -> Iterator[Request]:
            for number in range(count):
                token = tokens[number % len(tokens)]
                path = "/api/v1/agents?limit=5" if number % 5 == 0 else f"/api/v1/agents/{agents[token]}"
                yield Request("GET", path, token)

        await load(child.base_url, requests, 200)  # caches, pools, the allocator
        first = child.resident_mib()
        rows.append({"requests": 0, "resident MiB": round(first, 1), "ratio": 1.0})
        for step in range(1, STEPS + 1):
            await load(child.base_url, requests, 200)
            now = child.resident_mib()
            rows.append({"requests": step * count, "resident MiB": round(now, 1), "ratio": round(now / first, 3)})
    return rows

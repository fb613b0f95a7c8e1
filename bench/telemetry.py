"""Calls with telemetry beside the same without, in alternating rounds of one run; the goal: 0.85 of the throughput.

All of it is sent, to a process that takes it; the client, the two hosts and that process share the machine. A call's
CPU is that of its host, and steadier than the throughput where the machine has other things to do.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.http import AGENT, UNLIMITED, create, onboard
from bench.load import Request, load
from bench.peer.usage import cpu_seconds
from cli.child import Child

GOAL = 0.85
TENANTS = 10
KEY = "11111111-2222-3333-4444-555555555555"


async def run(quick: bool) -> list[dict[str, Any]]:
    count, rounds = (500, 5) if quick else (1000, 15)
    with tempfile.TemporaryDirectory() as folder, Child(_made(folder, "in"), module="bench.ingestion") as receiver:
        connection = f"InstrumentationKey={KEY};IngestionEndpoint={receiver.base_url}"
        telemetry = {"APPLICATIONINSIGHTS_CONNECTION_STRING": connection}
        with (
            Child(_made(folder, "off"), **UNLIMITED) as off,
            Child(_made(folder, "on"), **UNLIMITED, **telemetry) as on,
        ):
            return await _measure(off, on, count, rounds)


async def _measure(off: Child, on: Child, count: int, rounds: int) -> list[dict[str, Any]]:
    children = {"off": off, "on": on}
    tokens = {name: await onboard(child, TENANTS) for name, child in children.items()}
    agents = {
        name: {token: await create(child, token, 20) for token in tokens[name]} for name, child in children.items()
    }
    calls: dict[str, tuple[int, Callable[[str, str], Request]]] = {
        "get agent": (200, lambda name, token: Request("GET", f"/api/v1/agents/{agents[name][token]}", token)),
        "list 20 agents": (200, lambda name, token: Request("GET", "/api/v1/agents?limit=20", token)),
        "create agent": (201, lambda name, token: Request("POST", "/api/v1/agents", token, json.dumps(AGENT).encode())),
    }
    rows = []
    for call, (status, request) in calls.items():
        seen: dict[str, list[float]] = {"off": [], "on": []}
        spent: dict[str, list[float]] = {"off": [], "on": []}
        for number in range(rounds + 1):
            for name, child in sorted(children.items(), reverse=bool(number % 2)):

                def requests(name: str = name, request: Any = request) -> Iterator[Request]:
                    return (request(name, tokens[name][number % TENANTS]) for number in range(count))

                before = cpu_seconds(child.pid)
                seen[name].append((await load(child.base_url, requests, status)).per_second)
                spent[name].append((cpu_seconds(child.pid) - before) / count * 1000)
        without, with_it = (median(seen[name][1:]) for name in children)  # the first warms up
        ratio = median(mine / theirs for mine, theirs in zip(seen["on"][1:], seen["off"][1:], strict=True))
        met = "yes" if ratio >= GOAL else "NO"
        cpu = {f"CPU-ms {name}": round(median(spent[name][1:]), 2) for name in children}
        rows.append({"call": call, "off/s": without, "on/s": with_it, "on / off": round(ratio, 2), "goal": met, **cpu})
    return rows


def _made(folder: str, name: str) -> Path:
    path = Path(folder) / name
    path.mkdir()
    return path

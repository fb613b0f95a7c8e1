"""The rounds: of each call one side after the other, then all of them again, so that a busy machine hits all alike."""

import asyncio
import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.http import AGENT, TENANTS
from bench.load import Request, load
from bench.peer.cluster import Cluster, cluster
from bench.peer.sides import HERE, PYTHON, Side, commit, flowgrid, of_flowgrid, of_peer, peer, settings_of_peer
from cli.child import Child

OURS, PEER, HAND, PLAIN, BARE = "Flowgrid", "peer", "peer by hand", "by hand, features off", "bare SQL"
ROUNDS, CALLS = 3, 5000  # for seconds: what follows behind the answers of a shorter load would follow behind it
QUIET_SECONDS, QUIET_SHARE = 0.3, 0.1  # behind a load: until so little of a processor is used for so long
LONGEST_QUIET_SECONDS = 60.0

Row = dict[str, Any]
Build = Callable[[Side, str], Request]
BODY = json.dumps(AGENT).encode()
BUILD: dict[str, tuple[int, Build]] = {
    "get agent": (200, lambda side, token: Request("GET", f"/api/v1/agents/{side.agents[token]}", token)),
    "list 20 agents": (200, lambda side, token: Request("GET", "/api/v1/agents?limit=20", token)),
    "create agent": (201, lambda side, token: Request("POST", "/api/v1/agents", token, BODY)),
}


@dataclass(frozen=True)
class Seen:
    """One load: `server` and `database` in CPU-milliseconds a call, times in milliseconds."""

    per_second: float
    p50: float | None
    p95: float | None
    server: float
    database: float


async def measure(quick: bool, baselines: list[str]) -> list[Row]:
    rounds, count, tenants = (1, 300, 10) if quick else (ROUNDS, CALLS, TENANTS)
    seen: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    async with _sides(baselines, tenants) as (sides, bare):
        for _ in range(rounds):
            for call in BUILD:
                for side in sides:
                    seen[call, side.name].append(await _load(side, call, count))
            for call, figures in (await bare(count)).items():
                seen[call, BARE].append(figures)
    return [_row(call, name, figures, seen[call, OURS]) for (call, name), figures in _by_call(seen)]


async def _load(side: Side, call: str, count: int) -> Seen:
    status, build = BUILD[call]
    tokens = list(side.agents)

    def requests(most: int) -> Iterator[Request]:
        return (build(side, tokens[number % len(tokens)]) for number in range(most))

    await load(side.base_url, lambda: requests(len(tokens)), status)  # connections, caches
    before = await _quiet(side.cpu)
    figures = await load(side.base_url, lambda: requests(count), status)
    after = await _quiet(side.cpu)
    server, database = (1000 * (end - start) / count for start, end in zip(before, after, strict=True))
    return Seen(figures.per_second, figures.p50, figures.p95, server, database)


async def _quiet(cpu: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """What it has used once it does next to nothing: what follows an answer belongs to the call."""
    used = cpu()
    for _ in range(int(LONGEST_QUIET_SECONDS / QUIET_SECONDS)):
        await asyncio.sleep(QUIET_SECONDS)
        now = cpu()
        if sum(now) - sum(used) < QUIET_SHARE * QUIET_SECONDS:
            return now
        used = now
    raise RuntimeError("a side does not come to rest")


@asynccontextmanager
async def _sides(baselines: list[str], tenants: int) -> AsyncIterator[tuple[list[Side], Callable[[int], Any]]]:
    """All of them, serving, with their tenants; and what measures the bare SQL."""
    async with AsyncExitStack() as stack:
        database = stack.enter_context(cluster())
        ours = stack.enter_context(flowgrid())
        sides = [await of_flowgrid(OURS, ours, tenants)]
        tokens = list(sides[0].agents)
        settings = settings_of_peer(ours, database)
        settings["tenants"] = _seed(database, [_claims(token) for token in tokens], settings["tenant_claim"])
        sides.append(await of_peer(PEER, stack.enter_context(peer(settings)), database, tokens))
        hand = {**settings, "orm": False}
        sides.append(await of_peer(HAND, stack.enter_context(peer(hand)), database, tokens))
        plain = {**hand, "features": False, "user": "postgres"}
        sides.append(await of_peer(PLAIN, stack.enter_context(peer(plain)), database, tokens))
        for reference in baselines:
            child: Child = stack.enter_context(flowgrid(stack.enter_context(commit(reference))))
            sides.append(await of_flowgrid(reference, child, tenants))

        async def bare(count: int) -> dict[str, Seen]:
            return await asyncio.to_thread(_bare, settings, database, count)

        yield sides, bare


def _seed(database: Cluster, claims: list[dict[str, Any]], tenant_claim: str) -> list[str]:
    """Our tenants, with the users that the tokens name, one agent of the tenant's own id, and limits out of the way."""
    for each in claims:
        tenant, subject = each[tenant_claim], each["sub"]
        database.run(
            f"INSERT INTO tenants VALUES ('{tenant}', 'active', 1000000, 1000000, 1000000);"
            f"INSERT INTO users VALUES ('{tenant}', '{tenant}', '{subject}', 'admin', 'active');"
            f"INSERT INTO counters VALUES ('{tenant}', 'agents', 0);"
            f"INSERT INTO agents VALUES ('{tenant}', '{tenant}', 1, 'Claims intake', '', 'Orchestrator', 'offline', '',"
            f" '', '[]', '{{}}', NULL, 'draft', now(), now(), '{tenant}', '{tenant}');"
        )
    return [str(each[tenant_claim]) for each in claims]


def _claims(token: str) -> dict[str, Any]:
    import jwt

    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def _bare(settings: dict[str, Any], database: Cluster, count: int) -> dict[str, Seen]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "settings.json").write_text(json.dumps(settings))
        done = subprocess.run(
            [PYTHON, HERE / "bare.py", folder, str(count)], check=True, stdout=subprocess.PIPE, text=True
        )
    measured: dict[str, tuple[float, float]] = json.loads(done.stdout)
    return {call: Seen(per_second, None, None, cpu, 0.0) for call, (per_second, cpu) in measured.items()}


def _by_call(seen: dict[tuple[str, str], list[Seen]]) -> list[tuple[tuple[str, str], list[Seen]]]:
    return sorted(seen.items(), key=lambda one: list(BUILD).index(one[0][0]))


def _row(call: str, name: str, figures: list[Seen], ours: list[Seen]) -> Row:
    def middle(field: str, of: list[Seen] = figures) -> float | None:
        values = [getattr(one, field) for one in of]
        return None if None in values else float(median(values))

    per_second, ours_per_second = middle("per_second") or 0.0, middle("per_second", ours) or 0.0
    server, database = middle("server") or 0.0, middle("database") or 0.0
    return {
        "call": call,
        "side": name,
        "requests/s": round(per_second),
        "Flowgrid / it": round(ours_per_second / per_second, 2),
        "p50 ms": middle("p50"),
        "p95 ms": middle("p95"),
        "CPU-ms": round(server, 2),
        "database": round(database, 2) or None,
        "together": round(server + database, 2),
        "rounds": " ".join(f"{one.per_second:.0f}" for one in figures),
    }

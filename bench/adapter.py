"""What the Cosmos DB adapter adds to a call of the SDK, on the same double, in the same run (goal: at most 10 %).

Both sides take turns call by call, so that whatever else the machine does meets both alike.
"""

import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from bench.doubles import doubles
from functions.agents.models import Agent
from functions.kinds import KINDS
from shared.clock import SystemClock, rfc3339
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import NEWEST_FIRST, Create, Placement
from shared.ids import Uuid7Ids

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
SHARD = Placement("shared", "shard-1")
PAGE = 20
BODY = {"name": "Claims intake", "description": "Routes a new claim. " * 20, "pattern": "Orchestrator", "config": {}}
Call = Callable[[], Awaitable[object]]


async def run(quick: bool) -> list[dict[str, Any]]:
    from azure.cosmos.aio import CosmosClient

    rounds = 150 if quick else 1000
    with doubles() as settings:
        endpoint, key = settings["FLOWGRID_COSMOS_ENDPOINT"], settings["FLOWGRID_COSMOS_EMULATOR_KEY"]
        clock, ids = SystemClock(), Uuid7Ids()
        database = CosmosDatabase(
            kinds=KINDS, endpoint=endpoint, registry="registry", shards=["shard-1"], clock=clock, emulator_key=key
        )
        store = database.tenant(TENANT, SHARD)
        now = rfc3339(clock.now())
        for number in range(PAGE):
            await store.commit([Create(Agent.KIND, f"kept-{number}", {**BODY, "created_at": now})])
        async with CosmosClient(endpoint, key, enable_endpoint_discovery=False) as client:
            items = client.get_database_client("shard-1").get_container_client("items")

            def documents() -> list[dict[str, Any]]:
                return [
                    {**BODY, "created_at": now, "tenant_id": TENANT, "kind": "agent", "id": f"agent:{ids.new()}"}
                    for _ in range(4)
                ]

            async def raw_list() -> object:
                query = items.query_items(
                    "SELECT TOP 20 * FROM c WHERE c.tenant_id = @p0 AND c.kind = @p1"
                    " ORDER BY c.tenant_id DESC, c.kind DESC, c.created_at DESC, c.id DESC",
                    parameters=[{"name": "@p0", "value": TENANT}, {"name": "@p1", "value": "agent"}],
                    partition_key=TENANT,
                )
                return [item async for item in query]

            pairs: dict[str, tuple[Call, Call]] = {
                "point read": (
                    lambda: items.read_item("agent:kept-1", TENANT),
                    lambda: store.get(Agent.KIND, "kept-1"),
                ),
                "page of twenty": (raw_list, lambda: store.query(Agent.KIND, order=NEWEST_FIRST, limit=PAGE)),
                "batch of four": (
                    lambda: items.execute_item_batch([("create", (one,)) for one in documents()], TENANT),
                    lambda: store.commit(
                        [Create(Agent.KIND, ids.new(), {**BODY, "created_at": now}) for _ in range(4)]
                    ),
                ),
            }
            rows = [{"call": name, **await _compare(*pair, rounds)} for name, pair in pairs.items()]
        await database.close()
    return rows


async def _compare(sdk: Call, adapter: Call, rounds: int) -> dict[str, Any]:
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 20):
        for side, call in enumerate((sdk, adapter)):
            started = time.perf_counter()
            await call()
            if number >= 20:  # connections and caches are warm
                times[side].append(time.perf_counter() - started)
    raw, ours = (median(side) * 1000 for side in times)
    return {
        "rounds": rounds,
        "SDK p50 ms": round(raw, 3),
        "adapter p50 ms": round(ours, 3),
        "ratio": round(ours / raw, 3),
        "goal": "<= 1.1",
    }

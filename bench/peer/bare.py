"""The peer's bare SQL: its transactions through asyncpg alone, without SQLAlchemy, FastAPI or HTTP.

`python bare.py FOLDER COUNT` in the virtual environment of `requirements.txt`; `settings.json` in the folder says where
PostgreSQL is. Prints, as JSON, transactions per second and its own CPU-milliseconds for each, by call.
"""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

AS_TENANT = "SELECT set_config('app.tenant_id', $1, true)"
ONE = "SELECT * FROM agents WHERE tenant_id = $1 AND id = $2"
PAGE = "SELECT * FROM agents WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 21"
EVENT = "INSERT INTO usage_events VALUES ($1, $2, $3, $4, $5, $6)"
AGENT = "INSERT INTO agents VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
ENTRY = "INSERT INTO audit VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
COUNT_UP = "UPDATE counters SET value = value + 1 WHERE tenant_id = $1 AND name = $2 AND value < $3 RETURNING value"
WHERE = '{"endpoint": "/api/v1/agents", "method": "GET", "operation": "agents", "duration_ms": 1, "status_code": 200}'

Call = Callable[[Any, uuid.UUID], Awaitable[object]]


def _event(tenant: uuid.UUID, metric: str) -> tuple[Any, ...]:
    return tenant, uuid.uuid4(), datetime.now(UTC), metric, 1, WHERE


async def _get(db: Any, tenant: uuid.UUID) -> None:
    await db.fetchrow(ONE, tenant, tenant)  # seeded so: each tenant has an agent of its own id
    await db.execute(EVENT, *_event(tenant, "api_calls"))


async def _list(db: Any, tenant: uuid.UUID) -> None:
    await db.fetch(PAGE, tenant)
    await db.execute(EVENT, *_event(tenant, "api_calls"))


async def _create(db: Any, tenant: uuid.UUID) -> None:
    at, id = datetime.now(UTC), uuid.uuid4()
    text = ("Claims intake", "", "Orchestrator", "offline", "", "", "[]", "{}", None, "draft")
    await db.execute(AGENT, tenant, id, 1, *text, at, at, tenant, tenant)
    audit = (tenant, uuid.uuid4(), at, tenant, "agent.created", "agent", id, 1, None, json.dumps(text))
    await db.execute(ENTRY, *audit, "127.0.0.1", "", "")
    await db.executemany(EVENT, [_event(tenant, "agents_created"), _event(tenant, "api_calls")])
    await db.fetchrow(COUNT_UP, tenant, "agents", 1_000_000)


CALLS: dict[str, Call] = {"get agent": _get, "list 20 agents": _list, "create agent": _create}


async def measure(settings: dict[str, Any], count: int) -> dict[str, tuple[float, float]]:
    tenants = [uuid.UUID(one) for one in settings["tenants"]]
    pool = [
        await asyncpg.connect(host=settings["socket"], user="app", database="peer")
        for _ in range(settings["connections"])
    ]
    figures = {}
    for name, call in CALLS.items():
        await _all(pool, call, tenants, len(tenants))
        started, used = time.perf_counter(), time.process_time()
        await _all(pool, call, tenants, count)
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
        figures[name] = (count / seconds, cpu / count * 1000)
    for db in pool:
        await db.close()
    return figures


async def _all(pool: list[Any], call: Call, tenants: list[uuid.UUID], count: int) -> None:
    waiting = iter(range(count))

    async def connection(db: Any) -> None:
        for number in waiting:
            tenant = tenants[number % len(tenants)]
            async with db.transaction():
                await db.execute(AS_TENANT, str(tenant))
                await call(db, tenant)

    await asyncio.gather(*(connection(db) for db in pool))


if __name__ == "__main__":
    import uvloop

    given = json.loads((Path(sys.argv[1]) / "settings.json").read_text())
    print(json.dumps(uvloop.run(measure(given, int(sys.argv[2])))))

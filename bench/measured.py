"""What each piece of work takes of what Azure counts, for the cost model: written to bench/measured.json.

Request units and calls of the double of Cosmos DB (decision 0025), messages, blobs, secrets, bytes of answers and of
telemetry. One process, whose clock and ids are ours: the same code measures the same. With --quick nothing is written.
"""

import json
import subprocess
from datetime import UTC, datetime
from typing import Any

from bench.ledger import FILE, Bench, opened
from bench.units import AGENT, DESCRIPTION, model

ELEMENTS = 100
AGENTS = 60
BLOCK_EVENTS = (1, 7, 60)
BLOCKS = 60  # of the hour that is closed
ENTRIES = 60  # of the audit, in the hour that is sealed
SHOWN = ("request_units", "messages", "blob_writes", "blob_reads", "telemetry_items", "telemetry_bytes")
TIMERS = ("sweep", "close_usage", "rounds")
ELEMENT = {"name": "Claims", "type": "BusinessProcess", "description": DESCRIPTION[:240]}


async def run(quick: bool) -> list[dict[str, Any]]:
    figures = await measured()
    if not quick:
        FILE.write_text(json.dumps({"measured": _today(), **figures}, indent=1) + "\n")
    return [{"what": name, **{key: row[key] for key in row if key in SHOWN}} for name, row in figures["work"].items()]


async def measured() -> dict[str, Any]:
    """What each piece of work takes, by its name; bytes of items, by kind."""
    async with opened() as bench:
        acme = await bench.onboard("acme")
        await calls(bench, acme)
        await _metering(bench, acme)
        await _time(bench, [acme])
        globex = await bench.onboard("globex")
        await _landscape(bench, globex, "import by another tenant")
        await _time(bench, [acme, globex])
        await bench.call(globex, "create_agent", {**AGENT, "status": "active", "schedule": "0 * * * *"})
        await bench.next_hour()
        await bench.steady()
        await bench.spent("sweep with a schedule", bench.timer("sweep"))
        await bench.onboard("initech", dedicated=True)
        await bench.idle()
        await bench.spent("sweep, a database more", bench.timer("sweep"))
        return {"work": bench.figures, "sizes": bench.sizes(), "metric_bytes": bench.metric_bytes()}


def _today() -> str:
    """The day, and of which commit the code is."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    return f"{datetime.now(UTC):%Y-%m-%d}, {commit.strip()}"


async def calls(bench: Bench, tenant: str) -> None:
    """Of a tenant that has just been here: its entry and its member are in the caches."""
    await bench.call(tenant, "create_agent", AGENT)
    await bench.idle()  # what it has left to be forgotten is its own cost
    made = await bench.asked("create agent", tenant, "create_agent", AGENT)
    one = {"agent_id": made["id"]}
    await bench.asked("get agent", tenant, "get_agent", params=one)
    await bench.asked("update agent", tenant, "patch_agent", {"status": "active"}, params=one)
    await _landscape(bench, tenant)
    await bench.asked("list 20 agents", tenant, "list_agents", query={"limit": "20"})
    await bench.asked("delete agent", tenant, "delete_agent", params=one)
    await bench.asked("create element", tenant, "create_element", ELEMENT)
    await bench.asked("list 50 elements", tenant, "list_elements", query={"limit": "50"})
    await bench.asked("who am I", tenant, "get_me")
    await bench.asked("usage", tenant, "get_usage", query={"period": "day"})
    specialist = {"name": "Assessor", "pattern": "Specialist", "provider": "offline", "instructions": "Assess."}
    agent = await bench.call(tenant, "create_agent", specialist)
    await bench.idle()
    await bench.asked("run agent", tenant, "create_execution", {"input": "A claim."}, params={"agent_id": agent["id"]})
    await bench.idle(seconds=61)
    await bench.asked("who am I, cold", tenant, "get_me")


async def _landscape(bench: Bench, tenant: str, name: str = f"import {ELEMENTS} elements") -> None:
    """Sixty agents, a hundred elements."""
    for _ in range(AGENTS):
        await bench.call(tenant, "create_agent", AGENT)
    await bench.idle()
    xml = {"content-type": "application/xml"}
    await bench.asked(name, tenant, "import_catalog", model(ELEMENTS, "a"), headers=xml)


async def _metering(bench: Bench, tenant: str) -> None:
    """A minute's delivery for one tenant, in an hour that has blocks, and the first of an hour."""
    await bench.idle(seconds=3600)
    await bench.spent("first block of an hour", bench.block(tenant, BLOCK_EVENTS[0]))
    for events in BLOCK_EVENTS:
        await bench.idle(seconds=60)
        await bench.spent(f"block of {events}", bench.block(tenant, events))


async def _time(bench: Bench, tenants: list[str]) -> None:
    """What the timers do while so many tenants do nothing, or the same; differences say what one more costs."""
    count = f"{len(tenants)} tenant{'s' if len(tenants) > 1 else ''}"
    await bench.next_hour()
    await bench.steady()
    for name in TIMERS:
        await bench.spent(f"{name} again, {count}", bench.timer(name))
    await bench.next_hour()
    for name in TIMERS:
        await bench.spent(f"{name} of an idle hour, {count}", bench.timer(name))
    await bench.steady()
    for tenant in tenants:
        for _ in range(ENTRIES):
            await bench.call(tenant, "create_element", ELEMENT)
    await bench.idle()
    for _ in range(BLOCKS - 1):
        for tenant in tenants:
            await bench.block(tenant, BLOCK_EVENTS[1])
    await bench.timer("close_usage")
    await bench.spent(f"close_usage within the hour, {count}", bench.timer("close_usage"))
    await bench.next_hour()
    for name in TIMERS:
        await bench.spent(f"{name} of an hour at work, {count}", bench.timer(name))
    for what in ("a first backup", "a backup"):
        await bench.next_day()
        await bench.spent(f"{what}, {count}", bench.day())

"""kill -9 in the middle of writes: what was acknowledged is there, whole, and counted exactly once."""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from shared.work.change import COUNTER
from shared.work.outbox import OUTBOX
from tests.e2e.api import AGENT, Flowgrid, Tenant, new_http
from tests.e2e.host import Host, eventually

WRITERS = 8
KILLS = 3
SEED = 20261124


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host of its own: nobody else's is killed."""
    served = Host(tmp_path_factory.mktemp("killed"))
    try:
        served.start()
        yield served
    finally:
        served.kill()


@dataclass
class Acknowledged:
    """What the writers were told; `unheard` counts the calls whose answer never came."""

    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    patched: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    unheard: int = 0

    @property
    def answers(self) -> int:
        return len(self.created) + len(self.patched) + len(self.deleted)


async def test_after_kills_in_the_middle_of_writes_nothing_acknowledged_is_lost_or_counted_twice(host: Host) -> None:
    chance = random.Random(SEED)
    told = Acknowledged()
    async with new_http() as http:
        flowgrid = Flowgrid(host, http)
        tenant = await flowgrid.onboard(max_agents=1_000_000)
        for _ in range(KILLS):
            await _write_until_killed(host, tenant, told, after=chance.randint(60, 120))
            _due_now(host)
            host.start()
        assert min(len(told.created), len(told.patched), len(told.deleted)) > 10, "too little was written to prove much"

        agents = {agent["id"]: agent for agent in await tenant.staff.every("agents", limit=200)}
        audit = await tenant.staff.every("audit", limit=200, resource_type="agent")
        made = _check_resources(told, agents, audit)

        await flowgrid.run("sweep")
        await eventually(lambda: _all_sent(host, tenant))
        (counter,) = [item for item in await host.items(tenant.id, COUNTER) if item["id"] == "agents"]
        assert counter["value"] == len(agents), "the quota's counter does not tell how many agents there are"
        await _check_usage(tenant, told, made, len(audit))


async def test_a_kill_leaves_a_host_that_starts_and_is_well(host: Host) -> None:
    async with new_http() as http:
        flowgrid = Flowgrid(host, http)
        for _ in range(3):
            host.kill()
            host.start()
            assert (await flowgrid.anonymous.get("/api/health")).json()["status"] == "healthy"


async def test_a_kill_during_a_backup_leaves_a_job_that_is_finished_later(host: Host) -> None:
    async with new_http() as http:
        tenant = await Flowgrid(host, http).onboard(max_agents=1000)
        await asyncio.gather(*(tenant.user.ok("POST", "agents", AGENT) for _ in range(100)))
        backup = await tenant.admin.ok("POST", "backups", {})
        host.kill()
        _due_now(host)
        host.start()

        async def complete() -> bool:
            """the backup is complete"""
            await Flowgrid(host, http).run("sweep")
            return bool((await tenant.admin.ok("GET", f"backups/{backup['id']}"))["status"] == "succeeded")

        await eventually(complete)
        assert (await tenant.admin.ok("POST", f"backups/{backup['id']}/verify"))["ok"]


# --- helpers ---------------------------------------------------------------------------------------------------------


async def _write_until_killed(host: Host, tenant: Tenant, told: Acknowledged, *, after: int) -> None:
    """Writers that create, change and delete agents without a pause, until the host dies, `after` answers later."""
    enough, before = asyncio.Event(), told.answers

    async def write() -> None:
        while True:
            try:
                created = await tenant.admin.post("agents", AGENT)
                assert created.status_code == 201, created.text
                told.created[created.json()["id"]] = created.json()
                patched = await tenant.admin.patch(f"agents/{created.json()['id']}", {"status": "active"})
                assert patched.status_code == 200, patched.text
                told.patched[created.json()["id"]] = patched.json()
                if len(told.patched) % 2:
                    deleted = await tenant.admin.delete(f"agents/{created.json()['id']}")
                    assert deleted.status_code == 204, deleted.text
                    told.deleted.add(created.json()["id"])
                if told.answers - before >= after:
                    enough.set()
            except httpx.TransportError:
                told.unheard += 1
                return

    writers = [asyncio.create_task(write()) for _ in range(WRITERS)]
    waiting = asyncio.create_task(enough.wait())
    await asyncio.wait([*writers, waiting], return_when=asyncio.FIRST_COMPLETED)
    host.kill()
    waiting.cancel()
    await asyncio.gather(*writers)


def _due_now(host: Host) -> None:
    """Age what a dead host has left, in its files: leases have run out, the outbox is old enough for the sweep."""
    with closing(sqlite3.connect(host.data / "queues" / "queues.db")) as queues, queues:
        queues.execute("UPDATE messages SET due_at = 0")
    for path in (host.data / "database").glob("*.db"):
        with closing(sqlite3.connect(path)) as database, database:
            past = "2020-01-01T00:00:00.000000Z"
            database.execute(
                "UPDATE items SET created_at = ?, doc = json_set(doc, '$.created_at', ?) WHERE kind = 'outbox'",
                (past, past),
            )
            database.execute(
                "UPDATE items SET doc = json_set(doc, '$.lease_until', ?) WHERE kind = 'job'"
                " AND json_extract(doc, '$.status') IN ('queued', 'running')",
                (past,),
            )


def _check_resources(told: Acknowledged, agents: dict[str, Any], audit: list[dict[str, Any]]) -> set[str]:
    """Each acknowledged write is there with its one audit entry, nothing is there without; answers all ever made."""
    history: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in audit:
        actions = history.setdefault(entry["resource_id"], {})
        assert entry["action"] not in actions, f"audited twice: {entry['action']} of {entry['resource_id']}"
        actions[entry["action"]] = entry
    for id, agent in told.created.items():
        assert history[id]["agent.created"]["new_value"] == agent
    for id, agent in told.patched.items():
        assert history[id]["agent.updated"]["new_value"] == agent
    for id in told.deleted:
        assert id not in agents and "agent.deleted" in history[id]
    for id, actions in history.items():
        assert (id in agents) != ("agent.deleted" in actions), "the audit tells of another end"
        if id in agents:
            assert agents[id] == actions.get("agent.updated", actions["agent.created"])["new_value"]
    assert set(agents) <= set(history), "an agent without its audit entry"
    assert len(history) - len(told.created) <= told.unheard, "more was made than anybody asked for"
    return set(history)


async def _all_sent(host: Host, tenant: Tenant) -> bool:
    """nothing waits in the outbox or in the queue"""
    async with host.core() as opened:
        assert opened.adapters.receiving is not None
        waiting = await opened.adapters.receiving.waiting(opened.settings.usage_queue)
    with closing(sqlite3.connect(host.data / "queues" / "queues.db")) as queues:
        (queued,) = queues.execute("SELECT count(*) FROM messages WHERE queue = 'usage-events'").fetchone()
    return not waiting and queued == 0 and not await host.items(tenant.id, OUTBOX)


async def _check_usage(tenant: Tenant, told: Acknowledged, made: set[str], committed: int) -> None:
    created = await tenant.staff.every("usage/events", metric="agents_created", limit=200)
    assert Counter(event["data"]["agent_id"] for event in created) == dict.fromkeys(made, 1)
    calls = await tenant.staff.every("usage/events", metric="api_calls", limit=200)
    heard = len(told.created) + len(told.patched) + len(told.deleted)
    assert heard <= len(calls) <= committed, "each acknowledged call once, and no call that did nothing"
    by_operation = Counter(event["data"]["operation"] for event in calls)
    acknowledged = {"create_agent": told.created, "patch_agent": told.patched, "delete_agent": told.deleted}
    for operation, what in acknowledged.items():
        assert len(what) <= by_operation[operation] <= len(what) + told.unheard
    for metric, events in {"agents_created": created, "api_calls": calls}.items():
        for period in ("hour", "day", "month"):
            usage = await tenant.staff.ok("GET", "usage", params={"metric": metric, "period": period})
            assert usage["total"] == len(events), f"{metric} by {period}: rollup and events differ"

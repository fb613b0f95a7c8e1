"""What one tenant, one queue or one part of a timer raises, whatever it is, stops no other."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from functions.backups.models import Backup
from shared.auth.caller import SYSTEM
from shared.clock import rfc3339
from shared.database.port import Create, Replace, TenantStore
from shared.errors import Throttled
from shared.ids import PLATFORM_TENANT_ID
from shared.jobs.jobs import Job, enqueue
from shared.kinds import Kind
from shared.messaging.port import Message
from shared.tenancy.directory import RESERVATION, TENANT, TenantEntry
from shared.work.outbox import OUTBOX, outbox_item
from tests.unit.world import World


class Surprise(Exception):
    """None of our own errors, and nothing that anybody has thought of."""


async def surprise(*_: Any, **__: Any) -> Any:
    raise Surprise


@pytest.fixture
async def tenants(world: World) -> list[str]:
    """Three tenants, of which the second one is in trouble."""
    return [(await world.onboard(slug))["id"] for slug in ("acme", "globex", "initech")]


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What was logged with a trace, which the log must have: who reads it will want to know."""
    found: list[str] = []
    yield found
    found += [one.message for one in caplog.get_records("call") if one.levelno == logging.ERROR and one.exc_info]
    assert found, "the surprise is not in the log"


async def store_of(world: World, tenant_id: str) -> TenantStore:
    store = await world.core.directory.store(tenant_id)
    assert store is not None
    return store.control


@pytest.mark.usefixtures("errors")
@pytest.mark.parametrize("broken", ["outbox", "onboarding", "tenants", "jobs"])
async def test_one_part_of_the_sweep_stops_no_other(
    world: World, tenants: list[str], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`OUTBOX` is asked for by the first part, `Job.KIND` by the last but one."""
    platform = world.core.adapters.database.platform
    asked: list[str] = []
    query, sweep = platform.query, platform.sweep
    fields = {"outbox": OUTBOX, "jobs": Job.KIND, "onboarding": "created_at", "tenants": "unaudited.created_at"}

    async def watched(real: Any, kind: Kind, where: Any = (), **rest: Any) -> Any:
        names = {kind, *(condition.field for condition in where)} if kind is TENANT else {kind}
        asked.extend(part for part, sign in fields.items() if sign in names)
        if fields[broken] in names:
            raise Surprise
        return await real(kind, where, **rest)

    monkeypatch.setattr(platform, "query", lambda *given, **more: watched(query, *given, **more))
    monkeypatch.setattr(platform, "sweep", lambda *given, **more: watched(sweep, *given, **more))
    await world.sweep()
    assert set(asked) == set(fields)


@pytest.mark.usefixtures("errors")
async def test_one_tenants_event_keeps_no_others_in_the_outbox(
    world: World, tenants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.queued("usage-events")
    for tenant_id in tenants:
        message = Message(f"event-{tenant_id}", tenant_id, {"id": tenant_id})
        await (await store_of(world, tenant_id)).commit([outbox_item("usage-events", message, world.clock.now())])
    store = world.core.directory.store

    async def raising(tenant_id: str) -> Any:
        return await (surprise() if tenant_id == tenants[1] else store(tenant_id))

    monkeypatch.setattr(world.core.directory, "store", raising)
    world.clock.advance(minutes=1)
    await world.sweep()
    assert sorted(body["id"] for body in await world.queued("usage-events")) == sorted([tenants[0], tenants[2]])


@pytest.mark.usefixtures("errors")
async def test_one_job_that_nobody_can_read_keeps_no_other_stalled_one_back(world: World, tenants: list[str]) -> None:
    session = await world.session(tenants[0], SYSTEM)
    change = session.change()
    job = enqueue(change, session, "jobs", "backup", {})
    await change.commit(None)
    await world.queued("jobs")
    lease = rfc3339(world.clock.now() - timedelta(hours=1))
    odd = {"created_at": lease, "lease_until": lease, "status": "queued", "type": 7}
    await (await store_of(world, tenants[1])).commit([Create(Job.KIND, "odd", odd)])
    world.clock.advance(minutes=5)
    await world.sweep()
    assert await world.queued("jobs") == [{"job_id": job.id, "revision": 1}]


@pytest.mark.usefixtures("errors")
async def test_one_tenants_end_of_trial_keeps_no_other_going(
    world: World, tenants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = world.core.adapters.database.platform
    put = platform.put

    async def raising(operation: Any, tenant_id: str) -> str | None:
        if isinstance(operation, Replace) and tenant_id == tenants[1]:
            raise Surprise
        return await put(operation, tenant_id)

    monkeypatch.setattr(platform, "put", raising)
    world.clock.advance(days=40)
    await world.sweep()
    found = {tenant_id: await platform.get(TENANT, tenant_id, tenant_id) for tenant_id in tenants}
    assert [one and one.body["status"] for one in found.values()] == ["suspended", "trial", "suspended"]


@pytest.mark.usefixtures("errors")
async def test_one_queues_dead_messages_keep_no_others_uncollected(
    world: World, tenants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, asked = world.queue.dead, list[str]()

    async def raising(queue: str) -> Any:
        asked.append(queue)
        return await (surprise() if len(asked) == 1 else dead(queue))

    monkeypatch.setattr(world.queue, "dead", raising)
    await world.sweep()
    assert len(asked) == 4


@pytest.mark.usefixtures("errors")
@pytest.mark.parametrize("timer", ["backup_daily", "backup_retention"])
async def test_one_tenants_trouble_keeps_no_other_from_its_backup(
    world: World, tenants: list[str], timer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_, reached = world.core.directory.open, list[str]()

    def raising(entry: TenantEntry) -> TenantStore:
        reached.append(entry.id)
        if entry.id == tenants[1]:
            raise Surprise
        return open_(entry)

    monkeypatch.setattr(world.core.directory, "open", raising)
    await world.functions[timer](None)
    assert set(tenants) <= set(reached)
    if timer == "backup_daily":
        found = [await (await store_of(world, tenant_id)).query(Backup.KIND) for tenant_id in (tenants[0], tenants[2])]
        assert [len(page.items) for page in found] == [1, 1]


@pytest.mark.parametrize("timer", ["backup_daily", "backup_retention"])
async def test_a_daily_run_that_the_registry_interrupted_is_gone_on_with_the_same_day(
    world: World, tenants: list[str], timer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, asked = world.core.adapters.database.platform.query, list[int]()

    async def once(kind: Kind, *args: Any, **options: Any) -> Any:
        if kind is TENANT:
            asked.append(1)
            if len(asked) == 1:
                raise Throttled("slow down")
        return await query(kind, *args, **options)

    monkeypatch.setattr(world.core.adapters.database.platform, "query", once)
    with pytest.raises(Throttled):
        await world.functions[timer](None)
    for _ in range(24):
        world.clock.advance(seconds=30)
        await world.functions["sweep"](None)
    slot = f"run:{timer.replace('_', '-')}:{world.clock.now().date().isoformat()}"
    run = await world.core.adapters.database.platform.get(RESERVATION, PLATFORM_TENANT_ID, slot)
    assert run is not None and (run.body["status"], run.body["summary"]["tenants"]) == ("done", 3)
    if timer == "backup_daily":
        found = [await (await store_of(world, tenant_id)).query(Backup.KIND) for tenant_id in tenants]
        assert [len(page.items) for page in found] == [1, 1, 1]

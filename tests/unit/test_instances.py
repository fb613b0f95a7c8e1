"""Two instances of the app over one store: what each has for itself, and what they share (decision 0023)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from functions.usage.periods import start_of
from functions.usage.rollups import totals
from shared.work.events import Metric
from shared.work.outbox import OUTBOX
from tests.unit.world import AGENT, STAFF, START, UNLIMITED, World, admin


@pytest.fixture
async def instances(tmp_path: Path) -> AsyncIterator[list[World]]:
    first = World.over(tmp_path, process=0)
    second = World.over(tmp_path, process=1, clock=first.clock)
    yield [first, second]
    for one in (first, second):
        await one.close()


async def test_each_instance_counts_the_calls_of_a_minute_for_itself(instances: list[World]) -> None:
    tenant = (await instances[0].onboard(limits={}))["id"]
    statuses = [(await one.call("get_me", admin(tenant))).status for _ in range(11) for one in instances]
    assert statuses == [200] * 20 + [429] * 2


async def test_each_instance_counts_the_refusals_of_an_address_for_itself(instances: list[World]) -> None:
    for one in instances:
        one.core.endpoint.global_limit = 2
    statuses = [(await one.call("get_me")).status for _ in range(3) for one in instances]
    assert statuses == [401] * 4 + [429] * 2


async def test_a_quota_is_one_for_all_instances(instances: list[World]) -> None:
    tenant = (await instances[0].onboard(tier="enterprise", max_agents=5))["id"]
    creates = [one.call("create_agent", admin(tenant), AGENT) for _ in range(4) for one in instances]
    statuses = [answer.status for answer in await asyncio.gather(*creates)]
    assert sorted(statuses) == [201] * 5 + [429] * 3


async def test_a_change_by_one_instance_is_seen_by_the_other_within_five_seconds(instances: list[World]) -> None:
    first, second = instances
    tenant = (await first.onboard(limits={}))["id"]
    assert (await second.call("get_me", admin(tenant))).status == 200
    await first.call("suspend_tenant", STAFF, params={"tenant_id": tenant})
    first.clock.advance(seconds=5)
    assert (await second.call("get_me", admin(tenant))).status == 403


async def test_behind_an_answer_nothing_runs_but_the_forgetting_of_what_was_sent(instances: list[World]) -> None:
    one = instances[0]
    tenant = (await one.onboard(limits=UNLIMITED))["id"]
    before = asyncio.all_tasks()
    await one.call("create_agent", admin(tenant), AGENT)
    await one.call("list_agents", admin(tenant))
    behind = asyncio.all_tasks() - before
    assert {getattr(task.get_coro(), "__qualname__", "") for task in behind} <= {"Outbox._forget_soon"}


async def test_what_a_stopped_instance_leaves_is_finished_by_another_and_counted_once(instances: list[World]) -> None:
    """The worker has no hook for its end: what it had behind its answers is gone with it."""
    first, second = instances
    tenant = (await first.onboard(limits=UNLIMITED))["id"]
    for _ in range(3):
        await first.call("create_agent", admin(tenant), AGENT)  # sent; never forgotten: `never` is its pause
    await second.drain()
    first.clock.advance(minutes=11)  # longer than the queue remembers what it has seen
    await second.sweep()
    await second.drain()
    store = await second.core.directory.store(tenant)
    assert store is not None
    assert (await store.query(OUTBOX)).items == []
    hour = start_of("hour", START)
    found = await totals(store, hour, hour + timedelta(hours=2))
    assert (found[Metric.API_CALLS], found[Metric.AGENTS_CREATED]) == (3, 3)

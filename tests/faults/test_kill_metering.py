"""kill -9 of the consumer of usage events, again and again: every event is counted exactly once."""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from functions.usage.closing import Closing
from shared.core import Core
from shared.messaging.port import Message
from shared.work.events import Metric, usage_event
from tests.doubles.clock import FakeClock
from tests.doubles.usage import total_and_count
from tests.e2e.host import Host, eventually
from tests.unit.world import register

TENANTS = [f"0190c2a8-7e10-7abc-8def-{number:012x}" for number in range(1, 101)]
EVENTS = 100_000
QUEUE = "usage-events"
SEED = 20261130


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host of its own: nobody else's is killed."""
    served = Host(tmp_path_factory.mktemp("metering"))
    try:
        yield served
    finally:
        served.kill()


def events(core: Core) -> list[Message]:
    now = core.services.clock.now()
    return [
        usage_event(
            Metric.API_CALLS,
            id=core.services.ids.new(),
            tenant_id=TENANTS[number % len(TENANTS)],
            at=now,
            value=1 + number % 7,
            operation="get_agent",
        )
        for number in range(EVENTS)
    ]


def waiting(host: Host) -> int:
    """Messages that are still in the queue."""
    with closing(sqlite3.connect(host.data / "queues" / "queues.db", timeout=30)) as queues:
        (count,) = queues.execute("SELECT count(*) FROM messages WHERE queue = ?", (QUEUE,)).fetchone()
    return int(count)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_hundred_thousand_events_of_a_hundred_tenants_are_exact_whenever_their_consumer_is_killed(
    host: Host,
) -> None:
    chance = random.Random(SEED)
    async with host.core() as core:
        for tenant_id in TENANTS:
            await register(core, tenant_id)
        sent = events(core)
        again = chance.sample(sent, EVENTS // 10)  # of which the queue remembers the ids: they are renamed
        renamed = [Message(f"again-{one.id}", one.tenant_id, one.body) for one in again]
        for start in range(0, EVENTS, 1000):
            await core.adapters.messaging.send(QUEUE, sent[start : start + 1000])
        await core.adapters.messaging.send(QUEUE, renamed)
        expected = Counter[str]()
        for message in sent:
            expected[message.tenant_id] += message.body["data"]["value"]
        kills = 0
        while waiting(host):
            host.start()
            left = waiting(host)
            goal = max(0, left - chance.randint(8_000, 20_000))

            async def taken(goal: int = goal) -> bool:
                """it has stored some thousands"""
                return waiting(host) <= goal

            await eventually(taken, within=120)
            host.kill()
            kills += 1
            _give_back(host)
        assert kills >= 4, "the consumer was killed too seldom to prove much"
        await asyncio.gather(*(_check(core, tenant_id, expected[tenant_id]) for tenant_id in TENANTS))
        later = FakeClock()
        later.instant = datetime.now(UTC) + timedelta(days=2)
        assert await Closing(core.adapters.database, core.directory, later).sweep() >= len(TENANTS)
        await asyncio.gather(*(_check(core, tenant_id, expected[tenant_id]) for tenant_id in TENANTS))


async def _check(core: Core, tenant_id: str, value: int) -> None:
    store = await core.directory.store(tenant_id)
    assert store is not None
    assert await total_and_count(store) == (value, EVENTS // len(TENANTS))


def _give_back(host: Host) -> None:
    """What the killed consumer had in hand is due at once."""
    with closing(sqlite3.connect(host.data / "queues" / "queues.db", timeout=30)) as queues, queues:
        queues.execute("UPDATE messages SET due_at = 0 WHERE queue = ?", (QUEUE,))

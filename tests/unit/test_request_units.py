"""What tenants' calls cost at the database is metered by every process: each unit once, whatever the queue does."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from shared.errors import Unavailable
from shared.ids import PLATFORM_TENANT_ID
from shared.messaging.port import Message
from shared.work.events import Metric
from shared.work.request_units import RequestUnits
from tests.unit.world import OTHER_ID, TENANT_ID, FakeClock, FakeIds, World


class Queue:
    """Takes messages by their ids, as Service Bus does; or nothing; or all, without saying so."""

    def __init__(self) -> None:
        self.mood = "takes"
        self.taken: dict[str, Message] = {}

    async def send(self, queue: str, messages: Sequence[Message], **_: Any) -> None:
        if self.mood != "refuses":
            self.taken |= {message.id: message for message in messages}
        if self.mood != "takes":
            raise Unavailable("no answer")

    def sums(self) -> dict[str, int]:
        found = Counter[str]()
        for message in self.taken.values():
            assert message.body["type"] == Metric.REQUEST_UNITS
            found[message.tenant_id] += message.body["data"]["value"]
        return dict(found)


def units(queue: Queue, clock: FakeClock) -> RequestUnits:
    return RequestUnits(queue, clock, FakeIds(), "usage-events")  # type: ignore[arg-type]


async def a_moment() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_each_tenants_units_are_one_event_of_whole_ones_and_what_is_broken_stays_for_the_next() -> None:
    queue, clock = Queue(), FakeClock()
    own = units(queue, clock)
    own.add({TENANT_ID: 2.6, OTHER_ID: 0.4})
    await own.flush()
    first = (queue.sums(), len(queue.taken))
    own.add({TENANT_ID: 0.5, OTHER_ID: 0.7})
    await own.flush()
    assert (first, queue.sums()) == (({TENANT_ID: 2}, 1), {TENANT_ID: 3, OTHER_ID: 1})


async def test_who_finds_five_minutes_over_begins_the_sending_and_does_not_wait_for_it() -> None:
    queue, clock = Queue(), FakeClock()
    own = units(queue, clock)
    clock.advance(seconds=299)
    own.add({TENANT_ID: 95.0})
    await a_moment()
    early = len(queue.taken)
    clock.advance(seconds=1)
    own.add({TENANT_ID: 5.0})
    at_once = len(queue.taken)
    await a_moment()
    assert (early, at_once, queue.sums()) == (0, 0, {TENANT_ID: 100})


async def test_few_units_wait_for_an_hour_so_that_who_does_nothing_is_not_told_of_for_ever() -> None:
    queue, clock = Queue(), FakeClock()
    own = units(queue, clock)
    sent = []
    for _ in range(13):
        own.add({TENANT_ID: 7.0})
        await a_moment()
        sent.append(queue.sums().get(TENANT_ID, 0))
        clock.advance(minutes=5)
    assert (sent[:12], sent[12]) == ([0] * 12, 91)


async def test_what_is_no_tenants_is_metered_for_nobody() -> None:
    queue = Queue()
    own = units(queue, FakeClock())
    own.add({PLATFORM_TENANT_ID: 5.0, "": 5.0, "usage": 5.0})
    await own.flush()
    assert queue.taken == {}


@profile(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([TENANT_ID, OTHER_ID]),
            st.integers(0, 4000),
            st.sampled_from(["takes", "refuses", "loses the answer"]),
        ),
        max_size=20,
    )
)
def test_whatever_the_queue_does_each_unit_is_counted_once(steps: list[tuple[str, int, str]]) -> None:
    async def run() -> dict[str, int]:
        queue = Queue()
        own = units(queue, FakeClock())
        for tenant, hundredths, mood in steps:
            own.add({tenant: hundredths / 64})
            queue.mood = mood
            await own.flush()
        queue.mood = "takes"
        for _ in range(2):  # what failed, then what has come since
            await own.flush()
        return queue.sums()

    spent = Counter[str]()
    for tenant, hundredths, _ in steps:
        spent[tenant] += hundredths
    assert asyncio.run(run()) == {tenant: n // 64 for tenant, n in spent.items() if n >= 64}


async def test_a_process_that_ends_sends_what_it_has(world: World) -> None:
    world.core.adapters.charges.record(TENANT_ID, "get", 7.0)
    world.core.adapters.charges.flush()
    await world.core.request_units.flush()
    (event,) = await world.queued("usage-events")
    assert (event["type"], event["data"]) == ("request_units", {"value": 7})


async def test_closing_the_core_sends_them_before_the_queue_is_closed(world: World, twin: World) -> None:
    twin.core.adapters.charges.record(TENANT_ID, "get", 7.0)
    await twin.core.close()
    assert [event["data"]["value"] for event in await world.queued("usage-events")] == [7]


@pytest.mark.parametrize("spent", [0.0, 0.9])
async def test_less_than_one_unit_is_no_event(spent: float) -> None:
    queue = Queue()
    own = units(queue, FakeClock())
    own.add({TENANT_ID: spent})
    await own.flush()
    assert queue.taken == {}

"""How calls went and what AI has cost: exact counts, times at most 10 % wrong, the same however they are added up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.usage.blocks import BLOCK, Block, add, bounded, pack
from functions.usage.closing import close_hour
from functions.usage.details import total
from functions.usage.hours import HOUR
from functions.usage.latency import BOUNDS, LONGEST_MS, PROMISED_MS, Calls
from functions.usage.reading import Event, read
from functions.usage.rebuilding import rollups_as_rebuilt
from functions.usage.rollups import ROLLUP, rollup_id
from functions.usage.tally import merged, tally
from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.database.documents import opened
from shared.database.limits import encode
from shared.database.port import Replace, Upsert
from shared.work.events import Metric, usage_event
from tests.unit.world import START, TENANT_ID, World, admin, person

DAY = START.replace(hour=0)


def call_of(
    number: int, took: Any, status: Any = 200, operation: str = "list_agents", at: datetime = START, value: int = 1
) -> Event:
    id = f"0190c2a8-0000-7000-8000-{number:012x}"
    data = {"operation": operation, "duration_ms": took, "status_code": status}
    message = usage_event(Metric.API_CALLS, id=id, tenant_id=TENANT_ID, at=at, value=value, **data)
    event = read(message, START)
    assert isinstance(event, Event)
    return event


def known(events: Sequence[Event]) -> Calls:
    sums = merged(block.body["sums"] for block in pack(events))
    return Calls.of(total(sums["api_calls"]["details"]))


# What is known of calls


def test_buckets_are_few_fixed_and_end_where_the_promise_does() -> None:
    """Those of stored rollups mean these: a change takes a schema version."""
    assert BOUNDS[:8] == (0, 1, 2, 3, 4, 6, 8, 11)
    assert (len(BOUNDS), BOUNDS[-1], PROMISED_MS in BOUNDS) == (58, LONGEST_MS, True)


@given(times=st.lists(st.integers(0, LONGEST_MS), min_size=1, max_size=60))
def test_a_percentile_is_at_most_a_tenth_wrong(times: list[int]) -> None:
    found = known([call_of(number, took) for number, took in enumerate(times)])
    for percent in (50, 95, 99):
        exact, told = sorted(times)[ceil(len(times) * percent / 100) - 1], found.percentile(percent)
        assert told is not None
        assert abs(told - exact) <= 0.1 * exact + 1e-9
    assert (found.measured, found.within) == (len(times), sum(took <= 200 for took in times))


def test_what_takes_longer_than_anything_may_is_told_as_the_longest() -> None:
    assert known([call_of(1, 10**9)]).percentile(99) == LONGEST_MS


def test_whose_fault_an_error_was_is_told_apart() -> None:
    found = known([call_of(number, 5, status) for number, status in enumerate((200, 304, 404, 429, 499, 500, 503))])
    assert (found.measured, found.client_errors, found.server_errors) == (7, 3, 2)


@pytest.mark.parametrize(
    ("took", "status"), [(None, 200), (-1, 200), (True, 200), ("5", 200), (5.5, 200), (5, None), (5, 99), (5, "200")]
)
def test_a_call_that_does_not_say_how_it_went_counts_and_is_not_measured(took: Any, status: Any) -> None:
    (block,) = pack([call_of(1, took, status)])
    calls = block.body["sums"]["api_calls"]
    assert (calls["value"], calls["details"]) == (1, {})


# However they are added up

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.integers(0, 400_000),
        st.sampled_from([200, 404, 503]),
        st.sampled_from(["list_agents", "get_agent", "create_agent"]),
        st.integers(0, 30 * 24 * 60),
    ),
    max_size=60,
)


@given(rows=EVENTS, cuts=st.lists(st.integers(0, 59), max_size=4))
def test_hours_merged_into_days_and_days_into_all_are_what_all_events_are_together(
    rows: list[tuple[int, int, int, str, int]], cuts: list[int]
) -> None:
    """In whatever deliveries they came, some of them twice."""
    events = {
        (number, minute): call_of(number, took, status, name, START - timedelta(minutes=minute))
        for number, took, status, name, minute in rows
    }
    by_hour_and_id = {(event.hour, event.id): event for event in events.values()}
    own, edges = list(by_hour_and_id.values()), sorted({0, *cuts, 60})
    deliveries = [own[start:end] for start, end in pairwise(edges)] + [own[:7]]
    blocks = [Block({**one.body, "opening": 1, "hour": one.hour}) for part in deliveries for one in pack(part)]
    hours = {
        hour: bounded(tally([one for one in blocks if one.body["hour"] == hour]).sums)
        for hour in {str(block.body["hour"]) for block in blocks}
    }
    days = {
        day: merged(sums for hour, sums in hours.items() if hour[:10] == day) for day in {one[:10] for one in hours}
    }
    whole: dict[str, dict[str, Any]] = {}
    add(whole, own)
    assert bounded(merged(days.values())) == bounded(whole)


def test_of_more_endpoints_than_a_rollup_names_the_rest_is_other_with_what_is_known_of_it() -> None:
    events = [call_of(number, 7, 500, f"o{number % 150:03}") for number in range(151)]
    calls = bounded(merged(block.body["sums"] for block in pack(events)))["api_calls"]
    assert (len(calls["details"]), calls["details"]["other"]) == (101, {"6": 50, "5xx": 50})
    assert sum(one["5xx"] for one in calls["details"].values()) == 151


def test_the_fullest_rollup_there_can_be_fits_into_a_document() -> None:
    every = {str(bucket): 9_999_999 for bucket in range(len(BOUNDS) + 1)} | {"4xx": 9_999_999, "5xx": 9_999_999}
    names = {f"an_operation_with_quite_a_long_name_{number:03}": 10**9 for number in range(150)}
    sums = {
        metric.value: {"value": 10**12, "count": 10**9, "dimensions": names, "details": {name: every for name in names}}
        if metric is Metric.API_CALLS
        else {"value": 10**12, "count": 10**9, "dimensions": names}
        for metric in Metric
    }
    assert len(encode({"metrics": bounded(sums)}).encode()) < 256 * 1024


# What a tenant is told


@pytest.fixture
async def tenant(world: World) -> str:
    id = str((await world.onboard(tier="enterprise"))["id"])
    await world.call("get_me", admin(id))
    world.clock.advance(days=1)
    return id


async def happened(world: World, tenant: str, metric: Metric, at: datetime, value: int = 1, **data: Any) -> None:
    event = usage_event(metric, id=world.core.services.ids.new(), tenant_id=tenant, at=at, value=value, **data)
    await world.core.adapters.messaging.send("usage-events", [event])
    await world.drain()


async def called(world: World, tenant: str, operation: str, took: int, status: int, at: datetime = START) -> None:
    data: dict[str, Any] = {"operation": operation, "duration_ms": took, "status_code": status}
    await happened(world, tenant, Metric.API_CALLS, at, **data)


async def analytics(world: World, tenant: str, **query: str) -> Any:
    answer = await world.call("get_analytics", person(tenant, Role.VIEWER), query=query)
    assert answer.status == 200, answer.raw
    return answer.json


HOUR_OF = {"from": "2026-11-24T13:00:00Z", "to": "2026-11-24T15:00:00Z", "period": "hour"}


async def test_each_endpoint_tells_its_calls_errors_and_times(world: World, tenant: str) -> None:
    at = START + timedelta(hours=1)
    for took, status in ((10, 200), (20, 200), (30, 404), (1000, 500)):
        await called(world, tenant, "list_agents", took, status, at)
    await called(world, tenant, "get_agent", 4, 200, at + timedelta(hours=1))
    found = await analytics(world, tenant, **HOUR_OF)
    assert found["endpoints"] == [
        {
            "operation": "list_agents",
            "calls": 4,
            "measured": 4,
            "client_errors": 1,
            "server_errors": 1,
            "within_promise": 3,
            "p50_ms": 20.8,
            "p95_ms": 906.4,
            "p99_ms": 906.4,
        },
        {
            "operation": "get_agent",
            "calls": 1,
            "measured": 1,
            "client_errors": 0,
            "server_errors": 0,
            "within_promise": 1,
            "p50_ms": 4,
            "p95_ms": 4,
            "p99_ms": 4,
        },
    ]
    assert [(one["start"], one["calls"], one["server_errors"]) for one in found["items"]] == [
        ("2026-11-24T13:00:00.000000Z", 4, 1),
        ("2026-11-24T14:00:00.000000Z", 1, 0),
    ]
    assert (found["calls"]["calls"], found["calls"]["within_promise"]) == (5, 4)


async def test_each_model_tells_its_tokens_and_what_is_known_of_their_cost(world: World, tenant: str) -> None:
    for value, provider, model, cost in ((500, "platform", "gpt/4.1", 70), (5, "mine", "m", None), (7, "mine", "m", 3)):
        data: dict[str, Any] = {"provider": provider, "model": model, "cost": cost}
        await happened(world, tenant, Metric.AI_TOKENS, START, value, **data)
    await happened(world, tenant, Metric.AI_TOKENS, START, 2, provider="own", model="free", cost=None)
    found = await analytics(world, tenant, period="day")
    assert [tuple(one.values()) for one in found["ai"]] == [
        ("platform", "gpt/4.1", 500, 500, 70),
        ("mine", "m", 12, 7, 3),
        ("own", "free", 2, 0, None),
    ]


async def test_a_time_without_calls_is_zeros_and_no_times(world: World, tenant: str) -> None:
    found = await analytics(world, tenant, **{"from": "2026-11-20T00:00:00Z", "to": "2026-11-21T00:00:00Z"})
    assert (found["items"], found["endpoints"], found["ai"]) == ([], [], [])
    assert (found["calls"]["calls"], found["calls"]["server_errors"], found["calls"]["p95_ms"]) == (0, 0, None)


async def test_what_an_older_release_has_made_says_null_and_not_zero(world: World, tenant: str) -> None:
    """And is no finding of the invariant; added to what is known, it counts as not measured."""
    at = START + timedelta(hours=1)
    for minutes in (0, 61):
        await called(world, tenant, "list_agents", 10, 503, at + timedelta(minutes=minutes))
    store = (await world.session(tenant)).store
    for stored in (await store.query(HOUR)).items:
        await close_hour(store, stored.body["created_at"], stored.body["opening"])
    rollup = await store.get(ROLLUP, rollup_id("hour", rfc3339(at)))
    assert rollup is not None
    calls = {key: value for key, value in rollup.body["metrics"]["api_calls"].items() if key != "details"}
    old = {**rollup.body, "metrics": {"api_calls": calls}}
    await store.commit([Upsert(ROLLUP, rollup_id("hour", rfc3339(at)), old)])
    found = await analytics(world, tenant, **HOUR_OF)
    assert [(one["measured"], one["server_errors"], one["p95_ms"]) for one in found["items"]] == [
        (0, None, None),
        (1, 1, 9.9),
    ]
    assert (found["calls"]["calls"], found["calls"]["measured"], found["calls"]["server_errors"]) == (2, 1, 1)
    assert await rollups_as_rebuilt(await world.session(tenant)) == []


def test_a_rollup_of_before_there_were_details_is_read_as_it_is() -> None:
    metrics = {"api_calls": {"value": 2, "count": 2, "dimensions": {"list_agents": 2}}}
    old = {"id": "rollup:x", "kind": "rollup", "schema": 1, "metrics": metrics}
    assert (ROLLUP.schema, opened(ROLLUP, old)["metrics"]) == (2, metrics)


async def test_blocks_of_an_older_release_are_read_event_by_event(world: World, tenant: str) -> None:
    """Their sums say nothing of how calls went; their events do."""
    await called(world, tenant, "list_agents", 10, 503)
    store = (await world.session(tenant)).store
    blocks = (await store.query(BLOCK)).items
    (stored,) = [one for one in blocks if "list_agents" in one.body["sums"].get("api_calls", {}).get("dimensions", ())]
    body = dict(stored.body)
    body["sums"] = {"api_calls": {key: one for key, one in body["sums"]["api_calls"].items() if key != "details"}}
    await store.commit([Replace(BLOCK, stored.body["id"], body)])
    found = await analytics(world, tenant, period="hour", **{"from": rfc3339(START), "to": "2026-11-24T13:00:00Z"})
    (endpoint,) = [one for one in found["endpoints"] if one["operation"] == "list_agents"]
    assert (endpoint["server_errors"], endpoint["p50_ms"]) == (1, 9.9)


async def test_a_range_is_bounded_as_that_of_usage_is(world: World, tenant: str) -> None:
    query = {"period": "hour", "from": "2026-01-01T00:00:00Z"}
    answer = await world.call("get_analytics", admin(tenant), query=query)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "from")

"""Metering: every event is counted once, in its own hour, day and month, whatever the queue does to its delivery."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from functions.usage.dimensions import dimension, shown
from functions.usage.metering import Metering
from functions.usage.models import Period
from functions.usage.periods import PERIODS, start_of
from shared.clock import rfc3339
from shared.database.port import Kind, Operation, Rejected
from shared.errors import Conflict, Unavailable
from shared.events import Metric, usage_event
from shared.messaging.port import Message
from tests.unit.world import OTHER_ID, START, TENANT_ID, WatchedDirectory, World, register

QUEUE = "usage-events"


def uuid_of(number: int) -> str:
    return f"0190c2a8-0000-7000-8000-{number:012x}"


def event(number: int, at: datetime = START, value: int = 1, metric: Metric = Metric.API_CALLS, **data: Any) -> Message:
    tenant_id = data.pop("tenant_id", TENANT_ID)
    return usage_event(metric, id=uuid_of(number), tenant_id=tenant_id, at=at, value=value, **data)


@pytest.fixture
async def directory(world: World) -> AsyncIterator[WatchedDirectory]:
    await register(world.core)
    await register(world.core, OTHER_ID)
    yield WatchedDirectory(world.core.directory)


@pytest.fixture
def metering(world: World, directory: WatchedDirectory) -> Metering:
    return Metering(directory, world.core.dead_letters, world.clock, QUEUE)


async def rollups(world: World, tenant_id: str = TENANT_ID) -> dict[str, tuple[int, int]]:
    """Value and count of every rollup, by `<metric>:<period>:<start>`."""
    store = await world.core.directory.store(tenant_id)
    assert store is not None
    found: dict[str, tuple[int, int]] = {}
    async for page in store.scan([Kind.ROLLUP]):
        found |= {one.body["id"]: (one.body["value"], one.body["count"]) for one in page}
    return found


async def dead(world: World) -> list[str]:
    return sorted(letter.reason for letter in (await world.core.dead_letters.list(200, None)).items)


def expected(messages: Sequence[Message]) -> dict[str, tuple[int, int]]:
    """The exact sums, worked out the slow way."""
    sums, counts = Counter[str](), Counter[str]()
    for message in {message.id: message for message in messages}.values():
        at = datetime.fromisoformat(message.body["time"])
        for period in PERIODS:
            key = f"{message.body['type']}:{period}:{rfc3339(start_of(period, at))}"
            sums[key] += message.body["data"]["value"]
            counts[key] += 1
    return {key: (sums[key], counts[key]) for key in counts}


# Exactly once


MOMENTS = st.integers(-int(timedelta(days=35).total_seconds()), 300).map(lambda s: START + timedelta(seconds=s))
EVENTS = st.builds(
    event,
    st.integers(0, 40),
    st.one_of(MOMENTS, st.just(START), st.just(START - timedelta(hours=13))),
    st.integers(0, 10_000),
    st.sampled_from([Metric.API_CALLS, Metric.AI_TOKENS]),
)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Message], list[list[Message]]]:
    """Different events, and a history of their delivery: any order, repeats, and batches of any size."""
    events = draw(st.lists(EVENTS, max_size=30, unique_by=lambda one: one.id))
    repeats = draw(st.lists(st.sampled_from(events), max_size=10)) if events else []
    queue = draw(st.permutations([*events, *repeats]))
    cuts = sorted(draw(st.lists(st.integers(0, len(queue)), max_size=4)))
    return events, [queue[start:end] for start, end in zip([0, *cuts], [*cuts, len(queue)], strict=True)]


@profile(max_examples=40, deadline=None)
@given(history=deliveries())
def test_rollups_are_the_exact_sums_whatever_the_delivery(
    tmp_path_factory: pytest.TempPathFactory, history: tuple[list[Message], list[list[Message]]]
) -> None:
    async def run() -> dict[str, tuple[int, int]]:
        world = World.over(tmp_path_factory.mktemp("metering"))
        await register(world.core)
        metering = Metering(world.core.directory, world.core.dead_letters, world.clock, QUEUE)
        for batch in history[1]:
            await metering.store(batch)
        found = await rollups(world)
        await world.close()
        return found

    assert asyncio.run(run()) == expected(history[0])


@profile(max_examples=10, deadline=None)
@given(events=st.lists(EVENTS, min_size=2, max_size=20, unique_by=lambda one: one.id))
def test_two_instances_that_store_the_same_events_at_once_count_them_once(
    tmp_path_factory: pytest.TempPathFactory, events: list[Message]
) -> None:
    async def run() -> dict[str, tuple[int, int]]:
        folder = tmp_path_factory.mktemp("metering")
        worlds = [World.over(folder, process=0), World.over(folder, process=1)]
        await register(worlds[0].core)
        own = [Metering(one.core.directory, one.core.dead_letters, one.clock, QUEUE) for one in worlds]
        half = len(events) // 2
        await asyncio.gather(
            own[0].store(events[:half]), own[1].store(events), own[0].store(events[half:]), own[1].store(events[::-1])
        )
        found = await rollups(worlds[0])
        for world in worlds:
            await world.close()
        return found

    assert asyncio.run(run()) == expected(events)


async def test_an_event_delivered_again_much_later_is_not_counted_again(world: World, metering: Metering) -> None:
    await metering.store([event(1)])
    world.clock.advance(days=30)
    await metering.store([event(1)])
    assert set((await rollups(world)).values()) == {(1, 1)}


async def test_each_tenants_events_are_its_own(world: World, metering: Metering) -> None:
    await metering.store([event(1, value=5), event(2, value=7, tenant_id=OTHER_ID)])
    assert [set((await rollups(world, id)).values()) for id in (TENANT_ID, OTHER_ID)] == [{(5, 1)}, {(7, 1)}]


async def test_dimensions_add_up_by_kind(world: World, metering: Metering) -> None:
    await metering.store([event(1, operation="list_agents"), event(2, operation="create_agent")])
    await metering.store([event(3, operation="list_agents"), event(4)])
    store = await world.core.directory.store(TENANT_ID)
    assert store is not None
    hour = await store.get(Kind.ROLLUP, f"api_calls:hour:{rfc3339(START)}")
    assert hour is not None and hour.body["dimensions"] == {"list_agents": 2, "create_agent": 1}


async def test_a_model_with_a_dot_in_its_name_is_one_dimension(world: World, metering: Metering) -> None:
    for number, value in enumerate([3, 4]):
        await metering.store([event(number, START, value, Metric.AI_TOKENS, provider="openai", model="gpt-4.1")])
    store = await world.core.directory.store(TENANT_ID)
    assert store is not None
    hour = await store.get(Kind.ROLLUP, f"ai_tokens:hour:{rfc3339(START)}")
    assert hour is not None and hour.body["dimensions"] == {"openai/gpt-4%2E1": 7}


TEXT = st.text(st.characters(codec="utf-8"), max_size=4) | st.text("./%2EF_", max_size=6)


@given(one=st.tuples(TEXT, TEXT), other=st.tuples(TEXT, TEXT))
@example(one=("openai", "gpt-4.1"), other=("openai", "gpt-4_1"))
@example(one=("openai", "gpt-4.1"), other=("openai", "gpt-4%2E1"))
@example(one=("a/b", "c"), other=("a", "b/c"))
def test_two_models_are_never_one_dimension(one: tuple[str, str], other: tuple[str, str]) -> None:
    def name(parts: tuple[str, str]) -> str:
        return dimension(Metric.AI_TOKENS, dict(zip(("provider", "model"), parts, strict=True))) or ""

    assert (name(one) == name(other)) is (one == other)
    assert (shown(name(one)) == shown(name(other))) is (one == other)
    assert "." not in name(one)


async def dimensions(world: World, metric: str = "ai_tokens", period: Period = "hour") -> dict[str, int]:
    store = await world.core.directory.store(TENANT_ID)
    assert store is not None
    found = await store.get(Kind.ROLLUP, f"{metric}:{period}:{rfc3339(start_of(period, START))}")
    return found.body["dimensions"] if found else {}


@pytest.mark.parametrize("value", [None, True, 7, 1.5, ["gpt"], {"name": "gpt"}])
async def test_a_dimension_that_is_no_text_is_a_dead_letter(world: World, metering: Metering, value: Any) -> None:
    await metering.store([event(1, metric=Metric.AI_TOKENS, provider="openai", model=value), event(2)])
    assert (await dead(world), await dimensions(world)) == (["its model is no text"], {})
    assert (await rollups(world))[f"api_calls:hour:{rfc3339(START)}"] == (1, 1)


async def test_a_name_of_more_than_128_characters_counts_as_other(world: World, metering: Metering) -> None:
    for number, length in enumerate((128, 129)):
        await metering.store([event(number, operation="x" * length)])
    assert await dimensions(world, "api_calls") == {"x" * 128: 1, "other": 1}


async def test_a_rollup_has_at_most_a_hundred_names_and_counts_the_others_too(world: World, metering: Metering) -> None:
    for start in range(0, 300, 50):
        await metering.store([event(number, operation=f"o{number}", value=2) for number in range(start, start + 50)])
    await metering.store([event(300, operation="o7"), event(301, operation="o299"), event(302, operation="other")])
    found = await dimensions(world, "api_calls", "day")
    assert found == {f"o{number}": 3 if number == 7 else 2 for number in range(100)} | {"other": 402}
    assert (await rollups(world))[f"api_calls:day:{rfc3339(start_of('day', START))}"] == (603, 303)


async def test_the_first_delivery_of_an_hour_is_bounded_too(world: World, metering: Metering) -> None:
    await metering.store([event(number, operation="n" * 120 + str(number)) for number in range(130)])
    assert (len(found := await dimensions(world, "api_calls")), sum(found.values())) == (101, 130)


async def test_two_processes_that_add_the_last_names_at_once_keep_the_bound(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(number, operation=f"o{number}") for number in range(95)])
    store = directory.stores[TENANT_ID]

    async def another(operations: Sequence[Operation]) -> None:
        store.before = None
        await metering.store([event(number, operation=f"theirs{number}") for number in range(200, 204)])

    store.before = another
    await metering.store([event(number, operation=f"ours{number}") for number in range(300, 304)])
    found = await dimensions(world, "api_calls")
    assert (len(found), found["other"], sum(found.values())) == (101, 3, 103)


# Cost


async def test_a_hundred_events_of_one_tenant_take_two_batches(directory: WatchedDirectory, metering: Metering) -> None:
    await metering.store([event(0)])  # the hour, day and month are there
    before = directory.commits()
    await metering.store([event(number) for number in range(1, 101)])
    assert directory.commits() - before <= 2


async def test_ninety_seven_events_of_an_hour_fit_in_one_batch(directory: WatchedDirectory, metering: Metering) -> None:
    await metering.store([event(0)])
    before = directory.commits()
    await metering.store([event(number) for number in range(1, 98)])
    assert directory.commits() - before == 1


async def test_events_and_the_rollups_that_they_move_are_one_batch(
    directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])
    await metering.store([event(1)])
    assert sorted(one.kind.value for one in directory.stores[TENANT_ID].batches[-1]) == [
        "rollup",
        "rollup",
        "rollup",
        "usage_event",
    ]


# What cannot be counted


@pytest.mark.parametrize(
    ("at", "counted"),
    [
        (START - timedelta(days=35), True),
        (START - timedelta(days=35, microseconds=1), False),
        (START + timedelta(minutes=15), True),
        (START + timedelta(minutes=15, microseconds=1), False),
    ],
)
async def test_an_event_is_counted_up_to_35_days_late_and_15_minutes_early(
    world: World, metering: Metering, at: datetime, counted: bool
) -> None:
    await metering.store([event(1, at)])
    assert (len(await rollups(world)), len(await dead(world))) == ((3, 0) if counted else (0, 1))


async def test_a_late_event_moves_the_period_it_happened_in(world: World, metering: Metering) -> None:
    late = START - timedelta(days=34)
    await metering.store([event(1, late)])
    assert sorted(await rollups(world)) == sorted(f"api_calls:{p}:{rfc3339(start_of(p, late))}" for p in PERIODS)


def bad(number: int, **changes: Any) -> Message:
    good = event(number)
    body = {name: value for name, value in {**good.body, **changes}.items() if value is not None}
    return Message(good.id, good.tenant_id, body)


DEEP = json.loads("[" * 200 + "]" * 200)
POISON = {
    "unreadable": Message(uuid_of(900), TENANT_ID, {"unreadable": "<xml/>"}),
    "no id": bad(900, id=None),
    "id no uuid": bad(900, id="one"),
    "id no text": bad(900, id=7),
    "no time": bad(900, time=None),
    "time no time": bad(900, time="yesterday"),
    "time no text": bad(900, time=7),
    "time without offset": bad(900, time="2026-11-24T12:00:00"),
    "time before time": bad(900, time="0001-01-01T00:00:00+14:00"),
    "unknown metric": bad(900, type="coffee"),
    "no data": bad(900, data=None),
    "data no object": bad(900, data=[1]),
    "data text": bad(900, data="value"),
    "no value": bad(900, data={}),
    "negative value": bad(900, data={"value": -1}),
    "fraction": bad(900, data={"value": 1.5}),
    "true": bad(900, data={"value": True}),
    "value beyond 10^12": bad(900, data={"value": 10**12 + 1}),
    "data of more than 16 KB": bad(900, data={"value": 1, "x": "y" * 16_384}),
    "another version": bad(900, specversion="0.3"),
    "no such tenant": Message(uuid_of(900), "0190c2a8-7e10-7abc-8def-00000000dead", event(900).body),
    "no tenant": Message(uuid_of(900), "", event(900).body),
    "data nested too deep": bad(900, data={"value": 1, "x": DEEP}),
    "a number that is none": bad(900, data={"value": 1, "x": float("nan")}),
    "an integer too large": bad(900, data={"value": 1, "x": 2**60}),
    "half a character": bad(900, data={"value": 1, "x": "\ud800"}),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_one_poisonous_message_and_99_good_ones_are_one_dead_letter_and_99_counted(
    world: World, metering: Metering, poison: Message
) -> None:
    good = [event(number) for number in range(99)]
    await metering.store([*good[:50], poison, *good[50:]])
    hour = (await rollups(world))[f"api_calls:hour:{rfc3339(START)}"]
    assert (hour, len(await dead(world))) == ((99, 99), 1)


async def test_a_dead_letter_says_what_is_wrong(world: World, metering: Metering) -> None:
    await metering.store([POISON["negative value"], bad(901, type="coffee")])
    assert await dead(world) == [
        "its value is not a whole number from 0 to 10^12",
        "not a usage event: ValueError 'coffee' is not a valid Metric",
    ]


async def test_a_batch_of_the_largest_events_is_one_that_the_store_takes(world: World, metering: Metering) -> None:
    await metering.store([event(number, x="y" * 16_000) for number in range(100)])
    assert (await rollups(world))[f"api_calls:hour:{rfc3339(START)}"] == (100, 100)


async def test_a_store_that_is_away_makes_the_delivery_come_again(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])

    async def away(operations: Sequence[Operation]) -> None:
        raise Unavailable("the store is away")

    directory.stores[TENANT_ID].before = away
    with pytest.raises(Unavailable):
        await metering.store([event(1)])
    directory.stores[TENANT_ID].before = None
    await metering.store([event(1)])
    assert set((await rollups(world)).values()) == {(2, 2)}


async def test_a_tenant_whose_store_is_away_does_not_keep_the_others_events_back(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])

    async def away(operations: Sequence[Operation]) -> None:
        raise Unavailable("the store is away")

    directory.stores[TENANT_ID].before = away
    with pytest.raises(Unavailable):
        await metering.store([event(1), event(2, tenant_id=OTHER_ID)])
    assert set((await rollups(world, OTHER_ID)).values()) == {(1, 1)}


# Exact bounds, and races that are lost


@pytest.mark.parametrize(
    ("data", "counted"),
    [
        ({"value": 0}, True),
        ({"value": 10**12}, True),
        ({"value": 1, "x": "y" * (16_384 - len('{"x":""}'))}, True),
        ({"value": 1, "x": "y" * (16_384 - len('{"x":""}') + 1)}, False),
    ],
    ids=["nothing", "10^12", "16 KB", "one byte more"],
)
async def test_an_event_at_its_exact_bound_is_counted(
    world: World, metering: Metering, data: dict[str, Any], counted: bool
) -> None:
    await metering.store([bad(1, data=data)])
    assert (len(await rollups(world)), len(await dead(world))) == ((3, 0) if counted else (0, 1))


async def test_an_event_that_somebody_else_stores_meanwhile_is_counted_once_and_the_rest_too(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])
    store = directory.stores[TENANT_ID]

    async def faster(operations: Sequence[Operation]) -> None:
        store.before = None
        await metering.store([event(2)])

    store.before = faster
    await metering.store([event(1), event(2), event(3)])
    assert set((await rollups(world)).values()) == {(4, 4)}


async def test_a_delivery_that_loses_twenty_races_comes_again(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])
    store, lost = directory.stores[TENANT_ID], list[int]()

    async def faster(operations: Sequence[Operation]) -> None:
        lost.append(len(operations))
        raise Rejected("condition", 0)

    store.before = faster
    with pytest.raises(Conflict, match="comes again"):
        await metering.store([event(1)])
    store.before = None
    assert (len(lost), set((await rollups(world)).values())) == (20, {(1, 1)})


async def test_a_store_that_is_away_between_a_lost_race_and_the_next_look_makes_the_delivery_come_again(
    world: World, directory: WatchedDirectory, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    await metering.store([event(0)])
    store = directory.stores[TENANT_ID]

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("away")

    async def faster(operations: Sequence[Operation]) -> None:
        store.before = None
        monkeypatch.setattr(store, "query", away)
        raise Rejected("exists", 0)

    store.before = faster
    with pytest.raises(Unavailable):
        await metering.store([event(1)])
    monkeypatch.undo()
    await metering.store([event(1)])
    assert set((await rollups(world)).values()) == {(2, 2)}

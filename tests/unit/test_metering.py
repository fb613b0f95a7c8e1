"""Metering: every event is counted once, in its own hour, day and month, whatever the queue does to its delivery."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from functions.usage.blocks import BLOCK, Block
from functions.usage.dimensions import dimension
from functions.usage.metering import SIDE_BY_SIDE, Metering
from functions.usage.periods import PERIODS, Period, start_of
from functions.usage.reading import Event, Voids, key_of, read
from functions.usage.rollups import sums
from shared.clock import rfc3339
from shared.database.port import Create, Operation
from shared.errors import Conflict, FlowgridError, Full, Invalid, Throttled, TooLarge, Unavailable
from shared.messaging.again import again
from shared.messaging.port import Message
from shared.messaging.queues import MAX_DELIVERIES, SENDING_SECONDS
from shared.tenancy.directory import Directory
from shared.work.events import SOURCE, Metric, usage_event
from shared.work.resources import PageRequest
from tests.unit.world import OTHER_ID, START, TENANT_ID, WatchedDirectory, WatchedStore, World, register

QUEUE = "usage-events"


def uuid_of(number: int) -> str:
    return f"0190c2a8-0000-7000-8000-{number:012x}"


def event(number: int, at: datetime = START, value: int = 1, metric: Metric = Metric.API_CALLS, **data: Any) -> Message:
    tenant_id = data.pop("tenant_id", TENANT_ID)
    return usage_event(metric, id=uuid_of(number), tenant_id=tenant_id, at=at, value=value, **data)


async def no_pause(seconds: float) -> None:
    pass


def over(world: World, directory: Directory, **options: Any) -> Metering:
    """With pauses that are none, unless a test says otherwise."""
    options = {"pause": no_pause, **options}
    return Metering(directory, world.core.dead_letters, world.queue, world.clock, QUEUE, **options)


@pytest.fixture
async def directory(world: World) -> AsyncIterator[WatchedDirectory]:
    await register(world.core)
    await register(world.core, OTHER_ID)
    yield WatchedDirectory(world.core.directory)


@pytest.fixture
def metering(world: World, directory: WatchedDirectory) -> Metering:
    return over(world, directory)


async def rollups(world: World, tenant_id: str = TENANT_ID) -> dict[str, tuple[int, int]]:
    """Value and count of all there is, by `<metric>:<period>:<start>`."""
    store = await world.core.directory.store(tenant_id)
    assert store is not None
    found: dict[str, tuple[int, int]] = {}
    for period in PERIODS:
        first = start_of(period, START - timedelta(days=70))
        for start, metrics in (await sums(store, period, first, START + timedelta(days=400))).items():
            found |= {f"{metric}:{period}:{start}": (one["value"], one["count"]) for metric, one in metrics.items()}
    return found


async def dead(world: World) -> list[str]:
    return sorted(letter.reason for letter in (await world.core.dead_letters.list(PageRequest(200))).items)


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
        metering = over(world, world.core.directory)
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
        own = [over(one, one.core.directory) for one in worlds]
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


def test_data_is_kept_as_it_was_said_although_much_of_it_was_said_before() -> None:
    said: list[Any] = [1, 1.0, True, "1", None, [1], {"a": [1.0]}, {"a": [1]}]
    for _ in range(2):
        kept = [read(event(1, metric=Metric.EXECUTIONS, status="ok", data=one), START) for one in said]
        assert [json.dumps(json.loads(one.data)["data"]) for one in kept if isinstance(one, Event)] == [
            json.dumps(one) for one in said
        ]


async def test_dimensions_add_up_by_kind(world: World, metering: Metering) -> None:
    await metering.store([event(1, operation="list_agents"), event(2, operation="create_agent")])
    await metering.store([event(3, operation="list_agents"), event(4)])
    assert await dimensions(world, "api_calls") == {"list_agents": 2, "create_agent": 1}


async def test_a_model_with_a_dot_in_its_name_is_one_dimension(world: World, metering: Metering) -> None:
    for number, value in enumerate([3, 4]):
        await metering.store([event(number, START, value, Metric.AI_TOKENS, provider="openai", model="gpt-4.1")])
    assert await dimensions(world) == {"openai/gpt-4.1": 7}


TEXT = st.text(st.characters(codec="utf-8"), max_size=4) | st.text("./%2EF_", max_size=6)


@given(one=st.tuples(TEXT, TEXT), other=st.tuples(TEXT, TEXT))
@example(one=("openai", "gpt-4.1"), other=("openai", "gpt-4_1"))
@example(one=("openai", "gpt-4.1"), other=("openai", "gpt-4%2E1"))
@example(one=("a/b", "c"), other=("a", "b/c"))
def test_two_models_are_never_one_dimension(one: tuple[str, str], other: tuple[str, str]) -> None:
    def name(parts: tuple[str, str]) -> str:
        return dimension(Metric.AI_TOKENS, dict(zip(("provider", "model"), parts, strict=True))) or ""

    assert (name(one) == name(other)) is (one == other)


async def dimensions(world: World, metric: str = "ai_tokens", period: Period = "hour") -> dict[str, int]:
    store = await world.core.directory.store(TENANT_ID)
    assert store is not None
    found = await sums(store, period, start_of(period, START), START + timedelta(hours=1))
    (own,) = found.values() or [{}]
    return dict(own[metric]["dimensions"]) if metric in own else {}


@pytest.mark.parametrize("value", [None, True, 7, 1.5, ["gpt"], {"name": "gpt"}])
async def test_a_dimension_that_is_no_text_is_a_dead_letter(world: World, metering: Metering, value: Any) -> None:
    await metering.store([event(1, metric=Metric.AI_TOKENS, provider="openai", model=value), event(2)])
    assert (await dead(world), await dimensions(world)) == (["its model is no text"], {})
    assert (await rollups(world))[f"api_calls:hour:{rfc3339(START)}"] == (1, 1)


async def test_a_name_of_more_than_128_characters_counts_as_other(world: World, metering: Metering) -> None:
    for number, length in enumerate((128, 129)):
        await metering.store([event(number, operation="x" * length)])
    assert await dimensions(world, "api_calls") == {"x" * 128: 1, "other": 1}


# Cost


async def test_a_delivery_of_one_tenant_and_hour_is_one_batch(directory: WatchedDirectory, metering: Metering) -> None:
    await metering.store([event(0)])  # the hour is open
    before = directory.commits()
    await metering.store([event(number) for number in range(1, 1001)])
    assert directory.commits() - before == 1
    assert [one.kind.name for one in directory.stores[TENANT_ID].batches[-1]] == ["usage_open", "usage_block"]


async def test_the_first_block_of_an_hour_opens_it_in_the_same_batch(
    directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])
    assert [one.kind.name for one in directory.stores[TENANT_ID].batches[-1]] == [
        "usage_hour",
        "usage_open",
        "usage_block",
    ]


# What cannot be counted


@pytest.mark.parametrize(
    ("at", "counted"),
    [
        (START - timedelta(days=35), True),
        (START - timedelta(days=35, microseconds=1), False),
        (START + timedelta(minutes=15), True),
    ],
)
async def test_an_event_is_counted_up_to_35_days_late_and_15_minutes_early(
    world: World, metering: Metering, at: datetime, counted: bool
) -> None:
    await metering.store([event(1, at)])
    assert (len(await rollups(world)), len(await dead(world))) == ((3, 0) if counted else (0, 1))


@pytest.mark.parametrize("ahead", [timedelta(minutes=16), timedelta(hours=30), timedelta(days=40)])
async def test_an_event_that_lies_further_ahead_is_held_until_it_is_due(
    world: World, metering: Metering, ahead: timedelta
) -> None:
    await metering.store([event(1, START + ahead), event(2)])
    while world.clock.now() < START + ahead - timedelta(seconds=1):
        assert await dead(world) == []
        assert len(await rollups(world)) == 3
        wait = min(timedelta(days=1), START + ahead - world.clock.now())
        assert len(await sent_again(world, metering, seconds=wait.total_seconds())) == 1
    assert (await rollups(world))[f"api_calls:hour:{rfc3339(start_of('hour', START + ahead))}"][1] >= 1


async def test_an_event_that_was_held_for_months_has_all_its_attempts(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(1, START + timedelta(days=20))])
    for _ in range(19):
        await sent_again(world, metering, seconds=86400)
    store = directory.stores.get(TENANT_ID) or await directory.store(TENANT_ID)
    assert isinstance(store, WatchedStore)
    store.before = broken
    assert await sent_again(world, metering, seconds=86400) == [f"{uuid_of(1)}:held:1"]
    assert await sent_again(world, metering, seconds=5) == [f"{uuid_of(1)}:resent:1"]
    assert await dead(world) == []


async def broken(operations: Sequence[Operation]) -> None:
    raise RuntimeError("what is this")


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
    "no id in it": bad(900, id=""),
    "id too long": bad(900, id="x" * 257),
    "half an id": bad(900, id="\ud800"),
    "no source": bad(900, source=None),
    "source no text": bad(900, source=["/"]),
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
    "a tenant that is no id": Message(uuid_of(900), "acme", event(900).body),
    "no tenant": Message(uuid_of(900), "", event(900).body),
    "data nested too deep": bad(900, data={"value": 1, "x": DEEP}),
    "a number that is none": bad(900, data={"value": 1, "x": float("nan")}),
    "an integer too large": bad(900, data={"value": 1, "x": 2**60}),
    "half a character": bad(900, data={"value": 1, "x": "\ud800"}),
}


POISON |= {
    "a void of nothing": bad(900, type="void", data={"events": []}),
    "a void of too much": bad(900, type="void", data={"events": [["/", str(n)] for n in range(2001)]}),
    "a void of what is no event": bad(900, type="void", data={"events": [["/", 7]]}),
    "a void of an id too long": bad(900, type="void", data={"events": [["/", "x" * 257]]}),
    "a void of what has not happened": bad(
        900, type="void", time="9999-01-01T00:00:00Z", data={"events": [["/", "x"]]}
    ),
    "a void of long ago": bad(900, type="void", time="2026-01-01T00:00:00Z", data={"events": [["/", "x"]]}),
    "a void without events": bad(900, type="void", data={}),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_one_poisonous_message_and_99_good_ones_are_one_dead_letter_and_99_counted(
    world: World, metering: Metering, poison: Message
) -> None:
    good = [event(number) for number in range(99)]
    await metering.store([*good[:50], poison, *good[50:]])
    hour = (await rollups(world))[f"api_calls:hour:{rfc3339(START)}"]
    assert (hour, len(await dead(world))) == ((99, 99), 1)


async def test_a_message_that_nobody_thought_of_is_a_dead_letter_too(
    world: World, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprised(message: Message, now: datetime) -> Event | Voids:
        if message.id == "m-1":
            raise RecursionError("too deep")
        return read(message, now)

    monkeypatch.setattr("functions.usage.metering.read", surprised)
    await metering.store([Message("m-1", TENANT_ID, {}), event(1)])
    assert await dead(world) == ["it cannot be read: RecursionError"]
    assert set((await rollups(world)).values()) == {(1, 1)}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(("depth", "dead_letters"), [(125, 0), (126, 1), (127, 1)])
async def test_how_deep_data_may_be_nested_is_what_the_store_takes_of_the_whole_event(
    world: World, metering: Metering, depth: int, dead_letters: int
) -> None:
    await metering.store([event(1), event(2), event(3, deep=nested(depth))])
    counted = 3 - dead_letters
    assert (set((await rollups(world)).values()), len(await dead(world))) == ({(counted, counted)}, dead_letters)


async def test_a_dead_letter_says_what_is_wrong(world: World, metering: Metering) -> None:
    await metering.store([POISON["negative value"], bad(901, type="coffee")])
    assert await dead(world) == [
        "its value is not a whole number from 0 to 10^12",
        "not a usage event: ValueError",
    ]


async def test_a_batch_of_the_largest_events_is_one_that_the_store_takes(world: World, metering: Metering) -> None:
    await metering.store([event(number, x="y" * 16_000) for number in range(100)])
    assert (await rollups(world))[f"api_calls:hour:{rfc3339(START)}"] == (100, 100)


# What cannot be stored now: it is sent again, and its delivery is completed


def holds(operations: Sequence[Operation], id: str) -> bool:
    """Whether an event is in what is to be written."""
    blocks = [Block(one.body) for one in operations if isinstance(one, Create) and one.kind == BLOCK]
    return any(key_of(SOURCE, id) in block.keys for block in blocks)


async def away(*_: Any, **__: Any) -> None:
    raise Unavailable("the store is away")


async def sent_again(world: World, metering: Metering, *, seconds: float = 5.0) -> list[str]:
    """Let what is due after so many seconds be delivered; the ids that it came with."""
    world.clock.advance(seconds=seconds)
    lease = await world.queue.receive(QUEUE, most=100)
    await metering.store([message for message, _ in lease.messages])
    await world.queue.complete(lease)
    return sorted(message.id for message, _ in lease.messages)


async def test_what_a_store_that_is_away_did_not_take_is_sent_again_and_counted(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])
    directory.stores[TENANT_ID].before = away
    await metering.store([event(1)])
    directory.stores[TENANT_ID].before = None
    assert await sent_again(world, metering, seconds=4.9) == []
    assert await sent_again(world, metering, seconds=0.1) == [f"{uuid_of(1)}:resent:1"]
    assert set((await rollups(world)).values()) == {(2, 2)}


async def test_a_tenant_whose_store_is_away_does_not_keep_the_others_events_back(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])
    directory.stores[TENANT_ID].before = away
    await metering.store([event(1), event(2, tenant_id=OTHER_ID)])
    assert set((await rollups(world, OTHER_ID)).values()) == {(1, 1)}
    assert await sent_again(world, metering) == [f"{uuid_of(1)}:resent:1"]


async def test_the_pauses_grow_to_a_quarter_of_an_hour_and_nothing_dies_of_waiting(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])
    directory.stores[TENANT_ID].before = away
    await metering.store([event(1)])
    pauses = [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900, 900]
    for number, seconds in enumerate(pauses, 1):
        assert await sent_again(world, metering, seconds=seconds - 1) == []
        assert await sent_again(world, metering, seconds=1) == [f"{uuid_of(1)}:resent:{number}"]
    directory.stores[TENANT_ID].before = None
    await sent_again(world, metering, seconds=900)
    assert (set((await rollups(world)).values()), await dead(world)) == ({(2, 2)}, [])


async def test_a_store_that_says_when_to_come_again_is_asked_no_sooner(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])

    async def busy(operations: Sequence[Operation]) -> None:
        raise Throttled("slow down", retry_after=30)

    directory.stores[TENANT_ID].before = busy
    await metering.store([event(1)])
    assert await sent_again(world, metering, seconds=29) == []
    assert await sent_again(world, metering, seconds=1) == [f"{uuid_of(1)}:resent:1"]


async def test_whatever_is_raised_it_fails_no_delivery(
    world: World, directory: WatchedDirectory, metering: Metering, caplog: pytest.LogCaptureFixture
) -> None:
    await metering.store([event(0)])

    async def broken(operations: Sequence[Operation]) -> None:
        raise RuntimeError("what is this")

    directory.stores[TENANT_ID].before = broken
    await metering.store([event(1), event(2, tenant_id=OTHER_ID)])
    directory.stores[TENANT_ID].before = None
    await sent_again(world, metering)
    assert set((await rollups(world)).values()) == {(2, 2)}
    assert set((await rollups(world, OTHER_ID)).values()) == {(1, 1)}
    assert "RuntimeError: what is this" in caplog.text


async def test_an_event_that_nothing_explains_spoils_no_other_and_is_a_dead_letter_in_the_end(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])

    async def broken(operations: Sequence[Operation]) -> None:
        if holds(operations, uuid_of(2)):
            raise RuntimeError("what is this")

    directory.stores[TENANT_ID].before = broken
    await metering.store([event(1), event(2), event(3)])
    assert (await rollups(world))[f"api_calls:hour:{rfc3339(START)}"] == (3, 3)
    while not await dead(world):
        await sent_again(world, metering, seconds=900)
    assert await dead(world) == ["it could not be stored: RuntimeError"]
    assert world.clock.now() - START > timedelta(hours=2)


@pytest.mark.parametrize(
    "error",
    [Invalid.of("body", "no"), TooLarge("too much"), FlowgridError("The database does not understand this (400/0).")],
    ids=lambda error: type(error).__name__,
)
async def test_an_event_that_the_store_will_never_take_spoils_no_other_and_is_a_dead_letter_after_ten_attempts(
    world: World, directory: WatchedDirectory, metering: Metering, error: FlowgridError
) -> None:
    await metering.store([event(0)])

    async def refused(operations: Sequence[Operation]) -> None:
        if holds(operations, uuid_of(2)):
            raise error

    directory.stores[TENANT_ID].before = refused
    await metering.store([event(1), event(2), event(3)])
    assert set((await rollups(world)).values()) == {(3, 3)}
    for number in range(1, 11):
        assert await dead(world) == []
        assert await sent_again(world, metering, seconds=900) == [f"{uuid_of(2)}:resent:{number}"]
    assert await dead(world) == [f"it could not be stored: {error}"]


@pytest.mark.parametrize("error", [Throttled("slow down"), Full("no room"), Conflict("others"), Unavailable("away")])
async def test_what_passes_is_waited_for_more_than_ten_times(
    world: World, directory: WatchedDirectory, metering: Metering, error: FlowgridError
) -> None:
    await metering.store([event(0)])

    async def busy(operations: Sequence[Operation]) -> None:
        raise error

    directory.stores[TENANT_ID].before = busy
    await metering.store([event(1)])
    for number in range(1, 16):
        assert await sent_again(world, metering, seconds=900) == [f"{uuid_of(1)}:resent:{number}"]
    assert await dead(world) == []


@pytest.mark.parametrize("tenant_id", ["a/b", "x" * 1100])
async def test_an_event_of_what_can_be_no_tenant_is_a_dead_letter_at_once(
    world: World, metering: Metering, tenant_id: str
) -> None:
    await metering.store([event(1, tenant_id=tenant_id), event(2)])
    assert (len(await dead(world)), set((await rollups(world)).values())) == (1, {(1, 1)})


async def test_a_registry_that_fails_for_what_does_not_pass_is_not_asked_for_ever(
    world: World, directory: WatchedDirectory, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(tenant_id: str) -> None:
        raise RuntimeError("what is this")

    monkeypatch.setattr(directory, "store", broken)
    await metering.store([event(1)])
    while not await dead(world):
        await sent_again(world, metering, seconds=900)
    assert await dead(world) == ["it could not be stored: RuntimeError"]


async def test_an_unknown_tenants_events_are_looked_at_again_before_they_are_dead(
    world: World, metering: Metering
) -> None:
    nobody = "0190c2a8-7e10-7abc-8def-00000000dead"
    await metering.store([event(1, tenant_id=nobody), event(2)])
    for number, seconds in enumerate([5, 10, 20], 1):
        assert await dead(world) == []
        assert await sent_again(world, metering, seconds=seconds) == [f"{uuid_of(1)}:resent:{number}"]
    assert await dead(world) == [f"there is no tenant {nobody}"]
    assert await sent_again(world, metering, seconds=900) == []


async def test_a_new_tenants_events_are_counted_once_its_entry_is_seen(world: World, metering: Metering) -> None:
    new = "0190c2a8-7e10-7abc-8def-000000000009"
    await metering.store([event(1, tenant_id=new)])
    await register(world.core, new)
    await sent_again(world, metering)
    assert (set((await rollups(world, new)).values()), await dead(world)) == ({(1, 1)}, [])


async def test_a_worker_that_dies_between_sending_again_and_completing_doubles_nothing(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])
    delivery = [event(number) for number in range(1, 4)]
    directory.stores[TENANT_ID].before = away
    for _ in range(3):  # the worker dies, and the same delivery comes again and again
        await metering.store(delivery)
    directory.stores[TENANT_ID].before = None
    await metering.store(delivery)
    assert len(await sent_again(world, metering)) == 3
    assert set((await rollups(world)).values()) == {(4, 4)}


async def test_a_tenant_that_hangs_takes_no_more_than_its_share_of_a_delivery(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    await metering.store([event(0)])

    async def hangs(operations: Sequence[Operation]) -> None:
        await asyncio.Event().wait()

    directory.stores[TENANT_ID].before = hangs
    await over(world, directory, within=0.2).store([event(1), event(2, tenant_id=OTHER_ID)])
    assert set((await rollups(world, OTHER_ID)).values()) == {(1, 1)}
    directory.stores[TENANT_ID].before = None
    assert await sent_again(world, metering) == [f"{uuid_of(1)}:resent:1"]
    assert set((await rollups(world)).values()) == {(2, 2)}


async def test_what_comes_for_the_first_time_does_not_wait_for_what_has_failed_before(
    world: World, directory: WatchedDirectory, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    await metering.store([event(0)])

    async def hangs(operations: Sequence[Operation]) -> None:
        await asyncio.Event().wait()

    directory.stores[TENANT_ID].before = hangs
    monkeypatch.setattr("functions.usage.metering.SIDE_BY_SIDE", 1)
    for number in range(1, 6):
        delivery = [again(event(number)), event(number + 10, tenant_id=OTHER_ID)]
        await over(world, directory, within=0.1).store(delivery)
    assert set((await rollups(world, OTHER_ID)).values()) == {(5, 5)}


async def test_what_has_waited_comes_to_its_turn_although_others_hang_that_have_not(
    world: World, directory: WatchedDirectory
) -> None:
    hanging = [f"0190c2a8-7e10-7abc-8def-1000000000{number:02}" for number in range(SIDE_BY_SIDE)]
    for tenant_id in hanging:
        await hang(world, directory, tenant_id)
    fresh = [event(100 + number, tenant_id=tenant_id) for number, tenant_id in enumerate(hanging)]
    await over(world, directory, within=0.2).store([*fresh, again(event(1))])
    assert set((await rollups(world)).values()) == {(1, 1)}


async def test_what_has_waited_comes_to_its_turn_although_others_hang_that_have_waited_too(
    world: World, directory: WatchedDirectory
) -> None:
    hanging = [f"0190c2a8-7e10-7abc-8def-1000000000{number:02}" for number in range(SIDE_BY_SIDE)]
    for tenant_id in hanging:
        await hang(world, directory, tenant_id)
    messages = [again(event(100 + number, tenant_id=tenant_id)) for number, tenant_id in enumerate(hanging)]
    messages.append(again(event(1)))
    for _ in range(10):
        await over(world, directory, within=0.05).store(messages)
        if await rollups(world):
            break
        messages = [again(message) for message in messages]
    assert set((await rollups(world)).values()) == {(1, 1)}


async def hang(world: World, directory: WatchedDirectory, tenant_id: str) -> None:
    """A tenant whose store never answers."""
    await register(world.core, tenant_id)
    store = await directory.store(tenant_id)
    assert isinstance(store, WatchedStore)

    async def never() -> None:
        await asyncio.Event().wait()

    store.on_call = never


async def test_eight_tenants_of_a_delivery_are_worked_on_side_by_side(
    world: World, directory: WatchedDirectory, metering: Metering
) -> None:
    tenants = [f"0190c2a8-7e10-7abc-8def-0000000001{number:02}" for number in range(20)]
    for tenant_id in tenants:
        await register(world.core, tenant_id)
    at_once, all_there, most = set[str](), asyncio.Event(), list[int]()

    async def counted(tenant_id: str) -> None:
        at_once.add(tenant_id)
        most.append(len(at_once))
        if len(at_once) == SIDE_BY_SIDE:
            all_there.set()
        await all_there.wait()
        at_once.discard(tenant_id)

    for tenant_id in tenants:
        store = await directory.store(tenant_id)
        assert isinstance(store, WatchedStore)
        store.on_call = partial(counted, tenant_id)
    await metering.store([event(number, tenant_id=tenant_id) for number, tenant_id in enumerate(tenants)])
    assert max(most) == SIDE_BY_SIDE
    assert [set((await rollups(world, tenant_id)).values()) for tenant_id in tenants] == [{(1, 1)}] * 20


async def test_only_when_nothing_can_be_sent_again_the_delivery_fails(
    world: World, directory: WatchedDirectory, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    await metering.store([event(0)])
    monkeypatch.setattr(world.queue, "send", away)
    await metering.store([event(1)])
    directory.stores[TENANT_ID].before = away
    with pytest.raises(Unavailable):
        await metering.store([event(2)])


async def test_while_the_broker_takes_nothing_ten_deliveries_take_minutes(
    world: World, directory: WatchedDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    metering = over(world, directory, pause=pause)
    await metering.store([event(0)])
    monkeypatch.setattr(world.queue, "send", away)
    directory.stores[TENANT_ID].before = away
    for _ in range(MAX_DELIVERIES):
        with pytest.raises(Unavailable):
            await metering.store([event(1), event(2, tenant_id=OTHER_ID)])
    assert sum(paused) >= 300
    assert sum(paused) / MAX_DELIVERIES < SENDING_SECONDS / 2
    assert set((await rollups(world, OTHER_ID)).values()) == {(1, 1)}


async def test_a_broker_that_is_busy_for_a_moment_fails_no_delivery(
    world: World, directory: WatchedDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pause(seconds: float) -> None:
        busy.undo()

    metering = over(world, directory, pause=pause)
    await metering.store([event(0)])
    directory.stores[TENANT_ID].before = away
    with monkeypatch.context() as busy:
        busy.setattr(world.queue, "send", away)
        await metering.store([event(1)])
    assert await sent_again(world, metering) == [f"{uuid_of(1)}:resent:1"]


UNSENDABLE = {
    "half a character": ({"more": "\ud800"}, "message: holds half a character (a lone surrogate)"),
    "numbers that grow when they are written again": (
        {"more": [1e9] * 50_000},
        f"Message {uuid_of(2)}:resent:1 is larger than 258048 bytes.",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), UNSENDABLE.values(), ids=UNSENDABLE.keys())
async def test_what_cannot_be_sent_again_is_a_dead_letter_and_what_waits_with_it_is_sent(
    world: World, directory: WatchedDirectory, metering: Metering, changes: dict[str, Any], reason: str
) -> None:
    await metering.store([event(0)])
    directory.stores[TENANT_ID].before = away
    waiting = [event(number) for number in (1, 2, 3)]
    waiting[1].body.update(changes)
    await metering.store(waiting)
    assert await dead(world) == [f"it cannot be sent again: {reason}"]
    assert await sent_again(world, metering) == [f"{uuid_of(1)}:resent:1", f"{uuid_of(3)}:resent:1"]


async def test_what_can_be_neither_sent_again_nor_kept_now_has_the_others_sent_before_its_delivery_fails(
    world: World, directory: WatchedDirectory, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    await metering.store([event(0)])
    directory.stores[TENANT_ID].before = away
    waiting = [event(number) for number in (1, 2, 3)]
    waiting[0].body["more"] = "\ud800"
    with monkeypatch.context() as patch:
        patch.setattr(world.core.dead_letters, "add", away)
        with pytest.raises(Unavailable):
            await metering.store(waiting)
    assert await sent_again(world, metering) == [f"{uuid_of(2)}:resent:1", f"{uuid_of(3)}:resent:1"]


async def test_a_reason_with_half_a_character_in_it_is_kept(world: World, metering: Metering) -> None:
    await metering.store([event(1), bad(2, time="2026-11-2\ud80000:00:00Z")])
    assert (len(await dead(world)), set((await rollups(world)).values())) == (1, {(1, 1)})


async def test_a_dead_letter_that_cannot_be_kept_comes_again(
    world: World, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(world.core.dead_letters, "add", away)
        await metering.store([POISON["unreadable"], event(1)])
    assert (await dead(world), set((await rollups(world)).values())) == ([], {(1, 1)})
    await sent_again(world, metering)
    assert await dead(world) == ["the body is not a JSON object"]


async def test_a_registry_that_is_away_has_the_events_sent_again(
    world: World, directory: WatchedDirectory, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(directory, "store", away)
        await metering.store([event(1), Message("m-1", OTHER_ID, {"unreadable": ""})])
    await sent_again(world, metering)
    assert (set((await rollups(world)).values()), len(await dead(world))) == ({(1, 1)}, 1)


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

"""The outbox: what a change emits is sent once the change is committed, whatever crashes in between."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from functions.usage.blocks import BLOCK
from shared.clock import rfc3339
from shared.database.port import Create, Delete, Operation, Placement, TenantStore
from shared.errors import Throttled, TooLarge, Unavailable
from shared.messaging.port import Message
from shared.work.events import Metric
from shared.work.outbox import FORGET_SIDE_BY_SIDE, OUTBOX, a_moment, outbox_item
from shared.work.session import TenantSession
from tests.unit.world import OTHER_ID, START, TENANT_ID, WatchedStore, World, admin, entry, register, session

SHARD = Placement("shared", "shard-1")


class Crash(BaseException):
    """The process is gone."""


@pytest.fixture
async def store(world: World) -> WatchedStore:
    return WatchedStore(await register(world.core))


@pytest.fixture
def tenant(world: World, store: WatchedStore) -> TenantSession:
    return session(world.core, entry(), store, admin(TENANT_ID))


async def emit(tenant: TenantSession) -> None:
    change = tenant.change()
    change.emit(Metric.AGENTS_CREATED, 1)
    await change.commit(None)


async def left(store: WatchedStore) -> int:
    return len((await store.query(OUTBOX)).items)


async def counted(world: World, tenant_id: str = TENANT_ID) -> int:
    """What the usage service has counted, after the queue was drained."""
    await world.drain()
    store = await world.core.directory.store(tenant_id)
    assert store is not None
    page = await store.query(BLOCK)
    return sum(int(stored.body["count"]) for stored in page.items)


@pytest.fixture
def no_broker(world: World, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("the broker is away")

    monkeypatch.setattr(world.core.adapters.messaging, "send", away)
    return monkeypatch


async def test_what_was_sent_is_forgotten(world: World, tenant: TenantSession, store: WatchedStore) -> None:
    await emit(tenant)
    await world.core.services.outbox.flush()
    assert await left(store) == 0


async def test_many_sent_events_are_forgotten_in_one_batch(
    world: World, tenant: TenantSession, store: WatchedStore
) -> None:
    for _ in range(20):
        await emit(tenant)
    store.batches.clear()
    await world.core.services.outbox.flush()
    assert (len(store.batches), await left(store)) == (1, 0)


async def test_what_could_not_be_sent_is_sent_by_the_sweep(
    world: World, tenant: TenantSession, no_broker: pytest.MonkeyPatch
) -> None:
    await emit(tenant)
    no_broker.undo()
    world.clock.advance(seconds=16)
    assert (await world.core.sweep_outbox(), await counted(world)) == (1, 1)


async def test_a_crash_between_commit_and_send_is_repaired_by_the_sweep(
    world: World, tenant: TenantSession, store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: Any, **__: Any) -> None:
        raise Crash

    monkeypatch.setattr(world.core.adapters.messaging, "send", crash)
    with pytest.raises(Crash):
        await emit(tenant)
    monkeypatch.undo()
    world.clock.advance(seconds=16)
    await world.core.sweep_outbox()
    assert (await counted(world), await left(store)) == (1, 0)


async def test_an_event_whose_process_crashed_between_send_and_delete_is_counted_once(
    world: World, twin: World, tenant: TenantSession
) -> None:
    await emit(tenant)  # sent, and not yet forgotten: the process ends here
    before = await counted(world)
    world.clock.advance(minutes=20)
    swept = await twin.core.sweep_outbox()
    assert (before, swept, await counted(world)) == (1, 1, 1)


async def test_the_sweep_leaves_what_a_healthy_relay_is_about_to_forget(world: World, tenant: TenantSession) -> None:
    await emit(tenant)
    world.clock.advance(seconds=14)
    assert await world.core.sweep_outbox() == 0


async def test_two_sweeps_at_once_send_an_event_once(
    world: World, twin: World, tenant: TenantSession, no_broker: pytest.MonkeyPatch
) -> None:
    await emit(tenant)
    no_broker.undo()
    world.clock.advance(seconds=16)
    await world.core.sweep_outbox()
    await twin.core.sweep_outbox()
    assert await counted(world) == 1


async def test_a_sweep_and_a_relay_that_meet_are_no_error(
    world: World, tenant: TenantSession, store: WatchedStore
) -> None:
    await emit(tenant)
    await emit(tenant)
    world.clock.advance(seconds=16)
    await world.core.sweep_outbox()
    await world.core.services.outbox.flush()
    assert await left(store) == 0


async def test_what_cannot_be_forgotten_now_is_forgotten_by_the_sweep(
    world: World, tenant: TenantSession, store: WatchedStore
) -> None:
    await emit(tenant)

    async def away(operations: Sequence[Operation]) -> None:
        raise Unavailable("the store is away")

    store.before = away
    await world.core.services.outbox.flush()
    store.before = None
    world.clock.advance(seconds=16)
    await world.core.sweep_outbox()
    assert (await left(store), await counted(world)) == (0, 1)


async def test_what_was_sent_is_forgotten_a_moment_later_without_being_asked(
    world: World, tenant: TenantSession, store: WatchedStore
) -> None:
    moment, forgotten = asyncio.Event(), list[int]()

    async def pause() -> None:
        await moment.wait()

    async def forget(operations: Sequence[Operation]) -> None:
        if all(isinstance(operation, Delete) for operation in operations):
            forgotten.append(len(operations))

    outbox = world.core.services.outbox
    outbox.pause, store.before = pause, forget
    await emit(tenant)
    await emit(tenant)
    assert (await left(store), forgotten) == (2, [])
    moment.set()
    assert outbox._forgetting is not None
    await outbox._forgetting
    assert (await left(store), forgotten) == (0, [2])


async def test_a_flush_waits_for_what_is_just_being_forgotten(
    world: World, tenant: TenantSession, store: WatchedStore
) -> None:
    """So that a host that stops does not close the files under it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(operations: Sequence[Operation]) -> None:
        begun.set()
        await go_on.wait()

    await emit(tenant)
    store.before = slowly
    first = asyncio.create_task(world.core.services.outbox.flush())
    await begun.wait()
    second = asyncio.create_task(world.core.services.outbox.flush())
    await asyncio.sleep(0)
    assert not second.done()
    go_on.set()
    await asyncio.gather(first, second)
    assert await left(store) == 0


async def test_the_moment_is_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("shared.work.outbox.asyncio.sleep", sleep)
    await a_moment()
    assert slept == [0.5]


@pytest.mark.parametrize(("events", "gone"), [(2, (0,)), (2, (1,)), (5, (0, 2))])
async def test_a_batch_that_was_half_forgotten_by_somebody_else_is_forgotten_to_its_end(
    world: World, tenant: TenantSession, store: WatchedStore, events: int, gone: tuple[int, ...]
) -> None:
    for _ in range(events):
        await emit(tenant)
    items = (await store.query(OUTBOX)).items
    await store.inner.commit([Delete(OUTBOX, items[number].body["id"]) for number in gone])
    await world.core.services.outbox.flush()
    assert await left(store) == 0


async def test_more_than_a_hundred_sent_events_are_forgotten_in_batches_of_a_hundred(
    world: World, tenant: TenantSession, store: WatchedStore
) -> None:
    for _ in range(203):
        await emit(tenant)
    store.batches.clear()
    await world.core.services.outbox.flush()
    assert ([len(batch) for batch in store.batches], await left(store)) == ([100, 100, 3], 0)


async def test_the_sweep_begins_after_fifteen_seconds(
    world: World, tenant: TenantSession, no_broker: pytest.MonkeyPatch
) -> None:
    await emit(tenant)
    no_broker.undo()
    world.clock.advance(seconds=15)
    early = await world.core.sweep_outbox()
    world.clock.advance(microseconds=1)
    assert (early, await world.core.sweep_outbox()) == (0, 1)


async def waiting(store: TenantStore, id: str, queue: str = "q") -> None:
    await store.commit([outbox_item(queue, Message(id, store.tenant_id, {}), START - timedelta(minutes=1))])


async def test_an_event_of_a_tenant_that_is_gone_stops_nobody_elses(world: World, store: WatchedStore) -> None:
    await waiting(world.core.adapters.database.tenant(OTHER_ID, Placement("shared", "shard-1")), "a-gone")
    await waiting(store, "b-there")
    assert (await world.core.sweep_outbox(), await world.queued("q"), await left(store)) == (1, [{}], 0)


async def test_an_event_that_no_queue_would_take_stops_nobody_elses(world: World, store: WatchedStore) -> None:
    body = {"created_at": rfc3339(START - timedelta(hours=1)), "queue": "q", "message": {"x": "y" * 300_000}}
    await store.commit([Create(OUTBOX, "too-large", body)])
    await waiting(store, "m-1")
    assert (await world.core.sweep_outbox(), await left(store)) == (1, 1)


async def test_a_queue_that_is_away_is_asked_once_and_stops_no_other(
    world: World, store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await waiting(store, f"m-{number}", "away" if number % 2 == 0 else "there")
    send, asked = world.core.adapters.messaging.send, []

    async def half(queue: str, messages: Sequence[Message], **how: Any) -> None:
        asked.append(queue)
        if queue == "away":
            raise Unavailable("the broker is away")
        await send(queue, messages, **how)

    monkeypatch.setattr(world.core.adapters.messaging, "send", half)
    assert (await world.core.sweep_outbox(), sorted(asked), await left(store)) == (2, ["away", "there", "there"], 3)


async def test_a_store_that_does_not_forget_stops_no_other(
    world: World, store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await register(world.core, OTHER_ID)
    await waiting(store, "a")
    await waiting(other, "b")

    async def away(operations: Sequence[Operation]) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(world.core.adapters.database.tenant(TENANT_ID, SHARD), "commit", away)
    assert await world.core.sweep_outbox() == 2
    assert (await left(store), len((await other.query(OUTBOX)).items)) == (1, 0)


async def test_a_store_that_does_not_forget_is_asked_once_for_all_that_was_sent(
    world: World, store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Cosmos DB adapter waits twelve seconds before it gives up, and the host kills a sweep of ten minutes."""
    for start in range(0, 240, 60):
        at = START - timedelta(hours=1, seconds=-start)
        await store.commit([outbox_item("q", Message(f"m-{start + n}", TENANT_ID, {}), at) for n in range(60)])
    asked: list[int] = []

    async def throttled(operations: Sequence[Operation]) -> None:
        asked.append(len(operations))
        raise Throttled("slow down")

    with monkeypatch.context() as patch:
        patch.setattr(world.core.adapters.database.tenant(TENANT_ID, SHARD), "commit", throttled)
        assert await world.core.sweep_outbox() == 240
    assert asked == [100]
    assert (await world.core.sweep_outbox(), await left(store)) == (240, 0)


async def test_a_tenant_that_the_registry_does_not_find_now_is_looked_for_once(
    world: World, store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await waiting(store, f"m-{number}")
    asked: list[str] = []

    async def away(tenant_id: str) -> None:
        asked.append(tenant_id)
        raise Unavailable("away")

    monkeypatch.setattr(world.core.directory, "store", away)
    assert (await world.core.sweep_outbox(), asked) == (0, [TENANT_ID])


async def test_a_directory_that_is_away_for_one_tenant_stops_no_other(
    world: World, store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await register(world.core, OTHER_ID)
    await waiting(store, "a")
    await waiting(other, "b")
    find = world.core.directory.store

    async def half(tenant_id: str) -> TenantStore | None:
        if tenant_id == TENANT_ID:
            raise Unavailable("away")
        return await find(tenant_id)

    monkeypatch.setattr(world.core.directory, "store", half)
    assert (await world.core.sweep_outbox(), await left(store)) == (1, 1)


async def test_more_than_a_page_of_events_that_cannot_be_sent_hide_none_behind_them(
    world: World, store: WatchedStore
) -> None:
    gone = world.core.adapters.database.tenant(OTHER_ID, SHARD)
    for start in range(0, 450, 90):
        at = START - timedelta(hours=2, seconds=-start)
        await gone.commit([outbox_item("q", Message(f"g-{start + n}", OTHER_ID, {}), at) for n in range(90)])
    await waiting(store, "last")
    assert (await world.core.sweep_outbox(), await left(store)) == (1, 0)


async def test_the_sweep_looks_into_every_tenants_outbox(world: World, store: WatchedStore) -> None:
    other = await register(
        world.core, OTHER_ID, placement={"mode": "dedicated", "database": "tenant-2", "generation": 1}
    )
    for number, target in enumerate((store, other)):
        message = Message(f"m-{number}", target.tenant_id, {})
        await target.commit([outbox_item("q", message, START - timedelta(minutes=1))])
    assert (await world.core.sweep_outbox(), len(await world.queued("q"))) == (2, 2)


async def test_a_change_whose_message_no_broker_would_take_is_refused(
    tenant: TenantSession, store: WatchedStore
) -> None:
    """Committed, it would stay in the outbox for ever."""
    with pytest.raises(TooLarge):
        tenant.change().send("q", Message("m-1", TENANT_ID, {"x": "y" * 300_000}))


async def test_events_of_one_change_go_each_to_its_queue(world: World, tenant: TenantSession) -> None:
    change = tenant.change()
    change.send("left", Message("m-1", TENANT_ID, {"n": 1}))
    change.send("right", Message("m-2", TENANT_ID, {"n": 2}))
    await change.commit(None)
    assert (await world.queued("left"), await world.queued("right")) == ([{"n": 1}], [{"n": 2}])


async def test_what_many_tenants_have_sent_is_forgotten_sixteen_side_by_side(world: World) -> None:
    at_once, most, all_there = set[str](), list[int](), asyncio.Event()

    async def together(tenant_id: str, operations: Sequence[Operation]) -> None:
        at_once.add(tenant_id)
        most.append(len(at_once))
        if len(at_once) == FORGET_SIDE_BY_SIDE:
            all_there.set()
        await all_there.wait()
        at_once.discard(tenant_id)

    stores = []
    for number in range(2 * FORGET_SIDE_BY_SIDE):
        tenant_id = f"0190c2a8-7e10-7abc-8def-0000000001{number:02}"
        store = WatchedStore(await register(world.core, tenant_id))
        await emit(session(world.core, entry(tenant_id), store, admin(tenant_id)))
        store.before = partial(together, tenant_id)
        stores.append(store)
    await world.core.services.outbox.flush()
    assert (max(most), [await left(store) for store in stores]) == (FORGET_SIDE_BY_SIDE, [0] * len(stores))

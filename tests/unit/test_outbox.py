"""The outbox: what a change emits is sent once the change is committed, whatever crashes in between."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from shared.database.port import Kind, Operation
from shared.errors import TooLarge, Unavailable
from shared.events import Metric
from shared.messaging.outbox import Outbox, outbox_item
from shared.messaging.port import Message
from shared.session import TenantSession
from tests.unit.world import OTHER_ID, START, TENANT_ID, WatchedStore, World, admin, entry, register, session


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
    return len((await store.query(Kind.OUTBOX)).items)


async def counted(world: World, tenant_id: str = TENANT_ID) -> int:
    """What the usage service has counted, after the queue was drained."""
    await world.drain()
    store = await world.core.directory.store(tenant_id)
    assert store is not None
    page = await store.query(Kind.USAGE_EVENT)
    return sum(int(stored.body["value"]) for stored in page.items)


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


async def test_what_belongs_to_no_change_is_sent_without_an_outbox(world: World, store: WatchedStore) -> None:
    await Outbox(world.core.adapters.messaging).send("q", [Message("m-1", TENANT_ID, {"n": 1})])
    assert (await world.queued("q"), store.batches) == ([{"n": 1}], [])

"""Events that have left the database are still listed: their blocks were kept in blobs before."""

from datetime import timedelta

import pytest

from functions.usage.archiving import AFTER, AREA, Archive
from functions.usage.blocks import BLOCK
from functions.usage.hours import ONE_HOUR
from shared.clock import rfc3339
from shared.errors import Unavailable
from shared.work.events import Metric, usage_event
from tests.unit.world import STAFF, START, World, admin


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


async def happened(world: World, tenant: str, value: int, hours_ago: int = 0) -> str:
    id, at = world.core.services.ids.new(), world.clock.now() - hours_ago * ONE_HOUR
    event = usage_event(Metric.AI_TOKENS, id=id, tenant_id=tenant, at=at, value=value, provider="p", model="m")
    await world.core.adapters.messaging.send("usage-events", [event])
    await world.drain()
    return id


async def later(world: World, **time: float) -> None:
    """The hours are closed, and what is due of each day is done."""
    world.clock.advance(**time)
    await world.functions["close_usage"](None)
    await world.functions["rounds"](None)


async def listed(world: World, tenant: str, **query: str) -> list[tuple[int, str]]:
    since = rfc3339(START - timedelta(days=9))
    answer = await world.call("list_usage_events", admin(tenant), query={"metric": "ai_tokens", "from": since, **query})
    assert answer.status == 200, answer.raw
    return [(event["value"], event["standing"]) for event in answer.json["items"]]


async def test_events_are_listed_after_their_blocks_have_gone(world: World, tenant: str) -> None:
    for hours_ago, value in enumerate((1, 2, 3)):
        await happened(world, tenant, value, hours_ago)
    await later(world, days=70)
    await later(world, days=40)
    store = (await world.session(tenant)).store
    assert (await store.query(BLOCK)).items == []
    assert await listed(world, tenant) == [(1, "counted"), (2, "counted"), (3, "counted")]


async def test_a_late_void_that_outlives_what_it_took_out_hides_nothing(world: World, tenant: str) -> None:
    """Its block stays in the database for longer than theirs."""
    id, at = await happened(world, tenant, 5), rfc3339(world.clock.now())
    await happened(world, tenant, 7)
    await later(world, days=50)
    asked = {"reason": "a loop", "event": {"id": id, "time": at}}
    assert (await world.call("create_usage_adjustment", STAFF, asked, params={"tenant_id": tenant})).status == 201
    await world.drain()
    await later(world, days=20)
    await later(world, days=35)
    store = (await world.session(tenant)).store
    assert len((await store.query(BLOCK)).items) == 1
    assert sorted(await listed(world, tenant)) == [(5, "voided"), (7, "counted")]


async def test_what_can_still_be_corrected_is_not_archived(world: World, tenant: str) -> None:
    await happened(world, tenant, 1)
    await later(world, seconds=(AFTER + timedelta(hours=11)).total_seconds())
    archive = Archive(world.core.adapters.blobs)
    assert [one async for one in world.core.adapters.blobs.space(AREA, tenant).list()] == []
    await later(world, days=1)
    assert len([one async for one in world.core.adapters.blobs.space(AREA, tenant).list()]) >= 1
    assert await archive.so_far((await world.session(tenant)).store) > rfc3339(START)


async def test_an_hour_that_is_open_is_waited_for(world: World, tenant: str) -> None:
    await happened(world, tenant, 1)
    world.clock.advance(days=70)
    with pytest.raises(Unavailable):
        await Archive(world.core.adapters.blobs).keep(await world.session(tenant))


async def test_a_second_time_copies_nothing_and_a_crash_before_the_note_copies_again(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await happened(world, tenant, 1)
    world.clock.advance(days=70)
    await world.functions["close_usage"](None)
    session, archive = await world.session(tenant), Archive(world.core.adapters.blobs)

    async def dies(*_: object) -> None:
        raise Unavailable("the process is killed")

    with monkeypatch.context() as patch:
        patch.setattr(session.store, "commit", dies)
        with pytest.raises(Unavailable):
            await archive.keep(session)
    assert await archive.so_far(session.store) == ""
    copied = 0
    while found := await archive.keep(session):
        copied += found
    assert copied >= 1
    assert (await archive.keep(session), await listed(world, tenant)) == (0, [(1, "counted")])

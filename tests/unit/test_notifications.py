"""What a tenant is told: once for each thing, in its list and in its audit trail, for a little more than a year."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from shared.auth.roles import Role
from shared.errors import Conflict
from shared.tenancy.fence import AUDIT
from shared.work.notices import NOTIFICATION, notify, notify_once
from shared.work.scope import IdempotencySlot
from shared.work.session import TenantSession
from tests.unit.world import AGENT, OTHER_ID, World, admin, person

KEY = "quota_near:agents:2026-11"
SAID: dict[str, Any] = {
    "title": "Agents: 80 % used",
    "text": "40 of 50 agents. Delete some, or upgrade.",
    "data": {"used": 40},
}


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard("acme", tier="enterprise"))["id"])


async def tell(session: TenantSession, key: str = KEY) -> bool:
    return await notify_once(session, key, "quota_near", **SAID)


async def listed(world: World, tenant: str, **query: str) -> list[dict[str, Any]]:
    answer = await world.call("list_notifications", admin(tenant), query=query)
    assert answer.status == 200, answer.raw
    found: list[dict[str, Any]] = answer.json["items"]
    return found


async def entries(world: World, tenant: str) -> list[str]:
    """The ids that the audit trail says were told."""
    page = await (await world.session(tenant)).store.query(AUDIT)
    return [one.body["resource_id"] for one in page.items if one.body["action"] == "notification.created"]


async def test_what_a_tenant_is_told_is_in_its_list_and_in_its_audit_trail(world: World, tenant: str) -> None:
    assert await tell(await world.session(tenant))
    (told,) = await listed(world, tenant)
    assert (told["code"], told["title"], told["text"], told["data"]) == ("quota_near", *SAID.values())
    assert await entries(world, tenant) == [told["id"]]


async def test_it_is_told_once_for_each_thing_and_again_for_another(world: World, tenant: str) -> None:
    session = await world.session(tenant)
    assert [await tell(session, key) for key in (KEY, KEY, "quota_near:agents:2026-12", KEY)] == [
        True,
        False,
        True,
        False,
    ]
    assert (len(await listed(world, tenant)), len(await entries(world, tenant))) == (2, 2)


async def test_of_two_instances_that_tell_it_at_once_one_does(world: World, twin: World, tenant: str) -> None:
    sessions = [await one.session(tenant) for one in (world, twin)]
    assert sorted(await asyncio.gather(*map(tell, sessions))) == [False, True]
    assert (len(await listed(world, tenant)), len(await entries(world, tenant))) == (1, 1)


async def test_who_has_not_seen_that_it_was_told_is_refused_with_the_whole_change(world: World, tenant: str) -> None:
    session = await world.session(tenant)
    await tell(session)
    change = session.change()
    change.count("agents", 1)
    notify(change, KEY, "quota_near", **SAID)
    with pytest.raises(Conflict):
        await change.commit(None)
    quotas = (await world.call("get_quotas", admin(tenant))).json["items"]
    assert next(one for one in quotas if one["resource"] == "agents")["remaining"] == 1000


async def test_what_is_told_within_a_request_is_not_its_answer(world: World, tenant: str) -> None:
    """A request with an idempotency key has its own answer on record, whatever was told on the way."""
    session = await world.session(tenant)
    slot = IdempotencySlot("key-1", "print-1")
    assert await tell(replace(session, idempotency=slot))
    assert slot.stored is False


async def test_two_tenants_are_told_the_same_under_ids_of_their_own(world: World, tenant: str) -> None:
    other = str((await world.onboard("globex", tier="enterprise"))["id"])
    for one in (tenant, other):
        await tell(await world.session(one))
    ids = [(await listed(world, one))[0]["id"] for one in (tenant, other)]
    assert len(set(ids)) == 2
    fixed = {"x-request-id": "r-1"}
    foreign, absent = [
        await world.call("get_notification", admin(tenant), params={"notification_id": id}, headers=fixed)
        for id in (ids[1], OTHER_ID)
    ]
    assert (foreign.status, foreign.raw.replace(ids[1].encode(), OTHER_ID.encode())) == (404, absent.raw)


async def test_a_notification_is_had_alone_as_it_is_listed_by_every_member(world: World, tenant: str) -> None:
    await tell(await world.session(tenant))
    viewer = person(tenant, Role.VIEWER)
    (found,) = (await world.call("list_notifications", viewer)).json["items"]
    alone = await world.call("get_notification", viewer, params={"notification_id": found["id"]})
    assert (alone.status, alone.json) == (200, found)


async def test_the_list_is_newest_first_in_pages(world: World, tenant: str) -> None:
    session = await world.session(tenant)
    for number in range(3):
        world.clock.advance(seconds=1)
        await tell(session, str(number))
    first = await world.call("list_notifications", admin(tenant), query={"limit": "2"})
    rest = await listed(world, tenant, limit="2", cursor=first.json["next_cursor"])
    times = [one["created_at"] for one in [*first.json["items"], *rest]]
    assert (len(times), times) == (3, sorted(times, reverse=True))


async def test_a_notification_is_kept_for_400_days(world: World, tenant: str) -> None:
    await tell(await world.session(tenant))
    world.clock.advance(days=399, hours=23)
    assert len(await listed(world, tenant)) == 1
    world.clock.advance(hours=2)
    assert await listed(world, tenant) == []


async def test_a_backup_carries_it_and_a_tenant_takes_it_away(world: World, tenant: str) -> None:
    await tell(await world.session(tenant))
    await world.call("create_agent", admin(tenant), AGENT)
    backup = await world.backed_up(tenant)
    exported = (await world.call("export_tenant", admin(tenant), query={"kind": "notification"})).json["items"]
    assert (backup["counts"]["notification"], [one["kind"] for one in exported]) == (1, [str(NOTIFICATION)])

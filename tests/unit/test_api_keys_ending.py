"""API keys end with what they rest on: on two hosts, within five seconds, whatever has been remembered."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.identity.apikeys import KEPT_DAYS, MOST_OVERLAP_HOURS, ApiKeyService
from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.members.apikeys import MOST_KNOWN, PROOF, ApiKey
from shared.work.fencing import close, reopen
from tests.unit.keys_world import by_key, key_of, member, why_not
from tests.unit.world import AGENT, STAFF, World, admin, person

GRACE = "grace@acme.example"
PROMISED_SECONDS = 5.0
JUST_BEFORE = PROMISED_SECONDS - 0.001
Deed = Callable[[World, str, dict[str, Any]], Awaitable[None]]


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard())["id"])


@pytest.fixture
async def grace(world: World, tenant: str) -> Caller:
    return await member(world, tenant)


async def remove(world: World, tenant: str, key: dict[str, Any]) -> None:
    assert (await world.call("delete_user", admin(tenant), params={"user_id": key["user_id"]})).status == 204


async def disable(world: World, tenant: str, key: dict[str, Any]) -> None:
    params = {"user_id": key["user_id"]}
    assert (await world.call("patch_user", admin(tenant), {"status": "disabled"}, params=params)).status == 200


async def unbind(world: World, tenant: str, key: dict[str, Any]) -> None:
    assert (await world.call("unbind_user", admin(tenant), params={"user_id": key["user_id"]})).status == 200


async def revoke(world: World, tenant: str, key: dict[str, Any]) -> None:
    assert (await world.call("delete_api_key", admin(tenant), params={"api_key_id": key["id"]})).status == 204


async def suspend(world: World, tenant: str, _: dict[str, Any]) -> None:
    assert (await world.call("suspend_tenant", STAFF, params={"tenant_id": tenant})).status == 200


DEEDS: dict[str, tuple[Deed, tuple[int, str]]] = {
    "its user is removed": (remove, (403, "not_a_member")),
    "its user is disabled": (disable, (403, "not_a_member")),
    "its user is to sign in with another identity": (unbind, (403, "not_a_member")),
    "it is revoked": (revoke, (401, "unauthenticated")),
    "its tenant is suspended": (suspend, (403, "tenant_suspended")),
}


@pytest.mark.parametrize("what", DEEDS)
async def test_a_key_is_dead_here_at_once_and_elsewhere_within_five_seconds(
    world: World, twin: World, tenant: str, grace: Caller, what: str
) -> None:
    deed, refused = DEEDS[what]
    made = await key_of(world, grace)
    for host in (world, twin):
        assert (await by_key(host, made["key"])).status == 200
    await world.core.key_uses.flush()
    await deed(world, tenant, made)
    assert await why_not(world, made["key"]) == refused
    world.clock.advance(seconds=PROMISED_SECONDS)
    assert await why_not(twin, made["key"]) == refused


@pytest.mark.parametrize("what", DEEDS)
async def test_a_clock_that_is_set_back_gives_a_dead_key_no_life(
    world: World, twin: World, tenant: str, grace: Caller, what: str
) -> None:
    deed, refused = DEEDS[what]
    made = await key_of(world, grace)
    assert (await by_key(twin, made["key"])).status == 200
    await twin.core.key_uses.flush()
    await deed(world, tenant, made)
    world.clock.advance(seconds=PROMISED_SECONDS)
    world.clock.set_back(hours=2)
    assert await why_not(twin, made["key"]) == refused


async def test_what_was_being_read_when_it_was_revoked_is_not_remembered(
    world: World, tenant: str, grace: Caller
) -> None:
    made = await key_of(world, grace)
    store = world.core.directory.open((await world.session(tenant)).entry)
    reached, go = asyncio.Event(), asyncio.Event()
    inner = store.get

    async def get(kind: Any, id: str) -> Any:
        found = await inner(kind, id)
        if kind == ApiKey.KIND and not reached.is_set():
            reached.set()
            await go.wait()
        return found

    store.get = get  # type: ignore[method-assign]
    call = asyncio.create_task(by_key(world, made["key"]))
    await reached.wait()
    await revoke(world, tenant, made)
    go.set()
    assert (await call).status == 200  # both went on at the same time
    assert await why_not(world, made["key"]) == (401, "unauthenticated")


async def test_who_is_removed_and_invited_again_has_no_old_keys(world: World, tenant: str, grace: Caller) -> None:
    made = await key_of(world, grace)
    await remove(world, tenant, made)
    again = await member(world, tenant)
    assert await why_not(world, made["key"]) == (403, "not_a_member")
    assert (await by_key(world, (await key_of(world, again))["key"])).status == 200


async def test_the_next_person_of_an_address_has_no_keys_of_the_last(world: World, tenant: str, grace: Caller) -> None:
    made = await key_of(world, grace)
    await unbind(world, tenant, made)
    other = replace(grace, subject="another person")
    assert (await world.call("get_me", other)).status == 200
    assert await why_not(world, made["key"]) == (403, "not_a_member")


async def test_who_is_enabled_again_has_their_keys_again(world: World, tenant: str, grace: Caller) -> None:
    made = await key_of(world, grace)
    await disable(world, tenant, made)
    params = {"user_id": made["user_id"]}
    await world.call("patch_user", admin(tenant), {"status": "active"}, params=params)
    assert (await by_key(world, made["key"])).status == 200


async def test_a_key_is_capped_by_the_role_that_its_user_has_now(
    world: World, twin: World, tenant: str, grace: Caller
) -> None:
    made = await key_of(world, grace)
    assert (await by_key(twin, made["key"], "create_agent", AGENT)).status == 201
    await twin.core.key_uses.flush()
    params = {"user_id": made["user_id"]}
    await world.call("patch_user", admin(tenant), {"role": "viewer"}, params=params)
    assert (await by_key(world, made["key"])).json["role"] == "tenant:viewer"
    world.clock.advance(seconds=PROMISED_SECONDS)
    assert await why_not(twin, made["key"], "create_agent", AGENT) == (403, "role_needed")


async def test_a_key_of_an_admin_who_is_no_admin_any_more_invites_nobody_however_fast(
    world: World, twin: World, tenant: str, grace: Caller
) -> None:
    made = await key_of(world, grace)
    assert (await by_key(twin, made["key"])).status == 200
    await twin.core.key_uses.flush()
    params = {"user_id": made["user_id"]}
    await world.call("patch_user", admin(tenant), {"role": "viewer"}, params=params)
    assert await why_not(twin, made["key"], "create_user", {"email": "eve@acme.example"}) == (403, "forbidden")


async def test_a_key_ends_at_its_time_to_the_second_although_it_is_remembered(
    world: World, twin: World, grace: Caller
) -> None:
    made = await key_of(world, grace, expires_at=rfc3339(world.clock.now() + timedelta(seconds=3)))
    world.clock.advance(seconds=2.9)
    for host in (world, twin):
        assert (await by_key(host, made["key"])).status == 200
    world.clock.advance(seconds=0.1)
    for host in (world, twin):
        assert await why_not(host, made["key"]) == (401, "key_ended")


async def test_a_key_ends_with_the_key_that_it_was_made_with(
    world: World, twin: World, tenant: str, grace: Caller
) -> None:
    made = await key_of(world, grace)
    new = {"name": "child", "role": "admin", "scopes": ["read"]}
    child = (await by_key(world, made["key"], "create_api_key", new)).json
    assert (await by_key(twin, child["key"], "list_agents")).status == 200
    await revoke(world, tenant, made)
    world.clock.advance(seconds=PROMISED_SECONDS)
    assert await why_not(twin, child["key"], "list_agents") == (401, "key_ended")


async def test_a_key_ends_with_the_issuer_by_which_its_user_signs_in(
    world: World, twin: World, tenant: str, grace: Caller
) -> None:
    """One of the tenant's own, which its admins take out to keep its people out."""
    email, own = "ida@acme.example", "https://login.acme.example"
    assert (await world.call("create_user", admin(tenant), {"email": email, "role": "admin"})).status == 201
    issuer = {"issuer": own, "audience": "flowgrid", "email_domains": ["acme.example"]}
    set_up = await world.call("create_issuer", admin(tenant), issuer)
    ida = replace(person(tenant, Role.ADMIN, email), issuer=own, own_issuer=True)
    made = await key_of(world, ida)
    assert (await by_key(twin, made["key"])).status == 200
    await twin.core.key_uses.flush()
    removed = await world.call("delete_issuer", admin(tenant), params={"issuer_id": set_up.json["id"]})
    assert (set_up.status, removed.status) == (201, 204)
    world.clock.advance(seconds=PROMISED_SECONDS)
    assert await why_not(twin, made["key"]) == (401, "key_ended")


# Rotation


async def test_two_secrets_are_good_until_the_old_one_ends_on_both_hosts(
    world: World, twin: World, grace: Caller
) -> None:
    made = await key_of(world, grace)
    params = {"api_key_id": made["id"]}
    rotated = (await world.call("rotate_api_key", grace, {"overlap_hours": 2}, params=params)).json
    assert rotated["key"] != made["key"] and rotated["prefix"] != made["prefix"]
    world.clock.advance(hours=2, seconds=-1)
    for host in (world, twin):
        assert [(await by_key(host, one["key"])).status for one in (made, rotated)] == [200, 200]
    world.clock.advance(seconds=1)
    for host in (world, twin):
        assert await why_not(host, made["key"]) == (401, "key_ended")
        assert (await by_key(host, rotated["key"])).status == 200


async def test_without_an_overlap_the_old_secret_is_dead_within_five_seconds(
    world: World, twin: World, grace: Caller
) -> None:
    made = await key_of(world, grace)
    for host in (world, twin):
        assert (await by_key(host, made["key"])).status == 200
    await world.core.key_uses.flush()
    await twin.core.key_uses.flush()
    params = {"api_key_id": made["id"]}
    rotated = (await world.call("rotate_api_key", grace, {"overlap_hours": 0}, params=params)).json
    assert rotated["old_secret_until"] is None
    assert await why_not(world, made["key"]) == (401, "unauthenticated")
    world.clock.advance(seconds=PROMISED_SECONDS)
    assert await why_not(twin, made["key"]) == (401, "unauthenticated")
    assert (await by_key(twin, rotated["key"])).status == 200


async def test_there_are_never_more_than_two_and_both_can_be_ended(world: World, grace: Caller) -> None:
    made = await key_of(world, grace)
    params = {"api_key_id": made["id"]}
    first = (await world.call("rotate_api_key", grace, params=params)).json
    refused = await world.call("rotate_api_key", grace, params=params)
    assert (refused.status, refused.json["code"]) == (409, "conflict")
    last = (await world.call("rotate_api_key", grace, {"overlap_hours": 0}, params=params)).json
    for one in (made, first):
        assert await why_not(world, one["key"]) == (401, "unauthenticated")
    assert (await by_key(world, last["key"])).status == 200


async def test_of_rotations_at_once_one_gives_a_secret_and_no_third_is_good(
    world: World, twin: World, grace: Caller
) -> None:
    made = await key_of(world, grace)
    params = {"api_key_id": made["id"]}
    answers = await asyncio.gather(
        *(host.call("rotate_api_key", grace, params=params) for host in (world, twin, world, twin))
    )
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
    assert (await by_key(world, next(one.json["key"] for one in answers if one.status == 200))).status == 200


async def test_an_overlap_is_bounded_and_ends_with_the_key(world: World, grace: Caller) -> None:
    ends = rfc3339(world.clock.now() + timedelta(hours=1))
    params = {"api_key_id": (await key_of(world, grace, expires_at=ends))["id"]}
    longer = await world.call("rotate_api_key", grace, {"overlap_hours": MOST_OVERLAP_HOURS + 1}, params=params)
    rotated = await world.call("rotate_api_key", grace, params=params)
    assert longer.status == 400 and rotated.json["old_secret_until"] == ends


# While other things go on


async def test_a_key_is_revoked_while_its_tenant_is_restored(world: World, tenant: str, grace: Caller) -> None:
    made = await key_of(world, grace)
    session = await world.session(tenant)
    await close(session, "a-restore")
    await revoke(world, tenant, made)
    assert await why_not(world, made["key"]) == (401, "unauthenticated")
    await reopen(session, "a-restore")


async def test_a_restore_brings_no_revoked_key_back(world: World, tenant: str, grace: Caller) -> None:
    made, kept = await key_of(world, grace), await key_of(world, grace)
    backup = await world.backed_up(tenant)
    await revoke(world, tenant, made)
    asked = {"backup_id": backup["id"], "target": "in_place", "confirm": "acme"}
    begun = await world.call("create_restore", admin(tenant), asked)
    done = await world.settled("get_restore", tenant, {"restore_id": begun.json["id"]})
    assert done["status"] == "succeeded", done
    assert await why_not(world, made["key"]) == (401, "unauthenticated")
    assert (await by_key(world, kept["key"])).status == 200


async def test_the_round_takes_away_what_is_over_and_nothing_else(world: World, tenant: str, grace: Caller) -> None:
    ida = await member(world, tenant, "ida@acme.example")
    orphan, good = await key_of(world, ida), await key_of(world, grace)
    await key_of(world, grace, expires_at=rfc3339(world.clock.now() + timedelta(days=1)))
    maker = await key_of(world, grace)
    child = {"name": "child", "scopes": ["read"]}
    assert (await by_key(world, maker["key"], "create_api_key", child)).status == 201
    await world.core.key_uses.flush()
    await remove(world, tenant, orphan)
    await revoke(world, tenant, maker)
    service, session = ApiKeyService(world.core.api_keys), await world.session(tenant)
    assert await service.purge(session) == 2
    world.clock.advance(days=1 + KEPT_DAYS)
    assert await service.purge(session) == 1 and await service.purge(session) == 0
    left = (await session.store.query(ApiKey.KIND)).items
    assert [stored.body["id"] for stored in left] == [good["id"]]
    assert len((await session.store.query(PROOF)).items) == 1


# When they were used


async def used(world: World, tenant: str) -> list[str]:
    listed = await world.call("list_audit", admin(tenant), query={"action": "api_key.used"})
    return [one["created_at"] for one in listed.json["items"]]


async def test_its_use_is_noted_once_an_hour_beside_the_call(world: World, tenant: str, grace: Caller) -> None:
    made = await key_of(world, grace)
    times = []
    for _ in range(3):
        for _ in range(3):
            assert (await by_key(world, made["key"])).status == 200
            await world.core.key_uses.flush()
        shown = (await world.call("get_api_key", grace, params={"api_key_id": made["id"]})).json
        times.append(shown["last_used_at"])
        world.clock.advance(hours=1)
    assert len(set(times)) == 3 and len(await used(world, tenant)) == 3
    [*_, first] = (await world.call("list_audit", admin(tenant), query={"action": "api_key.used"})).json["items"]
    assert (first["api_key_id"], first["ip_address"], first["user_agent"]) == (made["id"], "198.51.100.7", "unit-test")


async def test_two_hosts_note_it_once(world: World, twin: World, tenant: str, grace: Caller) -> None:
    made = await key_of(world, grace)
    await asyncio.gather(*(by_key(host, made["key"]) for host in (world, twin) for _ in range(5)))
    await asyncio.gather(world.core.key_uses.flush(), twin.core.key_uses.flush())
    assert len(await used(world, tenant)) == 1


async def test_a_call_waits_for_no_note_and_a_read_writes_nothing_itself(
    world: World, tenant: str, grace: Caller
) -> None:
    made = await key_of(world, grace)
    store, go = world.core.directory.open((await world.session(tenant)).entry), asyncio.Event()
    inner = store.commit

    async def commit(operations: Any) -> None:
        await go.wait()
        await inner(operations)

    store.commit = commit  # type: ignore[method-assign]
    assert (await by_key(world, made["key"], "list_agents")).status == 200
    assert await used(world, tenant) == []
    go.set()
    await world.core.key_uses.flush()
    assert len(await used(world, tenant)) == 1


async def test_what_could_not_be_noted_is_noted_a_minute_later_and_no_call_fails(
    world: World, tenant: str, grace: Caller
) -> None:
    made = await key_of(world, grace)
    session = await world.session(tenant)
    await close(session, "a-restore")
    assert (await by_key(world, made["key"], "list_agents")).status == 200
    await world.core.key_uses.flush()
    await reopen(session, "a-restore")
    world.clock.advance(seconds=59)
    await by_key(world, made["key"], "list_agents")
    await world.core.key_uses.flush()
    assert await used(world, tenant) == []
    world.clock.advance(seconds=1)
    await by_key(world, made["key"], "list_agents")
    await world.core.key_uses.flush()
    assert len(await used(world, tenant)) == 1


async def test_what_is_remembered_is_bounded(world: World, grace: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_KNOWN <= 10_000
    monkeypatch.setattr("shared.members.apikeys.MOST_KNOWN", 3)
    monkeypatch.setattr("shared.members.keyuse.MOST_NOTED", 3)
    for _ in range(5):
        assert (await by_key(world, (await key_of(world, grace))["key"])).status == 200
    assert len(world.core.api_keys._known) == 3 and len(world.core.key_uses._next) == 3

"""Breaking the glass: staff act in a tenant's data with a grant, and the tenant sees each use of it."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from functions.identity.assembly import Identity
from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.errors import Forbidden, Unavailable
from shared.members.breakglass import StaffAccess
from shared.work.fencing import close
from tests.unit.world import AGENT, STAFF, Answer, World, admin, person, unrecorded

GRACE = replace(STAFF, subject="staff-2", email="grace@flowgrid.example")


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard())["id"])


async def look(world: World, tenant: str, staff: Caller = STAFF, name: str = "list_agents", **rest: Any) -> Answer:
    return await world.call(name, staff, headers={"x-tenant-id": tenant}, **rest)


async def trail(world: World, tenant: str) -> list[dict[str, Any]]:
    query = {"resource_type": "staff_access", "sort": "created_at"}
    return list((await world.call("list_audit", admin(tenant), query=query)).json["items"])


async def refused(world: World, tenant: str, staff: Caller = STAFF) -> str:
    """Why staff may not look."""
    answer = await look(world, tenant, staff)
    assert (answer.status, answer.json["code"]) == (403, "grant_needed"), answer.raw
    return str(answer.json["detail"])


# Without a grant


async def test_staff_without_a_grant_are_refused_and_told_what_to_do(world: World, tenant: str) -> None:
    assert "open one with a reason" in await refused(world, tenant)
    problem = await world.call("get_problem", params={"code": "grant_needed"})
    assert b"staff-access" in problem.raw


async def test_no_route_of_a_tenant_does_anything_for_staff_without_a_grant(world: World, tenant: str) -> None:
    ids = dict.fromkeys(["agent_id", "user_id", "month"], "2026-11")
    for route in world.core.endpoint.routes:
        if route.role is not None and not route.platform:
            params = {name: ids.get(name, tenant) for name in _parameters(route.path)}
            answer = await world.call(route.name, STAFF, {}, params=params, headers={"x-tenant-id": tenant})
            assert (route.name, answer.status, answer.json["code"]) == (route.name, 403, "grant_needed")


async def test_a_token_that_names_the_tenant_is_no_grant(world: World, tenant: str) -> None:
    staff = replace(STAFF, tenant_id=tenant)
    answer = await world.call("list_agents", staff)
    assert (answer.status, answer.json["code"]) == (403, "grant_needed")


async def test_what_staff_do_about_tenants_needs_none(world: World, tenant: str) -> None:
    about = {"tenant_id": tenant}
    answers = [
        await world.call(name, STAFF, params=about) for name in ("get_tenant", "suspend_tenant", "resume_tenant")
    ]
    assert [answer.status for answer in answers] == [200, 200, 200]


# With one


async def test_with_a_grant_staff_look_for_an_hour(world: World, tenant: str) -> None:
    grant = await world.break_glass(tenant)
    world.clock.advance(minutes=59, seconds=59)
    answer = await look(world, tenant)
    assert (answer.status, grant["expires_at"]) == (200, "2026-11-24T13:00:00.000000Z")


@pytest.mark.parametrize(("minutes", "status"), [(1, 200), (240, 200), (0, 400), (241, 400), (-1, 400), (1.5, 400)])
async def test_a_grant_is_for_four_hours_at_most(world: World, tenant: str, minutes: float, status: int) -> None:
    body = {"reason": "Case 4711", "minutes": minutes}
    answer = await world.call("open_staff_access", STAFF, body, params={"tenant_id": tenant})
    assert answer.status == status


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": None}, {"reason": "x" * 1001}])
async def test_a_grant_has_a_reason(world: World, tenant: str, body: dict[str, Any]) -> None:
    answer = await world.call("open_staff_access", STAFF, body, params={"tenant_id": tenant})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "reason")


async def test_a_grant_is_over_at_its_time(world: World, tenant: str) -> None:
    await world.break_glass(tenant, minutes=10)
    await look(world, tenant)
    world.clock.advance(minutes=10)
    assert "is over" in await refused(world, tenant)


async def test_a_grant_that_is_over_is_opened_anew_and_both_are_told(world: World, tenant: str) -> None:
    await world.break_glass(tenant, minutes=10)
    world.clock.advance(minutes=10)
    await world.break_glass(tenant, reason="Again.")
    assert (await look(world, tenant)).status == 200
    told = (await world.call("list_notifications", admin(tenant))).json["items"]
    assert [one["data"]["reason"] for one in told] == ["Again.", "A test has to look."]


async def test_a_grant_is_of_one_tenant(world: World, tenant: str) -> None:
    other = (await world.onboard("globex"))["id"]
    await world.break_glass(other)
    assert "no grant for this tenant" in await refused(world, tenant)


async def test_a_grant_is_of_one_person(world: World, tenant: str) -> None:
    await world.break_glass(tenant)
    assert "no grant" in await refused(world, tenant, GRACE)
    assert "no grant" in await refused(world, tenant, replace(STAFF, issuer="https://another.example"))


@pytest.mark.parametrize("id", ["00000000-0000-0000-0000-000000000000", "0190c2a8-7e10-7abc-8def-00000000ffff"])
async def test_there_is_no_grant_for_what_is_no_tenant(world: World, id: str) -> None:
    answer = await world.call("open_staff_access", STAFF, {"reason": "Case 4711"}, params={"tenant_id": id})
    assert answer.status == 404


@pytest.mark.parametrize("name", ["open_staff_access", "list_staff_access_of_tenant"])
async def test_nobody_else_opens_a_grant(world: World, tenant: str, name: str) -> None:
    for caller in (admin(tenant), person(tenant, Role.VIEWER)):
        answer = await world.call(name, caller, {"reason": "I want to."}, params={"tenant_id": tenant})
        assert (answer.status, answer.json["code"]) == (403, "role_needed")


async def test_two_grants_opened_at_once_are_one(world: World, twin: World, tenant: str) -> None:
    both = await asyncio.gather(world.break_glass(tenant), twin.break_glass(tenant, reason="The same time."))
    shown = (await world.call("list_staff_access", admin(tenant))).json["items"]
    assert {one["id"] for one in both} == {one["id"] for one in shown} and len(shown) == 1


async def test_staff_look_at_a_tenant_that_is_being_restored(world: World, tenant: str) -> None:
    await world.break_glass(tenant)
    await close(await world.session(tenant), "a restore")
    assert (await look(world, tenant)).status == 200


# What the tenant sees


async def test_each_use_is_in_the_tenants_own_trail_with_who_what_and_why(world: World, tenant: str) -> None:
    grant = await world.break_glass(tenant, reason="Case 4711")
    agent = (await world.call("create_agent", admin(tenant), AGENT)).json["id"]
    await look(world, tenant)
    await look(world, tenant, name="get_agent", params={"agent_id": agent})
    entries = await trail(world, tenant)
    assert [one["action"] for one in entries] == [f"staff_access.{verb}" for verb in ("created", "used", "used")]
    assert {(one["user_id"], one["resource_id"]) for one in entries} == {(STAFF.subject, grant["id"])}
    used = {"operation": "get_agent", "path": f"/api/v1/agents/{agent}", "reason": "Case 4711"}
    assert entries[-1]["new_value"] == used


async def test_what_cannot_be_put_on_record_is_not_done(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.break_glass(tenant)

    async def away(*_: Any) -> None:
        raise Unavailable("the database is away")

    session = await world.session(tenant)
    monkeypatch.setattr(type(session.store.control), "commit", away)
    assert (await look(world, tenant)).status == 503


async def test_the_tenants_admins_are_told(world: World, tenant: str) -> None:
    grant = await world.break_glass(tenant, reason="Case 4711: an import fails.")
    (told,) = (await world.call("list_notifications", admin(tenant))).json["items"]
    assert (told["code"], told["data"]["access_id"]) == ("staff_access", grant["id"])
    assert (
        "Case 4711" in told["text"] and "staff@flowgrid.example" in told["text"] and grant["expires_at"] in told["text"]
    )


async def test_the_tenants_admins_see_who_may_come_and_nobody_below_does(world: World, tenant: str) -> None:
    grant = await world.break_glass(tenant)
    await world.break_glass(tenant, GRACE)
    shown = (await world.call("list_staff_access", admin(tenant))).json["items"]
    assert {one["email"] for one in shown} == {STAFF.email, GRACE.email} and grant in shown
    assert (await world.call("list_staff_access", person(tenant, Role.USER))).status == 403


# Ended


@pytest.mark.parametrize("by", ["tenant", "staff"])
async def test_a_grant_that_is_ended_is_dead_at_once_on_every_instance(
    world: World, twin: World, tenant: str, by: str
) -> None:
    grant = await world.break_glass(tenant)
    assert (await look(twin, tenant)).status == 200
    params = {"access_id": grant["id"]}
    if by == "tenant":
        ended = await world.call("end_staff_access", admin(tenant), params=params)
    else:
        ended = await world.call("end_staff_access_of_tenant", GRACE, params={**params, "tenant_id": tenant})
    assert (ended.status, ended.json["ended_at"] is not None) == (200, True)
    assert "was ended" in await refused(twin, tenant)
    assert (await trail(world, tenant))[-1]["action"] == "staff_access.ended"


@pytest.mark.parametrize("by", ["tenant", "staff"])
async def test_while_a_tenant_is_restored_grants_are_opened_and_ended_as_ever(
    world: World, tenant: str, by: str
) -> None:
    await close(await world.session(tenant), "a restore")
    grant = await world.break_glass(tenant)
    assert (await look(world, tenant)).status == 200
    params = {"access_id": grant["id"]}
    if by == "tenant":
        ended = await world.call("end_staff_access", admin(tenant), params=params, headers={"idempotency-key": "k"})
    else:
        ended = await world.call("end_staff_access_of_tenant", GRACE, params={**params, "tenant_id": tenant})
    assert ended.status == 200
    assert "was ended" in await refused(world, tenant)
    assert (await trail(world, tenant))[-1]["action"] == "staff_access.ended"
    assert (await world.call("create_agent", admin(tenant), AGENT)).json["code"] == "fenced"


async def test_who_is_no_admin_any_more_ends_no_grant_during_a_restore(world: World, tenant: str) -> None:
    grant = await world.break_glass(tenant)
    mail = "ada@acme.example"
    user = (await world.call("create_user", admin(tenant), {"email": mail, "role": "admin"})).json["id"]
    ada = person(tenant, Role.ADMIN, mail)
    assert (await world.call("get_me", ada)).status == 200
    session = await world.session(tenant, replace(ada, user=user))
    await world.call("delete_user", admin(tenant), params={"user_id": user})
    await close(await world.session(tenant), "a restore")
    with pytest.raises(Forbidden, match="no admin"):
        await Identity.of(world.core).access.end(session, grant["id"])


async def test_a_grant_that_is_ended_between_the_look_at_it_and_the_use_is_not_used(
    world: World, twin: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = await world.break_glass(tenant)
    entry = await world.core.directory.entry(tenant)
    assert entry is not None
    control = type(world.core.directory.open(entry).control)
    commit = control.commit
    ended: list[Answer] = []

    async def late(self: Any, operations: Any) -> None:
        if not ended:
            ended.append(answer := await _end(twin, tenant, grant["id"], ended))
            assert answer.status == 200
        await commit(self, operations)

    monkeypatch.setattr(control, "commit", late)
    assert "was ended" in await refused(world, tenant)
    assert "staff_access.used" not in [one["action"] for one in await trail(world, tenant)]


async def _end(world: World, tenant: str, id: str, ended: list[Answer]) -> Answer:
    ended.append(Answer(0, {}, b""))  # its own writes are not to be late
    try:
        return await world.call("end_staff_access", admin(tenant), params={"access_id": id})
    finally:
        ended.clear()


async def test_ending_again_or_too_late_changes_nothing(world: World, tenant: str) -> None:
    grant = await world.break_glass(tenant, minutes=10)
    params = {"access_id": grant["id"]}
    first = await world.call("end_staff_access", admin(tenant), params=params)
    world.clock.advance(minutes=10)
    again = await world.call("end_staff_access", admin(tenant), params=params)
    other = await world.break_glass(tenant, GRACE, minutes=10)
    world.clock.advance(minutes=11)
    late = await world.call("end_staff_access", admin(tenant), params={"access_id": other["id"]})
    assert (first.raw, late.json["ended_at"], late.json["revision"]) == (again.raw, None, 1)


async def test_a_grant_of_another_tenant_is_not_found(world: World, tenant: str) -> None:
    grant = await world.break_glass((await world.onboard("globex"))["id"])
    assert (await world.call("end_staff_access", admin(tenant), params={"access_id": grant["id"]})).status == 404


def test_a_restore_brings_no_grant_back() -> None:
    assert StaffAccess.KIND.backup is None


def _parameters(path: str) -> list[str]:
    return re.findall(r"{(\w+)}", path)


async def test_a_repetition_opens_nothing_that_the_tenant_has_ended(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was killed after the work, before what staff asked was recorded as answered."""
    sent, about = {"idempotency-key": "k-1"}, {"tenant_id": tenant}
    async with unrecorded(world, monkeypatch):
        await world.call("open_staff_access", STAFF, {"reason": "Case 4711"}, params=about, headers=sent)
    (grant,) = (await world.call("list_staff_access", admin(tenant))).json["items"]
    await world.call("end_staff_access", admin(tenant), params={"access_id": grant["id"]})
    again = await world.call("open_staff_access", STAFF, {"reason": "Case 4711"}, params=about, headers=sent)
    assert (again.status, again.json) == (200, grant)
    await refused(world, tenant)

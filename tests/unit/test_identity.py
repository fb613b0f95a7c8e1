"""Who is in a tenant, and as what: invitations, unique addresses, the last admin, and the first sign-in."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.database.port import Create, Operation, Placement, Replace, TenantStore
from shared.members.users import REMOVED, User, user_id
from shared.work.change import COUNTER
from shared.work.fencing import close, reopen
from tests.unit.world import STAFF, UNLIMITED, Answer, WatchedStore, World, admin, person

GRACE = "grace@acme.example"
NO_ADDRESSES = ["", "grace", "@acme.example", "grace@", "a b@acme.example", "g@acme", "g@@acme.de", "a@b..c"]


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


@pytest.fixture
def ada(tenant: str) -> Caller:
    """The tenant's first admin, whom onboarding has invited."""
    return admin(tenant, "admin@acme.example")


async def invite(world: World, caller: Caller, email: str = GRACE, **fields: Any) -> Answer:
    return await world.call("create_user", caller, {"email": email, **fields})


async def patch(world: World, caller: Caller, id: str, **fields: Any) -> Answer:
    return await world.call("patch_user", caller, fields, params={"user_id": id})


async def remove(world: World, caller: Caller, id: str) -> Answer:
    return await world.call("delete_user", caller, params={"user_id": id})


async def users(world: World, caller: Caller, **query: str) -> dict[str, str]:
    answer = await world.call("list_users", caller, query=query)
    return {user["email"]: user["status"] for user in answer.json["items"]}


def watch(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, WatchedStore]:
    database, stores = world.core.adapters.database, dict[str, WatchedStore]()
    plain = database.tenant

    def watched(tenant_id: str, placement: Placement) -> TenantStore:
        return stores.setdefault(tenant_id, WatchedStore(plain(tenant_id, placement)))

    monkeypatch.setattr(database, "tenant", watched)
    monkeypatch.setattr(world.core.directory, "_handles", {})
    return stores


# Inviting


async def test_an_invited_user_is_listed_as_such(world: World, ada: Caller) -> None:
    await invite(world, ada)
    assert (await users(world, ada))[GRACE] == "invited"


async def test_users_are_listed_by_role_and_status(world: World, ada: Caller) -> None:
    await invite(world, ada, role="viewer")
    assert list(await users(world, ada, role="viewer", status="invited")) == [GRACE]


async def test_an_invited_users_id_follows_from_the_address(world: World, tenant: str, ada: Caller) -> None:
    assert (await invite(world, ada)).json["id"] == user_id(tenant, GRACE)


@pytest.mark.parametrize("email", NO_ADDRESSES)
async def test_what_is_no_address_is_invalid(world: World, ada: Caller, email: str) -> None:
    answer = await invite(world, ada, email)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "email")


async def test_an_address_is_kept_without_its_case(world: World, ada: Caller) -> None:
    assert (await invite(world, ada, "Grace@ACME.example")).json["email"] == GRACE


@pytest.mark.parametrize("email", [GRACE, "GRACE@acme.example"])
async def test_an_address_is_invited_once(world: World, ada: Caller, email: str) -> None:
    await invite(world, ada)
    assert (await invite(world, ada, email)).status == 409


async def test_a_refused_second_invitation_leaves_the_first_alone(world: World, ada: Caller) -> None:
    first = await invite(world, ada)
    again = await invite(world, ada, name="another")
    found = await world.call("get_user", ada, params={"user_id": first.json["id"]})
    assert (found.raw, again.status) == (first.raw, 409)


async def test_an_invitation_neither_says_nor_blocks_what_another_tenant_has(
    world: World, tenant: str, ada: Caller
) -> None:
    other = await world.onboard("globex", tier="enterprise")
    await invite(world, ada)
    await me(world, person(tenant, Role.USER, GRACE))
    mine, theirs = await invite(world, ada, "alan@acme.example"), await invite(world, admin(other["id"]))
    varying = ("id", "tenant_id", "email", "created_by", "created_at", "updated_by", "updated_at")
    said = [{name: value for name, value in one.json.items() if name not in varying} for one in (mine, theirs)]
    assert (mine.status, theirs.status, said[0] == said[1]) == (201, 201, True)


async def test_who_is_bound_in_one_tenant_is_refused_in_another_until_removed_there(
    world: World, tenant: str, ada: Caller
) -> None:
    other = await world.onboard("globex", tier="enterprise")
    here, there = person(tenant, Role.USER, GRACE), replace(person(other["id"], Role.USER, GRACE), subject="grace")
    here = replace(here, subject="grace")
    user = await invite(world, ada)
    await invite(world, admin(other["id"]))
    answers = [await me(world, here), await me(world, there)]
    await remove(world, ada, user.json["id"])
    answers += [await me(world, there), await me(world, here)]
    assert [answer.status for answer in answers] == [200, 403, 200, 403]
    assert "another tenant" in answers[1].json["detail"] and "acme" not in answers[1].json["detail"]


async def test_a_removed_user_may_be_invited_again(world: World, ada: Caller) -> None:
    await remove(world, ada, (await invite(world, ada)).json["id"])
    assert (await invite(world, ada)).status == 201


async def test_max_users_is_kept(world: World) -> None:
    tenant = await world.onboard("tiny", tier="enterprise", max_users=2)
    caller = admin(tenant["id"])
    answers = [await invite(world, caller, f"user{number}@tiny.example") for number in range(2)]
    assert ([answer.status for answer in answers], answers[-1].json["error"]) == ([201, 429], "User quota exceeded")


async def test_a_removed_user_makes_room(world: World) -> None:
    tenant = await world.onboard("tiny", tier="enterprise", max_users=2)
    caller = admin(tenant["id"])
    await remove(world, caller, (await invite(world, caller)).json["id"])
    assert (await invite(world, caller)).status == 201


async def test_an_address_whose_owner_has_come_is_not_taken_over_however_old(
    world: World, tenant: str, ada: Caller
) -> None:
    other = await world.onboard("globex", tier="enterprise")
    await me(world, ada)
    await invite(world, admin(other["id"]), "admin@acme.example")
    world.clock.advance(days=300)
    elsewhere = replace(person(other["id"], Role.USER, "admin@acme.example"), subject="another")
    assert (await me(world, elsewhere)).status == 403


# Changing and removing


async def test_a_users_role_is_changed(world: World, ada: Caller) -> None:
    user = await invite(world, ada)
    assert (await patch(world, ada, user.json["id"], role="viewer")).json["role"] == "viewer"


@pytest.mark.parametrize("field", ["email", "subject", "last_login_at", "tenant_id"])
async def test_what_an_admin_may_not_set_is_refused(world: World, ada: Caller, field: str) -> None:
    user = await invite(world, ada)
    answer = await patch(world, ada, user.json["id"], **{field: "x"})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, field)


@pytest.mark.parametrize("fields", [{"role": "user"}, {"status": "disabled"}])
async def test_the_last_admin_stays_one(world: World, tenant: str, ada: Caller, fields: dict[str, str]) -> None:
    assert (await patch(world, ada, user_id(tenant, "admin@acme.example"), **fields)).status == 409


async def test_the_last_admin_is_not_removed(world: World, tenant: str, ada: Caller) -> None:
    assert (await remove(world, ada, user_id(tenant, "admin@acme.example"))).status == 409


async def test_a_disabled_admin_is_no_other_admin(world: World, tenant: str, ada: Caller) -> None:
    second = await invite(world, ada, role="admin")
    await patch(world, ada, second.json["id"], status="disabled")
    assert (await remove(world, ada, user_id(tenant, "admin@acme.example"))).status == 409


async def test_with_a_second_admin_the_first_may_go(world: World, tenant: str, ada: Caller) -> None:
    await invite(world, ada, role="admin")
    assert (await remove(world, ada, user_id(tenant, "admin@acme.example"))).status == 204


async def test_the_admin_that_stays_is_as_before(world: World, tenant: str, ada: Caller) -> None:
    second = await invite(world, ada, role="admin")
    await remove(world, ada, user_id(tenant, "admin@acme.example"))
    where = {"x-tenant-id": tenant}
    await world.break_glass(tenant)
    found = await world.call("get_user", STAFF, params={"user_id": second.json["id"]}, headers=where)
    assert found.raw == second.raw


async def test_the_last_admins_name_may_change(world: World, tenant: str, ada: Caller) -> None:
    assert (await patch(world, ada, user_id(tenant, "admin@acme.example"), name="Ada L.")).status == 200


async def test_two_admins_who_dismiss_each_other_at_once_are_not_both_gone(
    world: World, twin: World, tenant: str, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = await invite(world, ada, role="admin")
    first, store = user_id(tenant, "admin@acme.example"), watch(world, monkeypatch)
    await users(world, ada)

    async def meanwhile(operations: Sequence[Operation]) -> None:
        if any(isinstance(one, Replace) and one.id == second.json["id"] for one in operations):
            store[tenant].before = None
            await patch(twin, admin(tenant, GRACE), first, role="user")

    store[tenant].before = meanwhile
    await patch(world, ada, second.json["id"], role="user")
    session = await world.session(tenant)
    found = await session.store.query(User.KIND)
    assert [one.body["role"] for one in found.items].count("admin") == 1


async def test_many_admins_who_dismiss_each_other_at_once_leave_one(
    world: World, twin: World, tenant: str, ada: Caller
) -> None:
    ids = [user_id(tenant, "admin@acme.example")]
    for number in range(3):
        ids.append((await invite(world, ada, f"admin{number}@acme.example", role="admin")).json["id"])
    staff = {"x-tenant-id": tenant}
    await world.break_glass(tenant)
    await asyncio.gather(
        *(
            process.call("patch_user", STAFF, {"role": "user"}, params={"user_id": id}, headers=staff)
            for id, process in zip(ids, (world, twin) * 2, strict=True)
        )
    )
    found = await world.call("list_users", STAFF, query={"role": "admin"}, headers=staff)
    assert len(found.json["items"]) >= 1


async def test_a_user_of_another_tenant_is_not_found(world: World, ada: Caller) -> None:
    other = await world.onboard("globex", tier="enterprise")
    foreign = user_id(other["id"], "admin@globex.example")
    answers = [
        await world.call("get_user", ada, params={"user_id": foreign}),
        await patch(world, ada, foreign, name="x"),
        await remove(world, ada, foreign),
    ]
    assert [answer.status for answer in answers] == [404] * 3


# Signing in


async def me(world: World, caller: Caller) -> Answer:
    return await world.call("get_me", caller)


async def test_the_first_call_turns_invited_into_active(world: World, tenant: str, ada: Caller) -> None:
    await invite(world, ada)
    user = (await me(world, person(tenant, Role.USER, GRACE))).json["user"]
    assert (user["status"], user["last_login_at"]) == ("active", "2026-11-24T12:00:00.000000Z")


async def test_the_first_sign_in_is_audited(world: World, ada: Caller) -> None:
    await me(world, ada)
    answer = await world.call("list_audit", ada, query={"action": "user.signed_in"})
    assert [one["new_value"]["subject"] for one in answer.json["items"]] == [ada.subject]


async def test_a_second_call_within_the_hour_writes_nothing(world: World, ada: Caller) -> None:
    first = await me(world, ada)
    world.clock.advance(minutes=59)
    assert (await me(world, ada)).json["user"] == first.json["user"]


async def test_a_call_an_hour_later_is_a_new_sign_in(world: World, ada: Caller) -> None:
    await me(world, ada)
    world.clock.advance(hours=1)
    assert (await me(world, ada)).json["user"]["last_login_at"] == "2026-11-24T13:00:00.000000Z"


async def test_who_one_is_can_be_asked_while_the_tenant_is_being_restored(
    world: World, tenant: str, ada: Caller
) -> None:
    before = await me(world, ada)
    await close(await world.session(tenant), "a-restore")
    world.clock.advance(hours=2)
    assert (await me(world, ada)).json == before.json


async def test_a_first_call_waits_for_the_end_of_a_restore(world: World, tenant: str, ada: Caller) -> None:
    await invite(world, ada)
    grace = person(tenant, Role.USER, GRACE)
    await close(await world.session(tenant), "a-restore")
    answers = [await me(world, grace)]
    await reopen(await world.session(tenant), "a-restore")
    world.clock.advance(seconds=1)
    answers.append(await me(world, grace))
    assert [answer.status for answer in answers] == [503, 200]


async def test_a_caller_that_is_no_user_is_refused(world: World, tenant: str) -> None:
    answer = await me(world, person(tenant, Role.VIEWER, "guest@acme.example"))
    assert (answer.status, "no user of this tenant" in answer.json["detail"]) == (403, True)


async def test_access_does_not_depend_on_having_asked_who_one_is(world: World, tenant: str, ada: Caller) -> None:
    await invite(world, ada)
    grace = person(tenant, Role.USER, GRACE)
    answers = [await world.call("list_agents", one) for one in (grace, replace(grace, subject="another"))]
    assert ([answer.status for answer in answers], (await users(world, ada))[GRACE]) == ([200, 403], "active")


async def test_two_first_calls_at_once_are_both_answered(world: World, twin: World, ada: Caller) -> None:
    answers = await asyncio.gather(*(me(process, ada) for process in (world, twin) * 3))
    assert [answer.status for answer in answers] == [200] * 6


# Being shut out


async def test_a_disabled_user_is_refused_at_once(world: World, tenant: str, ada: Caller) -> None:
    user, grace = await invite(world, ada), person(tenant, Role.USER, GRACE)
    await me(world, grace)
    await patch(world, ada, user.json["id"], status="disabled")
    assert (await world.call("list_agents", grace)).status == 403


async def test_a_disabled_user_is_refused_by_other_instances_within_seconds(
    world: World, twin: World, tenant: str, ada: Caller
) -> None:
    user, grace = await invite(world, ada), person(tenant, Role.USER, GRACE)
    await me(twin, grace)
    await patch(world, ada, user.json["id"], status="disabled")
    world.clock.advance(seconds=5)
    assert (await twin.call("list_agents", grace)).status == 403


async def test_a_disabled_user_does_not_come_back_through_an_instance_that_does_not_know_yet(
    world: World, twin: World, tenant: str, ada: Caller
) -> None:
    user, grace = await invite(world, ada), person(tenant, Role.USER, GRACE)
    await me(twin, grace)
    await patch(world, ada, user.json["id"], status="disabled")
    answer = await me(twin, grace)
    assert (answer.status, (await users(world, ada))[GRACE]) == (403, "disabled")


async def test_a_lower_role_counts_at_once(world: World, tenant: str, ada: Caller) -> None:
    user, grace = await invite(world, ada, role="admin"), admin(tenant, GRACE)
    await me(world, grace)
    await patch(world, ada, user.json["id"], role="viewer")
    assert (await world.call("list_users", grace)).status == 403


# Removed


@pytest.fixture
async def open_tenant(world: World) -> str:
    settings = {"limits": UNLIMITED, "membership": "open"}
    tenant = await world.onboard("opened", tier="enterprise", settings=settings, admin_email="admin@acme.example")
    return str(tenant["id"])


@pytest.mark.parametrize("membership", ["required", "open"])
@pytest.mark.parametrize("came_before", [True, False])
async def test_a_removed_user_stays_removed(
    world: World, twin: World, tenant: str, open_tenant: str, membership: str, came_before: bool
) -> None:
    id = open_tenant if membership == "open" else tenant
    ada, grace = admin(id, "admin@acme.example"), admin(id, GRACE)
    user = await invite(world, ada, role="admin")
    if came_before:
        await me(world, grace)
        await me(twin, grace)
    await remove(world, ada, user.json["id"])
    world.clock.advance(seconds=5)
    assert [(await me(process, grace)).status for process in (world, twin)] == [403, 403]


@pytest.mark.parametrize("email", [None, "new@acme.example", "g.race@acme.example"])
async def test_a_removed_user_stays_removed_under_another_address(
    world: World, open_tenant: str, email: str | None
) -> None:
    ada, grace = admin(open_tenant, "admin@acme.example"), admin(open_tenant, GRACE)
    user = await invite(world, ada)
    await me(world, grace)
    await remove(world, ada, user.json["id"])
    assert (await me(world, replace(grace, email=email))).status == 403


async def test_a_removed_users_address_is_not_kept_as_such(world: World, open_tenant: str) -> None:
    ada = admin(open_tenant, "admin@acme.example")
    await remove(world, ada, (await invite(world, ada)).json["id"])
    marks = (await (await world.session(open_tenant)).store.query(REMOVED)).items
    assert len(marks) == 1 and "grace" not in str(marks[0].body)


async def test_a_removed_user_who_is_invited_again_comes_in(world: World, open_tenant: str) -> None:
    ada, grace = admin(open_tenant, "admin@acme.example"), admin(open_tenant, GRACE)
    first = await invite(world, ada)
    await me(world, grace)
    await remove(world, ada, first.json["id"])
    again = await invite(world, ada, role="viewer")
    back = await me(world, grace)
    assert (again.status, back.status, back.json["role"]) == (201, 200, "tenant:viewer")


async def test_a_removed_user_who_was_invited_again_and_removed_again_is_out(world: World, open_tenant: str) -> None:
    ada, grace = admin(open_tenant, "admin@acme.example"), admin(open_tenant, GRACE)
    for _ in range(2):
        await remove(world, ada, (await invite(world, ada)).json["id"])
    assert (await me(world, grace)).status == 403


async def test_a_stranger_to_an_open_tenant_is_seen_and_removed_like_any_user(world: World, open_tenant: str) -> None:
    ada, stranger = admin(open_tenant, "admin@acme.example"), person(open_tenant, Role.USER, GRACE)
    user = (await me(world, stranger)).json["user"]
    quota = (await world.call("get_quotas", ada)).json["items"][1]["used"]
    await remove(world, ada, user["id"])
    answers = [await me(world, stranger), await me(world, ada)]
    assert (quota, [answer.status for answer in answers]) == (2, [403, 200])


# Unbinding


async def unbind(world: World, caller: Caller, id: str) -> Answer:
    return await world.call("unbind_user", caller, params={"user_id": id})


async def test_an_unbound_user_comes_in_with_another_identity_and_not_with_the_old_one(
    world: World, tenant: str, ada: Caller
) -> None:
    user, old = await invite(world, ada), person(tenant, Role.USER, GRACE)
    new = replace(old, subject="another")
    answers = [await me(world, old), await me(world, new), await unbind(world, ada, user.json["id"])]
    answers += [await me(world, new), await me(world, old)]
    assert [answer.status for answer in answers] == [200, 403, 200, 200, 403]
    assert answers[2].json["subject"] is None


async def test_unbinding_is_audited_and_again_is_no_error(world: World, tenant: str, ada: Caller) -> None:
    user = await invite(world, ada)
    await me(world, person(tenant, Role.USER, GRACE))
    answers = [await unbind(world, ada, user.json["id"]) for _ in range(2)]
    audit = await world.call("list_audit", ada, query={"action": "user.unbound"})
    assert ([answer.status for answer in answers], len(audit.json["items"])) == ([200, 200], 1)
    assert audit.json["items"][0]["old_value"]["subject"] == person(tenant, Role.USER, GRACE).subject


async def test_only_an_admin_unbinds(world: World, tenant: str, ada: Caller) -> None:
    user, grace = await invite(world, ada), person(tenant, Role.ADMIN, GRACE)
    assert (await unbind(world, grace, user.json["id"])).status == 403


async def test_an_unbound_identity_is_free_for_another_tenant(world: World, tenant: str, ada: Caller) -> None:
    other = await world.onboard("globex", tier="enterprise")
    user = await invite(world, ada)
    await invite(world, admin(other["id"]))
    here = replace(person(tenant, Role.USER, GRACE), subject="grace")
    there = replace(here, tenant_id=other["id"])
    await me(world, here)
    await unbind(world, ada, user.json["id"])
    assert (await me(world, there)).status == 200


# The counter


async def counted(world: World, tenant: str) -> tuple[int, int]:
    """What the counter of users says, and how many there are."""
    store = (await world.session(tenant)).store
    counter = await store.get(COUNTER, "users")
    assert counter is not None
    return counter.body["value"], len((await store.query(User.KIND)).items)


async def test_the_counter_of_users_moves_by_one_with_each(world: World, tenant: str, ada: Caller) -> None:
    seen = [await counted(world, tenant)]
    user = (await invite(world, ada)).json["id"]
    seen.append(await counted(world, tenant))
    await me(world, person(tenant, Role.USER, GRACE))
    await patch(world, ada, user, role="viewer")
    await unbind(world, ada, user)
    seen.append(await counted(world, tenant))
    await remove(world, ada, user)
    seen.append(await counted(world, tenant))
    assert seen == [(1, 1), (2, 2), (2, 2), (1, 1)]


# Admins who are none any more


@pytest.mark.parametrize("end", ["removed", "disabled", "demoted"])
async def test_who_is_no_admin_any_more_decides_of_nobody_though_an_instance_does_not_know_yet(
    world: World, twin: World, tenant: str, ada: Caller, end: str
) -> None:
    user, grace = await invite(world, ada, role="admin"), admin(tenant, GRACE)
    await me(twin, grace)
    other = (await invite(world, ada, "alan@acme.example")).json["id"]
    await me(world, person(tenant, Role.USER, "alan@acme.example"))
    if end == "removed":
        await remove(world, ada, user.json["id"])
    else:
        changes = {"status": "disabled"} if end == "disabled" else {"role": "viewer"}
        await patch(world, ada, user.json["id"], **changes)
    answers = [
        await invite(twin, grace, GRACE, role="admin"),
        await invite(twin, grace, "accomplice@acme.example", role="admin"),
        await patch(twin, grace, user.json["id"], role="admin", status="active"),
        await patch(twin, grace, other, role="admin"),
        await remove(twin, grace, other),
        await twin.call("unbind_user", grace, params={"user_id": other}),
    ]
    refused = {404, 403, 409} if end == "removed" else {403, 409}
    assert {answer.status for answer in answers} <= refused
    there = (await world.call("list_users", ada)).json["items"]
    assert [one["email"] for one in there if one["role"] == "admin" and one["status"] != "disabled"] == [
        "admin@acme.example"
    ]


async def test_an_admin_who_is_removed_while_they_invite_themselves_stays_removed(
    world: World, twin: World, tenant: str, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, grace = await invite(world, ada, role="admin"), admin(tenant, GRACE)
    await me(world, grace)
    stores = watch(world, monkeypatch)
    await users(world, grace)

    async def meanwhile(operations: Sequence[Operation]) -> None:
        if any(isinstance(one, Create) and one.kind is User.KIND for one in operations):
            stores[tenant].before = None
            assert (await remove(twin, ada, user.json["id"])).status == 204

    stores[tenant].before = meanwhile
    assert (await invite(world, grace, "accomplice@acme.example", role="admin")).status == 403
    assert (await invite(world, grace, GRACE, role="admin")).status == 403
    assert set(await users(world, ada)) == {"admin@acme.example"}

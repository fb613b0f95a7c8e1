"""Who is in a tenant, and as what: invitations, unique addresses, the last admin, and the first sign-in."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from shared.auth.roles import Role
from shared.context import Caller, user_id
from shared.database.port import Kind, Operation, Placement, Replace, TenantStore
from tests.unit.world import STAFF, Answer, WatchedStore, World, admin, person

GRACE = "grace@acme.example"


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


@pytest.mark.parametrize("email", ["", "grace", "@acme.example", "grace@", "a b@acme.example", "g@acme", "g@@acme.de"])
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
    await invite(world, ada, name="another")
    other = await world.onboard("globex", tier="enterprise")
    again = await invite(world, admin(other["id"]))
    found = await world.call("get_user", ada, params={"user_id": first.json["id"]})
    assert (found.raw, again.status) == (first.raw, 409)


async def test_an_address_belongs_to_one_tenant(world: World, ada: Caller) -> None:
    other = await world.onboard("globex", tier="enterprise")
    await invite(world, ada)
    answer = await invite(world, admin(other["id"]))
    assert (answer.status, answer.json["field"]) == (409, "email")


async def test_the_address_of_a_removed_user_is_free_again(world: World, ada: Caller) -> None:
    other = await world.onboard("globex", tier="enterprise")
    await remove(world, ada, (await invite(world, ada)).json["id"])
    assert (await invite(world, admin(other["id"]))).status == 201


async def test_a_removed_user_may_be_invited_again(world: World, ada: Caller) -> None:
    await remove(world, ada, (await invite(world, ada)).json["id"])
    assert (await invite(world, ada)).status == 201


async def test_max_users_is_kept(world: World) -> None:
    tenant = await world.onboard("tiny", tier="enterprise", max_users=2)
    caller = admin(tenant["id"])
    answers = [await invite(world, caller, f"user{number}@tiny.example") for number in range(2)]
    assert ([answer.status for answer in answers], answers[-1].json["error"]) == ([201, 429], "User quota exceeded")


async def test_an_address_that_a_quota_refused_is_not_taken(world: World, ada: Caller) -> None:
    tenant = await world.onboard("tiny", tier="enterprise", max_users=1)
    await invite(world, admin(tenant["id"]))
    assert (await invite(world, ada)).status == 201


async def test_a_removed_user_makes_room(world: World) -> None:
    tenant = await world.onboard("tiny", tier="enterprise", max_users=2)
    caller = admin(tenant["id"])
    await remove(world, caller, (await invite(world, caller)).json["id"])
    assert (await invite(world, caller)).status == 201


async def test_an_address_whose_invitation_crashed_half_way_is_free_after_a_minute(
    world: World, tenant: str, ada: Caller
) -> None:
    other = await world.onboard("globex", tier="enterprise")
    await world.core.names.reserve("email", GRACE, holder=f"{other['id']}/{user_id(other['id'], GRACE)}")
    at_once = await invite(world, ada)
    world.clock.advance(seconds=61)
    assert (at_once.status, (await invite(world, ada)).status) == (409, 201)


async def test_an_address_in_use_is_not_taken_over_however_old(world: World, ada: Caller) -> None:
    other = await world.onboard("globex", tier="enterprise")
    await invite(world, admin(other["id"]))
    world.clock.advance(days=300)
    assert (await invite(world, ada)).status == 409


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
    caller = admin(tenant, GRACE)
    assert (await world.call("get_user", caller, params={"user_id": second.json["id"]})).raw == second.raw


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
    found = await session.store.query(Kind.USER)
    assert [one.body["role"] for one in found.items].count("admin") == 1


async def test_many_admins_who_dismiss_each_other_at_once_leave_one(
    world: World, twin: World, tenant: str, ada: Caller
) -> None:
    ids = [user_id(tenant, "admin@acme.example")]
    for number in range(3):
        ids.append((await invite(world, ada, f"admin{number}@acme.example", role="admin")).json["id"])
    staff = {"x-tenant-id": tenant}
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


async def test_a_caller_that_is_no_user_is_told_so(world: World, tenant: str) -> None:
    answer = (await me(world, person(tenant, Role.VIEWER, "guest@acme.example"))).json
    assert (answer["user"], answer["role"], answer["tenant"]["id"]) == (None, "tenant:viewer", tenant)


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


async def test_a_removed_user_has_the_tokens_role_again(world: World, tenant: str, ada: Caller) -> None:
    """The token is the directory's word; the user list only narrows it."""
    user, grace = await invite(world, ada, role="viewer"), admin(tenant, GRACE)
    await remove(world, ada, user.json["id"])
    assert (await me(world, grace)).json["role"] == "tenant:admin"

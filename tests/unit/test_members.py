"""Who is let into a tenant: its users, bound to the identity that they first came with, and nobody else."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared.auth.caller import Caller
from shared.auth.roles import Role, highest
from shared.database.port import Delete, Operation, Stored, TenantStore, Upsert
from shared.errors import Forbidden, QuotaReached, Unavailable
from shared.kinds import Kind
from shared.members.members import MOST_KNOWN, Members
from shared.members.signin import SignIn
from shared.members.users import BINDING, User, binding_id, user_id
from shared.tenancy.fence import AUDIT
from shared.work.change import COUNTER
from shared.work.resources import Versioned
from shared.work.session import TenantSession
from tests.unit.world import ISSUER, OTHER_ID, STAFF, TENANT_ID, WatchedStore, World, entry, register, session

PROMISED_SECONDS = 5.0
ADA = "ada@acme.example"
ADA_ID = user_id(TENANT_ID, ADA)
SPELLINGS = [None, " ada@acme.example", "ada@acme.example.", "\uff41da@acme.example", "ada@acme.example\u200b"]


@pytest.fixture
async def store(world: World) -> WatchedStore:
    return WatchedStore(await register(world.core))


@pytest.fixture
def members(world: World) -> Members:
    return new_members(world)


def new_members(world: World) -> Members:
    return Members(world.clock, SignIn(world.core.names, world.core.removals), world.core.key_uses)


async def know(store: TenantStore, role: str = "user", status: str = "active", **fields: Any) -> None:
    """Ada is a user, as an admin has invited and changed her."""
    stored = await store.get(User.KIND, ADA_ID)
    envelope = {"id": ADA_ID, "tenant_id": TENANT_ID, "revision": 1, "created_by": "", "updated_by": ""}
    times = dict.fromkeys(("created_at", "updated_at"), "2026-11-24T00:00:00.000000Z")
    body = {**envelope, **times, "email": ADA, "name": "Ada", **(stored.body if stored else {})}
    await store.commit([Upsert(User.KIND, ADA_ID, {**body, "role": role, "status": status, **fields})])


def caller(role: Role | None = Role.USER, email: str | None = ADA, subject: str = "s-1", **changes: Any) -> Caller:
    return Caller(subject, email, "Ada L.", TENANT_ID, role, **{"issuer": ISSUER, "email_verified": True, **changes})


def of(world: World, store: TenantStore, who: Caller, membership: str = "required", **changes: Any) -> TenantSession:
    found = entry(settings={"limits": {}, "membership": membership}, **changes)
    return replace(session(world.core, found, store, who), caller=who)


async def role(world: World, store: TenantStore, members: Members, who: Caller, **changes: Any) -> Role | None:
    return (await members.admit(of(world, store, who, **changes))).caller.role


async def stored_user(store: TenantStore) -> dict[str, Any]:
    stored = await store.get(User.KIND, ADA_ID)
    assert stored is not None
    return stored.body


# The role


@pytest.mark.parametrize(
    ("token", "stored", "held"),
    [
        (Role.ADMIN, "viewer", Role.VIEWER),
        (Role.ADMIN, "user", Role.USER),
        (Role.ADMIN, "admin", Role.ADMIN),
        (Role.USER, "admin", Role.USER),
        (Role.VIEWER, "admin", Role.VIEWER),
    ],
)
async def test_the_lower_of_token_and_user_list_counts(
    world: World, store: TenantStore, members: Members, token: Role, stored: str, held: Role
) -> None:
    await know(store, stored)
    assert await role(world, store, members, caller(token)) is held


async def test_a_user_whose_token_has_no_role_of_ours_is_refused(
    world: World, store: TenantStore, members: Members
) -> None:
    await know(store, "admin")
    with pytest.raises(Forbidden, match="none of the roles"):
        await role(world, store, members, caller(None))


async def test_no_user_list_narrows_the_staff(world: World, store: TenantStore, members: Members) -> None:
    await know(store, "viewer", "disabled", email=STAFF.email)
    assert await role(world, store, members, STAFF) is Role.PLATFORM


# Who is let in


@pytest.mark.parametrize("email", [*SPELLINGS, "grace@acme.example"])
async def test_who_is_no_user_is_not_let_in_on_the_tokens_role(
    world: World, store: TenantStore, members: Members, email: str | None
) -> None:
    await know(store, "admin")
    with pytest.raises(Forbidden, match="no user of this tenant"):
        await role(world, store, members, caller(Role.ADMIN, email))


async def test_an_unverified_address_lets_nobody_in(world: World, store: TenantStore, members: Members) -> None:
    await know(store, "admin")
    with pytest.raises(Forbidden, match="no verified e-mail"):
        await role(world, store, members, caller(email_verified=False))


@pytest.mark.parametrize("status", ["active", "invited"])
async def test_the_first_call_binds_the_user_to_the_tokens_identity(
    world: World, store: TenantStore, members: Members, status: str
) -> None:
    await know(store, status=status)
    admitted = await members.admit(of(world, store, caller()))
    user = await stored_user(store)
    assert (admitted.user_id, user["issuer"], user["subject"], user["status"]) == (ADA_ID, ISSUER, "s-1", "active")


async def test_the_first_call_is_audited_as_the_user_itself(world: World, store: TenantStore, members: Members) -> None:
    await know(store)
    await role(world, store, members, caller())
    (one,) = (await store.query(AUDIT)).items
    assert (one.body["action"], one.body["user_id"]) == ("user.signed_in", ADA_ID)


@pytest.mark.parametrize("email", [*SPELLINGS, "other@acme.example"])
async def test_a_bound_user_is_known_whatever_the_token_says_of_an_address(
    world: World, store: TenantStore, members: Members, email: str | None
) -> None:
    await know(store, "viewer")
    await role(world, store, members, caller())
    world.clock.advance(minutes=1)
    changed = caller(Role.ADMIN, email, email_verified=False)
    assert await role(world, store, members, changed) is Role.VIEWER


@pytest.mark.parametrize("other", [{"subject": "s-2"}, {"issuer": "https://another.example"}])
async def test_another_identity_with_a_bound_users_address_is_refused(
    world: World, store: TenantStore, members: Members, other: dict[str, Any]
) -> None:
    await know(store)
    await role(world, store, members, caller())
    with pytest.raises(Forbidden, match="another identity; a tenant admin can unbind"):
        await role(world, store, members, replace(caller(), **other))


@pytest.mark.parametrize("given", [Role.VIEWER, Role.ADMIN])
@pytest.mark.parametrize("membership", ["required", "open"])
async def test_a_disabled_user_is_out_before_the_first_call(
    world: World, store: TenantStore, members: Members, given: Role, membership: str
) -> None:
    await know(store, "admin", "disabled")
    with pytest.raises(Forbidden, match="disabled"):
        await role(world, store, members, caller(given), membership=membership)


@pytest.mark.parametrize("membership", ["required", "open"])
@pytest.mark.parametrize("email", [ADA, "ADA@acme.example", "new@acme.example", *SPELLINGS])
async def test_a_bound_user_who_is_disabled_is_out_whatever_address_the_token_has(
    world: World, store: TenantStore, members: Members, email: str | None, membership: str
) -> None:
    await know(store, "admin")
    await role(world, store, members, caller())
    await know(store, "admin", "disabled")
    members.forget(TENANT_ID, ADA_ID)
    with pytest.raises(Forbidden, match="disabled"):
        await role(world, store, members, caller(Role.ADMIN, email), membership=membership)


@pytest.mark.parametrize("email", SPELLINGS)
async def test_a_disabled_user_who_never_came_does_not_come_in_under_another_spelling(
    world: World, store: TenantStore, members: Members, email: str | None
) -> None:
    """A verifier makes None of such an address; this is what follows from a token that says it nevertheless."""
    await know(store, "admin", "disabled")
    with pytest.raises(Forbidden):
        await role(world, store, members, caller(Role.ADMIN, email))


# One identity, one address, one tenant


async def test_who_is_bound_in_another_tenant_is_told_so_without_its_name(
    world: World, store: TenantStore, members: Members
) -> None:
    await know(store)
    await world.core.names.reserve("email", ADA, holder=f"{OTHER_ID}/somebody")
    with pytest.raises(Forbidden, match="already belongs to another tenant") as refused:
        await role(world, store, members, caller())
    assert OTHER_ID not in str(refused.value)


async def test_an_identity_bound_in_another_tenant_is_refused_under_another_address(
    world: World, store: TenantStore, members: Members
) -> None:
    await know(store)
    await world.core.names.reserve("identity", f"{ISSUER} s-1", holder=f"{OTHER_ID}/somebody")
    with pytest.raises(Forbidden, match="already belongs to another tenant"):
        await role(world, store, members, caller())


async def test_a_reservation_whose_user_was_never_bound_to_it_is_taken_over_after_a_minute(
    world: World, store: TenantStore, members: Members
) -> None:
    other = await register(world.core, OTHER_ID)
    await know(other)  # invited there, and the process died between registry and tenant
    for sort, name in (("email", ADA), ("identity", f"{ISSUER} s-1")):
        await world.core.names.reserve(sort, name, holder=f"{OTHER_ID}/{ADA_ID}")
    await know(store)
    with pytest.raises(Forbidden):
        await role(world, store, members, caller())
    world.clock.advance(seconds=61)
    assert await role(world, store, members, caller()) is Role.USER


async def test_a_first_call_that_died_before_its_batch_is_finished_by_the_next(
    world: World, store: WatchedStore, members: Members
) -> None:
    class Crash(BaseException):
        pass

    async def die(_: Sequence[Operation]) -> None:
        raise Crash

    await know(store)
    store.before = die
    with pytest.raises(Crash):
        await role(world, store, members, caller())
    store.before = None
    assert await role(world, store, members, caller()) is Role.USER


async def test_many_first_calls_of_one_person_at_once_bind_once(world: World, twin: World, store: TenantStore) -> None:
    await know(store)
    calls = [role(process, store, new_members(process), caller()) for process in (world, twin) * 4]
    assert await asyncio.gather(*calls) == [Role.USER] * 8
    assert len((await store.query(AUDIT)).items) == 1


async def test_a_first_call_that_another_call_of_the_same_person_overtakes_is_let_in(
    world: World, store: WatchedStore, members: Members
) -> None:
    class Overtaken(WatchedStore):
        """Between the looks at the binding and at the user, the other call does both."""

        async def get(self, kind: Kind, id: str) -> Stored | None:
            if kind is User.KIND:
                await role(world, store, new_members(world), caller())
            return await super().get(kind, id)

    await know(store)
    assert await role(world, Overtaken(store), members, caller()) is Role.USER


async def test_of_two_identities_that_come_at_once_with_one_address_one_is_the_user(
    world: World, twin: World, store: TenantStore
) -> None:
    await know(store)
    calls = [
        role(process, store, new_members(process), caller(subject=f"s-{number}"))
        for number, process in enumerate((world, twin))
    ]
    came = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(type(one).__name__ for one in came) == ["NotAMember", "Role"]
    assert len((await store.query(BINDING)).items) == 1


async def test_the_identity_that_lost_the_race_for_an_address_is_free_for_another_tenant(
    world: World, store: WatchedStore
) -> None:
    await know(store)

    async def other_first(_: Sequence[Operation]) -> None:
        store.before = None
        await role(world, store, new_members(world), caller(subject="s-2"))

    store.before = other_first
    with pytest.raises(Forbidden):
        await role(world, store, new_members(world), caller(subject="s-1"))
    world.clock.advance(seconds=61)
    await world.core.names.reserve("identity", f"{ISSUER} s-1", holder=f"{OTHER_ID}/somebody")


async def test_a_user_that_changes_at_every_try_is_to_be_tried_again_later(
    world: World, store: WatchedStore, members: Members
) -> None:
    await know(store)

    async def change(_: Sequence[Operation]) -> None:
        await know(store.inner)

    store.before = change
    with pytest.raises(Unavailable):
        await role(world, store, members, caller())


# Open tenants


async def test_a_stranger_to_an_open_tenant_becomes_a_counted_user_in_one_batch(
    world: World, store: WatchedStore, members: Members
) -> None:
    assert await role(world, store, members, caller(Role.ADMIN), membership="open") is Role.ADMIN
    user, counter = await stored_user(store), await store.get(COUNTER, "users")
    assert (user["email"], user["role"], user["status"], user["subject"]) == (ADA, "admin", "active", "s-1")
    assert user["name"] == "Ada L."
    assert (counter and counter.body["value"], len(store.batches)) == (1, 1)


async def test_a_stranger_who_has_joined_is_known_by_identity_from_then_on(
    world: World, store: TenantStore, members: Members
) -> None:
    await role(world, store, members, caller(), membership="open")
    world.clock.advance(minutes=1)
    admitted = await members.admit(of(world, store, caller(email=None), membership="required"))
    assert admitted.user_id == ADA_ID


async def test_a_stranger_may_come_who_was_a_user_before_and_whom_nobody_has_removed(
    world: World, store: TenantStore, members: Members
) -> None:
    """A restore to a time before somebody came deletes them: what is left is a tombstone, and no mark."""
    ada = (await members.admit(of(world, store, caller(subject="s-0"), membership="open"))).user_id
    change = of(world, store, caller()).change()
    stored = await store.get(User.KIND, ada)
    assert stored is not None
    change.delete(Versioned.of(User, stored))
    await change.commit(None)
    assert await role(world, store, members, caller(subject="s-1"), membership="open") is Role.USER
    assert (await stored_user(store))["revision"] == 3


async def test_a_stranger_who_belongs_to_another_tenant_is_not_let_into_an_open_one(
    world: World, store: TenantStore, members: Members
) -> None:
    await world.core.names.reserve("identity", f"{ISSUER} s-1", holder=f"{OTHER_ID}/somebody")
    with pytest.raises(Forbidden, match="already belongs to another tenant"):
        await role(world, store, members, caller(), membership="open")
    assert await store.get(User.KIND, ADA_ID) is None


@pytest.mark.parametrize(("name", "kept"), [(None, ""), ("x" * 300, "x" * 255)])
async def test_a_strangers_name_is_kept_as_far_as_a_users_may_be_long(
    world: World, store: TenantStore, members: Members, name: str | None, kept: str
) -> None:
    await role(world, store, members, replace(caller(), name=name), membership="open")
    assert (await stored_user(store))["name"] == kept


async def test_a_stranger_to_an_open_tenant_that_is_full_is_told_the_quota(
    world: World, store: TenantStore, members: Members
) -> None:
    with pytest.raises(QuotaReached) as refused:
        await role(world, store, members, caller(), membership="open", max_users=0)
    assert (refused.value.members["limit"], refused.value.members["current"]) == (0, 0)


async def test_many_strangers_to_an_open_tenant_at_once_stay_within_the_quota(
    world: World, twin: World, store: TenantStore
) -> None:
    calls = [
        role(
            process,
            store,
            new_members(process),
            caller(email=f"u{number}@acme.example", subject=f"s-{number}"),
            membership="open",
            max_users=2,
        )
        for number, process in enumerate((world, twin) * 3)
    ]
    came = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(type(one).__name__ for one in came) == ["QuotaReached"] * 4 + ["Role"] * 2
    assert len((await store.query(User.KIND)).items) == 2


@pytest.mark.parametrize("changes", [{"email": None}, {"email_verified": False}])
async def test_a_stranger_without_a_verified_address_is_not_let_into_an_open_tenant(
    world: World, store: TenantStore, members: Members, changes: dict[str, Any]
) -> None:
    with pytest.raises(Forbidden, match="no verified e-mail"):
        await role(world, store, members, caller(**changes), membership="open")


async def test_a_stranger_without_a_role_is_not_let_into_an_open_tenant(
    world: World, store: TenantStore, members: Members
) -> None:
    with pytest.raises(Forbidden, match="none of the roles"):
        await role(world, store, members, caller(None), membership="open")


async def test_many_first_calls_of_one_stranger_at_once_make_one_user(
    world: World, twin: World, store: TenantStore
) -> None:
    calls = [role(process, store, new_members(process), caller(), membership="open") for process in (world, twin) * 3]
    assert await asyncio.gather(*calls) == [Role.USER] * 6
    counter = await store.get(COUNTER, "users")
    assert counter is not None and counter.body["value"] == 1


@pytest.mark.parametrize("membership", ["required", "open"])
async def test_a_binding_whose_user_is_gone_lets_nobody_in(
    world: World, store: TenantStore, members: Members, membership: str
) -> None:
    body = {"created_at": "", "user_id": user_id(TENANT_ID, "once@acme.example")}
    await store.commit([Upsert(BINDING, binding_id(ISSUER, "s-1"), body)])
    with pytest.raises(Forbidden, match="no user of this tenant"):
        await role(world, store, members, caller(), membership=membership)


# What is known for seconds


async def test_what_is_known_is_kept_for_seconds(world: World, store: TenantStore, members: Members) -> None:
    await know(store, "admin")
    await role(world, store, members, caller(Role.ADMIN))
    await know(store, "viewer")
    world.clock.advance(seconds=PROMISED_SECONDS - 0.1)
    assert await role(world, store, members, caller(Role.ADMIN)) is Role.ADMIN


async def test_what_is_known_is_read_anew_after_seconds(world: World, store: TenantStore, members: Members) -> None:
    await know(store, "admin")
    await role(world, store, members, caller(Role.ADMIN))
    await know(store, "viewer")
    world.clock.advance(seconds=PROMISED_SECONDS)
    assert await role(world, store, members, caller(Role.ADMIN)) is Role.VIEWER


async def test_of_whom_nothing_has_changed_only_the_user_is_read_anew(
    world: World, store: WatchedStore, members: Members
) -> None:
    await know(store, "admin")
    await role(world, store, members, caller(Role.ADMIN))
    world.clock.advance(seconds=PROMISED_SECONDS)
    read: list[Kind] = []

    async def get(kind: Kind, id: str) -> Stored | None:
        read.append(kind)
        return await store.inner.get(kind, id)

    store.get = get  # type: ignore[method-assign]
    assert await role(world, store, members, caller(Role.ADMIN)) is Role.ADMIN
    assert read == [User.KIND]


async def test_who_was_bound_to_another_identity_since_is_let_in_no_more(
    world: World, store: TenantStore, members: Members
) -> None:
    await know(store, "admin")
    await role(world, store, members, caller(Role.ADMIN))
    await know(store, "admin", subject="s-2", revision=3)
    world.clock.advance(seconds=PROMISED_SECONDS)
    with pytest.raises(Forbidden, match="another identity"):
        await role(world, store, members, caller(Role.ADMIN))


async def test_who_was_removed_since_is_let_in_no_more(world: World, store: TenantStore, members: Members) -> None:
    await know(store, "admin")
    await role(world, store, members, caller(Role.ADMIN))
    await store.commit([Delete(User.KIND, ADA_ID)])
    world.clock.advance(seconds=PROMISED_SECONDS)
    with pytest.raises(Forbidden, match="no user of this tenant"):
        await role(world, store, members, caller(Role.ADMIN))


async def test_what_is_forgotten_is_read_anew_at_once(world: World, store: TenantStore, members: Members) -> None:
    await know(store, "admin")
    await role(world, store, members, caller(Role.ADMIN))
    await know(store, "viewer")
    members.forget(TENANT_ID, ADA_ID)
    assert await role(world, store, members, caller(Role.ADMIN)) is Role.VIEWER


async def test_what_is_forgotten_while_it_is_being_read_is_not_kept(
    world: World, store: WatchedStore, members: Members
) -> None:
    await know(store, "admin")

    async def demote(_: Sequence[Operation]) -> None:
        members.forget(TENANT_ID, ADA_ID)

    store.before = demote
    await role(world, store, members, caller(Role.ADMIN))
    store.before = None
    await know(store, "viewer")
    assert await role(world, store, members, caller(Role.ADMIN)) is Role.VIEWER


async def test_what_is_known_of_one_tenant_is_not_forgotten_with_another(
    world: World, store: TenantStore, members: Members
) -> None:
    await know(store, "admin")
    await role(world, store, members, caller(Role.ADMIN))
    await know(store, "viewer")
    members.forget(OTHER_ID, ADA_ID)
    members.forget(TENANT_ID, "nobody")
    assert await role(world, store, members, caller(Role.ADMIN)) is Role.ADMIN


async def test_what_is_known_has_a_bound(
    world: World, store: TenantStore, members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.members.members.MOST_KNOWN", 2)
    for number in range(5):
        who = caller(email=f"u{number}@acme.example", subject=f"s-{number}")
        await role(world, store, members, who, membership="open", max_users=9)
    assert len(members._known) <= 2 < MOST_KNOWN


# Roles


@pytest.mark.parametrize(
    ("held", "needed", "enough"),
    [
        (Role.VIEWER, Role.VIEWER, True),
        (Role.VIEWER, Role.USER, False),
        (Role.USER, Role.VIEWER, True),
        (Role.ADMIN, Role.USER, True),
        (Role.ADMIN, Role.PLATFORM, False),
        (Role.PLATFORM, Role.ADMIN, True),
    ],
)
def test_a_role_includes_those_below_it(held: Role, needed: Role, enough: bool) -> None:
    assert held.includes(needed) is enough


@pytest.mark.parametrize("names", [None, 7, {}, [], [None], "", "admin"])
def test_a_claim_without_a_role_of_ours_is_none(names: Any) -> None:
    assert highest(names) is None

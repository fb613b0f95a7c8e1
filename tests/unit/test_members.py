"""What a tenant's own user list makes of a token: it narrows roles, and shuts people out at once."""

from typing import Any

import pytest

from shared.auth.members import LIVES_SECONDS, Members
from shared.auth.roles import Role, highest
from shared.context import Caller, user_id
from shared.database.port import Kind, TenantStore, Upsert
from shared.errors import Forbidden
from tests.unit.world import STAFF, TENANT_ID, FakeClock, World, register

ADA = "ada@acme.example"


@pytest.fixture
async def store(world: World) -> TenantStore:
    return await register(world.core)


@pytest.fixture
def members(world: World) -> Members:
    return Members(world.clock)


async def know(store: TenantStore, role: str, status: str = "active", email: str = ADA) -> None:
    body = {"created_at": "", "role": role, "status": status}
    await store.commit([Upsert(Kind.USER, user_id(TENANT_ID, email), body)])


def caller(role: Role | None, email: str | None = ADA) -> Caller:
    return Caller("s-1", email, None, TENANT_ID, role)


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
    store: TenantStore, members: Members, token: Role, stored: str, held: Role
) -> None:
    await know(store, stored)
    assert await members.role(store, caller(token)) is held


@pytest.mark.parametrize("email", [None, "grace@acme.example"])
async def test_a_caller_that_is_no_user_keeps_the_tokens_role(
    store: TenantStore, members: Members, email: str | None
) -> None:
    await know(store, "viewer")
    assert await members.role(store, caller(Role.ADMIN, email)) is Role.ADMIN


async def test_a_user_whose_token_has_no_role_of_ours_has_none(store: TenantStore, members: Members) -> None:
    await know(store, "admin")
    with pytest.raises(Forbidden):
        await members.role(store, caller(None))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN, None])
async def test_a_disabled_user_is_out(store: TenantStore, members: Members, role: Role | None) -> None:
    await know(store, "admin", "disabled")
    with pytest.raises(Forbidden, match="disabled"):
        await members.role(store, caller(role))


async def test_an_invited_user_is_in(store: TenantStore, members: Members) -> None:
    await know(store, "user", "invited")
    assert await members.role(store, caller(Role.USER)) is Role.USER


async def test_no_user_list_narrows_the_staff(store: TenantStore, members: Members) -> None:
    await know(store, "viewer", "disabled", STAFF.email or "")
    assert await members.role(store, STAFF) is Role.PLATFORM


async def test_the_address_is_compared_without_its_case(store: TenantStore, members: Members) -> None:
    await know(store, "viewer")
    assert await members.role(store, caller(Role.ADMIN, "ADA@Acme.Example")) is Role.VIEWER


async def test_what_is_known_is_kept_for_seconds(store: TenantStore, members: Members) -> None:
    await members.role(store, caller(Role.ADMIN))
    await know(store, "viewer")
    assert await members.role(store, caller(Role.ADMIN)) is Role.ADMIN


async def test_what_is_known_is_read_anew_after_seconds(world: World, store: TenantStore, members: Members) -> None:
    await members.role(store, caller(Role.ADMIN))
    await know(store, "viewer")
    world.clock.advance(seconds=LIVES_SECONDS)
    assert await members.role(store, caller(Role.ADMIN)) is Role.VIEWER


async def test_what_is_forgotten_is_read_anew_at_once(store: TenantStore, members: Members) -> None:
    await members.role(store, caller(Role.ADMIN))
    await know(store, "viewer")
    members.forget(TENANT_ID, user_id(TENANT_ID, ADA))
    assert await members.role(store, caller(Role.ADMIN)) is Role.VIEWER


def test_forgetting_somebody_unknown_is_no_error() -> None:
    Members(FakeClock()).forget(TENANT_ID, "nobody")


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

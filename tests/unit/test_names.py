"""Names that are unique over all tenants: taken once, given back, and taken over from whoever never came to be."""

import asyncio
from typing import Any

import pytest

from shared.database.port import Create, TenantStore
from shared.errors import Conflict
from shared.members.names import Names, issuer_holder, pair
from shared.members.users import OWN_ISSUER, User, user_id
from tests.unit.world import OTHER_ID, TENANT_ID, World, register

ADA = "ada@acme.example"


@pytest.fixture
async def names(world: World) -> Names:
    await register(world.core)
    await register(world.core, OTHER_ID)
    return world.core.names


def holder(tenant_id: str) -> str:
    return f"{tenant_id}/{user_id(tenant_id, ADA)}"


async def taken(names: Names, by: str, sort: str = "email", name: str = ADA) -> bool:
    """Whether the name was somebody else's when `by` wanted it."""
    try:
        await names.reserve(sort, name, holder=by)
    except Conflict:
        return True
    return False


async def exists(world: World, tenant_id: str) -> None:
    """The user whose name was reserved comes to be bound to it."""
    store: TenantStore | None = await world.core.directory.store(tenant_id)
    assert store is not None
    bound = {"created_at": "", "issuer": "https://login.test", "subject": "s-1"}
    await store.commit([Create(User.KIND, user_id(tenant_id, ADA), bound)])


async def test_a_name_is_taken_once(names: Names) -> None:
    assert [await taken(names, holder(id)) for id in (TENANT_ID, OTHER_ID)] == [False, True]


async def test_a_name_is_taken_again_by_its_own_holder(names: Names) -> None:
    assert [await taken(names, holder(TENANT_ID)) for _ in range(2)] == [False, False]


async def test_the_same_name_of_another_sort_is_another_name(names: Names) -> None:
    await taken(names, holder(TENANT_ID))
    assert not await taken(names, OTHER_ID, sort="slug")


async def test_of_many_who_want_a_name_at_once_one_gets_it(world: World, twin: World, names: Names) -> None:
    wanted = [taken(process.core.names, f"{TENANT_ID}/{n}") for n, process in enumerate((world, twin) * 4)]
    assert (await asyncio.gather(*wanted)).count(False) == 1


async def test_many_calls_of_one_holder_at_once_all_get_it(world: World, twin: World, names: Names) -> None:
    for _ in range(2):
        wanted = [taken(process.core.names, holder(TENANT_ID)) for process in (world, twin) * 3]
        assert not any(await asyncio.gather(*wanted))
        world.clock.advance(minutes=2)  # the second time it is an old reservation that they all renew


async def test_a_name_given_back_is_free(names: Names) -> None:
    await taken(names, holder(TENANT_ID))
    await names.release("email", ADA, holder=holder(TENANT_ID))
    assert not await taken(names, holder(OTHER_ID))


async def test_a_name_is_given_back_by_its_holder_only(names: Names) -> None:
    await taken(names, holder(TENANT_ID))
    await names.release("email", ADA, holder=holder(OTHER_ID))
    assert await taken(names, holder(OTHER_ID))


async def test_a_holder_who_begins_again_has_the_name_and_the_attempt_before_cannot_give_it_back(
    world: World, names: Names
) -> None:
    await exists(world, TENANT_ID)
    for attempt in ("one", "two", "two"):
        await names.reserve("slug", "acme", holder=TENANT_ID, attempt=attempt)
    taken_then = []
    for attempt in ("one", "two"):
        await names.release("slug", "acme", holder=TENANT_ID, attempt=attempt)
        taken_then.append(await taken(names, OTHER_ID, "slug", "acme"))
    assert taken_then == [True, False]


async def test_giving_back_what_nobody_has_is_no_error(names: Names) -> None:
    await names.release("email", ADA, holder=holder(TENANT_ID))


async def test_an_orphan_is_taken_over_after_a_minute(world: World, names: Names) -> None:
    await taken(names, holder(TENANT_ID))
    world.clock.advance(seconds=60)
    before = await taken(names, holder(OTHER_ID))
    world.clock.advance(seconds=1)
    assert (before, await taken(names, holder(OTHER_ID))) == (True, False)


async def test_a_name_in_use_is_never_taken_over(world: World, names: Names) -> None:
    await taken(names, holder(TENANT_ID))
    await exists(world, TENANT_ID)
    world.clock.advance(days=365)
    assert await taken(names, holder(OTHER_ID))


async def test_a_holder_that_comes_back_to_its_old_reservation_is_no_orphan(world: World, names: Names) -> None:
    """Else two tenants could both be on their way to a user of this address."""
    await taken(names, holder(TENANT_ID))
    world.clock.advance(minutes=2)
    assert [await taken(names, holder(id)) for id in (TENANT_ID, OTHER_ID)] == [False, True]


@pytest.mark.parametrize(("name", "is_taken"), [("https://login.test s-1", True), ("https://login.test s-2", False)])
async def test_an_identity_is_in_use_only_while_its_user_is_bound_to_that_very_one(
    world: World, names: Names, name: str, is_taken: bool
) -> None:
    await exists(world, TENANT_ID)
    await taken(names, holder(TENANT_ID), "identity", name)
    world.clock.advance(minutes=2)
    assert await taken(names, holder(OTHER_ID), "identity", name) is is_taken


@pytest.mark.parametrize(("audience", "is_taken"), [("flowgrid", True), ("another", False)])
async def test_a_pair_is_in_use_only_while_the_issuer_of_that_id_is_that_very_one(
    world: World, names: Names, audience: str, is_taken: bool
) -> None:
    store = await world.core.directory.store(TENANT_ID)
    assert store is not None
    await store.commit([Create(OWN_ISSUER, "id", {"created_at": "", "issuer": "https://a.test", "audience": audience})])
    wanted = pair("https://a.test", "flowgrid")
    await taken(names, issuer_holder(TENANT_ID, "id", "one"), "issuer", wanted)
    world.clock.advance(minutes=2)
    assert await taken(names, issuer_holder(OTHER_ID, "id", "two"), "issuer", wanted) is is_taken


async def test_two_attempts_at_one_issuer_do_not_share_its_pair(names: Names) -> None:
    one, two = (issuer_holder(TENANT_ID, "id", attempt) for attempt in ("one", "two"))
    assert [await taken(names, by, "issuer", "x") for by in (one, two)] == [False, True]
    await names.release("issuer", "x", holder=two)
    assert await taken(names, two, "issuer", "x")


async def test_an_address_whose_user_never_came_is_not_in_use(world: World, names: Names) -> None:
    store = await world.core.directory.store(TENANT_ID)
    assert store is not None
    await store.commit([Create(User.KIND, user_id(TENANT_ID, ADA), {"created_at": "", "subject": None})])
    await taken(names, holder(TENANT_ID))
    world.clock.advance(minutes=2)
    assert not await taken(names, holder(OTHER_ID))


async def test_the_slug_of_a_tenant_that_is_being_made_is_in_use(world: World, names: Names) -> None:
    third = "0190c2a8-7e10-7abc-8def-000000000003"
    await register(world.core, third, status="provisioning")
    await taken(names, third, "slug", "third")
    world.clock.advance(minutes=2)
    assert await taken(names, OTHER_ID, "slug", "third")


async def test_a_slug_is_in_use_as_long_as_its_tenant_is_there(world: World, names: Names) -> None:
    for by in (TENANT_ID, "0190c2a8-7e10-7abc-8def-00000000dead"):
        await taken(names, by, "slug", by)
    world.clock.advance(minutes=2)
    wanted: list[Any] = [
        await taken(names, OTHER_ID, "slug", name) for name in (TENANT_ID, "0190c2a8-7e10-7abc-8def-00000000dead")
    ]
    assert wanted == [True, False]

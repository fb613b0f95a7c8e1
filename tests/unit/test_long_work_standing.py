"""A job that deletes goes on only while what its beginner was an admin by is there."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.auth.caller import Caller
from shared.auth.roles import Role
from tests.unit.catalog_world import file_of, process
from tests.unit.keys_world import by_key, key_of, member
from tests.unit.world import STAFF, Answer, World, admin, person

XML = {"content-type": "application/xml"}
MIRROR = {"mode": "mirror"}
Call = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def tenant(world: World) -> str:
    id = str((await world.onboard())["id"])
    await world.call("import_catalog", admin(id), file_of(process("a"), process("b")), headers=XML)
    return id


async def model_of(world: World, tenant: str) -> dict[str, str]:
    [model] = (await world.call("list_models", admin(tenant))).json["items"]
    return {"model_id": model["id"]}


async def begun(world: World, tenant: str, what: str, call: Call) -> str:
    """The id of a mirror, or of a deletion, begun by this call."""
    if what == "mirror":
        answer = await call("begin_import", file_of(process("a")), headers=XML, query=MIRROR)
    else:
        answer = await call("begin_model_deletion", None, params=await model_of(world, tenant))
    assert answer.status == 202, answer.raw
    return str(answer.json["id"])


async def ended(world: World, tenant: str, job: str) -> tuple[str, int]:
    """What became of the job, and how many elements are left."""
    for _ in range(50):
        await world.drain()
        world.clock.advance(minutes=2)
        found = (await world.call("get_job", admin(tenant), params={"job_id": job})).json
        if found["status"] not in ("queued", "running"):
            left = (await world.call("list_elements", admin(tenant))).json["items"]
            return found["status"], len(left)
    raise AssertionError(found)


def as_caller(world: World, caller: Caller, **headers: str) -> Call:
    async def call(name: str, body: Any, **rest: Any) -> Answer:
        return await world.call(name, caller, body, headers={**rest.pop("headers", {}), **headers}, **rest)

    return call


@pytest.mark.parametrize("what", ["mirror", "deletion"])
@pytest.mark.parametrize(
    ("name", "body"),
    [("delete_user", None), ("patch_user", {"role": "user"}), ("patch_user", {"status": "disabled"}), ("", None)],
)
async def test_of_a_user_while_they_are_an_admin(
    world: World, tenant: str, what: str, name: str, body: dict[str, str] | None
) -> None:
    grace = await member(world, tenant)
    job = await begun(world, tenant, what, as_caller(world, grace))
    if name:
        user = {"user_id": (await world.call("get_me", grace)).json["user"]["id"]}
        assert (await world.call(name, admin(tenant), body, params=user)).status in (200, 204)
    assert await ended(world, tenant, job) == (("failed", 2) if name else ("succeeded", what == "mirror"))


@pytest.mark.parametrize("what", ["mirror", "deletion"])
@pytest.mark.parametrize("end", ["revoked", "expired", "user", ""])
async def test_by_an_api_key_while_it_is_good(world: World, tenant: str, what: str, end: str) -> None:
    grace = await member(world, tenant)
    key = await key_of(world, grace)

    async def call(name: str, body: Any, **rest: Any) -> Answer:
        return await by_key(world, key["key"], name, body, **rest)

    job = await begun(world, tenant, what, call)
    if end == "revoked":
        assert (await world.call("delete_api_key", grace, params={"api_key_id": key["id"]})).status == 204
    elif end == "expired":
        world.clock.advance(days=91)
    elif end == "user":
        user = {"user_id": key["user_id"]}
        assert (await world.call("delete_user", admin(tenant), params=user)).status == 204
        await member(world, tenant)  # invited again: the key is that of nobody who is here
    assert await ended(world, tenant, job) == (("failed", 2) if end else ("succeeded", what == "mirror"))


@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize("end", [False, True])
async def test_of_who_signs_in_by_the_tenants_own_issuer_while_that_is_taken(
    world: World, tenant: str, key: bool, end: bool
) -> None:
    email, own = "ida@acme.example", "https://login.acme.example"
    assert (await world.call("create_user", admin(tenant), {"email": email, "role": "admin"})).status == 201
    issuer = {"issuer": own, "audience": "flowgrid", "email_domains": ["acme.example"]}
    set_up = await world.call("create_issuer", admin(tenant), issuer)
    ida = replace(person(tenant, Role.ADMIN, email), issuer=own, own_issuer=True)
    text = (await key_of(world, ida))["key"] if key else ""

    async def call(name: str, body: Any, **rest: Any) -> Answer:
        return await (by_key(world, text, name, body, **rest) if key else world.call(name, ida, body, **rest))

    job = await begun(world, tenant, "mirror", call)
    if end:
        params = {"issuer_id": set_up.json["id"]}
        assert (await world.call("delete_issuer", admin(tenant), params=params)).status == 204
    assert await ended(world, tenant, job) == (("failed", 2) if end else ("succeeded", 1))


@pytest.mark.parametrize("what", ["mirror", "deletion"])
@pytest.mark.parametrize("end", ["ended", "over", ""])
async def test_of_staff_while_their_grant_is_open(world: World, tenant: str, what: str, end: str) -> None:
    grant = await world.break_glass(tenant)
    job = await begun(world, tenant, what, as_caller(world, STAFF, **{"x-tenant-id": tenant}))
    if end == "ended":
        ids = {"access_id": grant["id"]}
        assert (await world.call("end_staff_access", admin(tenant), params=ids)).status == 200
    elif end == "over":
        world.clock.advance(hours=2)
    assert await ended(world, tenant, job) == (("failed", 2) if end else ("succeeded", what == "mirror"))

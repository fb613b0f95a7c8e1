"""Onboarding with a dedicated database that a job makes: provisioning until it is there, whatever happens meanwhile."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import function_app
from functions.tenants.onboarding import Onboarding
from functions.tenants.provisioning import ANEW_AFTER, MOST_SLICES, Provisioning, job_id
from shared.database.port import Kind, Provisioner
from shared.errors import Conflict, Unavailable
from shared.jobs import MAX_ATTEMPTS
from shared.tenancy import PLATFORM_TENANT_ID
from tests.unit.world import STAFF, Answer, World, admin

NEW = {"name": "Acme", "slug": "acme", "tier": "enterprise", "admin_email": "ada@acme.example"}
FORBIDDEN = Unavailable("The app's identity needs the role Cosmos DB Operator on /subscriptions/…")


class FakeProvisioner(Provisioner):
    """Answers as it is told, in turn; then the database is there."""

    def __init__(self) -> None:
        self.answers: list[str | BaseException | None] = []
        self.calls: list[tuple[str, str | None]] = []

    async def ensure(self, database: str, operation: str | None = None) -> str | None:
        self.calls.append((database, operation))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def close(self) -> None:
        return None


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture
def arm() -> FakeProvisioner:
    return FakeProvisioner()


@pytest.fixture
async def cloud(tmp_path: Path, arm: FakeProvisioner) -> AsyncIterator[World]:
    """A process whose dedicated databases are made by a provisioner."""
    own = World.over(tmp_path / "data")
    core = replace(own.core, adapters=replace(own.core.adapters, provisioner=arm))
    app = function_app.compose(core)
    functions = {str(one.get_function_name()): one.get_user_function() for one in app.get_functions()}
    yield World(core, app, own.clock, own.verifier, functions)
    await core.close()


async def onboard(world: World, **changes: Any) -> Answer:
    return await world.call("onboard_tenant", STAFF, {**NEW, **changes})


async def tenant(world: World) -> dict[str, Any]:
    (found,) = (await world.call("list_tenants", STAFF)).json["items"]
    return dict(found)


async def job(world: World) -> dict[str, Any]:
    params = {"job_id": (await tenant(world))["provisioning_job"]}
    return dict((await world.call("get_job", STAFF, params=params, headers={"x-tenant-id": PLATFORM_TENANT_ID})).json)


async def run(world: World, **later: float) -> None:
    world.clock.advance(**later)
    await world.drain()


async def works(world: World) -> bool:
    answer = await world.call("get_me", admin((await tenant(world))["id"], "ada@acme.example"))
    return answer.status == 200 and answer.json["user"]["role"] == "admin"


async def test_a_dedicated_tenant_is_answered_while_its_database_is_made(cloud: World) -> None:
    answer = await onboard(cloud)
    assert (answer.status, answer.json["status"]) == (201, "provisioning")
    assert answer.json["provisioning_job"] == job_id(answer.json["id"])
    assert (await job(cloud))["status"] == "queued"


async def test_the_job_makes_the_database_and_the_tenant_works(cloud: World, arm: FakeProvisioner) -> None:
    id = (await onboard(cloud)).json["id"]
    await run(cloud)
    assert arm.calls == [(f"tenant-{id}", None)]
    assert ((await tenant(cloud))["status"], await works(cloud)) == ("trial", True)
    assert (await job(cloud))["result"] == {"tenant_id": id, "status": "trial"}


async def test_the_staff_member_who_asked_is_in_the_audit_trail(cloud: World) -> None:
    id = (await onboard(cloud)).json["id"]
    await run(cloud)
    entries = (await cloud.call("list_audit", admin(id))).json["items"]
    assert {entry["user_id"] for entry in entries} == {(await tenant(cloud))["created_by"]}


async def test_a_shared_tenant_works_at_once(cloud: World, arm: FakeProvisioner) -> None:
    answer = await onboard(cloud, tier="standard")
    assert (answer.json["status"], answer.json["provisioning_job"], arm.calls) == ("trial", None, [])


async def test_without_a_provisioner_a_dedicated_tenant_works_at_once(world: World) -> None:
    answer = await onboard(world)
    assert (answer.json["status"], answer.json["provisioning_job"]) == ("trial", None)


async def test_a_tenant_in_provisioning_takes_no_calls(cloud: World) -> None:
    id = (await onboard(cloud)).json["id"]
    assert (await cloud.call("list_agents", admin(id))).status in (403, 404, 409, 503)


async def test_a_taken_slug_is_told_before_anything_is_made(cloud: World, arm: FakeProvisioner) -> None:
    await onboard(cloud, tier="standard")
    answer = await onboard(cloud, admin_email="other@acme.example")
    await run(cloud)
    assert (answer.status, arm.calls) == (409, [])


async def test_a_long_operation_is_followed_slice_by_slice(cloud: World, arm: FakeProvisioner) -> None:
    arm.answers = ["operation-1", "operation-1", None]
    await onboard(cloud)
    await run(cloud)
    assert [operation for _, operation in arm.calls] == [None, "operation-1", "operation-1"]
    assert await works(cloud)


async def test_an_operation_without_an_end_fails_the_job(cloud: World, arm: FakeProvisioner) -> None:
    arm.answers = ["operation-1"] * (MOST_SLICES + 5)
    await onboard(cloud)
    await run(cloud)
    assert ((await job(cloud))["status"], len(arm.calls)) == ("failed", MOST_SLICES)


async def test_a_missing_permission_shows_on_the_job_and_is_tried_again(cloud: World, arm: FakeProvisioner) -> None:
    arm.answers = [FORBIDDEN]
    await onboard(cloud)
    await run(cloud)
    found = await job(cloud)
    assert (found["status"], found["error"]) == ("queued", FORBIDDEN.message)
    assert (await tenant(cloud))["status"] == "provisioning"
    await run(cloud, seconds=2)
    assert await works(cloud)


async def test_a_job_that_gave_up_is_begun_anew_by_the_sweep(cloud: World, arm: FakeProvisioner) -> None:
    arm.answers = [FORBIDDEN] * MAX_ATTEMPTS
    await onboard(cloud)
    for _ in range(MAX_ATTEMPTS + 1):
        await run(cloud, minutes=5)
    assert (await job(cloud))["status"] == "failed"
    await cloud.sweep()
    assert (await job(cloud))["status"] == "failed"
    cloud.clock.advance(seconds=ANEW_AFTER.total_seconds())
    await cloud.sweep()
    await run(cloud)
    assert ((await job(cloud))["status"], await works(cloud)) == ("succeeded", True)


async def test_a_job_that_is_left_when_nobody_makes_databases_any_more_says_so(
    cloud: World, arm: FakeProvisioner
) -> None:
    await onboard(cloud)
    later = function_app.compose(replace(cloud.core, adapters=replace(cloud.core.adapters, provisioner=None)))
    functions = {str(one.get_function_name()): one.get_user_function() for one in later.get_functions()}
    await functions["drain_queues"](None)
    found = await job(cloud)
    assert (found["status"], "FLOWGRID_COSMOS_ACCOUNT_ID" in found["error"], arm.calls) == ("failed", True, [])


async def test_a_database_of_another_shape_fails_the_job_and_says_so(cloud: World, arm: FakeProvisioner) -> None:
    arm.answers = [Conflict("items is there already, with another partition key")]
    await onboard(cloud)
    await run(cloud)
    found = await job(cloud)
    assert (found["status"], "partition key" in found["error"]) == ("failed", True)


async def test_the_sweep_begins_the_job_that_a_crash_kept_back(cloud: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = cloud.core.names.reserve

    async def crashing(sort: str, name: str, *, holder: str) -> None:
        raise Crash

    monkeypatch.setattr(cloud.core.names, "reserve", crashing)
    with pytest.raises(Crash):
        await onboard(cloud)
    monkeypatch.setattr(cloud.core.names, "reserve", reserve)
    cloud.clock.advance(seconds=31)
    await cloud.sweep()
    await run(cloud)
    assert await works(cloud)


async def test_a_crash_after_the_database_was_made_is_survived(cloud: World, arm: FakeProvisioner) -> None:
    arm.answers = [Crash(), None]
    await onboard(cloud)
    with pytest.raises(Crash):
        await run(cloud)
    for _ in range(3):
        cloud.clock.advance(minutes=6)
        await cloud.sweep()
        await cloud.drain()
    assert ((await job(cloud))["status"], await works(cloud)) == ("succeeded", True)


async def test_one_tenant_that_waits_keeps_no_other_onboarding_from_being_finished(
    cloud: World, arm: FakeProvisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    await onboard(cloud)
    database = cloud.core.adapters.database
    provision = database.provision

    async def crashing(placement: Any) -> None:
        raise Crash

    monkeypatch.setattr(database, "provision", crashing)
    with pytest.raises(Crash):
        await onboard(cloud, slug="other", tier="standard", admin_email="bob@other.example")
    monkeypatch.setattr(database, "provision", provision)
    arm.answers = [FORBIDDEN] * 100
    cloud.clock.advance(seconds=31)
    await cloud.sweep()
    found = {one["slug"]: one["status"] for one in (await cloud.call("list_tenants", STAFF)).json["items"]}
    assert found == {"acme": "provisioning", "other": "trial"}


async def test_asking_again_with_the_same_key_begins_no_second_job(cloud: World) -> None:
    first = await cloud.call("onboard_tenant", STAFF, NEW, headers={"idempotency-key": "k"})
    again = await cloud.call("onboard_tenant", STAFF, NEW, headers={"idempotency-key": "k"})
    assert first.json == again.json
    found = await cloud.core.directory.open(cloud.core.directory.platform).query(Kind.JOB)
    assert len(found.items) == 1


async def test_a_restore_into_a_new_tenant_waits_for_its_database(cloud: World) -> None:
    like = await cloud.onboard("like", tier="standard")
    entry = await cloud.core.directory.entry(like["id"])
    assert entry is not None
    entry = replace(entry, placement=replace(entry.placement, mode="dedicated"))
    onboarding = onboarding_of(cloud)

    async def restore() -> None:
        await onboarding.onboard_like(
            tenant_id="0190c2a8-7e10-7abc-8def-0000000000aa",
            name="Copy",
            slug="copy",
            admin_email="ada@copy.example",
            like=entry,
        )

    with pytest.raises(Unavailable, match="being made"):
        await restore()
    await run(cloud)
    await restore()


def onboarding_of(world: World) -> Onboarding:
    core = world.core
    jobs = Provisioning(FakeProvisioner(), core.directory, core.services, core.settings.jobs_queue)
    return Onboarding(core.adapters.database, core.directory, core.names, core.services, 1, "local", jobs)

"""Onboarding with a dedicated database that a job makes: provisioning until it is there, whatever happens meanwhile."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import function_app
from functions.tenants.models import NewTenant
from functions.tenants.onboarding import Onboarding
from functions.tenants.provisioning import ANEW_AFTER, MOST_SLICES, Provisioning, job_id
from shared.database.port import Create, Delete, Replace
from shared.database.provisioning import Provisioner
from shared.errors import Conflict, Full, Unavailable
from shared.ids import PLATFORM_TENANT_ID
from shared.jobs.jobs import MAX_ATTEMPTS, Job
from shared.tenancy.directory import TENANT
from tests.unit.world import STAFF, Answer, World, admin, session

NEW = {"name": "Acme", "slug": "acme", "tier": "enterprise", "admin_email": "ada@acme.example"}
FORBIDDEN = Unavailable("The app's identity needs the role Cosmos DB Operator on /subscriptions/…")


class FakeProvisioner(Provisioner):
    """Answers as it is told, in turn; then the database is there."""

    def __init__(self) -> None:
        self.answers: list[str | BaseException | None] = []
        self.calls: list[tuple[str, str | None]] = []
        self.discarded: list[str] = []
        self.most = 100

    def room(self, shards: int) -> int:
        return self.most

    async def ensure(self, database: str, operation: str | None = None, *, tenant_id: str) -> str | None:
        self.calls.append((database, operation))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def discard(self, database: str) -> None:
        self.discarded.append(database)

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
    yield with_room_for(own, arm, 100)
    await own.close()


def with_room_for(world: World, arm: FakeProvisioner, most: int) -> World:
    """The same, in an account of so many places."""
    arm.most = most
    core = replace(world.core, adapters=replace(world.core.adapters, provisioner=arm))
    app = function_app.compose(core)
    functions = {str(one.get_function_name()): one.get_user_function() for one in app.get_functions()}
    return World(core, app, world.clock, world.verifier, functions)


async def onboard(world: World, *, headers: Mapping[str, str] | None = None, **changes: Any) -> Answer:
    return await world.call("onboard_tenant", STAFF, {**NEW, **changes}, headers=headers)


def database_of(answer: Answer) -> str:
    return str(answer.json["placement"]["database"])


async def tenant(world: World) -> dict[str, Any]:
    (found,) = (await world.call("list_tenants", STAFF)).json["items"]
    return dict(found)


async def job(world: World) -> dict[str, Any]:
    params = {"job_id": (await tenant(world))["job_id"]}
    return dict((await world.call("get_job", STAFF, params=params, headers={"x-tenant-id": PLATFORM_TENANT_ID})).json)


async def run(world: World, **later: float) -> None:
    world.clock.advance(**later)
    await world.drain()


async def run_job(world: World, arm: FakeProvisioner, onboarded: Answer) -> None:
    """One slice of the job that makes this one's database."""
    jobs = world.core.jobs({"provision": onboarding_of(world, arm).run_provision})
    await jobs.run(PLATFORM_TENANT_ID, onboarded.json["job_id"])


async def works(world: World) -> bool:
    answer = await world.call("get_me", admin((await tenant(world))["id"], "ada@acme.example"))
    return answer.status == 200 and answer.json["user"]["role"] == "admin"


async def test_a_dedicated_tenant_is_answered_while_its_database_is_made(cloud: World) -> None:
    answer = await onboard(cloud)
    assert (answer.status, answer.json["status"]) == (201, "provisioning")
    assert answer.json["job_id"] == job_id(database_of(answer))
    assert (await job(cloud))["status"] == "queued"
    assert answer.headers["Location"] == f"/api/v1/platform/tenants/{answer.json['id']}"
    assert answer.headers.get("Retry-After") == "10"


async def test_the_job_makes_the_database_and_the_tenant_works(cloud: World, arm: FakeProvisioner) -> None:
    answer = await onboard(cloud)
    await run(cloud)
    assert arm.calls == [(database_of(answer), None)]
    assert ((await tenant(cloud))["status"], await works(cloud)) == ("trial", True)
    assert (await job(cloud))["result"] == {"tenant_id": answer.json["id"], "status": "trial"}


async def test_the_staff_member_who_asked_is_in_the_audit_trail(cloud: World) -> None:
    id = (await onboard(cloud)).json["id"]
    await run(cloud)
    entries = (await cloud.call("list_audit", admin(id))).json["items"]
    assert {entry["user_id"] for entry in entries} == {(await tenant(cloud))["created_by"]}


async def test_a_shared_tenant_works_at_once(cloud: World, arm: FakeProvisioner) -> None:
    answer = await onboard(cloud, tier="standard")
    assert (answer.json["status"], answer.json["job_id"], arm.calls) == ("trial", None, [])


async def test_without_a_provisioner_a_dedicated_tenant_works_at_once(world: World) -> None:
    answer = await onboard(world)
    assert (answer.json["status"], answer.json["job_id"]) == ("trial", None)


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

    async def crashing(*_: Any, **__: Any) -> None:
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
    found = await cloud.core.directory.open(cloud.core.directory.flowgrid).query(Job.KIND)
    assert len(found.items) == 1


async def test_asking_again_does_not_tell_of_a_tenant_that_has_been_undone_since(
    cloud: World, arm: FakeProvisioner
) -> None:
    arm.answers = [Full("There is no room.")]
    first = await onboard(cloud, headers={"idempotency-key": "k"})
    await run(cloud)
    again = await onboard(cloud, headers={"idempotency-key": "k"})
    assert (first.status, again.status, again.json["id"]) == (201, 409, first.json["id"])
    assert "is gone since" in again.json["error"]


async def test_asking_again_does_not_tell_of_a_tenant_that_is_being_undone(cloud: World, arm: FakeProvisioner) -> None:
    first = await onboard(cloud, headers={"idempotency-key": "k"})
    platform, id = cloud.core.adapters.database.platform, first.json["id"]
    held = await platform.get(TENANT, id, id)
    assert held is not None
    await platform.put(Replace(TENANT, id, {**held.body, "status": "deleting", "undo": True}, held.etag), id)
    assert (await onboard(cloud, headers={"idempotency-key": "k"})).status == 409


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


async def test_without_a_place_left_an_onboarding_is_refused_before_anything_is_made(
    cloud: World, arm: FakeProvisioner
) -> None:
    small = with_room_for(cloud, arm, 1)
    first = await onboard(small)
    refused = await onboard(small, slug="globex")
    assert (first.status, refused.status, refused.json["code"]) == (201, 507, "full")
    assert "another stamp" in refused.json["error"]
    assert [one["slug"] for one in (await small.call("list_tenants", STAFF)).json["items"]] == ["acme"]
    await run(small)
    assert [database for database, _ in arm.calls] == [database_of(first)]
    shared = await onboard(small, slug="globex", dedicated=False)
    assert (shared.status, shared.json["status"]) == (201, "trial")


async def test_an_onboarding_that_has_its_place_goes_on_when_there_is_no_other(
    cloud: World, arm: FakeProvisioner
) -> None:
    small = with_room_for(cloud, arm, 1)
    first, again = [await onboard(small, headers={"idempotency-key": "k"}) for _ in range(2)]
    assert (again.status, again.json) == (201, first.json)


async def test_of_two_for_the_last_place_one_gets_it_and_nothing_stays_of_the_other(
    cloud: World, arm: FakeProvisioner
) -> None:
    """Both were counted before either was entered; Azure refuses the one that comes second."""
    first, second = await onboard(cloud), await onboard(cloud, slug="globex", admin_email="bob@globex.example")
    arm.answers = [None, Full("This account holds 500 databases and containers, which is all it can.")]
    await run(cloud)
    assert [one["id"] for one in (await cloud.call("list_tenants", STAFF)).json["items"]] == [first.json["id"]]
    assert await works(cloud)
    assert arm.discarded == [database_of(second)]
    params = {"job_id": second.json["job_id"]}
    failed = await cloud.call("get_job", STAFF, params=params, headers={"x-tenant-id": PLATFORM_TENANT_ID})
    assert (failed.json["status"], "500 databases" in failed.json["error"]) == ("failed", True)
    shared = await onboard(cloud, slug="globex", dedicated=False)
    assert (shared.status, shared.json["status"]) == (201, "trial")


@pytest.mark.parametrize("turn", [1, -1], ids=["the first first", "the second first"])
async def test_of_two_that_each_hold_a_part_of_the_last_place_the_first_waits_for_the_second_to_give_it_back(
    cloud: World, arm: FakeProvisioner, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """Each has its database, and neither has room for its containers."""
    both = [await onboard(cloud, slug=slug, admin_email=f"ada@{slug}.example") for slug in ("acme", "globex")]
    second = database_of(both[1])

    async def ensure(database: str, operation: str | None = None, *, tenant_id: str) -> None:
        if second not in arm.discarded:
            raise Full("There is no room.")

    monkeypatch.setattr(arm, "ensure", ensure)
    for answer in both[::turn]:
        await run_job(cloud, arm, answer)
    await run(cloud, seconds=31)
    assert ((await tenant(cloud))["slug"], (await tenant(cloud))["status"]) == ("acme", "trial")
    assert arm.discarded == [second]


async def test_who_waits_for_a_place_that_nobody_gives_back_is_undone(cloud: World, arm: FakeProvisioner) -> None:
    first = await onboard(cloud)
    second = await onboard(cloud, slug="globex", admin_email="bob@globex.example")
    arm.answers = [Full("There is no room.")] * 3
    for answer in (first, second, first):
        await run_job(cloud, arm, answer)
        cloud.clock.advance(seconds=31)
    assert (await cloud.call("list_tenants", STAFF)).json["items"] == []
    assert set(arm.discarded) == {database_of(first), database_of(second)}


async def test_a_place_that_is_given_back_slowly_keeps_no_reason_from_being_told(
    cloud: World, arm: FakeProvisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(database: str) -> None:
        raise Unavailable("It is still being deleted.")

    made = await onboard(cloud)
    arm.answers = [Full("There is no room.")]
    with monkeypatch.context() as deleting:
        deleting.setattr(arm, "discard", slow)
        await run(cloud)
        assert ((await job(cloud))["status"], (await job(cloud))["error"]) == ("failed", "There is no room.")
    cloud.clock.advance(minutes=1)
    await cloud.sweep()
    assert (await cloud.call("list_tenants", STAFF)).json["items"] == []
    assert arm.discarded == [database_of(made)]


@pytest.mark.parametrize("died", ["discard", "release"])
async def test_what_was_made_for_a_tenant_without_a_place_is_unmade_by_the_sweep_too(
    cloud: World, arm: FakeProvisioner, died: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crashing(*_: Any, **__: Any) -> None:
        raise Crash

    database = database_of(await onboard(cloud))
    arm.answers = [Full("There is no room.")]
    with monkeypatch.context() as dying, pytest.raises(Crash):
        dying.setattr(arm if died == "discard" else cloud.core.names, died, crashing)
        await run(cloud)
    cloud.clock.advance(minutes=5)
    await cloud.sweep()
    assert (await cloud.call("list_tenants", STAFF)).json["items"] == []
    assert set(arm.discarded) == {database}
    made = len(arm.calls)
    await run(cloud, minutes=10)
    assert len(arm.calls) == made, "nothing is made for a tenant that is not wanted any more"
    assert (await onboard(cloud, dedicated=False)).status == 201


async def test_who_stalled_in_an_undo_harms_no_later_tenant_of_the_same_id(
    cloud: World, arm: FakeProvisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile a sweep has undone it, and the same request (the same idempotency key) has onboarded it again."""
    core, id = cloud.core, "0190c2a8-7e10-7abc-8def-00000000000e"
    onboarding = onboarding_of(cloud, arm)
    staff = session(core, core.directory.flowgrid, core.directory.open(core.directory.flowgrid), STAFF)
    first = await onboarding.onboard(staff, NewTenant.model_validate_json(json.dumps(NEW)), id=id)
    arm.answers = [Full("There is no room.")]
    discard, again = arm.discard, list[str]()

    async def stalled(database: str) -> None:
        monkeypatch.setattr(arm, "discard", discard)
        with pytest.raises(Conflict):
            await onboarding.finish(id)  # the sweep
        made = await onboarding.onboard(staff, NewTenant.model_validate_json(json.dumps(NEW)), id=id)
        again.append(made.placement.database)
        await onboarding.finish(id, made=made.placement.database)
        await discard(database)

    monkeypatch.setattr(arm, "discard", stalled)
    await run(cloud)
    assert (await tenant(cloud))["status"] == "trial"
    assert again != [first.placement.database]
    assert set(arm.discarded) == {first.placement.database}


async def test_a_database_that_was_made_is_unmade_whatever_the_onboarding_is_undone_for(
    cloud: World, arm: FakeProvisioner
) -> None:
    """Its slug is lost between the job's beginning and its end: a restore that gives up gives the slug back."""
    lost = await onboard(cloud)
    await cloud.core.names.release("slug", "acme", holder=lost.json["id"])
    assert (await onboard(cloud, tier="standard", admin_email="other@acme.example")).status == 201
    await run(cloud)
    assert (await tenant(cloud))["tier"] == "standard"
    assert set(arm.discarded) == {database_of(lost)}


@pytest.mark.parametrize("again", [False, True], ids=["undone", "begun again"])
async def test_a_job_unmakes_what_it_has_made_for_an_onboarding_that_was_undone_meanwhile(
    cloud: World, arm: FakeProvisioner, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Else it would make a database after the one that undoes has looked for it, or finish another attempt's tenant."""
    core = cloud.core
    first = await onboard(cloud)
    id, platform, ensure = first.json["id"], core.adapters.database.platform, arm.ensure

    async def overtaken(database: str, operation: str | None = None, *, tenant_id: str) -> str | None:
        monkeypatch.setattr(arm, "ensure", ensure)
        held = await platform.get(TENANT, id, id)
        assert held is not None
        await platform.put(Delete(TENANT, id, held.etag), id)
        if again:
            placement = {**held.body["placement"], "database": "another"}
            await platform.put(Create(TENANT, id, {**held.body, "placement": placement}), id)
        return await ensure(database, operation, tenant_id=tenant_id)

    monkeypatch.setattr(arm, "ensure", overtaken)
    await run(cloud)
    assert arm.discarded == [database_of(first)]
    left = (await cloud.call("list_tenants", STAFF)).json["items"]
    assert [one["status"] for one in left] == ["provisioning"] * again


async def test_staff_see_how_many_places_are_left_and_health_warns_of_the_last_ten(
    cloud: World, arm: FakeProvisioner
) -> None:
    small = with_room_for(cloud, arm, 11)
    for number, health in enumerate(("healthy", "healthy", "degraded")):
        stamp = (await small.call("get_stamp", STAFF)).json
        assert stamp == {
            "region": "local",
            "dedicated_most": 11,
            "dedicated_taken": number,
            "dedicated_left": 11 - number,
        }
        small.clock.advance(minutes=2)
        assert (await small.call("get_health")).json["status"] == health
        await onboard(small, slug=f"tenant-{number}")
    told = (await small.call("get_health")).json["checks"]["places"]
    assert (told["status"], told["essential"], told["message"][:8]) == ("error", False, "9 places")


async def test_where_a_database_of_its_own_costs_no_place_nothing_is_counted(world: World) -> None:
    await onboard(world)
    stamp = (await world.call("get_stamp", STAFF)).json
    assert stamp == {"region": "local", "dedicated_most": None, "dedicated_taken": 1, "dedicated_left": None}
    assert (await world.call("get_health")).json["checks"]["places"]["status"] == "ok"


def onboarding_of(world: World, arm: FakeProvisioner | None = None) -> Onboarding:
    core = world.core
    jobs = Provisioning(arm or FakeProvisioner(), core.directory, core.services, core.settings.jobs_queue)
    return Onboarding(core.adapters.database, core.directory, core.names, core.services, 1, "local", jobs)

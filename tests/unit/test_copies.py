"""Restores into new tenants: counted exactly, told at once what can be, and given back when they come to nothing."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions.backups.copies import COPY as COPY_KIND
from functions.backups.copies import Copies, copy_id
from functions.backups.models import Backup, NewRestore
from functions.tenants.models import NewTenant, Tenant
from functions.tenants.onboarding import Onboarding
from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.database.port import Create, Operation
from shared.errors import Conflict, QuotaReached
from shared.jobs.jobs import Job
from shared.tenancy.directory import TENANT, TenantEntry
from shared.tenancy.plans import PLANS, Tier
from tests.unit.backup_world import BackupWorld
from tests.unit.world import OTHER_ID, STAFF, TENANT_ID, UNLIMITED, Answer, World, admin, entry

COPY = {"name": "Acme again", "slug": "acme-again", "admin_email": "grace@elsewhere.example"}
BACKUP_ID = "01900000-0000-7000-8000-00000000bac0"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BackupWorld]:
    own = await BackupWorld.over(tmp_path, settings={"limits": {"max_copies": 1}})
    yield own
    await own.close()


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[World]:
    """The whole app."""
    own = World.over(tmp_path / "whole")
    yield own
    await own.close()


async def copy(world: BackupWorld, backup: Backup, slug: str = "acme-again", **caller: Any) -> str:
    """Ask for a copy; answers the job's id."""
    tenant = replace(world.tenant, caller=replace(world.tenant.caller, **caller))
    new = NewRestore.model_validate(
        {"backup_id": backup.id, "target": "new_tenant", "new_tenant": {**COPY, "slug": slug}}
    )
    return (await world.service.restore(tenant, new)).id


async def copies(world: BackupWorld) -> tuple[int, int]:
    """What the counter says, and how many copies are noted."""
    noted = await world.tenant.store.query(COPY_KIND)
    return await world.counter("copies"), len(noted.items)


async def free(world: BackupWorld, slug: str = "acme-again") -> bool:
    """Whether the slug is nobody's; afterwards it is somebody's."""
    try:
        await world.core.names.reserve("slug", slug, holder=OTHER_ID)
    except Conflict:
        return False
    return True


# Counting


@pytest.mark.parametrize(("tier", "most"), [(Tier.STANDARD, 0), (Tier.PROFESSIONAL, 0), (Tier.ENTERPRISE, 2)])
def test_an_enterprise_tenant_may_have_two_copies_and_the_others_none(tier: Tier, most: int) -> None:
    assert PLANS[tier].max_copies == most


def test_a_copy_may_have_none_of_its_own_unless_staff_grant_it() -> None:
    made = entry(tier="enterprise", copy_of=OTHER_ID)
    granted = entry(tier="enterprise", copy_of=OTHER_ID, settings={"limits": {"max_copies": 1}})
    assert (made.plan.max_copies, granted.plan.max_copies) == (0, 1)


async def test_a_restore_into_a_new_tenant_is_counted(world: BackupWorld) -> None:
    backup = await world.back_up()
    job = await world.run(await copy(world, backup))
    assert (job.status, await copies(world)) == ("succeeded", (1, 1))


async def test_one_copy_too_many_is_refused_with_the_numbers_and_leaves_nothing(world: BackupWorld) -> None:
    backup = await world.back_up()
    await world.run(await copy(world, backup))
    with pytest.raises(QuotaReached, match="Copy quota exceeded") as refused:
        await copy(world, backup, "acme-third")
    assert (refused.value.members["limit"], refused.value.members["current"]) == (1, 1)
    assert (await copies(world), await free(world, "acme-third")) == ((1, 1), True)


async def test_of_two_copies_asked_for_at_once_with_one_left_one_is_made(world: BackupWorld) -> None:
    """Of two backups, so that it is the count that decides."""
    backup, other = await world.back_up(), await world.back_up()
    store, made = world.directory.stores[TENANT_ID], []

    async def other_first(operations: Sequence[Operation]) -> None:
        if any(operation.kind is Job.KIND for operation in operations):
            store.before = None
            made.append(await copy(world, other, "acme-other"))

    store.before = other_first
    with pytest.raises(QuotaReached):
        await copy(world, backup)
    assert (len(made), await copies(world), await free(world)) == (1, (1, 1), True)


async def test_staff_may_go_beyond(world: BackupWorld) -> None:
    backup = await world.back_up()
    for number in range(2):
        await world.run(await copy(world, backup, f"acme-{number}", role=Role.PLATFORM))
    assert await copies(world) == (2, 2)


# Giving back


async def test_a_copy_that_comes_to_nothing_is_given_back_with_its_slug(world: BackupWorld) -> None:
    backup = await world.back_up()
    id = await copy(world, backup)
    world.files(backup)[0].write_bytes(b"damaged")
    assert (await world.run(id)).status == "failed"
    assert (await copies(world), await free(world)) == ((0, 0), True)


async def test_what_is_given_back_again_is_given_back_once(world: BackupWorld) -> None:
    backup = await world.back_up()
    id = await copy(world, backup)
    own, job = Copies(world.core.names, world.core.adapters.database), await world.job(id)
    for _ in range(2):
        await own.give_up(world.tenant, job)
    assert await copies(world) == (0, 0)


async def test_a_copy_whose_tenant_is_there_counts_although_its_restore_failed(world: BackupWorld) -> None:
    """Else whoever can make a restore fail late has tenants without end."""
    await world.furnish(3)
    backup = await world.back_up()
    id = await copy(world, backup)
    while copy_id(id) not in world.onboarded:
        await world.jobs.run(TENANT_ID, id)
    for file in world.files(backup):
        file.write_bytes(b"damaged")
    assert (await world.run(id)).status == "failed"
    assert await copies(world) == (1, 1)


async def test_a_copy_whose_onboarding_is_being_undone_is_given_back(world: BackupWorld) -> None:
    backup = await world.back_up()
    id = await copy(world, backup)
    undone = {"id": copy_id(id), "created_at": "", "status": "deleting", "undo": True}
    await world.core.adapters.database.platform.put(Create(TENANT, copy_id(id), undone), copy_id(id))
    await Copies(world.core.names, world.core.adapters.database).give_up(world.tenant, await world.job(id))
    assert await copies(world) == (0, 0)


# Slugs


async def test_a_taken_slug_is_told_at_once_and_nothing_begins(world: BackupWorld) -> None:
    backup = await world.back_up()
    await world.core.names.reserve("slug", "acme-again", holder=OTHER_ID)
    with pytest.raises(Conflict, match="acme-again is taken"):
        await copy(world, backup)
    jobs = await world.tenant.store.query(Job.KIND)
    assert [job.body["type"] for job in jobs.items] == ["backup"]


async def test_the_slug_is_kept_for_as_long_as_the_job_waits(world: BackupWorld) -> None:
    backup = await world.back_up()
    id = await copy(world, backup)
    world.clock.advance(hours=1)
    waiting = await free(world)
    assert (waiting, (await world.run(id)).status) == (False, "succeeded")


async def test_a_slug_whose_job_was_never_written_is_free_after_a_minute(world: BackupWorld) -> None:
    class Crash(BaseException):
        pass

    async def die(operations: Sequence[Operation]) -> None:
        if any(operation.kind is Job.KIND for operation in operations):
            raise Crash

    backup = await world.back_up()
    world.directory.stores[TENANT_ID].before = die
    with pytest.raises(Crash):
        await copy(world, backup)
    at_once = await free(world)
    world.clock.advance(seconds=61)
    assert (at_once, await free(world)) == (False, True)


# What a copy is


async def copied(whole: World, source: dict[str, Any], slug: str = "again") -> Tenant:
    """The copy of a tenant, as a restore's job has it made."""
    core = whole.core
    onboarding = Onboarding(core.adapters.database, core.directory, core.names, core.services, shards=1, region="local")
    found = await core.directory.entry(source["id"])
    assert isinstance(found, TenantEntry)
    id = "01900000-0000-7000-8000-0000000c0b1e"
    await onboarding.onboard_like(
        tenant_id=id, name="Again", slug=slug, admin_email="grace@elsewhere.example", like=found
    )
    return Tenant.model_validate((await whole.call("get_tenant", STAFF, params={"tenant_id": id})).json)


async def test_a_copy_has_plan_settings_and_numbers_of_its_source_and_names_it(whole: World) -> None:
    settings = {"limits": {**UNLIMITED, "backup_retention_days": 7, "max_copies": 5}, "membership": "open"}
    source = await whole.onboard(tier="enterprise", settings=settings, max_agents=7, max_users=3, dedicated=False)
    made = await copied(whole, source)
    assert (made.tier, made.max_agents, made.max_users, made.placement.mode, made.copy_of) == (
        "enterprise",
        7,
        3,
        "shared",
        source["id"],
    )
    assert made.settings.membership == "required"  # who has been removed from the source is not marked in it
    assert made.settings.limits.model_dump() == {**UNLIMITED, "backup_retention_days": 7}


async def test_a_copys_trial_ends_when_its_sources_does(whole: World) -> None:
    source = await whole.onboard(trial_days=3)
    whole.clock.advance(days=2)
    made = await copied(whole, source)
    whole.clock.advance(days=8, seconds=1)
    await whole.sweep()
    ended = [(await whole.call("get_tenant", STAFF, params={"tenant_id": id})).json for id in (source["id"], made.id)]
    assert (made.status, made.trial_ends_at) == ("trial", source["trial_ends_at"])
    assert [tenant["status"] for tenant in ended] == ["suspended", "suspended"]


async def test_the_copy_of_an_active_tenant_is_active(whole: World) -> None:
    source = await whole.onboard(trial_days=0)
    made = await copied(whole, source)
    assert (made.status, made.trial_ends_at) == ("active", None)


async def test_a_suspended_tenant_is_not_copied(whole: World) -> None:
    source = await whole.onboard()
    await whole.call("suspend_tenant", STAFF, params={"tenant_id": source["id"]})
    with pytest.raises(Conflict, match="suspended cannot be copied"):
        await copied(whole, source)


def test_a_new_tenant_is_nobodys_copy() -> None:
    with pytest.raises(ValueError, match="copy_of"):
        NewTenant.model_validate({"name": "x", "slug": "xxx", "admin_email": "a@b.example", "copy_of": OTHER_ID})


# Over HTTP


async def restore(whole: World, tenant: dict[str, Any], **asked: Any) -> Answer:
    """Ask for a restore of a backup that counts as complete."""
    store = (await whole.session(tenant["id"])).store
    if await store.get(Backup.KIND, BACKUP_ID) is None:
        at = rfc3339(whole.clock.now())
        own = {"id": BACKUP_ID, "tenant_id": tenant["id"], "revision": 1, "created_by": "", "updated_by": ""}
        times = {"created_at": at, "updated_at": at, "as_of": at, "expires_at": at}
        body = {**own, **times, "type": "manual", "status": "succeeded", "job_id": BACKUP_ID}
        await store.commit([Create(Backup.KIND, BACKUP_ID, body)])
    return await whole.call("create_restore", admin(tenant["id"]), {"backup_id": BACKUP_ID, **asked})


@pytest.mark.parametrize(
    "confirm", [{}, {"confirm": None}, {"confirm": ""}, {"confirm": "globex"}, {"confirm": "ACME"}]
)
async def test_a_restore_in_place_names_the_slug(whole: World, confirm: dict[str, Any]) -> None:
    tenant = await whole.onboard()
    answer = await restore(whole, tenant, target="in_place", **confirm)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "confirm")


async def test_a_restore_in_place_that_names_the_slug_begins(whole: World) -> None:
    tenant = await whole.onboard()
    assert (await restore(whole, tenant, target="in_place", confirm="acme")).status == 202


async def test_a_trial_makes_no_tenants(whole: World) -> None:
    tenant = await whole.onboard()
    answer = await restore(whole, tenant, target="new_tenant", new_tenant=COPY)
    told = {name: answer.json.get(name) for name in ("error", "limit", "current", "upgradeUrl")}
    assert (answer.status, told) == (
        429,
        {"error": "Copy quota exceeded", "limit": 0, "current": 0, "upgradeUrl": "/billing/upgrade"},
    )


async def test_a_taken_slug_is_a_conflict_that_names_the_field(whole: World) -> None:
    tenant = await whole.onboard(tier="enterprise")
    answer = await restore(whole, tenant, target="new_tenant", new_tenant={**COPY, "slug": "acme"})
    assert (answer.status, answer.json["field"]) == (409, "slug")


async def test_the_same_restore_again_under_its_key_is_the_same_restore(whole: World) -> None:
    tenant = await whole.onboard(tier="enterprise")
    await restore(whole, tenant, target="new_tenant", new_tenant={**COPY, "slug": "acme"})
    asked = {"backup_id": BACKUP_ID, "target": "new_tenant", "new_tenant": COPY}
    key = {"idempotency-key": "k-1"}
    answers = [await whole.call("create_restore", admin(tenant["id"]), asked, headers=key) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202] and answers[0].json == answers[1].json


@pytest.mark.parametrize(
    "email", ["a@b..c", "ada@acme.example.", " ada@acme.example", "\uff41da@acme.example", "ada@acme"]
)
async def test_an_address_that_onboarding_would_refuse_is_refused_at_once(whole: World, email: str) -> None:
    tenant = await whole.onboard(tier="enterprise")
    answer = await restore(whole, tenant, target="new_tenant", new_tenant={**COPY, "admin_email": email})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "new_tenant.admin_email")

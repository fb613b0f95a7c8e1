"""Looking after tenants: onboarding that is finished or undone, plans by tier, suspending, trials, and their audit."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from functions.agents.models import Agent
from shared.clock import rfc3339
from shared.database.port import Delete, Operation, Placement, Replace, TenantStore
from shared.errors import Unavailable
from shared.kinds import Kind
from shared.tenancy.directory import TENANT
from shared.tenancy.fence import AUDIT
from tests.unit.world import AGENT, STAFF, START, Answer, WatchedStore, World, admin

NEW = {"name": "Acme Corp", "slug": "acme", "admin_email": "ada@acme.example"}


class Crash(BaseException):
    """The process is gone."""


async def onboard(world: World, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return await world.call("onboard_tenant", STAFF, {**NEW, **fields}, headers=headers)


async def patch(world: World, id: str, **fields: Any) -> Answer:
    return await world.call("patch_tenant", STAFF, fields, params={"tenant_id": id})


async def act(world: World, name: str, id: str) -> Answer:
    return await world.call(name, STAFF, params={"tenant_id": id})


async def listed(world: World, **query: str) -> list[str]:
    answer = await world.call("list_tenants", STAFF, query=query)
    return [tenant["slug"] for tenant in answer.json["items"]]


async def audit(world: World, id: str) -> list[str]:
    """The tenant's audited actions upon itself, oldest first."""
    session = await world.session(id)
    page = await session.store.query(AUDIT)
    return [one.body["action"] for one in page.items if one.body["resource_type"] == "tenant"]


# Onboarding


async def test_a_new_tenant_begins_with_a_trial_of_two_weeks(world: World) -> None:
    tenant = (await onboard(world)).json
    assert (tenant["status"], tenant["trial_ends_at"]) == ("trial", rfc3339(START + timedelta(days=14)))


async def test_a_new_tenant_lets_in_its_users_only(world: World) -> None:
    tenant = (await onboard(world)).json
    entry = await world.core.directory.entry(tenant["id"])
    assert (tenant["settings"]["membership"], entry.membership if entry else None) == ("required", "required")


async def test_a_new_tenant_without_a_trial_is_active_at_once(world: World) -> None:
    tenant = (await onboard(world, trial_days=0)).json
    assert (tenant["status"], tenant["trial_ends_at"]) == ("active", None)


@pytest.mark.parametrize(
    ("tier", "agents", "users"), [("standard", 50, 5), ("professional", 200, 25), ("enterprise", 1000, 250)]
)
async def test_a_new_tenant_has_the_quotas_of_its_tier(world: World, tier: str, agents: int, users: int) -> None:
    tenant = (await onboard(world, tier=tier)).json
    assert (tenant["max_agents"], tenant["max_users"]) == (agents, users)


async def test_a_new_tenant_may_have_quotas_of_its_own(world: World) -> None:
    tenant = (await onboard(world, max_agents=7, max_users=0)).json
    assert (tenant["max_agents"], tenant["max_users"]) == (7, 0)


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"tier": "standard"}, "shared"),
        ({"tier": "professional"}, "shared"),
        ({"tier": "enterprise"}, "dedicated"),
        ({"tier": "enterprise", "dedicated": False}, "shared"),
        ({"tier": "standard", "dedicated": True}, "dedicated"),
    ],
)
async def test_enterprise_has_a_database_of_its_own(world: World, fields: dict[str, Any], mode: str) -> None:
    tenant = (await onboard(world, **fields)).json
    own = tenant["placement"]["database"].startswith(f"tenant-{tenant['id']}-")
    assert (tenant["placement"]["mode"], own) == (mode, mode == "dedicated")


async def test_a_dedicated_tenants_data_is_in_no_shared_file(world: World) -> None:
    tenant = (await onboard(world, tier="enterprise")).json
    await world.call("create_agent", admin(tenant["id"]), AGENT)
    session = await world.session(tenant["id"])
    shared = world.core.adapters.database.tenant(tenant["id"], Placement("shared", "shard-1"))
    found = [len((await store.query(Agent.KIND)).items) for store in (session.store, shared)]
    assert found == [1, 0]


async def test_tenants_spread_over_the_shards(tmp_path: Any) -> None:
    world = World.over(tmp_path, flowgrid_shards=4)
    placed = {
        (await onboard(world, slug=f"acme-{n}", admin_email=f"a{n}@acme.example")).json["placement"]["database"]
        for n in range(24)
    }
    await world.close()
    assert placed == {"shard-1", "shard-2", "shard-3", "shard-4"}


async def test_the_first_admin_is_invited_and_counted(world: World) -> None:
    tenant = (await onboard(world, admin_name="Ada")).json
    users = await world.call("list_users", admin(tenant["id"]))
    quotas = await world.call("get_quotas", admin(tenant["id"]))
    assert (
        [(user["email"], user["name"], user["role"], user["status"]) for user in users.json["items"]],
        quotas.json["items"][1]["used"],
    ) == ([("ada@acme.example", "Ada", "admin", "invited")], 1)


async def test_an_onboarding_is_audited_in_the_tenants_own_trail(world: World) -> None:
    tenant = (await onboard(world)).json
    assert await audit(world, tenant["id"]) == ["tenant.created"]


@pytest.mark.parametrize("slug", ["", "ab", "Acme", "acme corp", "acme_corp", "x" * 64, "acme\n", "äcme"])
async def test_a_slug_is_3_to_63_small_letters_digits_and_hyphens(world: World, slug: str) -> None:
    answer = await onboard(world, slug=slug)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "slug")


async def test_a_slug_is_taken_once(world: World) -> None:
    await onboard(world)
    answer = await onboard(world, admin_email="other@acme.example")
    assert (answer.status, answer.json["field"]) == (409, "slug")


async def test_an_admins_address_neither_tells_nor_takes_what_another_tenant_has(world: World) -> None:
    first = (await onboard(world)).json
    await world.call("get_me", admin(first["id"], "ada@acme.example"))
    assert (await onboard(world, slug="other")).status == 201


async def test_nothing_is_left_of_an_onboarding_whose_slug_was_taken(world: World) -> None:
    await onboard(world)
    refused = await onboard(world, admin_email="other@acme.example")
    assert (refused.status, await listed(world)) == (409, ["acme"])


STEPS = ["slug", "provision", "seed", "activate"]


def crash_at(world: World, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies just before this step of the next onboarding."""
    database, names = world.core.adapters.database, world.core.names
    reserve, put, tenant = names.reserve, database.platform.put, database.tenant

    async def reserving(sort: str, name: str, *, holder: str, **more: Any) -> None:
        if sort == step:
            raise Crash
        await reserve(sort, name, holder=holder, **more)

    async def putting(operation: Any, tenant_id: str) -> str | None:
        if step == "activate" and isinstance(operation, Replace) and operation.kind is TENANT:
            raise Crash
        return await put(operation, tenant_id)

    async def provisioning(placement: Placement) -> None:
        raise Crash

    def opening(tenant_id: str, placement: Placement) -> TenantStore:
        store = WatchedStore(tenant(tenant_id, placement))
        store.before = crashing
        return store

    async def crashing(operations: Sequence[Operation]) -> None:
        raise Crash

    monkeypatch.setattr(names, "reserve", reserving)
    monkeypatch.setattr(database.platform, "put", putting)
    if step == "provision":
        monkeypatch.setattr(database, "provision", provisioning)
    if step == "seed":
        monkeypatch.setattr(database, "tenant", opening)
        monkeypatch.setattr(world.core.directory, "_handles", {})


@pytest.mark.parametrize("step", STEPS)
async def test_an_onboarding_that_crashed_anywhere_is_finished_by_the_sweep(
    world: World, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_at(world, step, monkeypatch)
    with pytest.raises(Crash):
        await onboard(world, tier="enterprise")
    monkeypatch.undo()
    world.clock.advance(seconds=31)
    await world.sweep()
    (tenant,) = (await world.call("list_tenants", STAFF)).json["items"]
    answer = await world.call("get_me", admin(tenant["id"], "ada@acme.example"))
    assert (tenant["status"], answer.status, answer.json["user"]["role"]) == ("trial", 200, "admin")


@pytest.mark.parametrize("step", STEPS)
async def test_an_onboarding_that_crashed_anywhere_is_finished_by_its_own_repetition(
    world: World, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"idempotency-key": "key-1"}
    crash_at(world, step, monkeypatch)
    with pytest.raises(Crash):
        await onboard(world, key)
    monkeypatch.undo()
    again = await onboard(world, key)
    assert (again.status, again.json["status"], await listed(world)) == (201, "trial", ["acme"])


async def test_an_onboarding_that_was_undone_is_no_tenant_for_its_own_repetition(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its slug was taken, and it crashed while it was being undone."""
    await onboard(world)
    key, release = {"idempotency-key": "key-1"}, world.core.names.release

    async def crashing(*_: Any, **__: Any) -> None:
        raise Crash

    monkeypatch.setattr(world.core.names, "release", crashing)
    with pytest.raises(Crash):
        await onboard(world, key, admin_email="other@acme.example")
    monkeypatch.setattr(world.core.names, "release", release)
    again = await onboard(world, key, admin_email="other@acme.example")
    assert (again.status, await listed(world)) == (409, ["acme"])


async def crash_while_undone(world: World, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """An onboarding whose slug is taken; the process dies before it has given anything back."""
    with monkeypatch.context() as patched:

        async def crashing(*_: Any, **__: Any) -> None:
            raise Crash

        patched.setattr(world.core.names, "release", crashing)
        with pytest.raises(Crash):
            await onboard(world, {"idempotency-key": "key-1"}, admin_email="other@acme.example", **fields)


async def slug_becomes_free(world: World) -> None:
    (first,) = [one for one in (await world.call("list_tenants", STAFF)).json["items"] if one["status"] == "trial"]
    await world.core.names.release("slug", "acme", holder=first["id"])


async def test_an_onboarding_that_was_being_undone_is_not_finished_although_its_slug_is_free_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await onboard(world)
    await crash_while_undone(world, monkeypatch)
    await slug_becomes_free(world)
    world.clock.advance(seconds=31)
    await world.sweep()
    assert [tenant["status"] for tenant in (await world.call("list_tenants", STAFF)).json["items"]] == ["trial"]


async def test_an_onboarding_that_was_being_undone_is_refused_to_its_repetition_although_its_slug_is_free_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await onboard(world)
    await crash_while_undone(world, monkeypatch)
    await slug_becomes_free(world)
    again = await onboard(world, {"idempotency-key": "key-1"}, admin_email="other@acme.example")
    assert (again.status, await listed(world)) == (409, ["acme"])


async def test_only_an_undone_onboarding_is_cleared_away_and_no_tenant_that_is_being_deleted(world: World) -> None:
    tenant = (await onboard(world)).json
    platform = world.core.adapters.database.platform
    held = await platform.get(TENANT, tenant["id"], tenant["id"])
    assert held is not None
    deleting = {**held.body, "status": "deleting"}
    await platform.put(Replace(TENANT, tenant["id"], deleting, held.etag), tenant["id"])
    world.clock.advance(minutes=5)
    await world.sweep()
    assert await listed(world) == ["acme"]


@pytest.mark.parametrize("lost", ["mark", "deletion"])
async def test_two_instances_that_undo_one_onboarding_at_once_both_end_well(
    world: World, twin: World, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await onboard(world)
    platform = world.core.adapters.database.platform
    put = platform.put

    async def overtaken(operation: Any, tenant_id: str) -> str | None:
        if isinstance(operation, Replace if lost == "mark" else Delete) and operation.kind is TENANT:
            monkeypatch.setattr(platform, "put", put)
            world.clock.advance(seconds=31)
            await twin.sweep()
        return await put(operation, tenant_id)

    monkeypatch.setattr(platform, "put", overtaken)
    answer = await onboard(world, admin_email="other@acme.example")
    assert (answer.status, await listed(world)) == (409, ["acme"])


async def test_a_tenant_that_is_not_ready_yet_answers_no_calls(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    crash_at(world, "activate", monkeypatch)
    with pytest.raises(Crash):
        await onboard(world)
    monkeypatch.undo()
    (tenant,) = (await world.call("list_tenants", STAFF)).json["items"]
    answer = await world.call("get_me", admin(tenant["id"]))
    assert (answer.status, "provisioning" in answer.json["detail"]) == (403, True)


# Reading


async def test_tenants_are_listed_newest_first(world: World) -> None:
    for number in range(3):
        await onboard(world, slug=f"acme-{number}", admin_email=f"a{number}@acme.example")
        world.clock.advance(seconds=1)
    assert await listed(world) == ["acme-2", "acme-1", "acme-0"]


@pytest.mark.parametrize(
    "query",
    [{"slug": "globex"}, {"tier": "enterprise"}, {"status": "active"}, {"slug": "globex", "tier": "enterprise"}],
)
async def test_tenants_are_found_by_slug_tier_and_status(world: World, query: dict[str, str]) -> None:
    await onboard(world)
    await onboard(world, slug="globex", admin_email="g@globex.example", tier="enterprise", trial_days=0)
    assert await listed(world, **query) == ["globex"]


async def test_a_tenant_that_is_not_there_is_not_found(world: World) -> None:
    id = "0190c2a8-7e10-7abc-8def-00000000dead"
    answers = [await act(world, name, id) for name in ("get_tenant", "suspend_tenant", "resume_tenant")]
    assert [answer.status for answer in [*answers, await patch(world, id, name="x")]] == [404] * 4


# Changing


async def test_a_higher_tier_brings_its_quotas(world: World) -> None:
    tenant = (await onboard(world)).json
    after = (await patch(world, tenant["id"], tier="professional")).json
    assert (after["max_agents"], after["max_users"]) == (200, 25)


async def test_a_tenants_own_quota_stays_when_its_tier_changes(world: World) -> None:
    tenant = (await onboard(world, max_agents=77)).json
    after = (await patch(world, tenant["id"], tier="professional")).json
    assert (after["max_agents"], after["max_users"]) == (77, 25)


async def test_a_quota_that_is_named_with_the_new_tier_is_what_was_named(world: World) -> None:
    tenant = (await onboard(world)).json
    after = (await patch(world, tenant["id"], tier="professional", max_agents=50)).json
    assert (after["max_agents"], after["max_users"]) == (50, 25)


async def test_a_changed_quota_counts_at_once(world: World) -> None:
    tenant = await world.onboard(tier="enterprise", max_agents=0)
    await patch(world, tenant["id"], max_agents=1)
    assert (await world.call("create_agent", admin(tenant["id"]), AGENT)).status == 201


@pytest.mark.parametrize("fields", [{"slug": "other"}, {"status": "active"}, {"placement": {}}, {"region": "mars"}])
async def test_what_may_not_be_changed_of_a_tenant_is_refused(world: World, fields: dict[str, Any]) -> None:
    tenant = (await onboard(world)).json
    answer = await patch(world, tenant["id"], **fields)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, next(iter(fields)))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_agents": -1}, "max_agents"),
        ({"tier": "platinum"}, "tier"),
        ({"trial_ends_at": "next year"}, "trial_ends_at"),
        ({"trial_ends_at": "2027-01-01"}, "trial_ends_at"),
        ({"settings": {"limits": {"coffee": 1}}}, "settings.limits.coffee"),
        ({"settings": {"limits": {"requests_per_minute": 0}}}, "settings.limits.requests_per_minute"),
    ],
)
async def test_what_a_tenant_cannot_be_is_refused(world: World, fields: dict[str, Any], field: str) -> None:
    tenant = (await onboard(world)).json
    answer = await patch(world, tenant["id"], **fields)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, field)


async def test_a_change_under_a_version_that_has_passed_is_refused(world: World) -> None:
    tenant = await onboard(world)
    where = {"tenant_id": tenant.json["id"]}
    await patch(world, tenant.json["id"], name="Acme Inc")
    answer = await world.call("patch_tenant", STAFF, {"name": "x"}, params=where, headers={"if-match": tenant.etag})
    assert answer.status == 412


async def test_a_change_is_audited_with_the_whole_old_and_new_tenant(world: World) -> None:
    old = (await onboard(world)).json
    new = (await patch(world, old["id"], name="Acme Inc")).json
    answer = await world.call("list_audit", admin(old["id"]), query={"action": "tenant.updated"})
    assert [(one["old_value"], one["new_value"]) for one in answer.json["items"]] == [(old, new)]


async def test_a_change_that_changes_nothing_is_not_audited(world: World) -> None:
    tenant = (await onboard(world)).json
    await patch(world, tenant["id"], name="Acme Corp")
    assert await audit(world, tenant["id"]) == ["tenant.created"]


# Suspending


async def test_a_suspended_tenant_that_is_resumed_works_again(world: World) -> None:
    tenant = (await onboard(world)).json
    statuses = []
    for name in ("suspend_tenant", "resume_tenant"):
        await act(world, name, tenant["id"])
        statuses.append((await world.call("get_me", admin(tenant["id"]))).status)
    assert statuses == [403, 200]


async def test_suspending_and_resuming_again_is_no_error_and_no_second_audit_entry(world: World) -> None:
    tenant = (await onboard(world)).json
    answers = [
        await act(world, name, tenant["id"])
        for name in ("suspend_tenant", "suspend_tenant", "resume_tenant", "resume_tenant")
    ]
    assert ([answer.json["status"] for answer in answers], await audit(world, tenant["id"])) == (
        ["suspended", "suspended", "trial", "trial"],
        ["tenant.created", "tenant.suspended", "tenant.resumed"],
    )


async def test_a_tenant_resumed_after_its_trial_and_grace_is_active(world: World) -> None:
    tenant = (await onboard(world, trial_days=1)).json
    await act(world, "suspend_tenant", tenant["id"])
    world.clock.advance(days=9)
    assert (await act(world, "resume_tenant", tenant["id"])).json["status"] == "active"


async def test_a_tenant_that_is_still_being_made_cannot_be_suspended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_at(world, "activate", monkeypatch)
    with pytest.raises(Crash):
        await onboard(world)
    monkeypatch.undo()
    (tenant,) = (await world.call("list_tenants", STAFF)).json["items"]
    answers = [await act(world, name, tenant["id"]) for name in ("suspend_tenant", "resume_tenant")]
    assert [answer.status for answer in answers] == [409, 409]


# Trials: told and ended in test_trials.py


async def test_a_trial_prolonged_while_the_sweep_runs_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = (await onboard(world)).json
    world.clock.advance(days=22)
    query = world.core.adapters.database.platform.query

    async def slow_query(kind: Kind, where: Any = (), **more: Any) -> Any:
        page = await query(kind, where, **more)
        if any(one.field == "trial_ends_at" for one in where):
            await patch(world, tenant["id"], trial_ends_at="2027-01-01T00:00:00Z")
        return page

    monkeypatch.setattr(world.core.adapters.database.platform, "query", slow_query)
    await world.sweep()
    assert (await act(world, "get_tenant", tenant["id"])).json["status"] == "trial"


# The audit that a crash kept back


def unwritable(world: World, tenant_id: str, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """This tenant's store takes no batch."""
    database = world.core.adapters.database
    plain = database.tenant

    async def failing(operations: Sequence[Operation]) -> None:
        raise error

    def opening(id: str, placement: Placement) -> TenantStore:
        store = WatchedStore(plain(id, placement))
        store.before = failing if id == tenant_id else None
        return store

    monkeypatch.setattr(database, "tenant", opening)
    monkeypatch.setattr(world.core.directory, "_handles", {})


async def test_an_audit_entry_that_a_crash_kept_back_is_written_by_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = (await onboard(world)).json
    unwritable(world, tenant["id"], monkeypatch, Crash())
    with pytest.raises(Crash):
        await act(world, "suspend_tenant", tenant["id"])
    monkeypatch.undo()
    world.clock.advance(seconds=31)
    await world.sweep()
    await world.sweep()
    assert await audit(world, tenant["id"]) == ["tenant.created", "tenant.suspended"]


async def test_an_audit_entry_that_a_crash_kept_back_is_written_before_the_next_change(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = (await onboard(world)).json
    unwritable(world, tenant["id"], monkeypatch, Crash())
    with pytest.raises(Crash):
        await act(world, "suspend_tenant", tenant["id"])
    monkeypatch.undo()
    await act(world, "resume_tenant", tenant["id"])
    assert await audit(world, tenant["id"]) == ["tenant.created", "tenant.suspended", "tenant.resumed"]


async def test_one_tenant_whose_store_is_away_does_not_keep_the_others_trials_from_ending(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (await onboard(world)).json
    well = (await onboard(world, slug="globex", admin_email="g@globex.example")).json
    unwritable(world, broken["id"], monkeypatch, Unavailable("away"))
    world.clock.advance(days=22)
    await world.sweep()
    assert (await act(world, "get_tenant", well["id"])).json["status"] == "suspended"


async def test_names_given_back_are_only_ones_own(world: World) -> None:
    tenant = (await onboard(world)).json
    await world.core.names.release("slug", "acme", holder="somebody else")
    await world.core.names.reserve("slug", "acme", holder=tenant["id"])
    assert (await onboard(world)).status == 409


async def test_a_trial_whose_end_staff_take_away_is_over_and_paid_for(world: World) -> None:
    tenant = await world.onboard()
    answer = await world.call("patch_tenant", STAFF, {"trial_ends_at": None}, params={"tenant_id": tenant["id"]})
    assert (answer.status, answer.json["status"], answer.json["trial_ends_at"]) == (200, "active", None)

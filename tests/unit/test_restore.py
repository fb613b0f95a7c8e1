"""A restore brings back exactly what was, touches nothing before all is checked, and may be killed at any point."""

import asyncio
import json
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from functions.agents.models import Agent
from functions.backups.models import Backup, NewBackup, NewRestore, same_content
from functions.backups.restore import USERS_STAY
from functions.kinds import KINDS
from shared.clock import rfc3339
from shared.database.port import Operation
from shared.errors import Conflict, Invalid, NotFound
from shared.ids import derived_id
from shared.jobs.jobs import Job
from shared.members.users import user_id
from shared.tenancy.fence import AUDIT, FENCE, PERMIT, Overtaken
from shared.work.resources import load
from tests.sampling import some_or_all
from tests.unit.backup_world import (
    AnAgent,
    AnElement,
    ARelationship,
    AUser,
    BackupWorld,
    Killed,
    State,
    Thing,
)
from tests.unit.world import TENANT_ID

NEW_TENANT = {"name": "Acme again", "slug": "acme-again", "admin_email": "grace@elsewhere.example"}
ENVELOPE = ("revision", "updated_at", "updated_by")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BackupWorld]:
    own = await BackupWorld.over(tmp_path)
    yield own
    await own.close()


def content(state: State) -> dict[tuple[str, str], dict[str, Any]]:
    """What resources say, whoever has written which revision of them when."""
    return {key: {name: body[name] for name in body if name not in ENVELOPE} for key, body in state.items()}


async def turmoil(world: BackupWorld, things: Sequence[Thing]) -> None:
    """Some of everything: edits, deletions, creations."""
    agents = [one for one in things if isinstance(one, AnAgent)]
    relationships = [one for one in things if isinstance(one, ARelationship)]
    await world.edit(agents[0], name="edited since")
    await world.delete(agents[1])
    await world.delete(relationships[0])
    element = await world.make(AnElement, "new since")
    await world.make(ARelationship, "new since", source_id=element.id, target_id=things[0].id)
    await world.make(AnAgent, "new since")


# In place


async def test_in_place_everything_is_again_as_it_was(world: BackupWorld) -> None:
    things = await world.furnish()
    backup = await world.back_up()
    before = await world.state()
    await turmoil(world, things)
    job = await world.restore(backup)
    assert job.status == "succeeded", job.error
    assert content(await world.state()) == content(before)


async def test_what_has_not_changed_stays_untouched(world: BackupWorld) -> None:
    things = await world.furnish()
    backup = await world.back_up()
    before = await world.state()
    await world.edit(next(one for one in things if isinstance(one, AnAgent)), name="edited since")
    await world.restore(backup)
    touched = [key for key, body in (await world.state()).items() if body != before[key]]
    assert len(touched) == 1


async def test_what_has_changed_comes_back_as_its_next_revision(world: BackupWorld) -> None:
    agent = await world.make(AnAgent, "as it was")
    backup = await world.back_up()
    edited = await world.edit(agent, name="edited since")
    await world.restore(backup)
    restored = (await load(world.tenant, AnAgent, agent.id)).value
    assert (restored.name, restored.revision, restored.created_at) == ("as it was", 3, agent.created_at)
    assert restored.updated_at > edited.updated_at
    assert len({agent.etag, edited.etag, restored.etag}) == 3


async def test_what_was_changed_and_changed_back_stays_untouched(world: BackupWorld) -> None:
    agent = await world.make(AnAgent, "as it was")
    backup = await world.back_up()
    await world.edit(agent, name="edited since")
    now = await world.edit(agent, name="as it was")
    await world.restore(backup)
    assert (await load(world.tenant, AnAgent, agent.id)).value == now


async def test_what_was_deleted_comes_back_field_by_field(world: BackupWorld) -> None:
    agent = await world.edit(await world.make(AnAgent, "first"), name="second", config={"one": 1.5, "ä": [None, True]})
    backup = await world.back_up()
    await world.delete(agent)
    await world.restore(backup)
    restored = (await load(world.tenant, AnAgent, agent.id)).value
    assert same_content(restored.model_dump(), agent.model_dump())
    assert (restored.revision, restored.created_at) == (agent.revision + 2, agent.created_at)


async def test_what_was_not_there_goes(world: BackupWorld) -> None:
    backup = await world.back_up()
    agent = await world.make(AnAgent, "new since")
    await world.restore(backup)
    with pytest.raises(NotFound):
        await load(world.tenant, AnAgent, agent.id)


async def test_the_counters_are_exact_afterwards_even_when_they_were_wrong(world: BackupWorld) -> None:
    things = await world.furnish()
    backup = await world.back_up()
    await turmoil(world, things)
    change = world.tenant.change()
    change.count("agents", +5)
    await change.commit(None)
    job = await world.restore(backup)
    assert (await world.counter("agents"), await world.counter("users")) == (8, 1)
    counted = {"agents": 8, "users": 1, "api_keys": 0, "webhooks": 0, "mcp_servers": 0}
    assert job.result is not None and job.result["counters"] == counted


async def test_a_restore_is_in_the_journal_with_whole_old_and_new_values(world: BackupWorld) -> None:
    agent = await world.make(AnAgent, "as it was")
    backup = await world.back_up()
    edited = await world.edit(agent, name="edited since")
    await world.restore(backup)
    audits = [stored.body async for page in world.tenant.store.scan([AUDIT]) for stored in page]
    one = next(body for body in audits if body["action"] == "agent.restored")
    assert one["old_value"] == edited.model_dump(mode="json")
    assert one["new_value"] == (await load(world.tenant, AnAgent, agent.id)).value.model_dump(mode="json")
    assert await world.journal_state("9999") == await world.state()


async def test_a_restore_can_be_undone_by_the_backup_it_has_made_first(world: BackupWorld) -> None:
    things = await world.furnish()
    backup = await world.back_up()
    await turmoil(world, things)
    before = await world.state()
    job = await world.restore(backup)
    assert job.result is not None
    kept = await world.service.get(world.tenant, job.result["pre_restore_backup_id"])
    assert (kept.type, kept.status) == ("pre_restore", "succeeded")
    await world.restore(kept)
    assert content(await world.state()) == content(before)


async def test_the_report_says_what_was_done(world: BackupWorld) -> None:
    things = await world.furnish(3)
    backup = await world.back_up()
    await turmoil(world, things)
    result = (await world.restore(backup)).result or {}
    assert result["restored"] == {"agent": 2, "relationship": 1}
    assert result["deleted"] == {"agent": 1, "element": 1, "relationship": 1}
    assert result["unchanged"] == {"user": 1, "element": 3, "relationship": 1, "agent": 1}
    assert (result["as_of"], result["tenant_id"]) == (backup.as_of, TENANT_ID)


async def test_batches_stay_within_what_the_store_takes_at_once(world: BackupWorld) -> None:
    things = [await world.make(AnElement, "x" * 200_000) for _ in range(12)]
    backup = await world.back_up()
    for thing in things:
        await world.edit(thing, name="y" * 200_000)
    assert (await world.restore(backup)).status == "succeeded"
    assert {body["name"][0] for body in (await world.state()).values()} == {"x"}


async def test_who_restores_keeps_their_own_access(world: BackupWorld) -> None:
    backup = await world.back_up()
    change = world.tenant.change()
    me = user_id(TENANT_ID, "ada@acme.example")
    change.create(AUser, {"name": "Ada", "email": "ada@acme.example"}, id=me)
    change.count("users", +1)
    await change.commit(None)
    await world.restore(backup)
    assert (await load(world.tenant, AUser, me)).value.name == "Ada"
    assert await world.counter("users") == 1


async def test_a_restore_brings_no_removed_user_back_and_says_so(world: BackupWorld) -> None:
    grace = await world.make(AUser, "Grace", email="grace@acme.example")
    backup = await world.back_up()
    await world.delete(grace)
    result = (await world.restore(backup)).result or {}
    assert result["skipped"] == [f"user {grace.id}: was removed; invite them again"]
    assert (result["counters"]["users"], "user" in result["restored"]) == (0, False)


@pytest.mark.parametrize(
    ("then", "now", "after"),
    [
        (("admin", "active"), ("viewer", "active"), ("viewer", "active")),
        (("viewer", "active"), ("admin", "active"), ("viewer", "active")),
        (("user", "active"), ("user", "disabled"), ("user", "disabled")),
        (("user", "disabled"), ("user", "active"), ("user", "disabled")),
        (("user", "invited"), ("user", "active"), ("user", "active")),
        (("admin", "invited"), ("viewer", "disabled"), ("viewer", "disabled")),
    ],
)
async def test_a_restore_promotes_nobody_and_enables_nobody(
    world: BackupWorld, then: tuple[str, str], now: tuple[str, str], after: tuple[str, str]
) -> None:
    role, status = then
    grace = await world.make(AUser, "Grace", email="grace@acme.example", role=role, status=status)
    backup = await world.back_up()
    role, status = now
    await world.edit(grace, name="Grace H.", role=role, status=status, issuer="https://login", subject="s-1")
    await world.restore(backup)
    user = (await load(world.tenant, AUser, grace.id)).value
    assert ((user.role, user.status), user.name, user.subject) == (after, "Grace", "s-1")


async def test_a_restore_that_was_narrowed_is_not_written_again(world: BackupWorld) -> None:
    grace = await world.make(AUser, "Grace", email="grace@acme.example", role="admin")
    backup = await world.back_up()
    demoted = await world.edit(grace, role="viewer")
    result = (await world.restore(backup)).result or {}
    assert (await load(world.tenant, AUser, grace.id)).value == demoted
    assert (result["restored"], result["unchanged"]) == ({}, {"user": 1})


async def test_who_came_after_a_backup_stays_as_they_are(world: BackupWorld) -> None:
    """Were they deleted, a disabled one could come back to an open tenant, with the role of the token."""
    backup = await world.back_up()
    since = [await world.make(AUser, "Alan", email="alan@acme.example", role="viewer", status="disabled")]
    since.append(await world.make(AUser, "Bob", email="bob@acme.example", role="viewer", status="active"))
    await world.restore(backup)
    for user in since:
        assert (await load(world.tenant, AUser, user.id)).value == user


async def test_writes_that_go_on_meanwhile_do_not_stop_it(world: BackupWorld) -> None:
    things = await world.furnish(3)
    backup = await world.back_up()
    await turmoil(world, things)
    elements = [one for one in things if isinstance(one, AnElement)]
    store = world.directory.stores[TENANT_ID]
    edits = iter(range(3))

    async def edit_first(operations: Sequence[Operation]) -> None:
        if any(operation.kind is Agent.KIND for operation in operations) and next(edits, None) is not None:
            store.before = None
            await world.edit(elements[0], name="meanwhile")
            await world.make(ARelationship, "meanwhile", source_id=elements[0].id, target_id=elements[1].id)
            store.before = edit_first

    store.before = edit_first
    assert (await world.restore(backup)).status == "succeeded"


# Checks before anything is touched


@pytest.mark.parametrize("blob", ["manifest.json", "part-0001.jsonl.zst"])
async def test_a_damaged_backup_is_refused_before_anything_is_touched(world: BackupWorld, blob: str) -> None:
    things = await world.furnish(3)
    backup = await world.back_up()
    await turmoil(world, things)
    path = next(path for path in world.files(backup) if path.name == blob)
    path.write_bytes(path.read_bytes()[:-1])
    await untouched(world, backup, blob)


async def test_more_agents_than_the_plan_allows_now_are_refused(tmp_path: Path) -> None:
    world = await BackupWorld.over(tmp_path, max_agents=2)
    things = [await world.make(AnAgent, f"agent {number}") for number in range(3)]
    backup = await world.back_up()
    await world.delete(things[0])
    await untouched(world, backup, "Agent quota exceeded")
    await world.close()


async def test_a_relationship_without_its_end_is_refused(world: BackupWorld) -> None:
    element = await world.make(AnElement, "end")
    dangling = await world.make(ARelationship, "dangling", source_id=element.id, target_id="nowhere")
    backup = await world.back_up()
    assert backup.status == "inconsistent" and dangling.id in str(backup.error)
    with pytest.raises(Conflict, match="inconsistent"):
        await world.start_restore(backup)


async def test_a_relationship_may_end_at_a_relationship(world: BackupWorld) -> None:
    element = await world.make(AnElement, "end")
    inner = await world.make(ARelationship, "inner", source_id=element.id, target_id=element.id)
    await world.make(ARelationship, "outer", source_id=element.id, target_id=inner.id)
    assert (await world.restore(await world.back_up())).status == "succeeded"


async def untouched(world: BackupWorld, backup: Backup, reason: str) -> None:
    before = await world.state()
    id = await world.start_restore(backup)
    committed = len(world.directory.stores[TENANT_ID].batches)
    job = await world.run(id)
    assert job.status == "failed" and reason in str(job.error)
    assert await world.state() == before
    batches = world.directory.stores[TENANT_ID].batches[committed:]
    assert not {operation.kind for batch in batches for operation in batch} & {*KINDS.restored, PERMIT, FENCE}


async def test_only_one_restore_runs_at_a_time(world: BackupWorld) -> None:
    backup = await world.back_up()
    await world.start_restore(backup)
    with pytest.raises(Conflict, match="under way"):
        await world.start_restore(backup)


@pytest.mark.parametrize(
    "asked",
    [
        {"target": "in_place", "confirm": "acme"},
        {"target": "in_place", "confirm": "acme", "backup_id": "1", "as_of": "2026-11-24T12:00:00Z"},
        {"target": "new_tenant", "backup_id": "1"},
        {"target": "in_place", "confirm": "acme", "backup_id": "1", "new_tenant": NEW_TENANT},
        {"target": "in_place", "backup_id": "1", "confirm": "another-slug"},
        {"target": "in_place", "backup_id": "1"},
        {"target": "in_place", "confirm": "acme", "as_of": "yesterday"},
        {"target": "in_place", "confirm": "acme", "as_of": "2026-11-24T12:00:00"},
        {"target": "in_place", "confirm": "acme", "as_of": "2126-11-24T12:00:00Z"},
    ],
)
async def test_a_request_that_makes_no_sense_is_invalid(world: BackupWorld, asked: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await world.service.restore(world.tenant, NewRestore.model_validate(asked))


async def test_a_backup_that_is_not_complete_cannot_be_restored(world: BackupWorld) -> None:
    backup = await world.service.create(world.tenant, NewBackup())
    with pytest.raises(Conflict, match="running"):
        await world.start_restore(backup)


async def test_another_tenants_backup_is_not_there(world: BackupWorld) -> None:
    with pytest.raises(NotFound):
        await world.service.restore(
            world.tenant, NewRestore(backup_id="somebody-elses", target="in_place", confirm="acme")
        )


async def test_a_restore_is_shown_with_its_phase_and_its_report(world: BackupWorld) -> None:
    backup = await world.back_up()
    id = await world.start_restore(backup)
    queued = await world.service.get_restore(world.tenant, id)
    assert (queued.status, queued.progress.phase, queued.report) == ("queued", None, None)
    await world.run(id)
    done = await world.service.get_restore(world.tenant, id)
    assert (done.status, done.progress.phase, done.backup_id) == ("succeeded", "finish", backup.id)
    assert done.report is not None


# Into a new tenant


async def test_a_new_tenant_gets_everything_but_the_users_field_by_field(world: BackupWorld) -> None:
    things = await world.furnish()
    backup = await world.back_up()
    source = await world.state()
    await turmoil(world, things)
    now = await world.state()
    job = await world.restore(backup, target="new_tenant", new_tenant=NEW_TENANT)
    new_id = derived_id("restore", job.id)
    expected = {key: {**body, "tenant_id": new_id} for key, body in source.items() if key[0] != "user"}
    restored = await world.state(new_id)
    assert restored.pop(("user", "first-admin"))["email"] == NEW_TENANT["admin_email"]
    assert restored == expected
    assert await world.state() == now


async def test_a_new_tenants_counters_and_report(world: BackupWorld) -> None:
    await world.furnish()
    backup = await world.back_up()
    job = await world.restore(backup, target="new_tenant", new_tenant=NEW_TENANT)
    result = job.result or {}
    new_id = derived_id("restore", job.id)
    assert result["tenant_id"] == new_id and result["skipped"] == [USERS_STAY]
    assert (await world.counter("agents", new_id), await world.counter("users", new_id)) == (8, 1)


# A point in time


async def test_a_point_in_time_between_two_backups(world: BackupWorld) -> None:
    things = await world.furnish()
    await world.back_up()
    await turmoil(world, things)
    wanted, instant = await world.state(), rfc3339(world.clock.now())
    world.clock.advance(minutes=10)
    await world.edit(next(one for one in things if isinstance(one, AnElement)), name="a mistake")
    await world.make(AnAgent, "another mistake")
    await world.back_up()
    job = await world.restore(as_of=instant)
    assert job.status == "succeeded", job.error
    assert content(await world.state()) == content(wanted)
    assert job.result is not None and job.result["as_of"] == instant


async def test_a_point_in_time_after_a_restore(world: BackupWorld) -> None:
    things = await world.furnish(3)
    backup = await world.back_up()
    await turmoil(world, things)
    await world.restore(backup)
    await world.make(AnAgent, "after the restore")
    world.clock.advance(seconds=1)
    wanted, instant = await world.state(), rfc3339(world.clock.now())
    world.clock.advance(minutes=1)
    await turmoil(world, [one for one in things if (one.KIND.name, one.id) in wanted])
    await world.restore(as_of=instant)
    assert content(await world.state()) == content(wanted)


async def test_a_change_that_was_stamped_before_a_backups_moment_is_not_committed_after_it(world: BackupWorld) -> None:
    change = world.tenant.change()
    slow = change.create(AnElement, {"name": "slow"})
    world.clock.advance(minutes=10)
    await world.back_up()
    with pytest.raises(Overtaken):
        await change.commit(slow)
    with pytest.raises(NotFound):
        await load(world.tenant, AnElement, slow.id)


async def test_a_change_by_a_clock_that_is_behind_is_stamped_after_the_backup_that_it_comes_after(
    world: BackupWorld,
) -> None:
    backup = await world.back_up()
    behind = world.behind(minutes=10)
    with pytest.raises(Overtaken):  # it hears of the backup only now
        await behind.make(AnElement, "first")
    element = await behind.make(AnElement, "second")
    assert element.created_at > (backup.as_of or "")
    world.clock.advance(minutes=1)
    await world.restore(as_of=rfc3339(world.clock.now()))
    assert (await load(world.tenant, AnElement, element.id)).value == element


async def test_before_the_first_backup_there_is_no_point_in_time(world: BackupWorld) -> None:
    before = rfc3339(world.clock.now())
    world.clock.advance(minutes=1)
    await world.back_up()
    with pytest.raises(Conflict, match="no good backup"):
        await world.start_restore(as_of=before)


@profile(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_point_in_time_is_what_the_journal_says(seed: int) -> None:
    async def story(folder: Path) -> None:
        dice = random.Random(seed)
        world = await BackupWorld.over(folder)
        things: list[Thing] = []
        instants: list[str] = []
        for number in range(30):
            match dice.randrange(4):
                case 0 | 1:
                    model: type[Thing] = dice.choice([AnElement, AnAgent])
                    things.append(await world.make(model, f"thing {number}"))
                case 2 if things:
                    await world.edit(dice.choice(things), name=f"edited {number}")
                case 3 if things:
                    await world.delete(things.pop(dice.randrange(len(things))))
            if number in (5, 20):
                await world.back_up()
            if number > 5:
                instants.append(rfc3339(world.clock.now()))
        instant = dice.choice(instants)
        wanted = await world.journal_state(instant)
        job = await world.restore(as_of=instant)
        state, agents = await world.state(), await world.counter("agents")
        await world.close()
        assert job.status == "succeeded", job.error
        assert content(state) == content(wanted)
        assert agents == sum(kind == "agent" for kind, _ in state)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


# Killed


@some_or_all(3)
@pytest.mark.parametrize("target", ["in_place", "new_tenant"])
async def test_a_restore_killed_at_any_batch_is_finished_by_a_rerun(tmp_path: Path, target: str, every: int) -> None:
    batches = await _killed_at(tmp_path / "whole", target, None)
    assert batches > 5
    for number in range(0, batches, every):
        await _killed_at(tmp_path / str(number), target, number)


async def _killed_at(folder: Path, target: str, number: int | None) -> int:
    """Restore, killed before or after a batch; how many batches there were."""
    world = await BackupWorld.over(folder)
    things = await world.furnish(3)
    backup = await world.back_up()
    before = await world.state()
    await turmoil(world, things)
    new_tenant = NEW_TENANT if target == "new_tenant" else None
    id = await world.start_restore(backup, target=target, new_tenant=new_tenant)
    seen = 0

    async def kill(operations: Sequence[Operation]) -> None:
        nonlocal seen
        seen += 1
        if seen - 1 == number:
            raise Killed

    restored_id = TENANT_ID if target == "in_place" else derived_id("restore", id)
    world.directory.stores[TENANT_ID].before = kill
    _watch(world, restored_id, kill)
    try:
        job = await world.run(id)
    except Killed:
        job = await world.run(id)
    assert job.status == "succeeded", job.error
    world.directory.stores[TENANT_ID].before = None
    state = await world.state(restored_id)
    wanted = {key: body for key, body in before.items() if target == "in_place" or key[0] != "user"}
    state.pop(("user", "first-admin"), None)
    assert set(state) == set(wanted)
    assert all(same_content(state[key], wanted[key]) for key in wanted)
    assert await world.counter("agents", restored_id) == 3
    await world.close()
    return seen


def _watch(world: BackupWorld, tenant_id: str, before: Callable[[Sequence[Operation]], Any]) -> None:
    """Watch a tenant's store from the moment it is opened."""
    opened = world.directory.open

    def opening(entry: Any) -> Any:
        store = opened(entry)
        if entry.id == tenant_id:
            world.directory.stores[tenant_id].before = before
        return store

    world.directory.open = opening  # type: ignore[method-assign]


async def test_a_restore_killed_while_it_keeps_what_it_replaces_is_finished_by_a_rerun(world: BackupWorld) -> None:
    things = await world.furnish(3)
    backup = await world.back_up()
    before = await world.state()
    await turmoil(world, things)
    id = await world.start_restore(backup)
    world.blobs.arm(2)
    with pytest.raises(Killed):
        await world.run(id)
    job = await world.run(id)
    assert job.status == "succeeded"
    assert content(await world.state()) == content(before)


async def test_a_checkpoint_is_plain_json(world: BackupWorld) -> None:
    await world.furnish(2)
    backup = await world.back_up()
    job: Job = await world.restore(backup)
    assert json.loads(json.dumps(job.checkpoint)) == job.checkpoint

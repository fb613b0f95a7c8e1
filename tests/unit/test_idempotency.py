"""Idempotency-Key: the work is done once, its answer is given again for a day, and there is no moment in between."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from functions.agents.models import Agent
from shared.auth.caller import Caller
from shared.database.port import Create, Delete, Increment, Operation, Placement, Stored, TenantStore
from shared.errors import Unavailable, Unknown
from shared.kinds import Kind
from shared.members.users import User
from shared.tenancy.fence import AUDIT, PERMIT
from shared.work.change import COUNTER
from shared.work.outbox import OUTBOX
from shared.work.scope import IDEMPOTENCY
from tests.unit.world import AGENT, STAFF, Answer, WatchedStore, World, admin, unrecorded

KEY = {"idempotency-key": "key-1"}


@pytest.fixture
async def ada(world: World) -> Caller:
    tenant = await world.onboard("acme", tier="enterprise")
    return admin(tenant["id"], "admin@acme.example")


@pytest.fixture
def stores(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, WatchedStore]:
    return watch(world, monkeypatch)


def watch(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, WatchedStore]:
    """Every tenant's store, watched."""
    database, stores = world.core.adapters.database, dict[str, WatchedStore]()
    plain = database.tenant

    def watched(tenant_id: str, placement: Placement) -> TenantStore:
        return stores.setdefault(tenant_id, WatchedStore(plain(tenant_id, placement)))

    monkeypatch.setattr(database, "tenant", watched)
    monkeypatch.setattr(world.core.directory, "_handles", {})
    return stores


async def create(world: World, caller: Caller, headers: dict[str, str] = KEY, **fields: Any) -> Answer:
    return await world.call("create_agent", caller, {**AGENT, **fields}, headers=headers)


async def agents(world: World, caller: Caller) -> list[dict[str, Any]]:
    answer = await world.call("list_agents", caller)
    found: list[dict[str, Any]] = answer.json["items"]
    return found


async def test_the_same_request_again_gets_the_same_answer(world: World, ada: Caller) -> None:
    first, second = await create(world, ada), await create(world, ada)
    assert (second.status, second.raw, second.etag) == (first.status, first.raw, first.etag)


async def test_the_same_request_again_does_the_work_once(world: World, ada: Caller) -> None:
    await create(world, ada)
    await create(world, ada)
    assert len(await agents(world, ada)) == 1


async def test_a_repeated_answer_says_that_it_is_one(world: World, ada: Caller) -> None:
    first, second = await create(world, ada), await create(world, ada)
    replayed = [answer.headers.get("Idempotency-Replayed") for answer in (first, second)]
    assert replayed == [None, "true"]


async def test_a_repeated_answer_has_the_location_of_the_first(world: World, ada: Caller) -> None:
    first, second = await create(world, ada), await create(world, ada)
    assert second.headers["Location"] == first.headers["Location"]


async def test_a_repeated_answer_is_as_it_was_though_the_thing_has_changed(world: World, ada: Caller) -> None:
    first = await create(world, ada)
    await world.call("patch_agent", ada, {"name": "changed"}, params={"agent_id": first.json["id"]})
    assert (await create(world, ada)).raw == first.raw


async def test_what_was_made_and_is_gone_since_is_not_told_again(world: World, ada: Caller) -> None:
    """Whether it was deleted, or taken away by a restore of what was before."""
    made = (await create(world, ada)).json["id"]
    session = await world.session(ada.tenant_id or "")
    await session.store.commit([Delete(Agent.KIND, made)])
    again = await create(world, ada)
    assert (again.status, again.json["code"], again.json["id"], await agents(world, ada)) == (409, "conflict", made, [])
    assert (await create(world, ada, headers={"idempotency-key": "key-2"})).status == 201


async def test_another_request_under_the_key_of_what_is_gone_is_still_refused(world: World, ada: Caller) -> None:
    made = (await create(world, ada)).json["id"]
    await world.call("delete_agent", ada, params={"agent_id": made})
    assert (await create(world, ada, name="another")).status == 422


async def test_a_repetition_costs_one_read_more_and_a_first_request_none(
    world: World, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Kind] = []
    store = (await world.session(ada.tenant_id or "")).store
    get = store.get

    async def watched(kind: Kind, id: str) -> Stored | None:
        read.append(kind)
        return await get(kind, id)

    monkeypatch.setattr(store, "get", watched)
    await create(world, ada)
    first = list(read)
    read.clear()
    await create(world, ada)
    assert (first.count(Agent.KIND), read.count(Agent.KIND)) == (0, 1)


async def test_a_tenant_that_was_onboarded_is_told_again(world: World) -> None:
    """It is no item of the platform's own partition."""
    new = {"name": "Initech", "slug": "initech", "admin_email": "admin@initech.example"}
    answers = [await world.call("onboard_tenant", STAFF, new, headers=KEY) for _ in range(2)]
    assert ([answer.status for answer in answers], answers[0].raw) == ([201, 201], answers[1].raw)


async def test_without_a_key_the_work_is_done_twice(world: World, ada: Caller) -> None:
    await create(world, ada, headers={})
    await create(world, ada, headers={})
    assert len(await agents(world, ada)) == 2


async def test_the_same_key_with_another_body_is_refused(world: World, ada: Caller) -> None:
    await create(world, ada)
    assert (await create(world, ada, name="another")).status == 422


async def test_the_same_request_by_another_host_name_is_the_same_request(world: World, ada: Caller) -> None:
    first = await create(world, ada)
    again = await world.call("create_agent", ada, AGENT, headers=KEY, host="api.flowgrid.test")
    assert (again.status, again.json["id"]) == (201, first.json["id"])


async def test_the_same_key_for_another_route_is_refused(world: World, ada: Caller) -> None:
    await create(world, ada)
    assert (await world.call("create_user", ada, {"email": "g@acme.example"}, headers=KEY)).status == 422


async def test_the_keys_of_two_users_are_two(world: World, ada: Caller) -> None:
    await create(world, ada)
    grace = admin(ada.tenant_id or "", "grace@acme.example")
    await world.call("create_user", ada, {"email": "grace@acme.example", "role": "admin"})
    assert (await create(world, grace, name="another")).status == 201


async def test_the_keys_of_two_tenants_are_two(world: World, ada: Caller) -> None:
    other = await world.onboard("globex", tier="enterprise")
    await create(world, ada)
    assert (await create(world, admin(other["id"], "admin@globex.example"), name="another")).status == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_key_that_is_none_is_invalid(world: World, ada: Caller, key: str) -> None:
    answer = await create(world, ada, headers={"idempotency-key": key})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "Idempotency-Key")


async def test_a_key_of_255_characters_is_taken(world: World, ada: Caller) -> None:
    assert (await create(world, ada, headers={"idempotency-key": "x" * 255})).status == 201


async def test_while_the_first_is_being_worked_on_the_second_is_told_so(
    world: World, ada: Caller, stores: dict[str, WatchedStore]
) -> None:
    seconds: list[Answer] = []

    async def meanwhile(operations: Sequence[Operation]) -> None:
        stores[ada.tenant_id or ""].before = None
        seconds.append(await create(world, ada))

    await agents(world, ada)
    stores[ada.tenant_id or ""].before = meanwhile
    await create(world, ada)
    assert [answer.status for answer in seconds] == [409]


async def test_the_record_is_in_the_batch_of_the_work(
    world: World, ada: Caller, stores: dict[str, WatchedStore]
) -> None:
    await create(world, ada)
    (batch,) = [
        batch
        for batch in stores[ada.tenant_id or ""].batches
        if any(isinstance(one, Create) and one.kind is IDEMPOTENCY for one in batch)
    ]
    kinds = {PERMIT, IDEMPOTENCY, Agent.KIND, AUDIT, COUNTER, OUTBOX}
    assert {one.kind for one in batch} == kinds


async def test_a_failure_of_the_store_leaves_neither_work_nor_record(
    world: World, ada: Caller, stores: dict[str, WatchedStore]
) -> None:
    async def away(operations: Sequence[Operation]) -> None:
        raise Unavailable("the store is away")

    await agents(world, ada)
    stores[ada.tenant_id or ""].before = away
    failed = await create(world, ada)
    stores[ada.tenant_id or ""].before = None
    again = await create(world, ada)
    assert (failed.status, again.status, again.headers.get("Idempotency-Replayed")) == (503, 201, None)


async def test_work_whose_outcome_was_never_heard_of_is_found_done(
    world: World, ada: Caller, stores: dict[str, WatchedStore]
) -> None:
    """The batch is written, the answer is lost on the way: the client asks again and gets what was made."""
    await agents(world, ada)
    store = stores[ada.tenant_id or ""]

    async def written_but_unheard(operations: Sequence[Operation]) -> None:
        store.before = None
        await store.inner.commit(operations)
        raise Unknown("no answer")

    store.before = written_but_unheard
    lost, found = await create(world, ada), await create(world, ada)
    assert (lost.status, found.status, len(await agents(world, ada))) == (503, 201, 1)


async def test_two_processes_that_race_give_the_same_answer(
    world: World, twin: World, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = watch(world, monkeypatch)
    await agents(world, ada)
    faster: list[Answer] = []

    async def meanwhile(operations: Sequence[Operation]) -> None:
        stores[ada.tenant_id or ""].before = None
        faster.append(await create(twin, ada))

    stores[ada.tenant_id or ""].before = meanwhile
    slower = await create(world, ada)
    assert [(slower.status, slower.raw)] == [(answer.status, answer.raw) for answer in faster]


async def test_two_processes_that_race_for_a_derived_id_give_the_same_answer(
    world: World, twin: World, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's id follows from the e-mail, so both batches meet at the user as well as at the record."""
    stores = watch(world, monkeypatch)
    await agents(world, ada)
    new, faster = {"email": "grace@acme.example"}, list[Answer]()

    async def meanwhile(operations: Sequence[Operation]) -> None:
        if any(isinstance(one, Create) and one.kind is User.KIND for one in operations):
            stores[ada.tenant_id or ""].before = None
            faster.append(await twin.call("create_user", ada, new, headers=KEY))

    stores[ada.tenant_id or ""].before = meanwhile
    slower = await world.call("create_user", ada, new, headers=KEY)
    assert [(slower.status, slower.raw)] == [(answer.status, answer.raw) for answer in faster]


async def test_two_processes_that_race_for_work_in_another_tenant_give_the_same_answer(
    world: World, twin: World, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one finds what the faster one has written in that tenant."""
    stores, faster = watch(world, monkeypatch), list[Answer]()
    await agents(world, ada)

    async def opened(world: World) -> Answer:
        about = {"tenant_id": ada.tenant_id or ""}
        return await world.call("open_staff_access", STAFF, {"reason": "Case 4711"}, params=about, headers=KEY)

    async def meanwhile(operations: Sequence[Operation]) -> None:
        stores[ada.tenant_id or ""].before = None
        async with unrecorded(twin, monkeypatch):
            faster.append(await opened(twin))

    stores[ada.tenant_id or ""].before = meanwhile
    slower = await opened(world)
    (grant,) = (await world.call("list_staff_access", ada)).json["items"]
    assert ([answer.status for answer in faster], slower.status, slower.json) == ([503], 200, grant)
    assert grant["revision"] == 1


async def test_two_processes_at_once_count_the_work_once(world: World, twin: World, ada: Caller) -> None:
    await asyncio.gather(*(create(process, ada) for process in (world, twin) * 5))
    quotas = await world.call("get_quotas", ada)
    assert quotas.json["items"][0]["used"] == 1


async def test_after_a_day_the_key_is_forgotten(world: World, ada: Caller) -> None:
    first = await create(world, ada)
    world.clock.advance(hours=24)
    second = await create(world, ada)
    assert (second.status, second.json["id"] == first.json["id"]) == (201, False)


async def test_just_before_a_day_is_over_the_key_is_known(world: World, ada: Caller) -> None:
    first = await create(world, ada)
    world.clock.advance(hours=23, minutes=59)
    assert (await create(world, ada)).raw == first.raw


async def test_a_race_lost_to_a_record_that_expires_at_that_moment_is_a_conflict_to_try_again(
    world: World, twin: World, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = watch(world, monkeypatch)
    await agents(world, ada)
    store = stores[ada.tenant_id or ""]

    async def meanwhile(operations: Sequence[Operation]) -> None:
        store.before = None
        await create(twin, ada)
        try:
            await store.inner.commit(operations)
        finally:
            world.clock.advance(hours=25)

    store.before = meanwhile
    answer = await create(world, ada)
    assert (answer.status, "just expired" in answer.json["detail"]) == (409, True)


async def test_a_request_that_failed_leaves_no_record(world: World, ada: Caller) -> None:
    failed = await create(world, ada, pattern="Nonsense")
    assert (failed.status, (await create(world, ada)).status) == (400, 201)


async def test_a_quota_that_was_reached_is_not_remembered(world: World) -> None:
    tenant = await world.onboard("tiny", tier="enterprise", max_agents=0)
    caller = admin(tenant["id"], "admin@tiny.example")
    refused = await create(world, caller)
    await world.call("patch_tenant", STAFF, {"max_agents": 1}, params={"tenant_id": tenant["id"]})
    world.clock.advance(seconds=6)
    assert (refused.status, (await create(world, caller)).status) == (429, 201)


async def test_work_that_writes_nothing_of_its_own_is_recorded_as_well(world: World, ada: Caller) -> None:
    where = {"tenant_id": ada.tenant_id or ""}
    first = await world.call("resume_tenant", STAFF, params=where, headers=KEY)
    second = await world.call("resume_tenant", STAFF, params=where, headers=KEY)
    assert (second.headers.get("Idempotency-Replayed"), second.raw) == ("true", first.raw)


async def test_an_onboarding_that_comes_again_under_its_key_is_the_same_tenant(world: World) -> None:
    new = {"name": "Initech", "slug": "initech", "admin_email": "bill@initech.example"}
    answers = [await world.call("onboard_tenant", STAFF, new, headers=KEY) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201] and answers[0].raw == answers[1].raw


async def test_a_key_on_a_get_means_nothing(world: World, ada: Caller) -> None:
    await world.call("list_agents", ada, headers=KEY)
    await create(world, ada, headers={})
    listed = await world.call("list_agents", ada, headers=KEY)
    assert len(listed.json["items"]) == 1


async def test_a_quota_counts_the_work_of_a_repeated_request_once(
    world: World, ada: Caller, stores: dict[str, WatchedStore]
) -> None:
    await create(world, ada)
    await create(world, ada)
    counted = [one for batch in stores[ada.tenant_id or ""].batches for one in batch if isinstance(one, Increment)]
    assert len([one for one in counted if one.kind is COUNTER]) == 1

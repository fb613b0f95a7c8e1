"""Secrets of resources: what one refers to stays, what none refers to is forgotten, whoever dies or restores when."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from functions.tools.http import EXAMPLE
from functions.tools.models import Tool, ToolFields, tool_id
from shared.errors import Conflict, Unavailable
from shared.work.fencing import close, reopen
from shared.work.kept_secrets import RECORD, KeptSecrets
from shared.work.resources import load
from shared.work.session import TenantSession
from tests.unit.world import World, admin

TOOL = tool_id(str(EXAMPLE["name"]))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World.over(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def acme(world: World) -> TenantSession:
    return await world.session(str((await world.onboard("acme"))["id"]))


@pytest.fixture
def secrets(world: World) -> KeptSecrets:
    return KeptSecrets(world.core.adapters.secrets)


async def held(world: World, tenant: TenantSession, value: str) -> str:
    """The reference of the one tool, which has this secret from now on."""
    if await tenant.store.get(Tool.KIND, TOOL) is None:
        answer = await world.call("create_tool", admin(tenant.id), {**EXAMPLE, "secret": value})
    else:
        answer = await world.call("patch_tool", admin(tenant.id), {"secret": value}, params={"tool_id": TOOL})
    assert answer.status in (200, 201), answer.raw
    return str(answer.json["secret_reference"])


async def put(secrets: KeptSecrets, tenant: TenantSession, value: str) -> str:
    """As far as a request comes that dies before its commit."""
    return await secrets.put(tenant, Tool.KIND, TOOL, value)


async def brought_back(tenant: TenantSession, reference: str | None) -> None:
    """As a restore does it, which knows of no secrets: the tool with an earlier reference; None: there was no tool."""
    holder = tenant.services.ids.new()
    await close(tenant, holder)
    session = tenant.past_the_fence()
    stored = await session.store.get(Tool.KIND, TOOL)
    buried = (await session.buried(Tool.KIND, [TOOL])).get(TOOL)
    current = None if stored is None else await load(session, Tool, TOOL)
    change = session.change(*[one for one in (current, buried) if one is not None])
    if reference is not None:
        fields = ToolFields.model_validate(EXAMPLE).model_dump(exclude={"secret"})
        envelope = {"id": TOOL, "revision": 1, "created_at": change.at, "updated_at": change.at}
        who = {"created_by": "x", "updated_by": "x", "secret_reference": reference}
        change.restore(Tool, {**fields, **envelope, **who}, current, buried)
    elif current is not None:
        change.delete(current)
    if not change.empty:
        await change.commit(None)
    await reopen(tenant, holder)


async def test_what_a_resource_refers_to_is_there_for_ever(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    reference = await held(world, acme, "key-of-acme")
    world.clock.advance(days=400)
    assert await secrets.compare(acme) == 0
    assert await secrets.get(acme, reference) == "key-of-acme"
    assert "key-of-acme" not in reference


async def test_what_was_put_before_a_crash_is_forgotten_after_an_hour(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    reference = await put(secrets, acme, "key-of-acme")
    world.clock.advance(minutes=59)
    assert (await secrets.compare(acme), await secrets.get(acme, reference)) == (0, "key-of-acme")
    world.clock.advance(minutes=2)
    assert (await secrets.compare(acme), await secrets.get(acme, reference)) == (1, None)
    assert await secrets.compare(acme) == 0


async def test_what_is_displaced_serves_those_who_have_begun_and_goes_after_an_hour(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    old = await held(world, acme, "old-key-1")
    world.clock.advance(days=1)
    new = await held(world, acme, "new-key-1")
    assert await secrets.compare(acme) == 0
    assert [await secrets.get(acme, one) for one in (old, new)] == ["old-key-1", "new-key-1"]
    world.clock.advance(minutes=61)
    assert await secrets.compare(acme) == 1
    assert [await secrets.get(acme, one) for one in (old, new)] == [None, "new-key-1"]


async def test_what_is_forgotten_is_not_held(world: World, acme: TenantSession, secrets: KeptSecrets) -> None:
    """A request that has slept for longer than an hour between its secret and its commit."""
    await held(world, acme, "old-key-1")
    reference = await put(secrets, acme, "key-of-acme")
    world.clock.advance(minutes=61)
    assert await secrets.compare(acme) == 1
    with pytest.raises(Conflict, match="send it once more"):
        await secrets.move(acme, acme.change(), (await load(acme, Tool, TOOL)).value, None, reference)


async def test_what_goes_while_a_change_is_made_is_not_held(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    await held(world, acme, "old-key-1")
    reference = await put(secrets, acme, "key-of-acme")
    world.clock.advance(minutes=61)
    change = acme.change()
    await secrets.move(acme, change, (await load(acme, Tool, TOOL)).value, None, reference)
    assert await secrets.compare(acme) == 1
    with pytest.raises(Conflict, match="send it once more"):
        await change.commit(None)


async def test_what_is_held_while_the_round_looks_stays(
    world: World, acme: TenantSession, secrets: KeptSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held(world, acme, "old-key-1")
    reference = await put(secrets, acme, "key-of-acme")
    world.clock.advance(minutes=61)

    async def commits() -> None:
        change, tool = acme.change(), await load(acme, Tool, TOOL)
        now = change.update(tool, {"secret_reference": reference})
        await secrets.move(acme, change, now, tool.value.secret_reference, reference)
        await change.commit(None)

    after_it_has_looked(acme, commits, monkeypatch)
    assert (await secrets.compare(acme), await secrets.get(acme, reference)) == (0, "key-of-acme")


def after_it_has_looked(tenant: TenantSession, happens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something happens, once, between the round's look at the resources and what it decides by it."""
    query, left = type(tenant.store).query, [happens]

    async def looked(self: Any, kind: Any, *rest: Any, **more: Any) -> Any:
        found = await query(self, kind, *rest, **more)
        if kind == Tool.KIND and left:
            await left.pop()()
        return found

    monkeypatch.setattr(type(tenant.store), "query", looked)


# Whoever dies


async def dying(*_: Any) -> None:
    raise Unavailable("The key vault does not answer.")


async def test_a_round_that_died_before_the_secret_was_gone_is_finished_by_a_later_one(
    world: World, acme: TenantSession, secrets: KeptSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held(world, acme, "old-key-1")
    reference = await put(secrets, acme, "key-of-acme")
    world.clock.advance(minutes=61)
    with monkeypatch.context() as broken:
        broken.setattr(type(world.core.adapters.secrets.space(acme.id)), "delete", dying)
        with pytest.raises(Unavailable):
            await secrets.compare(acme)
    with pytest.raises(Conflict):  # it may be gone, so it is
        await secrets.move(acme, acme.change(), (await load(acme, Tool, TOOL)).value, None, reference)
    world.clock.advance(minutes=61)
    assert (await secrets.compare(acme), await secrets.get(acme, reference)) == (1, None)


async def test_a_round_that_died_between_secret_and_record_is_finished_by_the_next(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    reference = await put(secrets, acme, "key-of-acme")
    await world.core.adapters.secrets.space(acme.id).delete(reference)
    world.clock.advance(minutes=61)
    assert await secrets.compare(acme) == 1
    assert (await acme.store.query(RECORD, [], limit=1)).items == []


async def test_two_rounds_at_once_forget_it_once(
    world: World, twin: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    await put(secrets, acme, "key-of-acme")
    world.clock.advance(minutes=61)
    theirs = KeptSecrets(twin.core.adapters.secrets)
    assert sum(await asyncio.gather(secrets.compare(acme), theirs.compare(await twin.session(acme.id)))) == 1
    assert (await acme.store.query(RECORD, [], limit=1)).items == []


async def test_more_than_a_page_of_them_are_compared(world: World, acme: TenantSession, secrets: KeptSecrets) -> None:
    kept = await held(world, acme, "key-of-acme")
    for number in range(101):
        await put(secrets, acme, f"key-{number:07}")
    world.clock.advance(minutes=61)
    assert (await secrets.compare(acme), await secrets.get(acme, kept)) == (101, "key-of-acme")


# Restores


async def test_what_a_restore_refers_to_again_within_the_hour_stays_and_what_it_displaces_goes(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    old, new = await held(world, acme, "old-key-1"), await held(world, acme, "new-key-1")
    await brought_back(acme, old)
    world.clock.advance(minutes=61)
    assert await secrets.compare(acme) == 0  # calls that began with the new one may go on
    assert [await secrets.get(acme, one) for one in (old, new)] == ["old-key-1", "new-key-1"]
    world.clock.advance(minutes=61)
    assert await secrets.compare(acme) == 1
    assert [await secrets.get(acme, one) for one in (old, new)] == ["old-key-1", None]
    third = await held(world, acme, "third-key")
    world.clock.advance(minutes=61)
    assert await secrets.compare(acme) == 1
    assert [await secrets.get(acme, one) for one in (old, third)] == [None, "third-key"]


async def test_a_new_secret_can_be_set_where_a_restore_brought_back_one_that_is_forgotten(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    old, new = await held(world, acme, "old-key-1"), await held(world, acme, "new-key-1")
    world.clock.advance(minutes=61)
    assert await secrets.compare(acme) == 1
    await brought_back(acme, old)
    assert await secrets.get(acme, old) is None
    third = await held(world, acme, "third-key")
    for _ in range(2):
        world.clock.advance(minutes=61)
        await secrets.compare(acme)
    assert [await secrets.get(acme, one) for one in (old, new, third)] == [None, None, "third-key"]
    assert [record.body["id"] for record in (await acme.store.query(RECORD)).items] == [third.removeprefix("secret:")]


async def test_what_a_restore_takes_away_leaves_no_secret(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    reference = await held(world, acme, "key-of-acme")
    await brought_back(acme, None)
    assert await secrets.compare(acme) == 0
    world.clock.advance(minutes=61)
    assert (await secrets.compare(acme), await secrets.get(acme, reference)) == (1, None)


async def test_nothing_is_forgotten_while_a_restore_writes(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    reference = await put(secrets, acme, "key-of-acme")
    world.clock.advance(minutes=61)
    await close(acme, "restore")
    assert await secrets.compare(acme) == 0
    await reopen(acme, "restore")
    assert (await secrets.compare(acme), await secrets.get(acme, reference)) == (1, None)


async def test_what_a_restore_refers_to_while_the_round_looks_stays(
    world: World, acme: TenantSession, secrets: KeptSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = await held(world, acme, "old-key-1"), await held(world, acme, "new-key-1")
    world.clock.advance(minutes=61)
    after_it_has_looked(acme, lambda: brought_back(acme, old), monkeypatch)
    assert await secrets.compare(acme) == 0
    assert [await secrets.get(acme, one) for one in (old, new)] == ["old-key-1", "new-key-1"]


async def test_one_that_a_dead_round_marked_and_a_restore_brought_back_stays(
    world: World, acme: TenantSession, secrets: KeptSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await held(world, acme, "old-key-1")
    await held(world, acme, "new-key-1")
    world.clock.advance(minutes=61)
    with monkeypatch.context() as broken:
        broken.setattr(type(world.core.adapters.secrets.space(acme.id)), "delete", dying)
        with pytest.raises(Unavailable):
            await secrets.compare(acme)
    await brought_back(acme, old)
    for _ in range(3):
        world.clock.advance(minutes=61)
        await secrets.compare(acme)
        assert await secrets.get(acme, old) == "old-key-1"


async def test_a_reference_opens_nothing_in_another_tenant(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    reference = await held(world, acme, "key-of-acme")
    other = await world.session(str((await world.onboard("globex"))["id"]))
    assert await secrets.get(other, reference) is None


STEPS = st.lists(
    st.sampled_from(["change", "delete", "put", "restore first", "restore last", "restore none", "round", "wait"]),
    max_size=25,
)


@profile(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_what_is_referred_to_stays_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    asyncio.run(_play(tmp_path_factory.mktemp("secrets"), steps))


async def _play(folder: Path, steps: list[str]) -> None:
    world = World.over(folder)
    tenant = await world.session(str((await world.onboard("acme"))["id"]))
    secrets, past = KeptSecrets(world.core.adapters.secrets), list[str]()

    async def referred() -> str | None:
        stored = await tenant.store.get(Tool.KIND, TOOL)
        return None if stored is None else str(stored.body["secret_reference"])

    for step in steps:
        match step:
            case "change":
                past.append(await held(world, tenant, f"key-{len(past):06}"))
            case "delete":
                await world.call("delete_tool", admin(tenant.id), params={"tool_id": TOOL})
            case "put":
                await put(secrets, tenant, "key-of-a-crash")
            case "restore first" | "restore last" if past:
                await brought_back(tenant, past[0 if step == "restore first" else -1])
            case "restore none":
                await brought_back(tenant, None)
            case "wait":
                world.clock.advance(minutes=45)
            case "round":
                before = await referred()
                value = before and await secrets.get(tenant, before)
                await secrets.compare(tenant)
                assert (before and await secrets.get(tenant, before)) == value
    last = await referred()
    value = last and await secrets.get(tenant, last)
    for _ in range(2):
        world.clock.advance(minutes=61)
        await secrets.compare(tenant)
    there = world.core.settings.flowgrid_data_dir / "secrets" / tenant.id
    kept = [f"secret:{path.name}" for path in there.iterdir()] if there.exists() else []
    assert kept == ([last] if value else [])
    await world.close()

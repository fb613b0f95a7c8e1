"""Secrets of resources: what a change holds stays, what none holds is forgotten, whenever somebody dies."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.errors import Conflict
from shared.work.kept_secrets import LOOSE, KeptSecrets
from shared.work.session import TenantSession
from tests.unit.world import World


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


async def held(secrets: KeptSecrets, tenant: TenantSession, value: str, instead_of: str | None = None) -> str:
    """As a resource does it whose reference this becomes."""
    reference = await secrets.put(tenant, value)
    change = tenant.change()
    secrets.move(change, instead_of, reference)
    await change.commit(None)
    return reference


async def test_what_a_change_holds_is_there_for_ever(world: World, acme: TenantSession, secrets: KeptSecrets) -> None:
    reference = await held(secrets, acme, "key-of-acme")
    world.clock.advance(days=400)
    assert await secrets.forget_loose(acme) == 0
    assert await secrets.get(acme, reference) == "key-of-acme"
    assert "key-of-acme" not in reference


async def test_what_was_put_before_a_crash_is_forgotten_after_an_hour(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    reference = await secrets.put(acme, "key-of-acme")
    world.clock.advance(minutes=59)
    assert (await secrets.forget_loose(acme), await secrets.get(acme, reference)) == (0, "key-of-acme")
    world.clock.advance(minutes=2)
    assert (await secrets.forget_loose(acme), await secrets.get(acme, reference)) == (1, None)
    assert await secrets.forget_loose(acme) == 0


async def test_what_is_displaced_serves_those_who_have_begun_and_goes_after_an_hour(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    old = await held(secrets, acme, "old-key")
    new = await held(secrets, acme, "new-key", instead_of=old)
    assert [await secrets.get(acme, one) for one in (old, new)] == ["old-key", "new-key"]
    world.clock.advance(minutes=61)
    assert await secrets.forget_loose(acme) == 1
    assert [await secrets.get(acme, one) for one in (old, new)] == [None, "new-key"]


async def test_what_is_forgotten_is_not_held(world: World, acme: TenantSession, secrets: KeptSecrets) -> None:
    reference = await secrets.put(acme, "key-of-acme")
    world.clock.advance(minutes=61)
    await secrets.forget_loose(acme)
    change = acme.change()
    secrets.move(change, None, reference)
    with pytest.raises(Conflict):
        await change.commit(None)


async def test_a_round_that_died_between_secret_and_record_is_finished_by_the_next(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    reference = await secrets.put(acme, "key-of-acme")
    await world.core.adapters.secrets.space(acme.id).delete(reference)
    world.clock.advance(minutes=61)
    assert await secrets.forget_loose(acme) == 1
    assert (await acme.store.query(LOOSE, [], limit=1)).items == []


async def test_a_reference_opens_nothing_in_another_tenant(
    world: World, acme: TenantSession, secrets: KeptSecrets
) -> None:
    reference = await held(secrets, acme, "key-of-acme")
    other = await world.session(str((await world.onboard("globex"))["id"]))
    assert await secrets.get(other, reference) is None

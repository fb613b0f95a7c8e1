"""The onboarding sweep: what stopped half-way is taken up, one after another, whatever stops one of them."""

from collections.abc import Sequence
from typing import Any

import pytest

from shared.database.port import Operation, Rejected, Replace
from shared.errors import Unavailable
from shared.tenancy.directory import TENANT
from tests.unit.world import STAFF, World


class Crash(BaseException):
    """The process is gone."""


async def half(world: World, slug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An onboarding whose process dies before its tenant is active."""

    async def crash(*_: Any, **__: Any) -> None:
        raise Crash

    new = {"name": slug, "slug": slug, "admin_email": f"ada@{slug}.example"}
    with monkeypatch.context() as dying, pytest.raises(Crash):
        dying.setattr(world.core.names, "reserve", crash)
        await world.call("onboard_tenant", STAFF, new)


async def working(world: World) -> list[str]:
    items = (await world.call("list_tenants", STAFF)).json["items"]
    return sorted(one["slug"] for one in items if one["status"] == "trial")


@pytest.mark.parametrize(("seconds", "taken_up"), [(30, False), (30.000001, True)])
async def test_an_onboarding_is_taken_up_after_thirty_seconds(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: float, taken_up: bool
) -> None:
    await half(world, "acme", monkeypatch)
    world.clock.advance(seconds=seconds)
    await world.sweep()
    assert await working(world) == (["acme"] if taken_up else [])


async def test_a_tenant_whose_store_is_away_keeps_no_other_onboarding_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("acme", "globex", "initech"):
        await half(world, slug, monkeypatch)
    provision, asked = world.core.adapters.database.provision, list[object]()

    async def away(placement: Any) -> None:
        asked.append(placement)
        if len(asked) == 1:
            raise Unavailable("away")
        await provision(placement)

    world.clock.advance(seconds=31)
    with monkeypatch.context() as broken:
        broken.setattr(world.core.adapters.database, "provision", away)
        await world.sweep()
    assert len(await working(world)) == 2
    await world.sweep()
    assert await working(world) == ["acme", "globex", "initech"]


async def test_a_tenant_that_somebody_else_finishes_meanwhile_is_finished(
    world: World, twin: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seeded it; the second activation is refused by its ETag, and looks again."""
    await half(world, "acme", monkeypatch)
    world.clock.advance(seconds=31)
    platform = world.core.adapters.database.platform
    put, lost = platform.put, list[str]()

    async def slower(operation: Any, tenant_id: str) -> str | None:
        if isinstance(operation, Replace) and operation.kind is TENANT and not lost:
            await twin.sweep()
            try:
                return await put(operation, tenant_id)
            except Rejected as rejected:
                lost.append(rejected.reason)
                raise
        return await put(operation, tenant_id)

    monkeypatch.setattr(platform, "put", slower)
    await world.sweep()
    assert (lost, await working(world)) == (["stale"], ["acme"])


async def test_a_batch_that_is_away_leaves_the_onboarding_to_the_next_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await half(world, "acme", monkeypatch)
    world.clock.advance(seconds=31)
    found = (await world.core.adapters.database.platform.query(TENANT)).items[0].body
    store = world.core.adapters.database.tenant(found["id"], world.core.directory.flowgrid.placement)

    async def away(operations: Sequence[Operation]) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(store, "commit", away)
        await world.sweep()
    assert await working(world) == []
    await world.sweep()
    assert await working(world) == ["acme"]

"""What follows from a backup that is settled: a day's storage is metered once, a tenant hears of one that failed."""

from typing import Any

import pytest

from functions.backups import archive
from functions.backups.models import Backup
from functions.backups.settling import settle
from functions.backups.snapshot import Snapshot
from shared.errors import Conflict
from tests.unit.world import AGENT, World, admin


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


async def daily(world: World) -> None:
    """A day's backups, to their end."""
    await world.functions["backup_daily"](None)
    for _ in range(10):
        await world.drain()
        world.clock.advance(seconds=6)


async def stored(world: World, tenant: str) -> dict[str, int]:
    """The bytes by kind that are metered, summed over all days."""
    await world.drain()
    found = await world.call("get_usage", admin(tenant), query={"metric": "storage_bytes", "period": "month"})
    items = found.json["items"]
    return dict(items[0]["dimensions"]) if items else {}


async def told(world: World, tenant: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.call("list_notifications", admin(tenant))).json["items"]
    return found


async def test_a_daily_backup_meters_the_bytes_of_each_kind(world: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), {**AGENT, "config": {"x": "é" * 1000}})
    await daily(world)
    found = await stored(world, tenant)
    assert 2000 < found["agent"] < 3000
    assert found.keys() >= {"agent", "user", "audit"}


async def test_each_day_is_metered_once_whoever_begins_it_again(world: World, twin: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), AGENT)
    await daily(world)
    once = (await stored(world, tenant))["agent"]
    await daily(world)
    await daily(twin)
    again = (await stored(world, tenant))["agent"]
    world.clock.advance(days=1)
    await daily(world)
    assert (again, (await stored(world, tenant))["agent"]) == (once, 2 * once)


async def test_a_backup_on_demand_is_not_metered(world: World, tenant: str) -> None:
    await world.backed_up(tenant)
    assert await stored(world, tenant) == {}


async def test_of_a_backup_that_failed_the_tenant_is_told_once(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> str:
        raise Conflict("There is no room.")

    monkeypatch.setattr(archive.Archive, "write_manifest", refused)
    failed = await world.backed_up(tenant)
    (notice,) = await told(world, tenant)
    assert (failed["status"], notice["code"], notice["title"]) == ("failed", "backup_failed", "A backup failed")
    assert "backup on demand" in notice["text"] and ": There is no room. Earlier" in notice["text"]
    assert notice["data"]["backup_id"] == failed["id"]
    assert await stored(world, tenant) == {}


async def test_a_backup_that_another_runner_has_settled_tells_nothing_more(world: World, tenant: str) -> None:
    made = await world.backed_up(tenant)
    session = await world.session(tenant)
    backup = Backup.model_validate({**made, "status": "running"})
    await settle(session, backup, {"status": "failed", "error": "It was tried too often."})
    assert await told(world, tenant) == []


async def test_of_a_backup_that_cannot_be_restored_the_tenant_is_told(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Snapshot, "dangling", lambda *_: ["relationship 1"])
    made = await world.backed_up(tenant)
    assert (made["status"], [notice["title"] for notice in await told(world, tenant)]) == (
        "inconsistent",
        ["A backup cannot be restored"],
    )

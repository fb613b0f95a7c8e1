"""Onboarding that dies at any of its calls, before or after it: the sweep finishes it or leaves nothing of it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from functions.kinds import KINDS
from functions.tenants.models import NewTenant, Tenant
from functions.tenants.onboarding import Onboarding
from shared.adapters import Adapters, build
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.database.port import (
    OLDEST_FIRST,
    Create,
    Database,
    Delete,
    Operation,
    Order,
    Page,
    Placement,
    PlatformStore,
    Replace,
    Stored,
    Swept,
    TenantStore,
    Traces,
    Where,
)
from shared.errors import Conflict
from shared.kinds import Kind
from shared.members.names import Names
from shared.members.users import User, user_id
from shared.settings import Settings
from shared.tenancy.directory import RESERVATION, TENANT, Directory
from shared.tenancy.fence import AUDIT
from shared.work.change import COUNTER
from shared.work.outbox import Outbox
from shared.work.scope import Services
from shared.work.session import TenantSession
from tests.doubles.clock import never
from tests.unit.world import FakeClock, FakeIds

NEW = NewTenant(name="Acme", slug="acme", admin_email="ada@acme.example")
OTHER = NewTenant(name="Globex", slug="acme", admin_email="ada@acme.example")


class Crash(BaseException):
    """The process is gone: no handler of ours may see it."""


class Fuse:
    """Blows at call number `at`, before the call reaches the store or after it (the answer is lost)."""

    def __init__(self, at: int | None = None, *, after: bool = False) -> None:
        self.calls = 0
        self._at = at
        self._after = after

    async def guard(self, call: Any) -> Any:
        self.calls += 1
        blown = self.calls == self._at
        if blown and not self._after:
            call.close()
            raise Crash
        try:
            return await call
        finally:
            if blown:
                raise Crash


class Overtaken(Fuse):
    """Nothing blows: before call number `at`, somebody else gets on with it."""

    def __init__(self, at: int, others: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._before = at
        self._others = others

    async def guard(self, call: Any) -> Any:
        self.calls += 1
        if self.calls == self._before:
            await self._others()
        return await call


class FusedRegistry(PlatformStore):
    def __init__(self, inner: PlatformStore, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def get(self, kind: Kind, tenant_id: str, id: str) -> Stored | None:
        found: Stored | None = await self._fuse.guard(self._inner.get(kind, tenant_id, id))
        return found

    async def put(self, operation: Create | Replace | Delete, tenant_id: str) -> str | None:
        etag: str | None = await self._fuse.guard(self._inner.put(operation, tenant_id))
        return etag

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        page: Page = await self._fuse.guard(self._inner.query(kind, where, order=order, limit=limit, after=after))
        return page

    async def sweep(self, kind: Kind, where: Sequence[Where], *, limit: int = 200) -> Swept:
        found: Swept = await self._fuse.guard(self._inner.sweep(kind, where, limit=limit))
        return found


class FusedTenantStore(TenantStore):
    def __init__(self, inner: TenantStore, fuse: Fuse) -> None:
        self.tenant_id = inner.tenant_id
        self._inner = inner
        self._fuse = fuse

    async def get(self, kind: Kind, id: str) -> Stored | None:
        found: Stored | None = await self._fuse.guard(self._inner.get(kind, id))
        return found

    async def buried(self, kind: Kind, ids: Sequence[str]) -> list[Stored]:
        found: list[Stored] = await self._fuse.guard(self._inner.buried(kind, ids))
        return found

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        page: Page = await self._fuse.guard(self._inner.query(kind, where, order=order, limit=limit, after=after))
        return page

    def scan(self, kinds: Sequence[Kind], *, since: str | None = None) -> AsyncIterator[list[Stored]]:
        return self._inner.scan(kinds, since=since)

    async def traces(self, kind: Kind, ids: Sequence[str]) -> Traces:
        raise NotImplementedError

    async def commit(self, operations: Sequence[Operation]) -> None:
        await self._fuse.guard(self._inner.commit(operations))


class FusedDatabase(Database):
    """A database that every call of a process goes through, until the fuse blows."""

    def __init__(self, inner: Database, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    @property
    def platform(self) -> PlatformStore:
        return FusedRegistry(self._inner.platform, self._fuse)

    def tenant(self, tenant_id: str, placement: Placement) -> TenantStore:
        return FusedTenantStore(self._inner.tenant(tenant_id, placement), self._fuse)

    async def provision(self, placement: Placement) -> None:
        await self._fuse.guard(self._inner.provision(placement))

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()


@dataclass(frozen=True)
class Process:
    """One process that can onboard: its caches die with it, its files do not."""

    onboarding: Onboarding
    staff: TenantSession
    directory: Directory

    @classmethod
    def over(cls, adapters: Adapters, clock: FakeClock, ids: FakeIds, fuse: Fuse) -> "Process":
        database = FusedDatabase(adapters.database, fuse)
        directory = Directory(database, clock)
        services = Services(clock, ids, Outbox(adapters.messaging, never), "usage-events", KINDS)
        names = Names(database, directory, clock)
        onboarding = Onboarding(database, directory, names, services, shards=1, region="local")
        store = directory.open(directory.flowgrid)
        return cls(onboarding, TenantSession(directory.flowgrid, store, SYSTEM, SYSTEM_REQUEST, services), directory)


class World:
    """What survives: the files, the clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.ids = FakeIds()
        self.adapters = build(Settings.model_validate({"flowgrid_data_dir": folder}), self.clock, KINDS)

    def process(self, fuse: Fuse | None = None) -> Process:
        return Process.over(self.adapters, self.clock, self.ids, fuse or Fuse())

    async def tenants(self) -> list[dict[str, Any]]:
        return [item.body for item in (await self.adapters.database.platform.query(TENANT)).items]

    async def reservations(self) -> set[tuple[str, str, str]]:
        found = (await self.adapters.database.platform.query(RESERVATION)).items
        return {(item.body["sort"], item.body["name"], item.body["holder"]) for item in found}


@asynccontextmanager
async def world_in(folder: Path) -> AsyncIterator[World]:
    world = World(folder)
    yield world
    await world.adapters.close()


async def _crashed(call: Awaitable[object]) -> bool:
    """Whether the fuse blew in it."""
    try:
        await call
    except Crash:
        return True
    except Conflict:
        return False
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_call_is_finished_by_the_sweep_or_leaves_nothing(tmp_path: Path, after: bool) -> None:
    for at in count(1):
        async with world_in(tmp_path / str(at)) as world:
            process = world.process(Fuse(at, after=after))
            if not await _crashed(process.onboarding.onboard(process.staff, NEW)):
                break
            world.clock.advance(minutes=2)
            await world.process().onboarding.sweep()
            if not await world.tenants():
                assert (at, after) == (1, False), "only before its first write an onboarding may vanish"
                assert await world.reservations() == set()
                await _onboard(world, NEW)
            (entry,) = await world.tenants()
            await _check_whole(world, Tenant.model_validate(entry))
    assert at > 5, "too few calls to be an onboarding"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_while_a_refused_onboarding_is_undone_leaves_nothing_of_it(tmp_path: Path, after: bool) -> None:
    """The slug is another tenant's."""
    for at in count(1):
        async with world_in(tmp_path / str(at)) as world:
            acme = await _onboard(world, NEW)
            process = world.process(Fuse(at, after=after))
            crashed = await _crashed(process.onboarding.onboard(process.staff, OTHER))
            world.clock.advance(minutes=2)
            await world.process().onboarding.sweep()
            assert [entry["id"] for entry in await world.tenants()] == [acme.id]
            assert {holder.partition("/")[0] for _, _, holder in await world.reservations()} == {acme.id}
            await _check_whole(world, acme)
            globex = await _onboard(world, OTHER.model_copy(update={"slug": "globex"}))
            await _check_whole(world, globex)
            if not crashed:
                break
    assert at > 6, "too few calls to be an onboarding and its undoing"


async def test_a_sweep_that_crashes_too_is_finished_by_the_next(tmp_path: Path) -> None:
    for at in count(1):
        async with world_in(tmp_path / str(at)) as world:
            process = world.process(Fuse(3))
            assert await _crashed(process.onboarding.onboard(process.staff, NEW))
            world.clock.advance(minutes=2)
            crashed = await _crashed(world.process(Fuse(at)).onboarding.sweep())
            await world.process().onboarding.sweep()
            (entry,) = await world.tenants()
            await _check_whole(world, Tenant.model_validate(entry))
            if not crashed:
                break
    assert at > 5, "too few calls to be a sweep that finishes an onboarding"


async def test_whoever_is_slow_in_undoing_takes_nothing_from_who_has_begun_again_under_the_id(tmp_path: Path) -> None:
    """An id comes again with its idempotency key, and with the job of a restore into a new tenant."""
    id = "019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11"
    for at in count(1):
        async with world_in(tmp_path / str(at)) as world:
            living = world.process()
            names = Names(world.adapters.database, living.directory, world.clock)
            await names.reserve("slug", NEW.slug, holder="019e5a3c-0000-7000-8000-000000000000")  # and died
            dying = world.process(Fuse(5))  # it is marked as undone by then
            assert await _crashed(dying.onboarding.onboard(dying.staff, NEW, id=id))
            assert [entry.get("undo") for entry in await world.tenants()] == [True]
            world.clock.advance(minutes=2)
            begun = list[Tenant]()

            async def begin_again(living: Process = living, begun: list[Tenant] = begun) -> None:
                with suppress(Conflict):  # "This onboarding has been undone; begin again."
                    await living.onboarding.onboard(living.staff, NEW, id=id)
                begun.append(await living.onboarding.onboard(living.staff, NEW, id=id))

            await world.process(Overtaken(at, begin_again)).onboarding.sweep()
            if not begun:
                break
            await _check_whole(world, begun[0])
    assert at > 4, "too few calls to be an undoing"


async def test_a_name_that_a_crash_has_reserved_for_nobody_can_be_taken_after_a_minute(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        process = world.process()
        names = Names(world.adapters.database, process.directory, world.clock)
        await names.reserve("slug", NEW.slug, holder="019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11")
        with pytest.raises(Conflict):
            await _onboard(world, NEW)
        world.clock.advance(minutes=2)
        await _check_whole(world, await _onboard(world, NEW))


async def _onboard(world: World, new: NewTenant) -> Tenant:
    process = world.process()
    return await process.onboarding.onboard(process.staff, new)


async def _check_whole(world: World, tenant: Tenant) -> None:
    """A tenant that works: active, its slug its own, counters, first admin, and the audit of both, each once."""
    stored = await world.adapters.database.platform.get(TENANT, tenant.id, tenant.id)
    assert stored is not None and stored.body["status"] == "trial"
    admin = user_id(tenant.id, tenant.admin_email)
    mine = {one for one in await world.reservations() if one[2].partition("/")[0] == tenant.id}
    assert mine == {("slug", tenant.slug, tenant.id)}
    store = world.adapters.database.tenant(tenant.id, Placement.from_document(stored.body["placement"]))
    items = [
        item.body async for page in store.scan([kind for kind in KINDS if kind.container == "items"]) for item in page
    ]
    counters = {item["id"]: item["value"] for item in items if item["kind"] == COUNTER}
    assert counters == {"agents": 0, "users": 1, "backups": 0, "mcp_servers": 0}
    assert [item["id"] for item in items if item["kind"] == User.KIND] == [admin]
    actions = sorted(item["action"] for item in items if item["kind"] == AUDIT)
    assert actions == ["tenant.created", "user.created"]

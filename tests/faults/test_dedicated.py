"""A dedicated onboarding that dies at every call, of Cosmos DB's or Azure Resource Manager's, while the timers run.

As in Azure: https, identities, real SDKs; one double makes in the other what it is asked to make. Until the database
is there, and between database and containers, every sweep of every process comes upon it: none may stop at it.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import shared.adapters
from functions.kinds import KINDS
from shared.database.cosmos.containers import REGISTRY_CONTAINERS, TENANT_CONTAINERS, definition
from shared.database.cosmos.provisioner import CosmosProvisioner
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Delete
from shared.messaging.port import Message
from shared.tenancy.directory import TENANT
from shared.work.outbox import outbox_item
from tests.doubles.arm import ACCOUNT, ArmDouble
from tests.doubles.certificate import make_certificate
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import NumberedIdentity, make_database
from tests.doubles.identity import Identity
from tests.doubles.server import serving
from tests.faults.test_onboarding import Crash, Fuse
from tests.unit.world import AGENT, STAFF, UNLIMITED, FakeClock, World, admin

OTHERS = ("shared", "own")
ROUNDS = 8


class Azure:
    """One account with its two planes, and the processes that live on it."""

    def __init__(self, cosmos: CosmosDouble, arm: ArmDouble, arm_address: str, folder: Path) -> None:
        self.cosmos = cosmos
        self.clock = FakeClock()
        self.arm = arm
        self._arm_address = arm_address
        self._folder = folder
        self._processes = 0
        cosmos.reset(lambda: self.clock.now().timestamp())
        arm.reset()
        arm.looks, arm.on_made, arm.on_gone, arm.now = 0, self._make, self._unmake, self.clock.monotonic
        make_database(cosmos, "registry", REGISTRY_CONTAINERS)
        make_database(cosmos, "shard-1")

    def _make(self, path: str, resource: dict[str, Any]) -> None:
        database, _, container = path.removeprefix(f"{ACCOUNT}/sqlDatabases/").partition("/containers/")
        if container:
            self.cosmos.store.create_container(database, resource)
        else:
            self.cosmos.store.create_database(database)

    def has(self, database: str, parts: int) -> None:
        """So many parts of it have been made: the database, its first container."""
        path = f"{ACCOUNT}/sqlDatabases/{database}"
        made = {path: {"id": database}, f"{path}/containers/items": definition("items", KINDS)}
        for part, resource in list(made.items())[:parts]:
            self.arm.made[part] = resource
            self._make(part, resource)

    def _unmake(self, path: str) -> None:
        del self.cosmos.store.databases[path.rpartition("/")[2]]

    async def forget(self, process: World, tenant: dict[str, Any]) -> None:
        """Take a tenant out again, so that the next ones' sweeps are no longer than this one's."""
        await process.core.adapters.database.platform.put(Delete(TENANT, tenant["id"]), tenant["id"])
        process.core.directory.forget(tenant["id"])
        del self.cosmos.store.databases[tenant["placement"]["database"]]

    def process(self, monkeypatch: pytest.MonkeyPatch, fuse: Fuse | None = None) -> World:
        """A new process: its caches are empty, and it dies where the fuse blows."""
        fuse = fuse or Fuse()
        self._processes += 1

        def database(*_: Any) -> CosmosDatabase:
            made = CosmosDatabase(
                kinds=KINDS,
                endpoint=self.cosmos.endpoint,
                registry="registry",
                shards=["shard-1"],
                clock=self.clock,
                credential=NumberedIdentity,
            )
            for name in ("read", "query", "commit"):
                _guard(fuse, made._calls, name)
            return made

        def provisioner(*_: Any) -> CosmosProvisioner:
            made = CosmosProvisioner(
                ACCOUNT,
                KINDS,
                endpoint=self._arm_address,
                credential=Identity,
                poll_seconds=0.01,
                connection_verify=False,
            )
            _guard(fuse, made, "_send")
            return made

        with monkeypatch.context() as composing:
            composing.setattr(shared.adapters, "_database", database)
            composing.setattr(shared.adapters, "_provisioner", provisioner)
            return World.over(self._folder, clock=self.clock, process=self._processes)


def _guard(fuse: Fuse, target: object, name: str) -> None:
    real = getattr(target, name)

    async def guarded(*given: Any, **more: Any) -> Any:
        return await fuse.guard(real(*given, **more))

    setattr(target, name, guarded)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CosmosDouble, ArmDouble, str]]:
    certificate, arm = make_certificate(tmp_path_factory.mktemp("tls")), ArmDouble()
    with CosmosDouble(certificate=certificate) as cosmos, serving(arm.app(), certificate) as address:
        yield cosmos, arm, address


async def others(azure: Azure, process: World) -> dict[str, str]:
    """Two tenants at work: one in a shard, one in a database of its own."""
    made = {
        slug: (
            await process.onboard(
                slug, dedicated=slug == "own", trial_days=0, limits={**UNLIMITED, "max_backups": 1000}
            )
        )["id"]
        for slug in OTHERS
    }
    await process.drain()
    for tenant_id in made.values():
        assert (await process.call("create_agent", admin(tenant_id), AGENT)).status == 201
    return made


async def leave_work(process: World, tenants: dict[str, str], at: int) -> None:
    """An event that was never sent and a job that was never begun, of each of the others."""
    for slug, tenant_id in tenants.items():
        store = await process.core.directory.store(tenant_id)
        assert store is not None
        message = Message(f"{slug}-{at}", tenant_id, {"id": f"{slug}-{at}"})
        await store.control.commit([outbox_item("elsewhere", message, process.clock.now())])
        assert (await process.call("create_backup", admin(tenant_id), {})).status == 202
    await process.queued("jobs")


async def work_is_done(process: World, tenants: dict[str, str], at: int) -> None:
    sent = {body["id"] for body in await process.queued("elsewhere")}
    assert sent == {f"{slug}-{at}" for slug in tenants}, "an event stays in the outbox"
    for slug, tenant_id in tenants.items():
        items = (await process.call("list_backups", admin(tenant_id), query={"limit": "2"})).json["items"]
        found = {(one["type"], one["status"]) for one in items}
        assert found == {("daily", "succeeded"), ("manual", "succeeded")}, f"the backups of {slug} are not made"


async def entry(process: World, slug: str) -> dict[str, Any] | None:
    """The tenant of this slug, as staff see it."""
    found: list[dict[str, Any]] = (await process.call("list_tenants", STAFF, query={"slug": slug})).json["items"]
    return found[0] if found else None


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_dedicated_onboarding_that_dies_at_any_call_stops_no_sweep_and_is_finished(
    account: tuple[CosmosDouble, ArmDouble, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    azure = Azure(*account, tmp_path)
    first = azure.process(monkeypatch)
    tenants = await others(azure, first)
    for at in count(1):
        azure.clock.advance(days=1)
        await first.drain()
        new = {"name": "New", "slug": f"new-{at}", "tier": "enterprise", "admin_email": f"ada@new-{at}.example"}
        dying = azure.process(monkeypatch, Fuse(at, after=after))
        crashed = True
        with suppress(Crash):
            await dying.call("onboard_tenant", STAFF, new)
            await dying.drain()
            await dying.close()
            crashed = False
        if crashed:
            await dying.core.adapters.close()

        await leave_work(first, tenants, at)
        azure.clock.advance(minutes=7)
        for process in (first, azure.process(monkeypatch)):  # one with caches, one without
            await process.sweep()
            await process.functions["backup_daily"](None)
        await process.close()
        for _ in range(3):
            await first.drain()
        await work_is_done(first, tenants, at)

        if await entry(first, new["slug"]) is None:
            assert at < (2 if after else 3), (
                "only before its first write, which follows a look, an onboarding may vanish"
            )
            await first.call("onboard_tenant", STAFF, new)
        for _ in range(ROUNDS):
            if (found := await entry(first, new["slug"])) and found["status"] == "trial":
                break
            azure.clock.advance(minutes=6)
            await first.sweep()
            await first.drain()
        assert found and found["status"] == "trial"
        assert (await first.call("create_agent", admin(found["id"]), AGENT)).status == 201
        assert set(azure.cosmos.store.databases[found["placement"]["database"]]) == set(TENANT_CONTAINERS)
        await azure.forget(first, found)
        if not crashed:
            break
    await first.close()
    assert at > 15, "too few calls to be an onboarding with a database"


@pytest.mark.parametrize(("strays", "parts"), [(0, 0), (2, 1), (1, 2)])
async def test_of_two_who_come_for_the_last_place_of_an_account_one_gets_it_and_nothing_stays_of_the_other(
    account: tuple[CosmosDouble, ArmDouble, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strays: int,
    parts: int,
) -> None:
    """The registry does not know what else is in the account, so both are let through; Azure has the last word.

    `parts`: what each has of its database, and a container more is all that fits, or none.
    """
    azure = Azure(*account, tmp_path)
    process = azure.process(monkeypatch)
    azure.arm.fill(165)
    azure.arm.made |= {f"{ACCOUNT}/sqlDatabases/other-0/containers/more-{number}": {} for number in range(strays)}
    new = {"name": "New", "tier": "enterprise", "admin_email": "ada@new.example"}
    made = [(await process.call("onboard_tenant", STAFF, {**new, "slug": slug})).json for slug in ("one", "two")]
    for tenant in made:
        azure.has(tenant["placement"]["database"], parts)
    for _ in range(4):
        azure.clock.advance(minutes=6)
        await process.sweep()
        await process.drain()
    left = [found for tenant in made if (found := await entry(process, tenant["slug"]))]
    assert [one["status"] for one in left] == ["trial"]
    assert set(azure.cosmos.store.databases) == {"registry", "shard-1", left[0]["placement"]["database"]}
    assert len(azure.arm.made) == 498 + strays
    (gone,) = [one for one in made if one["id"] != left[0]["id"]]
    again = await process.call("onboard_tenant", STAFF, {**new, "slug": gone["slug"], "dedicated": False})
    assert (again.status, again.json["status"]) == (201, "trial")
    await process.close()

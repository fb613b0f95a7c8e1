"""An instance that is behind, on an account as Azure has it: it takes nothing that it does not see for not there.

A slice's claim is a commit in the partition of its job; a restore into a new tenant reads two others, of which its
instance may have no session token.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.backups.copies import COPY, copy_id
from shared.jobs.jobs import Job, Jobs
from shared.tenancy.directory import TENANT
from shared.tenancy.fence import FENCE, PERMIT
from shared.work.change import COUNTER
from tests.doubles.arm import ArmDouble
from tests.doubles.certificate import make_certificate
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_record import Fault
from tests.doubles.cosmos_store import Container, Partition
from tests.doubles.server import serving
from tests.faults.test_dedicated import Azure
from tests.unit.world import AGENT, STAFF, UNLIMITED, World, admin


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CosmosDouble, ArmDouble, str]]:
    certificate, arm = make_certificate(tmp_path_factory.mktemp("tls")), ArmDouble()
    with CosmosDouble(certificate=certificate) as cosmos, serving(arm.app(), certificate) as address:
        yield cosmos, arm, address


class Two:
    """Two instances; messages of jobs are given to the one or the other."""

    def __init__(self, azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
        self.azure = azure
        self.runners: dict[int, Jobs] = {}
        self.here, self.there = (self._process(monkeypatch) for _ in range(2))

    def _process(self, monkeypatch: pytest.MonkeyPatch) -> World:
        made: list[Jobs] = []
        real = Jobs.__init__

        def noted(self: Jobs, *given: Any, **more: Any) -> None:
            real(self, *given, **more)
            made.append(self)

        with monkeypatch.context() as composing:
            composing.setattr(Jobs, "__init__", noted)
            process = self.azure.process(monkeypatch)
        [self.runners[id(process)]] = made
        return process

    async def slice(self, process: World) -> None:
        lease = await process.queue.receive("jobs", most=1)
        for message, _ in lease.messages:
            await self.runners[id(process)].run(message.tenant_id, message.body["job_id"], message.body["revision"])
        await process.queue.complete(lease)

    async def job(self, tenant_id: str, job_id: str) -> dict[str, Any]:
        store = await self.here.core.directory.store(tenant_id)
        assert store is not None
        found = await store.get(Job.KIND, job_id)
        assert found is not None
        return found.body

    async def until(self, phase: str, tenant_id: str, job_id: str) -> None:
        for _ in range(20):
            if (await self.job(tenant_id, job_id))["checkpoint"].get("phase", "check") == phase:
                return
            await self.slice(self.here)
            self.azure.clock.advance(seconds=45)
            await self.here.sweep()
        raise AssertionError(f"the restore does not come to {phase}")

    async def restore(self, slug: str, *, dedicated: bool) -> tuple[str, str]:
        """A restore into a new tenant, begun; tenant and job."""
        limits = {**UNLIMITED, "max_copies": 9}
        id = (await self.here.onboard(slug, dedicated=dedicated, trial_days=0, limits=limits))["id"]
        await self.here.drain()
        assert (await self.here.call("create_agent", admin(id), AGENT)).status == 201
        backup = (await self.here.call("create_backup", admin(id), {})).json
        await self.here.drain()
        new = {"name": "Copy", "slug": f"{slug}-copy", "admin_email": f"ada@{slug}-copy.example"}
        asked = {"target": "new_tenant", "backup_id": backup["id"], "new_tenant": new}
        answer = await self.here.call("create_restore", admin(id), asked)
        assert answer.status == 202, answer.raw
        return id, answer.json["id"]

    async def database(self, tenant_id: str) -> str:
        entry = await self.here.core.directory.latest(tenant_id)
        assert entry is not None
        return entry.placement.database

    async def close(self) -> None:
        await self.here.close()
        await self.there.close()


def lose_the_backups(folder: Path) -> None:
    for pattern in ("*.zst", "part-*", "manifest*"):
        for blob in list(folder.rglob(pattern)):
            shutil.rmtree(blob) if blob.is_dir() else blob.unlink()


class Behind:
    """A replica of these databases that stays as they are now."""

    def __init__(self, cosmos: CosmosDouble, *databases: str) -> None:
        self._cosmos = cosmos
        containers = [one for name in databases for one in cosmos.store.databases[name].values()]
        self._seen = [(one, dict(one.partitions), one.lsn) for one in containers]

    def __enter__(self) -> None:
        for one, partitions, lsn in self._seen:
            one._replica, one._replica_lsn, one._read_behind = partitions, lsn, 0
        self._cosmos.store.stale_reads = 1000

    def __exit__(self, *error: object) -> None:
        self._cosmos.store.stale_reads = 2
        self._cosmos.store.catch_up()


async def test_a_copy_whose_last_slice_runs_on_an_instance_that_is_behind_can_be_written(
    account: tuple[CosmosDouble, ArmDouble, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = Azure(*account, tmp_path)
    two = Two(azure, monkeypatch)
    id, job_id = await two.restore("own", dedicated=True)
    copy = copy_id(job_id)
    await two.until("write", id, job_id)
    database = await two.database(copy)
    replica = Behind(azure.cosmos, database)
    await two.slice(two.here)
    assert (await two.job(id, job_id))["checkpoint"]["phase"] == "finish"
    with replica:
        await two.slice(two.there)
    assert (await two.job(id, job_id))["status"] == "succeeded"
    azure.clock.advance(days=1)
    for _ in range(3):
        await two.here.sweep()
        await two.here.drain()
    kinds = [one["kind"] for one in azure.cosmos.items(database, "items")]
    assert (kinds.count(FENCE), kinds.count(PERMIT)) == (0, 1), "the fence of the copy stays closed for ever"
    assert (await two.here.call("create_agent", admin(copy), AGENT)).status == 201
    await two.close()


async def test_a_restore_that_gives_up_on_an_instance_that_is_behind_keeps_the_slug_of_a_tenant_that_is_there(
    account: tuple[CosmosDouble, ArmDouble, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = Azure(*account, tmp_path)
    two = Two(azure, monkeypatch)
    id, job_id = await two.restore("acme", dedicated=False)
    await two.until("target", id, job_id)
    replica = Behind(azure.cosmos, "registry")
    await two.slice(two.here)  # makes the tenant
    assert (await two.job(id, job_id))["checkpoint"]["phase"] == "write"
    lose_the_backups(tmp_path)
    with replica:
        for _ in range(3):
            await two.slice(two.there)
    assert (await two.job(id, job_id))["status"] == "failed"
    azure.clock.advance(days=1)
    await two.here.sweep()
    listed = (await two.here.call("list_tenants", STAFF, query={"slug": "acme-copy"})).json["items"]
    assert [(one["id"], one["status"]) for one in listed] == [(copy_id(job_id), "active")]
    new = {"name": "Other", "slug": "acme-copy", "admin_email": "ada@other.example"}
    other = await two.here.call("onboard_tenant", STAFF, new)
    assert other.status == 409, "two living tenants have one slug"
    await two.close()


async def test_a_copy_that_azure_has_no_room_for_is_given_back(
    account: tuple[CosmosDouble, ArmDouble, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry knows nothing of what else is in the account, so the restore goes on until Azure refuses."""
    azure = Azure(*account, tmp_path)
    two = Two(azure, monkeypatch)
    azure.arm.fill(165)
    id, job_id = await two.restore("own", dedicated=True)
    seen = []
    for _ in range(40):
        azure.clock.advance(minutes=5)
        await two.here.sweep()
        await two.here.drain()
        entry = await two.here.core.adapters.database.platform.get(TENANT, copy_id(job_id), copy_id(job_id))
        seen.append(((await two.job(id, job_id))["status"], entry and (entry.body["status"], entry.body.get("undo"))))
    assert seen[-1] == ("failed", None), seen
    store = await two.here.core.directory.store(id)
    assert store is not None
    counter = await store.get(COUNTER, "copies")
    copies = (await store.query(COPY)).items
    assert (counter and counter.body["value"], len(copies)) == (0, 0), f"a copy is counted that is not there: {seen}"
    await two.close()


async def test_an_element_that_is_referred_to_is_not_deleted_when_a_replica_is_behind(
    account: tuple[CosmosDouble, ArmDouble, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = Azure(*account, tmp_path)
    here = azure.process(monkeypatch)
    id = (await here.onboard("acme", trial_days=0, limits=UNLIMITED))["id"]
    ends = []
    for name in ("a", "b"):
        made = await here.call("create_element", admin(id), {"name": name, "type": "ApplicationComponent"})
        assert made.status == 201, made.raw
        ends.append(made.json["id"])
    items = azure.cosmos.store.container("shard-1", "items")
    replica = dict(items.partitions), items.lsn
    new = {"type": "Flow", "source_id": ends[0], "target_id": ends[1]}
    made = await here.call("create_relationship", admin(id), new)
    assert made.status == 201, made.raw

    def seen_by(self: Container, token: int, stale_reads: int) -> tuple[dict[str, Partition], int]:
        """One of several replicas is behind, and answers whom it may: who brings no token, or one of before."""
        return replica if self is items and token <= replica[1] else (self.partitions, self.lsn)

    with monkeypatch.context() as behind:
        behind.setattr(Container, "seen_by", seen_by)
        azure.cosmos.fail(Fault("Query", status=404, sub_status=1002, times=2))
        gone = await here.call("delete_element", admin(id), params={"element_id": ends[1]})
    left = await here.call("get_relationship", admin(id), params={"relationship_id": made.json["id"]})
    end = await here.call("get_element", admin(id), params={"element_id": ends[1]})
    assert (gone.status, left.status, end.status) != (204, 200, 404), "a relationship without its end"
    assert gone.status == 409
    await here.close()

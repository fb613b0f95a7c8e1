"""Restores and backups of one tenant under many writers, some of whom stop in the middle of a write for half a minute.

`SOAK_SECONDS` says how long each database is kept at it; what happened is printed (`pytest -s`).
"""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from functions.backups.archive import Archive
from functions.backups.models import Backup
from functions.backups.snapshot import Snapshot
from functions.kinds import KINDS
from shared.core import Core
from shared.database.port import Document
from tests.doubles.cosmos_setup import KEY
from tests.e2e.api import UNLIMITED, Api, Flowgrid, Tenant
from tests.e2e.host import Host, eventually
from tests.faults.books import Books, ReadableDouble, State, differing, median, sqlite_partition
from tests.faults.stopping import Stall, stopped_without_a_lock

SECONDS = float(os.environ.get("SOAK_SECONDS", "10"))
PAUSE_SECONDS = min(30.0, SECONDS / 3)
WRITERS = 8
ON_THE_PAUSED_HOST = 3
MANY = 120  # of a kind: beyond, more is deleted than made
RESTORED_AGAIN = 4
NO = (400, 404, 409, 412)  # the rules of the catalog, as others leave them at that moment
ROOM = {**UNLIMITED, "max_backups": 1000}


@dataclass(frozen=True)
class Ack:
    """A write that was acknowledged: of a deletion, `body` is None."""

    kind: str
    id: str
    body: Document | None


@dataclass
class Soak:
    """Two hosts over one database, the tenant that they serve, and what they have told its writers."""

    first: Host
    second: Host
    partition: Callable[[str], list[Document]]
    tenant: Tenant
    dice: random.Random
    acks: list[Ack] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    known: dict[str, list[str]] = field(default_factory=lambda: {"element": [], "relationship": [], "agent": []})
    calm: asyncio.Lock = field(default_factory=asyncio.Lock)
    restores: list[Document] = field(default_factory=list)
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False

    def books(self) -> Books:
        return Books.of(self.partition(self.tenant.id))

    # Writers

    async def write(self, api: Api) -> None:
        """One caller, without a pause but for a moment after each refusal because of the fence."""
        while not self.over:
            try:
                kind, answer = await self._write_once(api)
            except httpx.TransportError:  # the stopped host, awake again, closes what it takes for idle
                assert api.url == self.second.url
                self.answers["no answer"] += 1
                continue
            if answer.is_success:
                self.answers["acknowledged"] += 1
            elif answer.status_code == 503:
                self.answers[answer.json()["code"]] += 1
                await asyncio.sleep(0.1)
            else:
                assert answer.status_code in NO, (
                    f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
                )
                self.answers[f"{kind}: {answer.status_code}"] += 1

    async def _write_once(self, api: Api) -> tuple[str, httpx.Response]:
        dice, known = self.dice, self.known
        kind = dice.choice(list(known))
        full = len(known[kind]) > MANY
        action = dice.choices(["create", "patch", "delete"], [1 if full else 4, 3, 4 if full else 1])[0]
        if action == "create" or not known[kind]:
            if not known["element"]:
                kind = "element"
            answer = await api.post(f"{kind}s", self._new(kind))
            if answer.is_success:
                known[kind].append(answer.json()["id"])
                self.acks.append(Ack(kind, answer.json()["id"], answer.json()))
            return kind, answer
        id = dice.choice(known[kind])
        if action == "patch":
            answer = await api.patch(f"{kind}s/{id}", self._changed(kind))
            if answer.is_success:
                self.acks.append(Ack(kind, id, answer.json()))
        else:
            params = {} if kind == "agent" else {"cascade": dice.choice(["true", "false"])}
            answer = await api.delete(f"{kind}s/{id}", params=params)
            if answer.is_success:
                self.acks.append(Ack(kind, id, None))
        if answer.status_code == 404 or (answer.is_success and action == "delete"):
            with suppress(ValueError):
                known[kind].remove(id)
        return kind, answer

    def _new(self, kind: str) -> Document:
        name = f"{kind} {self.dice.randrange(1_000_000)}"
        if kind == "element":
            return {"name": name, "type": "BusinessProcess"}
        if kind == "agent":
            return {"name": name, "pattern": "Router", "element_id": self.dice.choice(self.known["element"])}
        ends = self.known["element"] + self.known["relationship"][-3:]
        return {
            "name": name,
            "type": "Association",
            "source_id": self.dice.choice(self.known["element"]),
            "target_id": self.dice.choice(ends),
        }

    def _changed(self, kind: str) -> Document:
        new = self._new(kind) if self.known["element"] else {"name": "changed"}
        return {name: value for name, value in new.items() if name == "name" or self.dice.random() < 0.5}

    # Those who restore and back up

    async def keep_restoring(self, until: float) -> None:
        """Until then, and for as long as a stopped host waits for somebody to restore behind its back."""
        admin = self.tenant.admin
        async with self.calm:
            await self.back_up(admin)
        while time.monotonic() < until or not self.awake.is_set():
            async with self.calm:
                match self.dice.randrange(4):
                    case 0:
                        await self.back_up(admin)
                    case 1:
                        await asyncio.gather(self.back_up(admin), self.restore(admin, self.some_backup()))
                    case 2:
                        await self.restore(admin, self.some_backup())
                    case 3:
                        await self.restore(admin, self.some_moment())
            await asyncio.sleep(self.dice.uniform(0.0, 1.5))

    def some_backup(self) -> Document:
        backups = [one for one in self.books().backups if one["status"] == "succeeded"]
        assert all(one["error"] is None for one in backups), "a backup is damaged"
        return {"backup_id": self.dice.choice(backups)["id"]}

    def some_moment(self) -> Document:
        books = self.books()
        oldest = min(one["as_of"] for one in books.backups if one["status"] == "succeeded")
        instants = [entry["created_at"] for entries in books.history.values() for entry in entries]
        return {"as_of": self.dice.choice([one for one in instants if one >= oldest] or [oldest])}

    async def back_up(self, admin: Api) -> None:
        backup = await until_taken(lambda: admin.post("backups", {}))
        job = await self._ended(admin, f"backups/{backup['id']}", "succeeded", "failed")
        assert job["status"] == "succeeded" and job["error"] is None, job

    async def restore(self, admin: Api, what: Document) -> Document:
        """In place; of two at once, one is accepted."""
        asked = {"target": "in_place", "confirm": self.tenant.document["slug"], **what}
        answers = await asyncio.gather(*(admin.post("restores", asked) for _ in range(2)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [202, 409], [answer.text for answer in answers]
        (id,) = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        done = await self._ended(admin, f"restores/{id}", "succeeded", "failed")
        assert done["status"] == "succeeded", done
        self.restores.append(done)
        books = self.books()
        books.check()
        for kind in self.known:
            self.known[kind] = [id for of, id in books.resources if of == kind]
        return done

    async def _ended(self, admin: Api, path: str, *ends: str) -> Document:
        async def ended() -> Document | None:
            """it has ended"""
            found = await admin.ok("GET", path)
            await asyncio.sleep(0.05)
            return dict(found) if found["status"] in ends else None

        found = await eventually(ended, within=100)
        assert found is not None
        return found

    # Those who stop in the middle

    async def stop_the_second_host(self, stall: Stall, *, after: float) -> None:
        """Stop a host, and hold the writes of an instance just before their commits, while others restore."""
        await asyncio.sleep(after)
        async with self.calm:  # no job of its own is under way: it is its writes that are to wake up late
            pid = self.second.pid
            await stopped_without_a_lock(pid, self.second.data / "database", self.second.data / "queues")
            held = await stall.begin(self.known, self.dice)
        before, until = len(self.restores), time.monotonic() + PAUSE_SECONDS

        async def long_enough() -> bool:
            """somebody has restored meanwhile"""
            return time.monotonic() >= until and len(self.restores) > before

        await eventually(long_enough, within=PAUSE_SECONDS + 60)
        os.kill(pid, signal.SIGCONT)
        self.awake.set()
        self.answers.update(await stall.end())
        self.answers["writes held before their commits"] = held
        self.answers["restores meanwhile"] = len(self.restores) - before


async def until_taken(post: Callable[[], Awaitable[httpx.Response]]) -> Document:
    """Until the tenant is not fenced."""

    async def taken() -> httpx.Response | None:
        """it is taken"""
        answer = await post()
        assert answer.status_code in (202, 503), answer.text
        return None if answer.status_code == 503 else answer

    answer = await eventually(taken, within=100)
    assert answer is not None
    return dict(answer.json())


@pytest.fixture(params=["sqlite", "cosmos"])
def hosts(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Host, Host, Callable[[str], list[Document]]]]:
    """Two hosts over one data folder and one database; the first is also the issuer."""
    with ExitStack() as stack:
        first, second = Host(tmp_path / "first"), Host(tmp_path / "second")
        for folder in ("first", "second"):
            (tmp_path / folder).mkdir()
        second.data = first.data
        partition: Callable[[str], list[Document]] = lambda tenant_id: sqlite_partition(first.data, tenant_id)  # noqa: E731
        if request.param == "cosmos":
            double = ReadableDouble()
            stack.enter_context(double)
            partition = double.partition
            cosmos = {"DATABASE": "cosmos", "COSMOS_ENDPOINT": double.endpoint, "COSMOS_EMULATOR_KEY": KEY}
            for host in (first, second):
                host.environment |= {f"FLOWGRID_{name}": value for name, value in cosmos.items()}
        for host in (first, second):
            stack.callback(host.kill)
        first.start()
        issuers = [{"issuer": f"{first.url}/oidc", "audience": "flowgrid"}]
        second.environment["FLOWGRID_ISSUERS"] = json.dumps(issuers)
        yield first, second, partition


@pytest.mark.long
@pytest.mark.timeout(SECONDS * 2 + 400)
async def test_restores_and_backups_under_writers_leave_nothing_dangling_lost_or_miscounted(
    request: pytest.FixtureRequest, hosts: tuple[Host, Host, Callable[[str], list[Document]]]
) -> None:
    first, second, partition = hosts
    seed = int(os.environ.get("SOAK_SEED") or random.randrange(2**32))
    print(f"\nSOAK_SEED={seed}")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    async with httpx.AsyncClient(timeout=PAUSE_SECONDS + 120, limits=limits, trust_env=False) as http:
        tenant = await Flowgrid(first, http).onboard(limits=ROOM, max_agents=100_000)
        await tenant.admin.ok("GET", "me")
        second.start()
        soak = Soak(first, second, partition, tenant, random.Random(seed))
        elsewhere = replace(tenant.admin, url=second.url)
        apis = [elsewhere if number < ON_THE_PAUSED_HOST else tenant.admin for number in range(WRITERS)]
        async with first.core() as opened:
            stall = await Stall.of(opened, tenant.id)
            async with asyncio.TaskGroup() as group:
                writers = [group.create_task(soak.write(api)) for api in apis]
                restoring = group.create_task(soak.keep_restoring(time.monotonic() + SECONDS))
                await soak.stop_the_second_host(stall, after=SECONDS / 5)
                await restoring
                soak.over = True
                await asyncio.wait(writers)
            tell(soak, request.node.callspec.params["hosts"])
            soak.books().check()
            check_acknowledged(soak)
            await check_backups(soak, opened)
            check_restores(soak.books(), soak.restores)
            await check_restored_again(soak)
    for host in (first, second):
        host.stop()


# --- what must be true at the end -------------------------------------------------------------------------------------


def check_acknowledged(soak: Soak) -> None:
    """Each acknowledged write has its entry; what is there now is the end of the entries (`Books.check`)."""
    history = soak.books().history
    for ack in soak.acks:
        entries = history[ack.kind, ack.id]
        if ack.body is not None:
            assert entries[ack.body["revision"] - 1]["new_value"] == {**ack.body, "tenant_id": soak.tenant.id}, ack
    gone = Counter((ack.kind, ack.id) for ack in soak.acks if ack.body is None)
    for key, times in gone.items():
        assert sum(one["new_value"] is None for one in history[key]) >= times, f"{key} was deleted without an entry"


async def check_backups(soak: Soak, opened: Core) -> None:
    """Each is what the journal says of its moment, and fits together."""
    books = soak.books()
    for body in books.backups:
        backup = Backup.model_validate(body)
        assert (backup.status, backup.error) == ("succeeded", None), backup
        archive = Archive(opened.adapters.blobs, backup, KINDS)
        with Snapshot(KINDS) as snapshot:
            await snapshot.load(archive, await archive.manifest())
            assert snapshot.dangling(5) == []
            content: State = {
                (kind, item["id"]): item
                for kind in soak.known
                for item in snapshot.page(KINDS.named(kind), "", 1_000_000)[0]
            }
        assert content == books.at(str(backup.as_of)), f"backup {backup.id} is not its moment"


def check_restores(books: Books, restores: Sequence[Document]) -> None:
    """When the fence was opened again, all was as it had been at the moment asked for."""
    assert len(books.fences) == len(restores)
    ended = sorted(restores, key=lambda one: str(one["report"]["replaced_at"]))
    for (closed, opened), restore in zip(books.fences, ended, strict=True):
        asked = books.settled(restore["report"]["as_of"])
        assert closed == restore["report"]["replaced_at"]
        assert differing(books.at(opened), books.at(asked)) == [], f"restore {restore['id']} of {asked}"


async def check_restored_again(soak: Soak) -> None:
    admin = soak.tenant.admin
    backups = soak.books().backups
    for backup in backups:
        assert (await admin.ok("POST", f"backups/{backup['id']}/verify"))["ok"]
    for backup in soak.dice.sample(backups, min(RESTORED_AGAIN, len(backups))):
        await soak.restore(admin, {"backup_id": backup["id"]})
        books = soak.books()
        assert differing(books.resources, books.at(backup["as_of"])) == [], backup["id"]


def tell(soak: Soak, database: str) -> None:
    """Print what happened; most writes must have been acknowledged."""
    books = soak.books()
    told, fences = soak.answers["acknowledged"], books.fence_seconds()
    tried = told + sum(soak.answers[code] for code in ("fenced", "overtaken", "unavailable"))
    kinds = Counter(one["type"] for one in books.backups)
    print(
        f"{database}, {SECONDS:g} s: {told} writes acknowledged, {told / tried:.1%} of those that obey the rules\n"
        f"  {len(soak.restores)} restores ({sum(one['as_of'] is not None for one in soak.restores)} of a moment),"
        f" {kinds['manual']} backups on demand, {kinds['pre_restore']} before restores; {len(books.resources)} items\n"
        f"  fence: closed {len(fences)} times, median {median(fences):.2f} s, longest {max(fences, default=0):.2f} s,"
        f" together {sum(fences):.1f} s\n  {dict(sorted(soak.answers.items()))}"
    )
    assert soak.answers["restores meanwhile"] >= 1
    assert told > tried / 2, "most of the time writes must work"

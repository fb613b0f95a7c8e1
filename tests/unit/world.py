"""A whole Flowgrid in a folder, clock and ids owned by the test: calls go through the real registered handlers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import azure.functions as func
import pytest

import function_app
from functions.executions.working import World as Runs
from functions.kinds import KINDS
from shared.auth.apikeys import MARK
from shared.auth.caller import Caller, RequestInfo
from shared.auth.roles import Role
from shared.auth.tokens import ByKeys, TokenVerifier
from shared.core import Core, core
from shared.database.port import (
    OLDEST_FIRST,
    Create,
    Operation,
    Order,
    Page,
    Placement,
    Stored,
    TenantStore,
    Traces,
    Where,
)
from shared.errors import Unauthenticated, Unavailable
from shared.http.endpoint import Endpoint
from shared.ids import PLATFORM_TENANT_ID
from shared.kinds import Container, Kind, Kinds
from shared.members.members import Members
from shared.members.users import user_id
from shared.messaging.sqlite import SqliteMessaging
from shared.observed import ObservedMessaging
from shared.settings import Settings
from shared.tenancy.directory import TENANT, Directory, TenantEntry
from shared.tenancy.fence import first_permit
from shared.work.change import COUNTER
from shared.work.scope import IdempotencySlot
from shared.work.session import TenantSession
from tests.doubles.clock import never

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ISSUER = "https://login.test/v2.0"
STAFF = Caller("staff-1", "staff@flowgrid.example", "Staff", None, Role.PLATFORM)
TENANT_ID = "0190c2a8-7e10-7abc-8def-000000000001"
OTHER_ID = "0190c2a8-7e10-7abc-8def-000000000002"
UNLIMITED = {"requests_per_minute": 1_000_000, "agents_per_minute": 1_000_000, "design_per_minute": 1_000_000}
AGENT = {"name": "Claims intake", "pattern": "Orchestrator"}


class FakeClock:
    def __init__(self, instant: datetime = START) -> None:
        self.instant = instant
        self.elapsed = 5000.0

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, **delta: float) -> None:
        self.instant += timedelta(**delta)
        self.elapsed += timedelta(**delta).total_seconds()

    def set_back(self, **delta: float) -> None:
        """As an operator, or a time server, sets a clock that was wrong: nothing else notices."""
        self.instant -= timedelta(**delta)


class FakeIds:
    """uuid7-shaped, counting up; `process` keeps the ids of two cores apart."""

    def __init__(self, process: int = 0) -> None:
        self._last = process << 40

    def new(self) -> str:
        self._last += 1
        return f"01900000-0000-7000-8000-{self._last:012x}"


class FakeVerifier(TokenVerifier):
    """Knows its callers by subject: `Bearer <subject>`; `api_keys`: and whose an API key is."""

    def __init__(self, api_keys: ByKeys | None = None) -> None:
        super().__init__([], tenant_claim="", roles_claim="", api_keys=api_keys)
        self.callers: dict[str, Caller] = {}

    async def verify(self, authorization: str | None) -> Caller:
        if (authorization or "").startswith(f"Bearer {MARK}"):
            return await super().verify(authorization)
        caller = self.callers.get((authorization or "").removeprefix("Bearer "))
        if caller is None:
            raise Unauthenticated("Send a token: Authorization: Bearer <token>.")
        return caller


class Acquaintances(Members):
    """Lets in on their token's word who comes from no issuer (`person` without an e-mail): no user, and not counted.

    Who is a member and who is not is the matter of test_members.py and test_identity.py, not of every other test.
    """

    def __init__(self, members: Members) -> None:
        self._inner = members

    async def admit(self, session: TenantSession) -> TenantSession:
        known = not session.caller.issuer and session.caller.role is not None
        return session if known else await self._inner.admit(session)

    def forget(self, tenant_id: str, user: str) -> None:
        self._inner.forget(tenant_id, user)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def etag(self) -> str:
        return self.headers["ETag"]


@dataclass
class World:
    core: Core
    app: func.FunctionApp
    clock: FakeClock
    verifier: FakeVerifier
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @classmethod
    def over(
        cls,
        folder: Path,
        *,
        clock: FakeClock | None = None,
        process: int = 0,
        kinds: Kinds = KINDS,
        more: Callable[[Endpoint], func.Blueprint] | None = None,
        runs: Runs | Callable[[Core], Runs] | None = None,
        **settings: Any,
    ) -> "World":
        """A process over this folder; a second one over the same folder is another instance of the same service.

        `kinds` and `more` routes: those of an app with more in it. `runs`: what those of agents work with; none: what
        they usually do.
        """
        clock = clock or FakeClock()
        own = core(
            Settings.model_validate({**SETTINGS, "flowgrid_data_dir": folder, **settings}),
            kinds,
            clock,
            FakeIds(process),
        )
        own.endpoint.verifier = verifier = FakeVerifier(own.api_keys.caller)
        own.endpoint.members = Acquaintances(own.members)
        own.services.outbox.pause = never  # tests say when: `outbox.flush()`
        app = function_app.compose(own, runs(own) if callable(runs) else runs)
        if more is not None:
            app.register_functions(more(own.endpoint))
        world = cls(own, app, clock, verifier)
        world.functions = {str(one.get_function_name()): one.get_user_function() for one in world.app.get_functions()}
        return world

    async def close(self) -> None:
        await self.core.close()

    async def call(
        self,
        name: str,
        caller: Caller | None = None,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        host: str = "flowgrid.test",
        search: str = "",
        method: str | None = None,
    ) -> Answer:
        """One HTTP call of the function `name`, as the Functions worker makes it; by the route's own method."""
        route = next(one for one in self.core.endpoint.routes if one.name == name)
        sent = {"x-forwarded-for": "198.51.100.7:50123", "user-agent": "unit-test", **(headers or {})}
        if caller is not None:
            self.verifier.callers[caller.subject] = caller
            sent["authorization"] = f"Bearer {caller.subject}"
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None:
            sent.setdefault("content-type", "application/json")
        path = route.path.format(**(params or {}))
        request = func.HttpRequest(
            method or route.method,
            f"https://{host}/api/{path}{search}",
            headers=sent,
            params=dict(query or {}),
            route_params=dict(params or {}),
            body=raw,
        )
        response = cast(func.HttpResponse, await self.functions[name](request))
        return Answer(response.status_code, response.headers, response.get_body())

    async def onboard(
        self, slug: str = "acme", *, limits: Mapping[str, int] = UNLIMITED, **fields: Any
    ) -> dict[str, Any]:
        """A working tenant of this slug, as staff makes one; its admin is `admin@<slug>.example`."""
        new = {"name": slug, "slug": slug, "admin_email": f"admin@{slug}.example", "settings": {"limits": dict(limits)}}
        answer = await self.call("onboard_tenant", STAFF, {**new, **fields})
        assert answer.status == 201, answer.raw
        tenant: dict[str, Any] = answer.json
        return tenant

    async def break_glass(self, tenant_id: str, staff: Caller = STAFF, **fields: Any) -> dict[str, Any]:
        """A grant for staff to act in a tenant's data, for an hour."""
        body = {"reason": "A test has to look.", **fields}
        answer = await self.call("open_staff_access", staff, body, params={"tenant_id": tenant_id})
        assert answer.status == 200, answer.raw
        grant: dict[str, Any] = answer.json
        return grant

    async def session(self, tenant_id: str, caller: Caller | None = None, **changes: Any) -> TenantSession:
        entry = await self.core.directory.entry(tenant_id)
        assert entry is not None
        who = caller or admin(tenant_id)
        return session(self.core, entry, self.core.directory.open(entry), who, **changes)

    @property
    def queue(self) -> SqliteMessaging:
        """The embedded queue, with what only it can do."""
        messaging = self.core.adapters.messaging
        if isinstance(messaging, ObservedMessaging):  # where telemetry is told of it
            messaging = messaging._inner
        assert isinstance(messaging, SqliteMessaging)
        return messaging

    async def queued(self, queue: str) -> list[dict[str, Any]]:
        """Take every message that is due out of a queue."""
        messaging, bodies = self.queue, []
        while (lease := await messaging.receive(queue, most=100)).messages:
            bodies += [message.body for message, _ in lease.messages]
            await messaging.complete(lease)
        return bodies

    async def drain(self) -> None:
        """What the drain timer does."""
        await self.functions["drain_queues"](None)

    async def settled(self, name: str, tenant_id: str, params: Mapping[str, str]) -> dict[str, Any]:
        """What the call `name` shows once the job behind it is over."""
        for _ in range(50):
            await self.drain()
            self.clock.advance(seconds=6)
            found: dict[str, Any] = (await self.call(name, admin(tenant_id), params=params)).json
            if found["status"] not in ("queued", "running"):
                return found
        raise AssertionError(found)

    async def backed_up(self, tenant_id: str) -> dict[str, Any]:
        """A backup on demand, made."""
        begun = await self.call("create_backup", admin(tenant_id))
        assert begun.status == 202, begun.raw
        return await self.settled("get_backup", tenant_id, {"backup_id": begun.json["id"]})

    async def sweep(self) -> None:
        """What the sweep timer does."""
        await self.functions["sweep"](None)


SETTINGS: dict[str, Any] = {
    "flowgrid_global_limit": 1_000_000,
    "flowgrid_cursor_key": "unit-test-unit-test-unit-test-unit",
    "flowgrid_shards": 1,
    "flowgrid_issuers": [{"issuer": ISSUER, "audience": "flowgrid"}],
}


def admin(tenant_id: str, email: str | None = None) -> Caller:
    return person(tenant_id, Role.ADMIN, email)


def person(tenant_id: str, role: Role | None, email: str | None = None) -> Caller:
    """Somebody of a tenant; without an e-mail the tenant's user list has nothing to say about them.

    One person has one subject, whatever role the token says.
    """
    if email is None:
        return Caller(f"{role}-{tenant_id}", None, None, tenant_id, role)
    return Caller(f"{email}-{tenant_id}", email, None, tenant_id, role, ISSUER, email_verified=True)


def entry(tenant_id: str = TENANT_ID, **changes: Any) -> TenantEntry:
    """A tenant's line of the registry that no onboarding has written."""
    document = {
        "id": tenant_id,
        "name": "Acme",
        "slug": "acme",
        "tier": "standard",
        "status": "active",
        "max_agents": 3,
        "max_users": 2,
        "placement": Placement("shared", "shard-1").as_document(),
        "settings": {"limits": {}},
    }
    return TenantEntry.from_document({**document, **changes})


def session(
    core: Core, entry: TenantEntry, store: TenantStore, caller: Caller, slot: IdempotencySlot | None = None
) -> TenantSession:
    """A session as the pipeline hands it to a handler: its caller is the tenant's user of their e-mail."""
    if caller.email and caller.role is not Role.PLATFORM:
        caller = replace(caller, user=user_id(entry.id, caller.email))
    request = RequestInfo("request-1", "198.51.100.7", "unit-test")
    return TenantSession(entry, store, caller, request, core.services, slot)


async def register(core: Core, tenant_id: str = TENANT_ID, **changes: Any) -> TenantStore:
    """Write a tenant's line into the registry, with counters at 0; answers its store."""
    found = entry(tenant_id, **changes)
    line = {
        "id": tenant_id,
        "created_at": "2026-11-01T00:00:00.000000Z",
        "name": found.name,
        "slug": found.slug,
        "tier": found.tier.value,
        "status": found.status,
        "max_agents": found.max_agents,
        "max_users": found.max_users,
        "placement": found.placement.as_document(),
        "settings": {"limits": dict(found.limits)},
    }
    await core.adapters.database.platform.put(Create(TENANT, tenant_id, line), tenant_id)
    store = core.adapters.database.tenant(tenant_id, found.placement)
    counters = [Create(COUNTER, name, {"created_at": "", "value": 0}) for name in ("agents", "users", "backups")]
    await store.commit([*counters, first_permit()])
    return store


@asynccontextmanager
async def unrecorded(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Within it a process dies before it writes anything to staff's own partition: what was done elsewhere is done."""
    store = (await world.session(PLATFORM_TENANT_ID)).store

    async def killed(*_: object) -> None:
        raise Unavailable("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(store, "commit", killed)
        yield


class WatchedStore(TenantStore):
    """A store that remembers its batches, and may do something else `before` one of them, or `on_call`: before any."""

    def __init__(self, store: TenantStore, main: "WatchedStore | None" = None) -> None:
        self.tenant_id = store.tenant_id
        self.inner = store
        self.main = main or self
        self.batches: list[list[Operation]] = [] if main is None else main.batches
        self.before: Callable[[Sequence[Operation]], Any] | None = None
        self.on_call: Callable[[], Awaitable[None]] | None = None
        self._control: WatchedStore | None = None

    @property
    def control(self) -> "WatchedStore":
        if self.inner.control is self.inner:
            return self
        if self._control is None:
            self._control = self.beside(self.inner.control)
        return self._control

    def beside(self, inner: TenantStore) -> "WatchedStore":
        """Another way to the same partition, watched together with this one."""
        return WatchedStore(inner, self.main)

    @property
    def latest(self) -> str:  # type: ignore[override]
        return self.inner.latest

    @property
    def floor(self) -> str:  # type: ignore[override]
        return self.inner.floor

    @property
    def permit(self) -> str:  # type: ignore[override]
        return self.inner.permit

    async def get(self, kind: Kind, id: str) -> Stored | None:
        await self._call()
        return await self.inner.get(kind, id)

    async def catch_up(self, container: Container = "items") -> None:
        await self._call()
        await self.inner.catch_up(container)

    async def fresh(self, kind: Kind, id: str) -> Stored | None:
        await self._call()
        return await self.inner.fresh(kind, id)

    async def buried(self, kind: Kind, ids: Sequence[str]) -> list[Stored]:
        await self._call()
        return await self.inner.buried(kind, ids)

    async def traces(self, kind: Kind, ids: Sequence[str]) -> Traces:
        await self._call()
        return await self.inner.traces(kind, ids)

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        await self._call()
        return await self.inner.query(kind, where, order=order, limit=limit, after=after)

    async def scan(self, kinds: Sequence[Kind], *, since: str | None = None) -> AsyncIterator[list[Stored]]:
        await self._call()
        async for page in self.inner.scan(kinds, since=since):
            yield page

    async def commit(self, operations: Sequence[Operation]) -> None:
        await self._call()
        if self.main.before is not None:
            await self.main.before(operations)
        self.batches.append(list(operations))
        await self.inner.commit(operations)

    async def _call(self) -> None:
        if self.main.on_call is not None:
            await self.main.on_call()


class WatchedDirectory(Directory):
    """A directory whose stores are watched."""

    def __init__(self, directory: Directory) -> None:
        self._inner = directory
        self.stores: dict[str, WatchedStore] = {}
        self._on_call: Callable[[], Awaitable[None]] | None = None

    def watch(self, on_call: Callable[[], Awaitable[None]] | None) -> None:
        """From now on `on_call` before each call of any store, those that will be opened included."""
        self._on_call = on_call
        for store in self.stores.values():
            store.on_call = on_call

    async def entry(self, tenant_id: str) -> TenantEntry | None:
        return await self._inner.entry(tenant_id)

    async def latest(self, tenant_id: str) -> TenantEntry | None:
        return await self._inner.latest(tenant_id)

    async def store(self, tenant_id: str) -> TenantStore | None:
        found = await self.entry(tenant_id)
        return self.open(found) if found else None

    def open(self, entry: TenantEntry) -> TenantStore:
        if entry.id not in self.stores:
            self.stores[entry.id] = WatchedStore(self._inner.open(entry))
            self.stores[entry.id].on_call = self._on_call
        return self.stores[entry.id]

    def held_by(self, entry: TenantEntry, holder: str, since: str) -> TenantStore:
        return self.stores[entry.id].beside(self._inner.held_by(entry, holder, since))

    def forget(self, tenant_id: str) -> None:
        self._inner.forget(tenant_id)

    def commits(self) -> int:
        return sum(len(store.batches) for store in self.stores.values())

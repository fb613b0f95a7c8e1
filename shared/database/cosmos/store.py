"""The database on Azure Cosmos DB: one account, a registry database, shared shards, databases of dedicated tenants.

The SDK is loaded when the first call is made. Every call names its logical partition (the tenant; a reservation's id),
and every query names the tenant once more in its text. Only the registry's lists and the sweeps cross partitions.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from shared.apart import apart
from shared.clock import Clock, rfc3339
from shared.database.cosmos.batch import Batch, stored
from shared.database.cosmos.calls import Calls, OnCharge
from shared.database.cosmos.client import Account, CredentialFactory, default_credential, preparation
from shared.database.cosmos.containers import TENANT_CONTAINERS, definitions
from shared.database.cosmos.query import oldest, select, tombstones, traces
from shared.database.limits import check_id, encode_batch
from shared.database.port import (
    OLDEST_FIRST,
    TOMBSTONE,
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
    Upsert,
    Where,
    page_of,
)
from shared.database.sweeps import all_there
from shared.errors import Unavailable
from shared.ids import PLATFORM_TENANT_ID
from shared.kinds import Container, Kind, Kinds
from shared.tracing import Tell

logger = logging.getLogger("flowgrid.cosmos")
DEADLINE_SECONDS = 12.0  # below the outbox sweep's 15: what is retried here is not yet taken up there
PING_SECONDS = 3.0
PROBE = Kind("probe")
REGISTRY_PROBE = Kind("registry_probe", container="reservations")
LAST, NEVER = "last", "never"  # ids of probes: what was written last, what never was
PAGE_SIZE = 200
SWEEPS_AT_ONCE = 8


class CosmosDatabase(Database):
    """`emulator_key` only for emulators on this machine: then missing databases are made on the way."""

    def __init__(
        self,
        *,
        endpoint: str,
        registry: str,
        shards: Sequence[str],
        clock: Clock,
        kinds: Kinds,
        credential: CredentialFactory = default_credential,
        emulator_key: str | None = None,
        on_charge: OnCharge | None = None,
        tell: Tell | None = None,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._emulator = emulator_key is not None
        self._account = Account(
            endpoint,
            credential=credential,
            emulator_key=emulator_key,
            prepare=preparation(registry, tuple(shards), kinds) if self._emulator else None,
        )
        self._calls = Calls(self._account, deadline=deadline, on_charge=on_charge, tell=tell)
        quick = min(deadline, PING_SECONDS)
        self._quick = Calls(self._account, deadline=quick, on_charge=on_charge, tell=tell)
        self._registry = registry
        self._shards = shards
        self._clock = clock
        self._kinds = kinds
        self._platform = _Registry(self._calls, registry, tuple(shards), kinds)
        self._partitions: dict[tuple[str, str], _Partition] = {}

    @property
    def platform(self) -> PlatformStore:
        return self._platform

    def tenant(self, tenant_id: str, placement: Placement) -> TenantStore:
        key = (placement.database, tenant_id)
        if key not in self._partitions:
            self._partitions[key] = _Partition(self._calls, placement.database, tenant_id)
        return self._partitions[key]

    async def provision(self, placement: Placement) -> None:
        """Shards are always there. A dedicated database is made by the ARM plane: `Unavailable` until it is."""
        if placement.mode == "shared":
            return
        if self._emulator:
            await self._make(placement.database)
        self._account.expect(placement.database)
        for name in TENANT_CONTAINERS:
            await self._calls.read(
                (placement.database, name), PLATFORM_TENANT_ID, check_id(PROBE, NEVER), PLATFORM_TENANT_ID
            )

    async def _make(self, database: str) -> None:
        try:
            client = await self._account.client(DEADLINE_SECONDS)
            await client.create(database, definitions(TENANT_CONTAINERS, self._kinds))
        except Exception as error:
            raise Unavailable(f"The emulator does not make databases: {type(error).__name__}.") from error

    async def ping(self) -> None:
        await self._probe(self._registry, REGISTRY_PROBE)

    def parts(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        shards = {f"database:{name}": partial(self._probe, name, PROBE) for name in self._shards}
        return {"database": self.ping, **shards}

    async def dedicated(self) -> None:
        """One point read in each, at most eight at once; those that are being made are not asked."""
        names = [name for name, there in (await self._platform.dedicated()).items() if there]
        own = (PLATFORM_TENANT_ID, check_id(PROBE, NEVER), PLATFORM_TENANT_ID)
        await all_there([partial(self._quick.read, (name, PROBE.container), *own) for name in names])

    async def _probe(self, database: str, kind: Kind) -> None:
        """Write, as any change would (about 7 RU), an item that nobody lists, and read it (1 RU)."""
        body = {"created_at": rfc3339(self._clock.now())}
        batch = Batch([Upsert(kind, LAST, body)], PLATFORM_TENANT_ID)
        key = _key(kind, PLATFORM_TENANT_ID, batch.ids[0])
        place = (database, kind.container)
        await self._quick.commit(place, key, batch, PLATFORM_TENANT_ID)
        if await self._quick.read(place, key, batch.ids[0], PLATFORM_TENANT_ID) is None:
            raise Unavailable("What was just written is not there.")

    async def close(self) -> None:
        await self._account.close()


class _Partition(TenantStore):
    def __init__(self, calls: Calls, database: str, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self._calls = calls
        self._database = database

    async def get(self, kind: Kind, id: str) -> Stored | None:
        found = await self._calls.read(
            (self._database, kind.container), self.tenant_id, check_id(kind, id), self.tenant_id
        )
        return None if found is None or found["kind"] != kind.name else stored(kind, found)

    async def catch_up(self, container: Container = "items") -> None:
        place = (self._database, container)
        await self._calls.latest(place, self.tenant_id, check_id(PROBE, NEVER), self.tenant_id)

    async def fresh(self, kind: Kind, id: str) -> Stored | None:
        place = (self._database, kind.container)
        found = await self._calls.latest(place, self.tenant_id, check_id(kind, id), self.tenant_id)
        return None if found is None or found["kind"] != kind.name else stored(kind, found)

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        place = (self._database, kind.container)
        return await _page(self._calls, place, self.tenant_id, kind, where, order, limit, after)

    async def scan(self, kinds: Sequence[Kind], *, since: str | None = None) -> AsyncIterator[list[Stored]]:
        where = [Where("created_at", ">=", since)] if since else []
        for kind in kinds:
            after: tuple[str, str] | None = None
            while True:
                page = await self.query(kind, where, order=Order("id"), limit=PAGE_SIZE, after=after)
                if page.items:
                    yield page.items
                after = page.next
                if after is None:
                    break

    async def buried(self, kind: Kind, ids: Sequence[str]) -> list[Stored]:
        if not ids:
            return []
        query = tombstones(self.tenant_id, [check_id(kind, id) for id in ids])
        found = await self._calls.query((self._database, kind.container), query, self.tenant_id, self.tenant_id)
        return [stored(kind, document) for document in found]

    async def traces(self, kind: Kind, ids: Sequence[str]) -> Traces:
        if not ids:
            return Traces([], [])
        query = traces(self.tenant_id, [check_id(kind, id) for id in ids])
        found = await self._calls.query((self._database, kind.container), query, self.tenant_id, self.tenant_id)
        there = [stored(kind, document) for document in found if document["kind"] == kind.name]
        return Traces(there, [stored(kind, document) for document in found if document["kind"] == TOMBSTONE])

    async def commit(self, operations: Sequence[Operation]) -> None:
        encode_batch(operations)
        batch = Batch(operations, self.tenant_id)
        await self._calls.commit((self._database, batch.container), self.tenant_id, batch, self.tenant_id)


class _Registry(PlatformStore):
    def __init__(self, calls: Calls, registry: str, shards: tuple[str, ...], kinds: Kinds) -> None:
        self._calls = calls
        self._kinds = kinds
        self._registry = registry
        self._shards = shards

    async def get(self, kind: Kind, tenant_id: str, id: str) -> Stored | None:
        stored_id = check_id(kind, id)
        key = _key(kind, tenant_id, stored_id)
        found = await self._calls.read((self._registry, kind.container), key, stored_id, tenant_id)
        return None if found is None or found["tenant_id"] != tenant_id else stored(kind, found)

    async def latest(self, kind: Kind, tenant_id: str, id: str) -> Stored | None:
        stored_id = check_id(kind, id)
        key = _key(kind, tenant_id, stored_id)
        found = await self._calls.latest((self._registry, kind.container), key, stored_id, tenant_id)
        return None if found is None or found["tenant_id"] != tenant_id else stored(kind, found)

    async def put(self, operation: Create | Replace | Delete, tenant_id: str) -> str | None:
        encode_batch([operation])
        batch = Batch([operation], tenant_id)
        key = _key(operation.kind, tenant_id, batch.ids[0])
        return await self._calls.commit((self._registry, batch.container), key, batch, tenant_id)

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        return await _page(self._calls, (self._registry, kind.container), None, kind, where, order, limit, after)

    async def sweep(self, kind: Kind, where: Sequence[Where], *, limit: int = 200) -> Swept:
        if kind.container not in TENANT_CONTAINERS:
            return Swept((await self.query(kind, where, limit=limit)).items)
        dedicated = await self.dedicated()
        gate, missed = asyncio.Semaphore(SWEEPS_AT_ONCE), list[str]()

        async def one(database: str) -> list[Stored]:
            async with gate:
                with apart(logger, "a database is not swept", database=database):  # not there (yet), away, whatever
                    place, query = (database, kind.container), oldest(kind, where, limit)
                    found = await self._calls.query(place, query, None, PLATFORM_TENANT_ID, "sweep")
                    return [stored(kind, document) for document in found]
                if dedicated.get(database, True):
                    missed.append(database)
                return []

        found = [item for items in await asyncio.gather(*map(one, [*self._shards, *dedicated])) for item in items]
        return Swept(sorted(found, key=lambda item: str(item.body["created_at"]))[:limit], sorted(missed))

    async def dedicated(self) -> dict[str, bool]:
        """By name the databases of tenants that have one of their own, and whether it should be there by now."""
        databases: dict[str, bool] = {}
        after: tuple[str, str] | None = None
        while True:
            page = await self.query(
                self._kinds.named("tenant"), [Where("placement.mode", "=", "dedicated")], after=after
            )
            databases |= {
                item.body["placement"]["database"]: item.body.get("status") != "provisioning" for item in page.items
            }
            after = page.next
            if after is None:
                return databases


async def _page(
    calls: Calls,
    place: tuple[str, str],
    tenant_id: str | None,
    kind: Kind,
    where: Sequence[Where],
    order: Order,
    limit: int,
    after: tuple[str, str] | None,
) -> Page:
    if any(condition.op == "in" and not condition.value for condition in where):
        return Page([], None)
    query = select(tenant_id, kind, where, order, limit + 1, after)
    found: list[Any] = await calls.query(
        place, query, tenant_id, tenant_id or PLATFORM_TENANT_ID, "query" if tenant_id else "sweep"
    )
    return page_of([stored(kind, document, order) for document in found[:limit]], more=len(found) > limit)


def _key(kind: Kind, tenant_id: str, stored_id: str) -> str:
    return stored_id if kind.container == "reservations" else tenant_id

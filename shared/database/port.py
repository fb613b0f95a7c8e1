"""The database port: documents of one tenant, in one partition, changed by atomic batches.

It is shaped by Cosmos DB (https://learn.microsoft.com/azure/cosmos-db/concepts-limits): a batch is at most 100
operations and 2 MB in one logical partition of one container; reads are point reads or one-partition queries.
A `TenantStore` is bound to its tenant when it is made and none of its methods takes a tenant id.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.kinds import Container, Kind

Document = dict[str, Any]


TOMBSTONE = Kind("tombstone")  # of an item that is buried


@dataclass(frozen=True)
class Stored:
    """A document as read, with the store's own ETag for compare-and-swap.

    `position`: of what a query found, its value in the query's order; with its id, that is where to go on after it.
    `size` in bytes, None where nobody knows.
    """

    body: Document
    etag: str
    position: str = field(default="", compare=False)
    size: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Create:
    """A new item; rejected as `exists` when its id is taken. `ttl` in seconds, None: for ever.

    An item whose time is over is seen by nobody, but when its id is free is not said (cosmos-db/time-to-live: it is
    deleted in the background): no id is used twice where a lifetime ends.

    `text`: the body as `limits.encode` has it, of who has asked for that already; it is not made again.
    """

    kind: Kind
    id: str
    body: Document
    ttl: int | None = None
    text: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Replace:
    """The whole new body of an existing item; `missing` without one, `stale` when `etag` is not the current one.

    `text` as of `Create`.
    """

    kind: Kind
    id: str
    body: Document
    etag: str | None = None
    ttl: int | None = None
    text: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Upsert:
    """Create or replace, whatever is there."""

    kind: Kind
    id: str
    body: Document
    ttl: int | None = None


@dataclass(frozen=True)
class Delete:
    """Remove an existing item; `missing` without one, `stale` when `etag` is not the current one."""

    kind: Kind
    id: str
    etag: str | None = None


@dataclass(frozen=True)
class Bury:
    """Replace an existing item by a tombstone: no read and no query of its kind finds it, but its id stays taken.

    `body` says what whoever takes the id again must go on from. Rejected as `Replace` is.
    """

    kind: Kind
    id: str
    body: Document
    etag: str


@dataclass(frozen=True)
class Read:
    """The item must be there when the batch is committed, or it is rejected as `missing`: existence, nothing else."""

    kind: Kind
    id: str


@dataclass(frozen=True)
class Increment:
    """Add whole numbers to fields (a dotted path; absent counts as 0) of an existing item, without reading it.

    The objects on the path must be there. More than ten fields count as several operations of the batch.
    `at_most` bounds what a field may be after the addition; the batch is rejected as `condition` beyond it, and
    for an item that is buried.
    """

    kind: Kind
    id: str
    amounts: Mapping[str, int]
    at_most: Mapping[str, int] = field(default_factory=dict)


Operation = Create | Replace | Upsert | Delete | Bury | Read | Increment


class Rejected(Exception):
    """A batch changed nothing, because of its operation number `index` (from 0)."""

    def __init__(self, reason: Literal["exists", "missing", "stale", "condition"], index: int) -> None:
        super().__init__(f"operation {index}: {reason}")
        self.reason = reason
        self.index = index


@dataclass(frozen=True)
class Where:
    """A filter on one named field; `in` takes a list of at most 200 values.

    `begins`: the name begins with this text, whatever its case; only on `name`, of kinds that are sorted by it.

    ValueError for null and NaN: to Cosmos DB null equals null, to SQL it does not, and NaN is no JSON.
    """

    field: str
    op: Literal["=", "<", "<=", ">", ">=", "in", "begins"]
    value: Any

    def __post_init__(self) -> None:
        if any(value is None or value != value for value in (self.value if self.op == "in" else [self.value])):
            raise ValueError(f"{self.field} {self.op} {self.value!r} means different things to different databases")
        if self.op == "begins" and self.field != "name":
            raise ValueError(f"only names are searched by how they begin, not {self.field}")


@dataclass(frozen=True)
class Order:
    """Sort by `field`, then id, in one direction.

    Only kinds that declare it are sorted by `updated_at` or `name` (without case, the first hundred characters). What
    lacks the field comes first, or last when descending.
    """

    field: Literal["created_at", "id", "updated_at", "name"] = "created_at"
    descending: bool = False


@dataclass(frozen=True)
class Page:
    """Documents and, when there are more, the key to continue after (sort value, id)."""

    items: list[Stored]
    next: tuple[str, str] | None


@dataclass(frozen=True)
class Traces:
    """What ids have led to: what is there, and the tombstones of what is buried."""

    there: list[Stored]
    buried: list[Stored]


@dataclass(frozen=True)
class Swept:
    """What a sweep has found; `missed`: the databases that it could not look into, of which nothing is in it."""

    items: list[Stored]
    missed: Sequence[str] = ()


def page_of(items: list[Stored], *, more: bool) -> Page:
    """A page, after the last item of which it goes on where there is more."""
    return Page(items, (items[-1].position, items[-1].body["id"]) if more and items else None)


OLDEST_FIRST = Order()
NEWEST_FIRST = Order(descending=True)


class TenantStore(ABC):
    """One tenant's documents. Errors beside those named: `Throttled`, `Unavailable`, `Unknown` (shared.errors)."""

    tenant_id: str
    latest: str = ""  # the newest instant seen through this handle: what is written through it is stamped no earlier
    floor: str = ""  # what is written through it is stamped later than this
    permit: str = ""  # what its commits carry, as far as is known (shared.tenancy.fence)

    @property
    def control(self) -> "TenantStore":
        """The same partition past its fence (shared.work.fencing): for jobs and backups, never for resources."""
        return self

    @abstractmethod
    async def get(self, kind: Kind, id: str) -> Stored | None:
        """One point read; None when there is no such item of this tenant."""

    async def catch_up(self, container: Container = "items") -> None:
        """What is read of a container from now on is no older than now. Nothing where reads are never behind.

        For who decides by what is not there, in a partition in which this process has committed nothing (0024).
        """
        return None

    async def fresh(self, kind: Kind, id: str) -> Stored | None:
        """As `get`, but never behind; nor is what is read of its container from now on (`catch_up`)."""
        return await self.get(kind, id)

    @abstractmethod
    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        """One page of one kind, from one partition, in keyset order."""

    @abstractmethod
    def scan(self, kinds: Sequence[Kind], *, since: str | None = None) -> AsyncIterator[list[Stored]]:
        """Every item of `kinds`, in pages ordered by kind and id; with `since`, those created at or after it."""

    @abstractmethod
    async def buried(self, kind: Kind, ids: Sequence[str]) -> list[Stored]:
        """The tombstones of those of at most 200 ids that have been buried; one query."""

    @abstractmethod
    async def traces(self, kind: Kind, ids: Sequence[str]) -> Traces:
        """What at most 200 ids lead to, be it there or buried; one query."""

    @abstractmethod
    async def commit(self, operations: Sequence[Operation]) -> None:
        """All or nothing, one round trip. Raises `Rejected`, or `TooLarge`/`Invalid` before anything is sent."""


class PlatformStore(ABC):
    """The registry of tenants and names, and the only reads that cross tenants (sweeps, administration)."""

    @abstractmethod
    async def get(self, kind: Kind, tenant_id: str, id: str) -> Stored | None:
        """One point read in the registry."""

    async def latest(self, kind: Kind, tenant_id: str, id: str) -> Stored | None:
        """As `get`, but never behind: for who decides by what is not there."""
        return await self.get(kind, tenant_id, id)

    @abstractmethod
    async def put(self, operation: Create | Replace | Delete, tenant_id: str) -> str | None:
        """One registry item changed; raises `Rejected`. Returns its new ETag, None when that is not known."""

    @abstractmethod
    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        """One page of the registry's items of one kind, over all tenants."""

    @abstractmethod
    async def sweep(self, kind: Kind, where: Sequence[Where], *, limit: int = 200) -> Swept:
        """Items of one kind over all tenants and all databases, oldest first (outbox and stalled jobs).

        A database that cannot be read stops no sweep of the others; `Unavailable` where it is the registry.
        """


class Database(ABC):
    """All databases of the platform: one registry, the shared shards, the dedicated ones."""

    @property
    @abstractmethod
    def platform(self) -> PlatformStore:
        """The registry."""

    @abstractmethod
    def tenant(self, tenant_id: str, placement: "Placement") -> TenantStore:
        """The store of one tenant, bound to it for good."""

    @abstractmethod
    async def provision(self, placement: "Placement") -> None:
        """Make sure that the placement's database is there; idempotent."""

    @abstractmethod
    async def ping(self) -> None:
        """Raise `Unavailable` when the registry does not answer, does not take a write, or cannot be read."""

    def parts(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What health asks, by name: the registry (`database`) and each shard (`database:<name>`), as `ping` does."""
        return {"database": self.ping}

    async def dedicated(self) -> None:
        """Raise `Unavailable` when databases of single tenants cannot be used; how many, and not whose."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Give back files and sockets."""


@dataclass(frozen=True)
class Placement:
    """Where a tenant's data lives: a shared shard, or a database of its own; `generation` grows with every move."""

    mode: Literal["shared", "dedicated"]
    database: str
    generation: int = 1

    def as_document(self) -> Document:
        """As the tenant's entry holds it."""
        return {"mode": self.mode, "database": self.database, "generation": self.generation}

    @classmethod
    def from_document(cls, body: Mapping[str, Any]) -> "Placement":
        """The other way round; KeyError where a field is missing."""
        return cls(body["mode"], body["database"], body["generation"])

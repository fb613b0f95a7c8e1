"""The embedded database: one SQLite file for the registry, one per shard, one per dedicated tenant."""

import asyncio
import logging
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from shared.clock import Clock
from shared.database import sqlite_query as reads
from shared.database.documents import envelope
from shared.database.limits import check_id, encode, encode_batch
from shared.database.port import (
    OLDEST_FIRST,
    TOMBSTONE,
    Bury,
    Create,
    Database,
    Delete,
    Document,
    Increment,
    Operation,
    Order,
    Page,
    Placement,
    PlatformStore,
    Read,
    Rejected,
    Replace,
    Stored,
    Swept,
    TenantStore,
    Traces,
    Upsert,
    Where,
)
from shared.database.sqlite_tables import tables
from shared.database.sweeps import all_there
from shared.errors import Unavailable
from shared.kinds import Kind, Kinds
from shared.sqlite import SqliteFiles

_PUT = "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_CREATE = """
INSERT INTO items VALUES {} ON CONFLICT (tenant_id, container, id) DO UPDATE SET
  kind = excluded.kind, created_at = excluded.created_at, expires_at = excluded.expires_at, etag = excluded.etag,
  doc = excluded.doc
WHERE items.expires_at <= ?"""
MADE_AT_ONCE = (96, 48, 16, 1)  # items of one statement, which other threads run beside and are waited for after
_CREATES = {rows: _CREATE.format(", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows)) for rows in MADE_AT_ONCE}
_ETAG = "SELECT etag FROM items WHERE tenant_id = ? AND container = ? AND id = ?"
_FIND = """
SELECT etag, doc, kind FROM items
WHERE tenant_id = ? AND container = ? AND id = ? AND (expires_at IS NULL OR expires_at > ?)"""
logger = logging.getLogger("flowgrid.sqlite")
REGISTRY = "registry"
PAGE_SIZE = 200
BRIEF_PAGE = 25  # of which an index says all that is looked for
BRIEF_CHARACTERS = 100_000  # of documents that are taken apart in the loop
LONG_READS = 2  # of one tenant at a time, so that it leaves readers to the others
PURGE_EVERY_COMMITS = 200


class SqliteDatabase(Database):
    """Files `<folder>/<database>.db`; the same schema in each."""

    def __init__(self, folder: Path, clock: Clock, shards: Sequence[str] = (), kinds: Kinds | None = None) -> None:
        self._files = SqliteFiles(folder, tables(kinds or Kinds()))
        self._clock = clock
        self._shards = shards
        self._platform = _Registry(self._files, clock)
        self._partitions: dict[tuple[str, str], _Partition] = {}

    @property
    def platform(self) -> PlatformStore:
        return self._platform

    def tenant(self, tenant_id: str, placement: Placement) -> TenantStore:
        key = (placement.database, tenant_id)
        if key not in self._partitions:
            self._partitions[key] = _Partition(self._files, placement.database, tenant_id, self._clock)
        return self._partitions[key]

    async def provision(self, placement: Placement) -> None:
        await self._files.write(placement.database, lambda connection: None)

    async def ping(self) -> None:
        await self._files.probe(REGISTRY)

    def parts(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        shards = {f"database:{name}": partial(self._files.probe, name) for name in self._shards}
        return {"database": self.ping, **shards}

    async def dedicated(self) -> None:
        names = set(self._files.names()) - {REGISTRY, *self._shards}
        await all_there([partial(self._files.read, name, reads.one) for name in names])

    async def close(self) -> None:
        await self._files.close()


class _Partition(TenantStore):
    def __init__(self, files: SqliteFiles, file: str, tenant_id: str, clock: Clock) -> None:
        self.tenant_id = tenant_id
        self._files = files
        self._file = file
        self._clock = clock
        self._commits = count(1)
        self._long = asyncio.Semaphore(LONG_READS)

    async def get(self, kind: Kind, id: str) -> Stored | None:
        now = self._clock.now().timestamp()
        return await self._files.read(self._file, lambda db: reads.get(db, self.tenant_id, kind, id, now), brief=True)

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        now = self._clock.now().timestamp()
        brief = limit <= BRIEF_PAGE and order.field in reads.INDEXED and all(one.field == "id" for one in where)
        asked = (self.tenant_id, kind, where, order, limit, after, now)
        if not brief:
            async with self._long:
                return await self._files.read(self._file, lambda db: reads.query(db, *asked))
        found = await self._files.read(self._file, lambda db: reads.rows(db, *asked), brief=True)
        if sum(len(text) for text, _ in found) > BRIEF_CHARACTERS:
            async with self._long:
                return await asyncio.to_thread(reads.page, kind, order, limit, found)
        return reads.page(kind, order, limit, found)

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
        now = self._clock.now().timestamp()
        return await self._files.read(self._file, lambda db: reads.buried(db, self.tenant_id, kind, ids, now))

    async def traces(self, kind: Kind, ids: Sequence[str]) -> Traces:
        now = self._clock.now().timestamp()
        async with self._long:
            return await self._files.read(self._file, lambda db: reads.traces(db, self.tenant_id, kind, ids, now))

    async def commit(self, operations: Sequence[Operation]) -> None:
        texts = encode_batch(operations)
        now = self._clock.now().timestamp()
        purge = next(self._commits) % PURGE_EVERY_COMMITS == 0
        new = [_new(self.tenant_id, *one, now) for one in zip(operations, texts, strict=True)]

        def work(db: sqlite3.Connection) -> None:
            index = 0
            while index < len(operations):
                rows = _next(new, index)
                if rows:
                    _make(db, rows, index, now)
                else:
                    _apply(db, self.tenant_id, operations[index], texts[index], index, now)
                index += len(rows) or 1
            if purge:
                db.execute("DELETE FROM items WHERE expires_at <= ?", (now,))

        await self._files.write(self._file, work)


class _Registry(PlatformStore):
    def __init__(self, files: SqliteFiles, clock: Clock) -> None:
        self._files = files
        self._clock = clock

    async def get(self, kind: Kind, tenant_id: str, id: str) -> Stored | None:
        now = self._clock.now().timestamp()
        return await self._files.read(REGISTRY, lambda db: reads.get(db, tenant_id, kind, id, now), brief=True)

    async def put(self, operation: Create | Replace | Delete, tenant_id: str) -> str | None:
        texts = encode_batch([operation])
        now = self._clock.now().timestamp()
        return await self._files.write(REGISTRY, lambda db: _apply(db, tenant_id, operation, texts[0], 0, now))

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        now = self._clock.now().timestamp()
        return await self._files.read(REGISTRY, lambda db: reads.query(db, None, kind, where, order, limit, after, now))

    async def sweep(self, kind: Kind, where: Sequence[Where], *, limit: int = 200) -> Swept:
        now = self._clock.now().timestamp()
        found, missed = list[Stored](), list[str]()
        for name in self._files.names():
            try:
                page = await self._files.read(
                    name, lambda db: reads.query(db, None, kind, where, OLDEST_FIRST, limit, None, now)
                )
            except Unavailable as error:  # one tenant's lost file stops nobody else's repair
                logger.error("a database is not swept", extra={"database": name, "reason": error.message})
                missed.append(name)
                continue
            found += page.items
        return Swept(sorted(found, key=lambda stored: str(stored.body["created_at"]))[:limit], missed)


def _new(tenant_id: str, operation: Operation, text: str | None, now: float) -> tuple[Any, ...] | None:
    """The row of a new item; None where the operation makes none."""
    if not isinstance(operation, Create):
        return None
    key = (tenant_id, operation.kind.container, check_id(operation.kind, operation.id))
    return _row(key, operation.kind, operation.body, text, operation.ttl, _new_etag(), now)


def _next(new: Sequence[tuple[Any, ...] | None], index: int) -> list[tuple[Any, ...]]:
    """The rows that the next statement makes; none where another operation comes."""
    found: list[tuple[Any, ...]] = []
    for row in new[index : index + MADE_AT_ONCE[0]]:
        if row is None:
            break
        found.append(row)
    return found[: next((rows for rows in MADE_AT_ONCE if rows <= len(found)), 0)]


def _make(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], index: int, now: float) -> None:
    """All of them, or `Rejected` for the first whose id is taken: by another one, or by one before it."""
    if db.execute(_CREATES[len(rows)], [*chain(*rows), now]).rowcount == len(rows):
        return
    for taken, (*key, _, _, _, etag, _) in enumerate(rows, index):
        if db.execute(_ETAG, key).fetchone()[0] != etag:
            raise Rejected("exists", taken)


def _new_etag() -> str:
    return f"{random.getrandbits(64):016x}"


def _apply(
    db: sqlite3.Connection, tenant_id: str, operation: Operation, text: str | None, index: int, now: float
) -> str:
    """Do it, `text` being its body; returns the ETag of what is there now."""
    etag = _new_etag()
    key = (tenant_id, operation.kind.container, check_id(operation.kind, operation.id))
    if isinstance(operation, Create):
        _make(db, [_row(key, operation.kind, operation.body, text, operation.ttl, etag, now)], index, now)
        return etag
    if isinstance(operation, Upsert):
        db.execute(_PUT, _row(key, operation.kind, operation.body, text, operation.ttl, etag, now))
        return etag
    found = db.execute(_FIND, (*key, now)).fetchone()
    if not found:
        raise Rejected("missing", index)
    if isinstance(operation, Replace | Delete | Bury) and operation.etag is not None and operation.etag != found[0]:
        raise Rejected("stale", index)
    match operation:
        case Read():
            return str(found[0])
        case Delete():
            db.execute("DELETE FROM items WHERE tenant_id = ? AND container = ? AND id = ?", key)
        case Increment():
            if found[2] != operation.kind.name:
                raise Rejected("condition", index)
            moved = _incremented(from_json(found[1]), operation, index)
            db.execute(
                "UPDATE items SET doc = ?, etag = ? WHERE tenant_id = ? AND container = ? AND id = ?",
                (moved, etag, *key),
            )
        case Replace() | Bury():
            kind, ttl = (TOMBSTONE, None) if isinstance(operation, Bury) else (operation.kind, operation.ttl)
            db.execute(_PUT, _row(key, kind, operation.body, text, ttl, etag, now))
    return etag


def _row(
    key: tuple[str, str, str], kind: Kind, body: Document, text: str | None, ttl: int | None, etag: str, now: float
) -> tuple[Any, ...]:
    """The body with the store's own fields around it: joined as text where none of them is in it already."""
    own = envelope(kind, key[2], key[0], body)
    if text is None or text == "{}" or not own.keys().isdisjoint(body):
        document = to_json({**body, **own}).decode()
    else:
        document = f"{text[:-1]},{to_json(own).decode()[1:]}"
    return (*key, kind.name, body.get("created_at", ""), None if ttl is None else now + ttl, etag, document)


def _incremented(body: Document, operation: Increment, index: int) -> str:
    moved: Document = {}
    for path, amount in operation.amounts.items():
        *parents, name = path.split(".")
        target = body
        for parent in parents:
            target = target.setdefault(parent, {})
        value = target.get(name, 0) + amount
        if path in operation.at_most and value > operation.at_most[path]:
            raise Rejected("condition", index)
        target[name] = moved[path] = value
    encode(moved)  # refuses what is no number to keep; the rest is kept already
    return to_json(body).decode()

"""The embedded queue: durable, with leases, delivery counts and dead letters, as Service Bus has them."""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from uuid import uuid4

from shared.clock import Clock
from shared.errors import Unavailable
from shared.messaging.port import Message, Messaging, as_text
from shared.messaging.queues import DUPLICATES_REMEMBERED, MAX_DELIVERIES
from shared.messaging.received import body_of
from shared.messaging.receiving import Lease
from shared.sqlite import SqliteFiles
from shared.tracing import traceparent

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, id TEXT NOT NULL, tenant_id TEXT NOT NULL,
  body TEXT NOT NULL, enqueued_at REAL NOT NULL, due_at REAL NOT NULL, deliveries INTEGER NOT NULL DEFAULT 0,
  lease TEXT, dead_reason TEXT);
CREATE INDEX IF NOT EXISTS messages_due ON messages (queue, dead_reason, due_at);
CREATE INDEX IF NOT EXISTS messages_in_turn ON messages (queue, dead_reason, sequence);
CREATE INDEX IF NOT EXISTS messages_leased ON messages (lease) WHERE lease IS NOT NULL;
CREATE TABLE IF NOT EXISTS traces (sequence INTEGER PRIMARY KEY, traceparent TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS traces_end AFTER DELETE ON messages
  BEGIN DELETE FROM traces WHERE sequence = OLD.sequence; END;
CREATE TABLE IF NOT EXISTS seen (queue TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (queue, id));
CREATE INDEX IF NOT EXISTS seen_at ON seen (at);
CREATE TABLE IF NOT EXISTS time (one INTEGER PRIMARY KEY CHECK (one = 1), latest REAL NOT NULL);
CREATE VIEW IF NOT EXISTS sent AS
  SELECT queue, id, tenant_id, body, enqueued_at, due_at, traceparent FROM messages LEFT JOIN traces USING (sequence);
CREATE TRIGGER IF NOT EXISTS sent_once INSTEAD OF INSERT ON sent BEGIN
  INSERT OR IGNORE INTO seen VALUES (NEW.queue, NEW.id, NEW.enqueued_at);
  INSERT INTO messages (queue, id, tenant_id, body, enqueued_at, due_at)
    SELECT NEW.queue, NEW.id, NEW.tenant_id, NEW.body, NEW.enqueued_at, NEW.due_at WHERE changes() > 0;
  INSERT INTO traces SELECT last_insert_rowid(), NEW.traceparent WHERE changes() > 0 AND NEW.traceparent <> '';
END;
"""
SENT_AT_ONCE = (64, 16, 8, 4, 2, 1)  # messages of one statement: between two, the thread waits for its turn at Python
_SEND = "INSERT INTO sent VALUES {}"
_SENDS = {rows: _SEND.format(", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * rows)) for rows in SENT_AT_ONCE}
FILE = "queues"
LEASE_SECONDS = 60
LOOKED_AT = 10  # times as many as are received, for those of the same tenants


class _Time:
    """The queue's own time: the clock's, but never back. What is due stays due when the clock is set back.

    It goes on with the monotonic clock until the other one has come back up, and its latest is kept in the file, so
    that the next process, and one beside, have the same.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = float("-inf")  # from the monotonic clock to this time

    def now(self, db: sqlite3.Connection) -> float:
        kept = db.execute("SELECT latest FROM time").fetchone()
        return self._from(self._clock.monotonic(), kept[0] if kept else None)

    def keep(self, db: sqlite3.Connection) -> float:
        """Now, told to the other processes too."""
        monotonic = self._clock.monotonic()
        (latest,) = db.execute(
            "INSERT INTO time VALUES (1, ?)"
            " ON CONFLICT (one) DO UPDATE SET latest = MAX(latest, excluded.latest) RETURNING latest",
            (self._from(monotonic, None),),
        ).fetchone()
        self._from(monotonic, latest)
        return float(latest)

    def _from(self, monotonic: float, latest: float | None) -> float:
        self._offset = max(self._offset, self._clock.now().timestamp() - monotonic)
        if latest is not None:
            self._offset = max(self._offset, latest - monotonic)
        return monotonic + self._offset


def _by_tenant(due: Sequence[tuple[int, str]]) -> list[int]:
    """The sequences, those of a tenant together; the tenant of the oldest message first."""
    of_tenants: dict[str, list[int]] = {}
    for sequence, tenant_id in due:
        of_tenants.setdefault(tenant_id, []).append(sequence)
    return [sequence for own in of_tenants.values() for sequence in own]


@dataclass(eq=False)
class _Send:
    """Messages that one caller waits to see durable; `pause` in seconds.

    Rows of queue, id, tenant, body and traceparent.
    """

    rows: list[tuple[str, str, str, str, str]]
    pause: float
    told: "asyncio.Future[None]"


class SqliteMessaging(Messaging):
    """Those who send while another send is under way go together in the next: one transaction for all of them."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._files = SqliteFiles(folder, SCHEMA)
        self._time = _Time(clock)
        self._sends: list[_Send] = []
        self._sending: asyncio.Task[None] | None = None

    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        here = traceparent()
        rows = [(queue, one.id, one.tenant_id, as_text(one), one.traceparent or here) for one in messages]
        loop = asyncio.get_running_loop()
        mine = _Send(rows, delay.total_seconds() if delay else 0.0, loop.create_future())
        self._sends.append(mine)
        if self._sending is None:
            self._sending = loop.create_task(self._send_all())
        await mine.told

    async def _send_all(self) -> None:
        try:
            while sends := [one for one in self._sends if not one.told.cancelled()]:
                self._sends = []
                await self._send_together(sends)
        finally:
            for one in self._sends:
                one.told.cancel()
            self._sends, self._sending = [], None

    async def _send_together(self, sends: list[_Send]) -> None:
        """All or nothing; each alone where that fails by what is in one of them."""
        error: BaseException | None = None
        try:
            await self._files.write(FILE, lambda db: self._enqueue(db, sends))
        except Exception as failure:
            error = failure
            if len(sends) > 1 and not isinstance(failure, Unavailable):
                for one in sends:
                    await self._send_together([one])
        except BaseException as failure:
            error = failure
            raise
        finally:
            for one in sends:
                if not one.told.done():
                    one.told.set_result(None) if error is None else one.told.set_exception(error)

    def _enqueue(self, db: sqlite3.Connection, sends: list[_Send]) -> None:
        now = self._time.keep(db)
        db.execute("DELETE FROM seen WHERE at < ?", (now - DUPLICATES_REMEMBERED.total_seconds(),))
        rows = [(*row[:4], now, now + one.pause, row[4]) for one in sends for row in one.rows]
        start = 0
        while start < len(rows):
            size = next(size for size in SENT_AT_ONCE if size <= len(rows) - start)
            db.execute(_SENDS[size], list(chain(*rows[start : start + size])))
            start += size

    async def receive(self, queue: str, *, most: int = 1, lease_seconds: float = LEASE_SECONDS) -> Lease:
        """Lock up to `most` due messages; one delivered more than ten times becomes a dead letter instead.

        The oldest, and then those of the same tenants, so that what is done for a tenant is done for many at once.
        """
        token = uuid4().hex

        def work(db: sqlite3.Connection) -> Lease:
            now = self._time.keep(db)
            db.execute(
                "UPDATE messages SET dead_reason = 'MaxDeliveryCountExceeded', lease = NULL"
                " WHERE queue = ? AND dead_reason IS NULL AND due_at <= ? AND deliveries >= ?",
                (queue, now, MAX_DELIVERIES),
            )
            due = db.execute(
                "SELECT sequence, tenant_id FROM messages WHERE queue = ? AND dead_reason IS NULL AND due_at <= ?"
                " ORDER BY sequence LIMIT ?",
                (queue, now, most * LOOKED_AT),
            ).fetchall()
            chosen = _by_tenant(due)[:most]
            rows = db.execute(
                "UPDATE messages SET lease = ?, deliveries = deliveries + 1, due_at = ?"  # noqa: S608 - question marks
                f" WHERE sequence IN ({', '.join('?' * len(chosen))})"
                " RETURNING sequence, id, tenant_id, body, deliveries,"
                " (SELECT traceparent FROM traces WHERE traces.sequence = messages.sequence)",
                (token, now + lease_seconds, *chosen),
            ).fetchall()
            return Lease(token, [(Message(r[1], r[2], body_of(r[3].encode()), r[5] or ""), r[4]) for r in sorted(rows)])

        return await self._files.write(FILE, work)

    async def waiting(self, queue: str) -> bool:
        """Whether a message is due: a read, cheaper than an empty `receive`."""

        def work(db: sqlite3.Connection) -> bool:
            due = "SELECT 1 FROM messages WHERE queue = ? AND dead_reason IS NULL AND due_at <= ? LIMIT 1"
            return db.execute(due, (queue, self._time.now(db))).fetchone() is not None

        return await self._files.read(FILE, work, brief=True)

    async def complete(self, lease: Lease) -> None:
        """The messages are done with; those whose lease ran out meanwhile stay for their new receiver."""
        await self._files.write(
            FILE, lambda db: db.execute("DELETE FROM messages WHERE lease = ?", (lease.token,)) and None
        )

    async def renew(self, lease: Lease, seconds: float) -> None:
        """Keep the messages locked for `seconds` from now; those that another receiver has meanwhile are left alone."""

        def work(db: sqlite3.Connection) -> None:
            due = self._time.keep(db) + seconds
            db.execute("UPDATE messages SET due_at = ? WHERE lease = ?", (due, lease.token))

        await self._files.write(FILE, work)

    async def retry(self, lease: Lease, pause: float) -> None:
        """Give the messages back, for another delivery after a pause in seconds."""
        await self.renew(lease, pause)

    async def abandon(self, lease: Lease) -> None:
        """Give the messages back at once."""

        def work(db: sqlite3.Connection) -> None:
            now = self._time.keep(db)
            db.execute("UPDATE messages SET lease = NULL, due_at = ? WHERE lease = ?", (now, lease.token))

        await self._files.write(FILE, work)

    async def dead(self, queue: str, *, most: int = 100) -> list[tuple[Message, str]]:
        return await self._files.read(
            FILE,
            lambda db: [
                (Message(row[0], row[1], body_of(row[2].encode())), row[3])
                for row in db.execute(
                    "SELECT id, tenant_id, body, dead_reason FROM messages"
                    " WHERE queue = ? AND dead_reason IS NOT NULL ORDER BY sequence LIMIT ?",
                    (queue, most),
                )
            ],
        )

    async def drop_dead(self, queue: str, id: str) -> None:
        oldest = (
            "DELETE FROM messages WHERE sequence ="
            " (SELECT MIN(sequence) FROM messages WHERE queue = ? AND id = ? AND dead_reason IS NOT NULL)"
        )
        await self._files.write(FILE, lambda db: db.execute(oldest, (queue, id)) and None)

    async def ping(self) -> None:
        await self._files.probe(FILE)

    async def close(self) -> None:
        if self._sending is not None:
            await asyncio.wait([self._sending])
        await self._files.close()

"""A tenant's resources at one moment, as they come out of a backup and the journal.

Held in a nameless temporary SQLite database: SQLite keeps what is small in memory and spills the rest to a file that
nobody else can see and that is gone when it is closed, so memory does not grow with the tenant.
"""

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Sequence
from types import TracebackType

from functions.backups.archive import Archive, Line, Manifest
from shared.database.port import Document
from shared.errors import Unavailable
from shared.kinds import Kind, Kinds
from shared.sqlite import is_outage

SCHEMA = """
CREATE TABLE items (kind TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER, body TEXT, PRIMARY KEY (kind, id));
CREATE TABLE refers (kind TEXT NOT NULL, field TEXT NOT NULL, target TEXT NOT NULL);
CREATE TABLE ends (id TEXT NOT NULL, kind TEXT NOT NULL, field TEXT NOT NULL, "end" TEXT NOT NULL);
CREATE TABLE ranks (kind TEXT NOT NULL, id TEXT NOT NULL, rank TEXT NOT NULL, PRIMARY KEY (kind, id));
"""
# What a change did, unless a later revision of the item is known already; without a revision, in any case.
KEEP = """
INSERT INTO items VALUES (:kind, :id, :revision, :body) ON CONFLICT DO UPDATE SET body = :body, revision = :revision
WHERE items.revision IS NULL OR :revision IS NULL OR items.revision <= :revision
"""
# What was there before a change that came too late, where the change or a later one has been seen.
UNDO = """
INSERT INTO items VALUES (:kind, :id, :revision - 1, :body)
ON CONFLICT DO UPDATE SET body = :body, revision = :revision - 1
WHERE items.revision IS NULL OR items.revision >= :revision
"""
ENDS = """
INSERT INTO ends
SELECT items.id, items.kind, field, json_extract(body, '$.' || field) FROM items
JOIN (SELECT DISTINCT kind, field FROM refers) AS fields USING (kind)
WHERE body NOT NULL AND json_extract(body, '$.' || field) NOT NULL
"""
DANGLING = """
SELECT DISTINCT kind || ' ' || id FROM ends WHERE NOT EXISTS (
  SELECT 1 FROM items JOIN refers ON items.kind = refers.target
  WHERE items.id = ends."end" AND items.body NOT NULL AND refers.kind = ends.kind AND refers.field = ends.field)
ORDER BY 1 LIMIT ?
"""
# Of a kind whose items refer to each other, one comes after those that it names.
RANKS = """
INSERT INTO ranks
WITH RECURSIVE
  own(kind) AS (SELECT DISTINCT kind FROM refers WHERE kind = target),
  nested(id, kind, level) AS (
    SELECT id, kind, 0 FROM items JOIN own USING (kind) WHERE body NOT NULL
    UNION
    SELECT ends.id, ends.kind, level + 1 FROM nested
    JOIN ends ON ends."end" = nested.id AND ends.kind = nested.kind WHERE level < 100)
SELECT kind, id, printf('%03d:', max(level)) || id FROM nested GROUP BY kind, id
"""


class Snapshot:
    """Items by kind and id; a context manager, for its file. `Unavailable` when the disk has no room for it."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(SCHEMA)
        refers = [(kind.name, field, to) for kind in kinds for field, targets in kind.refers.items() for to in targets]
        self._db.executemany("INSERT INTO refers VALUES (?, ?, ?)", refers)
        self._related = False

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()
        if is_outage(error):
            raise Unavailable(f"There is no room for a tenant's snapshot at the moment: {error}.") from error

    def clear(self) -> None:
        """Forget everything."""
        self._db.executescript("DELETE FROM items; DELETE FROM ends; DELETE FROM ranks;")

    async def load(self, archive: Archive, manifest: Manifest) -> None:
        """Apply the backup's resources; `Damaged` when they are not what was written."""
        for part in manifest.parts:
            if part.section == "resources":
                async for lines in archive.read(part):
                    await self.apply(lines)

    async def apply(self, lines: Sequence[Line]) -> None:
        """Take in what changes have done to items, whatever order they come in: each item's last revision counts."""
        await asyncio.to_thread(self._apply, lines)

    def count(self, kind: Kind) -> int:
        query = "SELECT count(*) FROM items WHERE kind = ? AND body NOT NULL"
        return int(self._db.execute(query, (kind.name,)).fetchone()[0])

    async def sizes(self) -> dict[str, int]:
        """Bytes of each kind's resources, as JSON."""
        query = "SELECT kind, sum(length(CAST(body AS BLOB))) FROM items WHERE body NOT NULL GROUP BY kind"
        return dict(await asyncio.to_thread(lambda: self._db.execute(query).fetchall()))

    def page(self, kind: Kind, after: str, limit: int) -> tuple[list[Document], str]:
        """The next resources of a kind, what is referred to before what refers to it, and the key of the last."""
        if kind.nested:
            self._relate()
            ranked = "ranks JOIN items USING (kind, id)"
            query = f"SELECT body, rank FROM {ranked} WHERE kind = ? AND rank > ? ORDER BY 2 LIMIT ?"  # noqa: S608
        else:
            query = "SELECT body, id FROM items WHERE kind = ? AND id > ? AND body NOT NULL ORDER BY id LIMIT ?"
        rows = self._db.execute(query, (kind.name, after, limit)).fetchall()
        return [json.loads(body) for body, _ in rows], rows[-1][1] if rows else after

    def missing(self, kind: Kind, ids: Iterable[str]) -> set[str]:
        """Those of the ids that were not there."""
        query = "SELECT 1 FROM items WHERE kind = ? AND id = ? AND body NOT NULL"
        return {id for id in ids if self._db.execute(query, (kind.name, id)).fetchone() is None}

    def dangling(self, limit: int) -> list[str]:
        """What refers to something that is not there: as `<kind> <id>`."""
        self._relate()
        return [what for (what,) in self._db.execute(DANGLING, (limit,))]

    def _relate(self) -> None:
        """Work out who refers to whom, once everything has been applied."""
        if not self._related:
            self._related = True
            self._db.execute(ENDS)
            self._db.execute('CREATE INDEX by_end ON ends ("end")')
            self._db.execute("CREATE INDEX by_id ON items (id)")
            self._db.execute(RANKS)

    def _apply(self, lines: Sequence[Line]) -> None:
        self._db.execute("BEGIN")
        for line in lines:
            item = self._current(line)
            revision = line.get("revision", item and item.get("revision"))
            body = json.dumps(item, ensure_ascii=False, separators=(",", ":")) if item else None
            values = {"kind": line["kind"], "id": line["id"], "revision": revision, "body": body}
            self._db.execute(UNDO if line.get("undo") else KEEP, values)
        self._db.execute("COMMIT")

    def _current(self, line: Line) -> Document | None:
        """The line's item in its kind's current schema."""
        item: Document | None = line.get("item")
        return None if item is None else self._kinds.named(line["kind"]).upcast(item, line.get("schema", 1))

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
from shared.database.port import Document, Kind
from shared.errors import Unavailable
from shared.sqlite import is_outage

SCHEMA = """
CREATE TABLE items (kind TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER, body TEXT, PRIMARY KEY (kind, id));
CREATE TABLE ends (id TEXT NOT NULL, "end" TEXT, kind TEXT NOT NULL);
CREATE TABLE ranks (id TEXT PRIMARY KEY, rank TEXT NOT NULL);
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
SELECT id, json_extract(body, '$.source_id'), 'relationship' FROM items WHERE kind = 'relationship' AND body NOT NULL
UNION ALL
SELECT id, json_extract(body, '$.target_id'), 'relationship' FROM items WHERE kind = 'relationship' AND body NOT NULL
UNION ALL
SELECT id, json_extract(body, '$.element_id'), 'agent' FROM items
WHERE kind = 'agent' AND body NOT NULL AND json_extract(body, '$.element_id') NOT NULL
"""
DANGLING = """
SELECT DISTINCT kind || ' ' || id FROM ends WHERE NOT EXISTS (
  SELECT 1 FROM items WHERE items.id = ends."end" AND items.body NOT NULL
  AND (items.kind = 'element' OR (items.kind = 'relationship' AND ends.kind = 'relationship')))
ORDER BY 1 LIMIT ?
"""
# A relationship comes after the relationships that it begins or ends at.
RANKS = """
INSERT INTO ranks
WITH RECURSIVE nested(id, level) AS (
  SELECT id, 0 FROM items WHERE kind = 'relationship' AND body NOT NULL
  UNION
  SELECT ends.id, level + 1 FROM nested JOIN ends ON ends."end" = nested.id WHERE level < 100)
SELECT id, printf('%03d:', max(level)) || id FROM nested GROUP BY id
"""


class Snapshot:
    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(SCHEMA)
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
        return int(self._db.execute(query, (kind.value,)).fetchone()[0])

    def page(self, kind: Kind, after: str, limit: int) -> tuple[list[Document], str]:
        """The next resources of a kind, what is referred to before what refers to it, and the key of the last."""
        if kind is Kind.RELATIONSHIP:
            self._relate()
            query = "SELECT body, rank FROM ranks JOIN items USING (id) WHERE kind = ? AND rank > ? ORDER BY 2 LIMIT ?"
        else:
            query = "SELECT body, id FROM items WHERE kind = ? AND id > ? AND body NOT NULL ORDER BY id LIMIT ?"
        rows = self._db.execute(query, (kind.value, after, limit)).fetchall()
        return [json.loads(body) for body, _ in rows], rows[-1][1] if rows else after

    def missing(self, kind: Kind, ids: Iterable[str]) -> set[str]:
        """Those of the ids that were not there."""
        query = "SELECT 1 FROM items WHERE kind = ? AND id = ? AND body NOT NULL"
        return {id for id in ids if self._db.execute(query, (kind.value, id)).fetchone() is None}

    def dangling(self, limit: int) -> list[str]:
        """Relationships without both of their ends, agents without their element: as `<kind> <id>`."""
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
            item = line.get("item")
            revision = line.get("revision", item and item.get("revision"))
            body = json.dumps(item, ensure_ascii=False, separators=(",", ":")) if item else None
            values = {"kind": line["kind"], "id": line["id"], "revision": revision, "body": body}
            self._db.execute(UNDO if line.get("undo") else KEEP, values)
        self._db.execute("COMMIT")

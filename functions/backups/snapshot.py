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

SCHEMA = "CREATE TABLE items (kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id))"
DANGLING = """
SELECT id FROM items AS one WHERE kind = 'relationship' AND EXISTS (
  SELECT 1 FROM (SELECT json_extract(one.body, '$.source_id') AS id UNION ALL
                 SELECT json_extract(one.body, '$.target_id')) AS ends
  WHERE NOT EXISTS (SELECT 1 FROM items WHERE kind IN ('element', 'relationship') AND items.id = ends.id))
ORDER BY id LIMIT ?
"""


class Snapshot:
    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(SCHEMA)

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    async def load(self, archive: Archive, manifest: Manifest) -> None:
        """Apply the backup's resources; `Damaged` when they are not what was written."""
        for part in manifest.parts:
            if part.section == "resources":
                async for lines in archive.read(part):
                    await self.apply(lines)

    async def apply(self, lines: Sequence[Line]) -> None:
        """Put and delete, in order."""
        await asyncio.to_thread(self._apply, lines)

    def count(self, kind: Kind) -> int:
        return int(self._db.execute("SELECT count(*) FROM items WHERE kind = ?", (kind.value,)).fetchone()[0])

    def page(self, kind: Kind, after: str, limit: int) -> list[Document]:
        """The next resources of a kind in the order of their ids."""
        rows = self._db.execute(
            "SELECT body FROM items WHERE kind = ? AND id > ? ORDER BY id LIMIT ?", (kind.value, after, limit)
        )
        return [json.loads(body) for (body,) in rows]

    def missing(self, kind: Kind, ids: Iterable[str]) -> set[str]:
        """Those of the ids that were not there."""
        query = "SELECT 1 FROM items WHERE kind = ? AND id = ?"
        return {id for id in ids if self._db.execute(query, (kind.value, id)).fetchone() is None}

    def dangling(self, limit: int) -> list[str]:
        """Relationships without both of their ends."""
        return [id for (id,) in self._db.execute(DANGLING, (limit,))]

    def _apply(self, lines: Sequence[Line]) -> None:
        self._db.execute("BEGIN")
        for line in lines:
            if line["op"] == "put":
                body = json.dumps(line["item"], ensure_ascii=False, separators=(",", ":"))
                self._db.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", (line["kind"], line["id"], body))
            else:
                self._db.execute("DELETE FROM items WHERE kind = ? AND id = ?", (line["kind"], line["id"]))
        self._db.execute("COMMIT")

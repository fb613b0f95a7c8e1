"""All that there is of one tenant, wherever it is kept, as it lies there: read past the code that is under proof."""

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from zstandard import ZstdDecompressor

from shared.database.cosmos.packing import unpacked
from shared.ids import PLATFORM_TENANT_ID
from shared.tenancy.fence import AUDIT
from tests.isolation.site import Site

NAMED = "it is named here"
Dump = dict[str, str]  # where it lies -> what lies there


@dataclass
class Watch:
    """One tenant's items, its lines in the registry, blobs, secrets and queue messages; and what else names it."""

    site: Site
    tenant_id: str
    _files: dict[Path, tuple[sqlite3.Connection, int, Dump]] = field(default_factory=dict)
    _containers: dict[tuple[str, str], tuple[int, Dump]] = field(default_factory=dict)

    def dump(self) -> Dump:
        found: Dump = {}
        folder = self.site.core.settings.flowgrid_data_dir
        for path in (*(folder / "database").glob("*.db"), *(folder / "queues").glob("*.db")):
            found |= self._file(path)
        for area in ("blobs", "secrets"):
            for under, _, names in os.walk(folder / area):
                if f"/{self.tenant_id}/" in f"{under}/":
                    paths = (Path(under, name) for name in names)
                    found |= {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in paths}
        if self.site.double is not None:
            found.update(self._account())
        return found

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """All that the tenant's blobs hold, with what is compressed in it as text."""
        folder = self.site.core.settings.flowgrid_data_dir
        for path in (folder / "blobs").rglob(f"{self.tenant_id}/**/*"):
            if path.is_file():
                held = path.read_bytes()
                text = ZstdDecompressor().decompressobj().decompress(held) if path.suffix == ".zst" else held
                yield str(path.relative_to(folder)), text

    def close(self) -> None:
        for connection, _, _ in self._files.values():
            connection.close()
        self._files.clear()

    def _file(self, path: Path) -> Dump:
        """What it had, unless somebody has written since (https://sqlite.org/pragma.html#pragma_data_version)."""
        if path not in self._files:
            self._files[path] = (sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30), -1, {})
        connection, known, dump = self._files[path]
        [version] = connection.execute("PRAGMA data_version").fetchone()
        if version != known:
            dump = dict(self._rows(connection, path.stem))
            self._files[path] = (connection, version, dump)
        return dump

    def _rows(self, connection: sqlite3.Connection, name: str) -> Iterator[tuple[str, str]]:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "items" in tables:
            select = "SELECT tenant_id, container, id, etag, doc FROM items WHERE tenant_id = ?"
            about = f"{select} OR (tenant_id = ? AND instr(doc, ?))"
            for row in connection.execute(about, (self.tenant_id, PLATFORM_TENANT_ID, self.tenant_id)):
                yield f"{name}/{row[0]}/{row[1]}/{row[2]}", NAMED if _is_shared(row[2]) else f"{row[3]} {row[4]}"
        if "messages" in tables:
            select = "SELECT queue, id, tenant_id, body, coalesce(dead_reason, '') FROM messages"
            about = f"{select} WHERE tenant_id = ? OR instr(body, ?)"
            for row in connection.execute(about, (self.tenant_id, self.tenant_id)):
                yield f"queue {row[0]}/{row[1]}", " ".join(row[2:])

    def _account(self) -> Iterator[tuple[str, str]]:
        assert self.site.double is not None
        store = self.site.double.store
        for database, containers in list(store.databases.items()):
            for name, container in containers.items():
                version, dump = self._containers.get((database, name), (0, {}))
                if version != container.lsn:
                    lies = container.documents(None, store.now())
                    found = [one for one in (unpacked(AUDIT, document) for document in lies) if self._names(one)]
                    dump = {f"{database}/{name}/{one['id']}": _as_text(one) for one in found}
                    self._containers[database, name] = container.lsn, dump
                yield from dump.items()

    def _names(self, document: dict[str, Any]) -> bool:
        owner = document.get("tenant_id")
        return owner == self.tenant_id or (owner == PLATFORM_TENANT_ID and self.tenant_id in json.dumps(document))


def _as_text(document: dict[str, Any]) -> str:
    return NAMED if _is_shared(document["id"]) else json.dumps(document, sort_keys=True)


def _is_shared(id: str) -> bool:
    """A hint of who has invited an address is of all tenants that have: of the victim is that it is named there."""
    return id.startswith("invited_address:")


def changed(before: Dump, after: Dump) -> list[str]:
    """Where something was written, added or taken away."""
    return sorted(where for where in before.keys() | after.keys() if before.get(where) != after.get(where))


def what(where: str, dump: Dump) -> str:
    """The kind of the item that lies there; of an entry of the trail with what was done."""
    kind = kind_of(where, dump)
    action = re.search(r'"action": ?"([^"]+)"', dump[where]) if kind == "audit" else None
    return f"{kind} {action[1]}" if action else kind


def kind_of(where: str, dump: Dump) -> str:
    """The kind of the item that lies there; `message`, `blobs` or `secrets` for what is no item."""
    if where.startswith("queue "):
        return "message"
    if where.startswith(("blobs/", "secrets/")):
        return where.partition("/")[0]
    return where.rpartition("/")[2].partition(":")[0]

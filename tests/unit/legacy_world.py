"""Old database files, and migrations of them into a Flowgrid in a folder."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from cli.legacy.moving import Advance
from cli.legacy.old_file import quoted
from cli.legacy.report import Report
from cli.migrate import Options, migrate, undone
from functions.kinds import KINDS
from shared.core import core
from shared.ids import DEFAULT_TENANT_ID
from shared.settings import Settings

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
PASSING = ("created_at", "updated_at", "touched", "generation")
STAMP = "2025-11-03 09:15:00"
SAMPLE: Rows = {
    "elements": [
        {
            "id": f"e{number}",
            "name": f"Element {number}",
            "type": "BusinessProcess",
            "description": "What it is.",
            "properties": json.dumps({"Owner": "Operations"}),
            "created_at": STAMP,
            "updated_at": None,
        }
        for number in range(60)
    ],
    "relationships": [
        {"id": f"r{number}", "type": "Flow", "source_id": f"e{number}", "target_id": f"e{number + 1}", "name": None}
        for number in range(30)
    ]
    + [{"id": "r-on-r", "type": "Association", "source_id": "e0", "target_id": "r1", "name": "says why"}],
    "agents": [
        {
            "id": f"a{number}",
            "name": "Triage",
            "pattern": "Specialist",
            "config": json.dumps({"instructions": "Look first.", "temperature": 0.0}),
            "element_id": "e1" if number else None,
            "status": "active",
            "created_at": STAMP,
        }
        for number in range(3)
    ],
}


def old_file(path: Path, tables: Rows = SAMPLE) -> Path:
    """A file with these rows; the columns have no types, so every value stays as it is."""
    with closing(sqlite3.connect(path)) as db, db:
        for table, rows in tables.items():
            names = list(dict.fromkeys(name for row in rows for name in row)) or ["id"]
            db.execute(f"CREATE TABLE {table} ({', '.join(map(quoted, names))})")
            for row in rows:
                put(db, table, row)
    return path


def put(db: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    """A row; bytes that begin with `text:` are stored as text, valid UTF-8 or not."""
    marks = [
        "CAST(? AS TEXT)" if isinstance(value, bytes) and value.startswith(b"text:") else "?" for value in row.values()
    ]
    names = ", ".join(map(quoted, row))
    values = [value.removeprefix(b"text:") if isinstance(value, bytes) else value for value in row.values()]
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(marks)})", values)


async def run(path: Path, data: Path, *, dry_run: bool = False, quarantine: Path | None = None, **given: Any) -> Report:
    """`python -m cli migrate`, in this loop."""
    options = Options(tenant=given.pop("tenant", "default"), data=data, settings_file=none(data), **given)
    return await migrated(path, options, quarantine or data.parent / "quarantine.jsonl", dry_run=dry_run)


async def migrated(
    path: Path, options: Options, quarantine: Path, *, dry_run: bool = False, advance: Advance = lambda *_: None
) -> Report:
    """The same with options of one's own."""
    return await migrate(path, options, dry_run=dry_run, quarantine=quarantine, advance=advance)


async def undo(id: str, data: Path, tenant: str = "default") -> dict[str, Any]:
    return await undone(id, Options(tenant=tenant, data=data, settings_file=none(data)))


def none(data: Path) -> Path:
    """A settings file with nothing in it: what a developer has set is none of the tests' business."""
    path = data.parent / "settings.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    return path


async def dump(data: Path, tenant_id: str = DEFAULT_TENANT_ID) -> dict[str, dict[str, Any]]:
    """Everything in a tenant's partition, by kind and id."""
    own = core(Settings.model_validate({"flowgrid_data_dir": data}), KINDS)
    try:
        entry = await own.directory.latest(tenant_id)
        assert entry is not None
        store = own.adapters.database.tenant(tenant_id, entry.placement)
        kinds = [kind for kind in KINDS if kind.container == "items"]
        return {
            f"{stored.body['kind']}:{stored.body['id']}": stored.body
            async for page in store.scan(kinds)
            for stored in page
        }
    finally:
        await own.close()


def settled(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The same without instants, generations and how often something was touched; entries of the trail, permits and
    records by what they say."""
    state: dict[str, Any] = {}
    for name, body in found.items():
        kept = {key: value for key, value in body.items() if key not in PASSING}
        if body["kind"] in ("outbox", "open"):
            continue
        if body["kind"] == "audit":
            state[f"audit {body['action']} {body['resource_id']} {body['revision']}"] = body["user_id"]
        elif body["kind"] == "migrating":
            state["permit"] = state.get("permit", 0) + 1
        elif body["kind"] == "migration_batch":
            state[f"batch {body['items'][0][0]}"] = (body["table"], body["items"])
        else:
            state[name] = kept
    return state


def without_history(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The same without the trail, which keeps what was done and undone."""
    return {name: body for name, body in settled(found).items() if not name.startswith("audit ")}


def mended(lines: Path, mends: Mapping[str, Mapping[str, Any]]) -> Path:
    """The quarantine file with columns of rows changed, by table and key."""
    told = [json.loads(line) for line in lines.read_bytes().splitlines()]
    for one in told:
        one["row"] |= mends.get(f"{one['table']} {one['key']}", {})
    path = lines.with_name("mended.jsonl")
    path.write_text("".join(json.dumps(one) + "\n" for one in told), encoding="utf-8")
    return path

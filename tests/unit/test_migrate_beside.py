"""Of a large file rows are read and converted in a process beside: the same rows, and neither outlives the other."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.errors import CliError
from cli.legacy import converting
from cli.legacy.converting import Converted, converted, converted_beside, in_order
from cli.legacy.old_file import OldFile, opened
from functions.migration.models import MODELS, Table
from shared.ids import DEFAULT_TENANT_ID
from tests.unit.legacy_world import SAMPLE, dump, old_file, run, settled

ROOT = Path(__file__).parents[2]
TENANTS = {"": DEFAULT_TENANT_ID, "7": "0190c2a8-7e10-7abc-8def-000000000001"}
DEFECTS: list[dict[str, Any]] = [
    {"id": 1, "name": "A number", "type": "node", "tenant_id": "7", "cost": 2.5, "properties": '{"a": [1.50]}'},
    {"id": "e1", "name": "Again", "type": "Node"},
    {"id": None, "name": "No key", "type": "Node"},
    {"id": "bytes", "name": "Bytes", "type": "Node", "cost": b"\0\xff"},
    {"id": "broken", "name": b"text:\xff", "type": "Node"},
    {"id": "half", "name": "Half", "type": "Node", "properties": '{"a": "\\ud800"}'},
    {"id": "long", "name": "Long", "type": "Node", "description": "x" * 300_000},
]
OF_DEFECTS = {**SAMPLE, "elements": [*SAMPLE["elements"], *DEFECTS]}


async def _beside(old: OldFile, table: Table) -> list[Converted]:
    async with aclosing(converted_beside(old, table, TENANTS)) as found:
        return [one async for one in found]


@pytest.mark.parametrize("table", MODELS)
async def test_rows_and_reasons_are_the_same_as_of_this_process(tmp_path: Path, table: Table) -> None:
    with opened(old_file(tmp_path / "old.db", OF_DEFECTS)) as old:
        here = [converted(table, read) for read in in_order(old.connection, table, TENANTS)]
        assert await _beside(old, table) == here
    assert len(here) == len(OF_DEFECTS[table])


async def test_a_file_whose_log_was_recovered_is_read_as_it_is_then(tmp_path: Path) -> None:
    path = old_file(tmp_path / "old.db")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("UPDATE agents SET name = 'Of the log'")
        db.commit()
        with opened(path) as old:
            assert {read.columns["name"] for read, _ in await _beside(old, "agents")} == {"Of the log"}
    db.close()


async def test_a_large_file_comes_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = old_file(tmp_path / "old.db", OF_DEFECTS)
    ends = []
    for most in (converting.MANY_ROWS, 1):
        monkeypatch.setattr(converting, "MANY_ROWS", most)
        data = tmp_path / str(most) / "data"
        data.parent.mkdir()
        report = await run(old, data, maps=["7=default"])
        assert report.complete
        ends.append((settled(await dump(data)), report.checksum_stored, (data.parent / "quarantine.jsonl").read_text()))
    assert ends[0] == ends[1]


async def test_a_process_that_ends_too_early_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converting, "COMMAND", (sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(3)"))
    said = r"reads elements has ended \(exit code 3\)\. Migrate again later"
    with opened(old_file(tmp_path / "old.db")) as old, pytest.raises(CliError, match=said):
        await _beside(old, "elements")


async def test_what_the_database_says_there_is_said_here(tmp_path: Path) -> None:
    with opened(old_file(tmp_path / "old.db")) as old:
        gone = replace(old, where=str(tmp_path / "nothing" / "old.db"), is_uri=False)
        with pytest.raises(sqlite3.DatabaseError, match="unable to open"):
            await _beside(gone, "elements")


async def test_who_stops_half_way_ends_the_process(tmp_path: Path) -> None:
    """More than a pipe holds: who stops half-way ends the process, and waits for its end."""
    with opened(_large(tmp_path / "old.db")) as old:
        async with aclosing(converted_beside(old, "elements", TENANTS)) as found:
            assert (await anext(found))[0].number == 0


def test_a_kill_ends_both(tmp_path: Path) -> None:
    """The process beside holds standard error too: it is read to its end only when both are gone."""
    path = _large(tmp_path / "old.db")
    command = [sys.executable, "-m", "tests.unit.test_migrate_beside", str(path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=100, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"one row\n"), ended.stderr


def _large(path: Path) -> Path:
    return old_file(path, {"elements": [{"id": n, "name": "x" * 500, "type": "Node"} for n in range(4_000)]})


async def _killed(path: Path) -> None:
    with opened(path) as old:
        async for _ in converted_beside(old, "elements", TENANTS):
            print("one row", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    import asyncio

    asyncio.run(_killed(Path(sys.argv[1])))

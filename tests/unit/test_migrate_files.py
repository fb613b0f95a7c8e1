"""The old file as it lies there: with a log beside it, in use, cut off, encrypted, or something else altogether."""

import os
import shutil
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

import cli.legacy.old_file
from cli.errors import CliError
from cli.legacy.old_file import opened
from cli.legacy.reading import count
from tests.unit.legacy_world import SAMPLE, old_file, put, run


def _state(folder: Path) -> dict[str, str]:
    return {one.name: sha256(one.read_bytes()).hexdigest() for one in folder.iterdir()}


def _with_log(folder: Path) -> Path:
    """A file whose last row is in the write-ahead log alone, as a killed program leaves it."""
    (folder / "from").mkdir()
    made = old_file(folder / "from" / "old.db", {"elements": SAMPLE["elements"][:3]})
    old = folder / "old.db"
    with closing(sqlite3.connect(made)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        put(db, "elements", SAMPLE["elements"][3])
        db.commit()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{made}{suffix}", f"{old}{suffix}")
    shutil.rmtree(folder / "from")
    return old


def test_what_is_in_the_log_beside_it_is_read_and_neither_file_changes(tmp_path: Path) -> None:
    old = _with_log(tmp_path)
    before = _state(tmp_path)
    with opened(old) as found:
        assert count(found.connection, "elements") == 4
    assert _state(tmp_path) == before and set(before) == {"old.db", "old.db-wal"}


def test_what_is_in_the_log_is_read_through_a_link_too(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    link = tmp_path / "here" / "old.db"
    link.symlink_to(_with_log(tmp_path / "there"))
    with opened(link) as found:
        assert count(found.connection, "elements") == 4


def test_a_file_with_a_column_that_cannot_be_named_is_told_of(tmp_path: Path) -> None:
    old = old_file(tmp_path / "old.db", {"elements": [{"id": 1, "name": "One", "type": "Node", "costsXX": "4711"}]})
    raw = old.read_bytes()
    old.write_bytes(raw.replace(b"costsXX", b"costs\xe4\xf6"))
    with pytest.raises(CliError, match=r"elements has a column whose name is no valid UTF-8 .*costs"), opened(old):
        raise AssertionError("it was opened")


def test_a_file_in_a_folder_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    old = old_file(folder / "old.db")
    os.chmod(old, 0o400)
    os.chmod(folder, 0o500)
    try:
        with opened(old) as found:
            assert count(found.connection, "elements") == 60
    finally:
        os.chmod(folder, 0o700)


def test_a_file_that_another_program_writes_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.legacy.old_file, "WAITS_SECONDS", 0.0)
    old = old_file(tmp_path / "old.db")
    with closing(sqlite3.connect(old, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CliError, match="is in use by another program"), opened(old):
            raise AssertionError("it was opened")


def test_a_file_that_changes_meanwhile_is_told_of(tmp_path: Path) -> None:
    old = _with_log(tmp_path)
    with pytest.raises(CliError, match="has changed while it was read"), opened(old), old.open("ab") as file:
        file.write(b"more")


def test_a_file_that_is_cut_off_is_damaged(tmp_path: Path) -> None:
    old = old_file(tmp_path / "old.db")
    os.truncate(old, old.stat().st_size // 2)
    with pytest.raises(CliError, match=r"is damaged .* \.recover"), opened(old):
        raise AssertionError("it was opened")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes(range(256)) * 64, "is no SQLite database, or an encrypted one"),
        (b"", "is no SQLite database, or an encrypted one"),
        (b"PK\x03\x04 a zip", "is no SQLite database, or an encrypted one"),
    ],
)
def test_what_is_no_database_is_told_so(tmp_path: Path, content: bytes, said: str) -> None:
    old = tmp_path / "old.db"
    old.write_bytes(content)
    with pytest.raises(CliError, match=said), opened(old):
        raise AssertionError("it was opened")


def test_a_database_of_something_else_and_a_file_that_is_not_there_are_told_so(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db, db:
        db.execute("CREATE TABLE songs (id)")
    with pytest.raises(CliError, match="has none of the tables elements, relationships, agents"), opened(other):
        raise AssertionError("it was opened")
    with pytest.raises(CliError, match="There is no file"), opened(tmp_path / "nowhere.db"):
        raise AssertionError("it was opened")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "line 1, is no line of a quarantine file"),
        ('{"table": "songs", "row": {"id": 1}}', "table 'songs' is none of"),
        ('{"table": "elements", "row": {}}', "the row has no columns"),
        ('{"table": "elements", "row": {"id": {"base64": "?"}}}', "line 1, is no line"),
        ('{"table": "elements", "row": {"id": [1]}}', "holds a row that no table can"),
        ('{"table": "elements", "row": {"id": 99999999999999999999}}', "holds a row that no table can"),
        ('{"table": "elements", "row": {"id": 1, "ID": 2}}', "holds a row that no table can"),
    ],
)
def test_a_quarantine_file_that_is_none_is_told_of_by_its_line(tmp_path: Path, line: str, said: str) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text(f"{line}\n")
    with pytest.raises(CliError, match=said), opened(lines):
        raise AssertionError("it was opened")


async def test_columns_that_are_missing_or_written_in_capitals_are_no_matter(tmp_path: Path) -> None:
    rows = {
        "elements": [{"ID": 1, "Name": "One", "TYPE": "Node"}],
        "agents": [{"id": 1, "name": "A", "pattern": "Monitor"}],
    }
    report = await run(old_file(tmp_path / "old.db", rows), tmp_path / "data")
    assert report.complete and [one.created for one in report.tables.values()] == [1, 0, 1]


async def test_text_in_another_encoding_of_the_file_is_the_same_text(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as db, db:
        db.execute("PRAGMA encoding = 'UTF-16le'")
        db.execute("CREATE TABLE elements (id INTEGER PRIMARY KEY, name TEXT, type TEXT)")
        db.execute("INSERT INTO elements VALUES (1, 'Überwachung', 'Node')")
    report = await run(old, tmp_path / "data")
    assert report.complete and report.tables["elements"].created == 1

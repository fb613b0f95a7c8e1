"""The embedded files: made whole or not at all, never lost, replaced or damaged without somebody saying so."""

import asyncio
import errno
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Barrier, Thread

import pytest

from shared.clock import SystemClock
from shared.database.port import Create, Placement
from shared.database.sqlite import SqliteDatabase
from shared.errors import Unavailable
from shared.folders import private_folder
from shared.sqlite import SqliteFiles
from shared.work.outbox import OUTBOX

SCHEMA = "CREATE TABLE IF NOT EXISTS things (id TEXT PRIMARY KEY);"


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """The files' folder; what lies beside it is the test's as well."""
    return private_folder(tmp_path / "files")


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[SqliteFiles]:
    own = SqliteFiles(tmp_path, SCHEMA)
    yield own
    await own.close()


async def add(files: SqliteFiles, id: str, name: str = "one") -> None:
    await files.write(name, lambda db: db.execute("INSERT INTO things VALUES (?)", (id,)) and None)


async def found(files: SqliteFiles, name: str = "one") -> list[str]:
    return await files.read(name, lambda db: [row[0] for row in db.execute("SELECT id FROM things ORDER BY id")])


async def anew(folder: Path) -> list[str]:
    """What the next process finds."""
    files = SqliteFiles(folder, SCHEMA)
    try:
        return await found(files)
    finally:
        await files.close()


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@contextmanager
def file(folder: Path, name: str = "one") -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / f"{name}.db", isolation_level=None)) as connection:
        yield connection


# Lost and replaced


async def test_no_write_is_acknowledged_into_a_file_that_is_gone(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    (tmp_path / "one.db").unlink()
    with pytest.raises(Unavailable, match=r"one\.db is not the file that was opened"):
        await add(files, "b")


async def test_no_read_is_answered_from_a_file_that_is_gone(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    (tmp_path / "one.db").unlink()
    with pytest.raises(Unavailable):
        await found(files)


async def test_a_file_that_goes_during_a_write_does_not_take_it(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")

    def lose(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO things VALUES ('b')")
        (tmp_path / "one.db").rename(tmp_path / "away")

    with pytest.raises(Unavailable):
        await files.write("one", lose)
    (tmp_path / "away").rename(tmp_path / "one.db")
    assert await found(files) == ["a"]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
async def test_a_file_that_was_replaced_is_noticed(tmp_path: Path, files: SqliteFiles, suffix: str) -> None:
    await add(files, "a")
    path = tmp_path / f"one.db{suffix}"
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    with pytest.raises(Unavailable):
        await add(files, "b")


async def test_a_write_ahead_log_that_is_gone_is_noticed(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    (tmp_path / "one.db-wal").unlink()
    with pytest.raises(Unavailable):
        await add(files, "b")


async def test_a_file_that_comes_back_is_used_again(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    (tmp_path / "one.db").rename(tmp_path / "away")
    with pytest.raises(Unavailable):
        await add(files, "b")
    (tmp_path / "away").rename(tmp_path / "one.db")
    await add(files, "c")
    assert await found(files) == ["a", "c"]


async def test_a_lost_file_is_not_made_again_empty_by_the_next_process(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    await files.close()
    (tmp_path / "one.db").unlink()
    with pytest.raises(Unavailable, match=r"one\.db is missing"):
        await anew(tmp_path)
    assert not (tmp_path / "one.db").exists()


async def test_a_folder_that_is_lost_with_all_its_files_is_noticed(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    await files.close()
    shutil.rmtree(tmp_path)
    with pytest.raises(Unavailable, match=r"one\.db is missing"):
        await anew(tmp_path)
    assert (everything(tmp_path), SqliteFiles(tmp_path, SCHEMA).names()) == ([], ["one"])


async def test_another_file_under_the_same_name_is_refused(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    await add(files, "z", "two")
    await files.close()
    (tmp_path / "two.db").replace(tmp_path / "one.db")
    with pytest.raises(Unavailable, match="another file than the one that was made"):
        await anew(tmp_path)


async def test_an_empty_file_under_the_same_name_is_refused(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    await files.close()
    (tmp_path / "one.db").write_bytes(b"")
    with pytest.raises(Unavailable):
        await anew(tmp_path)


async def test_a_copy_of_the_file_put_back_while_nobody_runs_is_served(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    await files.close()
    shutil.copy(tmp_path / "one.db", tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / "one.db")
    assert await anew(tmp_path) == ["a"]


async def test_a_file_of_before_there_were_marks_is_taken_over(tmp_path: Path) -> None:
    with file(tmp_path) as old:
        old.execute("PRAGMA journal_mode=WAL")
        old.executescript(SCHEMA + "INSERT INTO things VALUES ('a');")
    assert await anew(tmp_path) == ["a"]
    (tmp_path / "one.db").unlink()
    with pytest.raises(Unavailable):
        await anew(tmp_path)


# Damaged


async def test_a_damaged_file_is_not_served(tmp_path: Path, files: SqliteFiles) -> None:
    await files.write(
        "one", lambda db: db.executemany("INSERT INTO things VALUES (?)", ((f"t{n:06}",) for n in range(2000))) and None
    )
    await files.close()
    path = tmp_path / "one.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * 4096 + whole[12288:])
    with pytest.raises(Unavailable, match=r"one\.db is damaged"):
        await anew(tmp_path)


async def test_a_file_that_is_no_database_is_not_served(tmp_path: Path, files: SqliteFiles) -> None:
    await add(files, "a")
    await files.close()
    (tmp_path / "one.db").write_bytes(b"no database at all, " * 500)
    with pytest.raises(Unavailable):
        await anew(tmp_path)


async def test_damage_that_shows_later_is_an_outage(files: SqliteFiles) -> None:
    def damaged(db: sqlite3.Connection) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with pytest.raises(Unavailable):
        await files.read("one", damaged)


# New


def test_a_reader_and_a_writer_that_meet_at_a_new_file_both_get_it(tmp_path: Path) -> None:
    """Two processes' worth of both, at once, a hundred times: nobody is told that it is locked."""
    failures: list[BaseException] = []

    def use(folder: Path, start: Barrier) -> None:
        async def both() -> None:
            files = SqliteFiles(folder, SCHEMA)
            try:
                start.wait()
                await asyncio.gather(found(files), add(files, str(id(files))))
            finally:
                await files.close()

        try:
            asyncio.run(both())
        except BaseException as error:
            failures.append(error)

    for number in range(100):
        start = Barrier(2)
        threads = [Thread(target=use, args=(tmp_path / str(number), start)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


async def test_what_a_killed_process_left_half_made_is_no_file(tmp_path: Path) -> None:
    (tmp_path / ".one.db.0123456789abcdef").write_bytes(b"half")
    assert await anew(tmp_path) == []
    assert SqliteFiles(tmp_path, SCHEMA).names() == ["one"]


async def test_a_file_that_is_missing_is_still_named(tmp_path: Path, files: SqliteFiles) -> None:
    """So that a sweep over all databases is refused, and does not leave one out."""
    await add(files, "a")
    await files.close()
    (tmp_path / "one.db").unlink()
    assert SqliteFiles(tmp_path, SCHEMA).names() == ["one"]


async def test_making_a_file_leaves_nothing_else_behind(tmp_path: Path) -> None:
    assert await anew(tmp_path) == []
    assert everything(tmp_path.parent) == ["files", "files/one.db", "made", "made/files", "made/files/one"]


async def test_a_file_in_a_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    assert await anew(tmp_path / "a" / "b") == []


@pytest.mark.parametrize("again", [False, True])
async def test_what_is_written_is_on_the_disk_when_the_write_returns(tmp_path: Path, again: bool) -> None:
    """SQLite's FULL is 2; a file that is opened again must ask for it again."""
    if again:
        await anew(tmp_path)
    files = SqliteFiles(tmp_path, SCHEMA)
    pragmas = ("synchronous", "journal_mode")
    found = [await files.read("one", lambda db, p=pragma: db.execute(f"PRAGMA {p}").fetchone()) for pragma in pragmas]  # type: ignore[misc]
    await files.close()
    assert found == [(2,), ("wal",)]


# The write path


async def test_a_probe_writes(files: SqliteFiles) -> None:
    await files.probe("one")
    await files.probe("one")
    assert await files.read(
        "one", lambda db: db.execute("SELECT count(*) FROM file WHERE name = 'probe'").fetchone()
    ) == (1,)


async def test_a_probe_of_a_disk_with_little_room_fails(files: SqliteFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "shared.sqlite.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 16 * 2**20 - 1)
    )
    with pytest.raises(Unavailable, match="15 MB"):
        await files.probe("one")
    monkeypatch.setattr("shared.sqlite.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 16 * 2**20))
    await files.probe("one")


async def test_a_full_disk_is_an_outage(files: SqliteFiles) -> None:
    await add(files, "a")
    await files.write("one", lambda db: db.execute("PRAGMA max_page_count = 1") and None)

    def fill(db: sqlite3.Connection) -> None:
        db.executemany("INSERT INTO things VALUES (?)", ((f"t{n:06}",) for n in range(20000)))

    with pytest.raises(Unavailable, match="full"):
        await files.write("one", fill)
    assert await found(files) == ["a"]


async def test_a_folder_that_cannot_be_written_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.link", full)
    with pytest.raises(Unavailable, match="No space left"):
        await anew(tmp_path)


async def test_a_lost_database_of_one_tenant_stops_nobody_elses_repair(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "database", SystemClock())
    lost, kept = Placement("dedicated", "tenant-lost"), Placement("shared", "shard-1")
    item = Create(OUTBOX, "one", {"created_at": "2026-11-24T12:00:00.000000Z"})
    for placement in (lost, kept):
        await database.provision(placement)
        await database.tenant("a-tenant", placement).commit([item])
    (tmp_path / "database" / "tenant-lost.db").unlink()
    swept = await database.platform.sweep(OUTBOX, [])
    assert (len(swept.items), swept.missed) == (1, ["tenant-lost"])
    await database.close()

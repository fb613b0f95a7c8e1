"""Writes that wait for one SQLite file are committed together, and are transactions of their own all the same."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from shared.errors import Conflict, Unavailable
from shared.sqlite import TOGETHER, SqliteFiles

SCHEMA = "CREATE TABLE IF NOT EXISTS kept (id TEXT PRIMARY KEY);"
Work = Callable[[sqlite3.Connection], Any]


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[SqliteFiles]:
    files = SqliteFiles(tmp_path / "files", SCHEMA)
    yield files
    await files.close()


class Busy:
    """The writer is at a first write until `go`; what the connection does is in `statements`."""

    def __init__(self, files: SqliteFiles) -> None:
        self.files = files
        self.statements: list[str] = []
        self.entered, self.go = Event(), Event()
        self.first = asyncio.create_task(files.write("a", self._hold))

    def _hold(self, db: sqlite3.Connection) -> None:
        db.set_trace_callback(self.statements.append)
        self.entered.set()
        self.go.wait(30)

    async def behind_it(self, *works: Work) -> list[asyncio.Task[Any]]:
        """They wait, in this order."""
        await asyncio.to_thread(self.entered.wait, 30)
        tasks = [asyncio.create_task(self.files.write("a", work)) for work in works]
        await asyncio.sleep(0)
        return tasks

    def commits(self) -> int:
        return self.statements.count("COMMIT")


def keep(id: str) -> Work:
    def work(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO kept VALUES (?)", (id,))
        return id

    return work


def refuse(id: str, error: BaseException) -> Work:
    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO kept VALUES (?)", (id,))
        raise error

    return work


async def kept(files: SqliteFiles) -> list[str]:
    return await files.read("a", lambda db: [row[0] for row in db.execute("SELECT id FROM kept ORDER BY rowid")])


async def test_those_that_wait_are_made_durable_by_one_commit(files: SqliteFiles) -> None:
    busy = Busy(files)
    waiting = await busy.behind_it(*(keep(str(number)) for number in range(5)))
    busy.go.set()
    assert await asyncio.gather(*waiting) == ["0", "1", "2", "3", "4"]
    assert (await kept(files), busy.commits()) == (["0", "1", "2", "3", "4"], 2)


async def test_one_that_is_refused_takes_nothing_of_the_others_with_it(files: SqliteFiles) -> None:
    busy = Busy(files)
    waiting = await busy.behind_it(keep("a"), refuse("b", Conflict("no")), keep("c"), keep("a"), keep("d"))
    busy.go.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [str, Conflict, str, sqlite3.IntegrityError, str]
    assert (await kept(files), busy.commits()) == (["a", "c", "d"], 2)


async def test_a_later_one_sees_what_an_earlier_one_has_written(files: SqliteFiles) -> None:
    busy = Busy(files)
    _, count = await busy.behind_it(keep("a"), lambda db: db.execute("SELECT count(*) FROM kept").fetchone()[0])
    busy.go.set()
    assert await count == 1


async def test_a_file_that_is_gone_takes_none_of_them(tmp_path: Path, files: SqliteFiles) -> None:
    busy = Busy(files)
    waiting = await busy.behind_it(keep("a"), refuse("b", Conflict("no")), keep("c"))
    (tmp_path / "files" / "a.db").rename(tmp_path / "elsewhere.db")
    busy.go.set()
    outcomes = await asyncio.gather(busy.first, *waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [Unavailable] * 4
    with sqlite3.connect(tmp_path / "elsewhere.db") as db:
        assert db.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    db.close()


async def test_an_outage_in_the_midst_of_them_is_told_as_one(files: SqliteFiles) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    busy = Busy(files)
    waiting = await busy.behind_it(keep("a"), refuse("b", full), keep("c"))
    busy.go.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [str, Unavailable, str]


async def test_when_all_of_it_is_rolled_back_nobody_is_told_that_it_was_done(files: SqliteFiles) -> None:
    """SQLite rolls a transaction back by itself when the disk is full (sqlite.org/lang_transaction)."""

    def rolled_back(db: sqlite3.Connection) -> None:
        db.execute("ROLLBACK")
        raise full

    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    busy = Busy(files)
    waiting = await busy.behind_it(keep("a"), rolled_back, keep("c"))
    busy.go.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [Unavailable] * 3
    assert await kept(files) == []


async def test_who_has_gone_before_his_turn_is_not_waited_for(files: SqliteFiles) -> None:
    busy = Busy(files)
    gone, there = await busy.behind_it(keep("gone"), keep("there"))
    gone.cancel()
    await asyncio.wait([gone])
    busy.go.set()
    await there
    assert await kept(files) == ["there"]


async def test_so_many_share_a_commit_and_no_more(files: SqliteFiles) -> None:
    busy = Busy(files)
    waiting = await busy.behind_it(*(keep(str(number)) for number in range(TOGETHER + 1)))
    busy.go.set()
    await asyncio.gather(*waiting)
    assert busy.commits() == 3


async def test_what_waits_when_it_is_closed_is_written(tmp_path: Path) -> None:
    files = SqliteFiles(tmp_path / "files", SCHEMA)
    busy = Busy(files)
    waiting = await busy.behind_it(*(keep(str(number)) for number in range(TOGETHER + 1)))
    closing = asyncio.create_task(files.close())
    await asyncio.sleep(0)
    busy.go.set()
    await asyncio.gather(closing, *waiting)
    with pytest.raises(RuntimeError):
        await files.write("a", keep("late"))
    again = SqliteFiles(tmp_path / "files", SCHEMA)
    assert len(await kept(again)) == TOGETHER + 1
    await again.close()

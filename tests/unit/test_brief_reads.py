"""What an index finds is read on the spot; whatever may take longer, or has to wait, is the reader thread's."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shared.database import sqlite_query as reads
from shared.database.port import NEWEST_FIRST, OLDEST_FIRST, Create, Order, Page, Where
from shared.database.sqlite import BRIEF_PAGE, LONG_READS, SqliteDatabase
from shared.database.sqlite_query import select
from shared.database.sqlite_tables import tables
from shared.errors import Unavailable
from shared.kinds import Kind, Kinds
from shared.sqlite import SqliteFiles
from shared.tenancy.directory import shard
from tests.unit.world import TENANT_ID, FakeClock

SCHEMA = "CREATE TABLE IF NOT EXISTS kept (id TEXT PRIMARY KEY);"
THING = Kind("thing")


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[SqliteFiles]:
    files = SqliteFiles(tmp_path / "files", SCHEMA)
    await files.write("a", lambda db: db.execute("INSERT INTO kept VALUES ('x')") and None)
    yield files
    await files.close()


async def thread_of(files: SqliteFiles, *, brief: bool) -> str:
    def where(db: sqlite3.Connection) -> str:
        db.execute("SELECT * FROM kept").fetchall()
        return threading.current_thread().name

    return await files.read("a", where, brief=brief)


async def test_what_is_brief_is_read_on_the_spot_once_the_file_is_open(files: SqliteFiles) -> None:
    first = await thread_of(files, brief=True)  # which may have to look at all of the file
    assert (first, await thread_of(files, brief=True)) == ("sqlite-reader_0", threading.current_thread().name)


async def test_what_is_not_brief_is_read_in_the_thread(files: SqliteFiles) -> None:
    await thread_of(files, brief=True)
    assert await thread_of(files, brief=False) == "sqlite-reader_0"


async def test_who_would_have_to_wait_does_not_keep_the_loop_waiting(files: SqliteFiles) -> None:
    await thread_of(files, brief=True)

    def locked_here(db: sqlite3.Connection) -> str:
        if threading.current_thread() is threading.main_thread():
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return threading.current_thread().name

    assert await files.read("a", locked_here, brief=True) == "sqlite-reader_0"


async def test_the_loops_own_connection_never_waits_for_a_lock(files: SqliteFiles) -> None:
    await thread_of(files, brief=True)
    (milliseconds,) = await files.read("a", lambda db: db.execute("PRAGMA busy_timeout").fetchone(), brief=True)
    assert milliseconds == 0


async def test_a_file_that_is_gone_is_refused_on_the_spot_too(
    tmp_path: Path, files: SqliteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.sqlite_file.LOOK_AGAIN_SECONDS", 0.0)
    for _ in range(2):
        await thread_of(files, brief=True)
    (tmp_path / "files" / "a.db").rename(tmp_path / "elsewhere.db")
    with pytest.raises(Unavailable):
        await thread_of(files, brief=True)


async def test_an_error_of_the_statement_is_told_as_it_is(files: SqliteFiles) -> None:
    await thread_of(files, brief=True)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await files.read("a", lambda db: db.execute("SELECT * FROM missing"), brief=True)


async def test_what_was_written_is_read_on_the_spot(files: SqliteFiles) -> None:
    await thread_of(files, brief=True)
    await files.write("a", lambda db: db.execute("INSERT INTO kept VALUES ('y')") and None)
    assert await files.read("a", lambda db: len(db.execute("SELECT * FROM kept").fetchall()), brief=True) == 2


@pytest.mark.parametrize(
    ("where", "limit", "brief"),
    [
        ([], BRIEF_PAGE, True),
        ([Where("id", "in", ["1", "2"])], BRIEF_PAGE, True),
        ([], BRIEF_PAGE + 1, False),
        ([Where("name", "=", "n")], 20, False),
    ],
)
async def test_a_page_is_brief_when_it_is_short_and_an_index_says_what_is_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: list[Where], limit: int, brief: bool
) -> None:
    asked: list[bool] = []
    read = SqliteFiles.read

    async def watched(self: SqliteFiles, name: str, work: object, *, brief: bool = False) -> object:
        asked.append(brief)
        return await read(self, name, work, brief=brief)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteFiles, "read", watched)
    database = SqliteDatabase(tmp_path / "database", FakeClock())
    store = database.tenant(TENANT_ID, shard(1))
    await store.commit([Create(THING, "1", {"created_at": "2026", "name": "n"})])
    await store.query(THING, where, limit=limit)
    await database.close()
    assert asked == [brief]


@pytest.mark.parametrize("order", [Order("id"), Order("id", descending=True)])
@pytest.mark.parametrize("after", [None, ("5", "5")])
@pytest.mark.parametrize("where", [[], [Where("id", "in", ["1", "2"])]])
async def test_what_is_in_order_of_its_id_is_found_by_the_primary_key(
    tmp_path: Path, order: Order, after: tuple[str, str] | None, where: list[Where]
) -> None:
    """Page by page through a hundred thousand would look at all of them for each page otherwise."""
    with closing(sqlite3.connect(tmp_path / "plan.db")) as db:
        db.executescript(tables(Kinds(THING)))
        statement, values = select(TENANT_ID, THING, where, order, 20, after, 0.0)
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert (len(plan), "PRIMARY KEY" in plan[0] or "sqlite_autoindex_items_1" in plan[0]) == (1, True), plan


@pytest.mark.parametrize("order", [OLDEST_FIRST, NEWEST_FIRST, Order("id")])
@pytest.mark.parametrize("names", [1, 2, 200])
async def test_what_is_named_is_looked_up_by_its_id_each(tmp_path: Path, order: Order, names: int) -> None:
    """A few of a million would be looked for among all of them otherwise."""
    with closing(sqlite3.connect(tmp_path / "plan.db")) as db:
        db.executescript(tables(Kinds(THING)))
        where = [Where("id", "in", [str(number) for number in range(names)])]
        statement, values = select(TENANT_ID, THING, where, order, 200, None, 0.0)
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert "(tenant_id=? AND container=? AND id=?)" in plan[0], plan


async def test_what_is_in_order_of_time_is_found_by_the_index_of_times(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "plan.db")) as db:
        db.executescript(tables(Kinds(THING)))
        statement, values = select(TENANT_ID, THING, [], NEWEST_FIRST, 20, ("2026", "5"), 0.0)
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert len(plan) == 1 and "items_by_time" in plan[0], plan


async def test_a_page_of_large_documents_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are taken apart in a thread."""
    database = SqliteDatabase(tmp_path / "database", FakeClock())
    store = database.tenant(TENANT_ID, shard(1))
    await store.commit([Create(THING, str(number), {"created_at": "2026"}) for number in range(3)])
    small = await store.query(THING, limit=2)
    monkeypatch.setattr("shared.database.sqlite.BRIEF_CHARACTERS", 0)
    assert await store.query(THING, limit=2) == small and small.next is not None
    await database.close()


async def test_whoever_reads_long_keeps_nobody_else_waiting(files: SqliteFiles) -> None:
    go, entered = threading.Event(), threading.Event()

    def long(db: sqlite3.Connection) -> None:
        entered.set()
        go.wait(30)

    reading = asyncio.create_task(files.read("a", long))
    await asyncio.to_thread(entered.wait, 30)
    assert await files.read("a", lambda db: db.execute("SELECT count(*) FROM kept").fetchone()) == (1,)
    go.set()
    await reading


async def test_one_tenant_reads_long_twice_at_a_time_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = SqliteDatabase(tmp_path / "database", FakeClock())
    store, other = (database.tenant(id, shard(1)) for id in (TENANT_ID, "another"))
    await store.commit([Create(THING, "1", {"created_at": "2026", "name": "n"})])
    go, query, inside = threading.Event(), reads.query, list[str]()

    def slow(db: sqlite3.Connection, tenant_id: str | None, *rest: Any) -> Page:
        inside.append(str(tenant_id))
        if tenant_id == TENANT_ID:
            go.wait(30)
        return query(db, tenant_id, *rest)

    monkeypatch.setattr(reads, "query", slow)
    named = [Where("name", "=", "n")]
    many = [asyncio.create_task(store.query(THING, named)) for _ in range(8)]
    while len(inside) < LONG_READS:  # noqa: ASYNC110  in threads
        await asyncio.sleep(0)
    await other.query(THING, named)
    assert inside == [TENANT_ID] * LONG_READS + ["another"]
    go.set()
    assert [len((await one).items) for one in many] == [1] * 8
    await database.close()


async def test_a_file_that_is_locked_keeps_no_other_file_waiting(tmp_path: Path, files: SqliteFiles) -> None:
    await files.write("b", lambda db: None)
    with closing(sqlite3.connect(tmp_path / "files" / "a.db", isolation_level=None)) as elsewhere:
        elsewhere.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(files.write("a", lambda db: db.execute("INSERT INTO kept VALUES ('y')") and None))
        await files.write("b", lambda db: db.execute("INSERT INTO kept VALUES ('z')") and None)
        assert not waiting.done()
        elsewhere.execute("ROLLBACK")
    await waiting


async def test_an_item_whose_time_is_over_leaves_its_id_free(tmp_path: Path) -> None:
    clock = FakeClock()
    database = SqliteDatabase(tmp_path / "database", clock)
    store = database.tenant(TENANT_ID, shard(1))
    await store.commit([Create(THING, "1", {"created_at": "2026", "name": "old"}, ttl=10)])
    clock.advance(seconds=11)
    await store.commit([Create(THING, "1", {"created_at": "2027", "name": "new"})])
    found = await store.get(THING, "1")
    await database.close()
    assert found is not None and found.body["name"] == "new"


async def test_items_of_other_kinds_are_in_no_index_of_references(tmp_path: Path) -> None:
    """An index that reads the document costs every write of what it holds."""
    refers = Kind("link", refers={"source_id": ("thing",)})
    database = SqliteDatabase(tmp_path / "database", FakeClock(), kinds=Kinds(THING, refers))
    await database.tenant(TENANT_ID, shard(1)).commit([Create(THING, "1", {"created_at": "2026"})])
    await database.close()
    with closing(sqlite3.connect(tmp_path / "database" / "shard-1.db")) as db:
        plan = db.execute(
            "EXPLAIN QUERY PLAN SELECT doc FROM items WHERE tenant_id = ? AND kind = 'link'"
            " AND json_extract(doc, '$.source_id') = ?",
            ("t", "s"),
        ).fetchall()
        made = [row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql LIKE '%json_extract%'")]
    assert "link_by_source_id" in plan[0][3] and all("WHERE kind = 'link'" in sql for sql in made)

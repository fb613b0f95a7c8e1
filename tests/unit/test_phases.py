"""Phase 1 on an old SQLite file: tenants in a copy, step by step, without losing a value, and back again."""

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.errors import CliError
from cli.phases.copying import connected
from cli.phases.rebuilding import rebuild
from cli.phases.sqlite import back, forward
from shared.ids import DEFAULT_TENANT_ID, derived_id
from tests.unit.old_databases import ODD, PLAIN, asked, everything, made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return made(tmp_path / "legacy.db")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    return made(tmp_path / "odd.db", ODD)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


def test_each_row_is_the_default_tenants(source: Path, copy: Path) -> None:
    report = forward(source, copy)
    assert (report.rows, report.tenants, report.equal) == ({"elements": 2, "relationships": 1, "agents": 1}, 1, True)
    assert report.notes == []
    assert asked(copy, "SELECT id, name, slug, tier, status, max_agents, max_users, settings FROM tenants") == [
        (DEFAULT_TENANT_ID, "Default", "default", "standard", "active", 50, 5, "{}")
    ]
    for table in report.rows:
        assert asked(copy, f"SELECT DISTINCT tenant_id FROM {table}") == [(DEFAULT_TENANT_ID,)]
        assert asked(copy, f'SELECT "table", "from", "to" FROM pragma_foreign_key_list(\'{table}\')') == [
            ("tenants", "tenant_id", "id")
        ]
        assert asked(copy, f"SELECT name FROM pragma_index_info('idx_{table}_tenant')") == [("tenant_id",)]


@pytest.mark.parametrize("value", [None, "no tenant"])
def test_a_row_of_no_tenant_is_refused_from_then_on(source: Path, copy: Path, value: str | None) -> None:
    forward(source, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO agents VALUES ('a2', 'New', 'Monitor', '{}', ?)", (value,))


def test_again_does_nothing(source: Path, copy: Path) -> None:
    first = forward(source, copy)
    before = copy.read_bytes()
    again = forward(source, copy)
    assert (again.steps, again.before, again.equal) == ([], len(first.steps), None)
    assert copy.read_bytes() == before


@pytest.mark.parametrize("script", [PLAIN, ODD], ids=["plain", "odd"])
def test_undone_nothing_is_left_of_it(tmp_path: Path, copy: Path, script: str) -> None:
    source = made(tmp_path / "some.db", script)
    steps = forward(source, copy).steps
    report = back(copy)
    assert (sorted(report.steps), report.equal) == (sorted(steps), True)
    assert everything(copy) == everything(source)


def test_undone_its_tables_come_in_their_order(source: Path, copy: Path) -> None:
    forward(source, copy)
    back(copy)
    order = "SELECT type, name, sql FROM sqlite_master ORDER BY rowid"
    assert asked(copy, order) == asked(source, order)


def test_no_value_changes_whatever_years_have_left_in_the_file(odd: Path, copy: Path) -> None:
    report = forward(odd, copy)
    assert report.equal is True
    others = "id, name, type, extra, long, updated_at"
    for query in (f"SELECT hex(name), {others.replace('name, ', '')} FROM elements", "SELECT * FROM sqlite_sequence"):
        assert asked(copy, query) == asked(odd, query)
    assert asked(copy, "SELECT oid, id, name, rowid, config FROM agents") == asked(odd, "SELECT oid, * FROM agents")
    assert asked(copy, "SELECT name, sql FROM sqlite_master WHERE type IN ('view', 'trigger') ORDER BY name") == asked(
        odd, "SELECT name, sql FROM sqlite_master WHERE type IN ('view', 'trigger') ORDER BY name"
    )


def test_what_does_not_work_any_more_is_told_and_what_did_not_before_is_not(odd: Path, copy: Path) -> None:
    assert forward(odd, copy).notes == [
        "inserting into agents does not work any more: table agents has 5 columns but 4 values were supplied"
    ]


def test_values_of_an_older_tenant_id_become_tenants(odd: Path, copy: Path) -> None:
    assert forward(odd, copy).tenants == 3
    seven, acme = derived_id("phase 1", "7"), derived_id("phase 1", "acme")
    assert asked(copy, "SELECT id, tenant_id FROM elements ORDER BY id") == [
        (1, DEFAULT_TENANT_ID),
        (2, seven),
        (3, acme),
        (4, DEFAULT_TENANT_ID),
        (5, DEFAULT_TENANT_ID),
    ]
    assert set(asked(copy, "SELECT id, name, slug FROM tenants")) == {
        (DEFAULT_TENANT_ID, "Default", "default"),
        (seven, "7", "7"),
        (acme, "acme", "acme"),
    }


def test_an_older_table_of_tenants_stays_and_its_ids_too(tmp_path: Path, copy: Path) -> None:
    older = """
    CREATE TABLE tenants (id TEXT PRIMARY KEY, name TEXT, slug TEXT);
    INSERT INTO tenants VALUES ('t-1', 'Acme', 'acme');
    CREATE TABLE agents (id TEXT PRIMARY KEY, tenant_id TEXT REFERENCES tenants(id));
    INSERT INTO agents VALUES ('a', 't-1'), ('b', NULL);
    """
    source = made(tmp_path / "older.db", older)
    forward(source, copy)
    assert asked(copy, "SELECT * FROM agents") == [("a", "t-1"), ("b", DEFAULT_TENANT_ID)]
    assert back(copy).equal is True
    assert everything(copy) == everything(source)


def test_a_table_called_tenants_that_is_something_else_stops_it(tmp_path: Path, copy: Path) -> None:
    source = made(tmp_path / "rent.db", PLAIN + "CREATE TABLE tenants (flat INTEGER, rent REAL);")
    with pytest.raises(CliError, match="table tenants without id, name and slug"):
        forward(source, copy)


def test_undone_it_gives_back_what_users_have_changed_since(odd: Path, copy: Path) -> None:
    forward(odd, copy)
    asked(copy, f"INSERT INTO elements (id, name, tenant_id) VALUES (20, 'new', '{derived_id('phase 1', '7')}')")
    asked(copy, "UPDATE elements SET name = 'changed' WHERE id = 2")
    assert back(copy).equal is False
    assert asked(copy, "SELECT id, name, tenant_id FROM elements WHERE id IN (2, 20)") == [
        (2, "changed", 7),
        (20, "new", derived_id("phase 1", "7")),
    ]


def test_undoing_refuses_to_mix_tenants(source: Path, copy: Path) -> None:
    forward(source, copy)
    asked(copy, "INSERT INTO tenants (id, name, slug) VALUES ('t-2', 'Two', 'two')")
    with pytest.raises(CliError, match="1 tenants have come since, such as t-2"):
        back(copy)
    asked(copy, "UPDATE agents SET tenant_id = 't-2'")
    asked(copy, "DELETE FROM tenants WHERE id = 't-2'")
    before = everything(copy)
    with pytest.raises(CliError, match="1 rows of agents are of other tenants"):
        back(copy)
    assert everything(copy) == before


def test_the_source_is_never_changed_not_even_through_another_name(source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    os.link(source, tmp_path / "same.db")
    (tmp_path / "link.db").symlink_to(source)
    for name in ("legacy.db", "same.db", "link.db"):
        with pytest.raises(CliError, match="is the source, which is never changed"):
            forward(source, tmp_path / name)
    assert source.read_bytes() == before


@pytest.fixture
def writing(source: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who has written into the log beside the file, and still runs."""
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO agents VALUES ('a2', 'In the log', 'Monitor', NULL)")
        connection.commit()
        yield connection


def test_what_lies_in_the_log_beside_it_comes_along(source: Path, copy: Path, writing: sqlite3.Connection) -> None:
    before = {path.name: path.read_bytes() for path in source.parent.glob("legacy.db*")}
    assert forward(source, copy).rows["agents"] == 2
    assert {path.name: path.read_bytes() for path in source.parent.glob("legacy.db*")} == before
    assert len(before) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no SQLite database, or an encrypted one"),
        (b"\x8f\x01encrypted" * 500, "is no SQLite database, or an encrypted one"),
        (None, "is damaged"),
        (b"nothing", "has none of the tables elements, relationships, agents"),
    ],
    ids=["empty", "encrypted", "cut", "another"],
)
def test_what_is_no_old_database_is_told_in_one_line(
    source: Path, copy: Path, content: bytes | None, said: str
) -> None:
    if content is None:
        source.write_bytes(source.read_bytes()[:-5000])
    elif content == b"nothing":
        source.unlink()
        made(source, "CREATE TABLE something (id)")
    else:
        source.write_bytes(content)
    with pytest.raises(CliError, match=said):
        forward(source, copy)
    assert not copy.exists()


def test_a_copy_of_another_file_is_no_copy(source: Path, odd: Path, copy: Path) -> None:
    forward(odd, copy)
    before = copy.read_bytes()
    with pytest.raises(CliError, match="was made of another file"):
        forward(source, copy)
    with pytest.raises(CliError, match="no copy that phase 1 has made"):
        forward(source, odd)
    with pytest.raises(CliError, match="is a copy that phase 1 has made already"):
        forward(copy, copy.with_name("copy-of-copy.db"))
    assert copy.read_bytes() == before


def test_a_step_that_fails_has_changed_nothing(source: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_thing_more(connection: sqlite3.Connection, table: str, statement: str) -> None:
        rebuild(connection, table, statement)
        connection.execute("CREATE TABLE tenants (again)")

    monkeypatch.setattr("cli.phases.sqlite_steps.rebuild", one_thing_more)
    with pytest.raises(CliError, match="step constraints elements: table tenants already exists"):
        forward(source, copy)
    assert asked(copy, "SELECT \"notnull\" FROM pragma_table_info('elements') WHERE name = 'tenant_id'") == [(0,)]
    monkeypatch.undo()
    assert forward(source, copy).steps[0] == "constraints elements"


def test_who_waits_for_another_program_is_told(source: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward(source, copy)
    monkeypatch.setattr("cli.phases.copying.WAITS_SECONDS", 0.0)
    with closing(connected(copy)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CliError, match="database is locked"):
            back(copy)


def test_the_command_prints_a_report(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    done = run(app, ["phase", "1", "legacy.db", "--json"])
    report = json.loads(done.stdout)
    assert (done.exit_code, report["database"], report["equal"]) == (0, "legacy.phase-1.db", True)
    assert "14 steps taken back now, 0 before" in run(app, ["phase", "1", "legacy.db", "--undo"]).stdout
    again = run(app, ["phase", "1", "legacy.db", "--undo"])
    assert (again.exit_code, again.stderr) == (2, "flowgrid: legacy.phase-1.db has no phase that could be undone.\n")
    for arguments in (
        [],
        ["legacy.db", "--postgres", "postgresql://h/d"],
        ["--postgres", "postgresql://", "--out", "x"],
    ):
        assert run(app, ["phase", "1", *arguments]).exit_code == 2


def test_without_its_driver_postgresql_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    done = CliRunner().invoke(app, ["phase", "1", "--postgres", "postgresql://127.0.0.1/old"])
    assert (done.exit_code, "requirements/postgres.txt" in done.stderr) == (2, True)
    assert "asyncpg==" in (Path(__file__).parents[2] / "requirements/postgres.txt").read_text("utf-8")

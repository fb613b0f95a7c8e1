"""Phase 1 in the real PostgreSQL: tenants, row-level security that holds for everybody, and back again."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from asyncpg.exceptions import InsufficientPrivilegeError, InvalidTextRepresentationError, PostgresError

from cli.errors import CliError
from cli.phases.postgres import back, forward
from shared.ids import DEFAULT_TENANT_ID, derived_id
from tests.doubles.postgres_server import PostgresServer, postgres_server

OTHER = "0190c2a8-7e10-7abc-8def-000000000002"
PLAIN = """
CREATE TABLE elements (id text PRIMARY KEY, name text NOT NULL, properties jsonb, created_at timestamptz);
CREATE TABLE relationships (
  id serial PRIMARY KEY, source_id text NOT NULL REFERENCES elements(id), target_id text NOT NULL);
CREATE TABLE agents (id text PRIMARY KEY, name text NOT NULL, config jsonb);
INSERT INTO elements VALUES ('e1', 'Claims', '{"a": 1}', '2025-11-03 09:15Z'), ('e2', 'Überwachung', NULL, NULL);
INSERT INTO relationships (source_id, target_id) VALUES ('e2', 'e1');
INSERT INTO agents VALUES ('a1', 'Intake', NULL);
"""
ODD = """
CREATE TABLE elements (
  tenant_id integer NOT NULL, id integer GENERATED ALWAYS AS IDENTITY, name text, changed integer DEFAULT 0,
  long integer GENERATED ALWAYS AS (length(name)) STORED, UNIQUE (tenant_id, name));
CREATE TABLE agents (id text, tenant_id text DEFAULT 'default', name varchar(10));
CREATE VIEW seen AS SELECT e.*, a.name AS agent FROM elements e LEFT JOIN agents a ON a.tenant_id = e.tenant_id::text;
CREATE INDEX idx_elements_tenant ON elements(tenant_id);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.changed = OLD.changed + 1; RETURN NEW; END';
CREATE TRIGGER touched BEFORE UPDATE ON elements FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER always BEFORE UPDATE ON elements FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE elements ENABLE ALWAYS TRIGGER always;
CREATE TRIGGER off BEFORE UPDATE ON elements FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE elements DISABLE TRIGGER off;
ALTER TABLE agents ENABLE ROW LEVEL SECURITY;
CREATE POLICY older ON agents USING (true);
INSERT INTO elements (tenant_id, name) VALUES (7, 'a'), (7, 'b'), (8, 'a');
INSERT INTO agents VALUES ('x', 'acme', 'one'), (NULL, NULL, NULL), ('y', '', 'two'), ('z', DEFAULT, 'three');
"""
Make = Callable[[str], str]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        running.run("CREATE ROLE owner LOGIN CREATEROLE")
        yield running


@pytest.fixture
def make(server: PostgresServer) -> Iterator[Make]:
    """Makes a database of the role `owner`, who is no superuser; it and the program's role are gone afterwards."""

    def make(script: str) -> str:
        server.run("CREATE DATABASE old OWNER owner")
        server.run(script, "old", "owner")
        return server.address("old", "owner")

    yield make
    server.run("DROP DATABASE IF EXISTS old WITH (FORCE)")
    server.run("DROP ROLE IF EXISTS program")
    server.run("DROP ROLE IF EXISTS app")


@asynccontextmanager
async def connection(address: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(address)
    try:
        yield opened
    finally:
        await opened.close()


async def acting_for(opened: Any, tenant: str) -> None:
    await opened.execute("SELECT set_config('app.current_tenant', $1, false)", tenant)


@pytest.fixture
async def two_tenants(server: PostgresServer, make: Make) -> AsyncIterator[Any]:
    """The phase done, a second tenant with an element; a program's connection, whose role is no owner of anything."""
    address = make(PLAIN)
    await forward(address, "app")
    server.run("CREATE ROLE program LOGIN IN ROLE app")
    server.run(f"INSERT INTO tenants (id, name, slug) VALUES ('{OTHER}', 'Other', 'other')", "old", "owner")
    server.run(f"INSERT INTO elements VALUES ('o1', 'Secret', NULL, NULL, '{OTHER}')", "old")
    async with connection(server.address("old", "program")) as opened:
        yield opened


async def test_each_row_is_the_default_tenants(server: PostgresServer, make: Make) -> None:
    report = await forward(make(PLAIN), "app")
    assert report.rows == {"elements": 2, "relationships": 1, "agents": 1}
    assert (report.tenants, report.equal, report.notes, len(report.steps)) == (1, True, [], 21)
    shown = "SELECT id, name, slug, tier, status, max_agents, max_users, settings FROM tenants"
    assert server.run(shown, "old") == f"{DEFAULT_TENANT_ID}|Default|default|standard|active|50|5|{{}}"
    for table in report.rows:
        assert server.run(f"SELECT DISTINCT tenant_id FROM {table}", "old") == DEFAULT_TENANT_ID
        with pytest.raises(RuntimeError, match="violates not-null"):
            server.run(f"UPDATE {table} SET tenant_id = NULL", "old")
        with pytest.raises(RuntimeError, match="violates foreign key"):
            server.run(f"UPDATE {table} SET tenant_id = '{OTHER}'", "old")
        assert f"idx_{table}_tenant" in server.run(f"SELECT indexname FROM pg_indexes WHERE tablename='{table}'", "old")


@pytest.mark.parametrize("script", [PLAIN, ODD], ids=["plain", "odd"])
@pytest.mark.parametrize("who", ["owner", "postgres"])
async def test_again_does_nothing_and_undone_nothing_is_left(
    server: PostgresServer, make: Make, script: str, who: str
) -> None:
    make(script)
    address, before = server.address("old", who), server.dump("old")
    first = await forward(address, "app")
    done = server.dump("old")
    again = await forward(address, "app")
    assert (first.equal, again.steps, again.before, again.rows) == (True, [], len(first.steps), first.rows)
    assert server.dump("old") == done
    report = await back(address)
    assert (report.equal, report.steps, report.notes) == (True, first.steps[::-1], [])
    assert server.dump("old") == before
    assert server.run("SELECT count(*) FROM pg_roles WHERE rolname = 'app'") == "0"


async def test_an_older_tenant_id_keeps_its_values_under_another_name_and_they_become_tenants(
    server: PostgresServer, make: Make
) -> None:
    report = await forward(make(ODD), "app")
    seven, eight, acme = (derived_id("phase 1", value) for value in ("7", "8", "acme"))
    assert report.tenants == 4
    assert server.run("SELECT legacy_tenant_id, tenant_id, changed FROM elements ORDER BY id", "old").split() == [
        f"7|{seven}|0",
        f"7|{seven}|0",
        f"8|{eight}|0",
    ]
    assert server.run("SELECT tenant_id FROM agents ORDER BY name", "old").split() == [
        acme,
        *[DEFAULT_TENANT_ID] * 3,
    ]
    assert "the view seen reads with its owner's rights; give it to nobody who is one tenant's" in report.notes


async def test_without_a_tenant_nobody_sees_anything(two_tenants: Any, server: PostgresServer) -> None:
    async def seen(opened: Any) -> list[int]:
        tables = ("tenants", "elements", "relationships", "agents")
        return [await opened.fetchval(f"SELECT count(*) FROM {table}") for table in tables]

    assert await seen(two_tenants) == [0, 0, 0, 0]
    async with two_tenants.transaction():
        await two_tenants.execute(f"SET LOCAL app.current_tenant = '{DEFAULT_TENANT_ID}'")
        assert await seen(two_tenants) == [1, 2, 1, 1]
    assert await seen(two_tenants) == [0, 0, 0, 0]
    await acting_for(two_tenants, "' OR true --")
    with pytest.raises(InvalidTextRepresentationError):
        await seen(two_tenants)
    async with connection(server.address("old", "owner")) as owner:
        assert await seen(owner) == [2, 0, 0, 0]


async def test_another_tenants_rows_are_invisible(two_tenants: Any) -> None:
    await acting_for(two_tenants, DEFAULT_TENANT_ID)
    assert await two_tenants.fetchval("SELECT array_agg(id ORDER BY id) FROM elements") == ["e1", "e2"]
    assert await two_tenants.fetchval("SELECT array_agg(name) FROM tenants") == ["Default"]
    await acting_for(two_tenants, OTHER)
    assert await two_tenants.fetchval("SELECT array_agg(id) FROM elements") == ["o1"]
    assert await two_tenants.fetchval("SELECT count(*) FROM agents") == 0


async def test_another_tenants_rows_cannot_be_written(two_tenants: Any, server: PostgresServer) -> None:
    await acting_for(two_tenants, DEFAULT_TENANT_ID)
    assert await two_tenants.execute("UPDATE elements SET name = 'x' WHERE id = 'o1'") == "UPDATE 0"
    assert await two_tenants.execute("DELETE FROM elements WHERE id = 'o1'") == "DELETE 0"
    for refused in (
        f"INSERT INTO elements (id, name, tenant_id) VALUES ('n', 'New', '{OTHER}')",
        f"UPDATE elements SET tenant_id = '{OTHER}' WHERE id = 'e1'",
        "TRUNCATE elements CASCADE",
        "ALTER TABLE elements DISABLE ROW LEVEL SECURITY",
        "INSERT INTO tenants (name, slug) VALUES ('Mine', 'mine')",
        "DELETE FROM flowgrid_phase_1",
    ):
        with pytest.raises(InsufficientPrivilegeError):
            await two_tenants.execute(refused)
    await two_tenants.execute(f"INSERT INTO elements (id, name, tenant_id) VALUES ('n', 'New', '{DEFAULT_TENANT_ID}')")
    await two_tenants.execute(
        f"INSERT INTO relationships (source_id, target_id, tenant_id) VALUES ('n', 'e1', '{DEFAULT_TENANT_ID}')"
    )
    assert server.run("SELECT name FROM elements WHERE id = 'o1'", "old") == "Secret"


async def test_a_policy_that_lets_everything_through_opens_nothing(two_tenants: Any, server: PostgresServer) -> None:
    server.run("CREATE POLICY all_of_it ON elements USING (true)", "old", "owner")
    await acting_for(two_tenants, DEFAULT_TENANT_ID)
    assert await two_tenants.fetchval("SELECT count(*) FROM elements WHERE id = 'o1'") == 0


async def test_the_policies_hold_for_the_owner_too(two_tenants: Any, server: PostgresServer) -> None:
    async with connection(server.address("old", "owner")) as owner:
        await acting_for(owner, OTHER)
        assert await owner.fetchval("SELECT array_agg(id) FROM elements") == ["o1"]
        with pytest.raises(PostgresError, match="violates row-level security"):
            await owner.execute(f"UPDATE elements SET tenant_id = '{DEFAULT_TENANT_ID}'")


async def test_undoing_refuses_to_mix_tenants(two_tenants: Any, server: PostgresServer) -> None:
    await two_tenants.close()
    before, address = server.dump("old"), server.address("old", "owner")
    with pytest.raises(CliError, match="1 tenants have come since"):
        await back(address)
    assert server.dump("old") == before


@pytest.mark.parametrize("kind", ["SUPERUSER", "BYPASSRLS", "IN ROLE owner"])
async def test_a_role_that_is_above_the_policies_is_none_to_work_as(
    server: PostgresServer, make: Make, kind: str
) -> None:
    address = make(PLAIN)
    server.run(f"CREATE ROLE app {kind}")
    with pytest.raises(CliError, match="The role app is above row-level security"):
        await forward(address, "app")


async def test_a_role_that_others_need_stays(two_tenants: Any, server: PostgresServer) -> None:
    await two_tenants.close()
    server.run(f"DELETE FROM elements WHERE id = 'o1'; DELETE FROM tenants WHERE id = '{OTHER}'", "old")
    server.run("CREATE TABLE app_s (id text); GRANT SELECT ON app_s TO app", "old")
    assert (await back(server.address("old", "owner"))).notes == [
        "the role app stays: other databases or objects need it"
    ]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("CREATE TABLE something (id text)", "none of the tables elements, relationships, agents"),
        (PLAIN + "CREATE TABLE tenants (flat integer)", "a table tenants without id, name and slug"),
        (PLAIN + "CREATE TABLE tenants (id integer, name text, slug text)", "Step default: "),
    ],
)
async def test_what_stands_against_it_is_told_in_one_line(make: Make, script: str, said: str) -> None:
    with pytest.raises(CliError, match=said):
        await forward(make(script), "app")


async def test_a_database_that_is_away_is_told_in_one_line(server: PostgresServer) -> None:
    for address in (server.address("nowhere"), "postgresql://127.0.0.1:1/old", "nonsense"):
        with pytest.raises(CliError, match="The database cannot be opened"):
            await forward(address, "app")
    with pytest.raises(CliError, match="has no phase that could be undone"):
        await back(server.address("postgres"))

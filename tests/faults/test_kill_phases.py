"""kill -9 in the middle of phase 1: the next run, or the next undoing, ends where one without a kill does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles.postgres_server import postgres_server
from tests.sampling import some_or_all
from tests.unit.old_databases import ODD, PLAIN, made

OLD = """
CREATE TABLE elements (id serial PRIMARY KEY, name text, tenant_id integer NOT NULL);
CREATE TABLE agents (id text PRIMARY KEY, name text);
INSERT INTO elements (name, tenant_id) VALUES ('a', 7), ('b', 8);
INSERT INTO agents VALUES ('c', 'd');
"""
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", [PLAIN, ODD], ids=["plain", "odd"])
def test_killed_at_any_statement_and_any_file_it_ends_the_same(tmp_path: Path, script: str) -> None:
    source, folder = made(tmp_path / "legacy.db", script), tmp_path / "copies"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.faults.killed_phases", str(source), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["forward"] > 50 and found["back"] > 50
    assert found["different"] == []


@pytest.mark.timeout(900)
@some_or_all(every=32)
def test_killed_behind_any_statement_postgresql_ends_the_same(every: int) -> None:
    with postgres_server() as server:
        server.run("CREATE DATABASE old")
        server.run(OLD, "old")
        where = [str(server.folder), str(server.programs), str(every)]
        command = [sys.executable, "-m", "tests.faults.killed_phases_postgres", *where]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["forward"] * every > 50 and found["back"] * every > 50
    assert found["different"] == []

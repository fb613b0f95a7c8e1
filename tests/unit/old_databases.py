"""Old databases of one user, as phase 1 finds them: a plain one, and one with all that years have left in it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from cli.phases.plan import RECORD
from shared.ids import DEFAULT_TENANT_ID

PLAIN = """
CREATE TABLE elements (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, description TEXT, properties TEXT,
  created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT);
CREATE TABLE relationships (
  id TEXT PRIMARY KEY, type TEXT NOT NULL, source_id TEXT NOT NULL, target_id TEXT NOT NULL, name TEXT);
CREATE TABLE agents (id TEXT PRIMARY KEY, name TEXT NOT NULL, pattern TEXT NOT NULL, config TEXT);
INSERT INTO elements (id, name, type) VALUES ('e1', 'Claims', 'BusinessObject'), ('e2', 'Intake', 'BusinessProcess');
INSERT INTO relationships VALUES ('r1', 'Access', 'e2', 'e1', NULL);
INSERT INTO agents VALUES ('a1', 'Überwachung', 'Monitor', '{"window": 30}');
"""
ODD = f"""
CREATE TABLE Elements (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, type TEXT, extra BLOB, -- a comment with a bracket (
  tenant_id INTEGER, long INTEGER GENERATED ALWAYS AS (length(name)) STORED, updated_at TEXT,
  UNIQUE (tenant_id, name)   -- the last one )
);
CREATE TABLE "relationships" (
  id TEXT, source_id REFERENCES elements(id), target_id REFERENCES "Elements"(id), CHECK (id <> ''),
  PRIMARY KEY (id, source_id)) WITHOUT ROWID;
CREATE TABLE agents (id TEXT, name TEXT, rowid TEXT, config JSON DEFAULT '{{"a)": 1}}');
CREATE TABLE other (id INTEGER PRIMARY KEY, element INTEGER REFERENCES elements(id) ON DELETE CASCADE);
CREATE VIEW joined AS SELECT e.*, r.id AS rid FROM elements e LEFT JOIN relationships r ON r.source_id = e.id;
CREATE VIEW dead AS SELECT * FROM gone;
CREATE INDEX by_name ON elements(name COLLATE NOCASE) WHERE name IS NOT NULL;
CREATE TRIGGER touched AFTER UPDATE ON elements BEGIN UPDATE elements SET updated_at = 'now' WHERE id = NEW.id; END;
CREATE TRIGGER all_columns AFTER INSERT ON agents BEGIN INSERT INTO agents VALUES (1, 2, 3, 4); END;
CREATE TRIGGER elsewhere AFTER DELETE ON other BEGIN DELETE FROM elements WHERE id = OLD.element; END;
INSERT INTO elements (id, name, extra, tenant_id) VALUES
  (1, 'a', x'ff', NULL), (2, 'b', NULL, 7), (3, CAST(x'ff41' AS TEXT), 1.5, 'acme'), (4, NULL, NULL, ''),
  (5, 'd', NULL, '{DEFAULT_TENANT_ID}'), (9, 'e', NULL, 'default');
DELETE FROM elements WHERE id = 9;
INSERT INTO relationships VALUES ('r1', 1, 99);
DROP TRIGGER all_columns;
INSERT INTO agents VALUES ('a', 'gone', 'x', NULL), (NULL, 'nobody', NULL, NULL), ('b', 'two', 'rowid', '{{}}');
DELETE FROM agents WHERE id = 'a';
CREATE TRIGGER all_columns AFTER INSERT ON agents BEGIN INSERT INTO agents VALUES (1, 2, 3, 4); END;
ANALYZE;
"""


def made(path: Path, script: str = PLAIN) -> Path:
    """A file that this script makes."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


def asked(path: Path, statement: str) -> list[Any]:
    """The rows that a statement answers."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def everything(path: Path) -> Any:
    """The schema and all rows with their keys, but for the times at which a step was done and a tenant was made."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        schema = sorted(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall(), key=repr)
        rows = {}
        for kind, raw, _, sql in schema:
            if kind == b"table":
                name, key = raw.decode(), ", oid" if b"WITHOUT ROWID" not in (sql or b"") else ""
                rows[name] = sorted(connection.execute(f'SELECT *{key} FROM "{name}"').fetchall(), key=repr)
    lines = [(step, detail) for step, _, detail, _ in rows.get(RECORD, [])]
    return schema, {**rows, RECORD: lines, "tenants": [row[:3] for row in rows.get("tenants", [])]}

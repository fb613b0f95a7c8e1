"""The tables of the embedded database's files: one of items, and the indexes that its queries need."""

from shared.kinds import Kinds

TABLES = """
CREATE TABLE IF NOT EXISTS items (
  tenant_id TEXT NOT NULL, container TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,
  created_at TEXT NOT NULL, expires_at REAL, etag TEXT NOT NULL, doc TEXT NOT NULL,
  PRIMARY KEY (tenant_id, container, id));
CREATE INDEX IF NOT EXISTS items_by_time ON items (tenant_id, kind, created_at, id);
CREATE INDEX IF NOT EXISTS items_of_kind ON items (kind, created_at);
CREATE INDEX IF NOT EXISTS items_expiring ON items (expires_at) WHERE expires_at IS NOT NULL;
"""


def tables(kinds: Kinds) -> str:
    """The script that makes them where they are not there yet."""
    return TABLES + _references(kinds)


def _references(kinds: Kinds) -> str:
    """An index for each field by which items refer to others, so that what refers to one is found, page by page.

    Of their kind alone, for it reads the document: the others' writes need not. Queries name the kind in their text.
    """
    fields = [(kind.name, field) for kind in kinds for field in kind.refers]
    return "".join(
        f"DROP INDEX IF EXISTS items_by_{field};\n"
        f"CREATE INDEX IF NOT EXISTS {kind}_by_{field} ON items (tenant_id, json_extract(doc, '$.{field}'), id)"
        f" WHERE kind = '{kind}';\n"
        for kind, field in fields
    )

"""Reads of the embedded database, as SQL: names are checked, values are bound."""

import re
import sqlite3
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from shared.database.documents import NAME_KEY, name_key, opened, position, sort_field
from shared.database.port import OLDEST_FIRST, TOMBSTONE, Order, Page, Stored, Traces, Where, page_of
from shared.kinds import Kind

_FIELD = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)*\Z")
_COLUMNS = ("id", "created_at", "tenant_id")
INDEXED = ("created_at", "id")  # orders that an index says


def one(db: sqlite3.Connection) -> None:
    db.execute("SELECT 1 FROM items LIMIT 1").fetchone()


def get(db: sqlite3.Connection, tenant_id: str, kind: Kind, id: str, now: float) -> Stored | None:
    row = db.execute(
        "SELECT doc, etag FROM items WHERE tenant_id = ? AND container = ? AND id = ? AND kind = ?"
        " AND (expires_at IS NULL OR expires_at > ?)",
        (tenant_id, kind.container, f"{kind}:{id}", kind.name, now),
    ).fetchone()
    return _stored(kind, *row) if row else None


def buried(db: sqlite3.Connection, tenant_id: str, kind: Kind, ids: Sequence[str], now: float) -> list[Stored]:
    marks = ", ".join("?" * len(ids))
    rows = db.execute(
        f"SELECT doc, etag FROM items WHERE tenant_id = ? AND container = ? AND kind = ? AND id IN ({marks})"  # noqa: S608
        " AND (expires_at IS NULL OR expires_at > ?)",
        (tenant_id, kind.container, TOMBSTONE.name, *(f"{kind}:{id}" for id in ids), now),
    ).fetchall()
    return [_stored(kind, *row) for row in rows]


def traces(db: sqlite3.Connection, tenant_id: str, kind: Kind, ids: Sequence[str], now: float) -> Traces:
    marks = ", ".join("?" * len(ids))
    rows = db.execute(
        f"SELECT kind, doc, etag FROM items WHERE tenant_id = ? AND container = ? AND id IN ({marks})"  # noqa: S608
        " AND (expires_at IS NULL OR expires_at > ?)",
        (tenant_id, kind.container, *(f"{kind}:{id}" for id in ids), now),
    ).fetchall()
    there = [_stored(kind, doc, etag) for named, doc, etag in rows if named == kind.name]
    return Traces(there, [_stored(kind, doc, etag) for named, doc, etag in rows if named == TOMBSTONE])


Row = tuple[str, str]  # a document's text, its ETag


def query(
    db: sqlite3.Connection,
    tenant_id: str | None,
    kind: Kind,
    where: Sequence[Where],
    order: Order,
    limit: int,
    after: tuple[str, str] | None,
    now: float,
) -> Page:
    return page(kind, order, limit, rows(db, tenant_id, kind, where, order, limit, after, now))


def page(kind: Kind, order: Order, limit: int, found: Sequence[Row]) -> Page:
    """The page that `rows` has found."""
    return page_of([_stored(kind, doc, etag, order) for doc, etag in found[:limit]], more=len(found) > limit)


def rows(
    db: sqlite3.Connection,
    tenant_id: str | None,
    kind: Kind,
    where: Sequence[Where],
    order: Order,
    limit: int,
    after: tuple[str, str] | None,
    now: float,
) -> list[Row]:
    """Those of a page, and one more where there is one."""
    statement, values = select(tenant_id, kind, where, order, limit, after, now)
    return db.execute(statement, values).fetchall()


def select(
    tenant_id: str | None,
    kind: Kind,
    where: Sequence[Where],
    order: Order,
    limit: int,
    after: tuple[str, str] | None,
    now: float,
) -> tuple[str, list[Any]]:
    """The statement of a page, with what is bound to it."""
    direction, beyond = ("DESC", "<") if order.descending else ("ASC", ">")
    by_id, named = order.field == "id", [one.op for one in where if one.field == "id"]
    each = tenant_id is not None and not {"=", "in"}.isdisjoint(named)
    # in the text, for partial indexes; of what is named `+` keeps SQLite from going through all of a kind for it
    clauses = [f"{'+' if each else ''}kind = '{kind.name}'", "(expires_at IS NULL OR expires_at > ?)"]
    values: list[Any] = [now]
    if tenant_id is not None:
        clauses.insert(0, "tenant_id = ?")
        values.insert(0, tenant_id)
        if by_id or named:  # of the primary key
            clauses.append("container = ?")
            values.append(kind.container)
            if not each:
                clauses += ["id > ?", "id < ?"]
                values += [f"{kind}:", f"{kind};"]
    for condition in where:
        clause, parameters = _condition(kind, condition)
        clauses.append(clause)
        values += parameters
    column = _column(sort_field(order)) if order.field in _COLUMNS else f"coalesce({_column(sort_field(order))}, '')"
    if after is not None:
        clauses.append(f"id {beyond} ?" if by_id else f"({column}, id) {beyond} (?, ?)")
        values += [*([] if by_id else [after[0]]), f"{kind}:{after[1]}"]
    sort = f"id {direction}" if by_id else f"{column} {direction}, id {direction}"
    found = f"SELECT doc, etag FROM items WHERE {' AND '.join(clauses)}"  # noqa: S608 - names checked, values bound
    return f"{found} ORDER BY {sort} LIMIT ?", [*values, limit + 1]


def _condition(kind: Kind, condition: Where) -> tuple[str, list[Any]]:
    if not _FIELD.match(condition.field):
        raise ValueError(f"{condition.field!r} is not a field name")
    if condition.op == "begins":
        key = name_key(condition.value)
        return f"substr({_column(NAME_KEY)}, 1, {len(key)}) = ?", [key]
    column = _column(condition.field)
    values = condition.value if condition.op == "in" else [condition.value]
    if condition.field == "id":
        values = [f"{kind}:{value}" for value in values]
    if condition.op == "in":
        return f"{column} IN ({', '.join('?' * len(values))})", list(values)
    return f"{column} {condition.op} ?", list(values)


def _column(field: str) -> str:
    return field if field in _COLUMNS else f"json_extract(doc, '$.{field}')"


def _stored(kind: Kind, doc: str, etag: str, order: Order = OLDEST_FIRST) -> Stored:
    document = from_json(doc)
    return Stored(opened(kind, document), etag, position(kind, order, document), len(doc.encode()))

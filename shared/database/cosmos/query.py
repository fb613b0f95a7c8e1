"""Queries of the port as Cosmos SQL: names in brackets (many are keywords there), values always as parameters."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.database.documents import NAME_KEY, name_key, sort_field
from shared.database.port import TOMBSTONE, Order, Where
from shared.kinds import Kind

_FIELD = re.compile(r"[a-z][a-z_.]*\Z")


@dataclass
class Query:
    """The text with its parameters, as they are collected."""

    text: str = ""
    parameters: list[dict[str, Any]] = field(default_factory=list)

    def bind(self, value: Any) -> str:
        """A parameter with this value; its name."""
        name = f"@p{len(self.parameters)}"
        self.parameters.append({"name": name, "value": value})
        return name


def select(
    tenant_id: str | None,
    kind: Kind,
    where: Sequence[Where],
    order: Order,
    top: int,
    after: tuple[str, str] | None,
) -> Query:
    """One page of one kind; of one tenant, named in the text beside the partition key, or (None) of the registry.

    What it filters by comes first in the ORDER BY: with the composite index of these fields only the page is loaded
    (learn.microsoft.com/azure/cosmos-db/troubleshoot-query-performance: 8.86 RU, and 44.28 without).
    """
    query = Query()
    clauses = [] if tenant_id is None else [f"{path('tenant_id')} = {query.bind(tenant_id)}"]
    clauses.append(f"{path('kind')} = {query.bind(kind.name)}")
    clauses += [_condition(query, kind, condition) for condition in where]
    sort = [] if tenant_id is None else ["tenant_id"]
    sort += ["kind", "id"] if order.field == "id" else ["kind", sort_field(order), "id"]
    if after is not None:
        clauses.append(_beyond(query, kind, order, after))
    direction = "DESC" if order.descending else "ASC"
    ordering = ", ".join(f"{path(name)} {direction}" for name in sort)
    query.text = f"SELECT TOP {top} * FROM c WHERE {' AND '.join(clauses)} ORDER BY {ordering}"  # noqa: S608 - bound
    return query


def oldest(kind: Kind, where: Sequence[Where], top: int) -> Query:
    """Items of one kind over all tenants of a database, oldest first: few, so no composite index is kept for them."""
    query = Query()
    clauses = [f"{path('kind')} = {query.bind(kind.name)}", *(_condition(query, kind, one) for one in where)]
    query.text = f"SELECT TOP {top} * FROM c WHERE {' AND '.join(clauses)} ORDER BY {path('created_at')} ASC"  # noqa: S608
    return query


def tombstones(tenant_id: str, stored_ids: Sequence[str]) -> Query:
    """What these ids have left, where they are buried."""
    query = Query()
    ids = ", ".join(query.bind(id) for id in stored_ids)
    clauses = [
        f"{path('tenant_id')} = {query.bind(tenant_id)}",
        f"{path('kind')} = {query.bind(TOMBSTONE.name)}",
        f"{path('id')} IN ({ids})",
    ]
    query.text = f"SELECT * FROM c WHERE {' AND '.join(clauses)}"  # noqa: S608 - bound
    return query


def traces(tenant_id: str, stored_ids: Sequence[str]) -> Query:
    """What these ids lead to, buried or not."""
    query = Query()
    ids = ", ".join(query.bind(id) for id in stored_ids)
    query.text = f"SELECT * FROM c WHERE {path('tenant_id')} = {query.bind(tenant_id)} AND {path('id')} IN ({ids})"  # noqa: S608
    return query


def those(tenant_id: str, stored_ids: Sequence[str]) -> Query:
    """Which of these ids there are."""
    query = Query()
    ids = ", ".join(query.bind(id) for id in stored_ids)
    query.text = f"SELECT c.id FROM c WHERE {path('tenant_id')} = {query.bind(tenant_id)} AND {path('id')} IN ({ids})"  # noqa: S608
    return query


def path(dotted: str) -> str:
    """`a.b` as `c["a"]["b"]`."""
    return "c" + "".join(f"[{json.dumps(name)}]" for name in dotted.split("."))


def _condition(query: Query, kind: Kind, condition: Where) -> str:
    if not _FIELD.match(condition.field):
        raise ValueError(f"{condition.field!r} is not a field name")
    if condition.op == "begins":
        return f"STARTSWITH({path(NAME_KEY)}, {query.bind(name_key(condition.value))})"
    values = list(condition.value) if condition.op == "in" else [condition.value]
    if condition.field == "id":
        values = [f"{kind}:{value}" for value in values]
    if condition.op == "in":
        return f"{path(condition.field)} IN ({', '.join(query.bind(value) for value in values)})"
    return f"{path(condition.field)} {condition.op} {query.bind(values[0])}"


def _beyond(query: Query, kind: Kind, order: Order, after: tuple[str, str]) -> str:
    """What comes after a position. Nothing compares with an undefined value; in an order it is the least, and is there
    because the path is included by name (learn.microsoft.com/azure/cosmos-db/nosql/query/order-by).
    """
    operator = "<" if order.descending else ">"
    id = query.bind(f"{kind}:{after[1]}")
    if order.field == "id":
        return f"{path('id')} {operator} {id}"
    sort = path(sort_field(order))
    if not after[0]:
        among = f"NOT IS_DEFINED({sort}) AND {path('id')} {operator} {id}"
        return f"({among})" if order.descending else f"(IS_DEFINED({sort}) OR ({among}))"
    value = query.bind(after[0])
    beyond = f"{sort} {operator} {value} OR ({sort} = {value} AND {path('id')} {operator} {id})"
    may_lack = order.descending and order.field != "created_at"
    return f"({beyond} OR NOT IS_DEFINED({sort}))" if may_lack else f"({beyond})"

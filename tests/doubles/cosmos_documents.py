"""The double's calls on documents: point operations, batches, queries and their plans."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.doubles import cosmos_charges as charges
from tests.doubles.cosmos_sql import Path, Select, SqlError, parse
from tests.doubles.cosmos_store import Container, Document, Refused, Store
from tests.doubles.cosmos_values import sort_key, value_at

MAX_REQUEST_BYTES = 2 * 1024 * 1024
MAX_BATCH = 100
PARTITION_KEY = "x-ms-documentdb-partitionkey"
RANGE = "x-ms-documentdb-partitionkeyrangeid"
ALWAYS_INDEXED = (("id",), ("_ts",))


@dataclass(frozen=True)
class Reply:
    """What goes back; `body` None is an empty one."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class Documents:
    """`unindexed` collects what no index serves: paths that queries filtered by, and orders within a partition."""

    def __init__(self, store: Store, unindexed: list[str], page_cap: Callable[[], int]) -> None:
        self._store = store
        self._unindexed = unindexed
        self._page_cap = page_cap

    def answer(self, operation: str, headers: Mapping[str, str], parts: list[str], body: Any, size: int) -> Reply:
        container = self._store.container(parts[1], parts[3])
        intended = headers.get("x-ms-cosmos-intended-collection-rid")
        if intended is not None and intended != container.rid:
            raise Refused(400, "the container was created anew", 1024)
        if size > MAX_REQUEST_BYTES:
            raise Refused(413, "Request size is too large")
        if operation in ("Query", "QueryPlan"):
            return self._queried(operation, container, headers, body)
        if PARTITION_KEY not in headers:
            raise Refused(400, "a partition key is needed")
        key = json.dumps(json.loads(headers[PARTITION_KEY]))
        if operation in ("Batch", "BatchRead"):
            return self._batch(container, key, headers, body)
        change: Document = {"operationType": operation, "resourceBody": body, "ifMatch": headers.get("if-match")}
        if len(parts) > 5:
            change["id"] = parts[5]
        seen, lsn = container.partitions, container.lsn
        if operation == "Read":
            seen, lsn = container.seen_by(_token(headers), self._store.stale_reads)
        partition = dict(seen.get(key, {}))
        status, document, charge = self._store.apply(container, partition, key, change)
        if operation != "Read":
            container.partitions[key] = partition
            container.lsn = lsn = lsn + 1
        more = {"etag": document["_etag"]} if document else {}
        return Reply(status, document, {**_headers(container, charge, lsn), **more})

    def _batch(self, container: Container, key: str, headers: Mapping[str, str], operations: list[Document]) -> Reply:
        if headers.get("x-ms-cosmos-batch-atomic", "").lower() != "true":
            raise Refused(400, "only atomic batches are known")
        if not 1 <= len(operations) <= MAX_BATCH:
            raise Refused(400, f"a batch has 1 to {MAX_BATCH} operations")
        done, results = self._store.batch(container, key, operations)
        charge = sum(result["requestCharge"] for result in results)
        return Reply(200 if done else 207, results, _headers(container, charge, container.lsn))

    def _queried(self, operation: str, container: Container, headers: Mapping[str, str], body: Document) -> Reply:
        try:
            select = parse(body["query"])
            if operation == "QueryPlan":
                return Reply(200, _plan(body["query"], select), {"x-ms-request-charge": "0"})
            return self._query(container, headers, select, body)
        except SqlError as error:
            raise Refused(400, str(error)) from error

    def _query(self, container: Container, headers: Mapping[str, str], select: Select, body: Document) -> Reply:
        key = json.dumps(json.loads(headers[PARTITION_KEY])) if PARTITION_KEY in headers else None
        if key is None and headers.get("x-ms-documentdb-query-enablecrosspartition", "").lower() != "true":
            raise Refused(400, "Cross partition query is required but disabled")
        if key is None and RANGE not in headers and (select.order or select.top):
            raise Refused(400, "this needs a query plan", 1004)
        self._check_index(container, select)
        if key is not None and not _in_order(select):
            self._unindexed.append(f"ORDER BY {select.order}")
        parameters = {one["name"]: one["value"] for one in body.get("parameters") or ()}
        seen, lsn = container.seen_by(_token(headers), self._store.stale_reads)
        everything = container.documents(key, self._store.now(), seen)
        found = [one for one in everything if select.matches(one, parameters)]
        for path, descending in reversed(select.order):
            found.sort(key=lambda one: sort_key(value_at(one, path)), reverse=descending)
        results = found if select.top is None else found[: select.top]
        start = int(base64.b64decode(headers.get("x-ms-continuation", "")) or 0)
        wanted = int(headers.get("x-ms-max-item-count", "100"))
        size = min(wanted if wanted > 0 else 1000, self._page_cap())
        page = results[start : start + size]
        if not start and any(not _indexed(_policy(container), path) for path in select.paths):
            loaded = everything
        else:
            loaded = page if start or _in_order(select) else found
        more = _headers(container, charges.queried(loaded), lsn)
        if start + size < len(results):
            more["x-ms-continuation"] = base64.b64encode(str(start + size).encode()).decode()
        listed = [select.project(one, parameters) for one in page]
        return Reply(200, {"_rid": container.rid, "Documents": listed, "_count": len(listed)}, more)

    def _check_index(self, container: Container, select: Select) -> None:
        policy = _policy(container)
        self._unindexed += [".".join(path) for path in select.paths if not _indexed(policy, path)]
        if len(select.order) < 2:
            return
        wanted = [("/" + "/".join(path), "descending" if down else "ascending") for path, down in select.order]
        turned = [(path, "ascending" if order == "descending" else "descending") for path, order in wanted]
        for composite in policy.get("compositeIndexes", []):
            if [(one["path"], one["order"]) for one in composite] in (wanted, turned):
                return
        raise Refused(400, "The order by query does not have a corresponding composite index")


def _policy(container: Container) -> Document:
    policy: Document = container.properties.get("indexingPolicy") or {"includedPaths": [{"path": "/*"}]}
    return policy


def _in_order(select: Select) -> bool:
    """Whether an index gives the results in order, so that the first ones are all that is loaded.

    A filter's properties come first in the ORDER BY and its composite index (index-policy), or all matches are sorted.
    """
    return not select.order or not select.equal or select.order[0][0] in select.equal


def _indexed(policy: Document, path: Path) -> bool:
    """The most precise of the included and excluded paths decides."""
    text = "/" + "/".join(path)
    if path in ALWAYS_INDEXED:
        return True
    best, included = -1, False
    for name, answer in (("includedPaths", True), ("excludedPaths", False)):
        for pattern in (one["path"] for one in policy.get(name, [])):
            stem = pattern[:-2] if pattern.endswith(("/*", "/?")) else pattern
            hits = text == stem or (pattern.endswith("/*") and text.startswith(stem + "/"))
            if hits and len(stem) > best:
                best, included = len(stem), answer
    return included


def _plan(query: str, select: Select) -> Document:
    order = ["Descending" if descending else "Ascending" for _, descending in select.order]
    expressions = ["c" + "".join(f'["{name}"]' for name in path) for path, _ in select.order]
    rewritten = ""
    if order:
        rest = query[query.lower().index(" from ") :]
        items = ", ".join(f'{{"item": {expression}}}' for expression in expressions)
        top = f"TOP {select.top} " if select.top is not None else ""
        rewritten = f"SELECT {top}c._rid, [{items}] AS orderByItems, c AS payload{rest}"
    info: Document = {
        "distinctType": "None",
        "top": select.top,
        "offset": None,
        "limit": None,
        "orderBy": order,
        "orderByExpressions": expressions,
        "groupByExpressions": [],
        "groupByAliases": [],
        "aggregates": [],
        "groupByAliasToAggregateType": {},
        "rewrittenQuery": rewritten,
        "hasSelectValue": False,
        "hasNonStreamingOrderBy": False,
    }
    whole = {"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}
    return {"partitionedQueryExecutionInfoVersion": 2, "queryInfo": info, "queryRanges": [whole]}


def _token(headers: Mapping[str, str]) -> int:
    """How far a reader has got: the LSN of the only range, as in `0:-1#12`; 0 without a token."""
    return int(headers.get("x-ms-session-token", "#0").split(",")[0].rpartition("#")[2])


def _headers(container: Container, charge: float, lsn: int) -> dict[str, str]:
    return {
        "x-ms-request-charge": f"{charge:.2f}",
        "x-ms-session-token": f"0:-1#{lsn}",
        "x-ms-alt-content-path": container.path,
        RANGE: "0",
        "x-ms-activity-id": "00000000-0000-0000-0000-000000000000",
    }

"""A small Cosmos DB gateway for the real SDK: `async with`-free, one thread, one account, on a free port of 127.0.0.1.

    with CosmosDouble() as double:
        double.fail(Fault("Batch", status=449))
        …
        assert [call.operation for call in double.calls] == ["Batch", "Batch"]

The REST interface is described at https://learn.microsoft.com/rest/api/cosmos-db/; what the SDK expects beyond it
(batches, query plans, partition key ranges) is in the source of azure-cosmos 4.17.1.
"""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tests.doubles.cosmos_documents import Documents, Reply
from tests.doubles.cosmos_record import READ_CONTAINER, Call, Fault
from tests.doubles.cosmos_store import Refused, Store

FULL_RANGE = {"id": "0", "minInclusive": "", "maxExclusive": "FF", "ridPrefix": 0, "status": "online", "parents": []}


class CosmosDouble:
    """The server, its store, and the record of what was asked of it."""

    def __init__(self, now: Callable[[], float] = time.time, *, certificate: Path | None = None) -> None:
        self.store = Store(now)
        self.calls: list[Call] = []
        self.metadata: list[str] = []
        self.unindexed: list[str] = []
        self.page_cap = 1000
        self._faults: list[Fault] = []
        self._hangs = 0.0
        self._documents = Documents(self.store, self.unindexed, lambda: self.page_cap)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.authorizations: set[str] = set()
        self.endpoint = f"{'https' if certificate else 'http'}://127.0.0.1:{self._socket.getsockname()[1]}/"
        config = uvicorn.Config(
            self,
            lifespan="off",
            ws="none",
            log_level=logging.CRITICAL,
            access_log=False,
            loop="asyncio",
            http="h11",
            ssl_certfile=certificate,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> "CosmosDouble":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def fail(self, *faults: Fault) -> None:
        """Faults strike in the order in which they were given."""
        self._faults += faults

    def forget(self) -> None:
        """An empty record and no faults; what is stored stays."""
        self.calls.clear()
        self.metadata.clear()
        self.unindexed.clear()
        self.authorizations.clear()
        self._faults.clear()

    def reset(self, now: Callable[[], float]) -> None:
        """As new, with another clock."""
        self.forget()
        self.page_cap = 1000
        self.store.now = now
        self.store.databases.clear()

    def unkeyed(self) -> list[Call]:
        """The calls that did not name their partition."""
        return [call for call in self.calls if not call.keyed]

    def items(self, database: str, container: str) -> list[dict[str, Any]]:
        """Everything in a container, as stored."""
        return self.store.container(database, container).documents(None, self.store.now())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        self.authorizations.add(unquote(request.headers.get("authorization", "")))
        parts = [unquote(part) for part in scope["raw_path"].decode().split("?")[0].strip("/").split("/") if part]
        reply = self._answer(request, parts, json.loads(body) if body else None, len(body))
        if self._hangs:
            hangs, self._hangs = self._hangs, 0.0
            await asyncio.sleep(hangs)
        if reply is None:
            receive.__self__.transport.abort()  # type: ignore[attr-defined]  # uvicorn's RequestResponseCycle
            return
        response: Response = Response(status_code=reply.status) if reply.body is None else JSONResponse(reply.body)
        response.status_code = reply.status
        response.headers.update(reply.headers)
        await response(scope, receive, send)

    def _answer(self, request: Request, parts: list[str], body: Any, size: int) -> Reply | None:
        try:
            if len(parts) >= 5 and parts[4] == "docs":
                return self._on_documents(request, parts, body, size)
            self.metadata.append(f"{request.method} /{'/'.join(parts)}")
            reading = request.method == "GET" and len(parts) == 4 and parts[2] == "colls"
            fault = self._next_fault(READ_CONTAINER) if reading else None
            if fault is not None:
                self._hangs = fault.hangs
                return None if fault.status is None else _faulty(fault, READ_CONTAINER, None)
            return self._on_metadata(request, parts, body)
        except Refused as refused:
            return _refusal(refused.status, refused.sub_status, str(refused))

    def _on_documents(self, request: Request, parts: list[str], body: Any, size: int) -> Reply | None:
        operation = _operation(request, parts, body)
        fault = self._next_fault(operation, _partition_key(request))
        if fault is None or fault.applied:
            try:
                reply = self._documents.answer(operation, request.headers, parts, body, size)
            except Refused as refused:
                reply = _refusal(refused.status, refused.sub_status, str(refused))
        if fault is not None:
            reply = _faulty(fault, operation, body)
            self._hangs = fault.hangs
        self._note(operation, request, parts, body, reply)
        return None if fault is not None and fault.status is None else reply

    def _next_fault(self, operation: str, partition_key: str | None = None) -> Fault | None:
        return next((fault for fault in self._faults if fault.strikes(operation, partition_key)), None)

    def _note(self, operation: str, request: Request, parts: list[str], body: Any, reply: Reply) -> None:
        queried = body if operation in ("Query", "QueryPlan") else {}
        self.calls.append(
            Call(
                operation=operation,
                database=parts[1],
                container=parts[3],
                partition_key=_partition_key(request),
                status=reply.status,
                charge=float(reply.headers.get("x-ms-request-charge", "0")),
                session_token=request.headers.get("x-ms-session-token"),
                query=queried.get("query"),
                parameters={one["name"]: one["value"] for one in queried.get("parameters") or ()},
            )
        )

    def _on_metadata(self, request: Request, parts: list[str], body: Any) -> Reply:
        """What is read here and is not there is 404/0, the container in a database that is not there as well.

        So do the SDKs' caches of containers expect it (ClientCollectionCache.cs of azure-cosmos-dotnet-v3; 404/0 in
        StatusCodes.md of the Java SDK). 1003 is for a call on documents, and a creation, in what is not there.
        """
        store = self.store
        if request.method == "GET" and not _there(store, parts):
            raise Refused(404, "Resource Not Found")
        match request.method, parts:
            case "GET", []:
                return Reply(200, self._account())
            case "GET", ["dbs", database]:
                return Reply(200, store.database(database))
            case "GET", ["dbs"]:
                return _feed("Databases", [store.database(name) for name in store.databases])
            case "POST", ["dbs"]:
                return Reply(201, store.create_database(body["id"]))
            case "DELETE", ["dbs", database]:
                store.database(database)
                del store.databases[database]
                return Reply(204, None)
            case "GET", ["dbs", database, "colls"]:
                store.database(database)
                return _feed("DocumentCollections", (one.properties for one in store.databases[database].values()))
            case "POST", ["dbs", database, "colls"]:
                return Reply(201, store.create_container(database, body))
            case "GET", ["dbs", database, "colls", name]:
                return Reply(200, store.container(database, name).properties)
            case "PUT", ["dbs", database, "colls", name]:
                found = store.container(database, name)
                found.properties = {**found.properties, **body}
                return Reply(200, found.properties)
            case "GET", ["dbs", database, "colls", name, "pkranges"]:
                found = store.container(database, name)
                if request.headers.get("if-none-match"):
                    return Reply(304, None, {"etag": '"1"'})
                reply = _feed("PartitionKeyRanges", [{**FULL_RANGE, "_rid": found.rid}])
                return Reply(200, reply.body, {**reply.headers, "etag": '"1"'})
            case _:
                raise Refused(400, f"the double does not know {request.method} /{'/'.join(parts)}")

    def _account(self) -> dict[str, Any]:
        location = [{"name": "Here", "databaseAccountEndpoint": self.endpoint}]
        return {
            "id": "double",
            "_rid": "double",
            "writableLocations": location,
            "readableLocations": location,
            "enableMultipleWriteLocations": False,
            "userConsistencyPolicy": {"defaultConsistencyLevel": "Session"},
        }


def _partition_key(request: Request) -> str | None:
    key = request.headers.get("x-ms-documentdb-partitionkey")
    return None if key is None else str(json.loads(key)[0])


def _operation(request: Request, parts: list[str], body: Any) -> str:
    headers = request.headers
    if request.method == "POST":
        if headers.get("x-ms-cosmos-is-batch-request", "").lower() == "true":
            return "BatchRead" if all(one["operationType"] == "Read" for one in body) else "Batch"
        if headers.get("x-ms-cosmos-is-query-plan-request", "").lower() == "true":
            return "QueryPlan"
        if headers.get("x-ms-documentdb-isquery", "").lower() == "true":
            return "Query"
        return "Upsert" if headers.get("x-ms-documentdb-is-upsert", "").lower() == "true" else "Create"
    if len(parts) < 6:
        raise Refused(400, "the double does not read feeds")
    return {"GET": "Read", "PUT": "Replace", "DELETE": "Delete", "PATCH": "Patch"}[request.method]


def _there(store: Store, parts: list[str]) -> bool:
    match parts:
        case ["dbs", database, "colls", name]:
            return name in store.databases.get(database, {})
        case ["dbs", database]:
            return database in store.databases
        case _:
            return True


def _refusal(status: int, sub_status: int, message: str) -> Reply:
    body = {"code": str(status), "message": message}
    return Reply(status, body, {"x-ms-substatus": str(sub_status), "x-ms-request-charge": "1"})


def _faulty(fault: Fault, operation: str, body: Any) -> Reply:
    headers = {"x-ms-request-charge": "0", "x-ms-substatus": str(0 if fault.inside else fault.sub_status)}
    if fault.retry_after_ms is not None:
        headers["x-ms-retry-after-ms"] = str(fault.retry_after_ms)
    if fault.inside and operation == "Batch":
        results: list[dict[str, Any]] = [{"statusCode": 424, "requestCharge": 0} for _ in body]
        results[0] = {
            "statusCode": fault.status,
            "subStatusCode": fault.sub_status,
            "retryAfterMilliseconds": fault.retry_after_ms,
            "requestCharge": 0,
        }
        return Reply(207, results, headers)
    return Reply(fault.status or 0, {"code": str(fault.status), "message": "told to fail"}, headers)


def _feed(name: str, items: Iterable[Any]) -> Reply:
    listed = list(items)
    return Reply(200, {name: listed, "_count": len(listed), "_rid": "feed"})

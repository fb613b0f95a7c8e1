"""A small Azure Resource Manager with one Cosmos DB account, whose operations take as long as `looks` requests.

https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations and the Cosmos DB provider: PUT
answers 202 with `Azure-AsyncOperation`; a second operation at the same time is refused with 412. So does DELETE: "the
delete operation will complete asynchronously" (https://learn.microsoft.com/rest/api/cosmos-db-resource-provider/
sql-resources/delete-sql-database); until then the database is there, and its name is not free. An account holds 500
databases and containers together, and takes 100 creations of each a minute
(https://learn.microsoft.com/azure/cosmos-db/concepts-limits). With which status it refuses the 501st is documented
nowhere (`full`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DocumentDB/databaseAccounts/flowgrid"


@dataclass(frozen=True)
class Refusal:
    status: int
    code: str
    message: str = "No."
    headers: dict[str, str] = field(default_factory=dict)
    method: str | None = None


@dataclass
class ArmDouble:
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    refuse_at: dict[int, Refusal] = field(default_factory=dict)
    answer: Literal["azure-async", "location", "at once"] = "azure-async"
    outcome: Literal["Succeeded", "Failed", "Canceled"] = "Succeeded"
    looks: int = 1
    wait: str = "0"
    most: int = 500
    a_minute: int = 100
    full: Literal[400, 403, 202] = 403  # 202: the operation is taken, and fails
    now: Callable[[], float] = time.monotonic
    on_made: Callable[[str, dict[str, Any]], None] = lambda path, resource: None
    on_gone: Callable[[str], None] = lambda path: None
    _running: dict[str, tuple[str, dict[str, Any] | None, int]] = field(default_factory=dict)  # None: it is deleted
    _ended: dict[str, str] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)
    _creations: list[tuple[str, float]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/operations/{id}", self._operation, methods=["GET"]),
                Route("/{path:path}", self._get, methods=["GET"]),
                Route("/{path:path}", self._put, methods=["PUT"]),
                Route("/{path:path}", self._delete, methods=["DELETE"]),
            ]
        )

    def reset(self) -> None:
        fresh = ArmDouble()
        for name in vars(fresh):
            setattr(self, name, getattr(fresh, name))

    def fail(self, operation: str, message: str) -> None:
        """It ends with the next request, and comes to nothing."""
        self._failed[operation.rpartition("/")[2]] = message
        self.hurry()

    def hurry(self) -> None:
        """What is under way ends with the next request."""
        self._running = {id: (path, resource, 0) for id, (path, resource, _) in self._running.items()}

    def fill(self, databases: int) -> None:
        """Somebody's databases, so many, of two containers each."""
        for number in range(databases):
            path = f"{ACCOUNT}/sqlDatabases/other-{number}"
            self.made |= {one: {} for one in (path, f"{path}/containers/items", f"{path}/containers/usage")}

    async def _get(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        if request.url.path == f"{ACCOUNT}/sqlDatabases":
            named = [path.rpartition("/")[2] for path in self.made if "/containers/" not in path]
            return JSONResponse({"value": [{"id": f"{request.url.path}/{name}", "name": name} for name in named]})
        found = self.made.get(request.url.path)
        if found is None:
            return _error(404, "NotFound", f"{request.url.path} was not found.")
        return JSONResponse({"id": request.url.path, "properties": {"resource": found}})

    async def _put(self, request: Request) -> Response:
        body = await request.json()
        if refused := self._refused(request):
            return refused
        self.bodies.append(body)
        path, resource = request.url.path, body["properties"]["resource"]
        parent = path.rpartition("/containers/")[0]
        if parent and parent not in self.made:
            return _error(404, "NotFound", "The database was not found.")
        if self._running:
            return _error(412, "PreconditionFailed", "There is another user operation in progress.")
        if refused := self._no_room(path):
            return refused
        if self.answer == "at once":
            self._finish(path, resource)
            return JSONResponse({"id": path, "properties": {"resource": resource}})
        id = uuid4().hex
        if path not in self.made and len(self.made) >= self.most:
            self._failed[id] = "There are too many."
        return self._begun(request, id, resource)

    def _begun(self, request: Request, id: str, resource: dict[str, Any] | None) -> Response:
        self._running[id] = (request.url.path, resource, self.looks)
        where = f"{str(request.base_url).rstrip('/')}/operations/{id}"
        name = "Azure-AsyncOperation" if self.answer == "azure-async" else "Location"
        return JSONResponse({"status": "Enqueued"}, 202, {name: where, "Retry-After": self.wait})

    def _no_room(self, path: str) -> Response | None:
        """Refuse what is one too many: in the account, or of its sort in this minute."""
        if path in self.made:
            return None
        if len(self.made) >= self.most and self.full != 202:
            return _error(self.full, "Forbidden" if self.full == 403 else "BadRequest", "There are too many.")
        sort, now = path.split("/")[-2], self.now()
        self._creations = [(one, at) for one, at in self._creations if now - at < 60]
        if sum(one == sort for one, _ in self._creations) >= self.a_minute:
            return _error(429, "TooManyRequests", "The request rate is large.", {"Retry-After": "60"})
        self._creations.append((sort, now))
        return None

    async def _delete(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        path = request.url.path
        if self._running:
            return _error(412, "PreconditionFailed", "There is another user operation in progress.")
        if path not in self.made:
            return Response(status_code=204)
        if self.answer == "at once":
            self._unmake(path)
            return Response(status_code=204)
        return self._begun(request, uuid4().hex, None)

    async def _operation(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        id = request.path_params["id"]
        if id in self._running:
            if self.answer == "location":
                return Response(status_code=202, headers={"Retry-After": self.wait})
            return JSONResponse({"status": "InProgress"}, headers={"Retry-After": self.wait})
        if id not in self._ended:
            return _error(404, "NotFound", "There is no such operation.")
        if id in self._failed:
            return JSONResponse({"status": "Failed", "error": {"code": "BadRequest", "message": self._failed[id]}})
        if self.outcome != "Succeeded":
            return JSONResponse({"status": self.outcome, "error": {"code": "BadRequest", "message": "No capacity."}})
        if self.answer == "location":
            path = self._ended[id]
            if path not in self.made:
                return Response(status_code=204)
            return JSONResponse({"id": path, "properties": {"resource": self.made[path]}})
        return JSONResponse({"status": "Succeeded"})

    def _pass_time(self) -> None:
        """Operations come nearer to their ends with every request."""
        for id, (path, resource, looks) in list(self._running.items()):
            if looks > 0:
                self._running[id] = (path, resource, looks - 1)
                continue
            del self._running[id]
            self._ended[id] = path
            if self.outcome == "Succeeded" and id not in self._failed:
                self._unmake(path) if resource is None else self._finish(path, resource)

    def _unmake(self, path: str) -> None:
        self.made = {one: found for one, found in self.made.items() if one != path and not one.startswith(f"{path}/")}
        self.on_gone(path)

    def _finish(self, path: str, resource: dict[str, Any]) -> None:
        self.made[path] = resource
        self.on_made(path, resource)

    def _refused(self, request: Request) -> Response | None:
        self._pass_time()
        self.requests.append(f"{request.method} {request.url.path.rpartition('/')[2]}")
        refusal = self.refuse_at.get(len(self.requests) - 1)
        if refusal is not None:
            return _error(refusal.status, refusal.code, refusal.message, refusal.headers)
        if "authorization" not in request.headers:
            return _error(401, "AuthenticationFailed", "No token.")
        if self.refusals and self.refusals[0].method in (None, request.method):
            refusal = self.refusals.pop(0)
            return _error(refusal.status, refusal.code, refusal.message, refusal.headers)
        return None


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)

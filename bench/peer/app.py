"""The peer: what a team would write instead, tuned. FastAPI, SQLAlchemy 2 on asyncpg, PostgreSQL with row security.

This is all of it but for the routes of the usual style, which are orm.py's; the routes here are the same by hand:
SQLAlchemy's Core instead of its ORM, rows into bytes without a response model.

`python app.py FOLDER`, in the virtual environment of `requirements.txt`; `settings.json` in the folder says where
PostgreSQL and the issuer's keys are. As in Flowgrid: RS256 tokens (verified ones are kept by digest, members for five
seconds), the windows of address, tenant and route, a quota that is exact, an audit entry with the whole value, pages by
signed cursor, ETag, the same headers. Each call is one transaction for its tenant, in which its usage event
is stored; durable when it is answered. There is no idempotency key and no rollup of usage here: usage would be summed
when it is read.

With `features` off: the bare resource, for any token, without limits, row security, quota, audit or usage.
"""

import hashlib
import hmac
import importlib
import json
import os
import socket
import sys
import time
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import jwt
import orjson
import uvicorn
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import bindparam, column, func, insert, select, table, text, tuple_, update
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

MEMBER_SECONDS = 5.0
MOST_TOKENS = 4096
CURSOR_KEY = os.urandom(32)
HEADERS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

FIELDS = (
    *("name", "description", "pattern", "provider", "model", "instructions"),
    *("tools", "config", "element_id", "status"),
)
ENVELOPE = ("id", "tenant_id", "revision", "created_at", "updated_at", "created_by", "updated_by")
JSON_COLUMNS = ("tools", "config", "old_value", "new_value", "data")
UUIDS = ("id", "tenant_id", "element_id", "created_by", "updated_by", "user_id", "resource_id")


def _table(name: str, *columns: str) -> Any:
    types = {**dict.fromkeys(JSON_COLUMNS, JSONB), **dict.fromkeys(UUIDS, UUID(as_uuid=True))}
    return table(name, *(column(one, types.get(one)) for one in columns))


AGENTS = _table("agents", *ENVELOPE, *FIELDS)
COUNTERS = _table("counters", "tenant_id", "name", "value")
AUDIT = _table(
    "audit",
    *("tenant_id", "id", "created_at", "user_id", "action", "resource_type", "resource_id", "revision"),
    *("old_value", "new_value", "ip_address", "user_agent", "request_id"),
)
USAGE = _table("usage_events", "tenant_id", "id", "at", "metric", "value", "data")

AS_TENANT = select(func.set_config("app.tenant_id", bindparam("tenant"), True))
ONE = select(AGENTS).where(AGENTS.c.tenant_id == bindparam("tenant"), AGENTS.c.id == bindparam("id"))
COUNT_UP = (
    update(COUNTERS)
    .where(
        COUNTERS.c.tenant_id == bindparam("tenant"),
        COUNTERS.c.name == bindparam("counter"),
        COUNTERS.c.value < bindparam("most"),
    )
    .values(value=COUNTERS.c.value + 1)
    .returning(COUNTERS.c.value)
)
MEMBER = text(
    "SELECT t.status, t.max_agents, t.requests_per_minute, t.agents_per_minute,"
    " u.id AS user_id, u.role, u.status AS user"
    " FROM tenants t JOIN users u ON u.tenant_id = t.id WHERE t.id = :tenant AND u.subject = :subject"
)
ELEMENT = text("SELECT 1 FROM elements WHERE tenant_id = :tenant AND id = :id FOR SHARE")


class NewAgent(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
    description: str = Field("", max_length=5000)
    pattern: Literal["Orchestrator", "Specialist", "Monitor", "Router", "Evaluator"]
    provider: str = Field("offline", min_length=1, max_length=50)
    model: str = Field("", max_length=200)
    instructions: str = Field("", max_length=50_000)
    tools: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field([], max_length=100)
    config: dict[str, Any] = {}
    element_id: str | None = None
    status: Literal["draft", "active", "retired"] = "draft"


class Problem(Exception):
    def __init__(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.headers = status, code, headers or {}


@dataclass
class Caller:
    tenant: uuid.UUID
    subject: str
    member: Any = None
    started: float = 0.0
    request_id: str = ""
    address: str = ""
    agent: str = ""
    left: tuple[int, int, int] = (0, 0, 0)


class Windows:
    """Fixed windows of calls, in memory."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], list[float]] = {}

    def take(self, scope: str, key: str, most: int, seconds: int) -> tuple[int, int, int]:
        now = time.monotonic()
        window = self._windows.get((scope, key))
        if window is None or window[1] <= now:
            window = self._windows[scope, key] = [0, now + seconds]
        window[0] += 1
        reset = max(1, int(window[1] - now))
        if window[0] > most:
            window[0] -= 1
            raise Problem(429, "rate_limited", {"Retry-After": str(reset), "RateLimit-Limit": str(most)})
        return int(most - window[0]), most, reset

    def give_back(self, scope: str, key: str) -> None:
        self._windows[scope, key][0] -= 1


class Peer:
    """The settings' database and keys; `features` off answers whoever asks."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.features = settings["features"]
        self._keys = {key["kid"]: jwt.PyJWK(key).key for key in settings["keys"]}
        self._issuer, self._audience = settings["issuer"], settings["audience"]
        self._tenant_claim = settings["tenant_claim"]
        self._tokens: dict[bytes, tuple[float, Caller]] = {}
        self._members: dict[tuple[uuid.UUID, str], tuple[float, Any]] = {}
        self.windows = Windows()
        self.engine = create_async_engine(
            f"postgresql+asyncpg://{settings['user']}@/peer?host={settings['socket']}",
            pool_size=settings["connections"],
            max_overflow=0,
            json_serializer=lambda value: orjson.dumps(value, default=str).decode(),
            json_deserializer=orjson.loads,
        )

    def verified(self, authorization: str) -> Caller:
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._tokens.get(digest)
        if known is not None and time.time() < known[0]:
            return known[1]
        try:
            if self.features:
                if scheme.lower() != "bearer":
                    raise Problem(401, "unauthenticated")
                key = self._keys[jwt.get_unverified_header(token)["kid"]]
                claims = jwt.decode(token, key, algorithms=["RS256"], audience=self._audience, issuer=self._issuer)
            else:
                claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, KeyError) as error:
            raise Problem(401, "unauthenticated") from error
        caller = Caller(uuid.UUID(claims[self._tenant_claim]), claims["sub"])
        if len(self._tokens) >= MOST_TOKENS:
            self._tokens.pop(next(iter(self._tokens)))
        self._tokens[digest] = (claims["exp"], caller)
        return caller

    async def member(self, caller: Caller) -> Any:
        key = caller.tenant, caller.subject
        known = self._members.get(key)
        if known is not None and time.monotonic() - known[0] < MEMBER_SECONDS:
            return known[1]
        async with self.engine.begin() as db:
            await as_tenant(db, caller)
            found = (await db.execute(MEMBER, {"tenant": caller.tenant, "subject": caller.subject})).first()
        if found is None or found.status not in ("active", "trial") or found.user != "active":
            raise Problem(403, "forbidden")
        self._members[key] = (time.monotonic(), found)
        return found

    async def admitted(self, request: Request) -> Caller:
        """The dependency of every route: who calls, and whether they may."""
        known = self.verified(request.headers.get("authorization", ""))
        address = request.client.host if request.client else ""
        if not self.features:
            return known
        self.windows.take("global", address, 100_000_000, 900)
        member = await self.member(known)
        self.windows.give_back("global", address)
        caller = Caller(
            known.tenant,
            known.subject,
            member,
            time.perf_counter(),
            request.headers.get("x-request-id") or str(uuid.uuid4()),
            address,
            request.headers.get("user-agent", "")[:512],
        )
        caller.left = self.windows.take("tenant", str(caller.tenant), member.requests_per_minute, 60)
        if request.method == "POST":
            if member.role not in ("user", "admin"):
                raise Problem(403, "forbidden")
            left = self.windows.take("agents", str(caller.tenant), member.agents_per_minute, 60)
            caller.left = min(caller.left, left)
        return caller


async def as_tenant(db: AsyncConnection | AsyncSession, caller: Caller) -> None:
    await db.execute(AS_TENANT, {"tenant": str(caller.tenant)})


def usage(caller: Caller, at: datetime, metric: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"tenant_id": caller.tenant, "id": uuid.uuid4(), "at": at, "metric": metric, "value": 1, "data": data}


def called(caller: Caller, at: datetime, method: str, path: str, operation: str, status: int) -> dict[str, Any]:
    duration = round((time.perf_counter() - caller.started) * 1000)
    where = {"endpoint": path, "method": method, "operation": operation}
    return usage(caller, at, "api_calls", {**where, "duration_ms": duration, "status_code": status})


def answer(caller: Caller, value: Any, status: int = 200, **own: str) -> Response:
    body = orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z)  # asyncpg has UUIDs of its own
    response = Response(body, status, media_type="application/json")
    headers(response, caller, **own)
    return response


def headers(response: Response, caller: Caller, **own: str) -> None:
    """Those of every answer, and its own."""
    response.headers.update({**HEADERS, **own})
    if caller.request_id:
        remaining, limit, reset = caller.left
        response.headers["x-request-id"] = caller.request_id
        response.headers["RateLimit-Limit"] = str(limit)
        response.headers["RateLimit-Remaining"] = str(remaining)
        response.headers["RateLimit-Reset"] = str(reset)
        response.headers["Server-Timing"] = f"app;dur={(time.perf_counter() - caller.started) * 1000:.1f}"


def etag(agent: Any) -> str:
    return f'"{agent["revision"]}-{int(agent["updated_at"].timestamp() * 1_000_000):x}"'


def _tag(payload: bytes, scope: str) -> bytes:
    return hmac.digest(CURSOR_KEY, scope.encode() + payload, "sha256")[:16]


def sign(position: list[str], scope: str) -> str:
    payload = json.dumps(position).encode()
    return urlsafe_b64encode(_tag(payload, scope) + payload).decode()


def position_of(cursor: str, scope: str) -> tuple[datetime, uuid.UUID]:
    raw = urlsafe_b64decode(cursor)
    if not hmac.compare_digest(raw[:16], _tag(raw[16:], scope)):
        raise Problem(400, "invalid_request")
    at, id = json.loads(raw[16:])
    return datetime.fromisoformat(at), uuid.UUID(id)


def invalid_to_problem(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        body = {"title": error.code, "status": error.status, "code": error.code, "instance": request.url.path}
        return Response(orjson.dumps(body), error.status, {**HEADERS, **error.headers}, "application/problem+json")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return await problem(request, Problem(400, "invalid_request"))


def web(peer: Peer) -> FastAPI:
    app = FastAPI(title="The peer")
    invalid_to_problem(app)
    Admitted = Annotated[Caller, Depends(peer.admitted)]

    @app.get("/api/v1/agents/{agent_id}")
    async def get_agent(agent_id: uuid.UUID, caller: Admitted) -> Response:
        async with peer.engine.begin() as db:
            if peer.features:
                await as_tenant(db, caller)
            found = (await db.execute(ONE, {"tenant": caller.tenant, "id": agent_id})).mappings().first()
            if peer.features:
                status = 404 if found is None else 200
                event = called(caller, datetime.now(UTC), "GET", "/api/v1/agents/{agent_id}", "get_agent", status)
                await db.execute(insert(USAGE), event)
        if found is None:
            raise Problem(404, "not_found")
        return answer(caller, dict(found), ETag=etag(found))

    @app.get("/api/v1/agents")
    async def list_agents(
        caller: Admitted,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[str | None, Query(max_length=2000)] = None,
        name: str | None = None,
        pattern: str | None = None,
        status: str | None = None,
    ) -> Response:
        filters = {key: value for key, value in (("name", name), ("pattern", pattern), ("status", status)) if value}
        scope = f"{caller.tenant}:{sorted(filters.items())}"
        page = select(AGENTS).where(AGENTS.c.tenant_id == caller.tenant)
        for key, value in filters.items():
            page = page.where(AGENTS.c[key] == value)
        if cursor is not None:
            page = page.where(tuple_(AGENTS.c.created_at, AGENTS.c.id) < tuple_(*position_of(cursor, scope)))
        page = page.order_by(AGENTS.c.created_at.desc(), AGENTS.c.id.desc()).limit(limit + 1)
        async with peer.engine.begin() as db:
            if peer.features:
                await as_tenant(db, caller)
            rows = [dict(row) for row in (await db.execute(page)).mappings()]
            if peer.features:
                event = called(caller, datetime.now(UTC), "GET", "/api/v1/agents", "list_agents", 200)
                await db.execute(insert(USAGE), event)
        items, more = rows[:limit], len(rows) > limit
        following = sign([items[-1]["created_at"].isoformat(), str(items[-1]["id"])], scope) if more else None
        return answer(caller, {"items": items, "next_cursor": following})

    @app.post("/api/v1/agents", status_code=201)
    async def create_agent(body: NewAgent, caller: Admitted) -> Response:
        at, id = datetime.now(UTC), uuid.uuid4()
        user = caller.member.user_id if peer.features else caller.tenant
        stamp = {"created_at": at, "updated_at": at, "created_by": user, "updated_by": user}
        agent = {"id": id, "tenant_id": caller.tenant, "revision": 1, **stamp, **body.model_dump()}
        async with peer.engine.begin() as db:
            if peer.features:
                await as_tenant(db, caller)
            if body.element_id is not None:
                element = {"tenant": caller.tenant, "id": uuid.UUID(body.element_id)}
                if (await db.execute(ELEMENT, element)).first() is None:
                    raise Problem(400, "invalid_request")
                agent["element_id"] = element["id"]
            await db.execute(insert(AGENTS), agent)
            if peer.features:
                await _accounted(db, caller, agent)
        return answer(caller, agent, 201, ETag=etag(agent), Location=f"/api/v1/agents/{id}")

    return app


async def _accounted(db: AsyncConnection, caller: Caller, agent: dict[str, Any]) -> None:
    """Audit, usage, and last, so that its row is locked for as short as can be, the quota."""
    at = agent["created_at"]
    entry = {
        "tenant_id": caller.tenant,
        "id": uuid.uuid4(),
        "created_at": at,
        "user_id": caller.member.user_id,
        "action": "agent.created",
        "resource_type": "agent",
        "resource_id": agent["id"],
        "revision": 1,
        "old_value": None,
        "new_value": agent,
        "ip_address": caller.address,
        "user_agent": caller.agent,
        "request_id": caller.request_id,
    }
    await db.execute(insert(AUDIT), entry)
    made = usage(caller, at, "agents_created", {"agent_id": str(agent["id"]), "pattern": agent["pattern"]})
    await db.execute(insert(USAGE), [made, called(caller, at, "POST", "/api/v1/agents", "create_agent", 201)])
    most = {"tenant": caller.tenant, "counter": "agents", "most": caller.member.max_agents}
    if (await db.execute(COUNT_UP, most)).first() is None:
        raise Problem(409, "quota_reached")


def serve(folder: Path) -> None:
    """Serve on a free port, which is printed once it listens."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(2048)
    print(f"ready on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    settings = json.loads((folder / "settings.json").read_text())
    build = importlib.import_module("orm").web if settings["orm"] else web
    app = build(Peer(settings))
    uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning")).run(sockets=[listening])


if __name__ == "__main__":
    sys.modules["app"] = sys.modules["__main__"]  # what orm.py imports
    serve(Path(sys.argv[1]))

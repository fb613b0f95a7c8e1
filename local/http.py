"""HTTP triggers: Starlette requests in as `azure.functions.HttpRequest`, `HttpResponse` out.

Follows the real host (azure-functions-host, GrpcMessageConversionExtensions): header names in lower case; repeated
query parameters and headers joined with a comma; a query parameter without a value left out.
Follows the real worker (`HttpResponseConverter`): of a repeated answer header other than Set-Cookie the last one wins.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote
from uuid import uuid4

import azure.functions as func
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from local.bindings import Function
from local.routes import Found, RouteTable, template
from shared.http.addresses import window_of
from shared.http.answers import SECURITY_HEADERS
from shared.http.catalogue import entries
from shared.http.problems import type_of
from shared.ids import is_request_id

logger = logging.getLogger("flowgrid.local.http")
BODY_SECONDS = 60.0
MAX_BODY_BYTES = 33 * 1024 * 1024
MAX_HELD_BYTES = 48 * 1024 * 1024
MAX_HELD_OF_ONE_BYTES = MAX_BODY_BYTES  # of what one address sends, so that who never ends leaves room for others
MAX_DISCARDED_BYTES = 4 * MAX_BODY_BYTES
_ANNOUNCING = (b"content-length", b"transfer-encoding")
BODILESS = ("GET", "HEAD", "OPTIONS")
BODILESS_STATUSES = (204, 304)
LISTEN_AFTER_SECONDS = 0.02  # to whether the client is still there


class HttpTriggers:
    """An ASGI app: finds the function of a request, calls it, answers."""

    def __init__(self, functions: Iterable[Function], route_prefix: str) -> None:
        self._routes = RouteTable(
            template(
                f"{route_prefix}/{function.trigger.get('route') or function.name}",
                function.trigger.get("methods"),
                function,
                function=function.name,
            )
            for function in functions
        )
        self._held: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.answer(Request(scope, receive))
        await response(scope, receive, send)

    async def answer(self, request: Request) -> ASGIApp:
        path = raw_path(request)
        found = self._routes.find(request.method, path)
        if not isinstance(found, Found):
            return _nothing(request, path, found)
        if _is_bodiless(request):
            return await self._call(request, found, b"")
        received = _Received(self._held, window_of(request.client.host if request.client else ""))
        try:
            return await self._answer(request, found, received)
        finally:
            received.let_go()

    async def _answer(self, request: Request, found: Found[Function], received: "_Received") -> ASGIApp:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await received.body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody hears it
        except TimeoutError:
            return problem(request, 408, "too_slow", f"The body did not come within {BODY_SECONDS:.0f} s.")
        if body is None and received.busy:
            message = "Too much is being received; try again in a moment."
            return problem(request, 503, "unavailable", message, headers={"Retry-After": "1"})
        if body is None:
            return problem(request, 413, "too_large", f"A body may have at most {MAX_BODY_BYTES // 1024**2 - 1} MB.")
        return await self._call(request, found, body)

    async def _call(self, request: Request, found: Found[Function], body: bytes) -> ASGIApp:
        incoming = to_azure(request, body, found.params)
        try:
            return to_asgi(await _while_heard(request, found.target.call(incoming, headers=incoming.headers)))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody hears it
        except Exception:
            logger.exception("function %s failed", found.target.name)
            return problem(request, 500, "internal", "Something went wrong on our side.")


def to_azure(request: Request, body: bytes, route_params: Mapping[str, str]) -> func.HttpRequest:
    """The request as a function sees it; X-Forwarded-For ends with the socket's peer, as behind Azure's front end."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    if request.client is not None:
        host = f"[{request.client.host}]" if ":" in request.client.host else request.client.host
        earlier = headers.get("x-forwarded-for")
        peer = f"{host}:{request.client.port}"
        headers["x-forwarded-for"] = f"{earlier}, {peer}" if earlier else peer
    query = request.scope["query_string"].decode("latin-1")
    server = headers.get("host") or "{}:{}".format(*(request.scope.get("server") or ("localhost", 80)))
    return func.HttpRequest(
        method=request.method,
        url=f"{request.scope['scheme']}://{server}{raw_path(request)}{'?' if query else ''}{query}",
        headers=headers,
        params=query_parameters(query),
        route_params=dict(route_params),
        body=body,
    )


def query_parameters(query: str) -> dict[str, str]:
    """As the real host passes them: names are one in any case, values joined with a comma, empty ones left out."""
    names: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(names.setdefault(name.casefold(), name), []).append(value)
    return {name: text for name, items in values.items() if (text := ",".join(items))}


@dataclass(frozen=True)
class Sent:
    """An answer as it goes out, as an ASGI app; Starlette's own would look through the headers once more."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def to_asgi(answer: Any) -> ASGIApp:
    """An `HttpResponse`, text, or None (204), as the real worker and host turn them into bytes."""
    if answer is None:
        return Response(status_code=204)
    if isinstance(answer, str):
        return Response(answer, media_type="text/plain")
    if not isinstance(answer, func.HttpResponse):
        raise TypeError(f"an HTTP function returned {type(answer).__name__}, not an HttpResponse")
    status, body = answer.status_code, answer.get_body()
    headers, cookies = dict[str, str](), list[str]()
    if status not in BODILESS_STATUSES:
        headers["content-length"] = str(len(body))
    for name, value in answer.headers.items():
        lower = name.lower()
        if lower == "set-cookie":
            cookies.append(value)
        else:
            headers[lower] = value
    if "content-type" not in headers and status not in BODILESS_STATUSES:
        charset = f"; charset={answer.charset}" if answer.mimetype.startswith("text/") else ""
        headers["content-type"] = f"{answer.mimetype}{charset}"
    sent = [*headers.items(), *(("set-cookie", cookie) for cookie in cookies)]
    return Sent(status, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent], body)


def problem(
    request: Request, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None
) -> Response:
    """RFC 9457, with the members that `shared/http/problems.py` gives the app's own errors."""
    asked = request.headers.get("x-request-id", "")
    request_id = asked if is_request_id(asked) else str(uuid4())
    body = {
        "type": type_of(code) if code in entries() else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": raw_path(request),
        "request_id": request_id,
        "code": code,
        "error": detail,
    }
    return Response(
        json.dumps(body),
        status_code=status,
        media_type="application/problem+json",
        headers={**SECURITY_HEADERS, "x-request-id": request_id, **(headers or {})},
    )


def raw_path(request: Request) -> str:
    """The path as it came, still quoted."""
    raw: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    return raw.decode("latin-1").partition("?")[0]


def _is_bodiless(request: Request) -> bool:
    """Whether nothing has to be waited for: neither header announces a body (RFC 9112 §6)."""
    announced = [value for name, value in request.scope["headers"] if name in _ANNOUNCING and value != b"0"]
    return request.method in BODILESS and not announced


def _nothing(request: Request, path: str, allowed: frozenset[str]) -> Response:
    if not allowed:
        return problem(request, 404, "not_found", f"There is nothing at {path}.")
    methods = ", ".join(sorted(allowed))
    detail = f"{request.method} is not possible here; use {' or '.join(sorted(allowed))}."
    return problem(request, 405, "method_not_allowed", detail, headers={"Allow": methods})


async def _while_heard(request: Request, call: Coroutine[Any, Any, Any]) -> Any:
    """What the call comes to; it is cancelled, and `ClientDisconnect` raised, when its client goes before that."""
    heard = _Heard(request)
    try:
        return await call
    except asyncio.CancelledError:
        if heard.gone and heard.calling.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        heard.close()


class _Heard:
    """Cancels the current task when its client has gone; most calls have ended before it begins to listen for that."""

    def __init__(self, request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - in a coroutine
        self.calling = task
        self.gone = False
        self._request = request
        self._listening: asyncio.Task[None] | None = None
        self._soon = asyncio.get_running_loop().call_later(LISTEN_AFTER_SECONDS, self._listen)

    def close(self) -> None:
        self._soon.cancel()
        if self._listening is not None:
            self._listening.cancel()

    def _listen(self) -> None:
        self._listening = asyncio.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.calling.cancel()


class _Received:
    """The body of one call, counted among all that are held, by whom they come from."""

    def __init__(self, held: Counter[str], peer: str) -> None:
        self._held = held
        self._peer = peer
        self._count = 0
        self.busy = False

    async def body(self, request: Request) -> bytes | None:
        """The body, or None when it is too large, or too much is held (`busy`).

        It is still read to its end, so that the client hears the answer.
        """
        body = bytearray()
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            self.busy = self.busy or not self._has_room(len(chunk))
            if total > MAX_DISCARDED_BYTES:
                return None
            if total > MAX_BODY_BYTES or self.busy:
                self.let_go()
                body.clear()
            else:
                body += chunk
                self._count += len(chunk)
                self._held[self._peer] += len(chunk)
        return None if total > MAX_BODY_BYTES or self.busy else bytes(body)

    def let_go(self) -> None:
        self._held[self._peer] -= self._count
        self._count = 0
        if not self._held[self._peer]:
            del self._held[self._peer]

    def _has_room(self, size: int) -> bool:
        return self._held.total() + size <= MAX_HELD_BYTES and self._held[self._peer] + size <= MAX_HELD_OF_ONE_BYTES

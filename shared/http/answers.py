"""From what a handler returns to an HTTP response, and the headers that every response carries."""

import json
import re
from asyncio import Future
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import azure.functions as func
from pydantic import BaseModel

from shared.auth.caller import RequestInfo
from shared.http.pagination import Page
from shared.http.routes import Begins, Content, Route
from shared.limits.port import Allowance
from shared.work.resources import Listing, Resource
from shared.work.session import TenantSession

SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
LIMITS = "x-flowgrid-limits"  # for the gateway alone, which takes it out
_SECURITY = tuple(SECURITY_HEADERS.items())

_OPAQUE_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')  # RFC 9110 §8.8.3, without the W/ of a weak one
_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f/\\]")  # what would leave the header, or the folder
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 ._-]")
_ATTR_CHARS = "!#$&+^`|"  # RFC 8187 §3.2.1, beside those that are never quoted


@dataclass
class Answered:
    """What has become known on the way to an answer."""

    request: RequestInfo
    started: datetime
    session: TenantSession | None = None
    replayed: bool = False
    limits: str | None = None
    allowances: list[Allowance] = field(default_factory=list)
    relays: list[Future[None]] = field(default_factory=list)


@dataclass(frozen=True)
class Replay:
    """The answer that an idempotency record kept."""

    body: Any
    etag: str | None


def respond(route: Route, req: func.HttpRequest, answer: Any, next_cursor: str | None) -> func.HttpResponse:
    """The response for a handler's answer, as the route declares it."""
    response = _whole(route, req, answer, next_cursor)
    return _unless_known(response, req.headers.get("if-none-match")) if route.method == "GET" else response


def head_of(response: func.HttpResponse) -> func.HttpResponse:
    """The same without its body, whose length is told (RFC 9110 §8.6)."""
    headers = dict(response.headers)
    if response.status_code != 304:
        headers["Content-Length"] = str(len(response.get_body()))
    return func.HttpResponse(status_code=response.status_code, mimetype=response.mimetype, headers=headers)


def disposition(file_name: str) -> str:
    """`Content-Disposition` of a file (RFC 6266): a name of more than plain ASCII is told twice (RFC 8187)."""
    name = _NOT_IN_A_NAME.sub("_", file_name)
    plain = _NOT_PLAIN.sub("_", name)
    told = f'attachment; filename="{plain}"'
    return told if plain == name else f"{told}; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS, errors='replace')}"


def _unless_known(response: func.HttpResponse, if_none_match: str | None) -> func.HttpResponse:
    """This, or 304 without it for who has it already: by weak comparison, of a list or `*` (RFC 9110 §13.1.2)."""
    etag = response.headers.get("ETag")
    if if_none_match is None or etag is None or response.status_code != 200:
        return response
    if if_none_match.strip() != "*" and etag not in _OPAQUE_TAG.findall(if_none_match):
        return response
    return func.HttpResponse(status_code=304, mimetype=response.mimetype, headers=dict(response.headers))


def _whole(route: Route, req: func.HttpRequest, answer: Any, next_cursor: str | None) -> func.HttpResponse:
    if isinstance(answer, Content):
        response = _content(route, answer)
        if next_cursor is not None:
            following = urlencode({**req.params, "cursor": next_cursor})
            response.headers["Link"] = f'<{route.location(req.route_params)}?{following}>; rel="next"'
        return response
    if isinstance(answer, Listing):
        answer = Page(items=answer.items, next_cursor=next_cursor)
    if isinstance(answer, Replay):
        return _json(route, req, answer.body, answer.etag)
    if isinstance(answer, dict):
        return _json(route, req, answer, None)
    if isinstance(answer, BaseModel):
        etag = answer.etag if isinstance(answer, Resource) else None
        return _json(route, req, answer, etag)
    return func.HttpResponse(status_code=204)


def finish(response: func.HttpResponse, answered: Answered, now: datetime) -> func.HttpResponse:
    """Add the headers of every answer."""
    headers = response.headers
    own = {name.lower() for name in headers.keys()}  # noqa: SIM118 - pairs, were it iterated
    added = [pair for pair in _SECURITY if pair[0].lower() not in own]
    added.append(("x-request-id", answered.request.request_id))
    added.append(("Server-Timing", f"app;dur={(now - answered.started).total_seconds() * 1000:.1f}"))
    if answered.replayed:
        added.append(("Idempotency-Replayed", "true"))
    if answered.limits is not None:
        added.append((LIMITS, answered.limits))
    if answered.allowances:
        tightest = min(answered.allowances, key=lambda allowance: allowance.remaining)
        added.append(("RateLimit-Limit", str(tightest.limit)))
        added.append(("RateLimit-Remaining", str(tightest.remaining)))
        added.append(("RateLimit-Reset", str(tightest.reset)))
    headers.extend(added)
    return response


def _content(route: Route, answer: Content) -> func.HttpResponse:
    status = answer.status or route.status
    response = func.HttpResponse(answer.body, status_code=status, mimetype=answer.media_type)
    if answer.etag:
        response.headers["ETag"] = answer.etag
        response.headers["Cache-Control"] = "no-cache"  # kept, but asked for each time
    if answer.file_name:
        response.headers["Content-Disposition"] = disposition(answer.file_name)
    for name, value in answer.headers.items():
        response.headers[name] = value
    return response


def _json(route: Route, req: func.HttpRequest, answer: Any, etag: str | None) -> func.HttpResponse:
    text = answer.model_dump_json(by_alias=True) if isinstance(answer, BaseModel) else _dumps(answer)
    response = func.HttpResponse(text, status_code=route.status, mimetype="application/json")
    if etag:
        response.headers["ETag"] = etag
    if route.status == 201:
        id = answer.id if isinstance(answer, Resource) else answer.get("id") if isinstance(answer, dict) else None
        if id:
            response.headers["Location"] = f"{route.location(req.route_params)}/{id}"
    if route.begins is not None:
        _under_way(response, route.begins, answer.model_dump() if isinstance(answer, BaseModel) else answer)
    return response


def _under_way(response: func.HttpResponse, begins: Begins, answer: Mapping[str, Any]) -> None:
    """Where to look for what goes on, and when (RFC 9110 §15.3.3, §10.2.3)."""
    if begins.when in (None, answer.get("status")):
        response.headers["Location"] = f"/api/{begins.path.format_map(answer)}"
        response.headers["Retry-After"] = str(begins.seconds)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

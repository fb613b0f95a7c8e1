"""From what a handler returns to an HTTP response, and the headers that every response carries."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import azure.functions as func
from pydantic import BaseModel

from shared.context import RequestInfo
from shared.http.pagination import Page
from shared.http.routes import Begins, Content, Route
from shared.ratelimit import Allowance
from shared.resources import Listing, Resource
from shared.session import TenantSession

SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


@dataclass
class Answered:
    """What has become known on the way to an answer."""

    request: RequestInfo
    started: datetime
    session: TenantSession | None = None
    replayed: bool = False
    allowances: list[Allowance] = field(default_factory=list)


@dataclass(frozen=True)
class Replay:
    """The answer that an idempotency record kept."""

    body: Any
    etag: str | None


def respond(route: Route, req: func.HttpRequest, answer: Any, next_cursor: str | None) -> func.HttpResponse:
    """The response for a handler's answer, as the route declares it."""
    if isinstance(answer, Content):
        return _content(route, answer)
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
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers["x-request-id"] = answered.request.request_id
    headers["Server-Timing"] = f"app;dur={(now - answered.started).total_seconds() * 1000:.1f}"
    if answered.replayed:
        headers["Idempotency-Replayed"] = "true"
    if answered.allowances:
        tightest = min(answered.allowances, key=lambda allowance: allowance.remaining)
        headers["RateLimit-Limit"] = str(tightest.limit)
        headers["RateLimit-Remaining"] = str(tightest.remaining)
        headers["RateLimit-Reset"] = str(tightest.reset)
    return response


def _content(route: Route, answer: Content) -> func.HttpResponse:
    status = answer.status or route.status
    response = func.HttpResponse(answer.body, status_code=status, mimetype=answer.media_type)
    if answer.etag:
        response.headers["ETag"] = answer.etag
        response.headers["Cache-Control"] = "no-cache"  # kept, but asked for each time
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

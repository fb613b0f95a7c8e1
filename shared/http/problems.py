"""Errors as RFC 9457 problems: one table from error class to status, walked along the class's MRO."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from azure.functions import HttpResponse

from shared.ai.port import ModelFailed
from shared.errors import (
    Conflict,
    FlowgridError,
    Forbidden,
    Full,
    Invalid,
    LimitReached,
    NotFound,
    PeerFailed,
    PreconditionRequired,
    RateLimited,
    Stale,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UnsupportedMedia,
)
from shared.http.shown import shown

logger = logging.getLogger("flowgrid.http")

Retold = Callable[[Mapping[str, Any]], Mapping[str, Any]]
PROBLEM_JSON = "application/problem+json"
STATUS: dict[type[FlowgridError], int] = {
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Stale: 412,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Unprocessable: 422,
    PreconditionRequired: 428,
    LimitReached: 429,
    ModelFailed: 502,
    PeerFailed: 502,
    Unavailable: 503,
    Full: 507,
    FlowgridError: 500,
}
TITLES = {
    304: "Not modified",
    400: "Invalid request",
    401: "Authentication needed",
    403: "Not allowed",
    404: "Not found",
    409: "Conflict",
    412: "Version has changed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Contradicts an earlier request",
    428: "Version needed",
    429: "Too many",
    500: "Internal error",
    502: "Failed outside",
    503: "Temporarily unavailable",
    507: "No room left",
}


def status_of(error: type[FlowgridError]) -> int:
    """The status of an error, which is its own or its nearest parent's."""
    return next(STATUS[cls] for cls in error.__mro__ if cls in STATUS)


def type_of(code: str) -> str:
    """The URI of a problem's type: its page, on whatever host answers (shared/http/catalogue.py)."""
    return f"/api/problems/{code}"


def problem(error: Exception, *, request_id: str, instance: str, also: Retold | None = None) -> HttpResponse:
    """The answer for any exception; one that is not ours becomes an opaque 500, its trace goes to the log only.

    `also`: what a route's own protocol says of a problem, beside what all say.
    """
    if not isinstance(error, FlowgridError):
        logger.error("unexpected error", exc_info=error)
        error = FlowgridError("Something went wrong on our side; quote the request_id when you ask about it.")
    status = status_of(type(error))
    standard: dict[str, Any] = {
        "type": type_of(error.code),
        "title": TITLES[status],
        "status": status,
        "detail": error.message,
        "instance": instance,
        "request_id": request_id,
        "code": error.code,
        "error": error.message,
    }
    body = standard | _members(error) | standard  # a member of our own never hides one of RFC 9457
    told = body if also is None else {**body, **also(body)}
    raw = json.dumps(told, ensure_ascii=False).encode(errors="replace")
    response = HttpResponse(raw, status_code=status, mimetype=PROBLEM_JSON)
    if isinstance(error, RateLimited | Unavailable):
        response.headers["Retry-After"] = str(error.retry_after)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="flowgrid"'
    return response


def _members(error: FlowgridError) -> dict[str, Any]:
    """With no more of what was sent than helps, whoever has found it wrong."""
    errors = error.members.get("errors")
    if not isinstance(error, Invalid) or errors is None:
        return dict(error.members)
    return {**error.members, "errors": [{**one, "value": shown(one["value"])} for one in errors]}

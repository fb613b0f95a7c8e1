"""The answers of an operation in OpenAPI: its own, and the problems that it can meet, with examples that are real."""

import json
from collections.abc import Sequence
from typing import Any

from shared.errors import (
    SHOWN_ERRORS,
    AroundTheGateway,
    Conflict,
    Contended,
    FlowgridError,
    Forbidden,
    Full,
    InUse,
    Invalid,
    KeyEnded,
    NotAMember,
    NotFound,
    PeerFailed,
    PreconditionRequired,
    QuotaReached,
    RateLimited,
    RoleNeeded,
    ScopeNeeded,
    Stale,
    Taken,
    TenantSuspended,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unknown,
    Unprocessable,
    UnsupportedMedia,
    WrongState,
)
from shared.http.openapi_schemas import REF, Schemas, pascal
from shared.http.problems import PROBLEM_JSON, STATUS, TITLES, problem, status_of
from shared.http.routes import Content, Route

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
HEADERS = {
    "RequestId": {"description": "Names this request in logs and audit.", "schema": TEXT},
    "RateLimitLimit": {"description": "Calls in the tightest window.", "schema": NUMBER},
    "RateLimitRemaining": {"description": "Calls left in it.", "schema": NUMBER},
    "RateLimitReset": {"description": "Seconds until it begins anew.", "schema": NUMBER},
    "ETag": {"description": "The version, for If-Match and If-None-Match.", "schema": TEXT},
    "Location": {"description": "Where to look for it.", "schema": TEXT},
    "RetryAfter": {"description": "In how many seconds to come again.", "schema": NUMBER},
    "WwwAuthenticate": {"description": "How to say who calls.", "schema": TEXT},
}


def _headers(**more: str) -> dict[str, Any]:
    """The request's id, and `more`: header -> component. What every answer says of limits is told at 429, and above."""
    every = {"x-request-id": "RequestId"}
    return {name: {"$ref": f"#/components/headers/{component}"} for name, component in {**every, **more}.items()}


TAGGED = {"ETag": "ETag"}
OF_STATUS = {
    304: TAGGED,
    401: {"WWW-Authenticate": "WwwAuthenticate"},
    429: {
        "Retry-After": "RetryAfter",
        "RateLimit-Limit": "RateLimitLimit",
        "RateLimit-Remaining": "RateLimitRemaining",
        "RateLimit-Reset": "RateLimitReset",
    },
    503: {"Retry-After": "RetryAfter"},
}
EXAMPLES: tuple[FlowgridError, ...] = (
    Invalid.of("name", "is missing", {}),
    Unauthenticated("The token has expired; sign in again."),
    KeyEnded("This API key, or this secret of it, has expired."),
    Forbidden("The token names no tenant; platform staff name one in x-tenant-id."),
    AroundTheGateway("Call this service through its gateway."),
    NotAMember("This tenant has no such user."),
    RoleNeeded("This needs the role tenant:admin; the caller has tenant:viewer."),
    ScopeNeeded("This needs the scope write, which the API key lacks."),
    TenantSuspended("This tenant is suspended; its data is kept. Write to support to resume it."),
    NotFound("There is no such agent."),
    Conflict("This is the tenant's last admin; make somebody else an admin first."),
    Contended("Others keep changing this at the same time; try again."),
    InUse("Agents refer to this element; give them another one, or none, first."),
    Taken("The slug acme is taken."),
    WrongState("This backup is running; there is nothing to read back."),
    Stale("This is not the current version any more; read it again, apply your change, send its ETag."),
    TooLarge("The body is 1200000 bytes; this route takes at most 1048576."),
    UnsupportedMedia("Send the body as application/json, not text/plain."),
    Unprocessable("This Idempotency-Key was used for another request."),
    PreconditionRequired("A PUT replaces a version that you name: send the ETag of it in If-Match."),
    RateLimited("Too many requests of this tenant in a minute", limit=10, retry_after=23),
    QuotaReached("Agent", limit=50, current=50),
    FlowgridError("Something went wrong on our side; quote the request_id when you ask about it."),
    PeerFailed("tickets answered 500: whether it has done what was asked is not known."),
    Unavailable("The database cannot be reached; try again.", retry_after=5),
    Throttled("The database asked to slow down.", retry_after=1),
    Unknown("The answer of the database was lost; send the same request again to find out."),
    Full("This tenant's partition is full; nothing can be added to it."),
)
INSTANCE = "/api/v1/agents"
REQUEST = "019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11"


def _problem_answer(status: int) -> dict[str, Any]:
    """What every operation answers with this status, with an example for each cause, made as the pipeline makes it."""
    answer: dict[str, Any] = {"description": TITLES[status], "headers": _headers(**OF_STATUS.get(status, {}))}
    if status >= 400:
        made = {
            error.code: {"value": json.loads(problem(error, request_id=REQUEST, instance=INSTANCE).get_body())}
            for error in EXAMPLES
            if status_of(type(error)) == status
        }
        answer["content"] = {PROBLEM_JSON: {"schema": {"$ref": REF.format(model="Problem")}, "examples": made}}
    return answer


def _name(status: int) -> str:
    """As the errors are called in the code, but for those that have no class of their own."""
    names = {status: error.__name__ for error, status in STATUS.items() if error is not FlowgridError}
    return names.get(status, pascal(TITLES[status]))


PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "instance", "request_id", "code", "error"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "The page about this code."},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What is wrong with this call; made for people."},
        "instance": {"type": "string", "description": "The path that was called."},
        "request_id": {"type": "string", "description": "As in x-request-id; quote it when you ask."},
        "code": {"type": "string", "description": "Names the cause; stable, made for programs."},
        "error": {"type": "string", "description": "The same as `detail`."},
        "errors": {
            "type": "array",
            "description": f"400: what is wrong, the first {SHOWN_ERRORS} of it.",
            "maxItems": SHOWN_ERRORS,
            "items": {"$ref": REF.format(model="FieldProblem")},
        },
        "more": {"type": "integer", "description": "400: how many errors there are beyond those shown."},
        "limit": {"type": "integer", "description": "429 of a quota: how many there may be."},
        "current": {"type": "integer", "description": "429 of a quota: how many there are."},
        "upgradeUrl": {"type": "string", "description": "429 of a quota: where there is more."},
    },
}
FIELD_PROBLEM = {
    "type": "object",
    "description": "One thing wrong with one field of a request.",
    "required": ["field", "message", "value"],
    "properties": {
        "field": {"type": "string", "description": "Dotted path of the field."},
        "message": {"type": "string", "description": "What is wrong with it."},
        "value": {"description": "What was sent, shortened."},
    },
}


def shared_responses(routes: Sequence[Route]) -> dict[str, Any]:
    """The answers that mean the same whatever was called, as far as one of these routes has them."""
    met = {status for route in routes for status in _statuses(route)}
    return {_name(status): _problem_answer(status) for status in TITLES if status in met}


def responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    """Status -> answer, for one route: its own, and those that it shares with others."""
    success: dict[str, Any] = {"description": "Done.", "headers": _headers(**_own_headers(route))}
    if isinstance(route.answer, Content):
        success["content"] = {media_type: {"schema": TEXT} for media_type in (route.answer.media_type, *route.also)}
        if route.paged:
            following = '`<path>; rel="next"`: where there is more (RFC 8288).'
            success["headers"]["Link"] = {"description": following, "schema": TEXT}
        if route.answer.file_name:
            named = f"A file, such as {route.answer.file_name}."
            success["headers"]["Content-Disposition"] = {"description": named, "schema": TEXT}
    elif route.answer is dict:
        success["content"] = {"application/json": {"schema": {"type": "object"}}}
    elif route.answer is not None:
        others = {media_type: {"schema": TEXT} for media_type in route.also}
        success["content"] = {"application/json": {"schema": schemas.answer(route.answer)}, **others}
    answers: dict[str, Any] = {str(route.status): success}
    for status in sorted(_statuses(route)):
        answers[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    if route.name == "get_health":
        answers["503"] = success | {"description": "Degraded: `checks` say what is wrong."}
    return answers


def _own_headers(route: Route) -> dict[str, str]:
    headers = dict(TAGGED) if route.tagged or route.of_resource else {}
    if route.begins is not None or route.status == 201:
        headers["Location"] = "Location"
    if route.begins is not None:
        headers["Retry-After"] = "RetryAfter"
    return headers


def _statuses(route: Route) -> set[int]:
    statuses = {500, *route.errors, *(() if route.free else (429, 503))}
    if route.role is not None:
        statuses |= {400, 401, 403}
    if route.tagged:
        statuses.add(304)
    if "{" in route.path:
        statuses.add(404)
    if route.body is not None:
        statuses |= {413, 415}
    if route.method == "POST" and route.role is not None:
        statuses |= {409, 422}
    if route.method in ("PUT", "PATCH", "DELETE"):
        statuses |= {409, 412}
    if route.method == "PUT":
        statuses.add(428)
    if route.method != "GET" and route.role is not None:
        statuses.add(507)
    return statuses

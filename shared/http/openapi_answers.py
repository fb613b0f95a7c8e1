"""The answers of an operation in OpenAPI: its own, and the problems that it can meet, with examples that are real."""

import json
from collections.abc import Mapping, Sequence
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


def _headers(told: Mapping[str, str]) -> dict[str, Any]:
    """Header -> component. What every answer carries is told where nothing else is, of `ANY`, and in words above."""
    return {"headers": {name: {"$ref": f"#/components/headers/{one}"} for name, one in told.items()}} if told else {}


TAGGED = {"ETag": "ETag"}
ANY = "Problem"
OF_ANY = {400, 401, 403, 413, 415, 422, 429, 500, 503, 507}
"""What the pipeline says to any call of its sort, whatever it is about: told once, as the `default` of an operation."""
HEADERS_OF_ANY = {
    "x-request-id": "RequestId",
    "WWW-Authenticate": "WwwAuthenticate",
    "Retry-After": "RetryAfter",
    "RateLimit-Limit": "RateLimitLimit",
    "RateLimit-Remaining": "RateLimitRemaining",
    "RateLimit-Reset": "RateLimitReset",
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


def _problems(*statuses: int) -> dict[str, Any]:
    """The content of an answer of these statuses: an example for each cause, made as the pipeline makes it."""
    made = {
        error.code: {"value": json.loads(problem(error, request_id=REQUEST, instance=INSTANCE).get_body())}
        for error in EXAMPLES
        if status_of(type(error)) in statuses
    }
    return {"content": {PROBLEM_JSON: {"schema": {"$ref": REF.format(model="Problem")}, "examples": made}}}


def _own_answer(status: int) -> dict[str, Any]:
    """What the operations that say so answer with this status."""
    if status < 400:
        return {"description": TITLES[status], **_headers(TAGGED)}
    return {"description": TITLES[status], **_problems(status)}


def _any_answer(statuses: set[int]) -> dict[str, Any]:
    """What any operation answers with these."""
    told = ", ".join(f"{status} {TITLES[status].lower()}" for status in sorted(statuses))
    return {"description": f"Any other problem: {told}.", **_headers(HEADERS_OF_ANY), **_problems(*statuses)}


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
    met = {status for route in routes for status in statuses(route)}
    own = {_name(status): _own_answer(status) for status in TITLES if status in met - OF_ANY}
    return {**own, ANY: _any_answer(met & OF_ANY)}


def responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    """Status -> answer, for one route: its own, and those that it shares with others."""
    success: dict[str, Any] = {"description": "Done.", **_headers(_own_headers(route))}
    if isinstance(route.answer, Content):
        success["content"] = {
            media_type: {"schema": TEXT} for media_type in (route.answer.media_type, *route.media_types)
        }
        if route.paged:
            following = '`<path>; rel="next"`: where there is more (RFC 8288).'
            success.setdefault("headers", {})["Link"] = {"description": following, "schema": TEXT}
        if route.answer.file_name:
            named = f"A file, such as {route.answer.file_name}."
            success.setdefault("headers", {})["Content-Disposition"] = {"description": named, "schema": TEXT}
    elif route.answer is dict:
        success["content"] = {"application/json": {"schema": {"type": "object"}}}
    elif route.answer is not None:
        others = {media_type: {"schema": TEXT} for media_type in route.media_types}
        success["content"] = {"application/json": {"schema": schemas.answer(route.answer)}, **others}
    answers: dict[str, Any] = {str(route.status): success}
    for status in sorted(statuses(route) - OF_ANY):
        answers[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    if route.name == "get_health":
        answers["503"] = success | {"description": "Degraded: `checks` say what is wrong."}
    return {**answers, "default": {"$ref": f"#/components/responses/{ANY}"}}


def _own_headers(route: Route) -> dict[str, str]:
    headers = dict(TAGGED) if route.tagged or route.of_resource else {}
    if route.begins is not None or route.status == 201:
        headers["Location"] = "Location"
    if route.begins is not None:
        headers["Retry-After"] = "RetryAfter"
    return headers


def statuses(route: Route) -> set[int]:
    """Each status, beside that of success, with which this route may answer."""
    found = {500, *route.errors, *(() if route.free else (429, 503))}
    if route.role is not None:
        found |= {400, 401, 403}
    if route.tagged:
        found.add(304)
    if "{" in route.path:
        found.add(404)
    if route.body is not None:
        found |= {413, 415}
    if route.method == "POST" and route.role is not None:
        found |= {409, 422}
    if route.method in ("PUT", "PATCH", "DELETE"):
        found |= {409, 412}
    if route.method == "PUT":
        found.add(428)
    if route.method != "GET" and route.role is not None:
        found.add(507)
    return found

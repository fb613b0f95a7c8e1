"""OpenAPI 3.1 from the routes' own declarations: the pipeline and its description cannot drift apart.

What several operations have in common is said once, under `components`, and referred to.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from shared.http.bodies import MAX_JSON_BYTES, MAX_JSON_VALUES, Json, Merge, Raw
from shared.http.idempotency import KEY_PATTERN
from shared.http.openapi_answers import FIELD_PROBLEM, HEADERS, PROBLEM, responses, shared_responses
from shared.http.openapi_schemas import Schemas, pascal
from shared.http.routes import Route

BESIDE = {**dict.fromkeys(("health", "openapi.json", "docs", "problems"), "platform"), "openapi": "tools"}
"""The tag of what is not named by the beginning of its path."""
TAGS = {  # of what is not one resource, which says itself what it is
    "audit": "Who changed what, when, from where, with the whole old and new value.",
    "billing": "The tenant's plan, its price, and what each month has cost.",
    "catalog": "ArchiMate exchange files in and out.",
    "execution-admission": "All runs of the tenant together: how many there are, pausing, resuming, cancelling them.",
    "export": "All that is kept of the tenant, item by item.",
    "me": "The caller.",
    "webhook-deliveries": "What webhooks were told, attempt by attempt, and what waits for them.",
    "notifications": "What the tenant must be told: the end of a trial, quotas, failed backups.",
    "platform": "Health, this description, and what only Flowgrid's staff may do: tenants, dead letters, room.",
    "quotas": "What the tenant's plan allows, and what is used of it.",
    "teams": "Agents that belong together, out of one tenant and into another.",
    "usage": "What was metered: calls, agents, tokens.",
    "analytics": "How calls went, and what AI has cost.",
}
ABOUT = f"""Multi-tenant AI agent management platform.

- **Who calls:** `Authorization: Bearer <token>`, of an identity provider that the deployment trusts, or an API key in
  its place (`POST v1/api-keys`). Either names the tenant; whatever is another tenant's does not exist (404).
  An operation says the least role that it needs, and the scope that an API key needs for it.
- **Bodies** have at most {MAX_JSON_BYTES} bytes where nothing else is said, and JSON at most {MAX_JSON_VALUES} values.
- **Lists** are pages: `next_cursor` of one is `cursor` of the next, and null on the last.
- **Versions:** what has an `ETag` is read again with `If-None-Match` (304) and changed with `If-Match` (412).
- **Repetition:** a POST under an `Idempotency-Key` is carried out once in 24 hours, and answered the same.
- **Limits:** every answer says with `RateLimit-Limit`, `-Remaining` and `-Reset` what is left of the tightest window.
- **Errors** are RFC 9457 problems with a stable `code`; every answer carries `x-request-id`. An operation tells those
  that are about its resource; `default` stands for those that any call may meet.
- What has a GET has a HEAD, and OPTIONS says what a path takes."""
TEXT = {"type": "string"}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of the version that this is meant for.",
    "schema": TEXT,
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of what the caller has.",
    "schema": TEXT,
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "24 hours long the same key gives the same answer.",
    "schema": {"type": "string", "pattern": KEY_PATTERN},
}


def describe(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """The whole document."""
    schemas = Schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    routes = [route for route in routes if route.described]
    for route in routes:
        paths.setdefault(f"/api/{route.path}", {})[route.method.lower()] = _operation(route, schemas)
    parameters, answers = _shared_parameters(paths), _shared_answers(paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Flowgrid", "version": version, "description": ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": said} for name, said in sorted(_tags(routes).items())],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token of a trusted identity provider (here, `python -m cli token` makes one), "
                    "or an API key.",
                }
            },
            "parameters": parameters,
            "headers": HEADERS,
            "responses": {**answers, **shared_responses(routes)},
            "schemas": {**schemas.shown(), "Problem": PROBLEM, "FieldProblem": FIELD_PROBLEM},
        },
    }


def _operations(paths: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (operation for methods in paths.values() for operation in methods.values())


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [_tag(route)],
        "parameters": _parameters(route, schemas),
        "responses": responses(route, schemas),
    }
    if route.role is None:
        operation["security"] = []
    else:
        scope = "" if route.platform else f", scope `{route.scope}`"
        operation["description"] = f"Role `{route.role}`{scope}."
    if route.body is not None:
        operation["requestBody"] = _request_body(route, schemas)
    return operation


def _request_body(route: Route, schemas: Schemas) -> dict[str, Any]:
    match route.body:
        case Json(model=model):
            schema = schemas.body(model)
        case Merge(model=model):
            schema = schemas.patch(model)
        case Raw(media_types=(first, *_)) if first.endswith("json"):
            schema = {"type": "object"}
        case _:
            schema = {"type": "string", "contentMediaType": "application/xml"}
    media: dict[str, Any] = {"schema": schema}
    if route.example:
        media["example"] = route.example
    media_types = route.body.media_types if route.body else ()
    required = not (isinstance(route.body, Json) and route.body.optional)
    most = route.body.max_bytes if route.body else 0
    said = {} if most == MAX_JSON_BYTES else {"description": f"At most {most} bytes."}
    return {"required": required, **said, "content": dict.fromkeys(media_types, media)}


def _parameters(route: Route, schemas: Schemas) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"The {name.removesuffix('_id').replace('_', ' ')}'s id.",
            "schema": {"type": "string", "format": "uuid"} if name.endswith("_id") else TEXT,
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    for name, schema in schemas.query(route.query).items():
        said = schema.pop("description", f"Only those whose `{name}` is this.")
        parameters.append({"name": name, "in": "query", "description": said, "schema": schema})
    if route.method in ("PUT", "PATCH", "DELETE") and "{" in route.path:
        parameters.append(IF_MATCH | ({"required": True} if route.method == "PUT" else {}))
    if route.tagged:
        parameters.append(IF_NONE_MATCH)
    if route.method == "POST":
        parameters.append(IDEMPOTENCY_KEY)
    return parameters


def _shared_parameters(paths: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The parameters that more than one operation has in the same words, taken out of these and referred to."""
    uses = Counter(_text(one) for operation in _operations(paths) for one in operation["parameters"])
    named: dict[str, str] = {}
    for text, count in uses.most_common():
        parameter = json.loads(text)
        name = pascal(parameter["name"])
        if name in named.values() and "$ref" in parameter["schema"]:
            name = parameter["schema"]["$ref"].rpartition("/")[2]
        if count > 1 and name not in named.values():  # a name that means two things is shared by the more frequent
            named[text] = name
    for operation in _operations(paths):
        operation["parameters"] = [
            {"$ref": f"#/components/parameters/{named[text]}"} if (text := _text(one)) in named else one
            for one in operation["parameters"]
        ]
    return {name: json.loads(text) for text, name in sorted(named.items(), key=lambda item: item[1])}


def _shared_answers(paths: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The successes that more than one operation has, named by what they carry."""
    answers = [(one["responses"], status, _text(one["responses"][status])) for one, status in _successes(paths)]
    uses = Counter(text for _, _, text in answers)
    named: dict[str, str] = {}
    for text, count in uses.most_common():
        carried = re.search(r'"#/components/schemas/(\w+)"', text)
        name = carried[1] if carried else "Done"
        if count > 1 and name not in named.values():
            named[text] = name
    for responses_of, status, text in answers:
        if text in named:
            responses_of[status] = {"$ref": f"#/components/responses/{named[text]}"}
    return {name: json.loads(text) for text, name in sorted(named.items(), key=lambda item: item[1])}


def _successes(paths: dict[str, dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each operation with the status of its success."""
    for operation in _operations(paths):
        for status in operation["responses"]:
            if status < "300":
                yield operation, status


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _tags(routes: Sequence[Route]) -> dict[str, str]:
    """Each tag and what it is about: what the table says, or the model of one thing of it."""
    said = {_tag(route): str(route.answer.__doc__) for route in routes if route.of_resource}
    return {tag: TAGS.get(tag) or said.get(tag, "") for tag in map(_tag, routes)}


def _tag(route: Route) -> str:
    parts = route.path.removeprefix("v1/").split("/")
    return BESIDE.get(parts[0], parts[0])

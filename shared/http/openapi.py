"""OpenAPI 3.1 from the routes' own declarations: the pipeline and its description cannot drift apart."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.database.limits import MAX_INTEGER
from shared.errors import SHOWN_ERRORS
from shared.http.bodies import MAX_JSON_VALUES, Json, Merge
from shared.http.idempotency import KEY_PATTERN
from shared.http.problems import PROBLEM_JSON, TITLES
from shared.http.routes import Content, Route

REF = "#/components/schemas/{model}"
HEADERS = {
    "x-request-id": {"description": "Names this request in logs and audit.", "schema": {"type": "string"}},
    "RateLimit-Limit": {"description": "Calls in the tightest window.", "schema": {"type": "integer"}},
    "RateLimit-Remaining": {"description": "Calls left in it.", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "Seconds until it begins anew.", "schema": {"type": "integer"}},
}
PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "instance", "request_id", "code", "error"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "code": {"type": "string", "description": "Stable; made for programs."},
        "error": {"type": "string"},
        "errors": {
            "type": "array",
            "description": f"400: what is wrong, the first {SHOWN_ERRORS} of it.",
            "maxItems": SHOWN_ERRORS,
            "items": {
                "type": "object",
                "required": ["field", "message", "value"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}, "value": True},
            },
        },
        "more": {"type": "integer", "description": "400: how many errors there are beyond those shown."},
        "limit": {"type": "integer", "description": "429 of a quota."},
        "current": {"type": "integer", "description": "429 of a quota."},
        "upgradeUrl": {"type": "string", "description": "429 of a quota."},
    },
}
JSON = {
    "description": "Any JSON, but for whole numbers that a double cannot hold: send them as strings.",
    "anyOf": [
        {"type": ["null", "boolean", "string"]},
        {"type": "number", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER},
        {"type": "array", "items": {"$ref": REF.format(model="Json")}},
        {"type": "object", "additionalProperties": {"$ref": REF.format(model="Json")}},
    ],
}
PROBLEM_EXAMPLES: dict[int, dict[str, Any]] = {
    400: {"error": "name: Field required", "errors": [{"field": "name", "message": "Field required", "value": {}}]},
    401: {"error": "The token has expired; sign in again."},
    403: {"error": "This needs the role tenant:admin; the caller has tenant:viewer."},
    404: {"error": "There is no such agent."},
    429: {"error": "Agent quota exceeded", "limit": 50, "current": 50, "upgradeUrl": "/billing/upgrade"},
}


def describe(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """The whole document."""
    schemas = _schemas(routes)
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(f"/api/{route.path}", {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flowgrid",
            "version": version,
            "description": "Multi-tenant AI agent management platform. Every answer carries x-request-id. "
            "What has a GET has a HEAD.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {**dict(sorted(schemas.definitions.items())), "Json": JSON, "Problem": PROBLEM},
        },
    }


@dataclass(frozen=True)
class _Schemas:
    """Where each body's and each answer's schema is."""

    references: Mapping[Any, dict[str, Any]]
    definitions: dict[str, Any]

    def body(self, model: type[BaseModel]) -> dict[str, Any]:
        return self.references[model, "validation"]

    def answer(self, model: type[BaseModel]) -> dict[str, Any]:
        return self.references[model, "serialization"]

    def definition(self, model: type[BaseModel]) -> dict[str, Any]:
        found: dict[str, Any] = self.definitions[self.body(model)["$ref"].rpartition("/")[2]]
        return found


def _schemas(routes: Sequence[Route]) -> _Schemas:
    bodies = dict.fromkeys(route.body.model for route in routes if isinstance(route.body, Json | Merge))
    answers = dict.fromkeys(route.answer for route in routes if _is_model(route.answer))
    models: list[Any] = [(model, "validation") for model in bodies] + [(model, "serialization") for model in answers]
    references, definitions = models_json_schema(models, ref_template=REF)
    return _Schemas(references, dict(definitions.get("$defs", {})))


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [_tag(route)],
        "parameters": _parameters(route),
        "responses": _responses(route, schemas),
    }
    if route.role is None:
        operation["security"] = []
    else:
        operation["description"] = f"Needs the role `{route.role}`."
    if route.body is not None:
        operation["requestBody"] = _request_body(route, schemas)
    return operation


def _request_body(route: Route, schemas: _Schemas) -> dict[str, Any]:
    match route.body:
        case Json(model=model):
            schema = schemas.body(model)
        case Merge(model=model):
            schema = _patch_schema(schemas.definition(model))
        case _:
            schema = {"type": "string", "contentMediaType": "application/xml"}
    media: dict[str, Any] = {"schema": schema}
    if route.example:
        media["example"] = route.example
    media_types = route.body.media_types if route.body else ()
    most = f"At most {route.body.max_bytes if route.body else 0} bytes"
    values = f" and {MAX_JSON_VALUES} values" if isinstance(route.body, Json | Merge) else ""
    required = not (isinstance(route.body, Json) and route.body.optional)
    return {"required": required, "description": f"{most}{values}.", "content": dict.fromkeys(media_types, media)}


def _patch_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396: every field may be left out, and null takes away what has a default."""
    required = schema.get("required", [])
    properties = {
        name: field if name in required else {"anyOf": [field, {"type": "null"}]}
        for name, field in schema["properties"].items()
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    query = route.query.model_json_schema(ref_template=REF)
    for name, schema in query.get("properties", {}).items():
        plain = _without_null(_inlined(schema, query.get("$defs", {})))
        plain.pop("title", None)
        parameters.append({"name": name, "in": "query", "required": False, "schema": plain})
    if route.method in ("PUT", "PATCH", "DELETE") and "{" in route.path:
        parameters.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": route.method == "PUT",
                "description": "The ETag of the version that this is meant for.",
                "schema": {"type": "string"},
            }
        )
    if route.tagged:
        parameters.append(
            {
                "name": "If-None-Match",
                "in": "header",
                "required": False,
                "description": "The ETag of what the caller has.",
                "schema": {"type": "string"},
            }
        )
    if route.method == "POST":
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "24 hours long the same key gives the same answer.",
                "schema": {"type": "string", "pattern": KEY_PATTERN},
            }
        )
    return parameters


def _responses(route: Route, schemas: _Schemas) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done.", "headers": dict(HEADERS)}
    if isinstance(route.answer, Content):
        success["content"] = {route.answer.media_type: {"schema": {"type": "string"}}}
        if route.answer.file_name:
            named = f"A file, such as {route.answer.file_name}."
            success["headers"]["Content-Disposition"] = {"description": named, "schema": {"type": "string"}}
    elif route.answer is dict:
        success["content"] = {"application/json": {"schema": {"type": "object"}}}
    elif route.answer is not None:
        success["content"] = {"application/json": {"schema": schemas.answer(route.answer)}}
    if route.role is None:
        success["headers"].pop("RateLimit-Remaining")
    if route.begins is not None or route.status == 201:
        success["headers"]["Location"] = {"description": "Where to look for it.", "schema": {"type": "string"}}
    if route.begins is not None:
        while_status = f", while it is {route.begins.when}" if route.begins.when else ""
        told = f"In how many seconds its state is worth a look{while_status}."
        success["headers"]["Retry-After"] = {"description": told, "schema": {"type": "integer"}}
    if route.tagged:
        success["headers"]["ETag"] = {"description": "For If-None-Match.", "schema": {"type": "string"}}
    responses = {str(route.status): success}
    for status in sorted(_statuses(route)):
        if status == 304:
            responses["304"] = {"description": TITLES[status], "headers": dict(success["headers"])}
            continue
        content = {PROBLEM_JSON: {"schema": {"$ref": REF.format(model="Problem")}, **_problem_example(status)}}
        if status == 503 and route.name == "get_health":
            content = {"application/json": success["content"]["application/json"]}
        responses[str(status)] = {"description": TITLES[status], "headers": dict(HEADERS), "content": content}
    return responses


def _statuses(route: Route) -> set[int]:
    statuses = {429, 500, 503, *route.errors}
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


def _problem_example(status: int) -> dict[str, Any]:
    if status not in PROBLEM_EXAMPLES:
        return {}
    shown = PROBLEM_EXAMPLES[status]
    example = {
        "type": "https://flowgrid.dev/problems/example",
        "title": TITLES[status],
        "status": status,
        "detail": shown["error"],
        "instance": "/api/v1/agents",
        "request_id": "019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11",
        "code": "example",
        **shown,
    }
    return {"example": example}


def _inlined(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        schema = {**definitions[reference.rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}
    return {
        name: [_inlined(one, definitions) for one in value] if name == "anyOf" else value
        for name, value in schema.items()
    }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is there or not; it is never null."""
    choices = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default") or value is not None}
    if len(choices) == 1:
        rest.pop("anyOf", None)
        return {**choices[0], **rest}
    return rest


def _is_model(answer: Any) -> bool:
    return isinstance(answer, type) and issubclass(answer, BaseModel)


def _tag(route: Route) -> str:
    parts = route.path.removeprefix("v1/").split("/")
    return "platform" if parts[0] in ("platform", "health", "openapi.json", "docs") else parts[0]

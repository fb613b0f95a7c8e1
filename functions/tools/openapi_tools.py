"""From an operation of an OpenAPI document to an HTTP tool: its arguments become one object."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from functions.tools.models import IN_QUERY, Approval, ToolFields
from functions.tools.openapi import Document, NotTaken, Operation, Schemas, described, list_in, mapping_in, text_in
from functions.tools.rules import wrong_with
from functions.tools.schemas import inner, wrong_with_schema
from shared.outgoing.addresses import Allowed

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_NAME = re.compile(r"[^a-z0-9]+")
MAX_PARAMETERS: Final = 100
MAX_VARIABLES: Final = 20
MAX_KINDS: Final = 20  # of a body
_NO_FIELDS: Final = frozenset({"anyOf", "oneOf", "not", "if", "patternProperties"})


@dataclass
class Arguments:
    """What has been gathered for one tool."""

    properties: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    query: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    closed: bool = True

    def add(self, name: str, schema: dict[str, Any], *, required: bool) -> None:
        if name in self.properties:
            raise NotTaken(f"two of its arguments are called {name[:100]!r}")
        self.properties[name] = schema
        if required:
            self.required.append(name)

    @property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "object", "properties": self.properties}
        if self.required:
            found["required"] = self.required
        if self.closed:
            found["additionalProperties"] = False
        return found


def tool_of(
    document: Document, operation: Operation, base_url: str | None, approval: Approval, allowed: Allowed
) -> tuple[ToolFields, list[str]]:
    """The tool, and what of the operation it leaves out. `NotTaken` says why there can be none."""
    schemas, arguments = Schemas(document), Arguments()
    _parameters(document, operation, schemas, arguments)
    _body(document, operation, schemas, arguments)
    parameters = arguments.schema
    if wrong_with_schema(parameters) and not wrong_with_schema(plain := without_patterns(parameters)):
        arguments.notes.append("patterns are left out: not all of them can be matched in linear time")
        parameters = plain
    fields = {
        "name": name_of(operation),
        "description": _description(operation),
        "method": operation.method.upper(),
        "url": (base_url or _server(document, operation)).rstrip("/") + operation.path,
        "parameters": parameters,
        "query": [] if operation.method.upper() in IN_QUERY else arguments.query,
        "approval": "none" if operation.method == "get" else approval,
        **_auth(document, operation, arguments.notes),
    }
    try:
        tool = ToolFields.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise NotTaken(f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg'][:200]}") from None
    if errors := wrong_with(tool, allowed):
        raise NotTaken(f"{errors[0].field} {errors[0].message}")
    return tool, arguments.notes


def name_of(operation: Operation) -> str:
    """`getPetById` becomes `get-pet-by-id`; without an id it is made of method and path."""
    said = _HUMP.sub("-", (operation.id or f"{operation.method}-{operation.path}")[:200])
    return _NO_NAME.sub("-", said.lower()).strip("-")[:50].strip("-") or operation.method


def _description(operation: Operation) -> str:
    said = [text_in(operation.own, name)[:2000].strip() for name in ("summary", "description")]
    return "\n\n".join(dict.fromkeys(one for one in said if one))[:2000]


def _parameters(document: Document, operation: Operation, schemas: Schemas, arguments: Arguments) -> None:
    """Those of the operation hide those of its path."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    every = [list_in(holder, "parameters") for holder in (operation.item, operation.own)]
    if sum(map(len, every)) > MAX_PARAMETERS:
        raise NotTaken(f"it has more than {MAX_PARAMETERS} parameters")
    for one in [*every[0], *every[1]]:
        parameter = document.follow(one)
        name, place = text_in(parameter, "name"), text_in(parameter, "in")
        if not name or not place:
            raise NotTaken("it has a parameter without a name or a place")
        found[name, place] = parameter
    for (name, place), parameter in found.items():
        required = parameter.get("required") is True
        if place in ("path", "query") and "schema" in parameter:
            schema = {**schemas.whole(parameter["schema"]), **described(parameter)}
            if not _has_place(place, schema, parameter):
                _leave(arguments, f"{place} parameter {name[:100]!r}, which is written in a way of its own", required)
                continue
            arguments.add(name, schema, required=required or place == "path")
            if place == "query":
                arguments.query.append(name)
        elif not (place == "header" and name.lower() in ("accept", "content-type", "authorization")):
            _leave(arguments, f"{place} parameter {name[:100]!r}", required)


def _has_place(place: str, schema: Mapping[str, Any], parameter: Mapping[str, Any]) -> bool:
    """Whether a tool writes it as the document says: lists once for each, objects not at all."""
    types = schema.get("type", "string")
    types = types if isinstance(types, list) else [types]
    if "object" in types or (place == "path" and "array" in types):
        return False
    usual = "form" if place == "query" else "simple"
    listed = "array" in types and parameter.get("explode", True) is not True
    return parameter.get("style", usual) == usual and not listed


def _body(document: Document, operation: Operation, schemas: Schemas, arguments: Arguments) -> None:
    body = document.follow(operation.own.get("requestBody"))
    content = dict(islice(mapping_in(body, "content").items(), MAX_KINDS))
    if not content:
        return
    required = body.get("required") is True
    taken = [one for kind, one in content.items() if _is_json(kind)]
    if not taken or operation.method.upper() in IN_QUERY:
        return _leave(arguments, f"its body ({', '.join(content)[:100]})", required)
    whole = _merged(schemas.whole(mapping_in(taken[0], "schema") or {}))
    if "properties" not in whole or _NO_FIELDS & {*whole}:
        raise NotTaken("its body is no object of named fields")
    needed = list_in(whole, "required")
    for name, schema in whole["properties"].items():
        if schema.get("readOnly") is not True:
            arguments.add(name, schema, required=required and name in needed)
    arguments.closed = whole.get("additionalProperties", False) is False


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """The fields of an object and of all that `allOf` adds to it, as one object."""
    for part in [_merged(one) for one in schema.pop("allOf", [])]:
        if "properties" in part:
            schema["properties"] = {**part["properties"], **schema.get("properties", {})}
        schema["required"] = [*list_in(schema, "required"), *list_in(part, "required")]
        for keyword in _NO_FIELDS & {*part}:
            schema[keyword] = part[keyword]
    return schema


def _is_json(kind: str) -> bool:
    kind = kind.partition(";")[0].strip().lower()
    return kind in ("application/json", "*/*", "application/*") or kind.endswith("+json")


def _leave(arguments: Arguments, what: str, required: bool) -> None:
    if required:
        raise NotTaken(f"it needs what a tool cannot send: {what}")
    arguments.notes.append(f"left out: {what}")


def _server(document: Document, operation: Operation) -> str:
    """The first server of the operation, of its path, or of all; variables are what they usually are."""
    for holder in (operation.own, operation.item, document.root):
        for server in list_in(holder, "servers")[:1]:
            url = text_in(server, "url")[:2000]
            for name, variable in islice(mapping_in(server, "variables").items(), MAX_VARIABLES):
                url = url.replace(f"{{{name}}}", text_in(variable, "default")[:200])
            return url
    raise NotTaken("the document names no server; say where it is (`base_url`)")


def _auth(document: Document, operation: Operation, notes: list[str]) -> dict[str, str]:
    """In which header the key goes. Keys themselves are not in documents: an admin sets each tool's `secret`."""
    wanted = operation.own.get("security", document.root.get("security"))
    names = [name for one in (wanted if isinstance(wanted, list) else [])[:1] if isinstance(one, dict) for name in one]
    if not names:
        return {}
    scheme = document.follow(mapping_in(mapping_in(document.root, "components"), "securitySchemes").get(names[0]))
    match text_in(scheme, "type"), text_in(scheme, "in"), text_in(scheme, "scheme").lower():
        case "apiKey", "header", _:
            notes.append("needs a key: set its `secret`")
            return {"auth_header": text_in(scheme, "name"), "auth_prefix": ""}
        case ("http", _, "bearer") | ("oauth2" | "openIdConnect", _, _):
            notes.append("needs a token: set its `secret`")
            return {"auth_header": "Authorization", "auth_prefix": "Bearer "}
        case "http", _, "basic":
            notes.append("needs user and password: set its `secret` to user:password in base64")
            return {"auth_header": "Authorization", "auth_prefix": "Basic "}
        case _:
            notes.append("wants its key in a way that tools have not: calls come without")
            return {}


def without_patterns(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy, in which texts may be anything."""
    whole = copy.deepcopy(schema)
    waiting: list[Any] = [whole]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            one.pop("pattern", None)
            one.pop("patternProperties", None)
            waiting += inner(one)
    return whole

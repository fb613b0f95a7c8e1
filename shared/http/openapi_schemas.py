"""The schemas of bodies and answers, named and described as a client library wants them.

pydantic makes them; here each gets one name (`Agent`, `AgentPage`, `AgentPatch`), each list of values too, and what a
body's field means is said where the resource says it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from inspect import get_annotations, getdoc
from itertools import chain
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.database.limits import MAX_INTEGER
from shared.http.bodies import Json, Merge
from shared.http.pagination import Page, Query
from shared.http.routes import Route
from shared.work.resources import Resource

Schema = dict[str, Any]
REF = "#/components/schemas/{model}"
BODY_SUFFIX = "Fields"  # `AgentFields`: what may be set of an `Agent`
BODY_PREFIX = "New"
RESOURCE = "Resource"
FEWEST_INHERITED = 6  # fields that are the same to the letter: fewer may be so by chance
JSON: Schema = {  # without a type, which generators of clients take for any, as it is meant
    "description": "Any JSON, but for whole numbers that a double cannot hold: send them as strings.",
    "minimum": -MAX_INTEGER,
    "maximum": MAX_INTEGER,
    "items": {"$ref": REF.format(model="Json")},
    "additionalProperties": {"$ref": REF.format(model="Json")},
}


class Schemas:
    """Where the schema of each model of the routes is. References that are given out stay right."""

    def __init__(self, routes: Sequence[Route]) -> None:
        bodies = dict.fromkeys(route.body.model for route in routes if isinstance(route.body, Json | Merge))
        answers = dict.fromkeys(route.answer for route in routes if _is_model(route.answer))
        models: list[Any] = [(model, "validation") for model in bodies] + [
            (model, "serialization") for model in answers
        ]
        self._references, made = models_json_schema(models, ref_template=REF)
        self._definitions: dict[str, Schema] = {name: _terse(one) for name, one in made.get("$defs", {}).items()}
        for key, reference in self._references.items():
            if issubclass(model := key[0], Page):  # AgentPage, for pydantic Page_Agent_
                page = self._definitions.pop(_target(reference))
                self._definitions[model.__name__] = {"description": getdoc(Page), **page}
                self._references[key] = {"$ref": REF.format(model=model.__name__)}
        given = _reached(self._definitions, [self.body(model) for model in bodies])
        for name in self._definitions.keys() - given:
            _whole(self._definitions[name])
        for name, schema in self._definitions.items():
            resource = self._definitions.get(name.removesuffix(BODY_SUFFIX).removeprefix(BODY_PREFIX), schema)
            _borrow(schema, resource)
            _borrow(resource, schema)
        whole = {route.body.model for route in routes if isinstance(route.body, Json)}
        for model in bodies:
            if any(isinstance(route.body, Merge) and route.body.model is model for route in routes):
                self._add_patch(model)
            if model not in whole:  # its patch is all that is sent of it
                del self._definitions[_target(self.body(model))]
        self._values = _named_values(self._definitions)
        for query in dict.fromkeys(route.query for route in routes):
            self._name_values_of(query)

    def body(self, model: type[BaseModel]) -> Schema:
        return self._references[model, "validation"]

    def answer(self, model: type[BaseModel]) -> Schema:
        return self._references[model, "serialization"]

    def patch(self, model: type[BaseModel]) -> Schema:
        return {"$ref": REF.format(model=_patch_name(model))}

    def query(self, model: type[Query]) -> dict[str, Schema]:
        """Each parameter of a query by its name; a parameter is there or not, it is never null."""
        made = model.model_json_schema(ref_template=REF)
        inner = made.get("$defs", {})
        found = {name: _without_null(_inlined(one, inner)) for name, one in made.get("properties", {}).items()}
        return {name: self._referring(_terse(one)) for name, one in found.items()}

    def shown(self) -> dict[str, Schema]:
        """All of them, as the document holds them."""
        made = {name: one if _values_of(one) else self._referring(one) for name, one in self._definitions.items()}
        values = {name: {"type": "string", **json.loads(text)} for text, name in self._values.items()}
        return dict(sorted({"Json": JSON, **values, **_inheriting({RESOURCE: _resource(), **made})}.items()))

    def _name_values_of(self, query: type[Query]) -> None:
        """The lists of values that only queries have: `ResourceSort`, of the query that says them first."""
        for name, schema in query.model_json_schema(ref_template=REF).get("properties", {}).items():
            says = next((base for base in query.__mro__ if name in get_annotations(base)), query)
            for one in [schema, *_inner(schema)]:
                if key := _values_of(one):
                    self._values.setdefault(key, says.__name__.removesuffix("Query") + pascal(name))

    def _add_patch(self, model: type[BaseModel]) -> None:
        """RFC 7396: every field may be left out, and null takes away what has a default."""
        whole = self._definitions[_target(self.body(model))]
        properties = {
            name: _patched({key: value for key, value in field.items() if key != "default"}, name in whole["required"])
            for name, field in whole["properties"].items()
        }
        self._definitions[_patch_name(model)] = {
            "type": "object",
            "description": "A merge patch (RFC 7396): what is left out stays, null is the default.",
            "properties": properties,
            "additionalProperties": False,
        }

    def _referring(self, schema: Schema) -> Schema:
        """The same, with each list of values that has a name replaced by a reference to it."""
        key = _values_of(schema)
        if key in self._values:
            rest = {name: value for name, value in schema.items() if name not in ("enum", "type")}
            return {"$ref": REF.format(model=self._values[key]), **rest}
        return {
            name: self._referring(value)
            if isinstance(value, dict) and name not in ("default", "example")
            else [self._referring(one) if isinstance(one, dict) else one for one in value]
            if isinstance(value, list)
            else value
            for name, value in schema.items()
        }


def pascal(words: str) -> str:
    """`RateLimit-Limit`, `agent_id`, `Too many` -> `RateLimitLimit`, `AgentId`, `TooMany`."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"\W|_", words))


def _patch_name(model: type[BaseModel]) -> str:
    return f"{model.__name__.removesuffix(BODY_SUFFIX)}Patch"


def _target(reference: Schema) -> str:
    return str(reference["$ref"].rpartition("/")[2])


def _is_model(answer: Any) -> bool:
    return isinstance(answer, type) and issubclass(answer, BaseModel)


def _inner(schema: Schema) -> Iterator[Schema]:
    """The schemas directly within one."""
    named = [value for key in ("properties", "patternProperties", "$defs") for value in schema.get(key, {}).values()]
    single = [schema[key] for key in ("items", "additionalProperties", "propertyNames") if key in schema]
    several = [one for key in ("anyOf", "allOf", "oneOf", "prefixItems") for one in schema.get(key, [])]
    return (one for one in chain(named, single, several) if isinstance(one, dict))


def _terse(schema: Schema) -> Schema:
    """In fewer words: without the titles that pydantic makes of names, and examples where the format says as much."""
    schema.pop("title", None)
    if schema.get("format") in ("uuid", "date-time"):
        schema.pop("examples", None)
    if "patternProperties" in schema:  # the names that a body takes; pydantic says not that there are no others
        schema["additionalProperties"] = False
    for one in _inner(schema):
        _terse(one)
    if len(choices := schema.get("anyOf", [])) == 2 and choices[1] == {"type": "null"}:
        one = choices[0]
        if isinstance(one.get("type"), str) and "enum" not in one:
            del schema["anyOf"]
            schema.update({**one, "type": [one["type"], "null"]})
    return schema


def _reached(definitions: dict[str, Schema], roots: Sequence[Schema]) -> set[str]:
    """The names of all schemas that these lead to."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        schema = waiting.pop()
        name = _target(schema) if "$ref" in schema else None
        if name in definitions and name not in found:
            found.add(name)
            waiting.append(definitions[name])
        waiting += _inner(schema)
    return found


def _whole(schema: Schema) -> None:
    """An answer holds all its fields: none is left to a default, and a client need not ask whether it is there."""
    if "properties" in schema:
        schema["required"] = list(schema["properties"])
        for field in schema["properties"].values():
            field.pop("default", None)


def _resource() -> Schema:
    """What every resource has, whose model is nobody's answer."""
    made = _terse(Resource.model_json_schema(mode="serialization"))
    _whole(made)
    return {**made, "description": "What every resource has."}


def _inheriting(definitions: dict[str, Schema]) -> dict[str, Schema]:
    """The same: of schemas of which one holds all fields of another, the larger one refers to the other."""
    fields: dict[str, Schema] = {
        name: schema.get("properties", {})
        for name, schema in definitions.items()
        if "additionalProperties" not in schema  # what is closed, as bodies are, cannot be added to
    }
    bases = sorted(
        (name for name in fields if len(fields[name]) >= FEWEST_INHERITED), key=lambda name: -len(fields[name])
    )
    found = dict(definitions)
    for name, own in fields.items():
        base = next((one for one in bases if len(fields[one]) < len(own) and fields[one].items() <= own.items()), None)
        if base is not None:
            found[name] = _extending(base, fields[base], definitions[name])
    return found


def _extending(base: str, fields: Schema, schema: Schema) -> Schema:
    """A schema as another, and what it says beyond the fields of that.

    In two parts: generators of clients take a single one for another name of what it refers to.
    """
    more = {name: field for name, field in schema["properties"].items() if name not in fields}
    own = {"type": "object", "properties": more, "required": [name for name in schema["required"] if name in more]}
    rest = {name: value for name, value in schema.items() if name not in own}
    return {**rest, "allOf": [{"$ref": REF.format(model=base)}, own]}


def _borrow(schema: Schema, resource: Schema) -> None:
    """Take the descriptions that a body leaves out from the resource that it makes; or the other way round."""
    for name, field in schema.get("properties", {}).items():
        said = resource.get("properties", {}).get(name, {}).get("description")
        if said and "description" not in field:
            field["description"] = said


def _patched(field: Schema, required: bool) -> Schema:
    if required or {"type": "null"} in field.get("anyOf", []) or "null" in field.get("type", []):
        return field
    said = {"description": field["description"]} if "description" in field else {}
    rest = {name: value for name, value in field.items() if name != "description"}
    return _terse({"anyOf": [rest, {"type": "null"}], **said})


def _named_values(definitions: dict[str, Schema]) -> dict[str, str]:
    """The lists of values in these schemas, each with the shortest name that a schema and its property give it."""
    names: dict[str, str] = {}
    for name, schema in definitions.items():
        if key := _values_of(schema):
            names[key] = name
    for name, schema in definitions.items():
        for field, value in schema.get("properties", {}).items():
            for one in [value, *_inner(value)]:
                key, candidate = _values_of(one), name + pascal(field)
                if key and (len(candidate), candidate) < (len(names.get(key, "~" * 99)), names.get(key, "")):
                    names[key] = candidate
    return names


def _values_of(schema: Schema) -> str:
    return json.dumps({"enum": schema["enum"]}) if isinstance(schema.get("enum"), list) else ""


def _inlined(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        schema = {**definitions[_target(schema)], **{key: value for key, value in schema.items() if key != "$ref"}}
    return {
        name: [_inlined(one, definitions) for one in value] if name == "anyOf" else value
        for name, value in schema.items()
    }


def _without_null(schema: Schema) -> Schema:
    choices = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default") or value is not None}
    if len(choices) == 1:
        rest.pop("anyOf", None)
        return {**choices[0], **rest}
    return rest

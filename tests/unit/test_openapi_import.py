"""OpenAPI documents as tools: what becomes of an operation, what cannot be taken, and what is too large to be held."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.tools.importing import MAX_TOOLS
from functions.tools.models import ToolFields
from functions.tools.openapi import MAX_OPERATIONS, Document, NotTaken, Schemas
from functions.tools.openapi_tools import name_of, tool_of
from functions.tools.schemas import wrong_with_schema
from shared.auth.roles import Role
from shared.errors import Invalid
from tests.unit.world import Answer, World, admin, person

PETS: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "https://{region}.pets.example/v1/", "variables": {"region": {"default": "eu"}}}],
    "security": [{"key": []}],
    "paths": {
        "/pets": {
            "get": {
                "operationId": "listPets",
                "summary": "Lists pets",
                "parameters": [
                    {"name": "tags", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                ],
            },
            "post": {
                "operationId": "createPet",
                "security": [],
                "parameters": [{"name": "notify", "in": "query", "schema": {"type": "boolean"}}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewPet"}}},
                },
            },
        },
        "/pets/{pet_id}": {
            "parameters": [{"$ref": "#/components/parameters/PetId"}],
            "get": {"operationId": "getPetById", "description": "Reads one."},
            "delete": {},
        },
    },
    "components": {
        "parameters": {"PetId": {"name": "pet_id", "in": "path", "required": True, "schema": {"type": "integer"}}},
        "schemas": {
            "NewPet": {
                "allOf": [
                    {"$ref": "#/components/schemas/Named"},
                    {"type": "object", "properties": {"owner": {"$ref": "#/components/schemas/Owner"}}},
                ]
            },
            "Named": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "id": {"type": "integer", "readOnly": True},
                    "name": {"type": "string", "nullable": True, "example": "Rex", "x-order": 1},
                    "age": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                },
            },
            "Owner": {"type": "object", "properties": {"email": {"type": "string", "format": "email"}}},
        },
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}},
    },
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World.over(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def acme(world: World) -> str:
    return str((await world.onboard("acme"))["id"])


async def take(world: World, tenant: str, document: Any, **query: str) -> Answer:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = {"content-type": "application/json"}
    return await world.call("import_tools", admin(tenant), raw, query=query, headers=headers)


def document(own: Any = None, **root: Any) -> Document:
    """One operation, `POST /x`."""
    whole = {
        "openapi": "3.1.0",
        "servers": [{"url": "https://a.example"}],
        "paths": {"/x": {"post": own or {}}},
        **root,
    }
    return Document.read(json.dumps(whole).encode())


def tool(own: Any = None, **root: Any) -> tuple[ToolFields, list[str]]:
    found = document(own, **root)
    return tool_of(found, found.operations()[0], None, "user", frozenset())


def body(schema: Any, **more: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}, "required": True, **more}}


def query(schema: Any, **more: Any) -> dict[str, Any]:
    return {"parameters": [{"name": "a", "in": "query", "schema": schema, **more}]}


# What becomes of an operation


async def test_a_document_becomes_tools(world: World, acme: str) -> None:
    answer = await take(world, acme, PETS)
    assert (answer.status, answer.json["count"], answer.json["more"]) == (200, 4, 0), answer.raw
    assert [one["name"] for one in answer.json["operations"]] == [
        *("list-pets", "create-pet", "get-pet-by-id", "delete-pets-pet-id")
    ]
    made = {}
    for one in answer.json["operations"]:
        made[one["name"]] = (await world.call("get_tool", admin(acme), params={"tool_id": one["id"]})).json
    listing, creating, reading = made["list-pets"], made["create-pet"], made["get-pet-by-id"]
    assert (listing["method"], listing["url"]) == ("GET", "https://eu.pets.example/v1/pets")
    assert (listing["description"], listing["approval"]) == ("Lists pets", "none")
    assert (listing["auth_header"], listing["auth_prefix"], listing["has_secret"]) == ("X-Api-Key", "", False)
    assert answer.json["operations"][0]["notes"] == [
        "left out: header parameter 'X-Trace'",
        "needs a key: set its `secret`",
    ]
    assert (creating["query"], creating["approval"], creating["auth_header"]) == (["notify"], "user", "Authorization")
    assert creating["parameters"] == {
        "type": "object",
        "properties": {
            "notify": {"type": "boolean"},
            "name": {"type": ["string", "null"]},
            "age": {"type": "integer", "exclusiveMinimum": 0},
            "owner": {"type": "object", "properties": {"email": {"type": "string", "format": "email"}}},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    assert reading["url"] == "https://eu.pets.example/v1/pets/{pet_id}"
    assert (reading["parameters"]["required"], reading["description"]) == (["pet_id"], "Reads one.")


async def test_a_dry_run_says_what_would_be_made(world: World, acme: str) -> None:
    dry = await take(world, acme, PETS, dry_run="true")
    assert (dry.status, dry.json["dry_run"], dry.json["count"]) == (200, True, 4)
    assert {one["id"] for one in dry.json["operations"]} == {None}
    assert (await world.call("list_tools", admin(acme))).json["items"] == []


async def test_operations_are_chosen_by_id_or_by_name(world: World, acme: str) -> None:
    answer = await take(world, acme, PETS, operation="listPets, delete-pets-pet-id", base_url="https://b.example")
    assert [one["name"] for one in answer.json["operations"]] == ["list-pets", "delete-pets-pet-id"]
    listed = (await world.call("list_tools", admin(acme))).json["items"]
    assert {one["url"] for one in listed} == {"https://b.example/pets", "https://b.example/pets/{pet_id}"}
    unknown = await take(world, acme, PETS, operation="listCats")
    assert (unknown.status, unknown.json["errors"][0]["value"]) == (400, "listCats")


async def test_a_tool_that_is_there_stays_as_it_is(world: World, acme: str) -> None:
    first = await take(world, acme, PETS, operation="listPets")
    again = await take(world, acme, PETS)
    told = {one["name"]: one["reason"] for one in again.json["operations"]}
    assert (first.json["count"], again.json["count"]) == (1, 3)
    assert told["list-pets"] == "there is a tool of this name"
    assert (await take(world, acme, PETS)).json["count"] == 0


async def test_a_tool_that_was_deleted_can_be_imported_again(world: World, acme: str) -> None:
    first = (await take(world, acme, PETS, operation="listPets")).json["operations"][0]
    await world.call("delete_tool", admin(acme), params={"tool_id": first["id"]})
    again = (await take(world, acme, PETS, operation="listPets")).json["operations"][0]
    assert again["id"] == first["id"]


async def test_tools_that_are_gone_are_not_told_again(world: World, acme: str) -> None:
    sent, raw = {"content-type": "application/json", "idempotency-key": "k-1"}, json.dumps(PETS).encode()
    first, again = [await world.call("import_tools", admin(acme), raw, headers=sent) for _ in range(2)]
    gone = next(one["id"] for one in first.json["operations"] if one["id"])
    await world.call("delete_tool", admin(acme), params={"tool_id": gone})
    late = await world.call("import_tools", admin(acme), raw, headers=sent)
    assert (again.status, again.raw, late.status, late.json["id"]) == (200, first.raw, 409, gone)


async def test_one_import_makes_what_one_batch_holds(world: World, acme: str) -> None:
    wide = {
        "type": "object",
        "properties": {f"field_{n}": {"type": "string", "description": "x" * 100} for n in range(100)},
    }
    many = {**PETS, "paths": {f"/p{n}": {"post": {"operationId": f"op{n}", **body(wide)}} for n in range(40)}}
    refused = await take(world, acme, many)
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "operation")
    named = await take(world, acme, many, operation=",".join(f"op{n}" for n in range(MAX_TOOLS)))
    assert (named.status, named.json["count"]) == (200, MAX_TOOLS), named.raw
    assert (await take(world, acme, many, dry_run="true")).json["count"] == 40 - MAX_TOOLS


async def test_only_admins_import(world: World, acme: str) -> None:
    headers = {"content-type": "application/json"}
    raw = json.dumps(PETS).encode()
    refused = await world.call("import_tools", person(acme, Role.USER), raw, headers=headers)
    assert refused.status == 403


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("getPetById", "get-pet-by-id"),
        ("pets/list_all", "pets-list-all"),
        ("x" * 90, "x" * 50),
        ("Ünï", "n"),
        ("——", "post"),
        ("", "post-x"),
    ],
)
def test_a_name_is_made_of_the_operations_id(said: str, name: str) -> None:
    assert name_of(document({"operationId": said}).operations()[0]) == name


@pytest.mark.parametrize(
    ("scheme", "header", "prefix"),
    [
        ({"type": "http", "scheme": "Bearer"}, "Authorization", "Bearer "),
        ({"type": "http", "scheme": "basic"}, "Authorization", "Basic "),
        ({"type": "oauth2", "flows": {}}, "Authorization", "Bearer "),
        ({"type": "apiKey", "in": "header", "name": "X-Key"}, "X-Key", ""),
        ({"type": "apiKey", "in": "query", "name": "key"}, "Authorization", "Bearer "),
    ],
)
def test_where_the_key_goes_is_in_the_document(scheme: Any, header: str, prefix: str) -> None:
    found, notes = tool({"security": [{"a": []}]}, components={"securitySchemes": {"a": scheme}})
    assert (found.auth_header, found.auth_prefix, len(notes)) == (header, prefix, 1)


def test_a_pattern_that_could_take_for_ever_is_left_out() -> None:
    found, notes = tool(body({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?=a)a+$"}}}))
    assert found.parameters["properties"] == {"a": {"type": "string"}}
    assert notes == ["patterns are left out: not all of them can be matched in linear time"]


def test_an_argument_that_nobody_needs_may_be_left_out() -> None:
    found, notes = tool(query({"type": "object"}, style="deepObject"))
    assert (found.parameters["properties"], notes) == (
        {},
        ["left out: query parameter 'a', which is written in a way of its own"],
    )
    found, notes = tool(body({"type": "object"}, required=False) | {"requestBody": {"content": {"text/csv": {}}}})
    assert notes == ["left out: its body (text/csv)"]


# What cannot be taken

COUSINS = {
    "A": {"properties": {"b": {"$ref": "#/components/schemas/B"}}},
    "B": {"items": {"$ref": "#/components/schemas/A"}},
}
CHAIN = {f"C{n}": {"$ref": f"#/components/schemas/C{n + 1}"} for n in range(100)}


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (body({"type": "array", "items": {}}), "no object of named fields"),
        (body({"type": "object", "properties": {}, "oneOf": [{}]}), "no object of named fields"),
        (body({"type": "object", "properties": []}), "has properties that are none"),
        (body({"type": "object", "properties": {"a": 5}}), "a schema that is none"),
        (body({"type": "object", "properties": {"a": {"type": "text"}}}), "no JSON Schema"),
        (body({"type": "object", "properties": {"a": {"allOf": 5}}}), "has allOf that are none"),
        (body({"$ref": "#/components/schemas/A"}), "refers to itself"),
        (body({"$ref": "#/components/schemas/C0"}), "lead too far"),
        (body({"$ref": "#/components/schemas/none"}), "what is not there"),
        (body({"$ref": "#/servers/7"}), "what is not there"),
        (body({"$ref": "https://evil.example/schema.json"}), "another document"),
        (body({"$ref": "other.json#/A"}), "another document"),
        (body({"type": "object", "properties": {"a": {}}}) | query({}), "two of its arguments"),
        ({"requestBody": {"required": True, "content": {"multipart/form-data": {}}}}, "cannot send: its body"),
        (query({"type": "object"}, required=True), "cannot send: query parameter"),
        (query({"type": "array"}, required=True, explode=False), "cannot send: query parameter"),
        ({"parameters": [{"name": "a", "in": "cookie", "required": True}]}, "cannot send: cookie parameter"),
        ({"parameters": [{"name": "a"}]}, "without a name or a place"),
        ({"parameters": [5]}, "without a name or a place"),
        ({"parameters": [{}] * 101}, "more than 100 parameters"),
        ({"servers": [{"url": "http://a.example"}]}, "url is no https address"),
        ({"servers": [{"url": "https://169.254.169.254"}]}, "url is not a public address"),
        ({"servers": [{"url": "/relative"}]}, "url is no https address"),
        ({"servers": [{"url": "https://a.example/" + "x" * 1990}]}, "url"),
    ],
)
def test_what_cannot_be_taken_says_why(own: Any, reason: str) -> None:
    with pytest.raises(NotTaken) as why:
        tool(own, components={"schemas": {**COUSINS, **CHAIN}})
    assert reason in str(why.value)


async def test_what_cannot_be_taken_is_reported_and_the_rest_made(world: World, acme: str) -> None:
    paths = {**PETS["paths"], "/bad": {"post": body({"type": "array"})}, "/also": {"post": {"operationId": "listPets"}}}
    answer = await take(world, acme, {**PETS, "paths": paths})
    told = {one["operation"]: one["reason"] for one in answer.json["operations"] if one["reason"]}
    assert answer.json["count"] == 4
    assert told == {
        "POST /bad": "its body is no object of named fields",
        "POST /also": "another operation makes a tool of this name",
    }


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"openapi: 3.0.0",
        b"[]",
        b"{}",
        b'{"openapi": "2.0"}',
        b'{"swagger": "2.0", "paths": {}}',
        b'{"openapi": "3.1.0"}',
        b'{"openapi": "3.1.0", "paths": {"/x": {"post": 5}}}',
        b'{"openapi": "3.1.0", "paths": {"/x": {"$ref": "#/paths/~1x"}}}',
        b'{"openapi": "3.1.0", "paths": NaN}',
        b"[" * 100_000,
        b'{"openapi": "3.1.0", "info": "\\ud800"}',
    ],
)
async def test_what_is_no_document_is_refused(world: World, acme: str, raw: bytes) -> None:
    refused = await take(world, acme, raw)
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "body"), refused.raw


async def test_a_document_has_a_bound(world: World, acme: str) -> None:
    assert (await take(world, acme, b" " * (1024 * 1024 + 1))).status == 413
    with pytest.raises(Invalid, match="more than 1000"):
        document(paths={f"/{n}": {"get": {}} for n in range(MAX_OPERATIONS + 1)}).operations()


# What is small to send and large to hold


def doubling(levels: int) -> dict[str, Any]:
    """Each has two of the next."""
    two = {f"L{n}": {"allOf": [{"$ref": f"#/components/schemas/L{n + 1}"}] * 2} for n in range(levels)}
    return {**two, f"L{levels}": {"type": "string"}}


LARGE: dict[str, Any] = {
    "doubling": doubling(9),
    "doubling deep": doubling(60),
    "one large enum often": {
        "L0": {"properties": {f"p{n}": {"$ref": "#/components/schemas/E"} for n in range(200)}},
        "E": {"enum": ["x" * 500]},
    },
    "long names": {"L0": {"properties": {"n" * 5000 + str(n): {} for n in range(10)}}},
    "long descriptions": {
        "L0": {"properties": {f"p{n}": {"$ref": "#/components/schemas/D"} for n in range(290)}},
        "D": {"description": "word " * 100_000},
    },
}


@pytest.mark.parametrize("schemas", LARGE.values(), ids=LARGE)
def test_what_is_large_to_hold_is_refused_before_it_is_held(schemas: dict[str, Any]) -> None:
    begun = time.process_time()
    with pytest.raises(NotTaken):
        tool(body({"$ref": "#/components/schemas/L0"}), components={"schemas": schemas})
    assert time.process_time() - begun < 2


async def test_a_document_of_such_operations_is_answered_soon(world: World, acme: str) -> None:
    every = {f"/{n}": {"post": body({"$ref": "#/components/schemas/L0"})} for n in range(MAX_OPERATIONS)}
    for schemas in LARGE.values():
        begun = time.process_time()
        answer = await take(world, acme, {**PETS, "paths": every, "components": {"schemas": schemas}}, dry_run="true")
        assert (answer.status, answer.json["count"], answer.json["more"]) == (200, 0, MAX_OPERATIONS - 200)
        assert time.process_time() - begun < 10


LONG_NAME = "A" * 150_000
SHARED = {f"p{number}": {"$ref": "#/big"} for number in range(290)}
LABORIOUS: dict[str, dict[str, Any]] = {
    "long references": {
        "get": {"parameters": [{"$ref": "#/p"}] * 100},
        "p": {"$ref": "#/" + "%41" * len(LONG_NAME)},
        LONG_NAME: {"name": "q", "in": "query", "schema": {"type": "string"}},
    },
    "many names": {
        "get": {"parameters": [{"name": "q", "in": "query", "schema": {"$ref": "#/p"}}]},
        "p": {"properties": SHARED},
        "big": {f"x{number}": 0 for number in range(60_000)},
    },
}


@pytest.mark.parametrize("parts", LABORIOUS.values(), ids=LABORIOUS)
async def test_what_is_small_to_send_and_long_to_read_is_refused(
    parts: dict[str, Any], world: World, acme: str
) -> None:
    own = {"get": parts["get"]}
    shared = {name: part for name, part in parts.items() if name != "get"}
    raw = json.dumps({**PETS, "paths": {f"/{n}": own for n in range(200)}, **shared}, separators=(",", ":")).encode()
    begun = time.process_time()
    refused = await take(world, acme, raw, dry_run="true")
    assert (refused.status, refused.json["errors"][0]["message"][:10]) == (400, "takes more")
    assert time.process_time() - begun < 10


WORDS = "$ref type properties items allOf anyOf enum required schema in name not additionalProperties pattern content"
NAMES = st.sampled_from([*WORDS.split(), "application/json", "nullable", "minimum", "default"])
VALUES = st.sampled_from([None, True, False, 0, 1.5, "string", "object", "#/components/schemas/A", "a"])
NODES = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(NODES, NODES)
def test_whatever_a_schema_is_it_is_taken_in_our_form_or_refused(node: Any, other: Any) -> None:
    found = document(components={"schemas": {"A": other}})
    try:
        whole = Schemas(found).whole(node)
    except NotTaken:
        return
    wrong = wrong_with_schema({"type": "object", "properties": {"a": whole}})
    assert wrong is None or wrong.startswith("is no JSON Schema"), wrong


@settings(max_examples=300, deadline=None)
@given(NODES, NODES, NODES)
def test_whatever_an_operation_is_it_is_taken_or_refused(parameters: Any, content: Any, other: Any) -> None:
    own = {"parameters": parameters, "requestBody": content, "security": other, "servers": other}
    try:
        found, _ = tool(own, components={"schemas": {"A": other}, "securitySchemes": other})
    except NotTaken:
        return
    assert wrong_with_schema(found.parameters) is None

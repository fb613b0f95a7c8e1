"""The API's own description: valid OpenAPI 3.1, complete, small, and fit to make a client of."""

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_asyncio
from openapi_spec_validator import OpenAPIV31SpecValidator

from shared.errors import FlowgridError
from shared.http.openapi_answers import OF_ANY, statuses
from shared.http.problems import TITLES, status_of
from tests.unit.described import whole
from tests.unit.world import World

MOST_BYTES = 1_850
"""Of one operation, with its share of schemas, problems and examples: half of it are fields, their types and words."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """It is made once for all that look at it."""
    world = World.over(tmp_path_factory.mktemp("described") / "data")
    described = (await world.call("get_openapi")).raw
    await world.close()
    return described


@pytest.fixture
def document(written: bytes) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(written)
    return described


def resolved(document: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to, or what is no reference."""
    while "$ref" in one:
        found: Any = document
        for part in one["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        one = found
    return one


def schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Each schema with all its fields."""
    found = document["components"]["schemas"]
    return {name: whole(found, one) for name, one in found.items()}


def parameters(document: dict[str, Any], operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [resolved(document, one) for one in operation["parameters"]]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_description_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_route_is_described(world: World, document: dict[str, Any]) -> None:
    described = {(path, method.upper()): operation["operationId"] for path, method, operation in operations(document)}
    routes = world.core.endpoint.routes
    assert described == {(f"/api/{route.path}", route.method): route.name for route in routes if route.described}
    aside = {route.path.partition("/")[0] for route in routes if not route.described}
    assert aside == {"docs", "claims", "hooks", "v1", ".well-known"}, (
        "the API's own page, and what others send in their own forms"
    )


def test_no_path_is_also_another_one_with_an_id(world: World) -> None:
    """What is no method of the one would else be answered by the other; of the same methods, the one comes first."""
    methods: dict[str, set[str]] = {}
    for route in world.core.endpoint.routes:
        methods.setdefault(route.path, set()).add(route.method)
    order = list(methods)
    patterns = {path: re.compile(re.sub(r"{\w+}", "[^/]+", path)) for path in order if "{" in path}
    met = [(one, other) for one in order for other, of in patterns.items() if one != other and of.fullmatch(one)]
    assert sorted(met) == [
        ("v1/audit/export", "v1/audit/{entry_id}"),
        ("v1/audit/verify", "v1/audit/{entry_id}"),
        ("v1/views/{view_id}.svg", "v1/views/{view_id}"),
    ]
    assert all(methods[one] == methods[other] and order.index(one) < order.index(other) for one, other in met)


def test_where_names_have_a_pattern_there_are_no_others(document: dict[str, Any]) -> None:
    found = [one for one in _objects(document) if "patternProperties" in one]
    assert found and all(one["additionalProperties"] is False for one in found)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(one)
    if isinstance(value, dict):
        yield value


def test_every_operation_has_an_id_of_its_own(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


def test_every_route_tells_its_answer_and_its_own_errors(world: World, document: dict[str, Any]) -> None:
    missing = {
        route.name: missed
        for route in world.core.endpoint.routes
        if route.described
        and (
            missed := {str(status) for status in {route.status, *route.errors} - OF_ANY}
            - set(document["paths"][f"/api/{route.path}"][route.method.lower()]["responses"])
        )
    }
    assert missing == {}


@pytest.mark.parametrize(
    ("name", "told", "of_any"),
    [
        ("get_health", "200 503", "429 500"),
        ("get_live", "200", "500"),
        ("list_agents", "200", "400 401 403 429 500 503"),
        ("get_agent", "200 304 404", "400 401 403 429 500 503"),
        ("create_agent", "201 409", "400 401 403 413 415 422 429 500 503 507"),
        ("replace_agent", "200 404 409 412 428", "400 401 403 413 415 429 500 503 507"),
        ("patch_agent", "200 404 409 412", "400 401 403 413 415 429 500 503 507"),
        ("import_catalog", "200 404 409", "400 401 403 413 415 422 429 500 503 507"),
        ("delete_agent", "204 404 409 412", "400 401 403 429 500 503 507"),
    ],
)
def test_a_route_tells_the_errors_of_its_resource_and_in_one_those_that_any_call_meets(
    world: World, document: dict[str, Any], name: str, told: str, of_any: str
) -> None:
    (answers,) = [one["responses"] for _, _, one in operations(document) if one["operationId"] == name]
    assert sorted(answers) == [*told.split(), "default"]
    (route,) = [one for one in world.core.endpoint.routes if one.name == name]
    met = statuses(route) - {int(status) for status in told.split()}
    assert sorted(map(str, met)) == of_any.split()
    words = resolved(document, answers["default"])["description"]
    assert [status for status in of_any.split() if status not in words] == []


def test_errors_are_problems(document: dict[str, Any]) -> None:
    wrong = {
        (operation["operationId"], status)
        for _, _, operation in operations(document)
        for status, response in operation["responses"].items()
        if not status.startswith(("2", "3"))
        and set(resolved(document, response)["content"]) != {"application/problem+json"}
    }
    assert wrong == {("get_health", "503")}


def test_every_parameter_of_a_path_is_described(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        described = [one["name"] for one in parameters(document, operation) if one["in"] == "path"]
        assert described == re.findall(r"{(\w+)}", path)


def test_every_post_takes_an_idempotency_key(document: dict[str, Any]) -> None:
    for _, method, operation in operations(document):
        names = [one["name"] for one in parameters(document, operation)]
        assert ("Idempotency-Key" in names) == (method == "post")


def test_a_put_needs_if_match_and_a_patch_may_have_it(document: dict[str, Any]) -> None:
    needed = {
        method: one.get("required", False)
        for _, method, operation in operations(document)
        for one in parameters(document, operation)
        if one["name"] == "If-Match"
    }
    assert needed == {"put": True, "patch": False, "delete": False}


def test_open_routes_need_no_token_and_all_others_do(world: World, document: dict[str, Any]) -> None:
    is_open = {operation["operationId"] for _, _, operation in operations(document) if operation.get("security") == []}
    open_routes = {route.name for route in world.core.endpoint.routes if route.described and route.role is None}
    assert is_open == open_routes
    assert document["security"] == [{"bearer": []}]


def test_every_example_is_one_that_the_route_takes(world: World) -> None:
    for route in world.core.endpoint.routes:
        model = getattr(route.body, "model", None)
        if route.method in ("POST", "PUT") and route.example and model is not None:
            model.model_validate_json(json.dumps(dict(route.example)))


def test_every_reference_leads_somewhere_and_nothing_is_shared_that_nobody_refers_to(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    references = set(re.findall(r'"\$ref": "#/components/(\w+/[^"]+)"', text))
    shared = {f"{kind}/{name}" for kind, found in document["components"].items() for name in found}
    assert references <= shared
    assert shared - references == {"securitySchemes/bearer"}


# Small, and fit to make a client of


async def test_it_is_small(world: World) -> None:
    answer = await world.call("get_openapi", headers={"accept-encoding": "gzip"})
    plain = gzip.decompress(answer.raw)
    most = MOST_BYTES * len(list(operations(json.loads(plain))))
    assert len(plain) < most
    assert len(answer.raw) < most / 6


def test_names_are_those_that_a_programmer_would_choose(document: dict[str, Any]) -> None:
    names = {
        name for found in ("schemas", "responses", "parameters", "headers") for name in document["components"][found]
    }
    assert [name for name in names if not re.fullmatch(r"([A-Z][a-z0-9]*)+|ETag", name)] == []
    assert {"Agent", "AgentFields", "AgentPatch", "AgentPage", "AgentStatus", "NewTenant", "ElementType"} <= names
    for _, _, operation in operations(document):
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"])


def test_a_list_of_values_is_said_once(document: dict[str, Any]) -> None:
    lists = [tuple(found) for found in re.findall(r'"enum": \[([^]]+)\]', json.dumps(document))]
    assert len(lists) > 15
    assert sorted(set(lists)) == sorted(lists)


def test_titles_that_only_repeat_a_name_are_left_out(document: dict[str, Any]) -> None:
    found = schemas(document)
    assert [name for name, schema in found.items() if isinstance(schema.get("title"), str)] == []
    told = [field for schema in found.values() for field in schema.get("properties", {}).values()]
    assert [field for field in told if "title" in field] == []


def test_every_field_is_described(document: dict[str, Any]) -> None:
    silent = [
        f"{name}.{field}"
        for name, schema in schemas(document).items()
        for field, said in schema.get("properties", {}).items()
        if not said.get("description")
    ]
    assert silent == [], "say in the model what it means: Field(description=…)"


def test_every_parameter_answer_header_tag_and_model_is_described(document: dict[str, Any]) -> None:
    shared = document["components"]
    told = [
        *shared["parameters"].values(),
        *shared["headers"].values(),
        *shared["responses"].values(),
        *document["tags"],
    ]
    told += [one for one in shared["schemas"].values() if "enum" not in one]
    for _, _, operation in operations(document):
        told += parameters(document, operation)
        told += [resolved(document, one) for one in operation["responses"].values()]
        assert operation["summary"]
    assert [one for one in told if not one.get("description")] == []
    assert {tag["name"] for tag in document["tags"]} == {one["tags"][0] for _, _, one in operations(document)}


def test_an_answer_holds_every_field_of_its_model(document: dict[str, Any]) -> None:
    for name in ("Agent", "Backup", "AgentPage", "Job", "Usage"):
        schema = schemas(document)[name]
        assert set(schema["required"]) == set(schema["properties"])


def test_a_patch_has_no_defaults_that_a_client_would_send(document: dict[str, Any]) -> None:
    patches = {name: one for name, one in document["components"]["schemas"].items() if name.endswith("Patch")}
    assert len(patches) >= 5
    assert [name for name, one in patches.items() if '"default"' in json.dumps(one) or "required" in one] == []


def test_every_error_has_an_example_that_is_what_a_caller_gets(document: dict[str, Any]) -> None:
    def classes(root: type[FlowgridError]) -> Iterator[type[FlowgridError]]:
        yield root
        for one in root.__subclasses__():
            yield from classes(one)

    shown: dict[str, dict[str, Any]] = {}
    for response in document["components"]["responses"].values():
        for code, example in (
            response.get("content", {}).get("application/problem+json", {}).get("examples", {}).items()
        ):
            shown[code] = example["value"]
            assert example["value"]["code"] == code
            title = TITLES[example["value"]["status"]]
            assert example["value"]["title"] == title
            assert title.lower() in response["description"].lower()
    own = [one for one in classes(FlowgridError) if one.__module__ == "shared.errors"]
    raised = {one.code: one for one in own if one.code != "limit_reached"}  # which is one of its two kinds
    assert set(shown) == set(raised)
    assert {code: one["status"] for code, one in shown.items()} == {
        code: status_of(error) for code, error in raised.items()
    }


def test_what_every_resource_has_is_said_once(document: dict[str, Any]) -> None:
    shown = document["components"]["schemas"]
    envelope = shown["Resource"]["properties"].items()
    having = {name for name, one in schemas(document).items() if envelope <= one.get("properties", {}).items()}
    assert {"Agent", "ApiKey", "IssuedKey", "Job", "Tenant"} <= having
    assert {name for name in having if "allOf" not in shown[name]} == {"Resource"}
    assert shown["IssuedKey"]["allOf"][0] == {"$ref": "#/components/schemas/ApiKey"}


def test_what_takes_nothing_but_its_fields_is_made_of_no_parts(document: dict[str, Any]) -> None:
    """No part would know the fields of the other."""
    closed = [one for one in document["components"]["schemas"].values() if one.get("additionalProperties") is False]
    assert closed and "allOf" not in json.dumps(closed)


# Made once


async def test_the_description_is_made_once_and_sent_again_only_when_it_has_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await world.call("get_openapi")
    monkeypatch.setattr("shared.http.openapi.describe", None)  # nobody asks for it again
    again = await world.call("get_openapi", headers={"if-none-match": f'"other", W/{first.etag}'})
    other = await world.call("get_openapi", headers={"if-none-match": '"other"'})
    assert (again.status, again.raw, again.etag) == (304, b"", first.etag)
    assert (other.status, other.raw, other.etag) == (200, first.raw, first.etag)
    assert (first.headers["Cache-Control"], again.headers["Cache-Control"]) == ("no-cache", "no-cache")

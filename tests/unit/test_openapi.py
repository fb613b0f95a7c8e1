"""The API's own description: valid OpenAPI 3.1, complete, and safe to look at."""

import json
import re
from collections.abc import Iterator
from typing import Any

import azure.functions as func
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from shared.auth.roles import Role
from shared.http.docs import page
from shared.http.openapi import describe
from shared.http.routes import Call
from tests.unit.world import World


@pytest.fixture
async def document(world: World) -> dict[str, Any]:
    described: dict[str, Any] = (await world.call("get_openapi")).json
    return described


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_description_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_route_is_described(world: World, document: dict[str, Any]) -> None:
    described = {(path, method.upper()): operation["operationId"] for path, method, operation in operations(document)}
    assert described == {(f"/api/{route.path}", route.method): route.name for route in world.core.endpoint.routes}


def test_every_operation_has_an_id_of_its_own(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


def test_every_route_tells_its_answer_and_its_own_errors(world: World, document: dict[str, Any]) -> None:
    missing = {
        route.name: missed
        for route in world.core.endpoint.routes
        if (
            missed := {str(status) for status in (route.status, *route.errors)}
            - set(document["paths"][f"/api/{route.path}"][route.method.lower()]["responses"])
        )
    }
    assert missing == {}


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("get_health", "200 429 500 503"),
        ("list_agents", "200 400 401 403 429 500 503"),
        ("get_agent", "200 304 400 401 403 404 429 500 503"),
        ("create_agent", "201 400 401 403 409 413 415 422 429 500 503 507"),
        ("replace_agent", "200 400 401 403 404 409 412 413 415 428 429 500 503 507"),
        ("patch_agent", "200 400 401 403 404 409 412 413 415 429 500 503 507"),
        ("delete_agent", "204 400 401 403 404 409 412 429 500 503 507"),
    ],
)
def test_a_route_tells_the_errors_of_the_pipeline_that_it_can_meet(
    document: dict[str, Any], name: str, statuses: str
) -> None:
    (responses,) = [one["responses"] for _, _, one in operations(document) if one["operationId"] == name]
    assert sorted(responses) == statuses.split()


def test_errors_are_problems(document: dict[str, Any]) -> None:
    wrong = {
        (operation["operationId"], status)
        for _, _, operation in operations(document)
        for status, response in operation["responses"].items()
        if int(status) >= 400 and set(response["content"]) != {"application/problem+json"}
    }
    assert wrong == {("get_health", "503")}


def test_every_parameter_of_a_path_is_described(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        described = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        assert described == re.findall(r"{(\w+)}", path)


def test_every_post_takes_an_idempotency_key(document: dict[str, Any]) -> None:
    for _, method, operation in operations(document):
        names = [one["name"] for one in operation["parameters"]]
        assert ("Idempotency-Key" in names) == (method == "post")


def test_a_put_needs_if_match_and_a_patch_may_have_it(document: dict[str, Any]) -> None:
    needed = {
        method: one["required"]
        for _, method, operation in operations(document)
        for one in operation["parameters"]
        if one["name"] == "If-Match"
    }
    assert needed == {"put": True, "patch": False, "delete": False}


def test_open_routes_need_no_token_and_all_others_do(world: World, document: dict[str, Any]) -> None:
    is_open = {operation["operationId"] for _, _, operation in operations(document) if operation.get("security") == []}
    assert is_open == {route.name for route in world.core.endpoint.routes if route.role is None}
    assert document["security"] == [{"bearer": []}]


def test_every_example_is_one_that_the_route_takes(world: World) -> None:
    for route in world.core.endpoint.routes:
        model = getattr(route.body, "model", None)
        if route.method in ("POST", "PUT") and route.example and model is not None:
            model.model_validate_json(json.dumps(dict(route.example)))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


# Made once


@pytest.mark.parametrize("name", ["get_openapi", "get_docs"])
async def test_the_description_is_made_once_and_sent_again_only_when_it_has_changed(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await world.call(name)
    monkeypatch.setattr("shared.http.docs.describe", None)  # nobody asks for it again
    again = await world.call(name, headers={"if-none-match": f'"other", W/{first.etag}'})
    other = await world.call(name, headers={"if-none-match": '"other"'})
    assert (again.status, again.raw, again.etag) == (304, b"", first.etag)
    assert (other.status, other.raw, other.etag) == (200, first.raw, first.etag)
    assert (first.headers["Cache-Control"], again.headers["Cache-Control"]) == ("no-cache", "no-cache")


# The page


async def test_the_page_is_html_that_the_content_policy_allows(world: World) -> None:
    answer = await world.call("get_docs")
    text = answer.raw.decode()
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|<img|\son\w+=|javascript:|https?://(?!flowgrid)", text)


async def test_the_page_lists_every_route(world: World) -> None:
    text = (await world.call("get_docs")).raw.decode()
    assert [route.path for route in world.core.endpoint.routes if f"/api/{route.path}" not in text] == []


def test_the_page_escapes_what_routes_say_of_themselves(world: World) -> None:
    evil = "<script>alert('x')</script>"

    class Evil(BaseModel):
        name: str = evil

    endpoint = world.core.endpoint
    example = {"name": evil}

    @endpoint(
        func.Blueprint(), "POST", "v1/evil", role=Role.USER, body=Evil, answer=None, summary=evil, example=example
    )
    async def evil_route(call: Call[Evil]) -> None:
        return None

    text = page(describe(endpoint.routes, version=evil))
    assert "<script" not in text and "&lt;script&gt;" in text

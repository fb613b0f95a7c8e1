"""What is wrong with a request, in our own words: no library's phrase reaches a caller."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from azure.functions import HttpRequest
from pydantic import BaseModel, ValidationError

import function_app
from shared.errors import Invalid
from shared.http.bodies import Json, Merge, invalid
from shared.http.wording import WORDS, worded
from tests.unit.world import World, admin

ROUTES = function_app.own_core.endpoint.routes
BODIES = list(dict.fromkeys(one.body.model for one in ROUTES if isinstance(one.body, Json | Merge)))
QUERIES = list(dict.fromkeys(one.query for one in ROUTES))
WRONG: list[Any] = [
    *(None, True, 7, -1, 10**30, 1.5, "", " ", "x", "x" * 50_000, "\x00", "2026-11-24", "1e5", "٣" * 5000),
    *([], {}, [None], [""], ["x" * 5000], [1] * 500, {"": ""}, {"x": 1}, {"x": "x" * 50_000}, {"a": {"b": []}}),
    {str(number): "x" for number in range(300)},
]
LIBRARY = ("Input should", "Value error", "String should", "Field required", "Extra inputs", "valid ", "List should")


def found(model: type[BaseModel], document: Any) -> Iterator[Any]:
    """What pydantic finds wrong with a document."""
    try:
        model.model_validate_json(document if isinstance(document, bytes) else json.dumps(document).encode())
    except ValidationError as error:
        yield from error.errors(include_url=False)


def wrong(model: type[BaseModel]) -> Iterator[Any]:
    """Whatever can be wrong with this model: every field with every kind of value, also those within it."""
    fields = list(model.model_fields.values())
    names = [one.alias or name for name, one in model.model_fields.items()]
    whole: list[Any] = [b"{", b"\xff", b'{"a": NaN}', [], 7, None, {}, {"nonsense": 1}]
    for document in whole:
        yield from found(model, document)
    for name, field in zip(names, fields, strict=True):
        for value in WRONG:
            yield from found(model, {name: value})
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            for deeper in inner.model_fields:
                for value in WRONG:
                    yield from found(model, {name: {deeper: value}})


@pytest.mark.parametrize("model", [*BODIES, *QUERIES], ids=lambda model: model.__name__)
def test_whatever_is_wrong_is_said_in_our_words(model: type[BaseModel]) -> None:
    types: dict[str, str] = {}
    for one in wrong(model):
        said = worded(one["type"], one.get("ctx", {}))
        assert said != one["msg"] and not any(phrase in said for phrase in LIBRARY), said
        types.setdefault(one["type"], said)
    assert set(types) <= set(WORDS), "give it words in shared/http/wording.py"
    assert {"extra_forbidden", "json_invalid", "model_type"} <= set(types)


def test_all_bodies_and_queries_together_find_most_of_what_there_are_words_for() -> None:
    met = {one["type"] for model in (*BODIES, *QUERIES) for one in wrong(model)}
    assert len(met) >= 20
    assert {"missing", "string_too_long", "string_pattern_mismatch", "literal_error", "enum", "value_error"} <= met


@pytest.mark.parametrize(
    ("type", "context", "said"),
    [
        ("string_too_short", {"min_length": 1}, "should not be empty"),
        ("string_too_short", {"min_length": 3}, "should have at least 3 characters"),
        ("value_error", {"error": ValueError("is no e-mail address")}, "is no e-mail address"),
        ("json_invalid", {"error": "expected value at line 1 column 2"}, "is not JSON (line 1 column 2)"),
        ("json_invalid", {"error": "a new phrase"}, "is not JSON"),
        ("an_error_of_a_later_version", {"expected": "nothing"}, "is not valid"),
    ],
)
def test_what_pydantic_knows_of_an_error_is_in_the_words(type: str, context: dict[str, Any], said: str) -> None:
    assert worded(type, context) == said


def test_a_merge_patch_that_is_no_json_is_told_in_the_same_words() -> None:
    model = BODIES[0]
    sent = {"content-type": "application/merge-patch+json"}
    with pytest.raises(Invalid) as caught:
        Merge(model).read(HttpRequest("PATCH", "/", headers=sent, body=b'{"a": '))
    assert caught.value.message.startswith("body: is not JSON (line 1 column ")


def test_a_message_is_cut_and_the_field_named() -> None:
    with pytest.raises(ValidationError) as caught:
        BODIES[0].model_validate_json(b"{}")
    assert "is missing" in invalid(caught.value).message


async def test_a_call_with_a_wrong_body_is_answered_so(world: World) -> None:
    tenant = (await world.onboard("acme"))["id"]
    answer = await world.call("create_agent", admin(tenant), {"name": "", "pattern": "Boss", "color": "red"})
    assert {one["field"]: one["message"] for one in answer.json["errors"]} == {
        "name": "should not be empty",
        "pattern": "should be one of 'Orchestrator', 'Specialist', 'Monitor', 'Router' or 'Evaluator'",
        "color": "is not known here",
    }

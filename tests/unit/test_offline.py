"""The offline provider: the same answer to the same question, and none of it looks like a model's."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from shared.ai import offline
from shared.ai.instances import instance
from shared.ai.models import MISSING, AiModels
from shared.ai.port import Connection, Message, ModelRefused, Question, TokenUsage, ToolSpec
from shared.outgoing.client import Outgoing

OFFLINE = Connection("offline", "offline")
SEARCH = ToolSpec(
    "catalog_search",
    "Finds elements of the landscape by their names.",
    {"type": "object", "properties": {"query": {"type": "string", "maxLength": 20}}, "required": ["query"]},
)
MAIL = ToolSpec("send_mail", "Sends a mail.", {"type": "object", "properties": {}})
VERDICT = {
    "type": "object",
    "properties": {
        "agent": {"enum": ["Claims intake", "Billing questions", "Complaints"]},
        "accepted": {"type": "boolean"},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "reason": {"type": "string"},
        "notes": {"type": "array", "items": {"$ref": "#/$defs/Note"}, "minItems": 2},
        "seldom": {"type": "string"},
    },
    "required": ["agent", "accepted", "score", "reason", "notes"],
    "additionalProperties": False,
    "$defs": {
        "Note": {"type": "object", "properties": {"at": {"type": "string", "format": "date"}}, "required": ["at"]}
    },
}


def asked(text: str, **more: Any) -> Question:
    return Question("", [Message("user", text)], **{"max_tokens": 500, "seconds": 10, **more})


def test_it_says_in_its_answer_that_it_is_offline() -> None:
    answer = offline.answer(asked("Is the claim covered?"))
    assert answer.message.text == "Offline, no model was asked. Asked: Is the claim covered?"
    assert (answer.model, answer.cost, answer.finish) == ("offline", 0, "stop")


def test_a_tool_that_the_input_speaks_of_is_called_once_and_its_result_is_in_the_answer() -> None:
    question = asked("Which elements belong to billing?", tools=[MAIL, SEARCH])
    first = offline.answer(question)
    (call,) = first.message.calls
    assert (first.finish, call.name, call.arguments) == ("calls", "catalog_search", {"query": "Which elements belon"})
    result = Message("tool", '["Billing"]', call_id=call.id, name=call.name)
    last = offline.answer(Question("", [*question.messages, first.message, result], 500, 10, tools=[MAIL, SEARCH]))
    assert (last.finish, list(last.message.calls)) == ("stop", [])
    assert 'catalog_search says: ["Billing"]' in last.message.text and offline.SAYS in last.message.text


def test_it_calls_at_most_so_many_tools() -> None:
    tools = [ToolSpec(f"search_{number}", "", {}) for number in range(20)]
    assert len(offline.answer(asked("Search!", tools=tools)).message.calls) == offline.MOST_CALLS


def test_a_schema_gets_an_instance_that_takes_up_the_input() -> None:
    answer = offline.answer(asked("A question about billing.", schema=VERDICT))
    found = json.loads(answer.message.text)
    Draft202012Validator(VERDICT).validate(found)
    assert (found["agent"], found["accepted"], found["score"]) == ("Billing questions", True, 1)
    assert found["reason"].startswith(offline.SAYS) and "seldom" not in found


SCHEMAS: list[Mapping[str, Any]] = [
    {"type": "string", "minLength": 50},
    {"type": "string", "maxLength": 3},
    {"type": "string", "format": "uuid"},
    {"type": ["null", "integer"]},
    {"type": "integer", "exclusiveMinimum": 4, "multipleOf": 5},
    {"type": "integer", "maximum": -3},
    {"type": "integer", "exclusiveMaximum": 0},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "minimum": 0.5},
    {"type": "boolean"},
    {"type": "null"},
    {"const": 7},
    {"enum": [1, 2]},
    {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 2}]},
    {"oneOf": [{"type": "integer"}, {"type": "object"}]},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}], "required": ["b"]},
    {"type": "array", "minItems": 3, "items": {"type": "integer"}},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2},
    {"type": "array"},
    {"properties": {"a": {"default": "x"}}, "required": ["a"]},
    {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer", "minimum": 3}}},
    {},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
@pytest.mark.parametrize("text", ["", "What about the claims of Ada?", "x" * 10_000])
def test_an_instance_is_valid(schema: Mapping[str, Any], text: str) -> None:
    Draft202012Validator(schema).validate(instance(schema, text))


@given(
    st.integers(-50, 50), st.integers(0, 30), st.sampled_from([None, 1, 2, 5]), st.sampled_from(["integer", "number"])
)
def test_a_number_keeps_its_bounds(least: int, width: int, step: int | None, type: str) -> None:
    """Where there is one: some bounds leave no room for a multiple."""
    schema: dict[str, Any] = {"type": type, "minimum": least, "maximum": least + max(width, step or 0)}
    if step is not None:
        schema["multipleOf"] = step
    Draft202012Validator(schema).validate(instance(schema, ""))


async def test_a_schema_that_never_ends_is_refused() -> None:
    nested = {"$defs": {"a": {"properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}}, "$ref": "#/$defs/a"}
    own = AiModels(Outgoing())
    with pytest.raises(ModelRefused, match="nests too deep"):
        await own.ask(OFFLINE, asked("Go.", schema=nested))


def nested(levels: int) -> dict[str, Any]:
    return {"type": "array", "minItems": 100, "items": nested(levels - 1) if levels else {"type": "integer"}}


@pytest.mark.parametrize(
    "schema",
    [
        nested(9),
        {"type": "string", "minLength": 5_000_000_000},
        {"type": "array", "minItems": 100, "items": {"const": "x" * 10_000}},
        {"type": "array", "minItems": 100, "items": {"type": "object", "required": ["x" * 10_000]}},
    ],
    ids=["arrays", "text", "constants", "names"],
)
async def test_what_is_small_to_write_and_large_to_make_is_refused(schema: dict[str, Any]) -> None:
    tool = ToolSpec("claims", "Reads claims.", {"type": "object", "properties": {"a": schema}, "required": ["a"]})
    begun = time.process_time()
    with pytest.raises(ModelRefused, match="more than 65536 characters"):
        await AiModels(Outgoing()).ask(OFFLINE, asked("Read the claims.", tools=[tool]))
    assert time.process_time() - begun < 2


def test_an_answer_is_cut_at_its_tokens_and_says_so() -> None:
    answer = offline.answer(asked("ä" * 1000, max_tokens=10))
    assert (answer.finish, answer.usage.output, answer.message.text) == (
        "length",
        10,
        "Offline, no model was asked. Asked: ää",
    )


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_same_question_has_the_same_answer_and_usage(text: str, instructions: str) -> None:
    question = asked(text, instructions=instructions, tools=[SEARCH, MAIL])
    first, second = offline.answer(question), offline.answer(question)
    assert first == second
    assert first.usage.input >= offline.tokens(text) and first.usage.output > 0 and first.usage.cached == 0


async def test_it_costs_nothing() -> None:
    own = AiModels(Outgoing())
    assert (await own.ask(OFFLINE, asked("Go."))).cost == 0
    assert own.price(OFFLINE, "any", TokenUsage(1_000_000, 1_000_000)) == 0
    await own.close()


async def test_without_the_packages_of_providers_it_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make run` installs them."""
    monkeypatch.setitem(sys.modules, "shared.ai.pydantic_ai", None)
    monkeypatch.setitem(sys.modules, "shared.ai.prices", None)
    own = AiModels(Outgoing())
    openai = Connection("openai", "openai", key="x")
    with pytest.raises(ModelRefused, match=MISSING[:40]):
        await own.ask(openai, asked("Go."))
    assert own.price(openai, "gpt-5", TokenUsage(1, 1)) is None
    assert (await own.ask(OFFLINE, asked("Go."))).finish == "stop"
    await own.close()

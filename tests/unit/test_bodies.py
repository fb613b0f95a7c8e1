"""Request bodies: JSON of a declared model, merge patches of it (RFC 7396), and what is said of anything else."""

import json
import traceback
from typing import Any

import azure.functions as func
import pytest
from pydantic import BaseModel, ConfigDict, Field

from functions.agents.models import AgentFields
from shared.errors import Invalid, TooLarge, UnsupportedMedia
from shared.http.bodies import MAX_JSON_BYTES, Json, Merge, MergePatch, Raw
from shared.http.shown import SHOWN_VALUE_CHARACTERS
from tests.unit.world import AGENT, Answer, World, admin


def request(raw: bytes, media_type: str | None = "application/json") -> func.HttpRequest:
    headers = {} if media_type is None else {"content-type": media_type}
    return func.HttpRequest("POST", "https://flowgrid.test/api/v1/agents", headers=headers, body=raw)


def errors(raw: bytes | str, reader: Json[AgentFields] | Merge[AgentFields] | None = None) -> list[dict[str, Any]]:
    raw = raw.encode() if isinstance(raw, str) else raw
    with pytest.raises(Invalid) as invalid:
        (reader or Json(AgentFields)).read(request(raw))
    found: list[dict[str, Any]] = invalid.value.members["errors"]
    return found


def fields(raw: bytes | str) -> list[str]:
    return [one["field"] for one in errors(raw)]


class Keyed(BaseModel):
    """A body with a secret in it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    key: str = Field("", max_length=20, json_schema_extra={"writeOnly": True})


@pytest.mark.parametrize(
    "sent",
    [
        '{"key": "hunter2-hunter2"}',
        '{"name": "a", "key": "hunter2-hunter2-hunter2"}',
        '{"name": "a", "key": {"value": "hunter2"}}',
        '{"name": "a", "kye": "hunter2"}',
        '{"name": "a", "key": "hunter2",',
        '["hunter2"',
    ],
)
def test_a_secret_is_not_in_what_is_said_of_a_body(sent: str) -> None:
    said = []
    with pytest.raises(Invalid) as invalid:
        Json(Keyed).read(request(sent.encode()))
    said.append(invalid.value)
    try:
        Merge(Keyed).read(request(sent.encode())).onto(Keyed(name="a"))
    except Invalid as error:
        said.append(error)
    assert all("hunter2" not in "".join(traceback.format_exception(one)) + repr(one.members) for one in said)


def test_beside_a_secret_what_was_sent_is_shown() -> None:
    with pytest.raises(Invalid) as invalid:
        Json(Keyed).read(request(b'{"name": 5, "key": "hunter2"}'))
    assert [one["value"] for one in invalid.value.members["errors"]] == [5]


# JSON


def test_a_body_is_read_into_its_model() -> None:
    assert Json(AgentFields).read(request(json.dumps(AGENT).encode())).name == "Claims intake"


@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_the_media_type_may_carry_parameters(media_type: str) -> None:
    assert Json(AgentFields).read(request(json.dumps(AGENT).encode(), media_type))


@pytest.mark.parametrize("media_type", [None, "", "text/plain", "application/xml", "application/jsonp", "json"])
def test_another_media_type_is_refused(media_type: str | None) -> None:
    with pytest.raises(UnsupportedMedia, match="application/json"):
        Json(AgentFields).read(request(json.dumps(AGENT).encode(), media_type))


def test_a_body_of_one_megabyte_is_read() -> None:
    raw = json.dumps(AGENT).encode()
    assert Json(AgentFields).read(request(raw + b" " * (MAX_JSON_BYTES - len(raw))))


def test_a_body_above_one_megabyte_is_too_large() -> None:
    with pytest.raises(TooLarge):
        Json(AgentFields).read(request(b" " * (MAX_JSON_BYTES + 1)))


def test_everything_that_is_wrong_is_named() -> None:
    wrong = {"pattern": "Boss", "tools": ["x", ""], "nonsense": 1, "status": None}
    assert sorted(fields(json.dumps(wrong))) == ["name", "nonsense", "pattern", "status", "tools.1"]


@pytest.mark.parametrize("reader", [Json(AgentFields), Merge(AgentFields)])
def test_of_many_errors_the_first_are_shown_and_the_others_counted(
    reader: Json[AgentFields] | Merge[AgentFields],
) -> None:
    wrong = {f"nonsense {number:05}": "x" for number in range(9_000)}
    with pytest.raises(Invalid) as invalid:
        reader.read(request(json.dumps(wrong if isinstance(reader, Merge) else {**AGENT, **wrong}).encode()))
    assert (len(invalid.value.members["errors"]), invalid.value.members["more"]) == (20, 8_980)
    assert "(and 8999 more)" in invalid.value.message


@pytest.mark.parametrize("reader", [Json(AgentFields), Merge(AgentFields)])
@pytest.mark.parametrize("many", [{"config": {"a": [1] * 10_000}}, {f"k{n}": 1 for n in range(10_001)}, [[]] * 10_001])
def test_a_body_of_too_many_values_is_not_looked_into(
    reader: Json[AgentFields] | Merge[AgentFields], many: Any
) -> None:
    with pytest.raises(TooLarge, match="10000 values"):
        reader.read(request(json.dumps(many).encode()))


def test_commas_in_a_text_are_no_values() -> None:
    body = {**AGENT, "config": {"a": ",[{" * 10_000}}
    assert Json(AgentFields).read(request(json.dumps(body).encode()))


def test_a_long_name_of_a_field_is_not_echoed() -> None:
    (error,) = errors(json.dumps({**AGENT, "x" * 500_000: 1}))
    assert len(error["field"]) == SHOWN_VALUE_CHARACTERS + 1


def test_what_was_sent_is_shown_beside_what_is_wrong_with_it() -> None:
    (error,) = errors(json.dumps({**AGENT, "pattern": "Boss"}))
    assert (error["field"], error["value"]) == ("pattern", "Boss")


@pytest.mark.parametrize(
    "raw", ["", "x", "{", "[]", "7", "null", '"text"', b"\xff", b"\xef\xbb\xbf{}", '{"name": "\\ud800"}', "[" * 5000]
)
def test_what_is_no_json_object_is_wrong_as_a_whole(raw: bytes | str) -> None:
    assert fields(raw) == ["body"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 7),
        ("name", ["x"]),
        ("name", None),
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 256),
        ("tools", "x"),
        ("config", []),
        ("description", True),
    ],
)
def test_values_are_taken_as_they_are_and_not_turned_into_others(field: str, value: Any) -> None:
    assert fields(json.dumps({**AGENT, field: value})) == [field]


def test_a_field_that_only_the_service_sets_is_refused() -> None:
    assert fields(json.dumps({**AGENT, "tenant_id": "x", "revision": 9})) == ["tenant_id", "revision"]


@pytest.mark.parametrize("value", ["x" * 5000, ["x" * 50] * 50, {"k": "v" * 5000}])
def test_an_error_does_not_echo_a_long_value(value: Any) -> None:
    (error,) = errors(json.dumps({**AGENT, "pattern": value}))
    assert len(error["value"]) == SHOWN_VALUE_CHARACTERS + 1 and error["value"].endswith("…")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_an_error_can_be_told_of_a_number_that_is_none(number: str) -> None:
    (error,) = errors(f'{{"name": {number}, "pattern": "Router"}}')
    json.dumps(error, allow_nan=False)


# Merge patches


class Anything(BaseModel):
    model_config = ConfigDict(extra="forbid")

    a: Any = None
    b: Any = None
    c: Any = None
    e: Any = None


@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"x": None}}, {"b": 1}, {"a": {"x": None}, "b": 1}),
        ({}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
        ({"e": 1}, {"a": 1}, {"e": 1, "a": 1}),
    ],
)
def test_a_patch_is_merged_as_rfc_7396_shows(original: Any, patch: Any, result: Any) -> None:
    """The object cases of appendix A (arrays and scalars as whole documents are no resources here)."""
    patched = MergePatch(Anything, patch).onto(Anything.model_validate(original))
    assert patched == Anything.model_validate(result)


def test_null_puts_a_default_back() -> None:
    agent = AgentFields(name="x", pattern="Router", description="long")
    assert MergePatch(AgentFields, {"description": None}).onto(agent).description == ""


def test_null_cannot_take_a_required_field_away() -> None:
    agent = AgentFields(name="x", pattern="Router")
    with pytest.raises(Invalid, match="name: is missing"):
        MergePatch(AgentFields, {"name": None}).onto(agent)


def test_a_patched_whole_is_validated_like_a_new_one() -> None:
    agent = AgentFields(name="x", pattern="Router")
    with pytest.raises(Invalid, match="pattern"):
        MergePatch(AgentFields, {"pattern": "Boss"}).onto(agent)


def test_a_patch_of_unknown_fields_is_refused() -> None:
    found = errors('{"id": "x", "name": "y", "nonsense": 1}', Merge(AgentFields))
    assert [one["field"] for one in found] == ["id", "nonsense"]


@pytest.mark.parametrize("raw", ["", "x", "[]", "7", "null", '{"config": NaN}', '{"name": "\\ud800"}', b"\xff"])
def test_what_is_no_patch_is_wrong_as_a_whole(raw: bytes | str) -> None:
    assert [one["field"] for one in errors(raw, Merge(AgentFields))] == ["body"]


@pytest.mark.parametrize("depth", [300, 950, 100_000])
def test_a_patch_nested_too_deep_is_refused(depth: int) -> None:
    raw = '{"config": ' + '{"a":' * depth + "1" + "}" * depth + "}"
    assert [one["field"] for one in errors(raw, Merge(AgentFields))] == ["body"]


@pytest.mark.parametrize("raw", ['{"nonsense": "%s"}' % ("x" * 5000), json.dumps(["x" * 5000])])
def test_a_refused_patch_does_not_echo_a_long_value(raw: str) -> None:
    (error,) = errors(raw, Merge(AgentFields))
    assert len(error["value"]) == SHOWN_VALUE_CHARACTERS + 1


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
def test_a_patch_has_a_media_type_of_its_own(media_type: str) -> None:
    assert Merge(AgentFields).read(request(b"{}", media_type)).document == {}


# Raw bodies


def test_a_raw_body_is_handed_on_as_it_is() -> None:
    assert Raw(("application/xml",), 10).read(request(b"<a/>", "application/xml")) == b"<a/>"


def test_a_raw_body_has_a_limit_of_its_own() -> None:
    with pytest.raises(TooLarge, match="at most 3"):
        Raw(("application/xml",), 3).read(request(b"<a/>", "application/xml"))


# Through the pipeline


async def sent(world: World, raw: bytes) -> Answer:
    tenant = await world.onboard(tier="enterprise")
    return await world.call("create_agent", admin(tenant["id"]), raw)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9007199254740993", "9" * 400])
async def test_a_number_that_cannot_be_kept_exactly_is_a_bad_request(world: World, number: str) -> None:
    answer = await sent(world, f'{{"name": "x", "pattern": "Router", "config": {{"a": {number}}}}}'.encode())
    assert (answer.status, answer.json["errors"][0]["field"]) in [(400, "config.a"), (400, "body")]


async def test_nesting_that_the_store_would_not_take_is_a_bad_request(world: World) -> None:
    deep = '{"a":' * 150 + "1" + "}" * 150
    assert (await sent(world, f'{{"name": "x", "pattern": "Router", "config": {deep}}}'.encode())).status == 400


async def test_a_nul_character_is_kept_as_any_other(world: World) -> None:
    answer = await sent(world, json.dumps({**AGENT, "description": "a\x00b"}).encode())
    assert (answer.status, answer.json["description"]) == (201, "a\x00b")


@pytest.mark.parametrize("text", ["Zoë", "日本語", "😀", "e\u0301", "\u202e", "\ufeff"])
async def test_text_of_any_language_is_kept(world: World, text: str) -> None:
    answer = await sent(world, json.dumps({**AGENT, "description": text}).encode())
    assert answer.json["description"] == text

"""HTTP tools of a tenant: what may be one, who may make it, where its secret is, and what a call is made of."""

import base64
import html
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from functions.tools.calling import HttpTool, HttpToolbox, asked_of
from functions.tools.http import EXAMPLE
from functions.tools.models import Tool, ToolFields
from functions.tools.port import ToolFailed
from functions.tools.rules import wrong_with
from functions.tools.schemas import MAX_BYTES, wrong_with_arguments, wrong_with_schema
from shared.auth.roles import Role
from shared.errors import Invalid
from shared.outgoing.client import Outgoing
from shared.outgoing.masking import MASK, SHORTEST, Mask
from shared.work.kept_secrets import KeptSecrets
from tests.unit.world import Answer, World, admin, person

SECRET = "sk-live-0123456789"
WITH_SECRET = {**EXAMPLE, "secret": SECRET}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World.over(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def acme(world: World) -> str:
    return str((await world.onboard("acme"))["id"])


async def make(world: World, tenant: str, **fields: Any) -> Answer:
    return await world.call("create_tool", admin(tenant), {**EXAMPLE, **fields})


async def change(world: World, tenant: str, id: str, **fields: Any) -> Answer:
    return await world.call("patch_tool", admin(tenant), fields, params={"tool_id": id})


async def kept(world: World, tenant: str, tool: dict[str, Any]) -> str | None:
    session = await world.session(tenant)
    return await KeptSecrets(world.core.adapters.secrets).get(session, tool["secret_reference"])


def tool(**fields: Any) -> Tool:
    """As it is stored."""
    sent = ToolFields.model_validate({**EXAMPLE, **fields}).model_dump(exclude={"secret"})
    envelope = {"id": "t", "tenant_id": "t", "revision": 1, "created_at": "", "updated_at": "", "created_by": "x"}
    return Tool.model_validate({**envelope, **sent, "updated_by": "x", "secret_reference": None})


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


# The resource


async def test_admins_make_tools_and_everybody_sees_them(world: World, acme: str) -> None:
    refused = await world.call("create_tool", person(acme, Role.USER), EXAMPLE)
    assert (refused.status, refused.json["code"]) == (403, "role_needed")
    made = await make(world, acme)
    assert made.status == 201, made.raw
    listed = await world.call("list_tools", person(acme, Role.VIEWER))
    assert listed.json["items"] == [made.json]


async def test_a_name_is_given_once_and_stays(world: World, acme: str) -> None:
    made = (await make(world, acme)).json
    again = await make(world, acme, description="another")
    assert (again.status, again.json["code"], again.json["id"]) == (409, "taken", made["id"])
    renamed = await change(world, acme, made["id"], name="other")
    assert (renamed.status, renamed.json["errors"][0]["field"]) == (400, "name")


async def test_a_name_is_free_again_when_its_tool_is_gone(world: World, acme: str) -> None:
    made = (await make(world, acme)).json
    assert (await world.call("delete_tool", admin(acme), params={"tool_id": made["id"]})).status == 204
    again = await make(world, acme)
    assert (again.status, again.json["id"], again.json["revision"]) == (201, made["id"], 3)


async def test_two_tenants_have_tools_of_one_name(world: World, acme: str) -> None:
    globex = str((await world.onboard("globex"))["id"])
    await make(world, acme, description="of acme")
    theirs = (await make(world, globex, description="of globex")).json
    found = await world.call("get_tool", admin(globex), params={"tool_id": theirs["id"]})
    assert found.json["description"] == "of globex"


# Its secret


async def test_a_secret_is_kept_and_shown_nowhere(
    world: World, acme: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = await make(world, acme, secret=SECRET)
    assert (made.json["has_secret"], await kept(world, acme, made.json)) == (True, SECRET)
    audit = await world.call("list_audit", admin(acme))
    assert audit.json["items"][0]["action"] == "tool.created"
    shown = [made.raw, audit.raw, (await world.call("list_tools", admin(acme))).raw, caplog.text.encode()]
    await world.core.services.outbox.flush()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240
    assert files
    assert not [text for text in [*shown, *files] if SECRET.encode() in text]


async def test_a_secret_stays_until_another_comes(world: World, acme: str) -> None:
    made = (await make(world, acme, secret=SECRET)).json
    same = (await change(world, acme, made["id"], description="x")).json
    held = {"if-match": "*"}
    replaced = await world.call("replace_tool", admin(acme), EXAMPLE, params={"tool_id": made["id"]}, headers=held)
    assert made["secret_reference"] == same["secret_reference"] == replaced.json["secret_reference"]
    other = (await change(world, acme, made["id"], secret="another-secret")).json
    assert await kept(world, acme, other) == "another-secret"
    none = (await change(world, acme, made["id"], secret="")).json
    assert (none["has_secret"], none["secret_reference"]) == (False, None)


async def test_what_no_tool_holds_any_more_is_forgotten_by_the_round(world: World, acme: str) -> None:
    first = (await make(world, acme, secret=SECRET)).json
    second = (await change(world, acme, first["id"], secret="another-secret")).json
    third = (await make(world, acme, name="third", secret="a-third-secret")).json
    await world.call("delete_tool", admin(acme), params={"tool_id": third["id"]})
    refused = await make(world, acme, name="third", secret="a-fourth-secret", url="http://8.8.8.8/")
    assert refused.status == 400
    world.clock.advance(minutes=61)
    secrets = KeptSecrets(world.core.adapters.secrets)
    assert await secrets.compare(await world.session(acme)) == 2
    assert [await kept(world, acme, one) for one in (first, second, third)] == [None, "another-secret", None]


async def test_a_secret_does_not_move_to_another_server(world: World, acme: str) -> None:
    """Who may change a tool could have it sent to himself."""
    made = (await make(world, acme, secret=SECRET)).json
    moved = await change(world, acme, made["id"], url="https://evil.example/claims/{claim_id}")
    assert (moved.status, moved.json["errors"][0]["field"]) == (400, "secret")
    within = await change(world, acme, made["id"], url="https://api.acme.example/v2/{claim_id}")
    assert (within.status, within.json["has_secret"]) == (200, True)
    again = await change(world, acme, made["id"], url="https://b.acme.example/{claim_id}", secret="a-new-secret")
    assert (again.status, await kept(world, acme, again.json)) == (200, "a-new-secret")


@pytest.mark.parametrize("secret", ["short", "with\nnewline", "ünïcode-key", " padded-secret", 12345678, "x" * 4097])
async def test_what_is_no_secret_is_refused_and_not_repeated(world: World, acme: str, secret: Any) -> None:
    refused = await make(world, acme, secret=secret)
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "secret")
    assert str(secret).strip() not in refused.json["detail"] + str(refused.json["errors"][0]["value"])


async def test_of_two_changes_at_once_one_secret_is_kept(world: World, acme: str) -> None:
    made = await make(world, acme, secret=SECRET)
    params, held = {"tool_id": made.json["id"]}, {"if-match": made.etag}
    answers = [
        await world.call("patch_tool", admin(acme), {"secret": f"secret-{who}"}, params=params, headers=held)
        for who in ("of-ada", "of-bob")
    ]
    assert [one.status for one in answers] == [200, 412]
    now = (await world.call("get_tool", admin(acme), params=params)).json
    assert await kept(world, acme, now) == "secret-of-ada"


# What may be a tool


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("url", {"url": "http://api.acme.example/{claim_id}"}),
        ("url", {"url": "https://127.0.0.1/{claim_id}"}),
        ("url", {"url": "https://169.254.169.254/{claim_id}"}),
        ("url", {"url": "https://metadata.google.internal/{claim_id}"}),
        ("url", {"url": "https://user:password@api.acme.example/{claim_id}"}),
        ("url", {"url": "https://{claim_id}.acme.example/"}),
        ("url", {"url": "https://api.acme.example:{claim_id}/"}),
        ("url", {"url": "https://api.acme.example/?id={claim_id}"}),
        ("url", {"url": "https://api.acme.example/{claim_id"}),
        ("url", {"url": "https://api.acme.example/{}"}),
        ("url", {"url": "https://api.acme.example/{claim_id}#x"}),
        ("url", {"url": "https://api.acme.example/a/../{claim_id}"}),
        ("url", {"url": "https://api.acme.example/%2E%2e/{claim_id}"}),
        ("url", {"url": "https://api.acme.example/{unknown}"}),
        ("url", {"url": "https://api.acme.example/{with_history}"}),
        ("query", {"query": ["unknown"]}),
        ("query", {"query": ["claim_id"]}),
        ("headers", {"headers": {"Host": "other.example"}}),
        ("headers", {"headers": {"authorization": "Bearer x"}}),
        ("headers", {"headers": {"Transfer-Encoding": "chunked"}}),
        ("headers", {"headers": {"X-A": "1", "x-a": "2"}}),
        ("headers", {"headers": {"X-Key": "1"}, "auth_header": "x-key"}),
        ("headers.X", {"headers": {"X": "a\r\nHost: b"}}),
        ("headers.X Y.[key]", {"headers": {"X Y": "a"}}),
        ("auth_header", {"auth_header": "Host"}),
        ("auth_prefix", {"auth_prefix": "Bearer\n"}),
        ("idempotency_header", {"idempotency_header": "Connection"}),
        ("idempotency_header", {"idempotency_header": "authorization"}),
        ("name", {"name": "Get_Claim"}),
        ("timeout_seconds", {"timeout_seconds": 61}),
        ("max_answer_bytes", {"max_answer_bytes": 256 * 1024 + 1}),
        ("parameters", {"parameters": {"type": "array"}}),
    ],
)
async def test_what_is_no_tool_is_refused_by_its_field(
    world: World, acme: str, field: str, wrong: dict[str, Any]
) -> None:
    refused = await make(world, acme, **wrong)
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, field), refused.raw


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        found = {"type": "array", "items": found}
    return found


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"type": "string"},
        {"type": "object", "properties": []},
        {"type": "object", "$ref": "https://evil.example/schema.json"},
        {"type": "object", "$schema": "https://evil.example/meta.json"},
        schema(a={"$ref": "#"}),
        schema(a={"$dynamicRef": "#a"}),
        schema(a={"allOf": [{"$ref": "#/properties/a"}]}),
        schema(a={"not": {"$ref": "#"}}),
        schema(a={"type": "text"}),
        schema(a={"maxLength": -1}),
        schema(a={"pattern": "("}),
        schema(a={"pattern": "(?=look)ahead"}),
        schema(a={"pattern": "((a{1000}){1000}){1000}"}),
        schema(a={"unevaluatedProperties": False}),
        schema(a={"required": "a"}),
        schema(a=deep(12)),
        schema(a={"enum": ["x" * MAX_BYTES]}),
        schema(**{f"a{number}": {} for number in range(400)}),
        schema(a=5),
        schema(**{f"a{number}": {"pattern": "a"} for number in range(51)}),
        schema(a={"patternProperties": 5}),
        schema(a={"pattern": "(a{300}){300}"}),
    ],
)
def test_a_schema_that_cannot_be_kept_or_held_is_refused(wrong: dict[str, Any]) -> None:
    assert wrong_with_schema(wrong) is not None


@pytest.mark.parametrize(
    "right",
    [
        {"type": "object"},
        schema(**{"$ref": {"type": "string"}, "unevaluatedProperties": {"type": "string"}}),
        schema(a={"enum": [{"$ref": "#"}], "default": {"$ref": "#"}, "const": {"$id": "x"}}),
        schema(a=deep(10)),
        schema(a={"type": ["string", "null"], "format": "date-time", "pattern": "^(a+)+$"}),
    ],
)
def test_a_schema_within_bounds_is_none_of_these(right: dict[str, Any]) -> None:
    """Names and values that look like keywords are none."""
    assert wrong_with_schema(right) is None


# A call


def test_each_argument_goes_to_its_place() -> None:
    parameters = schema(id={}, tags={}, body={}, note={}) | {"required": ["id"]}
    one = tool(method="POST", url="https://a.example/x/{id}?v=1", parameters=parameters, query=["tags"])
    asked = asked_of(one, {"id": "a b/ü", "tags": ["x&y", 1, True], "body": {"deep": [1]}, "note": None})
    assert asked.url == "https://a.example/x/a%20b%2F%C3%BC?v=1&tags=x%26y&tags=1&tags=true"
    assert asked.body == {"body": {"deep": [1]}, "note": None}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_has_no_body_has_its_arguments_in_the_query(method: str) -> None:
    one = tool(method=method, url="https://a.example/", parameters=schema(a={}, b={}), query=[])
    asked = asked_of(one, {"a": 1.5, "b": None})
    assert (asked.url, asked.body) == ("https://a.example/?a=1.5", None)


def test_a_call_without_arguments_for_a_body_has_none() -> None:
    required = schema(id={}) | {"required": ["id"]}
    in_path = tool(method="POST", url="https://a.example/{id}", parameters=required, query=[])
    in_body = tool(method="POST", url="https://a.example/", parameters=schema(id={}), query=[])
    assert asked_of(in_path, {"id": 1}).body is None
    assert [asked_of(in_body, sent).body for sent in ({"id": 1}, {})] == [{"id": 1}, {}]


NO_PARTS = [".", "..", "../admin", "a/../b", "a\\..\\b", "%2e%2e", "..%2fadmin/..", "", "a\r\nb", "\x00", "\ud800"]


@pytest.mark.parametrize("value", [*NO_PARTS, "x" * 501, None, [], {}])
def test_an_argument_does_not_lead_out_of_its_part_of_the_path(value: Any) -> None:
    parameters = schema(id={}) | {"required": ["id"]}
    with pytest.raises(ToolFailed):
        asked_of(tool(url="https://a.example/{id}/x", parameters=parameters, query=[]), {"id": value})


@pytest.mark.parametrize("url", ["https://a.example/{a}{b}/x", "https://a.example/.{a}", "https://a.example/{a}%2e"])
def test_arguments_do_not_make_a_step_out_together(url: str) -> None:
    parameters = schema(a={}, b={}) | {"required": ["a", "b"]}
    with pytest.raises(ToolFailed):
        asked_of(tool(url=url, parameters=parameters, query=[]), {"a": "_", "b": "_", **dict.fromkeys("ab", ".")})


@given(st.text(max_size=60))
def test_whatever_stands_in_a_path_the_call_goes_where_the_tool_says(text: str) -> None:
    parameters = schema(id={}) | {"required": ["id"]}
    try:
        url = asked_of(tool(url="https://a.example/x/{id}/y", parameters=parameters, query=[]), {"id": text}).url
    except ToolFailed:
        return
    parts = urlsplit(url)
    steps = parts.path.split("/")
    assert (parts.netloc, len(steps), steps[:2], steps[3]) == ("a.example", 4, ["", "x"], "y")
    assert (unquote(steps[2]), parts.query, parts.fragment) == (text, "", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "claim_id"),
        ({"claim_id": 5}, "string"),
        ({"claim_id": "1", "other": 1}, "other"),
        ({"claim_id": "x" * 70_000}, "at most 65536"),
        ({"claim_id": "\ud800"}, "no JSON"),
        ({"claim_id": float("nan")}, "no JSON"),
    ],
)
def test_a_model_is_told_what_is_wrong_with_its_arguments(arguments: dict[str, Any], said: str) -> None:
    wrong = wrong_with_arguments(EXAMPLE["parameters"], arguments)  # type: ignore[arg-type]
    assert wrong is not None
    assert said in wrong
    assert len(wrong) < 1200


def test_a_pattern_takes_no_longer_than_its_text() -> None:
    """One that goes back and forth would take years."""
    wrong = wrong_with_arguments(schema(a={"type": "string", "pattern": "^(a+)+$"}), {"a": "a" * 50_000 + "!"})
    assert wrong is not None


def test_much_that_is_wrong_is_named_before_it_is_held() -> None:
    """Each of many items by each of many schemas: every error would be made, gigabytes of them, before one is shown."""
    any_of = {"anyOf": [{"type": "string", "minLength": length} for length in range(250)]}
    checked = schema(a={"type": "array", "items": any_of}, b={}, c={"type": "string"})
    begun = time.process_time()
    wrong = wrong_with_arguments(checked, {"a": [1] * 21_000, "b": 1, "c": 2})
    assert wrong == "a: is not as its schema has it; c: is not as its schema has it"
    assert "send no others" in str(wrong_with_arguments({**checked, "required": ["d"]}, {"a": ["x" * 250] * 200}))
    assert wrong_with_arguments(checked, {"a": ["x" * 250] * 200}) is None
    assert time.process_time() - begun < 2


def test_patterns_of_one_schema_are_no_larger_together_than_one_may_be() -> None:
    """Each state of each of them is another step for each character."""
    several = [{"type": "string", "pattern": f"[ab]*a[ab]{{{900 + number}}}c"} for number in range(20)]
    assert wrong_with_schema(schema(a=several[0])) is None
    wrong = wrong_with_schema(schema(**{f"a{number}": one for number, one in enumerate(several)}))
    assert wrong is not None and "no huge repetitions" in wrong


# What is not told

HEADERS = st.characters(min_codepoint=33, max_codepoint=126)
WRITERS: dict[str, Callable[[str], str]] = {
    "json": lambda text: json.dumps(text)[1:-1],
    "json as it is": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "python": lambda text: repr(text)[1:-1],
    "html": html.escape,
    "url": lambda text: quote(text, safe=""),
}


@pytest.mark.parametrize(
    "said",
    [
        SECRET,
        f"Bearer {SECRET}!",
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {SECRET: [1, {"deep": SECRET}]},
        "c2stbGl2ZS0wMTIzNDU2Nzg5",
        "736b2d6c6976652d30313233343536373839",
    ],
)
def test_a_secret_that_comes_back_is_masked(said: Any) -> None:
    masked = json.dumps(Mask(SECRET).over(said))
    assert MASK in masked
    assert json.dumps(said) != masked
    assert SECRET not in masked


def test_a_secret_is_masked_in_other_writings_too() -> None:
    assert Mask('pass"word 1').text('{"a": "pass\\"word 1"} pass%22word%201 pass%22word+1') == '{"a": "***"} *** ***'
    assert Mask("12345678").over([12345678, 1234567, True]) == [MASK, 1234567, True]
    assert Mask("YWRhOmh1bnRlcjItaHVudGVyMg==").over("ada:hunter2-hunter2, hunter2-hunter2") == "***, ***"
    assert Mask(None).over({"a": [1, "b"]}) == {"a": [1, "b"]}


ODD_SECRET = "ab/cd+ef&gh<ij/kl+mn=="


@pytest.mark.parametrize(
    ("who", "body"),
    [
        ("PHP", r'{"error": "bad key ab\/cd+ef&gh<ij\/kl+mn=="}'),
        (".NET", r'{"error": "bad key ab/cd\u002Bef\u0026gh\u003Cij/kl\u002Bmn=="}'),
        ("Go", r'{"error": "bad key ab/cd+ef\u0026gh\u003cij/kl+mn=="}'),
        ("JSON in JSON", r'{"error": "{\"key\": \"ab\\/cd+ef&gh<ij\\/kl+mn==\"}"}'),
        ("HTML", "<p>bad key ab/cd+ef&amp;gh&lt;ij/kl+mn==</p>"),
        ("HTML by number", "<p>bad key ab/cd+ef&#38;gh&#x3c;ij/kl+mn==</p>"),
        ("small letters in a URL", "bad key ab%2fcd%2bef%26gh%3cij%2fkl%2bmn%3d%3d"),
        ("hexadecimal", ODD_SECRET.encode().hex().upper()),
        *(
            (f"base64 {code.__name__} after {before!r}", code(f"{before}{ODD_SECRET}{after}".encode()).decode())
            for code in (base64.b64encode, base64.urlsafe_b64encode)
            for before in ("", "Bearer ", "Bearer: ", "x")
            for after in ("", "!", "!!")
        ),
    ],
)
def test_a_secret_is_masked_however_its_server_writes_it(who: str, body: str) -> None:
    masked = Mask(ODD_SECRET).text(body)
    assert MASK in masked
    assert [*map(str.isalnum, masked)].count(True) < 20, f"{who}: {masked}"


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=SHORTEST, max_size=40),
    st.lists(st.sampled_from([*WRITERS]), max_size=3),
)
@example("000000<\\", ["html"])
def test_a_secret_is_masked_under_escapes_of_escapes(secret: str, writers: list[str]) -> None:
    said = secret
    for writer in writers:
        said = WRITERS[writer](said)
    assert MASK in Mask(secret).text(f"bad key ({said})")


@given(st.text(max_size=60))
def test_what_holds_no_secret_is_told_as_it_is(said: str) -> None:
    assert Mask("sk-live-0123456789").text(said) == said


# The toolbox


async def test_the_toolbox_finds_the_tenants_own_by_name(world: World, acme: str) -> None:
    globex = str((await world.onboard("globex"))["id"])
    await make(world, acme, name="a", approval="admin", method="POST")
    await make(world, acme, name="b")
    await make(world, globex, name="c")
    box = HttpToolbox(Outgoing(), KeptSecrets(world.core.adapters.secrets))
    session = await world.session(acme)
    found = await box.find(session, ["http:a", "http:b", "http:c", "a", "catalog.read", "http:"])
    assert [*found] == ["http:a", "http:b"]
    a, b = found["http:a"], found["http:b"]
    assert (a.spec.name, a.idempotent, a.approval) == ("http_a", False, Role.ADMIN)
    assert (b.spec.description, b.idempotent, b.approval) == (EXAMPLE["description"], True, None)
    with pytest.raises(Invalid, match="no tool of this tenant"):
        await box.named(session, ["http:c"])


@pytest.mark.parametrize(
    ("method", "said", "repeatable"),
    [("GET", None, True), ("POST", None, False), ("POST", True, True), ("PUT", False, False)],
)
def test_what_may_be_made_again_follows_from_the_method_unless_it_is_said(
    method: str, said: bool | None, repeatable: bool
) -> None:
    assert tool(method=method, idempotent=said).repeatable is repeatable


@pytest.mark.parametrize(
    ("fields", "another"),
    [
        ({"url": "https://api.globex.example/v1"}, True),
        ({"method": "DELETE"}, True),
        ({"headers": {"x-account": "2"}}, True),
        ({"parameters": {"type": "object", "properties": {"force": {"type": "boolean"}}}}, True),
        ({"description": "Deletes all."}, True),
        ({"timeout_seconds": 7}, False),
        ({"approval": "admin"}, False),
    ],
)
async def test_what_a_call_means_is_in_the_fingerprint_of_its_tool(
    world: World, fields: dict[str, Any], another: bool
) -> None:
    secrets = KeptSecrets(world.core.adapters.secrets)
    before, after = (HttpTool(one, Outgoing(), secrets) for one in (tool(), tool(**fields)))
    assert (before.fingerprint != after.fingerprint) == another


def test_development_may_name_what_the_settings_allow() -> None:
    fields = ToolFields.model_validate({**EXAMPLE, "url": "http://127.0.0.1:8931/{claim_id}"})
    assert wrong_with(fields, frozenset({("127.0.0.1", 8931)})) == []
    assert [one.field for one in wrong_with(fields, frozenset())] == ["url"]

"""What providers answer, through their real SDKs: text, calls, structured output, usage to the digit."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from functions.executions.acting import tokens_at_most
from functions.executions.conversing import MESSAGES
from shared.ai.models import AiModels
from shared.ai.port import (
    Answer,
    Message,
    ModelFailed,
    ModelMalformed,
    ModelRefused,
    TokenUsage,
    ToolCall,
    ToolSpec,
    Wire,
)
from shared.database.limits import encode
from shared.outgoing.client import Outgoing
from tests.doubles.ai import AiDouble, Fault, Reply, key_of
from tests.doubles.identity import Identity
from tests.wire.ai_connections import KEY, MODELS, WIRES, connection, question

LOOKUP = ToolSpec(
    "lookup",
    "Looks a claim up.",
    {"type": "object", "properties": {"claim": {"type": "integer"}}, "required": ["claim"]},
)
VERDICT = {
    "type": "object",
    "properties": {"accepted": {"type": "boolean"}, "feedback": {"type": "string"}},
    "required": ["accepted", "feedback"],
    "additionalProperties": False,
}


@pytest.fixture
async def models(provider: AiDouble) -> AsyncIterator[AiModels]:
    outgoing = Outgoing(frozenset({("127.0.0.1", provider.port)}))
    own = AiModels(outgoing, Identity)
    yield own
    await own.close()
    await outgoing.close()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_question_is_answered_with_text_and_usage(wire: Wire, provider: AiDouble, models: AiModels) -> None:
    provider.script = [Reply("It is covered.", input=120, output=7, cached=64)]
    answer = await models.ask(connection(provider, wire), question(wire, instructions="Be brief."))
    assert (answer.message.role, answer.message.text, answer.finish) == ("assistant", "It is covered.", "stop")
    assert answer.usage == TokenUsage(120, 7, 64)
    (asked,) = provider.asked
    assert asked.body.get("stream") in (None, False)
    assert 500 in (asked.body.get("max_tokens"), asked.body.get("max_completion_tokens"))
    assert "Be brief." in json.dumps(asked.body) and "Go." in json.dumps(asked.body)


@pytest.mark.parametrize(
    ("wire", "path"),
    [
        ("openai", "/v1/chat/completions"),
        ("azure_openai", "/openai/deployments/gpt-5/chat/completions"),
        ("anthropic", "/v1/messages"),
    ],
)
async def test_each_wire_has_its_path(wire: Wire, path: str, provider: AiDouble, models: AiModels) -> None:
    await models.ask(connection(provider, wire), question(wire))
    assert provider.asked[0].path == path


@pytest.mark.parametrize("wire", WIRES)
async def test_a_tool_loop_ends_with_what_the_tools_said(wire: Wire, provider: AiDouble, models: AiModels) -> None:
    """Two calls in one answer, their results in one turn; with what the adapter keeps, and from our own fields."""
    for keeps in (True, False):
        provider.script = [Reply(calls=[("lookup", {"claim": 1}), ("lookup", {"claim": 2})]), Reply("Both.")]
        said = [Message("user", "Look claims 1 and 2 up.")]
        first = await models.ask(connection(provider, wire), question(wire, *said, tools=[LOOKUP]))
        calls = first.message.calls
        assert (first.finish, [(one.name, one.arguments) for one in calls]) == (
            "calls",
            [("lookup", {"claim": 1}), ("lookup", {"claim": 2})],
        )
        turn = first.message if keeps else replace(first.message, opaque=None)
        said += [turn, *(Message("tool", f"claim {n}", call_id=one.id, name=one.name) for n, one in enumerate(calls))]
        last = await models.ask(connection(provider, wire), question(wire, *said, tools=[LOOKUP]))
        assert (last.finish, last.message.text) == ("stop", "Both.")
        sent = json.dumps(provider.asked[-1].body)
        assert all(text in sent for text in ("claim 0", "claim 1", calls[0].id, calls[1].id))


@pytest.mark.parametrize("wire", WIRES)
async def test_a_schema_is_asked_of_the_provider_itself(wire: Wire, provider: AiDouble, models: AiModels) -> None:
    provider.script = [Reply('{"accepted": true, "feedback": "none"}')]
    answer = await models.ask(connection(provider, wire), question(wire, schema=VERDICT))
    assert json.loads(answer.message.text) == {"accepted": True, "feedback": "none"}
    body = provider.asked[0].body
    wanted = body.get("response_format") or body.get("output_config") or body.get("output_format")
    assert "feedback" in json.dumps(wanted) and not body.get("tools")


async def test_a_model_without_structured_output_is_told_the_schema_in_words(
    provider: AiDouble, models: AiModels
) -> None:
    provider.script = [Reply('{"accepted": true, "feedback": "none"}', input=150, output=12)]
    asked = replace(question("anthropic", instructions="Be brief.", schema=VERDICT), model="one-of-their-own")
    answer = await models.ask(connection(provider, "anthropic"), asked)
    assert (json.loads(answer.message.text), answer.usage.input) == ({"accepted": True, "feedback": "none"}, 150)
    body = provider.asked[0].body
    assert "Be brief." in json.dumps(body["system"]) and "feedback" in json.dumps(body["system"])
    assert not {"output_config", "output_format", "tools"} & {name for name, value in body.items() if value}


@pytest.mark.parametrize(
    ("wire", "finish"), [("openai", "length"), ("azure_openai", "length"), ("anthropic", "max_tokens")]
)
async def test_an_answer_that_was_cut_says_so_and_calls_nothing(
    wire: Wire, finish: str, provider: AiDouble, models: AiModels
) -> None:
    provider.script = [Reply("Half of", finish=finish), Reply(calls=[("lookup", {"claim": 1})], finish=finish)]
    for text in ("Half of", ""):
        answer = await models.ask(connection(provider, wire), question(wire, tools=[LOOKUP]))
        assert (answer.finish, answer.message.text, answer.message.calls) == ("length", text, [])
        assert answer.message.opaque is None and answer.usage == TokenUsage(100, 10, 0)


@pytest.mark.parametrize("arguments", ['{"claim": ', "[1]", "nonsense"])
async def test_arguments_that_are_no_json_are_the_tools_to_refuse(
    arguments: str, provider: AiDouble, models: AiModels
) -> None:
    """The tokens are used all the same: the model hears of it and tries again."""
    provider.script = [Reply(calls=[("lookup", arguments)])]
    answer = await models.ask(connection(provider, "openai"), question("openai", tools=[LOOKUP]))
    assert answer.message.calls[0].arguments == {"INVALID_JSON": arguments}
    assert answer.usage == TokenUsage(100, 10, 0)


async def test_what_a_provider_signs_goes_back_to_it_and_to_no_other(provider: AiDouble, models: AiModels) -> None:
    provider.script = [Reply(calls=[("lookup", {"claim": 1})], thinking="Let me see.")]
    anthropic = connection(provider, "anthropic")
    said = [Message("user", "Look claim 1 up.")]
    first = (await models.ask(anthropic, question("anthropic", *said, tools=[LOOKUP]))).message
    said += [first, Message("tool", "paid", call_id=first.calls[0].id, name="lookup")]
    await models.ask(anthropic, question("anthropic", *said, tools=[LOOKUP]))
    assert "signed-by-the-double" in json.dumps(provider.asked[-1].body)
    await models.ask(connection(provider, "openai"), question("openai", *said, tools=[LOOKUP]))
    sent = json.dumps(provider.asked[-1].body)
    assert "signed-by-the-double" not in sent and "paid" in sent and first.calls[0].id in sent


@pytest.mark.parametrize(
    "damaged", ["", "pydantic-ai 1.0.0 openai [{}]", "{mark}[]", "{mark}nonsense", "{mark}[{}, {}]"]
)
async def test_what_another_version_has_kept_is_made_anew_from_our_own_fields(
    damaged: str, provider: AiDouble, models: AiModels
) -> None:
    from shared.ai.history import VERSION

    kept = damaged.replace("{mark}", f"pydantic-ai {VERSION} openai ")
    turn = Message("assistant", "Looking.", [ToolCall("call_9", "lookup", {"claim": 9})], opaque=kept)
    said = [Message("user", "Go."), turn, Message("tool", "paid", call_id="call_9", name="lookup")]
    await models.ask(connection(provider, "openai"), question("openai", *said, tools=[LOOKUP]))
    sent = provider.asked[0].body["messages"]
    assert [one["role"] for one in sent] == ["user", "assistant", "tool"]
    assert (sent[1]["content"], sent[1]["tool_calls"][0]["id"], sent[2]["tool_call_id"]) == (
        "Looking.",
        "call_9",
        "call_9",
    )


# Usage and cost


@pytest.mark.parametrize(
    ("wire", "reply", "cost"),
    [
        ("openai", Reply(input=1000, cached=100, output=10), 1238),  # 900 * 1.25 + 100 * 0.125 + 10 * 10, rounded up
        ("azure_openai", Reply(input=1000, cached=100, output=10), 1238),
        ("anthropic", Reply(input=1000, cached=100, output=10), 960),  # 900 * 1 + 100 * 0.1 + 10 * 5
        ("anthropic", Reply(input=1000, written=400, output=10), 1150),  # 600 * 1 + 400 * 1.25 + 10 * 5
    ],
)
async def test_the_cost_is_in_micro_dollars_and_rounded_up(
    wire: Wire, reply: Reply, cost: int, provider: AiDouble, models: AiModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the provider's own list has it: what speaks like one at another address has no price."""
    monkeypatch.setattr("shared.ai.pydantic_ai.OPENAI", f"{provider.url}/v1")
    monkeypatch.setattr("shared.ai.pydantic_ai.ANTHROPIC", provider.url)
    provider.script = [reply, reply]
    known = connection(provider, wire)
    elsewhere = await models.ask(known, question(wire))
    own = await models.ask(known if wire == "azure_openai" else replace(known, base_url=None), question(wire))
    assert (own.cost, elsewhere.cost) == (cost, cost if wire == "azure_openai" else None)
    assert models.price(replace(known, base_url=None), MODELS[wire], TokenUsage(1000, 10, 100)) in (cost, 960)


async def test_a_dated_name_of_a_model_has_the_price_of_the_one_that_was_asked(
    provider: AiDouble, models: AiModels
) -> None:
    provider.script = [Reply(model="gpt-5-of-tomorrow", input=1000, output=10), Reply(model="nobody-knows")]
    azure = connection(provider, "azure_openai")
    dated = await models.ask(azure, question("azure_openai"))
    assert (dated.model, dated.cost) == ("gpt-5-of-tomorrow", 1350)
    unknown = await models.ask(azure, replace(question("azure_openai"), model="nobody-knows"))
    assert unknown.cost is None


@pytest.mark.parametrize("wire", WIRES)
async def test_what_is_counted_is_what_the_provider_bills(wire: Wire, provider: AiDouble, models: AiModels) -> None:
    provider.script = [Reply(input=100 + n, output=n, cached=2 * n) for n in range(1, 6)]
    answers: dict[str, list[Answer]] = {"key-1": [], "key-2": []}
    for n in range(5):
        key = f"key-{n % 2 + 1}"
        answers[key].append(await models.ask(connection(provider, wire, key), question(wire)))
    for key, those in answers.items():
        counted = [sum(getattr(one.usage, kind) for one in those) for kind in ("input", "output", "cached")]
        assert counted == [provider.billed[key, kind] for kind in ("input", "output", "cached")]


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_that_does_not_say_what_it_used_is_none(
    wire: Wire, provider: AiDouble, models: AiModels
) -> None:
    provider.script = [Reply(usage=False)]
    with pytest.raises(ModelMalformed, match="how many tokens"):
        await models.ask(connection(provider, wire), question(wire))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "used",
    [
        {"input": 10, "cached": 50},
        {"input": -10},
        {"output": -10},
        {"cached": -5},
        {"input": 10**13},
        {"input": 2**70},
        {"input": 10.5},
    ],
    ids=str,
)
async def test_tokens_that_cannot_be_are_not_charged(
    wire: Wire, used: dict[str, Any], provider: AiDouble, models: AiModels
) -> None:
    provider.script = [Reply(**used)]
    with pytest.raises(ModelMalformed):
        await models.ask(connection(provider, wire), question(wire))


# What a model writes

ODD: list[tuple[str, Any]] = [
    ('{"n": 12345678901234567890}', {"n": "12345678901234567890"}),
    ('{"n": [9007199254740992, 9007199254740993]}', {"n": [9007199254740992, "9007199254740993"]}),
    ('{"n": [1e20, -1.5]}', {"n": [1e20, -1.5]}),
    ('{"n": 1e999}', None),
    ("[1]", None),
    ("[" * 5000, None),
    ('{"a":' * 500 + "1" + "}" * 500, None),
    (json.dumps({"n": "x" * 300_000}), None),
]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("written", "meant"), ODD, ids=lambda value: str(value)[:30])
async def test_whatever_a_model_writes_is_kept_or_a_failure_with_a_name(
    wire: Wire, written: str, meant: Any, provider: AiDouble, models: AiModels
) -> None:
    """What none of our stores and readers of JSON can hold as it is, is text: the tool says what it should be."""
    provider.script = [Reply(calls=[("lookup", written)])]
    try:
        answer = await models.ask(connection(provider, wire), question(wire, tools=[LOOKUP]))
    except ModelFailed:
        assert meant is None
        return
    encode({"messages": MESSAGES.dump_python([answer.message], mode="json")})
    assert meant is None or answer.message.calls[0].arguments == meant


OPENAI_ANSWER = """{"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "TEXT"}}], "usage": USED}"""
ANTHROPIC_ANSWER = """{"id": "1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "TEXT"}], "usage": USED}"""
TOLD = '{"prompt_tokens": N, "completion_tokens": N, "total_tokens": N, "input_tokens": N, "output_tokens": N}'


@pytest.mark.parametrize(("wire", "answer"), [("openai", OPENAI_ANSWER), ("anthropic", ANTHROPIC_ANSWER)])
@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("\\ud83d", TOLD.replace("N", "5")),
        ("x", TOLD.replace("N", '"many"')),
        ("x", TOLD.replace("N", "5.5")),
        ("x", TOLD.replace("N", "[5]")),
        ("x", TOLD.replace("N", "1e400")),
        ("x", "7"),
        ("x", "[]"),
    ],
)
async def test_whatever_an_answer_is_it_is_one_or_a_failure_with_a_name(
    wire: Wire, answer: str, text: str, used: str, provider: AiDouble, models: AiModels
) -> None:
    provider.script = [Fault(200, body=answer.replace("TEXT", text).replace("USED", used))]
    try:
        found = await models.ask(connection(provider, wire), question(wire))
    except ModelFailed as failed:
        assert failed.code == "model_malformed"
        return
    assert (found.usage, found.message.text) == (TokenUsage(5, 5, 0), "?")


@pytest.mark.parametrize("wire", WIRES)
async def test_names_have_a_bound(wire: Wire, provider: AiDouble, models: AiModels) -> None:
    provider.script = [Reply(model="m" * 5000), Reply(calls=[("n" * 5000, {})])]
    assert (await models.ask(connection(provider, wire), question(wire))).model == MODELS[wire]
    with pytest.raises(ModelMalformed, match="more than 200 characters"):
        await models.ask(connection(provider, wire), question(wire, tools=[LOOKUP]))


async def test_thinking_that_is_sent_again_is_reserved(provider: AiDouble, models: AiModels) -> None:
    provider.script = [Reply(thinking="hm, " * 50_000, calls=[("lookup", {"claim": 1})])]
    said = [Message("user", "Go.")]
    first = (await models.ask(connection(provider, "openai"), question("openai", *said, tools=[LOOKUP]))).message
    said += [first, Message("tool", "one", call_id=first.calls[0].id, name="lookup")]
    again = question("openai", *said, tools=[LOOKUP])
    reserved = tokens_at_most(again)
    await models.ask(connection(provider, "openai"), again)
    sent = len(json.dumps(provider.asked[-1].body))
    assert sent > 200_000
    assert reserved > sent // 2


# Keys


HEADERS = (
    "X-Gateway-Key: secret-of-the-host\nauthorization: Bearer of-the-host\napi-key: of-the-host\nX-Api-Key: of-the-host"
)
ENVIRONMENT = {
    "OPENAI_API_KEY": "key-of-the-host",
    "OPENAI_ORG_ID": "org-of-the-host",
    "OPENAI_PROJECT_ID": "project-of-the-host",
    "OPENAI_ADMIN_KEY": "key-of-the-host",
    "OPENAI_WEBHOOK_SECRET": "secret-of-the-host",
    "OPENAI_CUSTOM_HEADERS": HEADERS,
    "OPENAI_BASE_URL": "https://host.example/v1",
    "AZURE_OPENAI_API_KEY": "key-of-the-host",
    "AZURE_OPENAI_AD_TOKEN": "token-of-the-host",
    "AZURE_OPENAI_ENDPOINT": "https://host.example",
    "ANTHROPIC_API_KEY": "key-of-the-host",
    "ANTHROPIC_AUTH_TOKEN": "token-of-the-host",
    "ANTHROPIC_CUSTOM_HEADERS": HEADERS,
    "ANTHROPIC_WEBHOOK_SIGNING_KEY": "secret-of-the-host",
    "ANTHROPIC_BASE_URL": "https://host.example",
}


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_carries_the_connections_key_and_nothing_of_the_environment(
    wire: Wire, provider: AiDouble, models: AiModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    await models.ask(connection(provider, wire), question(wire))
    headers = provider.asked[0].headers
    assert key_of(headers) == KEY
    assert "of-the-host" not in json.dumps(dict(headers))


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_without_a_key_nobody_is_asked_whatever_the_environment_has(
    wire: Wire, provider: AiDouble, models: AiModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ModelRefused, match="has no key"):
        await models.ask(connection(provider, wire, None), question(wire))
    assert provider.asked == []


async def test_azure_without_a_key_is_opened_by_the_apps_own_identity(provider: AiDouble, models: AiModels) -> None:
    await models.ask(connection(provider, "azure_openai", None), question("azure_openai"))
    headers = provider.asked[0].headers
    assert headers["authorization"] == "Bearer token-of-https://cognitiveservices.azure.com/.default"
    assert "api-key" not in headers


@pytest.mark.parametrize("host", ["evil.example", "openai.azure.com.evil.example", "evilopenai.azure.com", "8.8.8.8"])
async def test_the_apps_own_identity_is_shown_to_azures_hosts_alone(host: str, models: AiModels) -> None:
    """Who had such a token could do all that the app can."""
    made: list[Any] = []
    own = AiModels(Outgoing(), lambda: made.append(1))  # type: ignore[arg-type, return-value]
    evil = connection(AiDouble(f"https://{host}"), "azure_openai", None)
    with pytest.raises(ModelRefused, match="own identity is not shown"):
        await own.ask(evil, question("azure_openai"))
    assert made == []
    await own.close()

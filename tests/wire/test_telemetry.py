"""What Application Insights is told, through opencensus' own transport and a socket: of whom, what, in which trace."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.telemetry.insights import Insights
from shared.telemetry.log import JsonLines
from shared.telemetry.port import invocation
from shared.tracing import Span, within
from shared.version import VERSION
from tests.doubles.ai import AiDouble, Reply
from tests.doubles.ingestion import KEY, Ingestion, ingestion
from tests.unit.world import AGENT, admin
from tests.wire.agents_world import LEAD, NAMES, Wired

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "canary=kanarienvogel", "baggage": "user=canary"}
EMAIL, NAME, PROMPT = "canary.bird@acme.example", "Kanarienvogel", "Sing of the mine, canary."
TOKEN = jwt.encode({"name": NAME}, "0" * 32)
OUTPUT, SECRET = "The canary has sung.", "key-ours-of-"
CANARIES = [EMAIL, NAME, PROMPT, TOKEN, TOKEN.rpartition(".")[2], OUTPUT, SECRET, "kanarienvogel"]


@pytest.fixture
def insights() -> Iterator[Ingestion]:
    with ingestion() as double:
        yield double


@pytest.fixture
async def acme(tmp_path: Path, provider: AiDouble, insights: Ingestion) -> AsyncIterator[Wired]:
    more = {"applicationinsights_connection_string": insights.connection_string, "flowgrid_environment": "staging"}
    own = await Wired.over(tmp_path, provider, "openai", **more)
    yield own
    await own.world.close()


@pytest.fixture
def written() -> Iterator[Callable[[], str]]:
    """All that is logged meanwhile, at any level."""
    kept: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(self.format(record))

    keeping, logger = Keeping(), logging.getLogger("flowgrid")
    keeping.setFormatter(JsonLines())
    before = logger.level
    logger.addHandler(keeping)
    logger.setLevel(logging.DEBUG)
    yield lambda: "\n".join(kept)
    logger.removeHandler(keeping)
    logger.setLevel(before)


async def run(acme: Wired, **headers: str) -> dict[str, Any]:
    """A run of an agent, from the call that begins it to its end."""
    agent = await acme.agent("Clerk", NAMES["openai"][LEAD], description=f"{EMAIL} {TOKEN}", instructions=PROMPT)
    acme.double.script = [Reply(OUTPUT, input=1203, output=37, cached=512)]
    begun = await acme.world.call(
        "create_execution", admin(acme.tenant), {"input": PROMPT}, params={"agent_id": agent}, headers=headers
    )
    await acme.drain()
    found: dict[str, Any] = await acme.call("get_execution", execution_id=begun.json["id"])
    assert (found["status"], found["output"]) == ("succeeded", OUTPUT)
    return found


def of_trace(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in items if one["tags"].get("ai.operation.id") == TRACE]


async def test_one_trace_goes_from_the_call_through_the_queue_to_the_model(
    acme: Wired, insights: Ingestion, provider: AiDouble
) -> None:
    await run(acme, **HEADERS)
    await acme.world.close()
    requests = {one["name"]: one for one in of_trace(insights.of("RequestData"))}
    calls = {one["name"]: one for one in of_trace(insights.of("RemoteDependencyData"))}
    started, worked = requests["POST /api/v1/agents/{agent_id}/executions"], requests["run_execution"]
    sent, asked, posted = calls["send executions"], calls["ask gpt-5"], calls["POST 127.0.0.1"]
    parents = [one["tags"]["ai.operation.parentId"] for one in (started, sent, worked, asked, posted)]
    assert parents == [CALLER, started["id"], sent["id"], worked["id"], asked["id"]]
    headers = provider.asked[-1].headers
    assert headers["traceparent"] == f"00-{TRACE}-{posted['id']}-01"
    assert not {"tracestate", "baggage"} & headers.keys()


async def test_each_item_says_whose_it_is_where_and_of_which_version(acme: Wired, insights: Ingestion) -> None:
    await run(acme, **HEADERS)
    await acme.world.close()
    told = of_trace([item for type in TYPES for item in insights.of(type)])
    assert {one["baseType"] for one in (envelope["data"] for envelope in insights.envelopes)} == set(TYPES)
    assert {json.dumps({name: one["properties"][name] for name in COMMON}) for one in told} == {
        json.dumps(dict(zip(COMMON, (acme.tenant, "staging", VERSION), strict=True)))
    }
    assert {(one["tags"]["ai.cloud.role"], one["tags"]["ai.application.ver"]) for one in told} == {
        ("flowgrid", VERSION)
    }
    assert {one["iKey"] for one in insights.envelopes} == {KEY}


TYPES = ("RequestData", "RemoteDependencyData", "EventData", "MetricData")
COMMON = ("tenantId", "environment", "version")


async def test_an_answer_of_a_model_is_a_figure_of_its_tokens(acme: Wired, insights: Ingestion) -> None:
    await run(acme, **HEADERS)
    await acme.world.close()
    (found,) = of_trace(insights.of("MetricData"))
    assert found["metrics"] == [{"name": "AI Request", "value": 1240, "count": 1}]
    properties = found["properties"]
    assert (properties["tenantId"], properties["provider"], properties["model"]) == (acme.tenant, "openai", "gpt-5")
    assert properties["duration"].isdecimal()


async def test_a_call_of_a_tenants_user_is_an_event_and_a_request(acme: Wired, insights: Ingestion) -> None:
    await acme.world.call("get_agent", admin(acme.tenant), params={"agent_id": "nothing"}, headers=HEADERS)
    await acme.world.call("get_agent", params={"agent_id": "nothing"}, headers=HEADERS)  # nobody's
    await acme.world.close()
    (event,) = of_trace(insights.of("EventData"))
    told = {"tenantId": acme.tenant, "endpoint": "/api/v1/agents/{agent_id}", "method": "GET", "status": "404"}
    assert (event["name"], event["properties"].items() >= told.items()) == ("API Call", True)
    refused = [
        (one["responseCode"], one["success"], one["properties"]["tenantId"]) for one in insights.of("RequestData")
    ]
    assert refused[-2:] == [("404", True, acme.tenant), ("401", True, "")]


async def test_an_exception_is_told_by_type_and_place_and_its_call_as_a_failure(
    acme: Wired, insights: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError(f"{NAME} <{EMAIL}> {TOKEN}") from KeyError(PROMPT)

    await acme.call("list_agents")
    monkeypatch.setattr(acme.world.core.endpoint.members, "admit", broken)
    answer = await acme.world.call("get_me", admin(acme.tenant), headers=HEADERS)
    await acme.world.close()
    (request,) = of_trace(insights.of("RequestData"))
    assert (answer.status, request["responseCode"], request["success"]) == (500, "500", False)
    (found,) = of_trace(insights.of("ExceptionData"))
    first, second = found["exceptions"]
    assert (first["typeName"], first["message"], second["typeName"]) == ("RuntimeError", "RuntimeError", "KeyError")
    place = first["parsedStack"][0]
    assert (place["method"], Path(place["fileName"]).name) == ("broken", Path(__file__).name)
    assert found["tags"]["ai.operation.parentId"] == request["id"]
    told = {"tenantId": acme.tenant, "operation": "get_me"}
    assert found["properties"].items() >= told.items()


async def test_who_people_are_and_what_they_say_or_hold_is_in_no_item_and_no_line(
    acme: Wired, insights: Ingestion, written: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(acme, **HEADERS)
    ada = Caller("s-1", EMAIL, NAME, acme.tenant, Role.ADMIN)
    user = {"email": f"b.{EMAIL}", "name": NAME, "role": "user"}
    await acme.world.call("create_user", ada, user, headers={"idempotency-key": "canary", "x-request-id": EMAIL})
    await acme.world.call("list_users", ada, query={"email": EMAIL}, search=f"?email={EMAIL}&token={TOKEN}")
    await acme.world.call("get_agent", ada, params={"agent_id": NAME})
    await acme.world.call(
        "get_me", headers={"authorization": f"Bearer {TOKEN}", "user-agent": f"{NAME} {TOKEN}", **HEADERS}
    )
    await acme.world.call("create_agent", ada, {**AGENT, "name": NAME, "description": TOKEN})
    await acme.world.call("create_element", ada, {"name": NAME, "type": "Nonsense"})

    async def broken(*_: Any) -> None:
        raise RuntimeError(f"{NAME} {EMAIL} {TOKEN} {PROMPT}")

    monkeypatch.setattr(acme.world.core.endpoint.members, "admit", broken)
    await acme.world.call("get_me", ada)
    await acme.world.sweep()
    await acme.world.close()
    told, lines = "\n".join(insights.raw), written()
    assert ("RuntimeError" in told, "unexpected error" in lines, TRACE in lines) == (True, True, True)
    assert [canary for canary in CANARIES if canary in told or canary in lines] == []


@pytest.mark.parametrize("traceparent", ["", "garbage", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{CALLER}-01"])
async def test_a_call_without_a_good_traceparent_begins_a_trace_of_its_own(
    acme: Wired, insights: Ingestion, traceparent: str
) -> None:
    await acme.world.call("get_me", admin(acme.tenant), headers={"traceparent": traceparent})
    await acme.world.close()
    tags = insights.of("RequestData")[-1]["tags"]
    assert len(tags["ai.operation.id"]) == 32 and tags["ai.operation.id"] != TRACE
    assert "ai.operation.parentId" not in tags


async def test_sampling_leaves_out_successes_only_and_says_how_many_an_item_stands_for(insights: Ingestion) -> None:
    telemetry = Insights(insights.connection_string, environment="staging", sample=0.25)
    drawn = {telemetry._sampled(trace): trace for trace in (f"{number:032x}" for number in range(1, 200))}
    for name, trace in (("kept", drawn[True]), ("left out", drawn[False])):
        span = Span(trace, CALLER)
        with within(span):
            for ok in (True, False):
                telemetry.request(span, name, started=0.0, seconds=61.5, result="", ok=ok, tenant_id="t")
            telemetry.event(name, "t", {})
            telemetry.metric(name, "t", 7.0, {}, 3)
            telemetry.exception(ValueError(name))
    await telemetry.close()
    requests = [(one["name"], one["success"], one["sampleRate"]) for one in insights.of("RequestData")]
    assert requests == [("kept", True, 25.0), ("kept", False, 100.0), ("left out", False, 100.0)]
    assert [(one["name"], one["sampleRate"]) for one in insights.of("EventData")] == [("kept", 25.0)]
    assert [one["sampleRate"] for one in insights.of("ExceptionData")] == [100.0, 100.0]
    figures = [(one["metrics"][0], one["sampleRate"]) for one in insights.of("MetricData")]
    assert figures == [({"name": name, "value": 7.0, "count": 3}, 100.0) for name in ("kept", "left out")]
    assert insights.of("RequestData")[0]["duration"] == "0.00:01:01.500"


def test_whoever_names_a_trace_does_not_choose_whether_it_is_sampled(insights: Ingestion) -> None:
    """By its digits he would be counted a hundred times for each call, or never."""
    telemetry = Insights(insights.connection_string, environment="staging", sample=0.25)
    kept = [telemetry._sampled(f"{number:032x}") for number in range(1, 4001)]
    assert 800 < sum(kept) < 1200


async def test_what_a_timer_raises_is_told_as_an_exception(insights: Ingestion) -> None:
    telemetry = Insights(insights.connection_string, environment="staging")
    with pytest.raises(ValueError, match="out of reach"), invocation(telemetry, "close_usage"):
        raise ValueError("out of reach")
    await telemetry.close()
    (told,) = insights.of("ExceptionData")
    (request,) = insights.of("RequestData")
    assert [one["typeName"] for one in told["exceptions"]] == ["ValueError"]
    assert told["tags"]["ai.operation.id"] == request["tags"]["ai.operation.id"]


async def test_where_a_key_is_not_enough_the_apps_own_identity_sends(
    insights: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    import azure.identity
    from azure.core.credentials import AccessToken

    class Identity:
        def __init__(self, managed_identity_client_id: str | None) -> None:
            self.id = managed_identity_client_id

        def get_token(self, *scopes: str) -> AccessToken:
            return AccessToken(f"{self.id} for {scopes[0]}", 4102444800)

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Identity)
    telemetry = Insights(insights.connection_string, environment="staging", client_id="one")
    telemetry.metric("m", "t", 1.0, {})
    await telemetry.close()
    assert insights.headers[0]["authorization"] == "Bearer one for https://monitor.azure.com//.default"
    assert len(insights.of("MetricData")) == 1


def test_a_logged_error_is_an_event_of_its_words_whatever_is_sampled(insights: Ingestion) -> None:
    telemetry = Insights(insights.connection_string, environment="staging", sample=0.000001)
    logger = logging.getLogger("flowgrid.deadletters")
    with within(Span(TRACE, "", CALLER)):
        logger.error("a message cannot be handled", extra={"tenant_id": "t-1", "queue": EMAIL, "reason": PROMPT})
        logger.warning("a dead letter cannot be sent again")
    asyncio.run(telemetry.close())
    (event,) = of_trace(insights.of("EventData"))
    told = {"tenantId": "t-1", "message": "a message cannot be handled", "queue": "[e-mail]"}
    assert (event["name"], event["sampleRate"], event["properties"].items() >= told.items()) == (
        "Logged Error",
        100.0,
        True,
    )
    assert PROMPT not in "".join(insights.raw)

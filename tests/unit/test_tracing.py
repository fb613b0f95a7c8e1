"""Which trace a piece of work is part of, and what is told of its calls."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from local.messages import service_bus_message
from shared.messaging.again import again
from shared.messaging.port import Message
from shared.messaging.received import message_from
from shared.telemetry.log import JsonLines
from shared.telemetry.port import OFF, Telemetry, invocation
from shared.tracing import Call, Span, begun, calling, current, measure, parsed, traceparent, within
from tests.unit.world import AGENT, World, admin

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{CALLER}-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{CALLER}-00", False),
        (f"00-{TRACE}-{CALLER}-03", True),
        (f"cc-{TRACE}-{CALLER}-01-more", True),
    ],
)
def test_work_that_something_has_caused_is_of_its_trace(text: str, sampled: bool) -> None:
    span = begun(text)
    assert (span.trace_id, span.parent, span.sampled) == (TRACE, CALLER, sampled)
    assert span.id != CALLER and parsed(span.traceparent)


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        GOOD.upper(),
        f"{GOOD} ",
        f"{GOOD}-more",
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{CALLER}",
        f"00-{TRACE[:-1]}-{CALLER}-01",
        f"cc-{TRACE}-{CALLER}-01-{'x' * 300}",
    ],
)
def test_what_is_no_traceparent_begins_another_trace(text: object) -> None:
    span = begun(text)
    assert parsed(text) is None
    assert (span.trace_id != TRACE, span.parent, len(span.trace_id)) == (True, "", 32)


def test_only_within_a_piece_of_work_there_is_one() -> None:
    with within(begun(GOOD)) as span:
        assert traceparent() == span.traceparent
    assert (traceparent(), current.get()) == ("", None)


def test_a_call_is_told_of_when_it_is_over_as_a_span_of_its_own() -> None:
    told: list[Call] = []
    with within(begun(GOOD)) as span:
        with calling(told.append, "kind", "host", "name", "tenant"):
            measure("units", 1.5)
            measure("units", 2.0)
            inner = traceparent()
        measure("units", 9.0)  # no call is under way
    (call,) = told
    assert (call.span.trace_id, call.span.parent, call.span.traceparent) == (TRACE, span.id, inner)
    assert (call.ok, call.tenant_id, call.measured, call.seconds >= 0) == (True, "tenant", {"units": 3.5}, True)


@pytest.mark.parametrize(
    ("error", "ok"), [(KeyError("k"), True), (ValueError("v"), False), (asyncio.CancelledError(), False)]
)
def test_a_call_that_raises_has_failed_unless_that_is_an_answer(error: BaseException, ok: bool) -> None:
    told: list[Call] = []
    with pytest.raises(type(error)), calling(told.append, "kind", "host", "name", fine=KeyError):
        raise error
    assert [(call.ok, call.result) for call in told] == [(ok, type(error).__name__)]
    assert current.get() is None


def test_where_nobody_is_told_a_call_is_no_span() -> None:
    with within(begun(GOOD)) as span, calling(None, "kind", "host", "name"):
        assert traceparent() == span.traceparent


def test_a_message_that_is_sent_again_stays_of_its_trace() -> None:
    assert again(Message("m", "t", {}, GOOD)).traceparent == GOOD


@pytest.mark.parametrize(("said", "kept"), [(GOOD, GOOD), ("x" * 70_000, ""), (7, ""), (None, "")])
def test_a_message_of_whoever_sends_it_has_a_good_traceparent_or_none(said: Any, kept: str) -> None:
    assert message_from("m", "t", b"{}", said).traceparent == kept


async def test_what_stayed_in_the_outbox_is_sent_as_part_of_its_own_trace(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = (await world.onboard())["id"]
    await world.drain()
    with monkeypatch.context() as patch:
        patch.setattr(world.core.services.outbox, "relay", _nothing)
        await world.call("create_agent", admin(tenant), AGENT, headers={"traceparent": GOOD})
    await world.queued("usage-events")
    world.clock.advance(minutes=1)
    await world.sweep()
    lease = await world.queue.receive("usage-events", most=10)
    causes = [parsed(message.traceparent) for message, _ in lease.messages]
    assert [cause and cause.trace_id for cause in causes] == [TRACE]


async def _nothing(*_: Any) -> None:
    return None


def test_a_line_says_which_trace_it_is_of() -> None:
    record = logging.makeLogRecord({"name": "flowgrid", "levelname": "INFO", "msg": "said"})
    with within(begun(GOOD)):
        assert json.loads(JsonLines().format(record))["trace_id"] == TRACE
    assert "trace_id" not in json.loads(JsonLines().format(record))


def test_a_line_of_a_message_says_whose_it_is_and_of_which_function() -> None:
    record = logging.makeLogRecord({"name": "flowgrid", "levelname": "INFO", "msg": "said"})
    with invocation(OFF, "run_job", traceparent=GOOD, tenant_id="tenant-1"):
        line = json.loads(JsonLines().format(record))
    assert (line["operation"], line["tenant_id"], line["trace_id"]) == ("run_job", "tenant-1", TRACE)
    assert "operation" not in json.loads(JsonLines().format(record))


class KeptTelemetry(Telemetry):
    """The requests that it was told of."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bool, str]] = []

    def request(self, span: Span, name: str, *, result: str, ok: bool, tenant_id: str, **times: float) -> None:
        self.requests.append((name, result, ok, tenant_id))


def test_an_invocation_that_fails_is_told_of_and_fails() -> None:
    kept = KeptTelemetry()
    with pytest.raises(KeyError), invocation(kept, "sweep"):
        raise KeyError("k")
    with invocation(kept, "run_job", tenant_id="t"):
        pass
    assert kept.requests == [("sweep", "KeyError", False, ""), ("run_job", "0", True, "t")]


async def test_every_timer_and_message_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.over(tmp_path, servicebusconnection="Endpoint=sb://localhost")
    kept, off = KeptTelemetry(), world.core.adapters.telemetry
    monkeypatch.setattr(type(off), "request", lambda self, *args, **more: kept.request(*args, **more))
    message = service_bus_message(Message("m", "t", {}), 1)
    others = [one for one in world.functions if one not in {route.name for route in world.core.endpoint.routes}]
    for name in others:
        await world.functions[name]([message] if name == "store_usage" else message)
    await world.close()
    assert {name for name, *_ in kept.requests} == {"rounds" if one == "go_round" else one for one in others}

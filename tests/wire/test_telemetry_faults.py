"""Application Insights dead, slow, refusing, or sending elsewhere: nothing waits for it, and memory has a bound."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shared.telemetry import insights as module
from shared.telemetry.insights import Insights
from tests.doubles.ingestion import KEY, Ingestion, ingestion
from tests.unit.world import AGENT, World, admin


@pytest.fixture
def receiver() -> Iterator[Ingestion]:
    with ingestion() as double:
        yield double


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Insights]]:
    """Makes telemetry that does not gather for long, nor is waited for at its end."""
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.0)
    all: list[Insights] = []

    def make(connection_string: str, **options: Any) -> Insights:
        all.append(Insights(connection_string, environment="test", gather_seconds=0.01, **options))
        return all[-1]

    yield make
    for one in all:
        await one.close()


def tell(telemetry: Insights, count: int = 1) -> None:
    for number in range(count):
        telemetry.metric(f"m-{number}", "t", 1.0, {})


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def names(receiver: Ingestion) -> list[str]:
    return [one["metrics"][0]["name"] for one in receiver.of("MetricData")]


def nobody() -> str:
    """An address where nothing listens."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def test_what_is_refused_for_now_comes_again_whole_and_in_its_order(
    receiver: Ingestion, made: Callable[..., Insights]
) -> None:
    receiver.statuses = [500, 429, 503]
    tell(telemetry := made(receiver.connection_string), 3)
    await until(lambda: len(receiver.envelopes) == 3)
    assert (names(receiver), telemetry.delivery.dropped) == (["m-0", "m-1", "m-2"], 0)


async def test_of_an_answer_in_part_what_is_refused_for_now_comes_again_and_the_rest_does_not(
    receiver: Ingestion, made: Callable[..., Insights]
) -> None:
    receiver.partly = {0: 503, 2: 400}
    telemetry = made(receiver.connection_string)
    telemetry.delivery._gather_seconds = 0.3  # all of them at once
    tell(telemetry, 4)
    await until(lambda: len(receiver.envelopes) == 3)
    assert (names(receiver), telemetry.delivery.dropped) == (["m-1", "m-3", "m-0"], 1)


async def test_what_is_refused_for_good_is_dropped_and_said(
    receiver: Ingestion, made: Callable[..., Insights], caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [400]
    telemetry = made(receiver.connection_string)
    tell(telemetry, 2)
    await until(lambda: bool(said(caplog)))
    assert said(caplog)[0]["dropped"] == telemetry.delivery.dropped == 2
    tell(telemetry)
    await until(lambda: len(receiver.envelopes) == 1)


def said(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.name == "flowgrid.telemetry"]


async def test_that_something_waits_since_it_was_refused_is_said_once(
    made: Callable[..., Insights], caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = made(f"InstrumentationKey={KEY};IngestionEndpoint={nobody()}")
    tell(telemetry, 3)
    await until(lambda: telemetry.delivery.failures >= 3)
    assert [(one["dropped"], 0 < one["waiting"] <= 3) for one in said(caplog)] == [(0, True)]


async def test_a_receiver_that_is_not_there_costs_what_its_queue_holds(made: Callable[..., Insights]) -> None:
    telemetry = made(f"InstrumentationKey={KEY};IngestionEndpoint={nobody()}", capacity=100)
    tell(telemetry, 5000)
    await until(lambda: telemetry.delivery.failures >= 2)
    assert telemetry.delivery.waiting + telemetry.delivery.dropped == 5000
    assert telemetry.delivery.waiting <= 200  # what was kept, and what was tried and is back


async def test_one_that_hangs_keeps_nobody_waiting_not_even_the_end(
    receiver: Ingestion, made: Callable[..., Insights]
) -> None:
    receiver.hangs = threading.Event()
    try:
        telemetry = made(receiver.connection_string, capacity=100)
        tell(telemetry)
        await until(lambda: len(receiver.headers) == 1)
        tell(telemetry, 5000)
        await telemetry.close()
        assert (telemetry.delivery.waiting, telemetry.delivery.dropped, receiver.envelopes) == (100, 4900, [])
    finally:
        receiver.hangs.set()


async def test_calls_are_answered_while_the_receiver_hangs(
    receiver: Ingestion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.0)
    receiver.hangs = threading.Event()
    world = World.over(tmp_path, applicationinsights_connection_string=receiver.connection_string)
    try:
        tenant = (await world.onboard())["id"]
        telemetry = world.core.adapters.telemetry
        assert isinstance(telemetry, Insights)
        await until(lambda: len(receiver.headers) == 1)
        assert (await world.call("create_agent", admin(tenant), AGENT)).status == 201
        await world.close()
        assert receiver.envelopes == []
    finally:
        receiver.hangs.set()


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_to_anybody_but_a_stamp_of_azure_is_not_followed(
    status: int, receiver: Ingestion, made: Callable[..., Insights]
) -> None:
    with ingestion() as elsewhere:
        receiver.statuses, receiver.location = [status], f"{elsewhere.url}/v2.1/track"
        telemetry = made(receiver.connection_string)
        tell(telemetry)
        await until(lambda: telemetry.delivery.dropped == 1)
        receiver.location = ""
        tell(telemetry)
        await until(lambda: len(receiver.envelopes) == 1)
        assert elsewhere.headers == []


async def test_a_redirect_to_a_stamp_is_followed(
    receiver: Ingestion, made: Callable[..., Insights], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ingestion() as stamp:
        monkeypatch.setattr(module, "_is_stamp", lambda url: url == stamp.url)
        receiver.statuses, receiver.location = [308], f"{stamp.url}/v2.1/track"
        tell(made(receiver.connection_string))
        await until(lambda: len(stamp.envelopes) == 1)
        assert (receiver.envelopes, names(stamp)) == ([], ["m-0"])


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://westeurope-5.in.applicationinsights.azure.com", True),
        ("https://dc.services.visualstudio.com", True),
        ("http://westeurope-5.in.applicationinsights.azure.com", False),
        ("https://applicationinsights.azure.com.evil.example", False),
        ("https://evilapplicationinsights.azure.com", False),
        ("https://x@dc.services.visualstudio.com", False),
        ("https://169.254.169.254", False),
        ("https://127.0.0.1", False),
    ],
)
def test_only_azures_own_hosts_over_tls_are_stamps(url: str, is_one: bool) -> None:
    assert module._is_stamp(url) is is_one

"""`python -m cli serve` on a Service Bus: its queue triggers are fed from there, over broken connections too."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from functions.usage.blocks import BLOCK
from shared.clock import SystemClock
from shared.ids import PLATFORM_TENANT_ID, Uuid7Ids
from shared.messaging.port import Message
from shared.messaging.servicebus import ServiceBusMessaging
from shared.work.events import Metric, usage_event
from tests.doubles.servicebus import ServiceBusDouble
from tests.doubles.usage import events_in
from tests.e2e.host import ROOT, Host, eventually

QUEUE = "usage-events"
WITHIN_SECONDS = 20.0


@pytest.fixture
def host(double: ServiceBusDouble, tmp_path: Path) -> Iterator[Host]:
    served = Host(tmp_path)
    served.environment |= {"FLOWGRID_MESSAGING": "servicebus", "FLOWGRID_SERVICEBUS_EMULATOR": double.connection}
    served.start()
    yield served
    served.kill()


@pytest.fixture
async def messaging(double: ServiceBusDouble) -> AsyncIterator[ServiceBusMessaging]:
    messaging = ServiceBusMessaging(
        namespace="", emulator_connection=double.connection, health_queue=QUEUE, clock=SystemClock()
    )
    yield messaging
    await messaging.close()


def event() -> Message:
    now = SystemClock().now()
    return usage_event(Metric.API_CALLS, id=Uuid7Ids().new(), tenant_id=PLATFORM_TENANT_ID, at=now, value=1)


async def stored(host: Host, sent: set[str]) -> None:
    """Wait until the events that were sent are stored, and no other."""

    async def are_there() -> bool:
        return {one.id for one in events_in(await host.items(PLATFORM_TENANT_ID, BLOCK))} == sent

    await eventually(are_there, within=WITHIN_SECONDS)


@pytest.mark.long
async def test_what_is_sent_is_handled_by_the_queue_trigger_and_over_broken_connections(
    host: Host, double: ServiceBusDouble, messaging: ServiceBusMessaging
) -> None:
    sent = set[str]()
    for _ in range(3):
        events = [event() for _ in range(20)]
        await messaging.send(QUEUE, events)
        sent |= {str(one.body["id"]) for one in events}
        await stored(host, sent)
        assert double.drop_connections() > 0

    async def settled() -> bool:
        return double.waiting(QUEUE) == 0

    double.expire_locks()
    await eventually(settled, within=WITHIN_SECONDS)
    await stored(host, sent)
    host.stop()
    assert "Unclosed" not in host.log and "never awaited" not in host.log


def test_without_an_emulator_to_receive_from_it_says_so_in_one_line(tmp_path: Path) -> None:
    bus = {"FLOWGRID_MESSAGING": "servicebus", "FLOWGRID_SERVICEBUS_NAMESPACE": "x.example"}
    issuers = {"FLOWGRID_ISSUERS": '[{"issuer": "https://login.example/v2.0", "audience": "flowgrid"}]'}
    environment = {**os.environ, **bus, **issuers}
    command = [sys.executable, "-m", "cli", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "FLOWGRID_SERVICEBUS_EMULATOR is empty" in ran.stderr

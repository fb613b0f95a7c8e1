"""Batches on the local host: the next is taken at once while more than one is waiting, else gathered for a moment."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import azure.functions as func
import pytest

from local.bindings import functions_of
from local.queues import GATHER_SECONDS, POLL_SECONDS, QueueTrigger
from shared.messaging.port import Message
from shared.messaging.queues import MESSAGES_AT_ONCE
from shared.messaging.receiving import Lease
from tests.unit.world import TENANT_ID


class Waiting:
    """A source with so many messages for each look; after the last it stops the loop."""

    def __init__(self, counts: list[int], stop: asyncio.Event) -> None:
        self.counts = counts
        self.stop = stop

    async def waiting(self, queue: str) -> bool:
        if not self.counts:
            self.stop.set()
        return bool(self.counts)

    async def receive(self, queue: str, *, most: int = 1, lease_seconds: float = 0.0) -> Lease:
        count = self.counts.pop(0)
        return Lease("token", [(Message(f"m-{number}", TENANT_ID, {}), 1) for number in range(count)])

    async def renew(self, lease: Lease, seconds: float) -> None: ...
    async def retry(self, lease: Lease, pause: float) -> None: ...
    async def complete(self, lease: Lease) -> None: ...
    async def close(self) -> None: ...


async def pauses(monkeypatch: pytest.MonkeyPatch, counts: list[int], cardinality: func.Cardinality) -> list[float]:
    app, stop, seen = func.FunctionApp(), asyncio.Event(), list[float]()

    @app.service_bus_queue_trigger(arg_name="msg", queue_name="q", connection="c", cardinality=cardinality)
    async def take(msg: Any) -> None: ...

    async def waited(what: Coroutine[Any, Any, Any], timeout: float) -> None:
        what.close()
        seen.append(timeout)
        await asyncio.sleep(0)
        raise TimeoutError

    [function] = functions_of(app, {})
    trigger = QueueTrigger(function, Waiting(counts, stop))
    monkeypatch.setattr(asyncio, "wait_for", waited)
    await trigger.loop(stop)
    return seen


async def test_what_follows_a_batch_is_gathered_unless_more_is_waiting_already(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await pauses(monkeypatch, [MESSAGES_AT_ONCE, 3, MESSAGES_AT_ONCE], func.Cardinality.MANY)
    assert seen == [GATHER_SECONDS, POLL_SECONDS]


async def test_single_messages_are_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await pauses(monkeypatch, [1, 1, 1], func.Cardinality.ONE) == [POLL_SECONDS]

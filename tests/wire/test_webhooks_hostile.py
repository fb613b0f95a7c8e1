"""Receivers that answer what nobody should: no answer keeps a delivery from being counted, recorded and given up."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions.webhooks.models import SCHEDULE
from functions.webhooks.sending import Sender
from tests.wire.webhooks_world import WebhooksWorld


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[WebhooksWorld]:
    async with WebhooksWorld.over(tmp_path / "data") as made:
        yield made


@pytest.mark.parametrize(
    "date", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2026 00:00:00 +99999999999999999999"]
)
@pytest.mark.parametrize(("status", "ended"), [(204, "succeeded"), (503, "queued"), (410, "cancelled")])
async def test_a_date_that_no_clock_has_is_no_retry_after(
    acme: WebhooksWorld, status: int, ended: str, date: str
) -> None:
    hook = await acme.hook()
    acme.receiver.says["/a"] = (status, {"retry-after": date})
    await acme.agent()
    await acme.world.drain()
    (told,) = await acme.log(hook)
    assert [one["status"] for one in told["attempts"]] == [status]
    assert told["status"] == ended


async def test_a_call_that_fails_as_nobody_has_foreseen_is_an_attempt_and_there_are_eight(
    acme: WebhooksWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("whsec_of_the_tenant")

    hook = await acme.hook()
    monkeypatch.setattr(Sender, "_call", broken)
    await acme.agent()
    await acme.world.drain()
    for pause in SCHEDULE[1:]:
        acme.world.clock.advance(seconds=pause.total_seconds())
        await acme.world.drain()
    (told,) = await acme.log(hook)
    assert (told["status"], told["tried"]) == ("failed", len(SCHEDULE))
    assert {one["error"] for one in told["attempts"]} == {"The call failed here."}


async def test_an_answer_that_is_packed_counts_by_its_status(acme: WebhooksWorld) -> None:
    hook = await acme.hook()
    acme.receiver.says["/a"] = (200, {"content-encoding": "gzip"})
    await acme.agent()
    await acme.world.drain()
    assert [(one["status"], one["tried"]) for one in await acme.log(hook)] == [("succeeded", 1)]

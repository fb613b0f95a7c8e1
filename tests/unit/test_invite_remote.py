"""Inviting over an API that limits, drops answers and fails: what passes is waited for, what does not is told."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from cli.api import Api
from cli.errors import CliError
from cli.invitations.remote import RemoteGuests
from cli.invitations.tenant import FullError, RefusedError
from functions.identity.models import NewUser

GRACE = NewUser(email="grace@acme.example", role="user")
LIMITED = httpx.Response(429, headers={"retry-after": "30"}, json={"code": "rate_limited", "detail": "Too many."})
FULL = {"code": "quota_exceeded", "detail": "User quota exceeded", "limit": 5, "current": 5}
Answers = list[httpx.Response | Exception]
Serve = Callable[[Answers], tuple[RemoteGuests, list[httpx.Request]]]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have waited."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("cli.patience.pause", sleep)
    return found


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A tenant behind an API that gives these answers, the last one for ever, and the calls that came."""

    def start(answers: Answers) -> tuple[RemoteGuests, list[httpx.Request]]:
        calls: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            calls.append(request)
            given = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(given, Exception):
                raise given
            return given

        api = Api("http://flowgrid.test", "token")
        api._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://flowgrid.test/api/")
        return RemoteGuests(api, "0190c2a8-7e10-7abc-8def-000000000001", {"x-tenant-id": "t"}), calls

    yield start


async def test_who_is_limited_waits_as_long_as_the_answer_says(serve: Serve, waits: list[float]) -> None:
    guests, calls = serve([LIMITED, LIMITED, httpx.Response(201, json={})])
    assert await guests.invite(GRACE) is True
    assert (waits, len(calls)) == ([30.0, 30.0], 3)


async def test_a_call_whose_answer_is_lost_is_sent_again_under_its_key(serve: Serve, waits: list[float]) -> None:
    guests, calls = serve([httpx.ReadError("cut"), httpx.Response(502, text="<html>"), httpx.Response(201, json={})])
    assert await guests.invite(GRACE) is True
    assert len({call.headers["idempotency-key"] for call in calls}) == 1
    assert {call.headers["x-tenant-id"] for call in calls} == {"t"}
    assert waits == [1.0, 2.0]
    again, others = serve([httpx.Response(201, json={})])
    await again.invite(GRACE)
    assert others[0].headers["idempotency-key"] != calls[0].headers["idempotency-key"]


async def test_a_full_plan_is_not_waited_for(serve: Serve, waits: list[float]) -> None:
    guests, _ = serve([httpx.Response(429, json=FULL)])
    with pytest.raises(FullError, match="User quota exceeded: 5 of 5"):
        await guests.invite(GRACE)
    assert waits == []


@pytest.mark.parametrize(("code", "there"), [("conflict", True), ("taken", True), ("contended", False)])
async def test_who_is_there_by_now_is_no_error_but_a_lost_race_is(serve: Serve, code: str, there: bool) -> None:
    guests, _ = serve([httpx.Response(409, json={"code": code, "detail": "Others keep changing this."})])
    if there:
        assert await guests.invite(GRACE) is False
    else:
        with pytest.raises(RefusedError, match="Others keep changing this"):
            await guests.invite(GRACE)


@pytest.mark.parametrize("away", [httpx.ConnectError("refused"), LIMITED, httpx.Response(503, text="")])
async def test_what_does_not_pass_ends_it_with_what_to_do(serve: Serve, waits: list[float], away: Any) -> None:
    guests, _ = serve([away])
    with pytest.raises(CliError, match="Invite again later: it goes on where it is"):
        await guests.invite(GRACE)
    assert sum(waits) <= 600


async def test_all_pages_of_users_are_read(serve: Serve) -> None:
    pages: Answers = [
        httpx.Response(200, json={"items": [], "next_cursor": "more"}),
        httpx.Response(200, json={"items": [], "next_cursor": None}),
    ]
    guests, calls = serve(pages)
    assert [user async for user in guests.users()] == []
    assert [call.url.params.get("cursor") for call in calls] == [None, "more"]

"""The API as a target: what passes is waited for, what does not ends in one line, large calls are divided."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cli.api import Api
from cli.errors import CliError
from cli.legacy import remote
from cli.legacy.remote import Remote, RemoteTarget, sent
from cli.patience import PATIENCE_SECONDS
from functions.agents.models import AgentFields
from functions.migration.models import MOST_ROWS, AgentRow, Rows

BASE = "http://flowgrid.test"


class Answers:
    """What the API answers, one after the other; the last again. `asked`: what it was sent."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers: Iterator[httpx.Response | Exception] = iter(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _api(answer: Any) -> Api:
    api = Api(BASE, "token")
    api._http = httpx.AsyncClient(base_url=f"{BASE}/api/", transport=httpx.MockTransport(answer))
    return api


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have waited; it does not."""
    found: list[float] = []

    async def pause(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("cli.patience.pause", pause)
    return found


async def test_what_is_refused_for_now_is_sent_again_when_the_answer_says(pauses: list[float]) -> None:
    limited = httpx.Response(429, headers={"retry-after": "7"})
    answers = Answers(limited, httpx.Response(503), httpx.ConnectError("reset"), httpx.Response(200, json={"ok": True}))
    assert await sent(_api(answers), "POST", "v1/migrations", {}, {}) == {"ok": True}
    assert pauses == [7.0, 2.0, 4.0] and len(answers.asked) == 4


async def test_what_does_not_pass_ends_in_one_line(pauses: list[float]) -> None:
    with pytest.raises(CliError, match="POST v1/migrations: 403 no"):
        await sent(_api(Answers(httpx.Response(403, text="no"))), "POST", "v1/migrations", {}, {})
    assert pauses == []


async def test_patience_has_an_end(pauses: list[float]) -> None:
    with pytest.raises(CliError, match="Migrate again later: it goes on where it is"):
        await sent(_api(lambda _: httpx.Response(503)), "POST", "v1/migrations", {}, {})
    assert sum(pauses) <= PATIENCE_SECONDS


async def test_rows_that_are_too_much_for_one_call_are_several_in_order() -> None:
    asked: list[list[str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert len(request.content) <= remote.MOST_BYTES
        keys = [row["legacy_id"] for row in json.loads(request.content)["agents"]]
        asked.append(keys)
        agents = [{"outcome": "refused", "reason": key} for key in keys]
        return httpx.Response(200, json={"elements": [], "relationships": [], "agents": agents})

    fields = AgentFields(name="Triage", pattern="Monitor", instructions="x" * 20_000)
    rows = Rows(agents=[AgentRow(legacy_id=f"a{number}", fields=fields) for number in range(MOST_ROWS)])
    told = await Remote(_api(answer), "tenant", {}).take("run", rows)
    assert [one.reason for one in told.agents] == [f"a{number}" for number in range(MOST_ROWS)]
    assert len(asked) > 1 and sum(map(len, asked)) == MOST_ROWS


def _taken(request: httpx.Request) -> httpx.Response:
    agents = [{"outcome": "created"} for _ in json.loads(request.content)["agents"]]
    return httpx.Response(200, json={"elements": [], "relationships": [], "agents": agents})


def _agent(key: str, **fields: Any) -> AgentRow:
    return AgentRow(legacy_id=key, fields=AgentFields(name="Triage", pattern="Monitor", **fields))


async def test_a_row_that_fits_into_no_call_is_refused_and_the_others_are_taken() -> None:
    weights, wide = {"weights": [1] * 9_500}, {"prompt": "\u4e16" * 310_000}
    rows = Rows(agents=[_agent("a"), _agent("b", config=weights), _agent("c", config=wide), _agent("d")])
    told = await Remote(_api(_taken), "tenant", {}).take("run", rows)
    assert [one.outcome for one in told.agents] == ["created", "refused", "refused", "created"]
    assert "larger than a call of the API" in str(told.agents[1].reason)


async def test_commas_in_a_text_are_no_values() -> None:
    told = await Remote(_api(_taken), "tenant", {}).take("run", Rows(agents=[_agent("a", config={"t": "a, " * 9_500})]))
    assert [one.outcome for one in told.agents] == ["created"]


@pytest.mark.parametrize("named", ["beta", "0190c2a8-7e10-7abc-8def-000000000001", "default"])
async def test_a_token_writes_into_its_own_tenant_and_into_none_that_is_named_otherwise(named: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        own = {"tenant": {"id": "0190c2a8-7e10-7abc-8def-000000000001", "slug": "beta"}}
        return httpx.Response(200, json=own) if request.url.path == "/api/v1/me" else httpx.Response(403)

    target = RemoteTarget(BASE, "token", "admin@default.example")
    target._api = _api(answer)
    with pytest.raises(CliError, match="The token is of the tenant 'beta', and not of 'acme'"):
        await target.place("acme")
    assert (await target.place(named)).tenant_id == "0190c2a8-7e10-7abc-8def-000000000001"


async def test_an_undo_whose_last_answer_is_lost_says_that_nothing_may_be_left() -> None:
    answers = Answers(httpx.ReadTimeout("lost"), httpx.Response(404, text="There is no such migration."))
    with pytest.raises(CliError, match="There is no run r: it is undone and nothing is left of it, or"):
        await Remote(_api(answers), "tenant", {}).undo("r")

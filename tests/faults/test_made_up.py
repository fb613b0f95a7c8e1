"""Made-up requests: whatever is sent by whoever, the answer is one that the API describes, and little work is done."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import azure.functions as func
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from functions.a2a.speaking import MEDIA_TYPE
from local.http import query_parameters
from shared.auth.roles import Role
from shared.http.catalogue import entries
from shared.http.openapi_answers import statuses
from shared.http.routes import Route
from shared.limits.memory import MemoryLimiter
from shared.sqlite import SqliteFiles
from shared.telemetry.log import log_fields
from tests.faults.making_up import NEVER, Known, MadeUp, requests
from tests.isolation.cases import A2A, SPOKEN, Stage, names_in, own_body
from tests.isolation.people import Tenant, furnish, onboard, staff, token
from tests.isolation.site import Site
from tests.isolation.staging import cursors_of

MOST_CALLS = 400  # of the database, by one request; the most that any needed is told beside the figures
HANGS_SECONDS = 60.0  # a bound for what would never end, no measure


@dataclass
class Judge:
    """Calls and judges; `wrong`: what was answered that nobody has described."""

    site: Site
    tokens: dict[Role, str]
    spare: Tenant
    known: Known
    described: dict[str, set[int]]
    calls: list[int] = field(default_factory=lambda: [0])
    statuses: Counter[int] = field(default_factory=Counter)
    routes: set[tuple[str, int]] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    most: tuple[int, str] = (0, "")
    count: int = 0

    async def ask(self, made: MadeUp) -> None:
        self.count += 1
        self.site.core.endpoint.limiter = MemoryLimiter(self.site.clock)  # nobody's limit is what is tried here
        self.calls[0] = 0
        log_fields.set({})
        try:
            async with asyncio.timeout(HANGS_SECONDS):
                answer = await self.site.functions[made.route.name].handler(self._request(made))
        except Exception as error:
            self._wrong(made, f"raised {error!r}")
            return
        response = cast(func.HttpResponse, answer)
        self.statuses[response.status_code] += 1
        self.routes.add((made.route.name, response.status_code))
        self.most = max(self.most, (self.calls[0], str(made)))
        try:
            self._judge(made, response)
        except (AssertionError, ValueError, KeyError) as error:
            self._wrong(made, f"{response.status_code} {response.get_body()[:500]!r}: {error!r}")

    def _request(self, made: MadeUp) -> func.HttpRequest:
        headers = {"x-forwarded-for": "198.51.100.7:50123", "user-agent": "made up", **SPOKEN}
        if made.who is not None:
            headers["authorization"] = f"Bearer {self.tokens[made.who]}"
        if made.who is Role.PLATFORM:
            headers["x-tenant-id"] = self.spare.id
        path = made.route.path.format(**made.params)
        return func.HttpRequest(
            made.method,
            f"https://flowgrid.test/api/{path}{'?' if made.query else ''}{made.query}",
            headers={**headers, **made.headers},
            params=query_parameters(made.query),
            route_params=dict(made.params),
            body=made.body,
        )

    def _judge(self, made: MadeUp, response: func.HttpResponse) -> None:
        status, headers, raw = response.status_code, dict(response.headers), response.get_body()
        assert status not in (500, 502, 503), "an error of ours"
        assert self.calls[0] <= MOST_CALLS, f"{self.calls[0]} calls of the database"
        for name, value in headers.items():
            assert value.encode("latin-1").isascii() or name == "Content-Disposition", f"{name} is no header"
            assert not set(value) & {"\r", "\n", "\0"}, f"{name} has two lines"
        assert headers["x-request-id"] and headers["X-Content-Type-Options"] == "nosniff"
        if made.method == "OPTIONS":
            assert status == 204
            return
        assert status in self.described[made.route.name], "a status that is not described"
        if made.method == "HEAD":
            assert raw == b""
        elif made.route.path == "v1/mcp" and status in (400, 404, 405, 406):  # as JSON-RPC says it
            assert status == 405 or "error" in _whole(raw)
        elif response.mimetype == MEDIA_TYPE and made.route.path.startswith(A2A):  # as google.rpc.Status says it
            assert status == 200 or _whole(raw)["error"]["code"] == status
        elif status >= 400:
            self._problem(made.route, status, response.mimetype, raw)
        elif status != 304 and response.mimetype == "application/json":
            _whole(raw)
            if made.route.method == "POST" and status in (201, 202):
                self._learn(made.route, json.loads(raw))

    def _problem(self, route: Route, status: int, media_type: str, raw: bytes) -> None:
        assert media_type == "application/problem+json"
        problem = _whole(raw)
        error = problem["error"]["message"] if route.retold else problem["error"]
        assert problem["status"] == status and problem["detail"] == error and problem["title"]
        assert problem["request_id"] and problem["instance"].startswith("/api/")
        assert entries()[problem["code"]].status == status
        assert len(raw) < 50_000, "an echo"

    def _learn(self, route: Route, answer: dict[str, Any]) -> None:
        """What was made is named later on, among the last few of its kind."""
        for other in self.known.routes:
            name = other.path.removeprefix(f"{route.path}/{{").removesuffix("}")
            if name in self.known.ids and name.isidentifier() and "id" in answer and route.role is not Role.PLATFORM:
                ids = self.known.ids[name]
                if answer["id"] not in ids:
                    ids[1:] = [*ids[1:], answer["id"]][-3:]

    def _wrong(self, made: MadeUp, what: str) -> None:
        if len(self.wrong) < 30:
            self.wrong.append(f"{what}\n    {made}")


def _whole(raw: bytes) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN, no half of a character."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    found = json.loads(raw.decode(), parse_constant=refuse)
    json.dumps(found, ensure_ascii=False).encode()
    return found


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Calls of the database, of whichever file."""
    calls = [0]
    with monkeypatch.context() as patch:
        for name in ("read", "write"):
            inner = getattr(SqliteFiles, name)

            async def call(*args: Any, _inner: Any = inner, **rest: Any) -> Any:
                calls[0] += 1
                return await _inner(*args, **rest)

            patch.setattr(SqliteFiles, name, call)
        yield calls


async def judge(folder: Path, calls: list[int]) -> Judge:
    site = Site.over(folder)
    home, spare = await onboard(site, trial_days=3), await onboard(site)
    await furnish(site, home)
    await site.settle()
    path = "POST v1/platform/tenants/{tenant_id}/staff-access"
    grant = {"reason": "A test has to look.", "minutes": 240}
    await site.ok(path, staff(site), grant, params={"tenant_id": spare.id})
    cursors = {site.routes[key].name: one for key, one in (await cursors_of(site, home)).items()}
    stage = Stage(site, home, home, spare, {}, cursors)
    routes = list(site.routes.values())
    ids = {name: [id] for name, id in home.ids.items()}
    ids |= {"month": [site.month, "2026-01"], "step": ["1", "2"], "code": ["not_found"], "issuer": ["b2c", "okta"]}
    ids |= {"hook": [f"{home.id}.{home.ids['webhook_id']}"], "token": ["e30.e30"]}  # signed by nobody
    ids["config"] = ["1"]
    ids["tenant_id"] = [spare.id]
    ids |= {name: [NEVER] for route in routes for name in names_in(route) if name not in ids}
    bodies = {route.name: own_body(stage, route) for route in routes}
    known = Known(routes, await site.ok("GET openapi.json", ""), ids, cursors, bodies)
    described = {
        route.name: {route.status, *statuses(route)} if route.described else {*range(200, 600)} for route in routes
    }
    tokens = {role: staff(site) if role is Role.PLATFORM else token(site, home, role) for role in Role}
    return Judge(site, tokens, spare, known, described, calls)


@pytest.mark.parametrize(
    ("first", "count"),
    [
        (1, 1_000),
        pytest.param(2, 9_000, marks=[pytest.mark.long, pytest.mark.timeout(600)]),
        pytest.param(3, 90_000, marks=[pytest.mark.exhaustive, pytest.mark.timeout(2700)]),
    ],
)
def test_every_made_up_request_is_answered_as_the_api_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    first: int,
    count: int,
) -> None:
    with counted(monkeypatch) as calls, asyncio.Runner() as runner:
        judging = runner.run(judge(tmp_path / "data", calls))

        @seed(first)
        @settings(
            max_examples=count,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(requests(judging.known))
        def ask(made: MadeUp) -> None:
            runner.run(judging.ask(made))

        ask()
        runner.run(judging.site.close())
    with capsys.disabled():
        told = ", ".join(f"{status}: {often:,}" for status, often in sorted(judging.statuses.items()))
        print(f"\n{judging.count:,} made-up requests; {told}; at most {judging.most[0]} calls of the database")
    assert not judging.wrong, "\n".join(judging.wrong)

"""The development host over tiny function apps: what a handler gets and what becomes of what it does."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import azure.functions as func
import httpx
import pytest

from local.bindings import HostError
from local.host import Host
from local.messages import service_bus_message
from local.queues import CONCURRENT_CALLS, QueueTrigger, pause_after
from local.timers import Timer
from shared.clock import SystemClock
from shared.messaging.port import Message
from shared.messaging.sqlite import SqliteMessaging
from tests.doubles.clock import FakeClock

VALUES = {"NIGHTLY": "0 0 2 * * *", "JOBS_QUEUE": "jobs", "USAGE_QUEUE": "usage-events"}
GUID = "0190c2a8-7e10-7abc-8def-0123456789ab"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def messaging(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteMessaging]:
    queue = SqliteMessaging(tmp_path / "queue", clock)
    yield queue
    await queue.close()


@pytest.fixture
def app() -> func.FunctionApp:
    return func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@pytest.fixture
def host_of(tmp_path: Path, messaging: SqliteMessaging, clock: FakeClock) -> Callable[..., Host]:
    def make(app: func.FunctionApp, **options: Any) -> Host:
        names = ["flowgrid.test"]
        given = {"state": tmp_path / "state", "messaging": messaging, "values": VALUES, "clock": clock, "names": names}
        return Host(app, **{**given, **options})

    return make


def client(host: Host, peer: tuple[str, int] = ("10.0.0.9", 4711)) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(host.asgi(), client=peer)
    return httpx.AsyncClient(transport=transport, base_url="http://flowgrid.test")


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  a condition, not an event
            await asyncio.sleep(0.005)


JSON = {"content-type": "application/json"}


def message(number: int = 1, **body: Any) -> Message:
    return Message(id=f"m-{number}", tenant_id=GUID, body={"number": number, **body})


# HTTP


async def test_a_request_reaches_its_function_as_an_azure_http_request(app: func.FunctionApp, host_of: Any) -> None:
    seen: list[func.HttpRequest] = []

    @app.route(route="v1/agents/{id:guid}/executions", methods=["POST"])
    async def run_agent(req: func.HttpRequest) -> func.HttpResponse:
        seen.append(req)
        return func.HttpResponse("done", status_code=202)

    async with client(host_of(app)) as http:
        answer = await http.post(f"/api/v1/agents/{GUID}/executions?q=a%20b", json={"x": "ü"}, headers={"X-One": "1"})
    assert (answer.status_code, answer.text) == (202, "done")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    [request] = seen
    assert isinstance(request, func.HttpRequest)
    assert request.method == "POST"
    assert request.url == f"http://flowgrid.test/api/v1/agents/{GUID}/executions?q=a%20b"
    assert dict(request.route_params) == {"id": GUID}
    assert dict(request.params) == {"q": "a b"}
    assert request.headers["X-ONE"] == "1"
    assert request.get_json() == {"x": "ü"}


async def test_repeated_query_parameters_are_joined_and_empty_ones_left_out(
    app: func.FunctionApp, host_of: Any
) -> None:
    @app.route(route="echo")
    async def echo(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(json.dumps(dict(req.params)), mimetype="application/json")

    async with client(host_of(app)) as http:
        answer = await http.get("/api/echo?a=1&b=&A=2&c=%2B%26")
    assert answer.json() == {"a": "1,2", "c": "+&"}
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("peer", "sent", "seen"),
    [
        (("10.0.0.9", 4711), None, "10.0.0.9:4711"),
        (("10.0.0.9", 4711), "203.0.113.7", "203.0.113.7, 10.0.0.9:4711"),
        (("2001:db8::1", 80), None, "[2001:db8::1]:80"),
    ],
)
async def test_the_peer_is_the_last_entry_of_x_forwarded_for(
    app: func.FunctionApp, host_of: Any, peer: tuple[str, int], sent: str | None, seen: str
) -> None:
    @app.route(route="ip")
    async def ip(req: func.HttpRequest) -> str:
        return str(req.headers["x-forwarded-for"])

    async with client(host_of(app), peer) as http:
        answer = await http.get("/api/ip", headers={"X-Forwarded-For": sent} if sent else {})
    assert answer.text == seen


async def test_synchronous_handlers_and_handlers_with_a_context_are_called(app: func.FunctionApp, host_of: Any) -> None:
    @app.route(route="plain")
    def plain(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
        return func.HttpResponse(f"{context.function_name} {context.trace_context.trace_parent}")

    @app.route(route="nothing")
    async def nothing(req: func.HttpRequest) -> None:
        return None

    async with client(host_of(app)) as http:
        assert (await http.get("/api/plain", headers={"traceparent": "00-1"})).text == "plain 00-1"
        assert (await http.put("/api/nothing")).status_code == 204


async def test_binary_bodies_and_repeated_cookies_come_back_untouched(app: func.FunctionApp, host_of: Any) -> None:
    @app.route(route="raw")
    async def raw(req: func.HttpRequest) -> func.HttpResponse:
        answer = func.HttpResponse(req.get_body(), mimetype="application/octet-stream", headers={"ETag": '"1"'})
        answer.headers.add("Set-Cookie", "a=1")
        answer.headers.add("Set-Cookie", "b=2")
        return answer

    async with client(host_of(app)) as http:
        answer = await http.post("/api/raw", content=bytes(range(256)))
    assert answer.content == bytes(range(256))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["etag"] == '"1"'
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_an_unknown_path_is_a_404_problem(app: func.FunctionApp, host_of: Any) -> None:
    @app.route(route="v1/agents/{id:guid}")
    async def agent(req: func.HttpRequest) -> str:
        return "agent"

    async with client(host_of(app)) as http:
        for path in (
            "/",
            "/api",
            "/api/v1/agents",
            "/api/v1/agents/not-a-guid",
            f"/api/v1/agents/{GUID}/x",
            "/api/%0A",
        ):
            answer = await http.get(path, headers={"x-request-id": "r-1"})
            assert answer.status_code == 404, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == 404
            assert answer.json()["request_id"] == answer.headers["x-request-id"] == "r-1"


async def test_a_wrong_method_is_a_405_problem_that_names_the_right_ones(app: func.FunctionApp, host_of: Any) -> None:
    @app.route(route="things", methods=["GET"])
    async def read(req: func.HttpRequest) -> str:
        return "read"

    @app.route(route="things", methods=["POST"])
    async def write(req: func.HttpRequest) -> str:
        return "write"

    async with client(host_of(app)) as http:
        assert (await http.get("/api/things")).text == "read"
        assert (await http.post("/api/things")).text == "write"
        answer = await http.delete("/api/things")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_routes_match_as_in_azure(app: func.FunctionApp, host_of: Any) -> None:
    def answering(name: str, route: str) -> None:
        async def handler(req: func.HttpRequest) -> str:
            return json.dumps([name, dict(req.route_params)])

        handler.__name__ = name
        app.function_name(name)(app.route(route=route)(handler))

    answering("rest", "files/{*rest}")
    answering("free", "v1/agents/{id}")
    answering("literal", "v1/agents/export")
    answering("number", "v1/agents/{number:int}")
    answering("optional", "v1/statements/{month?}")
    expected = {
        "/api/v1/agents/export": ["literal", {}],
        "/api/V1/Agents/EXPORT/": ["literal", {}],
        "/api/v1/agents/12": ["number", {"number": "12"}],
        "/api/v1/agents/a%20b": ["free", {"id": "a b"}],
        "/api/v1/agents/a%2Fb": ["free", {"id": "a%2Fb"}],
        "/api/files/a/b.txt": ["rest", {"rest": "a/b.txt"}],
        "/api/files": ["rest", {}],
        "/api/v1/statements": ["optional", {}],
        "/api/v1/statements/2026-11": ["optional", {"month": "2026-11"}],
    }
    async with client(host_of(app)) as http:
        assert {path: (await http.get(path)).json() for path in expected} == expected


async def test_the_route_prefix_comes_from_host_json(app: func.FunctionApp, host_of: Any, tmp_path: Path) -> None:
    @app.route(route="v1/x")
    async def x(req: func.HttpRequest) -> str:
        return "x"

    (tmp_path / "host.json").write_text('{"extensions": {"http": {"routePrefix": ""}}}')
    async with client(host_of(app, host_json=tmp_path / "host.json")) as http:
        assert (await http.get("/v1/x")).text == "x"
        assert (await http.get("/api/v1/x")).status_code == 404


async def test_a_handler_that_raises_gives_a_500_problem_without_its_trace(
    app: func.FunctionApp, host_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @app.route(route="broken")
    async def broken(req: func.HttpRequest) -> str:
        raise ZeroDivisionError("secret")

    async with client(host_of(app)) as http:
        answer = await http.get("/api/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_body_above_the_limit_is_refused_before_the_function(
    app: func.FunctionApp, host_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.http.MAX_BODY_BYTES", 2 * 1024**2)
    calls: list[int] = []

    @app.route(route="import")
    async def upload(req: func.HttpRequest) -> str:
        calls.append(len(req.get_body()))
        return "ok"

    async with client(host_of(app)) as http:
        assert (await http.post("/api/import", content=b"x" * (2 * 1024**2))).status_code == 200
        answer = await http.post("/api/import", content=b"x" * (2 * 1024**2 + 1))
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"
    assert calls == [2 * 1024**2]


# Timers


@pytest.fixture
def runs() -> list[func.TimerRequest]:
    return []


@pytest.fixture
def timer_app(app: func.FunctionApp, runs: list[func.TimerRequest]) -> func.FunctionApp:
    @app.timer_trigger(arg_name="tick", schedule="%NIGHTLY%")
    async def nightly(tick: func.TimerRequest) -> None:
        runs.append(tick)

    return app


async def started(host: Host) -> Timer:
    [timer] = host.timers
    await timer.start()
    return timer


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 0 2 * * *", "2026-11-25T02:00:00+00:00"),
        ("*/30 * * * * *", "2026-11-24T12:00:30+00:00"),
        ("0 2 * * *", "2026-11-25T02:00:00+00:00"),
        ("0 0 0 1 * Mon", "2027-02-01T00:00:00+00:00"),
    ],
)
async def test_a_schedule_is_read_as_ncrontab(
    timer_app: func.FunctionApp, host_of: Any, clock: FakeClock, schedule: str, expected: str
) -> None:
    timer = await started(host_of(timer_app, values={"nightly": schedule}))
    assert timer.next_run(clock.now()).isoformat() == expected


async def test_a_timer_runs_once_when_it_is_due(
    timer_app: func.FunctionApp, host_of: Any, clock: FakeClock, runs: list[func.TimerRequest]
) -> None:
    timer = await started(host_of(timer_app))
    assert not await timer.run_if_due()
    clock.forward(hours=14)
    assert await timer.run_if_due()
    assert not await timer.run_if_due()
    [request] = runs
    assert isinstance(request, func.TimerRequest)
    assert request.past_due is False


async def test_a_run_missed_while_the_host_was_down_is_made_up_once_and_says_so(
    timer_app: func.FunctionApp, host_of: Any, clock: FakeClock, runs: list[func.TimerRequest]
) -> None:
    await started(host_of(timer_app))
    clock.forward(days=3)
    timer = await started(host_of(timer_app))
    assert await timer.run_if_due()
    assert not await timer.run_if_due()
    clock.forward(days=1)
    assert await timer.run_if_due()
    assert [request.past_due for request in runs] == [True, False]


async def test_a_run_that_takes_longer_than_its_slot_is_followed_by_one_at_once_and_no_more(
    app: func.FunctionApp, host_of: Any, clock: FakeClock
) -> None:
    begun: list[tuple[str, bool]] = []

    @app.timer_trigger(arg_name="tick", schedule="0 * * * * *")
    async def slow(tick: func.TimerRequest) -> None:
        begun.append((clock.now().strftime("%H:%M:%S"), tick.past_due))
        clock.forward(seconds=200 if len(begun) == 1 else 1)

    timer = await started(host_of(app))
    for _ in range(4):
        clock.forward(seconds=60 - clock.now().second) if not begun else None
        await timer.run_if_due()
    assert begun == [("12:01:00", False), ("12:04:20", False)]


async def test_a_timer_of_more_than_one_run_a_minute_makes_up_for_none(
    timer_app: func.FunctionApp, host_of: Any, clock: FakeClock, runs: list[func.TimerRequest]
) -> None:
    often = {"nightly": "*/30 * * * * *"}
    await started(host_of(timer_app, values=often))
    clock.forward(days=3, seconds=1)
    timer = await started(host_of(timer_app, values=often))
    assert not await timer.run_if_due()
    clock.forward(seconds=30)
    assert await timer.run_if_due()
    assert [request.past_due for request in runs] == [False]


async def test_a_timer_whose_schedule_has_changed_makes_up_for_no_run_of_the_new_one(
    timer_app: func.FunctionApp, host_of: Any, clock: FakeClock, runs: list[func.TimerRequest]
) -> None:
    await started(host_of(timer_app))
    clock.forward(hours=3)
    timer = await started(host_of(timer_app, values={"nightly": "0 0 * * * *"}))
    assert not await timer.run_if_due()
    assert runs == []


async def test_a_clock_that_is_set_back_does_not_stop_a_timer(
    timer_app: func.FunctionApp, host_of: Any, clock: FakeClock, runs: list[func.TimerRequest]
) -> None:
    timer = await started(host_of(timer_app, values={"nightly": "*/30 * * * * *"}))
    clock.set_back(hours=1)
    assert not await timer.run_if_due()
    clock.forward(seconds=30)
    assert await timer.run_if_due()
    assert len(runs) == 1


async def test_a_restart_without_a_missed_run_runs_nothing(
    timer_app: func.FunctionApp, host_of: Any, clock: FakeClock, runs: list[func.TimerRequest]
) -> None:
    timer = await started(host_of(timer_app))
    clock.forward(hours=14)
    await timer.run_if_due()
    timer = await started(host_of(timer_app))
    assert not await timer.run_if_due()
    assert len(runs) == 1


async def test_a_damaged_monitor_file_starts_the_timer_anew(
    timer_app: func.FunctionApp, host_of: Any, tmp_path: Path
) -> None:
    (tmp_path / "state" / "timers").mkdir(parents=True)
    (tmp_path / "state" / "timers" / "nightly.json").write_text('{"last": ')
    timer = await started(host_of(timer_app))
    assert not await timer.run_if_due()


async def test_run_on_startup_runs_at_the_first_step(app: func.FunctionApp, host_of: Any) -> None:
    calls: list[bool] = []

    @app.timer_trigger(arg_name="tick", schedule="0 0 2 * * *", run_on_startup=True)
    def warm(tick: func.TimerRequest) -> None:
        calls.append(tick.past_due)

    timer = await started(host_of(app))
    assert await timer.run_if_due()
    assert not await timer.run_if_due()
    assert calls == [False]


async def test_a_timer_never_overlaps_with_itself(app: func.FunctionApp, host_of: Any) -> None:
    running: list[int] = [0]
    most: list[int] = [0]

    @app.timer_trigger(arg_name="tick", schedule="*/1 * * * * *")
    async def slow(tick: func.TimerRequest) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0)
        running[0] -= 1

    timer = await started(host_of(app))
    await asyncio.gather(*(timer.run() for _ in range(5)))
    assert most == [1]


async def test_a_timer_that_raises_goes_on_and_stops_no_other(
    app: func.FunctionApp, host_of: Any, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    @app.timer_trigger(arg_name="tick", schedule="0 0 * * * *")
    async def bad(tick: func.TimerRequest) -> None:
        calls.append("bad")
        raise ValueError("no")

    @app.timer_trigger(arg_name="tick", schedule="0 0 * * * *")
    async def good(tick: func.TimerRequest) -> None:
        calls.append("good")

    host = host_of(app)
    for timer in host.timers:
        await timer.start()
    for _ in range(2):
        clock.forward(hours=1)
        for timer in host.timers:
            assert await timer.run_if_due()
    assert calls == ["bad", "good"] * 2
    assert "timer bad failed" in caplog.text


@pytest.mark.parametrize("schedule", ["00:05:00", "every day", "0 0 25 * * *", "* * * * * * *"])
def test_a_schedule_that_is_not_ncrontab_is_told_at_start(
    timer_app: func.FunctionApp, host_of: Any, schedule: str
) -> None:
    with pytest.raises(HostError, match=r"nightly.*NCRONTAB"):
        host_of(timer_app, values={"NIGHTLY": schedule})


def test_a_setting_that_a_binding_needs_and_nobody_has_is_told_at_start(
    timer_app: func.FunctionApp, host_of: Any
) -> None:
    with pytest.raises(HostError, match="nightly: the setting NIGHTLY has no value"):
        host_of(timer_app, values={})


# Admin


async def test_the_admin_route_runs_a_function_and_answers_after_it(
    timer_app: func.FunctionApp, host_of: Any, runs: list[func.TimerRequest]
) -> None:
    async with client(host_of(timer_app)) as http:
        answer = await http.post("/admin/functions/NIGHTLY", json={})
    assert answer.status_code == 202
    assert len(runs) == 1


async def test_the_admin_route_gives_queue_functions_their_input_as_messages(
    app: func.FunctionApp, host_of: Any
) -> None:
    seen: list[Any] = []

    @app.service_bus_queue_trigger(arg_name="msgs", queue_name="q", connection="C", cardinality="many")
    async def many(msgs: list[func.ServiceBusMessage]) -> None:
        seen.extend(json.loads(item.get_body()) for item in msgs)

    async with client(host_of(app)) as http:
        assert (await http.post("/admin/functions/many", json={"input": [{"a": 1}, '{"a": 2}']})).status_code == 202
    assert seen == [{"a": 1}, {"a": 2}]


async def test_the_admin_route_knows_404_and_400_and_tells_a_failed_run(app: func.FunctionApp, host_of: Any) -> None:
    @app.timer_trigger(arg_name="tick", schedule="0 0 2 * * *")
    async def bad(tick: func.TimerRequest) -> None:
        raise ValueError("no")

    @app.route(route="x")
    async def web(req: func.HttpRequest) -> str:
        return "x"

    async with client(host_of(app)) as http:
        assert (await http.post("/admin/functions/absent", json={"input": ""})).status_code == 404
        assert (await http.post("/admin/functions/web", json={"input": ""})).status_code == 400
        for wrong in (b"", b"[]"):
            assert (await http.post("/admin/functions/bad", content=wrong, headers=JSON)).status_code == 400
        answer = await http.post("/admin/functions/bad", json={"input": ""})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_that_is_nested_too_deeply_is_a_bad_request_of_the_admin_route(
    app: func.FunctionApp, host_of: Any
) -> None:
    @app.timer_trigger(arg_name="tick", schedule="0 0 2 * * *")
    async def work(tick: func.TimerRequest) -> None:
        raise AssertionError

    async with client(host_of(app)) as http:
        for deep in (b"[" * 200_000, b'{"input":' * 200_000):
            assert (await http.post("/admin/functions/work", content=deep, headers=JSON)).status_code == 400


# Queues


class Inbox:
    """A queue function that keeps what it gets and fails as often as it is told to."""

    def __init__(
        self, app: func.FunctionApp, *, many: bool = False, failures: int = 0, data_type: func.DataType | None = None
    ) -> None:
        self.calls: list[list[func.ServiceBusMessage]] = []
        self.failures = failures
        queue, cardinality = ("%USAGE_QUEUE%", "many") if many else ("%JOBS_QUEUE%", "one")

        @app.service_bus_queue_trigger(
            arg_name="given",
            queue_name=queue,
            connection="SERVICEBUSCONNECTION",
            cardinality=cardinality,
            data_type=data_type,
        )
        async def receive(given: Any) -> None:
            self.calls.append(given if isinstance(given, list) else [given])
            if len(self.calls) <= self.failures:
                raise RuntimeError("not now")


def trigger(host: Host) -> QueueTrigger:
    [queue] = host.queues
    return queue


async def test_a_message_is_done_with_when_its_function_returns(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging, clock: FakeClock
) -> None:
    inbox = Inbox(app)
    await messaging.send("jobs", [message()])
    assert await trigger(host_of(app)).drain() == 1
    clock.forward(hours=1)
    assert await trigger(host_of(app)).drain() == 0
    assert len(inbox.calls) == 1


async def test_a_message_is_a_real_service_bus_message_with_its_metadata(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging
) -> None:
    inbox = Inbox(app)
    await messaging.send("jobs", [message(text="ü")])
    await trigger(host_of(app)).drain()
    [[received]] = inbox.calls
    assert isinstance(received, func.ServiceBusMessage)
    assert received.get_body() == '{"number":1,"text":"ü"}'.encode()
    assert received.message_id == "m-1"
    assert received.delivery_count == 1
    assert received.application_properties == {"tenant_id": GUID}
    assert received.user_properties == {"tenant_id": GUID}
    assert received.content_type == "application/json"
    assert received.metadata is not None
    assert received.metadata["MessageId"] == "m-1"


async def test_a_failed_message_comes_again_a_little_later_and_counts_its_deliveries(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging, clock: FakeClock
) -> None:
    inbox = Inbox(app, failures=2)
    await messaging.send("jobs", [message()])
    queue = trigger(host_of(app))
    assert await queue.drain() == 1
    assert await queue.drain() == 0
    for _ in range(2):
        clock.forward(seconds=0.5)
        assert await queue.drain() == 1
    clock.forward(hours=1)
    assert await queue.drain() == 0
    assert [received.delivery_count for [received] in inbox.calls] == [1, 2, 3]


def test_the_pause_after_a_failure_doubles_up_to_five_seconds() -> None:
    assert [pause_after(count) for count in (1, 2, 3, 6, 100)] == [0.2, 0.4, 0.8, 5.0, 5.0]


async def test_a_message_that_always_fails_becomes_a_dead_letter(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging, clock: FakeClock
) -> None:
    inbox = Inbox(app, failures=1000)
    await messaging.send("jobs", [message()])
    queue = trigger(host_of(app))
    for _ in range(12):
        await queue.drain()
        clock.forward(seconds=6)
    assert len(inbox.calls) == 10
    assert [(dead.id, reason) for dead, reason in await messaging.dead("jobs")] == [("m-1", "MaxDeliveryCountExceeded")]


async def test_a_trigger_of_many_gets_a_list_of_at_most_a_thousand(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging
) -> None:
    inbox = Inbox(app, many=True, data_type=func.DataType.BINARY)
    await messaging.send("usage-events", [message(number) for number in range(1050)])
    assert await trigger(host_of(app)).drain() == 1050
    assert [len(call) for call in inbox.calls] == [1000, 50]
    last = inbox.calls[1][-1]
    assert isinstance(last, func.ServiceBusMessage)
    assert (last.message_id, last.delivery_count, last.application_properties) == ("m-1049", 1, {"tenant_id": GUID})
    assert last.get_body() == b'{"number":1049}'


async def test_a_batch_of_one_is_still_a_list_and_fails_as_a_whole(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging, clock: FakeClock
) -> None:
    inbox = Inbox(app, many=True, failures=1)
    await messaging.send("usage-events", [message(1)])
    queue = trigger(host_of(app))
    await queue.drain()
    await messaging.send("usage-events", [message(2)])
    clock.forward(seconds=1)
    await queue.drain()
    assert [[item.message_id for item in call] for call in inbox.calls] == [["m-1"], ["m-1", "m-2"]]


# What a body becomes on the way: local/messages.py names where the host does it

NO_JSON = Message("m-2", GUID, {"unreadable": "<xml/>"})


async def test_a_batch_trigger_without_a_data_type_gets_bodies_that_json_net_has_rewritten(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging
) -> None:
    inbox = Inbox(app, many=True)
    sent = message(time="2026-11-24T08:15:00.250940Z", other="2026-11-24T08:15:00+02:00", day="2026-11-24")
    await messaging.send("usage-events", [sent])
    await trigger(host_of(app)).drain()
    assert json.loads(inbox.calls[0][0].get_body()) == {
        "number": 1,
        "time": "2026-11-24T08:15:00.25094Z",
        "other": "2026-11-24T06:15:00+00:00",
        "day": "2026-11-24",
    }


async def test_a_binary_batch_trigger_gets_the_bytes_that_were_sent(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging
) -> None:
    inbox = Inbox(app, many=True, data_type=func.DataType.BINARY)
    await messaging.send("usage-events", [message(time="2026-11-24T08:15:00.250940Z"), NO_JSON])
    await trigger(host_of(app)).drain()
    bodies = [one.get_body() for one in inbox.calls[0]]
    assert bodies == [b'{"number":1,"time":"2026-11-24T08:15:00.250940Z"}', b"<xml/>"]


async def test_one_body_that_is_no_json_fails_a_delivery_without_a_data_type_until_all_of_it_is_dead(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging, clock: FakeClock
) -> None:
    inbox = Inbox(app, many=True)
    await messaging.send("usage-events", [message(1), NO_JSON, message(3)])
    queue = trigger(host_of(app))
    for _ in range(12):
        await queue.drain()
        clock.forward(seconds=6)
    assert inbox.calls == []
    assert [one.id for one, _ in await messaging.dead("usage-events")] == ["m-1", "m-2", "m-3"]


@pytest.mark.parametrize("data_type", [None, func.DataType.BINARY])
async def test_a_trigger_of_one_gets_the_text_as_it_was_sent(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging, data_type: func.DataType | None
) -> None:
    inbox = Inbox(app, data_type=data_type)
    await messaging.send("jobs", [message(time="2026-11-24T08:15:00.250940Z"), NO_JSON])
    await trigger(host_of(app)).drain()
    bodies = [one.get_body() for [one] in inbox.calls]
    assert bodies == [b'{"number":1,"time":"2026-11-24T08:15:00.250940Z"}', b"<xml/>"]


async def test_a_lock_is_renewed_while_the_handler_runs(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.queues.LOCK_SECONDS", 0.03)
    renewed: list[float] = []
    renew = messaging.renew

    async def counting(lease: Any, seconds: float) -> None:
        renewed.append(seconds)
        await renew(lease, seconds)

    monkeypatch.setattr(messaging, "renew", counting)

    @app.service_bus_queue_trigger(arg_name="msg", queue_name="jobs", connection="C")
    async def slow(msg: func.ServiceBusMessage) -> None:
        await until(lambda: len(renewed) >= 2)

    await messaging.send("jobs", [message()])
    assert await trigger(host_of(app)).drain() == 1
    assert not await messaging.waiting("jobs")


# Lifecycle


async def test_a_started_host_drains_its_queues_side_by_side_and_finishes_calls_when_it_stops(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging
) -> None:
    begun: list[str] = []
    done: list[str] = []
    go_on = asyncio.Event()

    @app.service_bus_queue_trigger(arg_name="msg", queue_name="jobs", connection="C")
    async def slow(msg: func.ServiceBusMessage) -> None:
        begun.append(msg.message_id)
        await go_on.wait()
        done.append(msg.message_id)

    host = host_of(app)
    await messaging.send("jobs", [message(number) for number in range(CONCURRENT_CALLS + 3)])
    await host.start()
    await until(lambda: len(begun) == CONCURRENT_CALLS)
    stopping = asyncio.create_task(host.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert done == begun
    assert len(begun) == CONCURRENT_CALLS
    assert await messaging.waiting("jobs")


async def test_a_call_that_does_not_end_in_time_is_cancelled_and_its_message_comes_again(
    app: func.FunctionApp, host_of: Any, messaging: SqliteMessaging, clock: FakeClock
) -> None:
    begun: list[str] = []

    @app.service_bus_queue_trigger(arg_name="msg", queue_name="jobs", connection="C")
    async def endless(msg: func.ServiceBusMessage) -> None:
        begun.append(msg.message_id)
        await asyncio.Event().wait()

    host = host_of(app)
    await messaging.send("jobs", [message()])
    await host.start()
    await until(lambda: bool(begun))
    await host.stop(within=0.01)
    clock.forward(minutes=1)
    assert (await messaging.receive("jobs")).messages == [(message(), 2)]


async def test_the_web_app_starts_and_stops_timers_and_queues(
    app: func.FunctionApp, tmp_path: Path, messaging: SqliteMessaging
) -> None:
    seen: list[str] = []

    @app.timer_trigger(arg_name="tick", schedule="*/1 * * * * *", run_on_startup=True)
    async def tick(tick: func.TimerRequest) -> None:
        seen.append("tick")

    @app.service_bus_queue_trigger(arg_name="msg", queue_name="jobs", connection="C")
    async def job(msg: func.ServiceBusMessage) -> None:
        seen.append("job")

    host = Host(app, state=tmp_path / "state", messaging=messaging, values={}, clock=SystemClock())
    await messaging.send("jobs", [message()])
    web = host.asgi()
    async with web.router.lifespan_context(web):
        await until(lambda: {"tick", "job"} <= set(seen))
    count = len(seen)
    await messaging.send("jobs", [message(2)])
    await asyncio.sleep(0)
    assert len(seen) == count


def test_two_functions_of_one_name_are_told_at_start(app: func.FunctionApp, host_of: Any) -> None:
    for route in ("a", "b"):

        @app.function_name("same")
        @app.route(route=route)
        async def same(req: func.HttpRequest) -> str:
            return ""

    with pytest.raises(HostError, match="same"):
        host_of(app)


@pytest.mark.parametrize("route", ["x/{id:weekday}", "x/a{id}b"])
def test_a_route_that_is_not_understood_is_told_at_start(app: func.FunctionApp, host_of: Any, route: str) -> None:
    @app.route(route=route)
    async def odd(req: func.HttpRequest) -> str:
        return ""

    with pytest.raises(HostError, match="odd"):
        host_of(app)


def test_a_message_body_on_the_wire_is_its_json() -> None:
    assert service_bus_message(message(), 1).get_body() == b'{"number":1}'

"""A client that goes, or never comes to the end: nothing goes on for it on the local host."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import azure.functions as func
import pytest

from local.bindings import functions_of
from local.http import HttpTriggers
from shared.http.endpoint import CLIENT_GONE
from tests.unit.world import World, admin

Message = dict[str, Any]
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/api/work",
    "raw_path": b"/api/work",
    "query_string": b"",
    "headers": [],
}


def host(handler: Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]) -> HttpTriggers:
    app = func.FunctionApp()

    @app.route(route="work", methods=["POST"])
    async def work(req: func.HttpRequest) -> func.HttpResponse:
        return await handler(req)

    return HttpTriggers(functions_of(app, {}), "api")


async def send(
    triggers: HttpTriggers, receive: Callable[[], Awaitable[Message]], peer: str = "127.0.0.1"
) -> list[Message]:
    sent: list[Message] = []

    async def keep(message: Any) -> None:
        sent.append(message)

    await triggers({**SCOPE, "scheme": "http", "server": ("h", 1), "client": (peer, 1)}, receive, keep)
    return sent


async def test_a_call_ends_when_its_client_goes() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def handler(req: func.HttpRequest) -> func.HttpResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    bodies = iter([{"type": "http.request", "body": b"x", "more_body": False}])

    async def receive() -> Message:
        for body in bodies:
            return body
        await started.wait()
        return {"type": "http.disconnect"}

    await send(host(handler), receive)
    assert ended.is_set()


async def test_a_client_that_stays_has_its_answer() -> None:
    async def handler(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(req.get_body())

    bodies = iter([{"type": "http.request", "body": b"x", "more_body": False}])

    async def receive() -> Message:
        for body in bodies:
            return body
        return await asyncio.Event().wait()  # type: ignore[return-value]  # never

    sent = await send(host(handler), receive)
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"x")


async def test_a_body_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(req: func.HttpRequest) -> func.HttpResponse:
        raise AssertionError

    async def receive() -> Message:
        return await asyncio.Event().wait()  # type: ignore[return-value]  # never

    monkeypatch.setattr("local.http.BODY_SECONDS", 0.0)
    sent = await send(host(handler), receive)
    assert sent[0]["status"] == 408


async def test_more_bodies_than_may_be_held_at_once_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.http.MAX_HELD_BYTES", 10)
    held, answered = asyncio.Event(), asyncio.Event()

    async def handler(req: func.HttpRequest) -> func.HttpResponse:
        held.set()
        await answered.wait()
        return func.HttpResponse(b"ok")

    def receiving(size: int) -> Callable[[], Awaitable[Message]]:
        bodies = iter([{"type": "http.request", "body": b"x" * size, "more_body": False}])

        async def receive() -> Message:
            for body in bodies:
                return body
            return await asyncio.Event().wait()  # type: ignore[return-value]  # never

        return receive

    triggers = host(handler)
    first = asyncio.create_task(send(triggers, receiving(8)))
    await held.wait()
    refused = await send(triggers, receiving(8))
    answered.set()
    assert [(await first)[0]["status"], refused[0]["status"]] == [200, 503]
    assert (await send(triggers, receiving(8)))[0]["status"] == 200


@pytest.mark.parametrize(("one", "another"), [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1")])
async def test_bodies_that_one_address_half_sends_leave_room_for_those_of_others(
    monkeypatch: pytest.MonkeyPatch, one: str, another: str
) -> None:
    monkeypatch.setattr("local.http.MAX_HELD_BYTES", 20)
    monkeypatch.setattr("local.http.MAX_HELD_OF_ONE_BYTES", 10, raising=False)
    waiting = asyncio.Event()

    async def handler(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(b"ok")

    async def half_sent() -> Message:
        if not waiting.is_set():
            waiting.set()
            return {"type": "http.request", "body": b"x" * 9, "more_body": True}
        return await asyncio.Event().wait()  # type: ignore[return-value]  # never

    async def whole(peer: str) -> int:
        bodies = iter([{"type": "http.request", "body": b"x" * 9, "more_body": False}])

        async def receive() -> Message:
            for body in bodies:
                return body
            return await asyncio.Event().wait()  # type: ignore[return-value]  # never

        return int((await send(triggers, receive, peer))[0]["status"])

    triggers = host(handler)
    half = asyncio.create_task(send(triggers, half_sent, one))
    await waiting.wait()
    await asyncio.sleep(0)
    same, other = await whole(one), await whole(another)
    half.cancel()
    await asyncio.gather(half, return_exceptions=True)
    assert (same, other, await whole(one)) == (503, 200, 200)


async def test_who_hangs_up_is_metered_all_the_same(world: World) -> None:
    tenant = (await world.onboard())["id"]
    await world.drain()
    reached = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    world.core.endpoint.idempotency.run = never  # type: ignore[method-assign, assignment]
    call = asyncio.create_task(world.call("list_agents", admin(tenant)))
    await reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    events = await world.queued(world.core.settings.usage_queue)
    assert [one["data"]["status_code"] for one in events] == [CLIENT_GONE]


async def test_who_hangs_up_while_the_call_is_being_counted_is_counted_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = (await world.onboard())["id"]
    await world.drain()
    counting, go, send = asyncio.Event(), asyncio.Event(), world.queue.send

    async def slow(*args: Any, **options: Any) -> None:
        counting.set()
        await go.wait()
        await send(*args, **options)

    monkeypatch.setattr(world.queue, "send", slow)
    call = asyncio.create_task(world.call("list_agents", admin(tenant)))
    await counting.wait()
    call.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    events = await world.queued(world.core.settings.usage_queue)
    assert [one["data"]["operation"] for one in events] == ["list_agents"]

"""Taking events out of the usage again: by id or by a filter, with a reason, once, and for all to see."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from functions.usage.adjustments import MOST_EVENTS
from shared.clock import rfc3339
from shared.work.events import Metric, usage_event
from tests.unit.world import STAFF, START, Answer, World, admin, unrecorded


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


async def happened(
    world: World, tenant: str, value: int, at: datetime = START, model: str = "x", count: int = 1
) -> str:
    ids = [world.core.services.ids.new() for _ in range(count)]
    events = [
        usage_event(Metric.AI_TOKENS, id=id, tenant_id=tenant, at=at, value=value, provider="offline", model=model)
        for id in ids
    ]
    await world.core.adapters.messaging.send("usage-events", events)
    await world.drain()
    return ids[0]


async def adjust(world: World, tenant: str, body: dict[str, Any]) -> Answer:
    answer = await world.call("create_usage_adjustment", STAFF, body, params={"tenant_id": tenant})
    await world.drain()
    return answer


async def total(world: World, tenant: str) -> int:
    answer = await world.call("get_usage", admin(tenant), query={"metric": "ai_tokens", "period": "day"})
    return int(answer.json["total"])


def one(id: str, at: datetime = START) -> dict[str, Any]:
    return {"reason": "the model was asked twice", "event": {"id": id, "time": rfc3339(at)}}


def those(**filter: Any) -> dict[str, Any]:
    whole = {"metric": "ai_tokens", "from": rfc3339(START), "to": rfc3339(START + timedelta(hours=1)), **filter}
    return {"reason": "a loop of ours", "filter": whole}


async def test_an_event_is_taken_out_by_its_id(world: World, tenant: str) -> None:
    id = await happened(world, tenant, 5)
    await happened(world, tenant, 7)
    answer = await adjust(world, tenant, one(id))
    assert answer.status == 201, answer.json
    assert (answer.json["value"], await total(world, tenant)) == (5, 7)
    assert [event["id"] for event in answer.json["events"]] == [id]


async def test_the_tenant_reads_why_in_its_audit_trail(world: World, tenant: str) -> None:
    await adjust(world, tenant, one(await happened(world, tenant, 5)))
    trail = await world.call("list_audit", admin(tenant), query={"resource_type": "usage_adjustment"})
    assert [entry["new_value"]["reason"] for entry in trail.json["items"]] == ["the model was asked twice"]


async def test_voided_events_are_listed_as_such(world: World, tenant: str) -> None:
    id = await happened(world, tenant, 5)
    await happened(world, tenant, 7)
    await adjust(world, tenant, one(id))
    query = {"metric": "ai_tokens", "standing": "voided"}
    listed = await world.call("list_usage_events", admin(tenant), query=query)
    assert [event["id"] for event in listed.json["items"]] == [id]


async def test_a_second_time_is_a_conflict_and_takes_nothing_out(world: World, tenant: str) -> None:
    id = await happened(world, tenant, 5)
    await happened(world, tenant, 7)
    await adjust(world, tenant, one(id))
    answer = await adjust(world, tenant, one(id))
    assert (answer.status, answer.json["code"], await total(world, tenant)) == (409, "already_voided", 7)


async def test_two_at_once_are_one_adjustment(world: World, tenant: str) -> None:
    """The second has looked before the first one's message has come."""
    id = await happened(world, tenant, 5)
    named = {"tenant_id": tenant}
    answers = [await world.call("create_usage_adjustment", STAFF, one(id), params=named) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 409]
    assert answers[1].json["code"] == "already_voided"


async def test_an_event_that_another_adjustment_has_just_named_is_not_in_the_next(world: World, tenant: str) -> None:
    id = await happened(world, tenant, 5)
    await happened(world, tenant, 7)
    named = {"tenant_id": tenant}
    answers = [await world.call("create_usage_adjustment", STAFF, one(id), params=named)]
    answers.append(await world.call("create_usage_adjustment", STAFF, those(), params=named))
    await world.drain()
    assert [answer.json["value"] for answer in answers] == [5, 7]
    assert await total(world, tenant) == 0


async def test_a_voided_event_is_listed_alike_before_and_after_its_hour_is_closed(world: World, tenant: str) -> None:
    await adjust(world, tenant, one(await happened(world, tenant, 5)))
    seen = []
    for _ in range(2):
        listed = await world.call("list_usage_events", admin(tenant), query={"metric": "ai_tokens"})
        seen.append([(event["id"], event["standing"]) for event in listed.json["items"]])
        world.clock.advance(hours=2)
        await world.functions["close_usage"](None)
    assert seen[0] == seen[1] != []


async def test_a_filter_takes_out_what_it_finds_when_it_is_made(world: World, tenant: str) -> None:
    await happened(world, tenant, 5, model="x")
    await happened(world, tenant, 7, model="y")
    answer = await adjust(world, tenant, those(name="offline/x"))
    await happened(world, tenant, 11, model="x")
    assert (answer.status, answer.json["value"], await total(world, tenant)) == (201, 5, 18)


async def test_a_filter_of_several_hours_takes_out_of_each(world: World, tenant: str) -> None:
    for hours in range(3):
        await happened(world, tenant, 10**hours, START - timedelta(hours=hours))
    answer = await adjust(world, tenant, those(**{"from": rfc3339(START - timedelta(hours=1))}))
    assert (answer.status, await total(world, tenant)) == (201, 100)


async def test_a_filter_that_finds_only_what_is_voided_is_a_conflict(world: World, tenant: str) -> None:
    await happened(world, tenant, 5)
    await adjust(world, tenant, those())
    assert (await adjust(world, tenant, those())).json["code"] == "already_voided"


async def test_more_events_than_a_document_holds_are_refused_whole(world: World, tenant: str) -> None:
    await happened(world, tenant, 1, count=MOST_EVENTS + 1)
    answer = await adjust(world, tenant, those())
    assert (answer.status, await total(world, tenant)) == (400, MOST_EVENTS + 1)


async def test_as_many_as_a_document_holds_are_taken_out(world: World, tenant: str) -> None:
    await happened(world, tenant, 1, count=MOST_EVENTS)
    answer = await adjust(world, tenant, those())
    assert (answer.status, await total(world, tenant)) == (201, 0)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"event": {"id": "nobody", "time": rfc3339(START)}}, 404),
        ({"event": {"id": "old", "time": rfc3339(START - timedelta(days=62))}}, 400),
        ({"event": None}, 400),
        ({"filter": {"metric": "ai_tokens", "from": rfc3339(START), "to": rfc3339(START)}}, 400),
        ({"event": None, "filter": {"metric": "ai_tokens", "from": rfc3339(START), "to": rfc3339(START)}}, 400),
        (
            {
                "event": None,
                **{"filter": {"metric": "executions", "from": "2026-11-24T00:00:00Z", "to": "2026-11-24T01:00:00Z"}},
            },
            404,
        ),
        (
            {
                "event": None,
                **{"filter": {"metric": "executions", "from": "2026-11-20T00:00:00Z", "to": "2026-11-24T01:00:00Z"}},
            },
            400,
        ),
        ({"reason": ""}, 400),
    ],
)
async def test_what_cannot_be_is_refused(world: World, tenant: str, change: dict[str, Any], status: int) -> None:
    body = {**one(await happened(world, tenant, 5)), **change}
    answer = await adjust(world, tenant, body)
    assert (answer.status, await total(world, tenant)) == (status, 5)


@pytest.mark.parametrize("named", ["00000000-0000-0000-0000-000000000000", "01900000-0000-7000-8000-00000000dead"])
async def test_of_a_tenant_that_is_none_nothing_is_taken_out(world: World, tenant: str, named: str) -> None:
    answer = await world.call("create_usage_adjustment", STAFF, one("x"), params={"tenant_id": named})
    assert answer.status == 404


async def test_a_repeated_request_gets_the_same_answer(world: World, tenant: str) -> None:
    body, named = one(await happened(world, tenant, 5)), {"tenant_id": tenant}
    headers = {"idempotency-key": "k-1"}
    answers = [
        await world.call("create_usage_adjustment", STAFF, body, params=named, headers=headers) for _ in range(2)
    ]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json


async def test_only_staff_takes_events_out(world: World, tenant: str) -> None:
    assert (
        await world.call("create_usage_adjustment", admin(tenant), one("x"), params={"tenant_id": tenant})
    ).status == 403


async def test_a_repetition_takes_nothing_more_out(world: World, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was killed after the work, before what staff asked was recorded as answered."""
    sent, named = {"idempotency-key": "k-1"}, {"tenant_id": tenant}
    await happened(world, tenant, 5)
    async with unrecorded(world, monkeypatch):
        await world.call("create_usage_adjustment", STAFF, those(), params=named, headers=sent)
    await world.drain()
    assert await total(world, tenant) == 0
    await happened(world, tenant, 1000)
    again = await world.call("create_usage_adjustment", STAFF, those(), params=named, headers=sent)
    await world.drain()
    assert (again.status, again.json["value"], await total(world, tenant)) == (201, 5, 1000)

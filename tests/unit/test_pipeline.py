"""The endpoint pipeline: what every call goes through, in which order, and what every answer carries."""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import azure.functions as func
import pytest

from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.database.port import Placement
from shared.errors import Unavailable
from shared.http.answers import SECURITY_HEADERS
from shared.messaging.port import Message
from shared.tenancy.fence import Handle, rotate
from shared.work.outbox import OUTBOX
from tests.unit.world import AGENT, OTHER_ID, STAFF, World, admin, person

UUID = "0190c2a8-7e10-7abc-8def-00000000dead"


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


# Every answer


@pytest.mark.parametrize("name", ["get_health", "list_agents"])
async def test_every_answer_carries_the_security_headers(world: World, name: str) -> None:
    answer = await world.call(name)
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_the_callers_request_id_is_echoed(world: World) -> None:
    answer = await world.call("get_health", headers={"x-request-id": "abc.DEF_1-2"})
    assert answer.headers["x-request-id"] == "abc.DEF_1-2"


@pytest.mark.parametrize("asked", ["", "a b", "x" * 129, "a\nb", 'a"b', "é"])
async def test_a_request_id_that_could_do_harm_is_replaced(world: World, asked: str) -> None:
    answer = await world.call("get_health", headers={"x-request-id": asked})
    assert answer.headers["x-request-id"].startswith("01900000-0000-7000-8000-")


async def test_an_answer_says_how_long_it_took(world: World) -> None:
    assert (await world.call("get_health")).headers["Server-Timing"].startswith("app;dur=")


async def test_a_created_thing_says_where_it_is(world: World, tenant: str) -> None:
    answer = await world.call("create_agent", admin(tenant), AGENT)
    assert answer.headers["Location"] == f"/api/v1/agents/{answer.json['id']}"


HOSTS = ["[::1", "[::1]:x", "]", "evil.example", "evil.example/elsewhere", "a@b", "a:b:c", "%", "", "é", " "]


@pytest.mark.parametrize("host", HOSTS)
async def test_whatever_host_a_caller_names_its_call_is_read_and_led_to_this_service(
    world: World, tenant: str, host: str
) -> None:
    made = await world.call("create_agent", admin(tenant), AGENT, host=host)
    assert (made.status, made.headers.get("Location")) == (201, f"/api/v1/agents/{made.json['id']}")
    found = await world.call("list_agents", admin(tenant), query={"limit": "1"}, host=host)
    assert (found.status, len(found.json["items"])) == (200, 1)


async def test_an_empty_parameter_is_seen_whatever_host_a_caller_names(world: World, tenant: str) -> None:
    answer = await world.call("list_agents", admin(tenant), host="[::1", search="?status=")
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "status")


async def test_a_deletion_has_nothing_to_say(world: World, tenant: str) -> None:
    agent = await world.call("create_agent", admin(tenant), AGENT)
    answer = await world.call("delete_agent", admin(tenant), params={"agent_id": agent.json["id"]})
    assert (answer.status, answer.raw) == (204, b"")


async def test_a_problem_names_the_path_without_the_query(world: World) -> None:
    assert (await world.call("list_agents", query={"name": "x"})).json["instance"] == "/api/v1/agents"


# Who may


async def test_without_a_token_nothing_but_the_open_routes_answers(world: World) -> None:
    statuses = {}
    for route in world.core.endpoint.routes:
        params = dict.fromkeys(re.findall(r"{(\w+)}", route.path), UUID)
        statuses[route.name] = (await world.call(route.name, params=params)).status
    assert {name for name, status in statuses.items() if status != 401} == {
        *("get_health", "get_live", "get_openapi", "get_docs", "get_problem"),
        *("get_docs_start_js", "get_docs_swagger_ui_bundle_js", "get_docs_swagger_ui_css", "get_protected_resource"),
    }


@pytest.mark.parametrize(
    ("role", "allowed"),
    [(Role.VIEWER, [200, 403, 403]), (Role.USER, [200, 201, 403]), (Role.ADMIN, [200, 201, 404]), (None, [403] * 3)],
)
async def test_a_viewer_reads_a_user_writes_and_an_admin_deletes(
    world: World, tenant: str, role: Role | None, allowed: list[int]
) -> None:
    caller = person(tenant, role)
    answers = [
        await world.call("list_agents", caller),
        await world.call("create_agent", caller, AGENT),
        await world.call("delete_agent", caller, params={"agent_id": UUID}),
    ]
    assert [answer.status for answer in answers] == allowed


async def test_a_tenants_admin_is_no_staff(world: World, tenant: str) -> None:
    assert (await world.call("list_tenants", admin(tenant))).status == 403


async def test_a_token_without_a_tenant_reaches_none(world: World) -> None:
    assert (await world.call("list_agents", Caller("s", None, None, None, Role.ADMIN))).status == 403


async def test_a_token_of_a_tenant_that_does_not_exist_is_refused(world: World) -> None:
    assert (await world.call("list_agents", admin(UUID))).status == 403


async def test_a_token_that_claims_the_platforms_own_tenant_is_refused(world: World) -> None:
    assert (await world.call("list_agents", admin("00000000-0000-0000-0000-000000000000"))).status == 403


async def test_a_header_does_not_lead_a_tenants_user_to_another_tenant(world: World, tenant: str) -> None:
    other = await world.onboard("globex", tier="enterprise")
    await world.call("create_agent", admin(other["id"]), AGENT)
    answer = await world.call("list_agents", admin(tenant), headers={"x-tenant-id": other["id"]})
    assert answer.json["items"] == []


async def test_staff_name_the_tenant_that_they_look_at(world: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), AGENT)
    await world.break_glass(tenant)
    answer = await world.call("list_agents", STAFF, headers={"x-tenant-id": tenant})
    assert len(answer.json["items"]) == 1


async def test_staff_who_name_no_tenant_are_asked_for_one(world: World) -> None:
    answer = await world.call("list_agents", STAFF)
    assert (answer.status, "x-tenant-id" in answer.json["detail"]) == (403, True)


async def test_staff_who_name_no_tenant_id_are_told_so(world: World) -> None:
    answer = await world.call("list_agents", STAFF, headers={"x-tenant-id": "acme"})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "x-tenant-id")


async def test_a_suspended_tenants_users_are_refused_and_told_why(world: World, tenant: str) -> None:
    await world.call("suspend_tenant", STAFF, params={"tenant_id": tenant})
    answer = await world.call("list_agents", admin(tenant))
    assert (answer.status, answer.json["code"]) == (403, "tenant_suspended")


async def test_staff_still_see_a_suspended_tenant(world: World, tenant: str) -> None:
    await world.call("suspend_tenant", STAFF, params={"tenant_id": tenant})
    await world.break_glass(tenant)
    assert (await world.call("list_agents", STAFF, headers={"x-tenant-id": tenant})).status == 200


async def test_a_thing_of_another_tenant_does_not_exist(world: World, tenant: str) -> None:
    other = await world.onboard("globex", tier="enterprise")
    theirs = await world.call("create_agent", admin(other["id"]), AGENT)
    fixed = {"x-request-id": "r-1"}
    foreign, absent = [
        await world.call("get_agent", admin(tenant), params={"agent_id": id}, headers=fixed)
        for id in (theirs.json["id"], OTHER_ID)
    ]
    assert (foreign.status, foreign.raw.replace(theirs.json["id"].encode(), OTHER_ID.encode())) == (404, absent.raw)


# What was asked


@pytest.mark.parametrize("query", [{"nonsense": "1"}, {"limit": "x"}, {"status": "lost"}])
async def test_a_query_that_the_route_does_not_take_is_invalid(
    world: World, tenant: str, query: dict[str, str]
) -> None:
    answer = await world.call("list_agents", admin(tenant), query=query)
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (400, list(query))


async def test_a_put_without_a_version_is_asked_for_one(world: World, tenant: str) -> None:
    agent = await world.call("create_agent", admin(tenant), AGENT)
    answer = await world.call("replace_agent", admin(tenant), AGENT, params={"agent_id": agent.json["id"]})
    assert answer.status == 428


async def test_a_put_of_the_current_version_is_made(world: World, tenant: str) -> None:
    agent = await world.call("create_agent", admin(tenant), AGENT)
    answer = await world.call(
        "replace_agent",
        admin(tenant),
        {**AGENT, "name": "two"},
        params={"agent_id": agent.json["id"]},
        headers={"if-match": agent.etag},
    )
    assert (answer.status, answer.json["name"], answer.etag != agent.etag) == (200, "two", True)


@pytest.mark.parametrize("name", ["replace_agent", "patch_agent", "delete_agent"])
async def test_a_change_of_a_version_that_has_passed_is_refused(world: World, tenant: str, name: str) -> None:
    agent = await world.call("create_agent", admin(tenant), AGENT)
    where = {"agent_id": agent.json["id"]}
    await world.call("patch_agent", admin(tenant), {"name": "two"}, params=where)
    body = None if name == "delete_agent" else AGENT
    answer = await world.call(name, admin(tenant), body, params=where, headers={"if-match": agent.etag})
    assert answer.status == 412


async def test_an_agent_of_an_element_that_is_not_there_is_invalid(world: World, tenant: str) -> None:
    answer = await world.call("create_agent", admin(tenant), {**AGENT, "element_id": UUID})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "element_id")


async def test_a_quota_that_is_reached_answers_as_the_roadmap_says(world: World) -> None:
    small = await world.onboard("tiny", tier="enterprise", max_agents=1)
    await world.call("create_agent", admin(small["id"]), AGENT)
    answer = await world.call("create_agent", admin(small["id"]), AGENT)
    assert (answer.status, {name: answer.json[name] for name in ("error", "limit", "current", "upgradeUrl")}) == (
        429,
        {"error": "Agent quota exceeded", "limit": 1, "current": 1, "upgradeUrl": "/billing/upgrade"},
    )


async def test_a_request_that_meets_a_backups_moment_is_run_again(world: World) -> None:
    tenant = await world.onboard("acme")
    assert (await world.call("create_agent", admin(tenant["id"]), AGENT)).status == 201
    placement = Placement.from_document(tenant["placement"])
    other = Handle(world.core.adapters.database.tenant(tenant["id"], placement))
    moment = await rotate(other, "next", world.clock.now() + timedelta(seconds=1))
    answer = await world.call("create_agent", admin(tenant["id"]), AGENT)
    assert answer.status == 201 and answer.json["created_at"] > moment


# Metering


async def events(world: World) -> list[dict[str, Any]]:
    return [event for event in await world.queued("usage-events") if event["type"] == "api_calls"]


async def test_a_call_is_one_usage_event(world: World, tenant: str) -> None:
    await world.call("list_agents", admin(tenant))
    (event,) = await events(world)
    assert {name: event["data"][name] for name in ("value", "endpoint", "method", "operation", "status_code")} == {
        "value": 1,
        "endpoint": "/api/v1/agents",
        "method": "GET",
        "operation": "list_agents",
        "status_code": 200,
    }


async def test_what_a_call_has_committed_is_sent_together_with_its_own_event(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, send_together = list[int](), world.queue._send_together

    async def counted(sends: list[Any]) -> None:
        together.append(len(sends))
        await send_together(sends)

    monkeypatch.setattr(world.queue, "_send_together", counted)
    assert (await world.call("create_agent", admin(tenant), AGENT)).status == 201
    assert together == [2]


@pytest.mark.parametrize("hung_up", [False, True])
async def test_an_answer_waits_until_what_its_call_has_committed_is_sent(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch, hung_up: bool
) -> None:
    sending, go_on, send = asyncio.Event(), asyncio.Event(), world.queue.send

    async def slowly(queue: str, messages: Sequence[Message], **options: Any) -> None:
        if messages[0].body["type"] == "agents_created":
            sending.set()
            await go_on.wait()
        await send(queue, messages, **options)

    monkeypatch.setattr(world.queue, "send", slowly)
    call = asyncio.create_task(world.call("create_agent", admin(tenant), AGENT))
    await sending.wait()
    if hung_up:
        call.cancel()
    while not await world.queued("usage-events"):
        pass  # the call itself is counted meanwhile
    assert not call.done()
    go_on.set()
    await asyncio.wait([call])
    assert call.cancelled() is hung_up
    assert [one["type"] for one in await world.queued("usage-events")] == ["agents_created"]


async def test_a_call_that_failed_is_counted_with_its_status(world: World, tenant: str) -> None:
    await world.call("get_agent", admin(tenant), params={"agent_id": UUID})
    assert [event["data"]["status_code"] for event in await events(world)] == [404]


async def test_a_call_without_a_token_is_nobodys_usage(world: World) -> None:
    await world.call("list_agents")
    assert await events(world) == []


async def test_the_work_of_staff_is_not_the_tenants_usage(world: World, tenant: str) -> None:
    await world.break_glass(tenant)
    await world.call("list_agents", STAFF, headers={"x-tenant-id": tenant})
    assert await events(world) == []


async def test_a_usage_event_that_cannot_be_sent_waits_in_the_outbox(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("the broker is away")

    monkeypatch.setattr(world.core.adapters.messaging, "send", away)
    answer = await world.call("list_agents", admin(tenant))
    session = await world.session(tenant)
    left = await session.store.query(OUTBOX)
    assert (answer.status, len(left.items)) == (200, 1)


@pytest.mark.parametrize(
    ("name", "body", "error"), [("list_agents", None, "unavailable"), ("create_agent", AGENT, "unknown_outcome")]
)
async def test_a_call_whose_usage_event_can_be_kept_nowhere_is_told_to_come_again(
    world: World,
    tenant: str,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
    name: str,
    body: Any,
    error: str,
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("away")

    await world.call("list_agents", admin(tenant))
    store = (await world.session(tenant)).store
    monkeypatch.setattr(world.core.adapters.messaging, "send", away)
    monkeypatch.setattr(store.control, "commit", away)
    answer = await world.call(name, admin(tenant), body)
    (kept,) = [vars(record)["event"] for record in log.records if record.name == "flowgrid.metering"]
    assert (answer.status, answer.json["code"], answer.headers["Retry-After"]) == (503, error, "1")
    assert kept["type"] == "api_calls"


async def test_a_write_that_could_not_be_metered_is_answered_and_metered_when_it_comes_again_under_its_key(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("away")

    await events(world)
    key = {"idempotency-key": "once"}
    with monkeypatch.context() as broken:
        broken.setattr(world.core.endpoint.meter, "api_call", away)
        first = await world.call("create_agent", admin(tenant), AGENT, headers=key)
    again = await world.call("create_agent", admin(tenant), AGENT, headers=key)
    listed = await world.call("list_agents", admin(tenant))
    assert (first.status, again.status, len(listed.json["items"])) == (503, 201, 1)
    calls = [event["data"]["operation"] for event in await events(world) if event["type"] == "api_calls"]
    assert sorted(calls) == ["create_agent", "list_agents"]


# Handlers of every route


def test_every_route_is_a_function_of_its_own_name(world: World) -> None:
    assert sorted(route.name for route in world.core.endpoint.routes) == sorted(
        name for name, function in world.functions.items() if _takes_a_request(function)
    )


def _takes_a_request(function: Callable[..., Any]) -> bool:
    return func.HttpRequest in function.__annotations__.values()


async def test_the_answer_of_a_route_without_a_model_is_plain_json(world: World) -> None:
    answer = await world.call("get_openapi")
    assert json.loads(answer.raw)["openapi"] == "3.1.0"

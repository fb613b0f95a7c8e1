"""Reading without a body: 304 for who has it already (RFC 9110 §13.1.2), HEAD for who asks for the headers only."""

import re
from typing import Any, cast

import pytest

from shared.clock import rfc3339
from shared.database.port import Replace
from shared.jobs.jobs import Job, enqueue
from tests.unit.world import AGENT, OTHER_ID, STAFF, Answer, World, admin

OF_THE_MOMENT = {"Server-Timing", "x-request-id", "RateLimit-Remaining", "Content-Length"}


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


@pytest.fixture
async def agent(world: World, tenant: str) -> Answer:
    return await world.call("create_agent", admin(tenant), AGENT)


async def get(world: World, tenant: str, agent: Answer, if_none_match: str, **rest: Any) -> Answer:
    headers = {"if-none-match": if_none_match}
    return await world.call("get_agent", admin(tenant), params={"agent_id": agent.json["id"]}, headers=headers, **rest)


# Who has it already


@pytest.mark.parametrize("known", ["{}", "W/{}", "*", " * ", '"other", {}', '"a,b",W/{} , "c"', '"other",{},'])
async def test_who_has_this_version_gets_no_body(world: World, tenant: str, agent: Answer, known: str) -> None:
    answer = await get(world, tenant, agent, known.format(agent.etag))
    assert (answer.status, answer.raw, answer.etag) == (304, b"", agent.etag)


@pytest.mark.parametrize("known", ["", '"other"', "other", '"*"', '"a", "b"', "W/", "{}x", '"x{}'])
async def test_who_has_another_version_gets_this_one(world: World, tenant: str, agent: Answer, known: str) -> None:
    answer = await get(world, tenant, agent, known.format(agent.etag.strip('"')))
    assert (answer.status, answer.json) == (200, agent.json)


async def test_a_version_that_has_passed_is_sent_anew(world: World, tenant: str, agent: Answer) -> None:
    where = {"agent_id": agent.json["id"]}
    changed = await world.call("patch_agent", admin(tenant), {"name": "two"}, params=where)
    answer = await get(world, tenant, agent, agent.etag)
    assert (answer.status, answer.etag) == (200, changed.etag)


async def test_what_is_not_there_is_not_found_whatever_the_caller_has(world: World, tenant: str) -> None:
    sent = {"if-none-match": "*"}
    answer = await world.call("get_agent", admin(tenant), params={"agent_id": OTHER_ID}, headers=sent)
    assert answer.status == 404


async def test_a_change_is_made_whatever_the_caller_has(world: World, tenant: str, agent: Answer) -> None:
    where, sent = {"agent_id": agent.json["id"]}, {"if-none-match": agent.etag}
    answer = await world.call("patch_agent", admin(tenant), {"name": "two"}, params=where, headers=sent)
    assert (answer.status, answer.json["name"]) == (200, "two")


async def test_a_call_that_is_answered_without_a_body_is_metered_with_its_status(
    world: World, tenant: str, agent: Answer
) -> None:
    await world.queued("usage-events")
    await get(world, tenant, agent, agent.etag)
    told = [(event["data"]["operation"], event["data"]["status_code"]) for event in await world.queued("usage-events")]
    assert told == [("get_agent", 304)]


async def test_a_job_whose_lease_was_renewed_is_the_same_to_who_looks(world: World, tenant: str) -> None:
    session = await world.session(tenant)
    change = session.change()
    job = await change.commit(enqueue(change, session, "elsewhere", "count", {}))
    where = {"job_id": job.id}
    first = await world.call("get_job", admin(tenant), params=where)
    stored = await session.store.get(Job.KIND, job.id)
    assert stored is not None
    world.clock.advance(seconds=30)
    renewed = {**stored.body, "lease_until": rfc3339(world.clock.now())}
    await session.store.control.commit([Replace(Job.KIND, job.id, renewed, stored.etag)])
    again = await world.call("get_job", admin(tenant), params=where, headers={"if-none-match": first.etag})
    assert (again.status, "lease_until" in first.json) == (304, False)


async def test_each_get_that_has_an_etag_says_that_it_answers_304(world: World) -> None:
    document = (await world.call("get_openapi")).json
    told = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "304" in operation["responses"]
        and {"$ref": "#/components/parameters/IfNoneMatch"} in operation["parameters"]
    }
    assert told == {
        *("get_agent", "get_backup", "get_case", "get_design", "get_element", "get_execution", "get_job", "get_model"),
        *("get_issuer", "get_openapi", "get_staff_access"),
        *("get_provider", "get_relationship", "get_restore", "get_tenant", "get_usage_adjustment", "get_user"),
        *("get_publication", "get_tool", "get_view", "get_webhook", "get_api_key", "get_migration", "get_hook"),
        "get_mcp_server",
    }


# Who deletes the version that is meant


async def test_another_version_of_a_backup_is_not_deleted(world: World, tenant: str) -> None:
    """Of all that is deleted: tests/isolation/test_built.py."""
    made = await world.backed_up(tenant)
    where = {"backup_id": made["id"]}
    shown = await world.call("get_backup", admin(tenant), params=where)
    sent = [{"if-match": '"99-0"'}, {"if-match": shown.etag}]
    answers = [await world.call("delete_backup", admin(tenant), params=where, headers=headers) for headers in sent]
    assert [answer.status for answer in answers] == [412, 204]


async def test_a_backup_that_is_being_made_is_not_deleted_by_the_version_that_is_shown(
    world: World, tenant: str
) -> None:
    made = await world.call("create_backup", admin(tenant))
    where = {"backup_id": made.json["id"]}
    shown = await world.call("get_backup", admin(tenant), params=where)
    answer = await world.call("delete_backup", admin(tenant), params=where, headers={"if-match": shown.etag})
    assert (answer.status, answer.json["code"]) == (409, "wrong_state")


# HEAD


async def test_each_get_has_a_head_that_says_the_same_without_a_body(world: World, tenant: str) -> None:
    for route in world.core.endpoint.routes:
        if route.method == "GET":
            params = {name: OTHER_ID for name in re.findall(r"{(\w+)}", route.path)}
            caller = None if route.role is None else STAFF if route.platform else admin(tenant)
            whole, head = [
                await world.call(route.name, caller, params=params, method=method) for method in ("GET", "HEAD")
            ]
            one, other = [
                {name: value for name, value in answer.headers.items() if name not in OF_THE_MOMENT}
                for answer in (whole, head)
            ]
            assert (head.status, head.raw, other) == (whole.status, b"", one), route.name
            assert route.name == "listen_to_mcp" or whole.raw, route.name  # 405: there is nothing to listen to
            assert head.headers["Content-Length"].isdigit(), route.name


async def test_a_head_tells_the_length_of_the_body_and_the_version(world: World, tenant: str, agent: Answer) -> None:
    head = await world.call("get_agent", admin(tenant), params={"agent_id": agent.json["id"]}, method="HEAD")
    assert (head.headers["Content-Length"], head.etag) == (str(len(agent.raw)), agent.etag)
    known = await get(world, tenant, agent, agent.etag, method="HEAD")
    assert (known.status, known.raw, "Content-Length" in known.headers) == (304, b"", False)


async def test_a_head_is_metered_as_what_it_is(world: World, tenant: str) -> None:
    await world.call("list_agents", admin(tenant), method="HEAD")
    told = [event["data"] for event in await world.queued("usage-events") if event["type"] == "api_calls"]
    assert [(data["operation"], data["method"], data["value"]) for data in told] == [("list_agents", "HEAD", 1)]


def test_a_function_that_answers_get_is_asked_by_head_too(world: World) -> None:
    world.app.functions_bindings = None  # it remembers names over calls
    triggers = {one.get_function_name(): one.get_trigger() for one in world.app.get_functions()}
    for route in world.core.endpoint.routes:
        asked = [str(one) for one in cast(Any, triggers[route.name]).methods]
        assert (asked, "HEAD" in asked) == (route.methods, route.method == "GET")

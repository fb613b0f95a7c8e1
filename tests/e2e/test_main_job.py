"""The main job over HTTP, as a specification: what a customer, their admin and Flowgrid's staff can rely on."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from openapi_spec_validator import validate

from function_app import own_core
from shared.auth.roles import Role
from shared.clock import parse_rfc3339
from shared.http.routes import Route
from tests.e2e.api import AGENT, Api, Flowgrid, Tenant
from tests.e2e.host import eventually

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
}
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "code", "error"}
ROLES = [Role.VIEWER, Role.USER, Role.ADMIN, Role.PLATFORM]


# --- the open routes -------------------------------------------------------------------------------------------------


async def test_health_names_each_service_that_it_has_asked(flowgrid: Flowgrid) -> None:
    answer = await flowgrid.anonymous.get("/api/health")
    assert answer.status_code == 200
    health = answer.json()
    assert health["status"] == "healthy"
    assert set(health["checks"]) >= {"database", "serviceBus", "openai", "blobs", "secrets"}
    assert {check["status"] for check in health["checks"].values()} == {"ok"}
    parse_rfc3339(health["timestamp"])


async def test_the_api_describes_itself_in_valid_openapi_3_1(flowgrid: Flowgrid) -> None:
    document = (await flowgrid.anonymous.get("/api/openapi.json")).json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, f"/api/{route.path}") for route in own_core.endpoint.routes if route.described}


async def test_every_operation_has_examples_of_its_body_and_describes_its_errors(flowgrid: Flowgrid) -> None:
    document = (await flowgrid.anonymous.get("/api/openapi.json")).json()
    for path, method, operation in _operations(document):
        where = f"{method} {path}"
        for media_type, media in operation.get("requestBody", {}).get("content", {}).items():
            assert "example" in media or media_type.endswith("xml"), f"{where}: no example"
        assert "default" in operation["responses"], where
        if "{" in path:
            assert "404" in operation["responses"], where
        assert operation["summary"] and operation["operationId"], where


async def test_the_docs_page_and_all_that_it_loads_are_served(flowgrid: Flowgrid) -> None:
    answer = await flowgrid.anonymous.get("/api/docs")
    assert answer.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^":]+)"', answer.text)
    assert len(loaded) == 4
    for name in loaded:
        part = await flowgrid.anonymous.get(f"/api/{name}")
        assert (part.status_code, part.headers["content-encoding"]) == (200, "gzip"), name
        assert len(part.content) > 200, name
        assert part.headers["content-type"].startswith(("text/css", "text/javascript", "application/json")), name


@pytest.mark.parametrize("path", ["/api/health", "/api/openapi.json", "/api/v1/agents", "/api/v1/agents/nothing"])
async def test_every_answer_carries_the_security_headers(flowgrid: Flowgrid, path: str) -> None:
    answer = await flowgrid.anonymous.get(path)
    kept = (
        {"cache-control": "no-cache"} if path == "/api/openapi.json" else {}
    )  # the same for everybody, told by its ETag
    expected = {**SECURITY_HEADERS, **kept}
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == expected
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/v1/nothing", 404), ("GET", "/", 404), ("PUT", "/api/v1/agents", 405)]
)
async def test_an_unknown_route_answers_a_problem(flowgrid: Flowgrid, method: str, path: str, status: int) -> None:
    answer = await flowgrid.anonymous.call(method, path)
    assert answer.status_code == status
    _check_problem(answer)


async def test_an_unknown_route_answers_with_the_security_headers(flowgrid: Flowgrid) -> None:
    answer = await flowgrid.anonymous.get("/api/v1/nothing")
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_a_request_id_of_the_caller_is_echoed_and_a_dubious_one_replaced(flowgrid: Flowgrid) -> None:
    named = await flowgrid.anonymous.get("/api/health", headers={"x-request-id": "order-4711.a_b"})
    assert named.headers["x-request-id"] == "order-4711.a_b"
    dubious = await flowgrid.anonymous.get("/api/health", headers={"x-request-id": "a b<script>"})
    assert re.fullmatch(r"[0-9a-f-]{36}", dubious.headers["x-request-id"])


# --- onboarding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tier", "agents", "users", "placement"),
    [
        ("standard", 50, 5, "shared"),
        ("professional", 200, 25, "shared"),
        ("enterprise", 1000, 250, "dedicated"),
    ],
)
async def test_onboarding_gives_a_tenant_the_numbers_of_its_tier(
    flowgrid: Flowgrid, tier: str, agents: int, users: int, placement: str
) -> None:
    tenant = await flowgrid.onboard(tier)
    assert tenant.document["status"] == "trial"
    assert (tenant.document["max_agents"], tenant.document["max_users"]) == (agents, users)
    assert tenant.document["placement"]["mode"] == placement
    quotas = await tenant.staff.ok("GET", "quotas")
    limits = {quota["resource"]: (quota["limit"], quota["used"]) for quota in quotas["items"]}
    assert limits["agents"] == (agents, 0)
    assert limits["users"] == (users, 1)


async def test_the_first_admin_is_invited_and_becomes_active_with_the_first_call(
    flowgrid: Flowgrid, acme: Tenant
) -> None:
    email = acme.document["admin_email"]
    (invited,) = await acme.staff.every("users")
    assert (invited["email"], invited["role"], invited["status"]) == (email, "admin", "invited")
    ada = Api(flowgrid.http, flowgrid.host.url, flowgrid.token(Role.ADMIN, acme.id, email))
    me = await ada.ok("GET", "me")
    assert me["user"]["status"] == "active"
    assert me["tenant"]["id"] == acme.id


async def test_a_slug_belongs_to_one_tenant_and_an_admins_address_tells_nothing(
    flowgrid: Flowgrid, acme: Tenant
) -> None:
    taken = {"name": "Other", "slug": acme.document["slug"], "admin_email": f"{uuid4().hex}@example.com"}
    assert (await flowgrid.staff.post("platform/tenants", taken)).status_code == 409
    again = {"name": "Other", "slug": uuid4().hex, "admin_email": acme.document["admin_email"].upper()}
    assert (await flowgrid.staff.post("platform/tenants", again)).status_code == 201


# --- agents ----------------------------------------------------------------------------------------------------------


async def test_an_agent_lives_from_creation_to_deletion(acme: Tenant) -> None:
    created = await acme.user.post("agents", {**AGENT, "config": {"depth": 3, "π": [1.5, None, True]}})
    assert created.status_code == 201
    agent = created.json()
    location = created.headers["location"]
    assert location.endswith(f"/api/v1/agents/{agent['id']}")
    assert agent["revision"] == 1 and agent["tenant_id"] == acme.id and agent["status"] == "draft"

    read = await acme.viewer.get(location.removeprefix(acme.viewer.url))
    assert read.json() == agent
    assert read.headers["etag"] == created.headers["etag"]

    put = await acme.user.put(f"agents/{agent['id']}", {**AGENT, "name": "Intake"}, read.headers["etag"])
    assert put.status_code == 200, put.text
    assert put.json()["name"] == "Intake" and put.json()["config"] == {} and put.json()["revision"] == 2

    patch = await acme.user.patch(f"agents/{agent['id']}", {"config": {"a": {"b": 1}}, "status": "active"})
    assert patch.json()["config"] == {"a": {"b": 1}} and patch.json()["revision"] == 3
    patch = await acme.user.patch(f"agents/{agent['id']}", {"config": {"a": {"b": None, "c": 2}}})
    assert patch.json()["config"] == {"a": {"c": 2}} and patch.json()["name"] == "Intake"
    assert patch.json()["created_at"] == agent["created_at"] < patch.json()["updated_at"]

    assert (await acme.admin.delete(f"agents/{agent['id']}")).status_code == 204
    gone = await acme.viewer.get(f"agents/{agent['id']}")
    assert gone.status_code == 404
    _check_problem(gone)
    assert (await acme.admin.delete(f"agents/{agent['id']}")).status_code == 404
    assert await acme.viewer.every("agents") == []


async def test_a_patch_that_changes_nothing_makes_no_new_version(acme: Tenant) -> None:
    created = await acme.user.post("agents", AGENT)
    same = await acme.user.patch(f"agents/{created.json()['id']}", {"name": AGENT["name"]})
    assert same.json() == created.json()
    assert same.headers["etag"] == created.headers["etag"]
    assert len(await acme.admin.every("audit", resource_id=created.json()["id"])) == 1


async def test_a_put_needs_an_etag(acme: Tenant) -> None:
    agent = await acme.user.ok("POST", "agents", AGENT)
    answer = await acme.user.put(f"agents/{agent['id']}", AGENT)
    assert answer.status_code == 428
    _check_problem(answer)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_stale_etag_changes_nothing(acme: Tenant, method: str) -> None:
    created = await acme.user.post("agents", AGENT)
    path, stale = f"agents/{created.json()['id']}", created.headers["etag"]
    current = await acme.user.ok("PATCH", path, {"name": "Newer"})
    body = None if method == "DELETE" else {**AGENT, "name": "Stale"}
    answer = await acme.admin.call(method, path, json=body, headers={"if-match": stale})
    assert answer.status_code == 412
    _check_problem(answer)
    assert await acme.user.ok("GET", path) == current


async def test_the_current_etag_or_any_is_good_for_a_change(acme: Tenant) -> None:
    created = await acme.user.post("agents", AGENT)
    path = f"agents/{created.json()['id']}"
    one = await acme.user.patch(path, {"name": "One"}, f'"other", {created.headers["etag"]}')
    assert one.status_code == 200
    two = await acme.user.put(path, AGENT, "*")
    assert two.status_code == 200
    assert (await acme.admin.delete(path, two.headers["etag"])).status_code == 204


async def test_the_agent_list_filters_by_equality(acme: Tenant) -> None:
    for name, pattern, status in [("a", "Router", "draft"), ("b", "Router", "active"), ("c", "Monitor", "active")]:
        await acme.user.ok("POST", "agents", {"name": name, "pattern": pattern, "status": status})

    async def names(**query: str) -> str:
        return "".join(sorted(agent["name"] for agent in await acme.viewer.every("agents", **query)))

    assert await names() == "abc"
    assert await names(pattern="Router") == "ab"
    assert await names(status="active") == "bc"
    assert await names(pattern="Router", status="active") == "b"
    assert await names(name="c") == "c"
    assert await names(name="nobody") == ""
    assert (await acme.viewer.get("agents", params={"pattern": "Nonsense"})).status_code == 400
    assert (await acme.viewer.get("agents", params={"colour": "red"})).status_code == 400


# --- retries ---------------------------------------------------------------------------------------------------------


async def test_the_same_idempotency_key_gives_the_same_bytes_again(acme: Tenant) -> None:
    key = {"idempotency-key": uuid4().hex}
    first = await acme.user.post("agents", AGENT, headers=key)
    again = await acme.user.post("agents", AGENT, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert {name: again.headers[name] for name in ("etag", "location", "content-type")} == {
        name: first.headers[name] for name in ("etag", "location", "content-type")
    }
    assert again.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    assert len(await acme.viewer.every("agents")) == 1


async def test_an_idempotency_key_is_refused_for_another_body(acme: Tenant) -> None:
    key = {"idempotency-key": uuid4().hex}
    await acme.user.ok("POST", "agents", AGENT, headers=key)
    other = await acme.user.post("agents", {**AGENT, "name": "Another"}, headers=key)
    assert other.status_code == 422
    _check_problem(other)
    assert len(await acme.viewer.every("agents")) == 1


async def test_an_idempotency_key_belongs_to_one_caller(acme: Tenant) -> None:
    key = {"idempotency-key": uuid4().hex}
    one = await acme.user.ok("POST", "agents", AGENT, headers=key)
    two = await acme.admin.ok("POST", "agents", {**AGENT, "name": "Mine"}, headers=key)
    assert one["id"] != two["id"]


async def test_the_same_idempotency_key_twice_at_once_makes_one_agent(acme: Tenant) -> None:
    key = {"idempotency-key": uuid4().hex}
    answers = await asyncio.gather(*(acme.user.post("agents", AGENT, headers=key) for _ in range(12)))
    made = [answer for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in made}) == 1
    assert [agent["id"] for agent in await acme.viewer.every("agents")] == [made[0].json()["id"]]


async def test_a_refused_request_does_not_use_its_idempotency_key_up(acme: Tenant) -> None:
    key = {"idempotency-key": uuid4().hex}
    assert (await acme.user.post("agents", {"name": ""}, headers=key)).status_code == 400
    assert (await acme.user.post("agents", AGENT, headers=key)).status_code == 201


# --- pages -----------------------------------------------------------------------------------------------------------


async def test_pages_hold_every_agent_once_newest_first_whatever_is_written_meanwhile(acme: Tenant) -> None:
    made = [await acme.user.ok("POST", "agents", {**AGENT, "name": f"{n}"}) for n in range(7)]
    seen: list[dict[str, Any]] = []
    async for page in acme.viewer.pages("agents", limit=3):
        assert len(page) <= 3
        seen += page
        await acme.user.ok("POST", "agents", {**AGENT, "name": "meanwhile"})
    assert [agent["id"] for agent in seen] == [agent["id"] for agent in reversed(made)]


@pytest.mark.parametrize("limit", ["0", "201", "-1", "ten", "1.5"])
async def test_a_page_has_1_to_200_items(acme: Tenant, limit: str) -> None:
    answer = await acme.viewer.get("agents", params={"limit": limit})
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["limit"]


async def test_a_cursor_is_good_for_its_own_list_filter_and_tenant_only(flowgrid: Flowgrid, acme: Tenant) -> None:
    for n in range(3):
        await acme.user.ok("POST", "agents", {**AGENT, "name": f"{n}"})
    cursor = (await acme.viewer.ok("GET", "agents", params={"limit": 1}))["next_cursor"]
    filtered = await acme.viewer.ok("GET", "agents", params={"limit": 1, "pattern": "Orchestrator"})
    other = await flowgrid.onboard()

    async def status(api: Api, path: str, **query: Any) -> int:
        answer = await api.get(path, params=query)
        if answer.status_code == 400:
            assert [error["field"] for error in answer.json()["errors"]] == ["cursor"]
        return answer.status_code

    assert await status(acme.viewer, "agents", cursor=cursor, limit=2) == 200
    assert await status(acme.viewer, "agents", cursor=cursor, pattern="Orchestrator") == 400
    assert await status(acme.viewer, "agents", cursor=filtered["next_cursor"]) == 400
    assert await status(acme.viewer, "usage/events", cursor=cursor) == 400
    assert await status(other.viewer, "agents", cursor=cursor) == 400


async def test_a_cursor_that_was_tampered_with_is_refused(acme: Tenant) -> None:
    for n in range(2):
        await acme.user.ok("POST", "agents", {**AGENT, "name": f"{n}"})
    cursor = (await acme.viewer.ok("GET", "agents", params={"limit": 1}))["next_cursor"]
    for position in range(0, len(cursor) - 1, 7):
        other = "A" if cursor[position] != "A" else "B"
        tampered = cursor[:position] + other + cursor[position + 1 :]
        assert (await acme.viewer.get("agents", params={"cursor": tampered})).status_code == 400, tampered
    for nonsense in ["x", "%%%", "é", "AAAA", cursor + cursor]:
        assert (await acme.viewer.get("agents", params={"cursor": nonsense})).status_code == 400, nonsense


# --- bad input -------------------------------------------------------------------------------------------------------


async def test_a_refusal_names_every_field_that_is_wrong(acme: Tenant) -> None:
    wrong = {"name": "", "pattern": "Boss", "tools": ["ok", 7], "status": None, "description": "x" * 5001, "more": 1}
    answer = await acme.user.post("agents", wrong)
    assert answer.status_code == 400
    _check_problem(answer)
    errors = {error["field"]: error for error in answer.json()["errors"]}
    assert set(errors) == {"name", "pattern", "tools.1", "status", "description", "more"}
    assert errors["pattern"]["value"] == "Boss"
    assert len(errors["description"]["value"]) < 300, "an error must not echo a megabyte"


@pytest.mark.parametrize("field", ["id", "tenant_id", "revision", "created_at", "created_by", "colour"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_field_that_cannot_be_set_is_refused(acme: Tenant, method: str, field: str) -> None:
    agent = await acme.user.ok("POST", "agents", AGENT)
    path = "agents" if method == "POST" else f"agents/{agent['id']}"
    answer = await acme.user.call(method, path, json={**AGENT, field: "x"}, headers={"if-match": "*"})
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b'{"name": NaN}', b"[" * 100_000])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_body_that_is_no_json_object_is_a_400(acme: Tenant, method: str, raw: bytes) -> None:
    path = "agents" if method == "POST" else f"agents/{(await acme.user.ok('POST', 'agents', AGENT))['id']}"
    answer = await acme.user.call(method, path, content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    _check_problem(answer)


async def test_a_body_of_another_type_or_beyond_a_megabyte_is_refused(acme: Tenant) -> None:
    text = await acme.user.call("POST", "agents", content=json.dumps(AGENT), headers={"content-type": "text/plain"})
    assert text.status_code == 415
    large = await acme.user.post("agents", {**AGENT, "instructions": "x" * 1024 * 1024})
    assert large.status_code == 413
    kept = await acme.user.post("agents", {**AGENT, "config": {"a": ["x" * 1000] * 300}})
    assert kept.status_code == 413, "a resource is at most 256 KB"
    for answer in (text, large, kept):
        _check_problem(answer)


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 10**400])
async def test_a_number_that_a_double_cannot_hold_is_refused(acme: Tenant, value: int) -> None:
    raw = json.dumps({**AGENT, "config": {"n": 0}}).replace('"n": 0', f'"n": {value}')
    answer = await acme.user.call("POST", "agents", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


# --- audit -----------------------------------------------------------------------------------------------------------


async def test_the_audit_trail_tells_each_change_whole_and_newest_first(acme: Tenant) -> None:
    one = (await acme.user.post("agents", AGENT, headers={"x-request-id": "r-1", "user-agent": "spec/1"})).json()
    two = await acme.user.ok("PATCH", f"agents/{one['id']}", {"status": "active"})
    await acme.admin.ok("DELETE", f"agents/{one['id']}")
    deleted, updated, created = await acme.admin.every("audit", resource_id=one["id"])
    assert [entry["action"] for entry in (created, updated, deleted)] == [
        "agent.created",
        "agent.updated",
        "agent.deleted",
    ]
    assert (created["old_value"], created["new_value"]) == (None, one)
    assert (updated["old_value"], updated["new_value"]) == (one, two)
    assert (deleted["old_value"], deleted["new_value"]) == (two, None)
    assert [entry["revision"] for entry in (created, updated, deleted)] == [1, 2, 3]
    assert created["created_at"] < updated["created_at"] < deleted["created_at"]
    assert (created["request_id"], created["user_agent"]) == ("r-1", "spec/1")
    assert created["user_id"] == one["created_by"] and created["ip_address"] == "127.0.0.1"
    assert {entry["tenant_id"] for entry in (created, updated, deleted)} == {acme.id}


async def test_the_audit_trail_can_be_filtered_by_action_resource_user_and_time(acme: Tenant) -> None:
    first = await acme.user.ok("POST", "agents", AGENT)
    second = await acme.admin.ok("POST", "agents", AGENT)

    async def resources(**query: str) -> list[str]:
        return [entry["resource_id"] for entry in await acme.admin.every("audit", **query)]

    assert await resources(action="agent.created") == [second["id"], first["id"]]
    assert await resources(resource_type="agent", user_id=first["created_by"]) == [first["id"]]
    assert await resources(resource_type="agent", created_from=second["created_at"]) == [second["id"]]
    assert await resources(resource_type="agent", created_to=second["created_at"]) == [first["id"]]
    assert (await acme.admin.get("audit", params={"created_from": "yesterday"})).status_code == 400


async def test_a_refused_change_leaves_no_trace(acme: Tenant) -> None:
    for api in (acme.user, acme.viewer):
        await api.ok("GET", "me")  # who comes for the first time leaves a trace of that
    before = await acme.admin.every("audit")
    await acme.user.post("agents", {"name": ""})
    await acme.viewer.post("agents", AGENT)
    assert await acme.admin.every("audit") == before


# --- usage and quotas ------------------------------------------------------------------------------------------------


async def test_usage_is_exact_and_visible_within_a_second(acme: Tenant) -> None:
    for n in range(5):
        await acme.user.ok("POST", "agents", {**AGENT, "name": f"{n}"})
    for _ in range(4):
        await acme.viewer.ok("GET", "agents")
    await acme.viewer.post("agents", AGENT)  # refused: nobody pays for being turned away

    async def total(metric: str, period: str) -> int:
        """Asked by Flowgrid's staff, whose calls are not the tenant's usage."""
        answer = await acme.staff.ok("GET", "usage", params={"metric": metric, "period": period})
        return int(answer["total"])

    async def counted() -> bool:
        """all nine calls and five agents are counted"""
        return await total("api_calls", "day") >= 9 and await total("agents_created", "day") >= 5

    await eventually(counted)
    for period in ("hour", "day", "month"):
        assert (await total("api_calls", period), await total("agents_created", period)) == (9, 5)
    events = await acme.staff.every("usage/events", metric="api_calls")
    assert sorted(event["data"]["status_code"] for event in events) == [200] * 4 + [201] * 5
    usage = await acme.staff.ok("GET", "usage", params={"metric": "api_calls"})
    assert usage["items"][0]["dimensions"] == {"create_agent": 5, "list_agents": 4}


async def test_a_quota_is_told_with_its_numbers_and_freed_by_deletion(flowgrid: Flowgrid) -> None:
    tenant = await flowgrid.onboard(max_agents=2)
    agents = [await tenant.user.ok("POST", "agents", AGENT) for _ in range(2)]
    refused = await tenant.user.post("agents", AGENT)
    assert refused.status_code == 429
    _check_problem(refused)
    body = refused.json()
    assert (body["error"], body["limit"], body["current"], body["upgradeUrl"]) == (
        "Agent quota exceeded",
        2,
        2,
        "/billing/upgrade",
    )
    assert "retry-after" not in refused.headers, "waiting does not help against a quota"
    await tenant.admin.ok("DELETE", f"agents/{agents[0]['id']}")
    await tenant.user.ok("POST", "agents", AGENT)
    await tenant.staff.ok("PATCH", f"platform/tenants/{tenant.id}", {"max_agents": 3})
    await tenant.user.ok("POST", "agents", AGENT)
    quotas = {quota["resource"]: quota for quota in (await tenant.viewer.ok("GET", "quotas"))["items"]}
    assert quotas["agents"] == {
        "resource": "agents",
        "limit": 3,
        "used": 3,
        "remaining": 0,
        "reset": None,
        "near_limit": True,
    }


async def test_the_user_quota_counts_the_first_admin(flowgrid: Flowgrid) -> None:
    tenant = await flowgrid.onboard(max_users=2)
    email = f"{uuid4().hex}@example.com"
    await tenant.admin.ok("POST", "users", {"email": email})
    refused = await tenant.admin.post("users", {"email": f"{uuid4().hex}@example.com"})
    assert (refused.status_code, refused.json()["limit"], refused.json()["current"]) == (429, 2, 2)
    assert refused.json()["error"] == "User quota exceeded"


# --- rate limits -----------------------------------------------------------------------------------------------------


async def test_the_eleventh_call_in_a_minute_of_a_standard_tenant_is_asked_to_wait(flowgrid: Flowgrid) -> None:
    tenant = await flowgrid.onboard("standard", limits={})
    allowed = [await tenant.viewer.get("quotas") for _ in range(10)]
    assert {answer.status_code for answer in allowed} == {200}
    assert [answer.headers["ratelimit-remaining"] for answer in allowed] == [str(left) for left in range(9, -1, -1)]
    refused = await tenant.viewer.get("quotas")
    assert refused.status_code == 429
    _check_problem(refused)
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (refused.headers["ratelimit-limit"], refused.headers["ratelimit-remaining"]) == ("10", "0")
    assert 1 <= int(refused.headers["ratelimit-reset"]) <= 60


async def test_writing_agents_has_a_limit_of_its_own_within_the_tenants(flowgrid: Flowgrid) -> None:
    tenant = await flowgrid.onboard("enterprise", limits={"agents_per_minute": 3})
    answers = [await tenant.user.post("agents", AGENT) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [201] * 3 + [429]
    assert (await tenant.viewer.get("agents")).status_code == 200, "only the window of writes is spent"


async def test_a_tenant_that_is_asked_to_wait_costs_others_nothing(flowgrid: Flowgrid, acme: Tenant) -> None:
    noisy = await flowgrid.onboard(limits={"requests_per_minute": 1})
    await noisy.viewer.get("quotas")
    assert (await noisy.viewer.get("quotas")).status_code == 429
    assert (await acme.viewer.get("quotas")).status_code == 200


# --- who may do what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [None, *ROLES])
async def test_each_role_may_do_exactly_what_the_routes_declare(
    flowgrid: Flowgrid, acme: Tenant, role: Role | None
) -> None:
    tenant_id = None if role is Role.PLATFORM else acme.id
    named = acme.id if role is Role.PLATFORM else None
    api = Api(flowgrid.http, flowgrid.host.url, flowgrid.token(role, tenant_id), named)
    for route in _protected():
        answer = await _reach(api, route)
        if role is not None and route.role is not None and role.includes(route.role):
            assert answer.status_code not in (401, 403), f"{role} {route.name}: {answer.text}"
            assert answer.status_code < 500, f"{role} {route.name}: {answer.text}"
        else:
            assert answer.status_code == 403, f"{role} {route.name}: {answer.status_code} {answer.text}"
            _check_problem(answer)


async def test_without_a_token_only_the_open_routes_answer(flowgrid: Flowgrid) -> None:
    for route in own_core.endpoint.routes:
        answer = await _reach(flowgrid.anonymous, route)
        if route.role is None:
            signed = ("tell_claims", "deliver_to_hook", "take_slack_answer", "ask_decision", "take_decision")
            proof = dict.fromkeys(signed, 401)  # of its own
            assert answer.status_code == proof.get(route.name, 404 if "{" in route.path else 200), route.name
        else:
            assert answer.status_code == 401, route.name
            assert answer.headers["www-authenticate"].startswith("Bearer")
            _check_problem(answer)


async def test_what_is_no_token_of_ours_is_refused(flowgrid: Flowgrid, acme: Tenant) -> None:
    good = acme.admin.token or ""
    head, claims, signature = good.split(".")
    stranger = {"Basic": f"Basic {good}", "cut": f"Bearer {head}.{claims}.", "empty": "Bearer", "text": "Bearer x"}
    stranger["other claims"] = f"Bearer {head}.{claims[:-4]}AAAA.{signature}"
    for what, authorization in stranger.items():
        answer = await flowgrid.anonymous.get("agents", headers={"authorization": authorization})
        assert answer.status_code == 401, what


async def test_a_users_own_entry_can_narrow_the_tokens_role_and_never_widen_it(
    flowgrid: Flowgrid, acme: Tenant
) -> None:
    email = f"{uuid4().hex}@example.com"
    user = await acme.admin.ok("POST", "users", {"email": email, "role": "viewer"})
    grace = Api(flowgrid.http, flowgrid.host.url, flowgrid.token(Role.ADMIN, acme.id, email))
    assert (await grace.post("agents", AGENT)).status_code == 403
    await acme.admin.ok("PATCH", f"users/{user['id']}", {"role": "admin"})
    assert (await grace.post("agents", AGENT)).status_code == 201
    lower = Api(flowgrid.http, flowgrid.host.url, flowgrid.token(Role.VIEWER, acme.id, email))
    assert (await lower.post("agents", AGENT)).status_code == 403
    await acme.admin.ok("PATCH", f"users/{user['id']}", {"status": "disabled"})
    disabled = await grace.get("agents")
    assert disabled.status_code == 403 and "disabled" in disabled.json()["error"]


async def test_a_tenant_keeps_an_admin(acme: Tenant) -> None:
    (admin,) = await acme.admin.every("users")
    for answer in (
        await acme.admin.delete(f"users/{admin['id']}"),
        await acme.admin.patch(f"users/{admin['id']}", {"role": "user"}),
        await acme.admin.patch(f"users/{admin['id']}", {"status": "disabled"}),
    ):
        assert answer.status_code == 409
    assert await acme.admin.every("users") == [admin]


# --- suspension, restart, keys ---------------------------------------------------------------------------------------


async def test_a_suspended_tenant_is_told_so_and_resumes_with_all_its_data(acme: Tenant) -> None:
    agent = await acme.user.ok("POST", "agents", AGENT)
    path = f"platform/tenants/{acme.id}"
    assert (await acme.staff.ok("POST", f"{path}/suspend"))["status"] == "suspended"
    for api in (acme.viewer, acme.user, acme.admin):
        refused = await api.get("agents")
        assert refused.status_code == 403
        assert refused.json()["code"] == "tenant_suspended" and "suspended" in refused.json()["error"]
    assert await acme.staff.ok("GET", f"agents/{agent['id']}") == agent, "staff can still look"
    assert (await acme.staff.ok("POST", f"{path}/suspend"))["status"] == "suspended", "again is no error"
    assert (await acme.staff.ok("POST", f"{path}/resume"))["status"] == "trial"
    assert await acme.viewer.every("agents") == [agent]
    actions = [entry["action"] for entry in await acme.admin.every("audit", resource_type="tenant")]
    assert actions == ["tenant.resumed", "tenant.suspended", "tenant.created"]


async def test_a_key_that_the_issuer_has_rotated_in_is_picked_up(flowgrid: Flowgrid, acme: Tenant) -> None:
    flowgrid.host.issuer.rotate()
    renewed = Api(flowgrid.http, flowgrid.host.url, flowgrid.token(Role.VIEWER, acme.id))

    async def taken() -> bool:
        """a token signed with the new key is taken (keys are fetched at most every 30 seconds)"""
        answer = await renewed.get("me")
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200

    await eventually(taken, within=40)
    assert (await acme.viewer.get("me")).status_code == 200, "tokens of the key before stay good"


async def test_a_restart_keeps_everything(flowgrid: Flowgrid, acme: Tenant) -> None:
    key = {"idempotency-key": uuid4().hex}
    first = await acme.user.post("agents", AGENT, headers=key)
    for n in range(3):
        await acme.user.ok("POST", "agents", {**AGENT, "name": f"{n}"})
    cursor = (await acme.viewer.ok("GET", "agents", params={"limit": 2}))["next_cursor"]
    before = await _seen(acme)
    flowgrid.host.restart()
    assert await _seen(acme) == before
    assert len((await acme.viewer.ok("GET", "agents", params={"cursor": cursor}))["items"]) == 2
    again = await acme.user.post("agents", AGENT, headers=key)
    assert again.content == first.content and again.headers["etag"] == first.headers["etag"]


# --- helpers ---------------------------------------------------------------------------------------------------------


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _check_problem(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) >= PROBLEM_MEMBERS, body
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["instance"] == answer.request.url.path
    assert "Traceback" not in answer.text


def _protected() -> list[Route]:
    return [route for route in own_core.endpoint.routes if route.role is not None]


async def _reach(api: Api, route: Route) -> httpx.Response:
    """Call a route about something that is not there, with no body: past the role nothing can happen."""
    path = re.sub(r"{\w+}", str(uuid4()), route.path)
    return await api.call(route.method, f"/api/{path}", headers={"if-match": "*"})


async def _seen(tenant: Tenant) -> dict[str, Any]:
    """What all of the tenant's lists show its admin, but for usage, which looking changes, and exports, which are lists
    again and change the audit."""
    paged = [route for route in _protected() if route.paged and not route.platform and "{" not in route.path]
    lists = [route.path.removeprefix("v1/") for route in paged if not re.search("usage|export", route.path)]
    return {path: await tenant.admin.every(path) for path in lists}

"""What every caller expects of an HTTP API: each thing listed can be had alone, and each that can be had is listed."""

import re
from typing import Any

import pytest

from shared.http.answers import disposition
from shared.jobs.jobs import enqueue
from shared.messaging.port import Message
from tests.unit.world import AGENT, OTHER_ID, STAFF, Answer, World, admin

NEW = {"name": "Acme as it was", "slug": "acme-restored", "admin_email": "grace@acme.example"}


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


async def restored(world: World, tenant: str) -> Answer:
    """A backup that is complete, and a restore of it that is about to begin."""
    backup = await world.call("create_backup", admin(tenant), {})
    await world.drain()
    asked = {"backup_id": backup.json["id"], "target": "new_tenant", "new_tenant": NEW}
    return await world.call("create_restore", admin(tenant), asked)


# One and all


async def test_an_audit_entry_is_had_alone_as_it_is_listed(world: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), AGENT)
    (listed,) = (await world.call("list_audit", admin(tenant), query={"action": "agent.created"})).json["items"]
    alone = await world.call("get_audit_entry", admin(tenant), params={"entry_id": listed["id"]})
    assert (alone.status, alone.json) == (200, listed)


async def test_an_audit_entry_that_is_not_there_or_anothers_is_not_found(world: World, tenant: str) -> None:
    other = (await world.onboard("globex", tier="enterprise"))["id"]
    theirs = (await world.call("list_audit", admin(other))).json["items"][0]["id"]
    fixed = {"x-request-id": "r-1"}
    foreign, absent = [
        await world.call("get_audit_entry", admin(tenant), params={"entry_id": id}, headers=fixed)
        for id in (theirs, OTHER_ID)
    ]
    assert (foreign.status, foreign.raw.replace(theirs.encode(), OTHER_ID.encode())) == (404, absent.raw)


async def test_a_dead_letter_is_had_alone_as_it_is_listed(world: World) -> None:
    await world.core.dead_letters.add("q", Message("m-1", OTHER_ID, {"number": 1}), "no good")
    (listed,) = (await world.call("list_dead_letters", STAFF)).json["items"]
    alone = await world.call("get_dead_letter", STAFF, params={"letter_id": listed["id"]})
    absent = await world.call("get_dead_letter", STAFF, params={"letter_id": OTHER_ID})
    assert (alone.status, alone.json, absent.status) == (200, listed, 404)


async def test_jobs_are_listed_newest_first_and_by_status_and_type(world: World, tenant: str) -> None:
    session = await world.session(tenant)
    made = []
    for type in ("count", "weigh"):
        change = session.change()
        made.append(await change.commit(enqueue(change, session, "elsewhere", type, {})))
        world.clock.advance(seconds=1)
    asked = [{}, {"type": "count"}, {"status": "queued"}, {"status": "failed"}, {"type": "weigh", "status": "queued"}]
    found = [await world.call("list_jobs", admin(tenant), query=query) for query in asked]
    count, weigh = (job.id for job in made)
    assert [[job["id"] for job in answer.json["items"]] for answer in found] == [
        [weigh, count],
        [count],
        [weigh, count],
        [],
        [weigh],
    ]
    one = await world.call("get_job", admin(tenant), params={"job_id": count})
    assert found[1].json["items"] == [one.json]


async def test_a_tenants_jobs_are_nobody_elses(world: World, tenant: str) -> None:
    session = await world.session(tenant)
    change = session.change()
    await change.commit(enqueue(change, session, "elsewhere", "count", {}))
    other = (await world.onboard("globex", tier="enterprise"))["id"]
    assert (await world.call("list_jobs", admin(other))).json["items"] == []


async def test_restores_are_listed_as_they_are_had_alone_and_no_other_jobs(world: World, tenant: str) -> None:
    restore = (await restored(world, tenant)).json
    found = await world.call("list_restores", admin(tenant))
    alone = await world.call("get_restore", admin(tenant), params={"restore_id": restore["id"]})
    jobs = await world.call("list_jobs", admin(tenant))
    assert (found.json["items"], len(jobs.json["items"])) == ([alone.json], 2)
    statuses = [
        len((await world.call("list_restores", admin(tenant), query={"status": status})).json["items"])
        for status in ("queued", "failed")
    ]
    assert statuses == [1, 0]


async def test_what_is_listed_can_be_had_alone(world: World) -> None:
    """But events of usage, which are what a sum is made of, sums of all tenants, and exports, which are whole lists. A
    drawing is of what is listed, and reports of imports, and links of cards, are known to who has them. A2A's pages are
    its own."""
    routes = world.core.endpoint.routes
    alone = {re.sub(r"/{\w+}$", "", route.path) for route in routes if route.method == "GET" and "{" in route.path}
    listed = {route.path for route in routes if route.paged}
    assert listed - alone == {"v1/usage/events", "v1/platform/analytics", "v1/export", "v1/audit/export"}
    of_others = ("neighbors", "problems", "events", ".svg", "imports", "hooks/decisions")
    assert {path for path in alone if not path.endswith(of_others) and "/a2a/" not in path} <= listed


# Work that goes on behind the answer


async def test_a_backup_that_is_begun_says_where_its_job_is_and_when_to_look(world: World, tenant: str) -> None:
    begun = await world.call("create_backup", admin(tenant), {})
    assert (begun.status, begun.headers.get("Location"), begun.headers.get("Retry-After")) == (
        202,
        f"/api/v1/jobs/{begun.json['job_id']}",
        "2",
    )


async def test_a_restore_that_is_begun_says_where_it_is_and_when_to_look(world: World, tenant: str) -> None:
    begun = await restored(world, tenant)
    assert (begun.status, begun.headers.get("Location"), begun.headers.get("Retry-After")) == (
        202,
        f"/api/v1/restores/{begun.json['id']}",
        "2",
    )


async def test_a_repeated_answer_says_where_to_look_as_the_first_one_did(world: World, tenant: str) -> None:
    key = {"idempotency-key": "once"}
    begun, again = [await world.call("create_backup", admin(tenant), {}, headers=key) for _ in range(2)]
    told = [(answer.headers.get("Location"), answer.headers.get("Retry-After")) for answer in (begun, again)]
    assert (again.headers.get("Idempotency-Replayed"), told[0]) == ("true", told[1]) and told[0][0]


async def test_a_letter_that_is_sent_again_says_where_it_would_come_back(world: World) -> None:
    await world.core.dead_letters.add("q", Message("m-1", OTHER_ID, {"number": 1}), "no good")
    (letter,) = (await world.call("list_dead_letters", STAFF)).json["items"]
    sent = await world.call("replay_dead_letter", STAFF, params={"letter_id": letter["id"]})
    assert (sent.status, sent.headers.get("Location")) == (202, "/api/v1/platform/dead-letters")
    assert sent.headers.get("Retry-After") == "2"


async def test_a_tenant_that_works_at_once_is_nothing_to_look_at_again(world: World) -> None:
    new = {"name": "Acme", "slug": "acme", "admin_email": "ada@acme.example"}
    made = await world.call("onboard_tenant", STAFF, new)
    assert made.headers["Location"] == f"/api/v1/platform/tenants/{made.json['id']}"
    assert "Retry-After" not in made.headers


async def test_each_accepted_call_says_where_to_look_and_its_description_says_so(world: World) -> None:
    document = (await world.call("get_openapi")).json
    shared = document["components"]["responses"]

    def answer(path: str) -> dict[str, Any]:
        found: dict[str, Any] = document["paths"][f"/api/{path}"]["post"]["responses"]["202"]
        return shared[found["$ref"].rpartition("/")[2]] if "$ref" in found else found

    headers = {
        route.name: set(answer(route.path)["headers"])
        for route in world.core.endpoint.routes
        if route.status == 202 and route.described
    }
    assert len(headers) == 15
    assert {name for name, told in headers.items() if not {"Location", "Retry-After"} <= told} == set()


# No body, where all of it has defaults


@pytest.mark.parametrize("media_type", [None, "application/json", "text/plain"])
async def test_a_backup_needs_no_body(world: World, tenant: str, media_type: str | None) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    begun = await world.call("create_backup", admin(tenant), headers=headers)
    assert (begun.status, begun.json.get("note")) == (202, "")


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"note": 1}', "application/json", 400),
        (b'{"name": "x"}', "application/json", 400),
        (b" ", "application/json", 400),
        (b"null", "application/json", 400),
        (b"{}", "text/plain", 415),
    ],
)
async def test_a_body_that_is_there_is_checked_all_the_same(
    world: World, tenant: str, body: bytes, media_type: str, status: int
) -> None:
    answer = await world.call("create_backup", admin(tenant), body, headers={"content-type": media_type})
    assert answer.status == status


async def test_an_agent_needs_a_body(world: World, tenant: str) -> None:
    assert (await world.call("create_agent", admin(tenant))).status == 415
    sent = {"content-type": "application/json"}
    assert (await world.call("create_agent", admin(tenant), headers=sent)).status == 400


async def test_a_body_may_be_left_out_where_all_of_it_has_defaults_and_the_description_says_so(world: World) -> None:
    document = (await world.call("get_openapi")).json
    bodies = {
        operation["operationId"]: operation["requestBody"]["required"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    }
    assert [name for name, required in bodies.items() if not required] == ["create_backup", "rotate_api_key"]


# What is to be kept as a file


async def test_an_export_is_a_file_named_by_tenant_and_day(world: World, tenant: str) -> None:
    answer = await world.call("export_catalog", admin(tenant))
    assert (answer.status, answer.headers.get("Content-Disposition")) == (
        200,
        'attachment; filename="acme-2026-11-24.xml"',
    )
    document = (await world.call("get_openapi")).json
    told = document["paths"]["/api/v1/catalog/export"]["get"]["responses"]["200"]["headers"]
    assert "Content-Disposition" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("acme.xml", 'filename="acme.xml"'),
        ("Müller.xml", "filename=\"M_ller.xml\"; filename*=UTF-8''M%C3%BCller.xml"),
        ("日本.xml", "filename=\"__.xml\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.xml"),
        ('a"b;c.xml', "filename=\"a_b_c.xml\"; filename*=UTF-8''a%22b%3Bc.xml"),
        ("100% 'so'.xml", "filename=\"100_ _so_.xml\"; filename*=UTF-8''100%25%20%27so%27.xml"),
        ("../a\\b\r\nX: y.xml", "filename=\".._a_b__X_ y.xml\"; filename*=UTF-8''.._a_b__X%3A%20y.xml"),
        ("\ud800.xml", "filename=\"_.xml\"; filename*=UTF-8''%3F.xml"),
    ],
)
def test_a_file_name_is_safe_in_a_header_whatever_is_in_it(name: str, told: str) -> None:
    assert disposition(name) == f"attachment; {told}"

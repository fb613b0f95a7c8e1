"""Many at once: quotas are exact, no change is lost, and every book that is kept tells the same."""

import asyncio
from collections import Counter
from itertools import pairwise

from shared.work.change import COUNTER
from tests.e2e.api import AGENT, Flowgrid, Tenant
from tests.e2e.host import eventually


async def test_two_hundred_at_once_against_a_quota_of_fifty_make_exactly_fifty(flowgrid: Flowgrid) -> None:
    tenant = await flowgrid.onboard(max_agents=50)
    answers = await asyncio.gather(*(tenant.user.post("agents", {**AGENT, "name": f"{n}"}) for n in range(200)))
    assert Counter(answer.status_code for answer in answers) == {201: 50, 429: 150}
    refused = [answer.json() for answer in answers if answer.status_code == 429]
    assert {(body["code"], body["limit"], body["current"]) for body in refused} == {("quota_exceeded", 50, 50)}

    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert {agent["id"] for agent in await tenant.viewer.every("agents", limit=17)} == made
    audit = await tenant.admin.every("audit", action="agent.created")
    assert Counter(entry["resource_id"] for entry in audit) == dict.fromkeys(made, 1)
    quotas = {quota["resource"]: quota["used"] for quota in (await tenant.viewer.ok("GET", "quotas"))["items"]}
    assert quotas["agents"] == 50

    async def counted() -> bool:
        """the fifty agents are in the usage"""
        usage = await tenant.staff.ok("GET", "usage", params={"metric": "agents_created"})
        return bool(usage["total"] >= 50)

    await eventually(counted)
    events = await tenant.staff.every("usage/events", metric="agents_created")
    assert Counter(event["data"]["agent_id"] for event in events) == dict.fromkeys(made, 1)
    usage = await tenant.staff.ok("GET", "usage", params={"metric": "agents_created"})
    assert usage["total"] == 50


async def test_creating_and_deleting_at_once_never_oversteps_a_quota_and_leaves_it_right(flowgrid: Flowgrid) -> None:
    tenant = await flowgrid.onboard(max_agents=3)

    async def churn() -> None:
        for _ in range(8):
            created = await tenant.user.post("agents", AGENT)
            assert created.status_code in (201, 429), created.text
            if created.status_code == 201:
                assert (await tenant.admin.delete(f"agents/{created.json()['id']}")).status_code == 204

    async def watch() -> None:
        for _ in range(20):
            assert len(await tenant.viewer.every("agents")) <= 3

    await asyncio.gather(watch(), *(churn() for _ in range(8)))
    assert await tenant.viewer.every("agents") == []
    (counter,) = [item for item in await flowgrid.host.items(tenant.id, COUNTER) if item["id"] == "agents"]
    assert counter["value"] == 0


async def test_changes_at_once_of_different_fields_are_all_kept(acme: Tenant) -> None:
    agent = await acme.user.ok("POST", "agents", AGENT)
    path, fields = f"agents/{agent['id']}", [f"f{n}" for n in range(10)]

    async def change(field: str) -> None:
        """A change that loses a race five times is told so (409) and comes again, as a client would."""

        async def made() -> bool:
            answer = await acme.user.patch(path, {"config": {field: 1}})
            assert answer.status_code in (200, 409), answer.text
            return answer.status_code == 200

        await eventually(made)

    await asyncio.gather(*(change(field) for field in fields))
    changed = await acme.viewer.ok("GET", path)
    assert changed["config"] == dict.fromkeys(fields, 1)
    assert changed["revision"] == 11
    audit = await acme.admin.every("audit", resource_id=agent["id"])
    assert [entry["revision"] for entry in audit] == list(range(11, 0, -1))
    for newer, older in pairwise(audit):
        assert newer["old_value"] == older["new_value"], "the journal has a gap"
        assert newer["created_at"] > older["created_at"]


async def test_of_changes_at_once_with_the_same_etag_exactly_one_wins(acme: Tenant) -> None:
    created = await acme.user.post("agents", AGENT)
    path, etag = f"agents/{created.json()['id']}", created.headers["etag"]
    answers = await asyncio.gather(*(acme.user.patch(path, {"name": f"{n}"}, etag) for n in range(20)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 19}
    (won,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert await acme.viewer.ok("GET", path) == won
    assert won["revision"] == 2


async def test_of_deletions_at_once_exactly_one_is_counted(flowgrid: Flowgrid, acme: Tenant) -> None:
    keep = await acme.user.ok("POST", "agents", AGENT)
    agent = await acme.user.ok("POST", "agents", AGENT)
    answers = await asyncio.gather(*(acme.admin.delete(f"agents/{agent['id']}") for _ in range(20)))
    assert Counter(answer.status_code for answer in answers) == {204: 1, 404: 19}
    assert [one["id"] for one in await acme.viewer.every("agents")] == [keep["id"]]
    assert len(await acme.admin.every("audit", action="agent.deleted")) == 1
    (counter,) = [item for item in await flowgrid.host.items(acme.id, COUNTER) if item["id"] == "agents"]
    assert counter["value"] == 1


async def test_the_same_slug_at_once_makes_one_tenant(flowgrid: Flowgrid) -> None:
    slug = "once-" + (await flowgrid.onboard()).id[-12:]

    def new(n: int) -> dict[str, str]:
        return {"name": slug, "slug": slug, "admin_email": f"{n}@{slug}.example"}

    answers = await asyncio.gather(*(flowgrid.staff.post("platform/tenants", new(n)) for n in range(8)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 7}
    assert len(await flowgrid.staff.every("platform/tenants", slug=slug)) == 1


async def test_an_element_cannot_go_while_an_agent_comes_to_it(acme: Tenant) -> None:
    for _ in range(10):
        element = await acme.user.ok("POST", "elements", {"name": "E", "type": "BusinessProcess"})
        created, deleted = await asyncio.gather(
            acme.user.post("agents", {**AGENT, "element_id": element["id"]}),
            acme.admin.delete(f"elements/{element['id']}"),
        )
        assert (created.status_code, deleted.status_code) in [(201, 409), (400, 204)], (created.text, deleted.text)

"""A program with an API key, over the wire, against a served Flowgrid."""

from tests.e2e.api import AGENT, Api, Flowgrid, Tenant


async def test_a_program_works_with_a_key_until_it_is_revoked(flowgrid: Flowgrid, acme: Tenant) -> None:
    new = {"name": "Nightly", "role": "admin", "scopes": ["read", "write"]}
    made = await acme.admin.ok("POST", "api-keys", new)
    program = Api(flowgrid.http, flowgrid.host.url, made["key"])
    agent = await program.ok("POST", "agents", AGENT)
    listed = await program.ok("GET", "agents")
    assert agent["id"] in {one["id"] for one in listed["items"]}
    refused = await program.get("users")
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_needed")
    [entry] = (await acme.admin.ok("GET", f"audit?api_key_id={made['id']}&action=agent.created"))["items"]
    assert (entry["resource_id"], entry["user_id"]) == (agent["id"], made["user_id"])
    rotated = await acme.admin.ok("POST", f"api-keys/{made['id']}/rotate", {"overlap_hours": 1})
    both = [Api(flowgrid.http, flowgrid.host.url, one["key"]) for one in (made, rotated)]
    assert [(await one.get("agents")).status_code for one in both] == [200, 200]
    assert (await acme.admin.delete(f"api-keys/{made['id']}")).status_code == 204
    assert [(await one.get("agents")).status_code for one in both] == [401, 401]


async def test_a_key_is_taken_in_its_header_alone(flowgrid: Flowgrid, acme: Tenant) -> None:
    made = await acme.admin.ok("POST", "api-keys", {"name": "Nightly", "scopes": ["read"]})
    answer = await flowgrid.anonymous.get("agents", headers={"x-api-key": made["key"]})
    asked = await flowgrid.anonymous.get("agents", params={"api_key": made["key"]})
    assert (answer.status_code, asked.status_code) == (401, 401)
    assert "Bearer" in answer.headers["www-authenticate"]

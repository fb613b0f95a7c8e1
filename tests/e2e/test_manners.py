"""What comes without a body, and what a browser asks for, as the served host answers it over the wire."""

from tests.e2e.api import AGENT, Flowgrid, Tenant


async def test_a_head_and_a_304_come_without_a_body_and_the_connection_goes_on(acme: Tenant) -> None:
    made = await acme.admin.post("agents", AGENT)
    path = made.headers["location"]
    whole = await acme.admin.get(path)
    head = await acme.admin.call("HEAD", path)
    known = await acme.admin.get(path, headers={"if-none-match": whole.headers["etag"]})
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole.content)))
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", whole.headers["etag"])
    gone = await acme.admin.call("HEAD", "agents/nowhere")
    assert (gone.status_code, gone.content) == (404, b"")
    assert (await acme.admin.get(path)).json() == whole.json()


async def test_options_says_what_a_path_takes_and_a_path_that_is_not_there_is_still_not_there(
    flowgrid: Flowgrid,
) -> None:
    there = await flowgrid.anonymous.call("OPTIONS", "agents")
    nowhere = await flowgrid.anonymous.call("OPTIONS", "nowhere")
    refused = await flowgrid.anonymous.call("DELETE", "agents")
    assert (there.status_code, there.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert (nowhere.status_code, refused.status_code) == (404, 405)
    assert refused.headers["allow"] == there.headers["allow"]


async def test_a_backup_that_is_begun_without_a_body_is_found_where_it_says(acme: Tenant) -> None:
    begun = await acme.admin.call("POST", "backups")
    job = await acme.admin.get(begun.headers["location"])
    assert (begun.status_code, job.status_code, job.json()["id"]) == (202, 200, begun.json()["job_id"])

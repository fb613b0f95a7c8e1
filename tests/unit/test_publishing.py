"""Publishing: an agent's cases are run against its revision, and it becomes active if all of them pass."""

from typing import Any

from tests.doubles.models import Reply, says
from tests.unit.runs_world import RunsWorld
from tests.unit.world import admin


async def agent(runs: RunsWorld, *replies: Reply, cases: int = 2) -> str:
    made = await runs.agent("clerk", replies)
    for number in range(cases):
        expected = [{"op": "contains", "value": "photo"}]
        body = {"agent_id": made, "name": f"Case {number}", "input": "My roof is broken.", "expected": expected}
        assert (await runs.call("create_case", body)).status == 201
    return made


async def published(runs: RunsWorld, agent: str) -> dict[str, Any]:
    answer = await runs.call("publish_agent", agent_id=agent)
    assert (answer.status, answer.json["published"]) == (202, None), answer.raw
    assert answer.headers["Location"] == f"/api/v1/publications/{answer.json['id']}"
    return await settled(runs, answer.json["id"])


async def settled(runs: RunsWorld, id: str) -> dict[str, Any]:
    for _ in range(10):
        await runs.drain()
        runs.world.clock.advance(seconds=3)
        found: dict[str, Any] = (await runs.call("get_publication", publication_id=id)).json
        if found["status"] not in ("queued", "running"):
            return found
    raise AssertionError(found)


async def status(runs: RunsWorld, agent: str) -> str:
    return str((await runs.call("get_agent", agent_id=agent)).json["status"])


async def test_what_passes_all_its_cases_becomes_active(runs: RunsWorld) -> None:
    clerk = await agent(runs, says("Send a photo."))
    found = await published(runs, clerk)
    assert (found["status"], found["published"]) == ("succeeded", True)
    assert [(one["name"], one["passed"]) for one in found["cases"]] == [("Case 0", True), ("Case 1", True)]
    assert await status(runs, clerk) == "active"
    assert {run.purpose for run in await runs.runs()} == {"case"}
    last = (await runs.world.call("list_audit", admin(runs.tenant), query={"action": "agent.published"})).json["items"]
    assert [one["resource_id"] for one in last] == [clerk]


async def test_what_fails_one_stays_a_draft_and_is_told_why(runs: RunsWorld) -> None:
    clerk = await agent(runs, says("Call us."))
    found = await published(runs, clerk)
    assert (found["status"], found["published"]) == ("succeeded", False)
    assert found["cases"][0]["reason"] == "The answer should be one that contains 'photo'."
    assert await status(runs, clerk) == "draft"


async def test_a_run_that_fails_fails_its_case(runs: RunsWorld) -> None:
    clerk = await agent(runs, says("Send a phot", finish="length"), cases=1)
    found = await published(runs, clerk)
    assert found["published"] is False
    assert "The run has failed" in found["cases"][0]["reason"]


async def test_without_cases_it_becomes_active_at_once(runs: RunsWorld) -> None:
    clerk = await agent(runs, cases=0)
    assert (await published(runs, clerk))["published"] is True
    assert await status(runs, clerk) == "active"


async def test_what_changes_meanwhile_is_not_published(runs: RunsWorld) -> None:
    clerk = await agent(runs, says("Send a photo."))
    id = (await runs.call("publish_agent", agent_id=clerk)).json["id"]
    await runs.call("patch_agent", {"name": "Other"}, agent_id=clerk)
    found = await settled(runs, id)
    assert (found["status"], found["published"], found["error"]) == (
        "failed",
        None,
        "The agent was changed since; publish it again.",
    )
    assert await status(runs, clerk) == "draft"


async def test_the_same_slice_again_changes_nothing(runs: RunsWorld) -> None:
    clerk = await agent(runs, says("Send a photo."))
    found = await published(runs, clerk)
    before = (await runs.call("get_agent", agent_id=clerk)).json
    publishing = runs.publishing
    session = await runs.session()
    job = await runs.job(found["id"])
    assert (await publishing.run(session, job)).result["published"] is True  # type: ignore[union-attr]
    assert (await runs.call("get_agent", agent_id=clerk)).json == before
    assert len(await runs.runs()) == 2


async def test_what_is_active_is_not_published_again(runs: RunsWorld) -> None:
    clerk = await agent(runs, says("x"), cases=0)
    await published(runs, clerk)
    assert (await runs.call("publish_agent", agent_id=clerk)).status == 409


async def test_publications_are_listed_and_no_other_job_is_one(runs: RunsWorld) -> None:
    clerk = await agent(runs, says("x"), cases=0)
    found = await published(runs, clerk)
    assert (await runs.call("list_publications")).json["items"] == [found]
    backup = await runs.call("create_backup", {})
    assert (await runs.call("get_publication", publication_id=backup.json["job_id"])).status == 404

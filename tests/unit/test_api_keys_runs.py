"""What a run does that an API key has started is audited under that key, whoever works on it, to its end."""

from pathlib import Path

from tests.doubles.models import calls, says
from tests.unit.keys_world import by_key, key_of, member
from tests.unit.runs_world import RunsWorld
from tests.unit.world import admin


async def test_what_a_run_writes_is_audited_under_the_key_that_started_it(tmp_path: Path) -> None:
    runs = await RunsWorld.over(tmp_path)
    grace = await member(runs.world, runs.tenant)
    key = await key_of(runs.world, grace, role="user", scopes=["read", "execute"])
    clerk = await runs.agent("clerk", [says("Filed.")])
    script = [calls(("agent_clerk", {"input": "File it."})), says("Done.")]
    lead = await runs.agent("lead", script, pattern="Orchestrator", tools=["agent:clerk"])
    begun = await by_key(runs.world, key["key"], "create_execution", {"input": "Do it."}, params={"agent_id": lead})
    assert begun.status == 202, begun.raw
    other = await runs.start(clerk)  # by a token
    await runs.drain()
    query = {"api_key_id": key["id"], "resource_type": "execution"}
    trail = (await runs.world.call("list_audit", admin(runs.tenant), query=query)).json["items"]
    told = sorted((one["action"], one["resource_id"], one["user_id"]) for one in trail)
    assert told == [(f"execution.{what}", begun.json["id"], key["user_id"]) for what in ("started", "succeeded")]
    found = {(run.parent_id, run.agent_id): run.api_key_id for run in await runs.runs()}
    of_key = {(None, lead): key["id"], (begun.json["id"], clerk): key["id"]}
    assert found == {**of_key, (None, clerk): None} and other != begun.json["id"]
    await runs.world.close()

"""Runs: an agent works step after step, each metered once, within its limits and its tenant's."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doubles.models import calls, says
from tests.unit.runs_world import RunsWorld


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    own = await RunsWorld.over(tmp_path)
    yield own
    await own.world.close()


async def test_a_run_asks_its_model_and_its_output_is_what_that_says(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [says("All done.")]))
    assert (found["status"], found["output"], found["stop_reason"]) == ("succeeded", "All done.", None)
    assert (found["tokens"], found["cost"]) == ({"input": 100, "output": 10, "cached": 30}, 7)


async def test_an_orchestrator_runs_its_agents_and_goes_on_with_what_they_say(runs: RunsWorld) -> None:
    await runs.agent("left", [says("L")])
    await runs.agent("right", [calls(("catalog_search", {})), says("R")], tools=["catalog.search"])
    both = calls(("agent_left", {"input": "a"}), ("agent_right", {"input": "b"}))
    lead = await runs.agent("lead", [both, says("LR")], pattern="Orchestrator", tools=["agent:left", "agent:right"])
    found = await runs.run(lead)
    assert (found["status"], found["output"], found["error"]) == ("succeeded", "LR", None)
    assert await runs.counter() == 0 and await runs.tickets() == 0 and await runs.held() == 0
    assert await runs.budget() == runs.models.billed == 5 * 110

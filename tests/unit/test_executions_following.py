"""Following a run: lists, steps, and events that are waited for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doubles.models import Reply, calls, says
from tests.unit.runs_world import RunsWorld
from tests.unit.world import WatchedStore


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    own = await RunsWorld.over(tmp_path)
    yield own
    await own.world.close()


async def test_runs_are_listed_by_agent_status_and_tree(runs: RunsWorld) -> None:
    first = await runs.run(await runs.agent("clerk", [says("Done.")]))
    await runs.run(await runs.agent("other", [Reply("Done.", finish="length")]))
    for query in ({"agent_id": first["agent_id"]}, {"status": "succeeded"}, {"root_id": first["id"]}):
        answer = await runs.world.call("list_executions", runs.admin, query=query)
        assert [(one["id"], one["output"]) for one in answer.json["items"]] == [(first["id"], None)]


async def test_a_run_is_read_by_two_point_reads(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [says("Done.")]))
    reads = 0

    async def count() -> None:
        nonlocal reads
        reads += 1

    session = await runs.session()
    store = WatchedStore(session.store)
    store.on_call = count
    tenant = type(session)(session.entry, store, session.caller, session.request, session.services)
    assert (await runs.executions.service.get(tenant, found["id"])).output == "Done."
    assert reads == 2


async def test_steps_are_paged_and_carry_the_names_of_opentelemetry(runs: RunsWorld) -> None:
    agent = await runs.agent("clerk", [calls(("note", {"text": "x"})), says("Done.")], tools=["note"])
    found = await runs.run(agent)
    steps, cursor = [], None
    while True:
        query = {"limit": "1", **({"cursor": cursor} if cursor else {})}
        page = await runs.world.call("list_steps", runs.admin, params={"execution_id": found["id"]}, query=query)
        steps += page.json["items"]
        cursor = page.json["next_cursor"]
        if cursor is None:
            break
    assert [(one["number"], one["type"], one["status"]) for one in steps] == [
        (1, "model", "ended"),
        (2, "tool", "ended"),
        (3, "model", "ended"),
    ]
    assert steps[0]["attributes"] == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "offline",
        "gen_ai.request.model": "offline",
        "gen_ai.response.model": "offline",
        "gen_ai.response.finish_reasons": ["calls"],
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 30,
    }
    assert (steps[1]["attributes"]["gen_ai.operation.name"], steps[1]["arguments"]) == ("execute_tool", {"text": "x"})


async def events(runs: RunsWorld, id: str, after: int = 0) -> tuple[list[str], int, str]:
    answer = await runs.world.call(
        "list_events", runs.admin, params={"execution_id": id}, query={"after": str(after), "wait": "20"}
    )
    assert answer.status == 200, answer.raw
    told = [f"{one['type']} {one['step'] or ''}".strip() for one in answer.json["items"]]
    return told, answer.json["next_after"], answer.json["status"]


async def test_events_are_told_once_and_in_their_order(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [calls(("note", {})), says("Done.")], tools=["note"]))
    told, after, status = await events(runs, found["id"])
    assert told == [
        "step.begun 1",
        *("step.ended 1", "step.begun 2"),
        *("step.ended 2", "step.begun 3"),
        *("step.ended 3", "run.succeeded"),
    ]
    assert (status, await events(runs, found["id"], after)) == ("succeeded", ([], after, "succeeded"))


async def test_whoever_asks_again_and_again_hears_of_everything_once(runs: RunsWorld) -> None:
    await runs.agent("left", [says("L")])
    script = [calls(("agent_left", {"input": "a"}), ("agent_left", {"input": "b"})), says("Done.")]
    id = await runs.start(await runs.agent("lead", script, pattern="Orchestrator", tools=["agent:left"]))
    heard, after, status = list[str](), 0, "queued"
    while status not in ("succeeded", "failed"):
        told, after, status = await runs.time.passing(events(runs, id, after))
        heard += told
        await runs.work(most=1)
    told, after, status = await runs.time.passing(events(runs, id, after))
    heard += told
    assert sorted(heard) == sorted(
        [*(f"step.{what} {step}" for step in (1, 2, 3, 4) for what in ("begun", "ended")), "run.succeeded"]
    )


async def test_nothing_new_is_waited_for_in_vain_for_as_long_as_asked(runs: RunsWorld) -> None:
    await runs.call("pause_executions")
    id = await runs.start(await runs.agent("clerk", [says("Done.")]))
    before = runs.world.clock.monotonic()
    assert await runs.time.passing(events(runs, id, 1)) == ([], 1, "queued")
    assert runs.world.clock.monotonic() - before >= 20


async def test_another_tenants_run_is_not_found(runs: RunsWorld) -> None:
    found = await runs.run(await runs.agent("clerk", [says("Done.")]))
    other = await runs.beside("other")
    for name in ("get_execution", "list_steps", "list_events", "cancel_execution"):
        assert (await other.call(name, execution_id=found["id"])).status == 404
    assert (await other.call("get_step", execution_id=found["id"], step="1")).status == 404


async def test_what_was_said_is_kept_for_ninety_days_and_that_it_was_for_good(runs: RunsWorld) -> None:
    old = await runs.run(await runs.agent("clerk", [calls(("note", {})), says("x" * 40_000)], tools=["note"]))
    waiting = await runs.run(await runs.agent("other", [calls(("order", {}))], tools=["order"]), seconds=7 * 86400)
    runs.world.clock.advance(days=91)
    new = await runs.run(old["agent_id"])
    session = await runs.session()
    assert await runs.executions.retention.purge(session) == 1
    shown = await runs.shown(old["id"])
    assert (shown["status"], shown["output"], shown["tokens"]) == ("succeeded", None, old["tokens"])
    assert (await runs.call("list_steps", execution_id=old["id"])).json["items"] == []
    assert [one async for one in runs.world.core.adapters.blobs.space("executions", runs.tenant).list(old["id"])] == []
    assert ((await runs.shown(new["id"]))["output"], len(await runs.steps(waiting["id"]))) == ("x" * 40_000, 2)
    assert await runs.executions.retention.purge(session) == 0
    await runs.advance(old["id"])
    assert (await runs.shown(old["id"]))["status"] == "succeeded"

"""Agents that run by themselves: each slot once, whoever asks and however often."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from croniter import croniter
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from functions.agents.models import CRON, AgentFields
from functions.executions.scheduling import last_slot
from shared.database.port import Swept
from shared.work.session import TenantSession
from tests.doubles.models import says
from tests.unit.runs_world import RunsWorld
from tests.unit.world import STAFF

HOURLY = "0 * * * *"


async def scheduled(runs: RunsWorld, schedule: str = HOURLY, **fields: Any) -> str:
    return await runs.agent("watch", [says("All is well.")], schedule=schedule, **{"status": "active", **fields})


async def asked(runs: RunsWorld, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The tenants that a sweep asks."""
    found: list[str] = []

    async def of_tenant(session: TenantSession) -> int:
        found.append(session.id)
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(runs.executions.scheduling, "of_tenant", of_tenant)
        await runs.executions.scheduling.sweep()
    assert len(found) == len(set(found))
    return set(found)


async def hours_pass(runs: RunsWorld, hours: float) -> None:
    runs.world.clock.advance(hours=hours)
    await runs.time.passing(runs.world.sweep())
    await runs.drain()


async def test_a_slot_that_has_come_is_run(runs: RunsWorld) -> None:
    agent = await scheduled(runs, config={"input": "Look around."})
    await hours_pass(runs, 0.5)
    assert await runs.runs() == []
    await hours_pass(runs, 0.6)
    (run,) = await runs.runs()
    assert (run.agent_id, run.purpose, run.status) == (agent, "schedule", "succeeded")
    asked = runs.models.asked[0].messages[0].text
    assert "Look around." in asked and "2026-11-24T13:00:00" in asked


async def test_however_often_is_asked_a_slot_is_run_once(runs: RunsWorld) -> None:
    await scheduled(runs)
    for _ in range(3):
        await hours_pass(runs, 0.4)
    assert len(await runs.runs()) == 1


async def test_of_what_was_missed_the_last_slot_is_made_up(runs: RunsWorld) -> None:
    await scheduled(runs)
    await hours_pass(runs, 7.5)
    assert len(await runs.runs()) == 1
    await hours_pass(runs, 1)
    assert len(await runs.runs()) == 2


async def test_what_was_missed_for_longer_than_a_day_is_not_made_up(runs: RunsWorld) -> None:
    await scheduled(runs, "0 13 24 11 *")
    await hours_pass(runs, 26)
    assert await runs.runs() == []


@pytest.mark.parametrize("fields", [{"status": "draft"}, {"status": "retired"}, {"schedule": None}])
async def test_who_is_not_in_use_or_has_no_schedule_is_left_alone(runs: RunsWorld, fields: dict[str, Any]) -> None:
    agent = await scheduled(runs)
    await runs.call("patch_agent", fields, agent_id=agent)
    await hours_pass(runs, 2)
    assert await runs.runs() == []


async def test_a_new_schedule_makes_up_nothing(runs: RunsWorld) -> None:
    agent = await scheduled(runs)
    runs.world.clock.advance(hours=1.5)
    await runs.call("patch_agent", {"schedule": "30 12 * * *"}, agent_id=agent)
    await hours_pass(runs, 0.1)
    assert await runs.runs() == []


async def test_a_run_that_still_goes_on_keeps_the_next_slot_away(runs: RunsWorld) -> None:
    await scheduled(runs)
    await runs.call("pause_executions")
    await runs.call("resume_executions")
    runs.world.clock.advance(hours=1)
    await runs.time.passing(runs.world.sweep())  # started, and not worked on
    runs.world.clock.advance(minutes=30)
    (first,) = await runs.runs()
    assert not first.ended
    runs.world.clock.advance(minutes=29)
    await runs.time.passing(runs.world.sweep())
    assert len(await runs.runs()) == 1


async def test_paused_and_suspended_tenants_run_nothing(runs: RunsWorld) -> None:
    await scheduled(runs)
    await runs.call("pause_executions")
    await hours_pass(runs, 2)
    assert await runs.runs() == []
    await runs.call("resume_executions")
    await runs.world.call("suspend_tenant", STAFF, params={"tenant_id": runs.tenant})
    await hours_pass(runs, 2)
    assert await runs.runs() == []


async def test_only_tenants_with_schedules_are_asked_for_what_is_due(
    runs: RunsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await runs.agent("clerk", [], status="active")
    other = await runs.beside("other")
    await scheduled(other)
    assert await asked(runs, monkeypatch) == {other.tenant}
    monkeypatch.setattr("functions.executions.scheduling.PAGE", 1)
    monkeypatch.setattr("functions.executions.scheduling.PAGES", 1)  # there may be more than are told
    assert await asked(runs, monkeypatch) == {runs.tenant, other.tenant}


@pytest.mark.parametrize(("page", "pages", "seconds"), [(3, 4, 1), (3, 20, 0)], ids=["too many", "all of one instant"])
async def test_what_many_schedules_of_one_tenant_hide_is_asked_all_the_same(
    runs: RunsWorld, monkeypatch: pytest.MonkeyPatch, page: int, pages: int, seconds: int
) -> None:
    monkeypatch.setattr("functions.executions.scheduling.PAGE", page)
    monkeypatch.setattr("functions.executions.scheduling.PAGES", pages)
    other = await runs.beside("other")
    for _ in range(12):
        await scheduled(runs)
        runs.world.clock.advance(seconds=seconds)
    runs.world.clock.advance(seconds=1)
    await scheduled(other)
    assert await asked(runs, monkeypatch) == {runs.tenant, other.tenant}


async def test_where_a_database_could_not_be_looked_into_each_tenant_is_asked(
    runs: RunsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await runs.beside("other")
    platform = runs.world.core.adapters.database.platform
    sweep = type(platform).sweep

    async def half(*args: Any, **options: Any) -> Swept:
        return replace(await sweep(*args, **options), missed=["shard-2"])

    monkeypatch.setattr(type(platform), "sweep", half)
    assert await asked(runs, monkeypatch) == {runs.tenant, other.tenant}


async def test_as_many_tenants_as_have_schedules_are_asked_each(
    runs: RunsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.executions.scheduling.PAGE", 2)
    monkeypatch.setattr("shared.jobs.tenant_sweep.PAGE_ITEMS", 2)  # more than one query names
    others = [await runs.beside(slug) for slug in ("globex", "initech", "umbrella")]
    for other in others:
        runs.world.clock.advance(seconds=1)
        await scheduled(other)
    await hours_pass(runs, 1)
    assert [len(await other.runs()) for other in others] == [1, 1, 1] and await runs.runs() == []


async def test_where_nobody_has_a_schedule_nobody_is_asked(runs: RunsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def of_tenant(session: TenantSession) -> int:
        raise AssertionError("was asked")

    monkeypatch.setattr(runs.executions.scheduling, "of_tenant", of_tenant)
    assert await runs.executions.scheduling.sweep() == 0


@given(schedule=st.from_regex(CRON, fullmatch=True))
@example(schedule="*/5,7-9 22-2/3 1-31 JAN-MAR,12 0-7,SUN")
@example(schedule="00 00 01 01 *")
def test_whatever_the_description_says_is_a_schedule_has_a_last_slot_or_never_comes(schedule: str) -> None:
    assume(len(schedule) <= 100)
    now = datetime(2026, 11, 30, 6, tzinfo=UTC)
    assert croniter.is_valid(schedule)
    assert (last_slot(schedule, now) or now) <= now


async def test_what_never_comes_never_runs(runs: RunsWorld) -> None:
    await scheduled(runs, "0 0 30 2 *")
    await hours_pass(runs, 2)
    assert await runs.runs() == []


NO_SCHEDULES = [
    *("* * * *", "0 0 0 0 0", "hourly", "@hourly", "0 0 * * * *", "61 * * * *", "", "0  6 * * *", "0 6 * * mon"),
    *("0 6 * * 8", "*/0 * * * *", "0 6 32 * *", "0 6 * * 1\n"),
]


@pytest.mark.parametrize("schedule", NO_SCHEDULES)
async def test_what_is_no_schedule_is_refused(runs: RunsWorld, schedule: str) -> None:
    body = {"name": "x", "pattern": "Monitor", "schedule": schedule}
    answer = await runs.call("create_agent", body)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "schedule")


def test_the_last_slot_is_not_after_now() -> None:
    six = datetime(2026, 11, 30, 6, tzinfo=UTC)
    assert last_slot("0 6 * * 1", six) == six
    assert last_slot("0 6 * * 1", six.replace(microsecond=1)) == six
    assert last_slot("0 6 * * 1", six.replace(hour=5)) == datetime(2026, 11, 23, 6, tzinfo=UTC)
    assert last_slot("*/5 * * * *", six.replace(minute=4, second=59)) == six


@pytest.mark.parametrize("schedule", ["R R * * *", "R(1-5) * * * *", "H * * * *", "@daily", "* * * * * *"])
def test_what_has_another_slot_each_time_that_it_is_asked_is_no_schedule(schedule: str) -> None:
    with pytest.raises(ValidationError):
        AgentFields(name="a", pattern="Specialist", schedule=schedule)

"""The ways in beside HTTP, on both databases: queues, timers, agents, jobs, and the spaces of blobs and secrets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.isolation import both, changes, senders, ways
from tests.isolation.cases import Stage
from tests.isolation.expected import QUEUES, TIMERS
from tests.isolation.naming import NEVER
from tests.isolation.watch import Watch
from tests.unit.world import World


@pytest_asyncio.fixture(loop_scope="module")
async def watch(on_sqlite: Stage) -> AsyncIterator[Watch]:
    own = Watch(on_sqlite.site, on_sqlite.victim.id)
    yield own
    own.close()


async def test_no_forged_message_of_a_queue_touches_the_victim(on_sqlite: Stage, watch: Watch) -> None:
    assert set(ways.forged(on_sqlite, NEVER, NEVER)) == set(QUEUES)
    found = [leak async for leak in ways.through_queues(on_sqlite, watch)]
    assert (len(found), [str(leak) for leak in found if leak]) == (20, [])


async def test_no_agent_of_the_attackers_is_told_or_changes_anything_of_the_victims(
    on_sqlite: Stage, watch: Watch
) -> None:
    assert [str(leak) async for leak in ways.through_agents(on_sqlite, watch) if leak] == []


async def test_no_job_of_the_attackers_works_on_what_is_the_victims(on_sqlite: Stage, watch: Watch) -> None:
    assert [str(leak) async for leak in ways.through_jobs(on_sqlite, watch) if leak] == []


async def test_two_calls_at_once_are_answered_as_each_is_alone(on_sqlite: Stage) -> None:
    found = [leak async for leak in both.at_once(on_sqlite)]
    assert [str(leak) for leak in found if leak] == [] and len(found) > 40


async def test_what_the_victim_does_moves_no_figure_of_the_attackers(on_sqlite: Stage) -> None:
    found = [leak async for leak in both.figures(on_sqlite)]
    assert [str(leak) for leak in found if leak] == [] and len(found) > 40


async def test_what_the_attacker_spends_of_its_windows_is_not_the_victims(on_sqlite: Stage) -> None:
    assert [leak async for leak in both.windows(on_sqlite)] == [None] * 3


async def test_a_delivery_to_a_hook_starts_what_its_maker_may_start_now(on_sqlite: Stage, watch: Watch) -> None:
    found = [leak async for leak in senders.through_hooks(on_sqlite, watch)]
    assert [str(leak) for leak in found if leak] == [] and len(found) == 27


async def test_a_change_that_succeeds_changes_ones_own(on_sqlite: Stage, watch: Watch) -> None:
    found = [leak async for leak in changes.through_changes(on_sqlite, watch)]
    assert [str(leak) for leak in found if leak] == [] and len(found) == len(changes.changing())


async def test_what_is_done_behind_a_202_is_done_with_ones_own(on_sqlite: Stage, watch: Watch) -> None:
    found = [leak async for leak in changes.through_work(on_sqlite, watch)]
    assert [str(leak) for leak in found if leak] == [] and len(found) > 100


async def test_a_reference_to_the_victims_secret_opens_nothing(on_sqlite: Stage) -> None:
    assert [str(leak) async for leak in ways.through_references(on_sqlite) if leak] == []


async def test_the_same_name_in_two_spaces_is_two_things(on_sqlite: Stage, watch: Watch) -> None:
    found = [leak async for leak in ways.through_spaces(on_sqlite, watch)]
    assert [str(leak) for leak in found if leak] == [] and len(found) > 5


async def test_no_timer_changes_more_than_is_its_to_change(on_sqlite: Stage, watch: Watch) -> None:
    """The last: it is a day later then."""
    found = [leak async for leak in ways.through_timers(on_sqlite, watch)]
    assert (len(found), [str(leak) for leak in found if leak]) == (len(TIMERS) - 1, [])


async def test_every_queue_and_every_timer_has_an_expectation(on_sqlite: Stage, tmp_path: Path) -> None:
    """With Service Bus, and without."""
    drained = World.over(tmp_path)
    await drained.close()
    routes = {route.name for route in on_sqlite.site.routes.values()}
    others = {*on_sqlite.site.functions, *drained.functions} - routes
    known = {*QUEUES, *TIMERS}
    assert others == known, "add it to QUEUES or TIMERS in tests/isolation/expected.py, and forge its messages"

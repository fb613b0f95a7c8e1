"""The Service Bus triggers: real messages of the SDK in, stored usage, finished jobs and runs out."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local.bindings import functions_of
from local.queues import QueueTrigger
from shared.jobs.jobs import Job, enqueue
from shared.messaging.port import Message
from shared.work.events import Metric, usage_event
from shared.work.resources import PageRequest, load
from tests.unit.world import START, World, admin


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A process that has a Service Bus connection, so its queues come by triggers."""
    own = World.over(tmp_path / "data", servicebusconnection="Endpoint=sb://localhost")
    yield own
    await own.close()


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


async def delivered(world: World, name: str, *messages: tuple[Message, int]) -> None:
    """Messages as the host hands them to a queue function, whose binding says in which form."""
    function = next(one for one in functions_of(world.app, world.core.settings.values()) if one.name == name)
    await QueueTrigger(function, world.queue).call(messages)


def executed(world: World, tenant: str, value: int = 1) -> Message:
    return usage_event(Metric.EXECUTIONS, id=world.core.services.ids.new(), tenant_id=tenant, at=START, value=value)


async def total(world: World, tenant: str) -> int:
    world.clock.advance(seconds=1)
    answer = await world.call("get_usage", admin(tenant), query={"metric": "executions"})
    return int(answer.json["total"])


async def test_a_batch_of_usage_events_is_counted(world: World, tenant: str) -> None:
    await delivered(world, "store_usage", *((executed(world, tenant, value), 1) for value in (2, 3)))
    assert await total(world, tenant) == 5


async def test_a_batch_that_is_delivered_again_is_counted_once(world: World, tenant: str) -> None:
    event = executed(world, tenant)
    for deliveries in (1, 2):
        await delivered(world, "store_usage", (event, deliveries))
    assert await total(world, tenant) == 1


async def test_a_message_that_is_no_usage_event_is_a_dead_letter(world: World, tenant: str) -> None:
    await delivered(world, "store_usage", (Message("m-1", tenant, {"n": 1}), 1))
    (letter,) = (await world.core.dead_letters.list(PageRequest(10))).items
    assert (letter.queue, letter.message_id, letter.tenant) == ("usage-events", "m-1", tenant)


async def test_a_message_of_the_jobs_queue_runs_its_job(world: World, tenant: str) -> None:
    session = await world.session(tenant)
    change = session.change()
    job = await change.commit(enqueue(change, session, "jobs", "no such type", {}))
    await delivered(world, "run_job", (Message("m-1", tenant, {"job_id": job.id}), 1))
    assert (await load(session, Job, job.id)).value.error == "This release knows no jobs of the type no such type."


async def test_a_body_that_is_no_json_is_a_dead_letter_and_the_others_of_its_delivery_are_counted(
    world: World, tenant: str
) -> None:
    unreadable = Message("m-1", tenant, {"unreadable": "<xml/>"})
    await delivered(world, "store_usage", (executed(world, tenant, 2), 1), (unreadable, 1))
    (letter,) = (await world.core.dead_letters.list(PageRequest(10))).items
    assert (letter.reason, letter.body) == ("the body is not a JSON object", {"unreadable": "<xml/>"})
    assert await total(world, tenant) == 2


async def test_a_jobs_message_that_is_no_json_is_a_dead_letter(world: World, tenant: str) -> None:
    await delivered(world, "run_job", (Message("m-1", tenant, {"unreadable": "<xml/>"}), 1))
    (letter,) = (await world.core.dead_letters.list(PageRequest(10))).items
    assert (letter.queue, letter.body) == ("jobs", {"unreadable": "<xml/>"})


async def test_a_message_of_the_runs_queue_has_its_run_worked_on(world: World, tenant: str) -> None:
    agent = await world.call("create_agent", admin(tenant), {"name": "clerk", "pattern": "Specialist", "provider": "x"})
    run = await world.call(
        "create_execution", admin(tenant), {"input": "Do it."}, params={"agent_id": agent.json["id"]}
    )
    id = run.json["id"]
    await delivered(world, "run_execution", (Message("m-1", tenant, {"execution_id": id, "revision": 1}), 1))
    found = (await world.call("get_execution", admin(tenant), params={"execution_id": id})).json
    assert (found["status"], found["stop_reason"]) == ("failed", "invalid_request")  # there is no such provider


@pytest.mark.parametrize("body", [{"unreadable": "<xml/>"}, {"execution_id": "x", "revision": 1}, {"cancel": 7}])
async def test_a_message_of_the_runs_queue_that_names_none_is_a_dead_letter(
    world: World, tenant: str, body: dict[str, Any]
) -> None:
    await delivered(world, "run_execution", (Message("m-1", tenant, body), 1))
    (letter,) = (await world.core.dead_letters.list(PageRequest(10))).items
    assert (letter.queue, letter.body) == ("executions", body)

"""Another company's agent, by the official A2A client and an API key, against a served Flowgrid."""

import httpx
import pytest
from a2a.client import AgentCardResolutionError
from a2a.types.a2a_pb2 import CancelTaskRequest, GetTaskRequest, ListTasksRequest, Task, TaskState
from a2a.utils.errors import TaskNotFoundError

from tests.e2e.api import AGENT, Flowgrid, Tenant
from tests.e2e.host import eventually
from tests.unit.a2a_world import SPOKEN, asking, client, sent


async def key_of(tenant: Tenant) -> str:
    new = {"name": "Theirs", "role": "user", "scopes": ["read", "execute"]}
    return str((await tenant.admin.ok("POST", "api-keys", new))["key"])


def program(key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(headers={"authorization": f"Bearer {key}", **SPOKEN}, timeout=60, trust_env=False)


async def test_the_official_client_does_whole_jobs_and_another_tenants_key_sees_none(
    flowgrid: Flowgrid, acme: Tenant
) -> None:
    agent = (await acme.admin.ok("POST", "agents", {**AGENT, "pattern": "Specialist", "status": "active"}))["id"]
    host = flowgrid.host.url
    async with program(await key_of(acme)) as http, client(http, agent, host) as a2a:
        begun = await sent(a2a, asking("A new claim."))
        tasks: list[Task] = []

        async def over() -> bool:
            """the task is completed"""
            tasks[:] = [await a2a.get_task(GetTaskRequest(id=begun.id))]
            return bool(tasks[0].status.state == TaskState.TASK_STATE_COMPLETED)

        await eventually(over)
        assert tasks[0].artifacts[0].parts[0].text and tasks[0].history[0].parts[0].text == "A new claim."
        run = await acme.admin.ok("GET", f"executions/{begun.id}")
        assert (run["agent_id"], run["output"]) == (agent, tasks[0].artifacts[0].parts[0].text)

        await acme.admin.ok("POST", "execution-admission/pause")
        other = await sent(a2a, asking("Another claim."))
        cancelled = await a2a.cancel_task(CancelTaskRequest(id=other.id))
        assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
        assert {task.id for task in (await a2a.list_tasks(ListTasksRequest())).tasks} == {begun.id, other.id}

    globex = await flowgrid.onboard()
    own = (await globex.admin.ok("POST", "agents", {**AGENT, "status": "active"}))["id"]
    async with program(await key_of(globex)) as http:
        with pytest.raises(AgentCardResolutionError):
            async with client(http, agent, host):
                raise AssertionError("it sees the card")
        async with client(http, own, host) as a2a:
            with pytest.raises(TaskNotFoundError):
                await a2a.get_task(GetTaskRequest(id=begun.id))
            assert list((await a2a.list_tasks(ListTasksRequest())).tasks) == []

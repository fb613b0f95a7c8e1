"""A2A: the official client does its jobs with agents here, and is told what it may not in its own protocol's errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from a2a.client import AgentCardResolutionError
from a2a.client.errors import A2AClientError
from a2a.client.transports.rest import RestTransport
from a2a.helpers.proto_helpers import new_data_part
from a2a.types.a2a_pb2 import (
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    Part,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import A2A_ERROR_MAPPING, A2A_REASON_TO_ERROR, A2AError

from functions.a2a.errors import STATUS
from functions.a2a.messages import MAX_BYTES, MAX_PARTS
from functions.a2a.service import MOST_LISTED, WAIT_SECONDS
from functions.a2a.tasks import OTHERS, STATES
from functions.executions.models import MAX_INPUT_BYTES
from functions.executions.models import Status as RunStatus
from shared.auth.caller import Caller
from shared.auth.roles import Role
from tests.doubles.models import calls, says
from tests.unit.a2a_world import SPOKEN, asking, base, client, program, sent, transport
from tests.unit.hooks_world import member
from tests.unit.keys_world import key_of
from tests.unit.runs_world import RunsWorld
from tests.unit.world import AGENT, Answer, World, admin, person

NEVER = "01900000-0000-7000-8000-00000000dead"


@pytest.fixture
async def grace(runs: RunsWorld) -> Caller:
    return await member(runs.world, runs.tenant)


@pytest.fixture
async def http(runs: RunsWorld, grace: Caller) -> AsyncIterator[httpx.AsyncClient]:
    async with program(runs.world, await key(runs, grace)) as made:
        yield made


@pytest.fixture
async def clerk(runs: RunsWorld) -> str:
    return await runs.agent("clerk", [says("Filed.")], status="active", description="Files claims.")


async def key(runs: RunsWorld, user: Caller, *scopes: str) -> str:
    made = await key_of(runs.world, user, role="user", scopes=list(scopes or ("read", "execute")))
    return str(made["key"])


async def reason_of(refused: Awaitable[Any]) -> tuple[int, str]:
    """The status and the reason of an error, as the client has understood it."""
    with pytest.raises(A2AError) as told:
        await refused
    mapping = A2A_ERROR_MAPPING[type(told.value)]
    return mapping.http_code, mapping.reason


async def post(runs: RunsWorld, caller: Caller, agent: str, body: Any, **headers: str) -> Answer:
    params, said = {"agent_id": agent}, {**SPOKEN, **headers}
    return await runs.world.call("send_a2a_message", caller, body, params=params, headers=said)


def body(*parts: Any, **message: Any) -> dict[str, Any]:
    said = {"messageId": "m-1", "role": "ROLE_USER", "parts": list(parts) or [{"text": "My roof."}], **message}
    return {"message": said, "configuration": {"returnImmediately": True}}


# The client


async def test_the_official_client_does_a_whole_job_by_an_api_key(
    runs: RunsWorld, http: httpx.AsyncClient, clerk: str
) -> None:
    async with client(http, clerk) as a2a:
        request = asking("My roof.", "It is broken.")
        begun = await sent(a2a, request)
        assert begun.status.state == TaskState.TASK_STATE_SUBMITTED
        await runs.drain()
        task = await a2a.get_task(GetTaskRequest(id=begun.id))
    assert (task.id, task.context_id, task.status.state) == (begun.id, begun.id, TaskState.TASK_STATE_COMPLETED)
    assert [(one.name, [part.text for part in one.parts]) for one in task.artifacts] == [("Output", ["Filed."])]
    [given] = task.history
    assert (given.message_id, given.parts[0].text) == (request.message.message_id, "My roof.\n\nIt is broken.")
    run = await runs.stored(task.id)
    assert (run.agent_id, run.status) == (clerk, "succeeded")


async def test_a_task_is_cancelled_once_and_for_all(runs: RunsWorld, http: httpx.AsyncClient, clerk: str) -> None:
    async with client(http, clerk) as a2a:
        begun = await sent(a2a, asking("My roof."))
        over = [await a2a.cancel_task(CancelTaskRequest(id=begun.id)) for _ in range(2)]
        assert [task.status.state for task in over] == [TaskState.TASK_STATE_CANCELED] * 2
        await runs.drain()
        assert (await a2a.get_task(GetTaskRequest(id=begun.id))).status.state == TaskState.TASK_STATE_CANCELED
        done = await sent(a2a, asking("Another."))
        await runs.drain()
        refused = await reason_of(a2a.cancel_task(CancelTaskRequest(id=done.id)))
    assert refused == (400, "TASK_NOT_CANCELABLE")


async def test_the_card_says_what_an_agent_is_and_how_it_is_called(
    runs: RunsWorld, http: httpx.AsyncClient, clerk: str
) -> None:
    async with client(http, clerk) as a2a:
        card = a2a._card  # type: ignore[attr-defined]
    assert (card.name, card.description, card.version) == ("clerk", "Files claims.", "1")
    [interface] = card.supported_interfaces
    assert (interface.url, interface.protocol_binding, interface.protocol_version) == (base(clerk), "HTTP+JSON", "1.0")
    assert not card.capabilities.streaming and not card.capabilities.push_notifications
    assert {one.http_auth_security_scheme.scheme for one in card.security_schemes.values()} == {"Bearer"}
    assert [(skill.id, list(skill.tags)) for skill in card.skills] == [(clerk, ["Specialist"])]
    told = await http.get(f"{base(clerk)}/.well-known/agent-card.json")
    again = await http.get(str(told.url), headers={"if-none-match": told.headers["etag"]})
    assert (told.status_code, again.status_code) == (200, 304)


async def test_an_agent_that_is_not_published_has_no_card_and_takes_no_message(
    runs: RunsWorld, grace: Caller, http: httpx.AsyncClient
) -> None:
    draft = await runs.agent("a draft", [says("Never.")])
    for agent in (draft, NEVER):
        with pytest.raises(AgentCardResolutionError) as refused:
            async with client(http, agent):
                raise AssertionError("it has a card")
        assert refused.value.status_code == 404
        answer = await post(runs, grace, agent, body())
        assert (answer.status, answer.json["code"], answer.json["error"]["status"]) == (404, "not_found", "NOT_FOUND")
    assert await runs.runs() == []


async def test_another_tenants_key_sees_nothing(runs: RunsWorld, http: httpx.AsyncClient, clerk: str) -> None:
    async with client(http, clerk) as a2a:
        task = await sent(a2a, asking("My roof."))
    other = await runs.beside("globex")
    eve = await member(other.world, other.tenant, "eve@globex.example")
    own = await other.agent("her own", [says("Hers.")], status="active")
    async with program(other.world, await key(other, eve)) as hers:
        with pytest.raises(AgentCardResolutionError):
            async with client(hers, clerk):
                raise AssertionError("she sees the card")
        async with client(hers, own) as a2a:
            for id in (task.id, NEVER):
                assert await reason_of(a2a.get_task(GetTaskRequest(id=id))) == (404, "TASK_NOT_FOUND")
                assert await reason_of(a2a.cancel_task(CancelTaskRequest(id=id))) == (404, "TASK_NOT_FOUND")
                assert await reason_of(sent(a2a, asking("x", task_id=id))) == (404, "TASK_NOT_FOUND")
        for agent in (clerk, NEVER):
            assert (await hers.get(f"{base(agent)}/tasks")).json()["error"]["status"] == "NOT_FOUND"
    assert (await runs.stored(task.id)).status == "queued" and await other.runs() == []


async def test_a_task_of_another_agent_is_none_of_this_ones(
    runs: RunsWorld, http: httpx.AsyncClient, clerk: str
) -> None:
    other = await runs.agent("other", [says("Mine.")], status="active")
    run = await runs.start(other)
    async with client(http, clerk) as a2a:
        assert await reason_of(a2a.get_task(GetTaskRequest(id=run))) == (404, "TASK_NOT_FOUND")
        assert await reason_of(a2a.cancel_task(CancelTaskRequest(id=run))) == (404, "TASK_NOT_FOUND")
        assert list((await a2a.list_tasks(ListTasksRequest())).tasks) == []


async def test_who_only_reads_begins_and_cancels_nothing(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    viewer = await post(runs, person(runs.tenant, Role.VIEWER), clerk, body())
    assert (viewer.status, viewer.json["code"]) == (403, "role_needed")
    assert viewer.json["error"]["details"][0]["reason"] == "ROLE_NEEDED"
    async with program(runs.world, await key(runs, grace, "read")) as http, client(http, clerk) as a2a:
        with pytest.raises(A2AClientError, match="403"):
            await sent(a2a, asking("My roof."))
        assert list((await a2a.list_tasks(ListTasksRequest())).tasks) == []
    assert await runs.runs() == []


async def test_a_card_names_where_this_is_reached_whoever_asks_by_which_host(tmp_path: Path) -> None:
    world = World.over(tmp_path, flowgrid_public_url="https://flowgrid.acme.example")
    tenant = (await world.onboard())["id"]
    agent = (await world.call("create_agent", admin(tenant), {**AGENT, "status": "active"})).json["id"]
    told = await world.call("get_a2a_card", admin(tenant), params={"agent_id": agent}, host="evil.example")
    assert told.json["supportedInterfaces"][0]["url"] == base(agent, "https://flowgrid.acme.example")
    await world.close()


# Messages


async def test_the_same_message_begins_one_run_however_late_it_comes_again(
    runs: RunsWorld, grace: Caller, clerk: str
) -> None:
    first = (await post(runs, grace, clerk, body())).json["task"]["id"]
    await runs.drain()
    runs.world.clock.advance(days=400)
    await runs.executions.retention.purge(await runs.session())
    retired = {"name": "clerk", "pattern": "Specialist", "status": "retired"}
    held = await runs.call("get_agent", agent_id=clerk)
    params = {"agent_id": clerk}
    await runs.world.call("replace_agent", grace, retired, params=params, headers={"if-match": held.etag})
    again = (await post(runs, grace, clerk, body())).json["task"]
    assert (again["id"], again["contextId"], again["artifacts"]) == (first, first, []) and "history" not in again
    assert again["status"]["state"] == "TASK_STATE_COMPLETED"
    other = await post(runs, grace, clerk, body(messageId="m-2"))
    assert (other.status, other.json["code"]) == (404, "not_found")
    assert [run.id for run in await runs.runs()] == [first]


async def test_the_same_message_at_the_same_time_begins_one_run(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    answers = await asyncio.gather(*(post(runs, grace, clerk, body()) for _ in range(5)))
    assert {one.status for one in answers} == {200} and len({one.json["task"]["id"] for one in answers}) == 1
    assert len(await runs.runs()) == 1


async def test_an_id_is_one_messages_of_one_caller_to_one_agent(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    first = await post(runs, grace, clerk, body())
    for changed in (body({"text": "Another."}), body(contextId="another")):
        refused = await post(runs, grace, clerk, changed)
        assert refused.json["error"]["details"][0]["reason"] == "INVALID_PARAMS"
    other = await runs.agent("other", [says("Mine.")], status="active")
    elsewhere = await post(runs, grace, other, body())
    alan = await post(runs, await member(runs.world, runs.tenant, "alan@acme.example"), clerk, body())
    assert len({one.json["task"]["id"] for one in (first, elsewhere, alan)}) == 3


async def test_whoever_has_an_address_next_has_none_of_the_messages_of_who_had_it(
    runs: RunsWorld, grace: Caller, clerk: str
) -> None:
    first = (await post(runs, grace, clerk, body())).json["task"]["id"]
    users = (await runs.call("list_users")).json["items"]
    [old] = [one["id"] for one in users if one["email"] == grace.email]
    gone = await runs.world.call("delete_user", runs.admin, params={"user_id": old}, headers={"if-match": "*"})
    again = await runs.call("create_user", {"email": grace.email, "role": "user"})
    assert gone.status == 204 and again.json["id"] == old, "users' ids follow from their addresses"
    other = replace(grace, subject="another person")
    for _ in range(2):
        second = (await post(runs, other, clerk, body({"text": "Mine."}))).json["task"]["id"]
    assert second != first and len(await runs.runs()) == 2
    params, headers = {"user_id": old}, {"if-match": "*"}
    await runs.world.call("patch_user", runs.admin, {"role": "viewer"}, params=params, headers=headers)
    told = [
        await runs.world.call("get_a2a_task", other, params={"agent_id": clerk, "execution_id": id}, headers=SPOKEN)
        for id in (first, second)
    ]
    assert ["history" in one.json for one in told] == [False, True]


async def test_a_run_that_somebody_has_begun_otherwise_poses_as_no_messages(runs: RunsWorld, clerk: str) -> None:
    forged = {"a2a": {"message_id": "m-1", "context_id": "claim-7"}}
    params = {"agent_id": clerk}
    answer = await runs.world.call("create_execution", runs.admin, {"input": "x", "context": forged}, params=params)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "context.a2a")
    assert await runs.runs() == []


async def test_who_waits_is_told_of_a_task_when_it_is_over(
    runs: RunsWorld, http: httpx.AsyncClient, clerk: str
) -> None:
    async with client(http, clerk) as a2a:
        waiting = asyncio.ensure_future(sent(a2a, asking("My roof.", now=False)))
        await runs.until(lambda: runs.time.polling + len(runs.time._waiting) > 0)
        await runs.drain()
        task = await runs.time.passing(waiting)
    assert (task.status.state, task.artifacts[0].parts[0].text) == (TaskState.TASK_STATE_COMPLETED, "Filed.")


async def test_nobody_waits_for_longer_than_a_bound(runs: RunsWorld, http: httpx.AsyncClient, clerk: str) -> None:
    async with client(http, clerk) as a2a:
        before = next(runs.time._number)
        task = await runs.time.passing(sent(a2a, asking("My roof.", now=False)))
    assert task.status.state == TaskState.TASK_STATE_SUBMITTED
    assert next(runs.time._number) - before - 1 == WAIT_SECONDS


async def test_parts_of_text_and_data_become_the_input(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    parts = [{"text": "A claim."}, {"data": {"roof": "é"}, "mediaType": "application/json"}, {"data": None}]
    answer = await post(runs, grace, clerk, body(*parts, unknown=1))
    [given] = answer.json["task"]["history"]
    assert given["parts"] == [{"text": 'A claim.\n\n{"roof": "é"}\n\nnull'}]
    await runs.drain()
    assert 'A claim.\n\n{"roof": "é"}' in runs.models.asked[-1].messages[0].text


@pytest.mark.parametrize(
    "part",
    [
        {"raw": "aGk=", "filename": "hi.txt", "mediaType": "text/plain"},
        {"url": "https://files.example/roof.png"},
        {"text": "<svg/>", "mediaType": "image/svg+xml"},
    ],
)
async def test_files_are_not_taken(runs: RunsWorld, grace: Caller, clerk: str, part: dict[str, Any]) -> None:
    answer = await post(runs, grace, clerk, body({"text": "See:"}, part))
    assert (answer.status, answer.json["error"]["details"][0]["reason"]) == (400, "CONTENT_TYPE_NOT_SUPPORTED")
    assert await runs.runs() == []


@pytest.mark.parametrize(
    "wrong",
    [
        b"{",
        b"[]",
        {},
        {"message": {"role": "ROLE_USER", "parts": [{"text": "x"}]}},
        body(role="ROLE_AGENT"),
        body(messageId="x" * 201),
        {"message": {"messageId": "m", "role": "ROLE_USER", "parts": []}},
        body(*[{"text": "x"}] * (MAX_PARTS + 1)),
        body({"text": " "}),
        body({}),
        body({"text": "x", "data": 1}),
        {**body(), "configuration": {"historyLength": -1}},
    ],
)
async def test_what_is_asked_wrongly_is_told_as_the_protocol_does(
    runs: RunsWorld, grace: Caller, clerk: str, wrong: Any
) -> None:
    answer = await post(runs, grace, clerk, wrong)
    error = answer.json["error"]
    assert (answer.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    info = error["details"][0]
    assert (info["@type"], info["reason"]) == ("type.googleapis.com/google.rpc.ErrorInfo", "INVALID_PARAMS")
    assert info["domain"] == "a2a-protocol.org" and await runs.runs() == []


async def test_a_message_is_bounded(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    for answer in (
        await post(runs, grace, clerk, b" " * (MAX_BYTES + 1)),
        await post(runs, grace, clerk, body({"text": "x" * (MAX_INPUT_BYTES + 1)})),
    ):
        assert (answer.status, answer.json["code"], answer.json["error"]["status"]) == (
            413,
            "too_large",
            "OUT_OF_RANGE",
        )
    answer = await post(runs, grace, clerk, body(), **{"content-type": "text/plain"})
    assert (answer.status, answer.json["error"]["code"]) == (415, 415)
    spoken = await post(runs, grace, clerk, body(), **{"content-type": "application/a2a+json"})
    assert spoken.status == 200


async def test_a_context_is_the_clients_or_the_tasks_own(runs: RunsWorld, http: httpx.AsyncClient, clerk: str) -> None:
    async with client(http, clerk) as a2a:
        alone = await sent(a2a, asking("My roof."))
        both = [await sent(a2a, asking(text, context_id="claim-7")) for text in ("My roof.", "My door.")]
        assert (alone.context_id, {one.context_id for one in both}) == (alone.id, {"claim-7"})
        found = await a2a.list_tasks(ListTasksRequest(context_id="claim-7"))
        assert {one.id for one in found.tasks} == {one.id for one in both}
        mixed = await reason_of(sent(a2a, asking("x", task_id=alone.id, context_id="claim-7")))
        assert mixed == (400, "INVALID_PARAMS")


# Tasks that wait for somebody


async def test_a_message_decides_what_a_task_waits_for(runs: RunsWorld, http: httpx.AsyncClient) -> None:
    buyer = await runs.agent(
        "buyer", [calls(("order", {"what": "tiles"})), says("Bought.")], tools=["order"], status="active"
    )
    ada = await member(runs.world, runs.tenant, "ada@acme.example", "admin")
    own = await key_of(runs.world, ada, role="admin", scopes=["read", "execute"])
    async with program(runs.world, own["key"]) as hers, client(hers, buyer) as a2a, client(http, buyer) as graces:
        begun = await sent(a2a, asking("Tiles."))
        refused = await reason_of(sent(a2a, asking("Well?", task_id=begun.id)))
        assert refused == (400, "UNSUPPORTED_OPERATION")
        await runs.drain()
        task = await a2a.get_task(GetTaskRequest(id=begun.id))
        assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        [step] = task.status.message.parts[1].data.struct_value["steps"]
        assert (step["name"], list(step["decisions"])) == ("order", ["approve", "reject"])
        for said in ("Yes.", decision(step=99.5, decision="approve"), decision(step=99, decision="approve")):
            assert await reason_of(sent(a2a, asking(said, task_id=begun.id))) == (400, "INVALID_PARAMS")
        yes = decision(step=step["step"], decision="approve")
        with pytest.raises(A2AClientError, match="403"):
            await sent(graces, asking(yes, task_id=begun.id))
        assert runs.desk.order.sent == []
        await sent(a2a, asking(yes, task_id=begun.id, context_id=begun.id))
        await runs.drain()
        task = await a2a.get_task(GetTaskRequest(id=begun.id))
        assert (task.status.state, task.artifacts[0].parts[0].text) == (TaskState.TASK_STATE_COMPLETED, "Bought.")
        assert len(runs.desk.order.sent) == 1
        over = await reason_of(sent(a2a, asking(yes, task_id=begun.id)))
        assert over == (400, "UNSUPPORTED_OPERATION")


def decision(**fields: Any) -> Part:
    return new_data_part(fields)


# Lists


async def test_tasks_are_listed_page_by_page_the_last_changed_first(
    runs: RunsWorld, http: httpx.AsyncClient, clerk: str
) -> None:
    begun: list[str] = []
    async with client(http, clerk) as a2a:
        for number in range(5):
            runs.world.clock.advance(seconds=1)
            begun.append((await sent(a2a, asking(f"Number {number}."))).id)
        found, token = list[Task](), ""
        while True:
            page = await a2a.list_tasks(ListTasksRequest(page_size=2, page_token=token))
            assert len(page.tasks) <= 2 == page.page_size
            found += page.tasks
            token = page.next_page_token
            if not token:
                break
        assert [task.id for task in found] == begun[::-1]
        whole = await a2a.list_tasks(ListTasksRequest(page_size=100))
        assert (whole.total_size, whole.page_size, whole.next_page_token) == (5, MOST_LISTED, "")
        late = ListTasksRequest(page_size=100)
        late.status_timestamp_after.FromJsonString((await runs.stored(begun[3])).updated_at)
        assert [task.id for task in (await a2a.list_tasks(late)).tasks] == begun[:2:-1]


async def test_a_list_tells_states_and_only_when_asked_what_came_of_tasks(
    runs: RunsWorld, http: httpx.AsyncClient, clerk: str
) -> None:
    async with client(http, clerk) as a2a:
        done = await sent(a2a, asking("My roof."))
        await runs.drain()
        new = await sent(a2a, asking("My door."))

        async def listed(**asked: Any) -> list[str]:
            return [task.id for task in (await a2a.list_tasks(ListTasksRequest(**asked))).tasks]

        assert await listed(status=TaskState.TASK_STATE_COMPLETED) == [done.id]
        assert await listed(status=TaskState.TASK_STATE_SUBMITTED) == [new.id]
        for state in (TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_REJECTED, TaskState.TASK_STATE_INPUT_REQUIRED):
            assert await listed(status=state) == []
        completed = ListTasksRequest(status=TaskState.TASK_STATE_COMPLETED, history_length=0)
        [bare] = (await a2a.list_tasks(completed)).tasks
        completed.include_artifacts = True
        [whole] = (await a2a.list_tasks(completed)).tasks
    assert (list(bare.artifacts), list(bare.history)) == ([], [])
    assert whole.artifacts[0].parts[0].text == "Filed."
    raw = await http.get(f"{base(clerk)}/tasks")
    assert all("artifacts" not in task for task in raw.json()["tasks"])


@pytest.mark.parametrize(
    "asked",
    [
        {"pageSize": "0"},
        {"pageSize": "101"},
        {"pageToken": "nonsense"},
        {"pageToken": "2026-11-24T12:00:00.000000Z_x"},
        {"status": "TASK_STATE_NONE"},
        {"statusTimestampAfter": "yesterday"},
        {"nonsense": "1"},
    ],
)
async def test_a_list_that_is_asked_for_wrongly_is_refused(
    http: httpx.AsyncClient, clerk: str, asked: dict[str, str]
) -> None:
    answer = await http.get(f"{base(clerk)}/tasks", params=asked)
    assert (answer.status_code, answer.json()["error"]["details"][0]["reason"]) == (400, "INVALID_PARAMS")


async def test_history_is_told_as_far_as_it_is_wanted(http: httpx.AsyncClient, clerk: str) -> None:
    async with client(http, clerk) as a2a:
        begun = await sent(a2a, asking("My roof."))
        told = [await a2a.get_task(GetTaskRequest(id=begun.id, history_length=most)) for most in (0, 1, 9)]
    assert [len(task.history) for task in told] == [0, 1, 1]


async def test_a_message_is_shown_to_who_may_send_one_and_to_who_has_sent_it(
    runs: RunsWorld, grace: Caller, clerk: str
) -> None:
    task = (await post(runs, grace, clerk, body())).json["task"]["id"]
    given = await runs.call("create_execution", {"input": "My roof.", "context": {"claim": 7}}, agent_id=clerk)
    alan = await member(runs.world, runs.tenant, "alan@acme.example")
    eve = await member(runs.world, runs.tenant, "eve@acme.example", "viewer")

    async def reads(id: str, caller: Caller, listed: bool = False) -> bool:
        name, params = "list_a2a_tasks" if listed else "get_a2a_task", {"agent_id": clerk}
        params |= {} if listed else {"execution_id": id}
        answer = await runs.world.call(name, caller, params=params, headers=SPOKEN)
        assert answer.status == 200 and id.encode() in answer.raw
        return b"My roof." in answer.raw

    for caller, may in ((grace, True), (alan, True), (eve, False)):
        assert [await reads(task, caller), await reads(task, caller, True)] == [may, may]
        assert not await reads(given.json["id"], caller)
    async with program(runs.world, await key(runs, alan, "read")) as http:
        assert b"My roof." not in (await http.get(f"{base(clerk)}/tasks/{task}")).content
    users = (await runs.call("list_users")).json["items"]
    [user] = [one for one in users if one["email"] == grace.email]
    params, headers = {"user_id": user["id"]}, {"if-match": "*"}
    await runs.world.call("patch_user", runs.admin, {"role": "viewer"}, params=params, headers=headers)
    assert await reads(task, grace) and (await post(runs, grace, clerk, body(messageId="m-2"))).status == 403


# What is not done here


async def test_nothing_is_streamed_or_pushed_and_each_is_told_so(
    runs: RunsWorld, http: httpx.AsyncClient, clerk: str
) -> None:
    speaking = await transport(http, clerk)
    async with client(http, clerk) as a2a:
        task = (await sent(a2a, asking("My roof."))).id
    pushed = asking("My door.")
    pushed.configuration.task_push_notification_config.url = "https://listener.example/"
    config = {"task_id": task, "id": "one"}

    async def streamed(events: AsyncIterator[Any]) -> list[Any]:
        return [event async for event in events]

    asked: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
        ("UNSUPPORTED_OPERATION", lambda: streamed(speaking.send_message_streaming(asking("My door.")))),
        ("UNSUPPORTED_OPERATION", lambda: streamed(speaking.subscribe(SubscribeToTaskRequest(id=task)))),
        *(("PUSH_NOTIFICATION_NOT_SUPPORTED", one) for one in _pushes(speaking, config)),
        ("PUSH_NOTIFICATION_NOT_SUPPORTED", lambda: speaking.send_message(pushed)),
    ]
    for reason, ask in asked:
        assert await reason_of(ask()) == (400, reason)
    for path in (f"tasks/{task}:subscribe", "extendedAgentCard"):
        answer = await http.get(f"{base(clerk)}/{path}")
        assert answer.json()["error"]["details"][0]["reason"] == "UNSUPPORTED_OPERATION"
    assert [run.id for run in await runs.runs()] == [task]


def _pushes(speaking: RestTransport, config: dict[str, str]) -> list[Callable[[], Awaitable[Any]]]:
    new = TaskPushNotificationConfig(task_id=config["task_id"], url="https://listener.example/")
    every = ListTaskPushNotificationConfigsRequest(task_id=config["task_id"])
    return [
        lambda: speaking.create_task_push_notification_config(new),
        lambda: speaking.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(**config)),
        lambda: speaking.list_task_push_notification_configs(every),
        lambda: speaking.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(**config)),
    ]


async def test_another_version_is_refused_and_so_is_none(runs: RunsWorld, http: httpx.AsyncClient, clerk: str) -> None:
    url = f"{base(clerk)}/tasks"
    for version in ("0.3", "2.0", "1", "1.00", ""):
        answer = await http.get(url, headers={"a2a-version": version})
        assert (answer.status_code, answer.json()["error"]["details"][0]["reason"]) == (400, "VERSION_NOT_SUPPORTED")
    del http.headers["a2a-version"]
    assert (await http.get(url)).status_code == 400
    assert (await http.get(url, params={"A2A-Version": "1.0"})).status_code == 200
    assert (await http.get(url, headers={"a2a-version": "1.0.1"})).status_code == 200


async def test_of_a_task_there_is_nothing_to_do_but_cancelling(http: httpx.AsyncClient, clerk: str) -> None:
    for path in (f"tasks/{NEVER}", f"tasks/{NEVER}:nonsense"):
        answer = await http.post(f"{base(clerk)}/{path}")
        assert (answer.status_code, answer.json()["error"]["details"][0]["reason"]) == (404, "METHOD_NOT_FOUND")


async def test_who_brings_no_token_is_told_so_in_both_forms(runs: RunsWorld, clerk: str) -> None:
    answer = await runs.world.call("get_a2a_card", None, params={"agent_id": clerk})
    assert (answer.status, answer.json["code"], answer.json["error"]["status"]) == (
        *(401, "unauthenticated"),
        "UNAUTHENTICATED",
    )
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_call_is_metered_as_any_other(runs: RunsWorld, clerk: str) -> None:
    await runs.world.queued(runs.world.core.settings.usage_queue)
    await post(runs, admin(runs.tenant), clerk, body())
    [event] = await runs.world.queued(runs.world.core.settings.usage_queue)
    assert (event["data"]["operation"], event["data"]["status_code"]) == ("send_a2a_message", 200)


# The tables


def test_each_error_is_the_protocols_with_its_status() -> None:
    for reason, (code, status) in STATUS.items():
        mapping = A2A_ERROR_MAPPING[A2A_REASON_TO_ERROR[reason]]
        assert (mapping.http_code, mapping.grpc_status) == (code, status), reason


def test_each_way_that_a_run_stands_is_a_state_of_the_protocol() -> None:
    assert {status for status, _ in STATES} == set(get_args(RunStatus))
    assert {*STATES.values(), *OTHERS, "TASK_STATE_UNSPECIFIED"} == set(TaskState.keys())

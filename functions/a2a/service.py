"""What A2A clients ask of one agent: its card, tasks begun, answered, shown, listed and cancelled (specification §3.1).

A task is a run. One that a message has begun has an id that follows from agent, caller and message; a run stays for
good, so no message begins a second one, however late it comes again.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from functions.a2a.cards import card_of
from functions.a2a.errors import Refused
from functions.a2a.messages import Message, Sent, TasksQuery, data_of, words
from functions.a2a.tasks import (
    INPUT_REQUIRED,
    OTHERS,
    PERSON,
    STATES,
    context_of,
    ended,
    message_of,
    state_of,
    task_of,
)
from functions.agents.models import Agent
from functions.agents.service import AgentService
from functions.executions.deciding import Decision
from functions.executions.models import BY_A2A, RunLimits, Snapshot, step_id
from functions.executions.models import Execution as StoredExecution
from functions.executions.service import ExecutionService
from functions.executions.starting import Asked, Starting
from functions.executions.views import Execution, Step
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.clock import is_rfc3339
from shared.database.port import Order, Where
from shared.errors import NotFound, Taken, WrongState
from shared.ids import derived_id, is_uuid
from shared.work.resources import PageRequest
from shared.work.session import TenantSession

SUBSCRIBE: Final = ":subscribe"
CANCEL: Final = ":cancel"
STREAMS: Final = "Nothing is streamed; send with message:send, and ask for the task."
WAIT_SECONDS: Final = 20
MOST_LISTED: Final = 20  # each takes a look at what it was given
LAST_STEPS: Final = 20  # among them are those that wait for somebody
LAST_CHANGED: Final = Order("updated_at", descending=True)
UNSPECIFIED: Final = "TASK_STATE_UNSPECIFIED"
_SEPARATOR: Final = "_"
_DECIDED: Final = "Messages to a task are decisions, one part of data"


class A2aService:
    """Over the agents of a tenant and their runs."""

    def __init__(self, agents: AgentService, executions: ExecutionService, starting: Starting) -> None:
        self._agents = agents
        self._executions = executions
        self._starting = starting

    async def card(self, session: TenantSession, agent_id: str, origin: str, path: str) -> dict[str, Any]:
        """`NotFound` for an agent that is not in use. `origin`, `path`: of its routes."""
        return card_of(await self._in_use(session, agent_id), f"{origin}{path}")

    async def send(self, session: TenantSession, agent_id: str, sent: Sent) -> dict[str, Any]:
        """Begins a task, or answers what one waits for; tells of it when it rests, after `WAIT_SECONDS` at most."""
        message, asked = sent.message, sent.configuration
        if asked.task_push_notification_config is not None:
            raise Refused("PUSH_NOTIFICATION_NOT_SUPPORTED", "Nobody is told by push notifications; ask for the task.")
        if message.task_id is None:
            id = await self._begin(session, agent_id, message)
        else:
            id = await self._answer(session, agent_id, message.task_id, message)
        seconds = 0 if asked.return_immediately else WAIT_SECONDS
        run = await self._executions.settled(session, id, PERSON, seconds)
        return {"task": await self._shown(session, run, asked.history_length)}

    async def get(self, session: TenantSession, agent_id: str, id: str, history: int | None) -> dict[str, Any]:
        if id.endswith(SUBSCRIBE):
            raise Refused("UNSUPPORTED_OPERATION", STREAMS)
        return await self._shown(session, await self._run(session, agent_id, id), history)

    async def act(self, session: TenantSession, agent_id: str, called: str) -> dict[str, Any]:
        """`<id>:cancel`; again it changes nothing."""
        if called.endswith(SUBSCRIBE):
            raise Refused("UNSUPPORTED_OPERATION", STREAMS)
        if not called.endswith(CANCEL):
            raise Refused("METHOD_NOT_FOUND", "Of a task there is tasks/{id} to look at, and tasks/{id}:cancel.")
        id = called.removesuffix(CANCEL)
        await self._run(session, agent_id, id)
        try:
            run = await self._executions.cancel(session, id)
        except WrongState as error:
            raise Refused("TASK_NOT_CANCELABLE", error.message) from error
        return await self._shown(session, run, None)

    async def list(self, session: TenantSession, agent_id: str, asked: TasksQuery) -> dict[str, Any]:
        """A page, the last changed first; with a `contextId`, those of as many as make a page that have it."""
        await self._agents.get(session, agent_id)
        size = min(asked.page_size, MOST_LISTED)
        where = _status_is(asked.status)
        if asked.status_timestamp_after is not None:
            where.append(Where("updated_at", ">=", asked.status_timestamp_after))
        page = PageRequest(size, _position(asked.page_token), LAST_CHANGED, where)
        found = await self._executions.list(session, {"agent_id": agent_id}, page)
        runs = [run for run in found.items if asked.status in (None, "", state_of(run), UNSPECIFIED)]
        tasks = await asyncio.gather(*(self._listed(session, run, asked) for run in runs))
        shown = [task for task in tasks if asked.context_id in (None, task["contextId"])]
        return {
            "tasks": shown,
            "nextPageToken": "" if found.next is None else _SEPARATOR.join(found.next),
            "pageSize": size,
            "totalSize": len(shown) + (found.next is not None),  # of more than a page: as many are known of
        }

    async def _begin(self, session: TenantSession, agent_id: str, message: Message) -> str:
        """The id of the run; of the one that there is, where the message comes again."""
        input = words(message.parts)
        if not input.strip():
            raise Refused("INVALID_PARAMS", "The message says nothing.")
        id = _id_of(session, agent_id, message.message_id)
        context = message.context_id or id
        about = {BY_A2A: {"message_id": message.message_id, "context_id": context}}
        if await session.store.get(StoredExecution.KIND, id) is None:
            await self._in_use(session, agent_id)
            try:
                await self._starting.start(session, agent_id, Asked(input, about, RunLimits()), id=id)
            except Taken:  # the same message, at the same time
                pass
            else:
                return id
        given = await self._snapshot(session, id)
        if given is not None and (given.input, given.context) != (input, about):
            raise Refused("INVALID_PARAMS", "This messageId was another message's; give each its own.")
        return id

    async def _answer(self, session: TenantSession, agent_id: str, id: str, message: Message) -> str:
        """A decision of what the task waits for, by who may decide that (`RoleNeeded`)."""
        run = await self._run(session, agent_id, id)
        if message.context_id not in (None, context_of(run, await self._snapshot(session, id))):
            raise Refused("INVALID_PARAMS", "The task is of another context.")
        if ended(run):
            raise Refused("UNSUPPORTED_OPERATION", "The task is over; send a message without a taskId.")
        if state_of(run) != INPUT_REQUIRED:
            raise Refused("UNSUPPORTED_OPERATION", "The task waits for nobody; ask for it until it does.")
        words(message.parts)
        try:
            decision = Decision.model_validate(data_of(message.parts))
        except ValidationError as error:
            example = '{"step": 3, "decision": "approve"}'
            raise Refused("INVALID_PARAMS", f"{_DECIDED}: {example}.") from error
        try:
            await self._executions.decide(session, id, decision)
        except NotFound as error:
            raise Refused("INVALID_PARAMS", error.message) from error
        except WrongState as error:
            raise Refused("UNSUPPORTED_OPERATION", error.message) from error
        return id

    async def _in_use(self, session: TenantSession, agent_id: str) -> Agent:
        agent = await self._agents.get(session, agent_id)
        if agent.status != "active":
            raise NotFound("There is no such agent.")
        return agent

    async def _run(self, session: TenantSession, agent_id: str, id: str) -> Execution:
        """A run of this agent; what is another's is told as what never was."""
        try:
            run = await self._executions.get(session, id)
        except NotFound:
            run = None
        if run is None or run.agent_id != agent_id:
            raise Refused("TASK_NOT_FOUND", "There is no such task.")
        return run

    async def _listed(self, session: TenantSession, run: Execution, asked: TasksQuery) -> dict[str, Any]:
        whole = await self._executions.get(session, run.id) if asked.include_artifacts else run
        return await self._shown(session, whole, asked.history_length, asked.include_artifacts)

    async def _shown(
        self, session: TenantSession, run: Execution, history: int | None, artifacts: bool = True
    ) -> dict[str, Any]:
        steps = await self._open_steps(session, run) if state_of(run) == INPUT_REQUIRED else []
        snapshot = await self._snapshot(session, run.id)
        wanted = history if _may_read(session, run, snapshot) else 0
        return task_of(run, snapshot, steps, wanted, artifacts)

    async def _snapshot(self, session: TenantSession, id: str) -> Snapshot | None:
        """None once it is purged."""
        found = await session.store.get(Snapshot.KIND, id)
        return None if found is None else Snapshot.model_validate(found.body)

    async def _open_steps(self, session: TenantSession, run: Execution) -> Sequence[Step]:
        """Those of the last that somebody may decide of."""
        before = step_id(run.id, max(0, run.steps - LAST_STEPS))
        found = await self._executions.steps(session, run.id, PageRequest(LAST_STEPS, (before, before)))
        wanted = "approval" if run.waiting_for == "approval" else "tool"
        return [step for step in found.items if step.type == wanted and step.status == "begun"]


def _id_of(session: TenantSession, agent_id: str, message_id: str) -> str:
    """The id of the run that this message of the caller's begins, or has begun."""
    return derived_id(StoredExecution.KIND, BY_A2A, session.id, agent_id, session.caller.credential, message_id)


def _may_read(session: TenantSession, run: Execution, snapshot: Snapshot | None) -> bool:
    """Whether they are shown the message that has begun it: who may send one, and who has sent this."""
    caller = session.caller
    sends = caller.role is not None and caller.role.includes(Role.USER) and caller.may(KeyScope.EXECUTE)
    return sends or run.id == _id_of(session, run.agent_id, message_of(run, snapshot))


def _status_is(state: str | None) -> list[Where]:
    """The runs among which those of a state are: `waiting` is two."""
    if state in (None, "", UNSPECIFIED):
        return []
    found = sorted({status for (status, _), other in STATES.items() if other == state})
    if not found and state not in OTHERS:
        raise Refused("INVALID_PARAMS", "There is no such state of a task.")
    return [Where("status", "in", found or ["none"])]


def _position(token: str) -> tuple[str, str] | None:
    """After which task a page begins: of the caller's own, whatever it says, so it is not signed."""
    if not token:
        return None
    at, _, id = token.partition(_SEPARATOR)
    if not is_rfc3339(at) or not is_uuid(id):
        raise Refused("INVALID_PARAMS", "pageToken: is none of this list.")
    return at, id

"""What an MCP client may use here: the catalog to read, and the agents that are in use to run."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from functions.agents.models import Agent
from functions.agents.service import AgentService
from functions.executions.models import MAX_INPUT_BYTES, Execution, Snapshot
from functions.executions.service import ExecutionService
from functions.executions.views import NewExecution
from functions.tools.port import Toolbox, ToolFailed, wrong_in_words
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.database.port import Order
from shared.errors import (
    FlowgridError,
    Invalid,
    RoleNeeded,
    ScopeNeeded,
    Taken,
    Unprocessable,
    WrongState,
)
from shared.http.idempotency import MAX_KEY
from shared.ids import derived_id
from shared.work.resources import PageRequest
from shared.work.session import TenantSession

MOST_LISTED: Final = 100
MAX_SAID: Final = 2000  # characters of what went wrong, which may be what the client has sent
OF_CATALOG: Final = ("catalog.search", "catalog.read", "catalog.neighbors")


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class ListAgents(_Arguments):
    name: str | None = Field(None, min_length=1, max_length=255, description="Exactly this name; none: any.")


class RunAgent(_Arguments):
    agent_id: str = Field(min_length=1, max_length=100, description="The agent, as `list_agents` tells it.")
    input: str = Field(min_length=1, max_length=MAX_INPUT_BYTES, description="The task, in words.")
    request_id: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_KEY,
        description="Of your choice: a call that comes again under it is no new run.",
    )


class GetExecution(_Arguments):
    execution_id: str = Field(min_length=1, max_length=100, description="What `run_agent` has answered.")


@dataclass(frozen=True)
class Offer:
    """A tool as clients know it; `reads`: it changes nothing. `use` is told the request's `Idempotency-Key`, too."""

    name: str
    description: str
    schema: Mapping[str, Any]
    reads: bool
    use: Callable[[TenantSession, Mapping[str, Any], str | None], Awaitable[Any]]


class Offers:
    def __init__(self, agents: AgentService, executions: ExecutionService, catalog: Toolbox) -> None:
        self._agents = agents
        self._executions = executions
        self._catalog = catalog

    async def all(self, session: TenantSession) -> dict[str, Offer]:
        """By name. Their dots are underscores: not every model takes a dot in the name of a tool."""
        found = dict(self._own)
        for name, tool in (await self._catalog.find(session, OF_CATALOG)).items():

            async def use(session: TenantSession, arguments: Mapping[str, Any], _: str | None, tool: Any = tool) -> Any:
                return await tool.use(session, arguments, "")

            called = name.replace(".", "_")
            found[called] = Offer(called, tool.spec.description, tool.spec.parameters, True, use)
        return found

    async def use(
        self, session: TenantSession, offer: Offer, arguments: Mapping[str, Any], key: str | None
    ) -> tuple[Any, bool]:
        """What it says, and whether it went wrong: the model is told, and may ask for something else."""
        try:
            return await offer.use(session, arguments, key), False
        except ToolFailed as error:
            return {"error": str(error)[:MAX_SAID]}, True
        except ValidationError as error:
            return {"error": wrong_in_words(error)}, True
        except FlowgridError as error:
            return {"error": error.message[:MAX_SAID], "code": error.code}, True

    @cached_property
    def _own(self) -> Mapping[str, Offer]:
        """Their schemas take a while, and are for who uses MCP alone."""
        running = "Runs an agent and answers at once with the id of its run: ask `get_execution` until that is over."
        known = (
            ("list_agents", "The agents that can be run.", ListAgents, True, self._list),
            ("run_agent", running, RunAgent, False, self._run),
            ("get_execution", "How a run stands, and its output once it is over.", GetExecution, True, self._get),
        )
        return {
            name: Offer(name, description, model.model_json_schema(), reads, use)
            for name, description, model, reads, use in known
        }

    async def _list(self, session: TenantSession, given: Mapping[str, Any], key: str | None) -> Any:
        asked = ListAgents.model_validate(dict(given))
        page = PageRequest(MOST_LISTED, order=Order("name"))
        found = await self._agents.list(session, {"status": "active", "name": asked.name}, page)
        return {"agents": [_shown(agent) for agent in found.items], "more": found.next is not None}

    async def _run(self, session: TenantSession, given: Mapping[str, Any], key: str | None) -> Any:
        asked = RunAgent.model_validate(dict(given))
        may_run(session)
        id = _repeatable(session, asked, key)
        if id is not None and await session.store.get(Execution.KIND, id) is not None:
            return await self._same(session, id, asked)
        if (await self._agents.get(session, asked.agent_id)).status != "active":
            raise WrongState("This agent is not published; `list_agents` tells those that are.")
        new = NewExecution(input=asked.input)
        try:
            run = await self._executions.start(session, asked.agent_id, new, id=id)
        except Taken:  # the same call, at the same time
            return await self._same(session, str(id), asked)
        return {"execution_id": run.id, "status": run.status}

    async def _same(self, session: TenantSession, id: str, asked: RunAgent) -> Any:
        """The run that there is; `Unprocessable` where it was asked for in other words, as far as those are known."""
        found = await session.store.get(Snapshot.KIND, id)
        if found is not None and found.body["input"] != asked.input:
            raise Unprocessable("This request_id (or Idempotency-Key) was another call's; give each its own.")
        run = await self._executions.get(session, id)
        return {"execution_id": run.id, "status": run.status}

    async def _get(self, session: TenantSession, given: Mapping[str, Any], key: str | None) -> Any:
        run = await self._executions.get(session, GetExecution.model_validate(dict(given)).execution_id)
        shown = {"id", "agent_id", "agent_name", "status", "stop_reason", "error", "waiting_for", "output", "result"}
        return run.model_dump(mode="json", include=shown)


def may_run(session: TenantSession) -> None:
    """What the route of runs asks of a caller: this one is open to who reads."""
    role = session.caller.role
    if role is None or not role.includes(Role.USER):
        raise RoleNeeded(f"This needs the role {Role.USER}; the caller has {role}.")
    if not session.caller.may(KeyScope.EXECUTE):
        raise ScopeNeeded(f"This needs the scope {KeyScope.EXECUTE}, which the API key lacks.")


def _repeatable(session: TenantSession, asked: RunAgent, key: str | None) -> str | None:
    """The id of the run of this call, whenever it comes again; None for one that does not say which it is."""
    named = ("key", key) if key is not None else ("request", asked.request_id)
    if named[1] is None:
        return None
    if len(named[1]) > MAX_KEY:
        raise Invalid.of("Idempotency-Key", f"should be at most {MAX_KEY} characters")
    return derived_id(Execution.KIND, "mcp", session.id, asked.agent_id, session.caller.credential, named[0], named[1])


def _shown(agent: Agent) -> dict[str, Any]:
    return {"id": agent.id, "name": agent.name, "pattern": agent.pattern, "description": agent.description[:300]}

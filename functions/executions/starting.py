"""The start of a run: the run, the agent as it is now, the tree's sums and the audit entry, in one batch.

The same batch admits the run, or gives it a ticket.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from functions.agents.models import Agent
from functions.executions.admission import NoRoom, admit, call, hand_in, look_at, open_counter, take, waiting
from functions.executions.holding import Pause
from functions.executions.models import (
    LONGEST_LEASE,
    MAX_CONTEXT_BYTES,
    MAX_INPUT_BYTES,
    MAX_SNAPSHOT_BYTES,
    TREE,
    Callee,
    Execution,
    Offered,
    Purpose,
    RunLimits,
    Snapshot,
    stored,
)
from functions.tools.port import Toolbox
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create, Where
from shared.errors import Taken, TooLarge, WrongState
from shared.ids import derived_id, is_uuid
from shared.work.change import Change
from shared.work.resources import load
from shared.work.session import TenantSession

AGENT = "agent:"  # before the name or id of an agent, among another's tools
OWN_AGENT_ID = derived_id("agent", "flowgrid")
MAX_CALLED = 64
MAX_DESCRIBED = 1000


@dataclass(frozen=True)
class Asked:
    """What a run is given."""

    input: str
    context: Mapping[str, Any]
    limits: RunLimits
    purpose: Purpose = "task"


@dataclass(frozen=True)
class OwnAgent:
    """An agent of Flowgrid's own, of the pattern Former: nobody's resource. `tools`: of the runner's toolbox."""

    name: str
    provider: str
    model: str
    instructions: str
    tools: Sequence[str]
    config: Mapping[str, Any]

    def snapshot(self, asked: Asked, id: str, at: str) -> Snapshot:
        called = Called()
        snapshot = Snapshot(
            id=id,
            created_at=at,
            agent_id=OWN_AGENT_ID,
            agent_name=self.name,
            agent_revision=1,
            pattern="Former",
            provider=self.provider,
            model=self.model,
            instructions=self.instructions,
            tools=[Offered(name=name, called=called.as_(name)) for name in self.tools],
            config=dict(self.config),
            input=asked.input,
            context=dict(asked.context),
        )
        return _bounded(snapshot)


class Starting:
    """`queue`: of the messages that have runs worked on."""

    def __init__(self, toolbox: Toolbox, queue: str, pause: Pause) -> None:
        self._toolbox = toolbox
        self._queue = queue
        self._pause = pause

    async def start(
        self,
        tenant: TenantSession,
        agent_id: str,
        asked: Asked,
        *,
        id: str | None = None,
        shown: Callable[[Execution], BaseModel] = lambda run: run,
    ) -> Execution:
        """A run of the agent as it is now, waiting or under way. `Taken` where there is a run of this `id` already.

        `shown`: the answer of the request, for when it comes again.

        `WrongState` for an agent that is retired, or names (`missing`) what is not there; `TooLarge` says what is.
        """
        agent = (await load(tenant, Agent, agent_id)).value
        if agent.status == "retired":
            raise WrongState("This agent is retired; make it active again, or run another one.")
        _check(asked)
        names = tools_of(agent)
        found = await self._toolbox.find(tenant, names)
        _all_there([name for name in names if name not in found])

        async def seen(change: Change, id: str) -> Snapshot:
            return await snapshot_of_agent(tenant, agent, asked.input, asked.context, id, change.at, strict=True)

        return await self._start(tenant, asked, seen, id or tenant.repeatable_id(Execution.KIND), shown)

    async def start_own(
        self,
        tenant: TenantSession,
        agent: OwnAgent,
        asked: Asked,
        *,
        id: str,
        also: Callable[[Change], None],
        shown: Callable[[Execution], BaseModel],
    ) -> Execution:
        """A run of an agent of Flowgrid's own, begun in one batch with what `also` adds to the change.

        Raises what that raises at commit.
        """

        async def seen(change: Change, id: str) -> Snapshot:
            also(change)
            return agent.snapshot(asked, id, change.at)

        return await self._start(tenant, asked, seen, id, shown)

    async def _start(
        self,
        tenant: TenantSession,
        asked: Asked,
        seen: Callable[[Change, str], Awaitable[Snapshot]],
        id: str,
        shown: Callable[[Execution], BaseModel],
    ) -> Execution:
        """`seen`: the agent as it is, made with the change that begins the run, to which it may add."""
        await open_counter(tenant)
        at_once = not await waiting(tenant)
        for admitted in (True, False) if at_once else (False,):
            change = tenant.change()
            snapshot = await seen(change, id)
            run = _root(change, tenant, snapshot, asked, admitted)
            self._write(change, tenant, run, snapshot)
            try:
                await change.commit(shown(run))
            except NoRoom:
                continue
            if not admitted:
                await admit(tenant, self._queue, self._pause)
            return run
        raise AssertionError("a ticket is never refused")

    def _write(self, change: Change, tenant: TenantSession, run: Execution, snapshot: Snapshot) -> None:
        # first, so that one of this id that is there already is what is told
        change.write(Create(Execution.KIND, run.id, stored(run)), lambda _: _taken(run.id))
        change.write(Create(Snapshot.KIND, run.id, stored(snapshot)))
        zero = {"steps": 0, "tokens": 0, "cost": 0, "runs": 0, "cancelled": 0}
        change.write(Create(TREE, run.id, {"created_at": run.created_at, **zero}))
        change.audit("started", Execution.KIND, run.id, 1, None, run.model_dump(mode="json"))
        if run.admitted:
            take(change, tenant)
            call(change, run, self._queue)
        else:
            hand_in(change, run)


def _root(change: Change, tenant: TenantSession, agent: Snapshot, asked: Asked, admitted: bool) -> Execution:
    now = tenant.services.clock.now()
    return Execution(
        id=agent.id,
        tenant_id=tenant.id,
        revision=1,
        created_at=change.at,
        updated_at=change.at,
        created_by=tenant.user_id,
        updated_by=tenant.user_id,
        agent_id=agent.agent_id,
        agent_name=agent.agent_name,
        agent_revision=agent.agent_revision,
        pattern=agent.pattern,
        purpose=asked.purpose,
        root_id=agent.id,
        root_created_at=change.at,
        limits=asked.limits,
        deadline_at=rfc3339(parse_rfc3339(change.at) + timedelta(seconds=asked.limits.seconds)),
        admitted=admitted,
        mark=tenant.services.ids.new(),
        lease_until=look_at(now) if admitted else rfc3339(now + LONGEST_LEASE),
    )


def child_of(parent: Execution, at: str, parent_step: int, agent: Agent, id: str, mark: str) -> Execution:
    """A run that another starts: of its tree, with its limits and its deadline. `parent` as it is from then on."""
    return Execution(
        id=id,
        tenant_id=parent.tenant_id,
        revision=1,
        created_at=at,
        updated_at=at,
        created_by=parent.created_by,
        updated_by=parent.created_by,
        agent_id=agent.id,
        agent_name=agent.name,
        agent_revision=agent.revision,
        pattern=agent.pattern,
        purpose=parent.purpose,
        root_id=parent.root_id,
        root_created_at=parent.root_created_at,
        parent_id=parent.id,
        parent_step=parent_step,
        parent_revision=parent.revision,
        depth=parent.depth + 1,
        ancestors=[*parent.ancestors, parent.agent_id],
        limits=parent.limits,
        deadline_at=parent.deadline_at,
        mark=mark,
        lease_until=rfc3339(parse_rfc3339(at) + LONGEST_LEASE),
    )


async def snapshot_of_agent(
    tenant: TenantSession,
    agent: Agent,
    input: str,
    context: Mapping[str, Any],
    id: str,
    at: str,
    *,
    strict: bool,
) -> Snapshot:
    """The agent as it is now, with the agents that it names. `strict`: `WrongState` for those that there are not.

    One point read or query for each agent that it names. `TooLarge` for more than a run can keep.
    """
    called = Called()
    tools = [Offered(name=name, called=called.as_(name)) for name in tools_of(agent)]
    agents: list[Callee] = []
    unknown: list[str] = []
    for name in agents_of(agent):
        callee = await _agent(tenant, name)
        if callee is None:
            unknown.append(name if name == agent.config.get("agent") else f"{AGENT}{name}")
            continue
        described = callee.description[:MAX_DESCRIBED]
        known_as = called.as_(f"{AGENT}{callee.name}")
        agents.append(Callee(id=callee.id, name=callee.name, called=known_as, description=described))
    if strict:
        _all_there(unknown)
    snapshot = Snapshot(
        id=id,
        created_at=at,
        agent_id=agent.id,
        agent_name=agent.name,
        agent_revision=agent.revision,
        pattern=agent.pattern,
        provider=agent.provider,
        model=agent.model,
        instructions=agent.instructions,
        tools=tools,
        agents=agents,
        config=agent.config,
        input=input,
        context=dict(context),
    )
    return _bounded(snapshot)


def _bounded(snapshot: Snapshot) -> Snapshot:
    size = len(snapshot.model_dump_json().encode())
    if size > MAX_SNAPSHOT_BYTES:
        raise TooLarge(f"The agent and what it is given are {size} bytes of JSON; a run keeps {MAX_SNAPSHOT_BYTES}.")
    return snapshot


def tools_of(agent: Agent) -> list[str]:
    """The names of what it uses beside other agents; of a Monitor, what it looks with."""
    looks = agent.config.get("tool") if agent.pattern == "Monitor" else None
    names = [*agent.tools, *([looks] if isinstance(looks, str) else [])]
    return [name for name in dict.fromkeys(names) if not name.startswith(AGENT)]


def agents_of(agent: Agent) -> list[str]:
    """Those that it runs, as it names them; of an Evaluator, whose work it judges."""
    judged = agent.config.get("agent") if agent.pattern == "Evaluator" else None
    own = [name.removeprefix(AGENT) for name in agent.tools if name.startswith(AGENT)]
    return list(dict.fromkeys([*own, *([judged] if isinstance(judged, str) else [])]))


async def _agent(tenant: TenantSession, name: str) -> Agent | None:
    """By id, or by name: of several, the oldest that is in use. Retired agents are run by nobody."""
    if is_uuid(name):
        found = await tenant.store.get(Agent.KIND, name)
        candidates: Sequence[Agent] = [] if found is None else [Agent.model_validate(found.body)]
    else:
        page = await tenant.store.query(Agent.KIND, [Where("name", "=", name)], limit=20)
        candidates = [Agent.model_validate(one.body) for one in page.items]
    return next((agent for agent in candidates if agent.status != "retired"), None)


class Called:
    """What a model calls things: 1 to 64 of `[a-zA-Z0-9_-]`, no two alike."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def as_(self, name: str) -> str:
        plain = re.sub(r"[^a-zA-Z0-9_-]+", "_", name)[:MAX_CALLED]
        called, number = plain, 1
        while called in self._taken:
            number += 1
            called = f"{plain[: MAX_CALLED - 4]}_{number}"
        self._taken.add(called)
        return called


def _check(asked: Asked) -> None:
    size = len(asked.input.encode(errors="replace"))
    if size > MAX_INPUT_BYTES:
        raise TooLarge(f"The input is {size} bytes; a run takes {MAX_INPUT_BYTES}.")
    size = len(json.dumps(dict(asked.context), ensure_ascii=False).encode(errors="replace"))
    if size > MAX_CONTEXT_BYTES:
        raise TooLarge(f"The context is {size} bytes of JSON; a run takes {MAX_CONTEXT_BYTES}.")


def _all_there(missing: Sequence[str]) -> None:
    if missing:
        raise WrongState("The agent names tools or agents that there are not; mend it first.", missing=list(missing))


def _taken(id: str) -> Taken:
    return Taken("There is such a run already.", id=id)

"""The agent as it is when a run begins, with what it may use and whom it may run: one immutable item."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.agents.models import AGENT, Agent
from functions.executions.models import MAX_SNAPSHOT_BYTES, Callee, Offered, Snapshot
from shared.database.port import Where
from shared.errors import TooLarge, WrongState
from shared.ids import derived_id, is_uuid
from shared.work.session import TenantSession

OWN_AGENT_ID = derived_id("agent", "flowgrid")
MAX_CALLED = 64
MAX_DESCRIBED = 1000


@dataclass(frozen=True)
class OwnAgent:
    """An agent of Flowgrid's own, of the pattern Former: nobody's resource. `tools`: of the runner's toolbox."""

    name: str
    provider: str
    model: str
    instructions: str
    tools: Sequence[str]
    config: Mapping[str, Any]

    def snapshot(self, input: str, context: Mapping[str, Any], id: str, at: str) -> Snapshot:
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
            input=input,
            context=dict(context),
        )
        return _bounded(snapshot)


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
        all_there(unknown)
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
        where = [Where("name", "=", name), Where("status", "in", ["draft", "active"])]
        page = await tenant.store.query(Agent.KIND, where, limit=1)
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


def all_there(missing: Sequence[str]) -> None:
    """`WrongState` that names what is missing."""
    if missing:
        raise WrongState("The agent names tools or agents that there are not; mend it first.", missing=list(missing))

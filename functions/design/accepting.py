"""Making what a proposal says: one batch, so that it is there whole or not at all, and once, whoever repeats it."""

from collections.abc import Mapping
from typing import Any

from functions.agents.models import AGENT, Agent
from functions.agents.service import AgentService
from functions.catalog.additions import add
from functions.design.models import Design, Made, Proposal, ProposedAgent
from shared.ids import derived_id
from shared.work.change import Change
from shared.work.session import TenantSession


async def make(tenant: TenantSession, change: Change, design: Design, proposal: Proposal, agents: AgentService) -> Made:
    """Put into the change what the proposal says; ids follow from the session and the proposal's keys.

    At commit `QuotaReached` where the plan has no room for the agents, `Invalid` or `Stale` where an element that it
    means has gone or changed meanwhile.
    """
    elements, relationships = await add(
        tenant, change, proposal.elements, proposal.relationships, lambda kind, key: _id(design, kind, key)
    )
    agents_made = {one.key: _id(design, Agent.KIND, one.key) for one in proposal.agents}
    made = Made(agents=agents_made, elements=elements, relationships=relationships)
    for agent in proposal.agents:
        resource = change.create(Agent, _agent_values(agent, made, design), id=made.agents[agent.key])
        agents.created(change, resource)
    change.count("agents", len(proposal.agents), limit=tenant.plan.max_agents)
    return made


def _agent_values(agent: ProposedAgent, made: Made, design: Design) -> Mapping[str, Any]:
    """Keys of others become their ids, and what a pattern needs its settings."""
    config: dict[str, Any] = {}
    if agent.pattern == "Evaluator" and agent.judges is not None:
        config = {"agent": made.agents[agent.judges], "criteria": agent.criteria, "rounds": agent.rounds}
    if agent.pattern == "Monitor":
        rule = {"path": "elements", "op": agent.trips}
        config = {"tool": "catalog.search", "arguments": {"name": agent.watches}, "rule": rule}
    return {
        **agent.model_dump(include={"name", "description", "pattern", "instructions", "schedule"}),
        "provider": design.provider,
        "model": design.model,
        "status": "draft",
        "element_id": made.elements[agent.element] if agent.element is not None else None,
        "tools": [_tool(tool, made) for tool in agent.tools],
        "config": config,
    }


def _tool(tool: str, made: Made) -> str:
    return f"{AGENT}{made.agents[tool.removeprefix(AGENT)]}" if tool.startswith(AGENT) else tool


def _id(design: Design, kind: str, key: str) -> str:
    return derived_id(kind, "design", design.id, key)

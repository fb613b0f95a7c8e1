"""The agent service: every rule about agents, and nothing about HTTP."""

from functions.agents.cases import Unproved, has_cases
from functions.agents.models import Agent, AgentFields
from shared.work.change import Change
from shared.work.events import Metric
from shared.work.service import ResourceService
from shared.work.session import TenantSession


class AgentService(ResourceService[Agent, AgentFields]):
    """An agent's element must be there (`Agent.KIND.refers`), and the plan says how many agents there may be."""

    model = Agent

    async def check(self, tenant: TenantSession, change: Change, old: Agent | None, new: Agent) -> None:
        """`Unproved` where an agent that has cases would become, or stay, active without them."""
        if old is not None and new.status == "active" and await has_cases(tenant, new.id):
            raise Unproved("This agent has cases; publish it (POST v1/agents/{id}/publish), or make it a draft first.")

    def created(self, change: Change, new: Agent) -> None:
        change.emit(Metric.AGENTS_CREATED, 1, agent_id=new.id, pattern=new.pattern)

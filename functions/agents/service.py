"""The agent service: every rule about agents, and nothing about HTTP."""

from functions.agents.models import Agent, AgentFields
from shared.work.change import Change
from shared.work.events import Metric
from shared.work.service import ResourceService


class AgentService(ResourceService[Agent, AgentFields]):
    """An agent's element must be there (`Agent.KIND.refers`), and the plan says how many agents there may be."""

    model = Agent

    def created(self, change: Change, new: Agent) -> None:
        change.emit(Metric.AGENTS_CREATED, 1, agent_id=new.id, pattern=new.pattern)

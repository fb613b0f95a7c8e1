"""The agent service: every rule about agents, and nothing about HTTP."""

from collections.abc import Mapping
from typing import Any

from functions.agents.models import Agent, AgentFields
from shared.database.port import Kind
from shared.events import Metric
from shared.http.bodies import MergePatch
from shared.http.routes import PageRequest
from shared.resources import Listing, find, load
from shared.session import TenantSession

COUNTER = "agents"


class AgentService:
    async def create(self, tenant: TenantSession, new: AgentFields) -> Agent:
        change = tenant.change()
        agent = change.create(Agent, new.model_dump())
        if agent.element_id is not None:
            change.touch(Kind.ELEMENT, agent.element_id, "element_id")
        change.count(COUNTER, +1, limit=tenant.plan.max_agents)
        change.emit(Metric.AGENTS_CREATED, 1, agent_id=agent.id, pattern=agent.pattern)
        return await change.commit(agent)

    async def get(self, tenant: TenantSession, id: str) -> Agent:
        return (await load(tenant, Agent, id)).value

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Agent]:
        return await find(tenant, Agent, filters, limit=page.limit, after=page.after)

    async def replace(self, tenant: TenantSession, id: str, new: AgentFields, if_match: str | None) -> Agent:
        return await tenant.modify(
            Agent, id, lambda _: new.model_dump(), if_match=if_match, touches={"element_id": Kind.ELEMENT}
        )

    async def patch(
        self, tenant: TenantSession, id: str, patch: MergePatch[AgentFields], if_match: str | None
    ) -> Agent:
        return await tenant.modify(
            Agent,
            id,
            lambda agent: patch.onto(agent).model_dump(),
            if_match=if_match,
            touches={"element_id": Kind.ELEMENT},
        )

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        await tenant.remove(Agent, id, if_match=if_match, also=lambda change, _: change.count(COUNTER, -1))

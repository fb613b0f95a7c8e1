"""The agent service: every rule about agents, and nothing about HTTP."""

from collections.abc import Mapping
from typing import Any

from functions.agents.models import Agent, AgentFields
from shared.database.port import Kind
from shared.http.bodies import MergePatch
from shared.http.routes import PageRequest
from shared.work.change import Change
from shared.work.events import Metric
from shared.work.resources import Listing, find, load
from shared.work.session import TenantSession

COUNTER = "agents"


class AgentService:
    async def create(self, tenant: TenantSession, new: AgentFields) -> Agent:
        change = tenant.change()
        agent = change.create(Agent, new.model_dump())
        await _touch_new_element(change, None, agent)
        change.count(COUNTER, +1, limit=tenant.plan.max_agents)
        change.emit(Metric.AGENTS_CREATED, 1, agent_id=agent.id, pattern=agent.pattern)
        return await change.commit(agent)

    async def get(self, tenant: TenantSession, id: str) -> Agent:
        return (await load(tenant, Agent, id)).value

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Agent]:
        return await find(tenant, Agent, filters, limit=page.limit, after=page.after)

    async def replace(self, tenant: TenantSession, id: str, new: AgentFields, if_match: str | None) -> Agent:
        return await tenant.modify(Agent, id, lambda _: new.model_dump(), if_match=if_match, also=_touch_new_element)

    async def patch(
        self, tenant: TenantSession, id: str, patch: MergePatch[AgentFields], if_match: str | None
    ) -> Agent:
        return await tenant.modify(
            Agent, id, lambda agent: patch.onto(agent).model_dump(), if_match=if_match, also=_touch_new_element
        )

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        await tenant.remove(Agent, id, if_match=if_match, also=_count_down)


async def _count_down(change: Change, _: Agent) -> None:
    change.count(COUNTER, -1)


async def _touch_new_element(change: Change, old: Agent | None, new: Agent) -> None:
    if new.element_id is not None and (old is None or old.element_id != new.element_id):
        change.touch(Kind.ELEMENT, new.element_id, "element_id")

"""The revisions of an agent, from the audit trail: it holds each as it was, and nothing is kept twice."""

from typing import ClassVar

from pydantic import Field

from functions.agents.models import Agent
from shared.database.port import Document
from shared.errors import NotFound
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT
from shared.work.resources import Answer, Listing, PageRequest, Timestamp, bounded_page
from shared.work.session import TenantSession


class AgentRevision(Answer):
    """An agent as a change has left it."""

    KIND: ClassVar[Kind] = AUDIT

    revision: int = Field(description="1, 2, …: which it was.")
    changed_at: Timestamp = Field(description="When it came to be.")
    changed_by: str = Field(description="Whose change it was: the user's id, or the token's subject.")
    action: str = Field(description="What was done to it.", examples=["agent.updated"])
    agent: Agent = Field(description="The agent, whole.")


async def revisions(tenant: TenantSession, id: str, page: PageRequest) -> Listing[AgentRevision]:
    """The newest first; of an agent that is deleted, too. `NotFound` where there never was one."""
    filters = {"resource_type": Agent.KIND.name, "resource_id": id}
    found = await bounded_page(tenant.store, AUDIT, filters, page)
    if not found.items and page.after is None:
        raise NotFound("There is no such agent.")
    return Listing([_of(one.body) for one in found.items if one.body["new_value"] is not None], found.next)


def _of(entry: Document) -> AgentRevision:
    value = Agent.KIND.upcast(entry["new_value"], entry.get("value_schema", 1))
    return AgentRevision(
        revision=entry["revision"],
        changed_at=entry["created_at"],
        changed_by=entry["user_id"],
        action=entry["action"],
        agent=Agent.model_validate(value),
    )

"""The revisions of an agent, from the audit trail: it holds each as it was, and nothing is kept twice."""

from functions.agents.models import Agent
from shared.errors import NotFound
from shared.tenancy.fence import AUDIT
from shared.work.resources import Listing, PageRequest, bounded_page
from shared.work.session import TenantSession


async def revisions(tenant: TenantSession, id: str, page: PageRequest) -> Listing[Agent]:
    """The newest first; of an agent that is deleted, too. `NotFound` where there never was one."""
    filters = {"resource_type": Agent.KIND.name, "resource_id": id}
    found = await bounded_page(tenant.store, AUDIT, filters, page)
    if not found.items and page.after is None:
        raise NotFound("There is no such agent.")
    values = [
        Agent.KIND.upcast(stored.body["new_value"], stored.body.get("value_schema", 1))
        for stored in found.items
        if stored.body["new_value"] is not None
    ]
    return Listing([Agent.model_validate(value) for value in values], found.next)

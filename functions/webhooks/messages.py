"""The messages of the deliveries' queue: to hand out what has happened, or to work on the line of one webhook."""

from shared.messaging.port import Message
from shared.work.change import Change
from shared.work.session import TenantSession


def nudge(change: Change, tenant: TenantSession, webhook_id: str, *, urgent: bool = False) -> None:
    """Have somebody look at a line once the change is committed."""
    services = tenant.services
    change.send(services.deliveries_queue, look_at(services.ids.new(), tenant.id, webhook_id, urgent=urgent))


def look_at(id: str, tenant_id: str, webhook_id: str, *, urgent: bool = False) -> Message:
    """`urgent`: although its first is tried again only later, or nothing waits."""
    return Message(id, tenant_id, {"webhook_id": webhook_id, **({"urgent": True} if urgent else {})})

"""Reading what the tenant has been told: one notification, or many."""

from functions.notifications.models import Notification
from shared.errors import NotFound
from shared.work.notices import NOTIFICATION
from shared.work.resources import Listing, PageRequest, bounded_page
from shared.work.session import TenantSession


class NotificationService:
    """Reads what `notify` has written; nothing writes here. Newest first unless asked otherwise."""

    async def list(self, tenant: TenantSession, page: PageRequest) -> Listing[Notification]:
        """One page."""
        found = await bounded_page(tenant.store, NOTIFICATION, {}, page)
        return Listing([Notification.model_validate(stored.body) for stored in found.items], found.next)

    async def get(self, tenant: TenantSession, id: str) -> Notification:
        """`NotFound` in the same words for what never was and for another tenant's."""
        stored = await tenant.store.get(NOTIFICATION, id)
        if stored is None:
            raise NotFound("There is no such notification.")
        return Notification.model_validate(stored.body)

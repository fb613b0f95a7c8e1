"""Reading the audit trail: one entry, or many."""

from collections.abc import Mapping
from typing import Any

from functions.audit.models import AuditEntry
from shared.errors import NotFound
from shared.tenancy.fence import AUDIT
from shared.work.resources import Listing, PageRequest, bounded_page
from shared.work.session import TenantSession


class AuditService:
    """Reads what `Change` has written; nothing writes here. Admins only, newest first unless asked otherwise."""

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[AuditEntry]:
        """One page. `filters`: field -> value, None: any."""
        found = await bounded_page(tenant.store, AUDIT, filters, page)
        return Listing([AuditEntry.model_validate(stored.body) for stored in found.items], found.next)

    async def get(self, tenant: TenantSession, id: str) -> AuditEntry:
        """`NotFound` in the same words for what never was and for another tenant's."""
        stored = await tenant.store.get(AUDIT, id)
        if stored is None:
            raise NotFound("There is no such audit entry.")
        return AuditEntry.model_validate(stored.body)

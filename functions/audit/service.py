"""Reading the audit trail: one entry, or many, newest first."""

from functions.audit.models import AuditEntry, AuditQuery
from shared.database.port import NEWEST_FIRST, Where
from shared.errors import NotFound
from shared.http.routes import PageRequest
from shared.tenancy.fence import AUDIT
from shared.work.resources import Listing, bounded_page
from shared.work.session import TenantSession

EQUALITY = ("user_id", "action", "resource_type", "resource_id")


class AuditService:
    async def list(self, tenant: TenantSession, query: AuditQuery, page: PageRequest) -> Listing[AuditEntry]:
        where = [Where(name, "=", getattr(query, name)) for name in EQUALITY if getattr(query, name) is not None]
        if query.since is not None:
            where.append(Where("created_at", ">=", query.since))
        if query.until is not None:
            where.append(Where("created_at", "<", query.until))
        found = await bounded_page(tenant.store, AUDIT, where, order=NEWEST_FIRST, limit=page.limit, after=page.after)
        return Listing([AuditEntry.model_validate(stored.body) for stored in found.items], found.next)

    async def get(self, tenant: TenantSession, id: str) -> AuditEntry:
        """`NotFound` in the same words for what never was and for another tenant's."""
        stored = await tenant.store.get(AUDIT, id)
        if stored is None:
            raise NotFound("There is no such audit entry.")
        return AuditEntry.model_validate(stored.body)

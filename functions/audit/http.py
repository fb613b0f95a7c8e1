"""HTTP routes of the audit trail."""

import azure.functions as func

from functions.audit.models import AuditEntry, AuditQuery
from functions.audit.service import AuditService
from shared.auth.roles import Role
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Call
from shared.work.resources import Listing


def blueprint(endpoint: Endpoint, audit: AuditService) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(
        routes,
        "GET",
        "v1/audit",
        role=Role.ADMIN,
        query=AuditQuery,
        answer=Page[AuditEntry],
        summary="List the audit trail",
    )
    async def list_audit(call: Call[None, AuditQuery]) -> Listing[AuditEntry]:
        return await audit.list(call.tenant, call.query.filters(), call.page)

    @endpoint(
        routes,
        "GET",
        "v1/audit/{entry_id}",
        role=Role.ADMIN,
        answer=AuditEntry,
        summary="Get an entry of the audit trail",
    )
    async def get_audit_entry(call: Call) -> AuditEntry:
        return await audit.get(call.tenant, call.params["entry_id"])

    return routes

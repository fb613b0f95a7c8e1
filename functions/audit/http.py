"""HTTP routes of the audit trail."""

import logging

import azure.functions as func

from functions.audit.assembly import Trail
from functions.audit.exporting import export
from functions.audit.models import AuditEntry, AuditQuery, AuditVerification, ExportQuery, VerifyQuery
from functions.audit.service import AuditService
from functions.audit.verifying import Verifier
from shared.auth.roles import Role
from shared.http.crud import reads
from shared.http.endpoint import Endpoint
from shared.http.routes import Call, Content
from shared.kinds import Kind
from shared.tenancy.signing import AuditKeys, Signatures
from shared.work.reads import note_read

logger = logging.getLogger("flowgrid.audit")
JSON_LINES = "application/jsonl"


def blueprint(endpoint: Endpoint, trail: Trail) -> func.Blueprint:
    routes = func.Blueprint()
    _trail(endpoint, routes, trail.verifier)  # before what would take their paths for ids
    _entries(endpoint, routes, trail.entries)
    _keys(endpoint, routes, trail.signatures)
    return routes


def _trail(endpoint: Endpoint, routes: func.Blueprint, verifier: Verifier) -> None:
    @endpoint(
        routes,
        "GET",
        "v1/audit/verify",
        role=Role.ADMIN,
        query=VerifyQuery,
        answer=AuditVerification,
        summary="Compare the audit trail with its sealed segments, a slice at a time, and name what is wrong",
    )
    async def verify_audit(call: Call[None, VerifyQuery]) -> AuditVerification:
        asked = call.query
        return await verifier.verify(call.tenant, since=asked.created_from, until=asked.created_to, after=asked.after)

    @endpoint(
        routes,
        "GET",
        "v1/audit/export",
        role=Role.ADMIN,
        query=ExportQuery,
        answer=Content(b"", JSON_LINES, file_name="acme-audit-2026-11-24.jsonl"),
        media_types=("text/csv",),
        summary="Export the audit trail as JSON lines or CSV; `Link` leads to the next file",
    )
    async def export_audit(call: Call[None, ExportQuery]) -> Content:
        asked = call.query
        body, count, following = await export(call.tenant, asked.filters(), call.page, as_csv=asked.format == "csv")
        times = {"created_from": asked.created_from, "created_to": asked.created_to}
        await note_read(call.tenant, "audit", **times, entries=count, further=asked.cursor is not None)
        day = call.tenant.services.clock.now()
        name = f"{call.tenant.entry.slug}-audit-{day:%Y-%m-%d}.{asked.format}"
        return Content(body, "text/csv" if asked.format == "csv" else JSON_LINES, file_name=name, next=following)


def _entries(endpoint: Endpoint, routes: func.Blueprint, audit: AuditService) -> None:
    reads(
        endpoint,
        routes,
        audit,
        one="v1/audit/{entry_id}",
        model=AuditEntry,
        query=AuditQuery,
        names=("list_audit", "get_audit_entry"),
        summaries=("List the audit trail", "Get an entry of the audit trail"),
        role=Role.ADMIN,
    )


def _keys(endpoint: Endpoint, routes: func.Blueprint, signatures: Signatures) -> None:
    @endpoint(
        routes,
        "POST",
        "v1/platform/audit-keys",
        role=Role.PLATFORM,
        answer=AuditKeys,
        summary="Sign audit entries by a new key from now on; the older ones stay to check by",
    )
    async def rotate_audit_key(call: Call) -> AuditKeys:
        async def told(old: str, new: str) -> None:
            change = call.tenant.without_key().change()  # the answer comes later
            change.audit("requested", Kind("audit_key"), new, 1, {"current": old}, {"current": new})
            await change.commit(None)

        keys = await signatures.rotate(told)
        logger.warning("audit entries are signed by a new key", extra={"key_id": keys.current})
        return keys

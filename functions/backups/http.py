"""HTTP routes of backups and restores."""

import azure.functions as func

from functions.backups.models import Backup, BackupQuery, NewBackup, NewRestore, Restore, RestoreQuery, Verification
from functions.backups.service import BackupService
from functions.backups.takeout import Exported, ExportQuery, export_page
from shared.auth.roles import Role
from shared.http.bodies import Json
from shared.http.crud import reads
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Begins, Call
from shared.work.reads import note_read
from shared.work.resources import Listing

RESTORE_EXAMPLE = {
    "backup_id": "019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11",
    "target": "new_tenant",
    "new_tenant": {"name": "Acme as it was", "slug": "acme-restored", "admin_email": "grace@acme.example"},
}


def blueprint(endpoint: Endpoint, backups: BackupService) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(
        routes,
        "POST",
        "v1/backups",
        role=Role.ADMIN,
        body=Json(NewBackup, optional=True),
        answer=Backup,
        status=202,
        summary="Back up the tenant",
        example={"note": "before the reorganisation"},
        begins=Begins("v1/jobs/{job_id}"),
    )
    async def create_backup(call: Call[NewBackup]) -> Backup:
        return await backups.create(call.tenant, call.body)

    reads(
        endpoint,
        routes,
        backups,
        one="v1/backups/{backup_id}",
        model=Backup,
        query=BackupQuery,
        names=("list_backups", "get_backup"),
        summaries=("List backups", "Get a backup"),
        role=Role.ADMIN,
    )

    @endpoint(
        routes,
        "DELETE",
        "v1/backups/{backup_id}",
        role=Role.ADMIN,
        answer=None,
        status=204,
        summary="Delete a manual backup",
        errors=(409,),
    )
    async def delete_backup(call: Call) -> None:
        await backups.delete(call.tenant, call.params["backup_id"], call.if_match)

    @endpoint(
        routes,
        "POST",
        "v1/backups/{backup_id}/verify",
        role=Role.ADMIN,
        answer=Verification,
        summary="Read all of a backup back and say what is wrong with it",
        errors=(409,),
    )
    async def verify_backup(call: Call) -> Verification:
        return await backups.verify(call.tenant, call.params["backup_id"])

    @endpoint(
        routes,
        "POST",
        "v1/restores",
        role=Role.ADMIN,
        body=NewRestore,
        answer=Restore,
        status=202,
        summary="Restore a backup or a point in time, in place or into a new tenant",
        errors=(404, 409),
        example=RESTORE_EXAMPLE,
        begins=Begins("v1/restores/{id}"),
    )
    async def create_restore(call: Call[NewRestore]) -> Restore:
        return await backups.restore(call.tenant, call.body)

    @endpoint(
        routes,
        "GET",
        "v1/restores",
        role=Role.ADMIN,
        query=RestoreQuery,
        answer=Page[Restore],
        summary="List restores",
    )
    async def list_restores(call: Call[None, RestoreQuery]) -> Listing[Restore]:
        return await backups.list_restores(call.tenant, call.query.filters(), call.page)

    @endpoint(
        routes,
        "GET",
        "v1/restores/{restore_id}",
        role=Role.ADMIN,
        answer=Restore,
        summary="Get a restore and its report",
    )
    async def get_restore(call: Call) -> Restore:
        return await backups.get_restore(call.tenant, call.params["restore_id"])

    @endpoint(
        routes,
        "GET",
        "v1/export",
        role=Role.ADMIN,
        query=ExportQuery.of(endpoint.services.kinds),
        answer=Page[Exported],
        summary="All that the tenant keeps, kind by kind, in pages",
    )
    async def export_tenant(call: Call[None, ExportQuery]) -> Listing[Exported]:
        found = await export_page(call.tenant, call.query.kind, call.page.limit, call.page.after)
        kinds = sorted({one.kind for one in found.items})
        await note_read(call.tenant, "tenant", kinds=kinds, items=len(found.items), further=call.page.after is not None)
        return found

    return routes

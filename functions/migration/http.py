"""HTTP routes of migrations: what `python -m cli migrate --api` calls."""

import azure.functions as func

from functions.migration.models import (
    Digests,
    Finished,
    Look,
    Migration,
    MigrationQuery,
    NewMigration,
    Outcomes,
    Rows,
)
from functions.migration.service import MigrationService
from shared.auth.roles import Role
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Call
from shared.work.resources import Listing

ELEMENT = {"legacy_id": "7", "fields": {"name": "Claims handling", "type": "BusinessProcess"}}
NO_HASH = "0" * 64


def blueprint(endpoint: Endpoint, migrations: MigrationService) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(
        routes,
        "POST",
        "v1/migrations",
        role=Role.ADMIN,
        body=NewMigration,
        answer=Migration,
        errors=(409,),
        summary="Begin to migrate an old database; of the same file, the migration as it is",
        example={"source_sha256": NO_HASH, "source_name": "it4it-archimate.db"},
    )
    async def begin_migration(call: Call[NewMigration]) -> Migration:
        return await migrations.begin(call.tenant, call.body)

    @endpoint(
        routes,
        "GET",
        "v1/migrations",
        role=Role.ADMIN,
        query=MigrationQuery,
        answer=Page[Migration],
        summary="List migrations",
    )
    async def list_migrations(call: Call[None, MigrationQuery]) -> Listing[Migration]:
        return await migrations.list(call.tenant, call.page)

    @endpoint(
        routes, "GET", "v1/migrations/{migration_id}", role=Role.ADMIN, answer=Migration, summary="Get a migration"
    )
    async def get_migration(call: Call) -> Migration:
        return await migrations.get(call.tenant, call.params["migration_id"])

    _rows(endpoint, routes, migrations)
    return routes


def _rows(endpoint: Endpoint, routes: func.Blueprint, migrations: MigrationService) -> None:
    @endpoint(
        routes,
        "POST",
        "v1/migrations/{migration_id}/rows",
        role=Role.ADMIN,
        body=Rows,
        answer=Outcomes,
        errors=(404, 409),
        summary="Take rows of the old database; the same again change nothing",
        example={"elements": [ELEMENT]},
    )
    async def take_rows(call: Call[Rows]) -> Outcomes:
        return await migrations.take(call.tenant, call.params["migration_id"], call.body)

    @endpoint(
        routes,
        "POST",
        "v1/migrations/{migration_id}/digests",
        role=Role.ADMIN,
        body=Look,
        answer=Digests,
        errors=(404,),
        summary="What is stored of rows, as digests of all their fields",
        example={"table": "elements", "legacy_ids": ["7"]},
    )
    async def digest_rows(call: Call[Look]) -> Digests:
        return await migrations.look(call.tenant, call.params["migration_id"], call.body)

    @endpoint(
        routes,
        "POST",
        "v1/migrations/{migration_id}/finish",
        role=Role.ADMIN,
        body=Finished,
        answer=Migration,
        errors=(404, 409),
        summary="End a migration with its numbers",
        example={"tables": {"elements": {"migrated": 1}}, "checksum": NO_HASH},
    )
    async def finish_migration(call: Call[Finished]) -> Migration:
        return await migrations.finish(call.tenant, call.params["migration_id"], call.body)

    @endpoint(
        routes,
        "POST",
        "v1/migrations/{migration_id}/undo",
        role=Role.ADMIN,
        answer=Migration,
        errors=(404, 409),
        summary="Remove what a migration has made and nobody has changed; again while it is `deleting`",
    )
    async def undo_migration(call: Call) -> Migration:
        return await migrations.undo(call.tenant, call.params["migration_id"])

"""HTTP routes of the catalog: elements, relationships, models, exchange files."""

import re

import azure.functions as func

from functions.catalog.exporting import Exports
from functions.catalog.import_models import ImportedItem, ImportItemsQuery, ImportQuery, ImportReport
from functions.catalog.importing import CatalogImport
from functions.catalog.long_work import ImportRun, LongWork, ModelDeletion
from functions.catalog.model_service import ModelService
from functions.catalog.models import (
    MAX_FILE_BYTES,
    DeleteQuery,
    ElementFields,
    ElementQuery,
    ExportQuery,
    Model,
    ModelDeleteQuery,
    ModelQuery,
    Neighborhood,
    NeighborQuery,
    RelationshipFields,
    RelationshipQuery,
)
from functions.catalog.service import ElementService, RelationshipService
from functions.catalog.view_models import View, ViewQuery, ViewSummary
from functions.catalog.view_service import ViewService
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.bodies import Raw
from shared.http.crud import crud, reads
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Begins, Call, Content
from shared.work.reads import note_read
from shared.work.resources import Listing

XML = Raw(("application/xml", "text/xml"), max_bytes=MAX_FILE_BYTES)
DRAWN = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox"}
ELEMENT = {"name": "Incident management", "type": "BusinessProcess", "properties": {"Owner": "Operations"}}
RELATIONSHIP = {
    "type": "Serving",
    "source_id": "019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11",
    "target_id": "019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e12",
}


def blueprint(
    endpoint: Endpoint,
    elements: ElementService,
    relationships: RelationshipService,
    imports: CatalogImport,
    modelling: LongWork,
) -> func.Blueprint:
    routes = func.Blueprint()
    _elements(endpoint, routes, elements)
    _relationships(endpoint, routes, relationships)
    _models(endpoint, routes, ModelService(), modelling)
    _views(endpoint, routes, ViewService())
    _imports(endpoint, routes, imports, modelling)
    _exports(endpoint, routes)
    return routes


def _elements(endpoint: Endpoint, routes: func.Blueprint, elements: ElementService) -> None:
    crud(
        endpoint,
        routes,
        elements,
        path="elements",
        fields=ElementFields,
        query=ElementQuery,
        example=ELEMENT,
        patch={"name": "Incident handling"},
        delete=False,
    )

    @endpoint(
        routes,
        "DELETE",
        "v1/elements/{element_id}",
        role=Role.ADMIN,
        scope=KeyScope.WRITE,
        query=DeleteQuery,
        answer=None,
        status=204,
        summary="Delete an element; refused while relationships or agents refer to it",
    )
    async def delete_element(call: Call[None, DeleteQuery]) -> None:
        await elements.delete(call.tenant, call.params["element_id"], call.if_match, cascade=call.query.cascade)

    @endpoint(
        routes,
        "GET",
        "v1/elements/{element_id}/neighbors",
        role=Role.VIEWER,
        query=NeighborQuery,
        answer=Neighborhood,
        summary="What is around an element",
    )
    async def get_neighbors(call: Call[None, NeighborQuery]) -> Neighborhood:
        return await elements.neighbors(call.tenant, call.params["element_id"], call.query)


def _relationships(endpoint: Endpoint, routes: func.Blueprint, relationships: RelationshipService) -> None:
    crud(
        endpoint,
        routes,
        relationships,
        path="relationships",
        fields=RelationshipFields,
        query=RelationshipQuery,
        example=RELATIONSHIP,
        patch={"name": "keeps up to date"},
        delete=False,
    )

    @endpoint(
        routes,
        "DELETE",
        "v1/relationships/{relationship_id}",
        role=Role.ADMIN,
        scope=KeyScope.WRITE,
        query=DeleteQuery,
        answer=None,
        status=204,
        summary="Delete a relationship; refused while others begin or end at it",
    )
    async def delete_relationship(call: Call[None, DeleteQuery]) -> None:
        id = call.params["relationship_id"]
        await relationships.delete(call.tenant, id, call.if_match, cascade=call.query.cascade)


def _models(endpoint: Endpoint, routes: func.Blueprint, models: ModelService, modelling: LongWork) -> None:
    reads(
        endpoint,
        routes,
        models,
        one="v1/models/{model_id}",
        model=Model,
        query=ModelQuery,
        names=("list_models", "get_model"),
        summaries=("List imported models", "Get an imported model"),
    )

    @endpoint(
        routes,
        "DELETE",
        "v1/models/{model_id}",
        role=Role.ADMIN,
        scope=KeyScope.WRITE,
        query=ModelDeleteQuery,
        answer=None,
        status=204,
        summary="Delete a model; refused while it has elements, relationships or views",
    )
    async def delete_model(call: Call[None, ModelDeleteQuery]) -> None:
        await models.delete(call.tenant, call.params["model_id"], call.if_match, cascade=call.query.cascade)

    @endpoint(
        routes,
        "POST",
        "v1/models/{model_id}/deletion",
        role=Role.ADMIN,
        answer=ModelDeletion,
        status=202,
        errors=(404, 412),
        begins=Begins("v1/jobs/{id}"),
        summary="Delete a large model with all that is its own, as a job",
    )
    async def begin_model_deletion(call: Call) -> ModelDeletion:
        return await modelling.begin_deletion(call.tenant, call.params["model_id"], call.if_match)


def _views(endpoint: Endpoint, routes: func.Blueprint, views: ViewService) -> None:
    @endpoint(
        routes, "GET", "v1/views", role=Role.VIEWER, query=ViewQuery, answer=Page[ViewSummary], summary="List views"
    )
    async def list_views(call: Call[None, ViewQuery]) -> Listing[ViewSummary]:
        return await views.list(call.tenant, call.query.filters(), call.page)

    @endpoint(
        routes,
        "GET",
        "v1/views/{view_id}.svg",
        role=Role.VIEWER,
        answer=Content(b"", "image/svg+xml", headers=DRAWN),
        errors=(404,),
        summary="A view, drawn, with what it shows as that is now",
    )
    async def draw_view(call: Call) -> Content:
        _, drawn = await views.draw(call.tenant, call.params["view_id"])
        return Content(drawn, "image/svg+xml", headers=DRAWN)

    @endpoint(routes, "GET", "v1/views/{view_id}", role=Role.VIEWER, answer=View, summary="Get all that a view draws")
    async def get_view(call: Call) -> View:
        return await views.get(call.tenant, call.params["view_id"])


def _imports(endpoint: Endpoint, routes: func.Blueprint, imports: CatalogImport, modelling: LongWork) -> None:
    @endpoint(
        routes,
        "POST",
        "v1/catalog/import",
        role=Role.USER,
        body=XML,
        query=ImportQuery,
        answer=ImportReport,
        errors=(404,),
        summary="Import an ArchiMate exchange file, or Archi's own; the same file again changes nothing",
    )
    async def import_catalog(call: Call[bytes, ImportQuery]) -> ImportReport:
        return await modelling.import_at_once(call.tenant, call.body, call.query.asked())

    @endpoint(
        routes,
        "POST",
        "v1/catalog/imports",
        role=Role.USER,
        body=XML,
        query=ImportQuery,
        answer=ImportRun,
        status=202,
        errors=(404,),
        begins=Begins("v1/catalog/imports/{id}"),
        summary="Import a file as a job",
    )
    async def begin_import(call: Call[bytes, ImportQuery]) -> ImportRun:
        return await modelling.begin_import(call.tenant, call.body, call.query.asked())

    @endpoint(
        routes,
        "GET",
        "v1/catalog/imports/{import_id}",
        role=Role.VIEWER,
        answer=ImportRun,
        errors=(404,),
        summary="Get an import: how far it is, and its report",
    )
    async def get_import(call: Call) -> ImportRun:
        return await modelling.get_import(call.tenant, call.params["import_id"])

    @endpoint(
        routes,
        "GET",
        "v1/catalog/imports/{import_id}/items",
        role=Role.VIEWER,
        query=ImportItemsQuery,
        answer=Page[ImportedItem],
        errors=(404,),
        summary="List all that an import skipped or removed; of a dry run also what it would make and change",
    )
    async def list_import_items(call: Call[None, ImportItemsQuery]) -> Listing[ImportedItem]:
        return await imports.reports.items(call.tenant, call.params["import_id"], call.query.what, call.page)


def _exports(endpoint: Endpoint, routes: func.Blueprint) -> None:
    exports = Exports()

    @endpoint(
        routes,
        "GET",
        "v1/catalog/export",
        role=Role.VIEWER,
        query=ExportQuery,
        answer=Content(b"", "application/xml", file_name="acme-2026-11-24.xml"),
        errors=(404, 413),
        summary="Export the catalog, or one model with what its relationships are at, as an ArchiMate exchange file",
    )
    async def export_catalog(call: Call[None, ExportQuery]) -> Content:
        day = call.tenant.services.clock.now().date().isoformat()
        model = re.sub(r"[^A-Za-z0-9._-]+", "-", f"-{call.query.model}")[:60] if call.query.model else ""
        body = await exports.run(call.tenant, named=call.query.model)
        await note_read(call.tenant, "catalog", model=call.query.model, bytes=len(body))
        return Content(body, "application/xml", file_name=f"{call.tenant.entry.slug}{model}-{day}.xml")

"""HTTP routes of publishing."""

import azure.functions as func

from functions.publishing.models import Publication, PublicationQuery
from functions.publishing.service import Publishing
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Begins, Call
from shared.tenancy.plans import Limit
from shared.work.resources import Listing


def blueprint(endpoint: Endpoint, publishing: Publishing) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(
        routes,
        "POST",
        "v1/agents/{agent_id}/publish",
        role=Role.USER,
        scope=KeyScope.EXECUTE,
        answer=Publication,
        status=202,
        limit=Limit.AGENTS,
        errors=(404, 409),
        begins=Begins("v1/publications/{id}"),
        summary="Run an agent's cases, and make it active if all of them pass",
    )
    async def publish_agent(call: Call) -> Publication:
        return await publishing.publish(call.tenant, call.params["agent_id"])

    @endpoint(
        routes,
        "GET",
        "v1/publications",
        role=Role.VIEWER,
        query=PublicationQuery,
        answer=Page[Publication],
        summary="List publications",
    )
    async def list_publications(call: Call[None, PublicationQuery]) -> Listing[Publication]:
        return await publishing.list(call.tenant, call.query.filters(), call.page)

    @endpoint(
        routes,
        "GET",
        "v1/publications/{publication_id}",
        role=Role.VIEWER,
        answer=Publication,
        summary="Get a publication, and how its cases went",
    )
    async def get_publication(call: Call) -> Publication:
        return await publishing.get(call.tenant, call.params["publication_id"])

    return routes

"""HTTP routes of publishing."""

import azure.functions as func

from functions.publishing.models import Publication, PublicationQuery
from functions.publishing.service import Publishing
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.crud import reads
from shared.http.endpoint import Endpoint
from shared.http.routes import Begins, Call
from shared.tenancy.plans import Limit


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

    reads(
        endpoint,
        routes,
        publishing,
        one="v1/publications/{publication_id}",
        model=Publication,
        query=PublicationQuery,
        names=("list_publications", "get_publication"),
        summaries=("List publications", "Get a publication, and how its cases went"),
    )

    return routes

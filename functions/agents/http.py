"""HTTP routes of the agent service."""

import azure.functions as func

from functions.agents.models import AgentFields, AgentQuery
from functions.agents.service import AgentService
from shared.http.crud import crud
from shared.http.endpoint import Endpoint
from shared.tenancy.plans import Limit

EXAMPLE = {"name": "Claims intake", "pattern": "Orchestrator", "description": "Routes a new claim.", "status": "active"}


def blueprint(endpoint: Endpoint, agents: AgentService) -> func.Blueprint:
    routes = func.Blueprint()
    crud(
        endpoint,
        routes,
        agents,
        path="agents",
        fields=AgentFields,
        query=AgentQuery,
        example=EXAMPLE,
        patch={"status": "retired"},
        limit=Limit.AGENTS,
    )
    return routes

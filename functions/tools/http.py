"""HTTP routes of the tool service."""

import azure.functions as func

from functions.tools.models import ToolFields, ToolQuery
from functions.tools.service import ToolService
from shared.auth.roles import Role
from shared.http.crud import crud
from shared.http.endpoint import Endpoint
from shared.tenancy.plans import Limit

EXAMPLE = {
    "name": "get-claim",
    "description": "Reads a claim by its number.",
    "method": "GET",
    "url": "https://api.acme.example/claims/{claim_id}",
    "parameters": {
        "type": "object",
        "properties": {"claim_id": {"type": "string"}, "with_history": {"type": "boolean"}},
        "required": ["claim_id"],
        "additionalProperties": False,
    },
    "query": ["with_history"],
}


def blueprint(endpoint: Endpoint, tools: ToolService) -> func.Blueprint:
    routes = func.Blueprint()
    crud(
        endpoint,
        routes,
        tools,
        path="tools",
        fields=ToolFields,
        query=ToolQuery,
        example=EXAMPLE,
        patch={"description": "Reads a claim, with what became of it."},
        limit=Limit.AGENTS,
        writer=Role.ADMIN,
    )
    return routes

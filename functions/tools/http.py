"""HTTP routes of the tool service."""

import azure.functions as func

from functions.tools.importing import ToolImport, ToolImportQuery, ToolsImported
from functions.tools.mcp.models import McpServer, McpServerFields, McpServerQuery, RefreshQuery
from functions.tools.mcp.service import McpServerService
from functions.tools.models import ToolFields, ToolQuery
from functions.tools.openapi import MAX_DOCUMENT_BYTES
from functions.tools.service import ToolService
from shared.auth.roles import Role
from shared.http.bodies import Raw
from shared.http.crud import crud
from shared.http.endpoint import Endpoint
from shared.http.routes import Call
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


CLAIMS_API = {
    "openapi": "3.1.0",
    "info": {"title": "Claims", "version": "1"},
    "servers": [{"url": "https://api.acme.example"}],
    "paths": {"/claims": {"get": {"operationId": "listClaims", "summary": "All claims.", "responses": {}}}},
}
TICKETS = {"name": "tickets", "url": "https://mcp.acme.example/mcp", "secret": "the-key-of-our-desk"}
DOCUMENT = Raw(("application/json", "application/openapi+json"), max_bytes=MAX_DOCUMENT_BYTES)


def blueprint(endpoint: Endpoint, tools: ToolService, servers: McpServerService) -> func.Blueprint:
    routes = func.Blueprint()
    _mcp_servers(endpoint, routes, servers)
    imports = ToolImport(tools)
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
        writes_by=Role.ADMIN,
    )

    @endpoint(
        routes,
        "POST",
        "v1/openapi/import",
        role=Role.ADMIN,
        body=DOCUMENT,
        query=ToolImportQuery,
        answer=ToolsImported,
        limit=Limit.AGENTS,
        errors=(409,),
        summary="Import an OpenAPI 3 document: its operations become tools",
        example=CLAIMS_API,
    )
    async def import_tools(call: Call[bytes, ToolImportQuery]) -> ToolsImported:
        return await imports.take(call.tenant, call.body, call.query)

    return routes


def _mcp_servers(endpoint: Endpoint, routes: func.Blueprint, servers: McpServerService) -> None:
    crud(
        endpoint,
        routes,
        servers,
        path="mcp-servers",
        noun="an MCP server",
        fields=McpServerFields,
        query=McpServerQuery,
        example=TICKETS,
        patch={"timeout_seconds": 20},
        limit=Limit.AGENTS,
        writes_by=Role.ADMIN,
    )

    @endpoint(
        routes,
        "POST",
        "v1/mcp-servers/{mcp_server_id}/refresh",
        role=Role.ADMIN,
        query=RefreshQuery,
        answer=McpServer,
        limit=Limit.AGENTS,
        errors=(404, 409, 412, 502),
        summary="Take the tools of an MCP server as they are now",
    )
    async def refresh_mcp_server(call: Call[None, RefreshQuery]) -> McpServer:
        return await servers.refresh(call.tenant, call.params["mcp_server_id"], call.query, call.if_match)

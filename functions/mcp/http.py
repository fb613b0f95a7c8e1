"""HTTP routes of the MCP server: streamable HTTP without sessions or streams, and who issues tokens for it."""

import azure.functions as func

from functions.mcp.service import MAX_BYTES, McpService
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.bodies import Raw
from shared.http.endpoint import Endpoint
from shared.http.routes import Call, Content, OpenCall

PATH = "v1/mcp"
METADATA = ".well-known/oauth-protected-resource"


def blueprint(endpoint: Endpoint, mcp: McpService, issuers: list[str]) -> func.Blueprint:
    """`issuers`: whose tokens are taken."""
    routes = func.Blueprint()

    @endpoint(
        routes,
        "POST",
        PATH,
        role=Role.VIEWER,
        scope=KeyScope.READ,
        body=Raw(("application/json",), MAX_BYTES),
        answer=Content(b"", "application/json"),
        summary="Speak the Model Context Protocol",
        described=False,
        metadata=METADATA,
    )
    async def speak_mcp(call: Call[bytes]) -> Content:
        endpoint.check_origin(call.headers.get("origin"))
        reply = await mcp.answer(call.tenant, call.headers, call.body)
        return Content(reply.body, "application/json", reply.status)

    @endpoint(
        routes,
        "GET",
        PATH,
        role=Role.VIEWER,
        answer=Content(b"", "text/plain"),
        summary="There is no stream to listen to",
        described=False,
        metadata=METADATA,
    )
    async def listen_to_mcp(call: Call) -> Content:
        endpoint.check_origin(call.headers.get("origin"))
        return Content(b"", "text/plain", 405, headers={"Allow": "POST"})

    @endpoint(
        routes,
        "GET",
        METADATA,
        role=None,
        answer=dict,
        summary="Whose tokens the MCP server takes (RFC 9728)",
        described=False,
    )
    async def get_protected_resource(call: OpenCall) -> dict[str, object]:
        return {
            "resource": f"{endpoint.origin(call.request)}/api/{PATH}",
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
            "resource_name": "Flowgrid",
        }

    return routes

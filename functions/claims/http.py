"""The HTTP route that identity providers call at sign-in. Who calls shows itself in its own way (asking.py)."""

from typing import Any

import azure.functions as func

from functions.claims.asking import Asked
from functions.claims.service import ClaimsService
from shared.http.endpoint import Endpoint
from shared.http.routes import OpenCall


def blueprint(endpoint: Endpoint, claims: ClaimsService) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(
        routes,
        "POST",
        "claims/{issuer}",
        role=None,
        answer=dict,
        summary="Which tenant, and as what? (asked by identity providers, in their own form)",
        described=False,
    )
    async def tell_claims(call: OpenCall) -> Any:
        request = call.request
        return await claims.tell(Asked(request.route_params["issuer"], request.headers, request.get_body()), call.known)

    return routes

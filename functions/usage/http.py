"""HTTP routes of usage and quotas."""

import azure.functions as func

from functions.usage.models import Usage, UsageEvent, UsageEventQuery, UsageQuery
from functions.usage.quotas import Quotas, QuotaService
from functions.usage.service import UsageService
from shared.auth.roles import Role
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Call
from shared.work.resources import Listing


def blueprint(endpoint: Endpoint, usage: UsageService, quotas: QuotaService) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(routes, "GET", "v1/usage", role=Role.VIEWER, query=UsageQuery, answer=Usage, summary="A metric over time")
    async def get_usage(call: Call[None, UsageQuery]) -> Usage:
        return await usage.usage(call.tenant, call.query)

    @endpoint(
        routes,
        "GET",
        "v1/usage/events",
        role=Role.VIEWER,
        query=UsageEventQuery,
        answer=Page[UsageEvent],
        summary="List usage events",
    )
    async def list_usage_events(call: Call[None, UsageEventQuery]) -> Listing[UsageEvent]:
        return await usage.events(call.tenant, call.query.filters(), call.page)

    @endpoint(routes, "GET", "v1/quotas", role=Role.VIEWER, answer=Quotas, summary="Quotas, and what is used of them")
    async def get_quotas(call: Call) -> Quotas:
        return await quotas.quotas(call.tenant)

    return routes

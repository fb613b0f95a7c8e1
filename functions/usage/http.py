"""HTTP routes of usage and quotas."""

import azure.functions as func

from functions.usage.adjustments import Adjustment, Adjustments, NewAdjustment
from functions.usage.analytics import Analytics, AnalyticsService
from functions.usage.models import RangeQuery, Usage, UsageEvent, UsageEventQuery, UsageQuery
from functions.usage.neighbors import Neighbors, NeighborsQuery, TenantQuality
from functions.usage.quotas import Quotas, QuotaService
from functions.usage.service import UsageService
from functions.usage.slo import Slo, SloService
from shared.auth.roles import Role
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page, ResourceQuery
from shared.http.routes import Call
from shared.work.resources import Listing


def blueprint(
    endpoint: Endpoint,
    usage: UsageService,
    quotas: QuotaService,
    adjustments: Adjustments,
    neighbors: Neighbors,
    slos: SloService,
) -> func.Blueprint:
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
        return await usage.events(call.tenant, call.query, call.page)

    @endpoint(
        routes,
        "GET",
        "v1/analytics",
        role=Role.VIEWER,
        query=RangeQuery,
        answer=Analytics,
        summary="How calls went, by endpoint, and what AI has cost, by model",
    )
    async def get_analytics(call: Call[None, RangeQuery]) -> Analytics:
        return await AnalyticsService().analytics(call.tenant, call.query)

    @endpoint(routes, "GET", "v1/quotas", role=Role.VIEWER, answer=Quotas, summary="Quotas, and what is used of them")
    async def get_quotas(call: Call) -> Quotas:
        return await quotas.quotas(call.tenant)

    @endpoint(
        routes,
        "GET",
        "v1/platform/analytics",
        role=Role.PLATFORM,
        query=NeighborsQuery,
        answer=Page[TenantQuality],
        summary="List tenants by what they had of all calls, errors and request units",
    )
    async def list_neighbors(call: Call[None, NeighborsQuery]) -> Listing[TenantQuality]:
        return await neighbors.list(call.query, call.page)

    @endpoint(
        routes,
        "GET",
        "v1/platform/slo",
        role=Role.PLATFORM,
        answer=Slo,
        summary="What is promised of the platform, what was kept of it, and burn rates",
    )
    async def get_slo(call: Call) -> Slo:
        return await slos.slo()

    @endpoint(
        routes,
        "POST",
        "v1/platform/tenants/{tenant_id}/usage-adjustments",
        role=Role.PLATFORM,
        body=NewAdjustment,
        example={
            "reason": "Our wizard asked the model twice.",
            "event": {"id": "0190c2a8-7e10-7abc-8def-000000000001", "time": "2026-11-24T12:00:00Z"},
        },
        answer=Adjustment,
        status=201,
        summary="Take events out of a tenant's usage",
        errors=(404, 409),
    )
    async def create_usage_adjustment(call: Call[NewAdjustment]) -> Adjustment:
        return await adjustments.create(call.tenant, call.params["tenant_id"], call.body)

    @endpoint(
        routes,
        "GET",
        "v1/platform/tenants/{tenant_id}/usage-adjustments",
        role=Role.PLATFORM,
        query=ResourceQuery,
        answer=Page[Adjustment],
        summary="List the adjustments of a tenant's usage",
    )
    async def list_usage_adjustments(call: Call[None, ResourceQuery]) -> Listing[Adjustment]:
        return await adjustments.list(call.tenant, call.params["tenant_id"], call.page)

    @endpoint(
        routes,
        "GET",
        "v1/platform/tenants/{tenant_id}/usage-adjustments/{adjustment_id}",
        role=Role.PLATFORM,
        answer=Adjustment,
        summary="Get an adjustment of a tenant's usage",
    )
    async def get_usage_adjustment(call: Call) -> Adjustment:
        return await adjustments.get(call.tenant, call.params["tenant_id"], call.params["adjustment_id"])

    return routes

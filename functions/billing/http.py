"""HTTP routes of plans and statements."""

from collections.abc import Awaitable
from typing import Protocol

import azure.functions as func

from functions.billing.models import PlanChoice, Statement, StatementListQuery, StatementQuery, Subscription
from functions.billing.rendering import POLICY, as_csv, as_html
from functions.billing.service import BillingService
from shared.auth.roles import Role
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Call, Content
from shared.tenancy.plans import Tier
from shared.work.resources import Listing
from shared.work.session import TenantSession

CHOICE = {"tier": "professional"}


class Plans(Protocol):
    """What changes a tenant's plan; the actor is who asks for it."""

    def upgrade(self, actor: TenantSession, tenant_id: str, tier: Tier) -> Awaitable[None]: ...
    def downgrade(self, actor: TenantSession, tenant_id: str, tier: Tier) -> Awaitable[None]: ...
    def keep(self, actor: TenantSession, tenant_id: str) -> Awaitable[None]: ...


def blueprint(endpoint: Endpoint, billing: BillingService, plans: Plans) -> func.Blueprint:
    routes = func.Blueprint()
    _statements(endpoint, routes, billing)
    _plan(endpoint, routes, billing, plans)
    return routes


def _statements(endpoint: Endpoint, routes: func.Blueprint, billing: BillingService) -> None:
    @endpoint(
        routes,
        "GET",
        "v1/billing/statements",
        role=Role.ADMIN,
        query=StatementListQuery,
        answer=Page[Statement],
        summary="List the final statements",
    )
    async def list_statements(call: Call[None, StatementListQuery]) -> Listing[Statement]:
        return await billing.finals(call.tenant, call.page)

    @endpoint(
        routes,
        "GET",
        "v1/billing/statements/{month}",
        role=Role.ADMIN,
        query=StatementQuery,
        answer=Statement,
        media_types=("text/csv", "text/html"),
        summary="Get a month's statement, as JSON, CSV or a page; an open one as it stands",
    )
    async def get_statement(call: Call[None, StatementQuery]) -> Statement | Content:
        statement = await billing.get(call.tenant, call.params["month"])
        match call.query.format:
            case "json":
                return statement
            case "csv":
                name = f"{call.tenant.entry.slug}-{statement.month}.csv"
                return Content(as_csv(statement), "text/csv", file_name=name)
            case "html":
                return Content(as_html(statement), "text/html", headers={"Content-Security-Policy": POLICY})


def _plan(endpoint: Endpoint, routes: func.Blueprint, billing: BillingService, plans: Plans) -> None:
    @endpoint(routes, "GET", "v1/billing", role=Role.ADMIN, answer=Subscription, summary="The plan, and what it costs")
    async def get_billing(call: Call) -> Subscription:
        return await billing.subscription(call.tenant)

    @endpoint(
        routes,
        "POST",
        "v1/billing/upgrade",
        role=Role.ADMIN,
        body=PlanChoice,
        answer=Subscription,
        summary="Take a higher plan at once; in a trial, take this one for good",
        example=CHOICE,
    )
    async def upgrade_plan(call: Call[PlanChoice]) -> Subscription:
        await plans.upgrade(call.tenant, call.tenant.id, call.body.tier)
        return await billing.subscription(call.tenant)

    @endpoint(
        routes,
        "POST",
        "v1/billing/downgrade",
        role=Role.ADMIN,
        body=PlanChoice,
        answer=Subscription,
        summary="Take a lower plan from the next month on",
        example={"tier": "standard"},
    )
    async def downgrade_plan(call: Call[PlanChoice]) -> Subscription:
        await plans.downgrade(call.tenant, call.tenant.id, call.body.tier)
        return await billing.subscription(call.tenant)

    @endpoint(
        routes,
        "DELETE",
        "v1/billing/downgrade",
        role=Role.ADMIN,
        answer=Subscription,
        errors=(404,),
        summary="Take a downgrade back",
    )
    async def keep_plan(call: Call) -> Subscription:
        await plans.keep(call.tenant, call.tenant.id)
        return await billing.subscription(call.tenant)

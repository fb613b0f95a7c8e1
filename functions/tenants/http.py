"""HTTP routes about tenants, for Flowgrid's staff."""

import azure.functions as func

from functions.tenants.default import DefaultAdmin, make_default
from functions.tenants.models import NewTenant, Tenant, TenantFields, TenantQuery
from functions.tenants.onboarding import Onboarding
from functions.tenants.places import Stamp
from functions.tenants.service import TenantService
from shared.auth.roles import Role
from shared.http.bodies import Merge, MergePatch
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Begins, Call
from shared.work.resources import Listing


def blueprint(endpoint: Endpoint, tenants: TenantService, onboarding: Onboarding) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(
        routes,
        "POST",
        "v1/platform/tenants",
        role=Role.PLATFORM,
        body=NewTenant,
        answer=Tenant,
        status=201,
        summary="Onboard a tenant",
        errors=(409, 507),
        example={"name": "Acme Corp", "slug": "acme", "tier": "standard", "admin_email": "ada@acme.example"},
        begins=Begins("v1/platform/tenants/{id}", seconds=10, when="provisioning"),
    )
    async def onboard_tenant(call: Call[NewTenant]) -> Tenant:
        return await onboarding.onboard(call.tenant, call.body)

    @endpoint(
        routes,
        "POST",
        "v1/platform/default-tenant",
        role=Role.PLATFORM,
        body=DefaultAdmin,
        answer=Tenant,
        summary="Make the default tenant, which an old database of one user becomes; as it is, where it is there",
        errors=(409,),
        example={"admin_email": "ada@acme.example"},
    )
    async def make_default_tenant(call: Call[DefaultAdmin]) -> Tenant:
        return await make_default(onboarding, call.tenant, call.body)

    @endpoint(
        routes,
        "GET",
        "v1/platform/tenants",
        role=Role.PLATFORM,
        query=TenantQuery,
        answer=Page[Tenant],
        summary="List tenants",
    )
    async def list_tenants(call: Call[None, TenantQuery]) -> Listing[Tenant]:
        return await tenants.list(call.query.filters(), call.page)

    @endpoint(
        routes, "GET", "v1/platform/tenants/{tenant_id}", role=Role.PLATFORM, answer=Tenant, summary="Get a tenant"
    )
    async def get_tenant(call: Call) -> Tenant:
        return await tenants.get(call.params["tenant_id"])

    @endpoint(
        routes,
        "PATCH",
        "v1/platform/tenants/{tenant_id}",
        role=Role.PLATFORM,
        body=Merge(TenantFields),
        answer=Tenant,
        summary="Change a tenant's name, tier, quotas or settings",
        errors=(409,),
        example={"max_agents": 80},
    )
    async def patch_tenant(call: Call[MergePatch[TenantFields]]) -> Tenant:
        return await tenants.patch(call.tenant, call.params["tenant_id"], call.body, call.if_match)

    @endpoint(
        routes,
        "POST",
        "v1/platform/tenants/{tenant_id}/suspend",
        role=Role.PLATFORM,
        answer=Tenant,
        summary="Suspend a tenant: its calls are refused, its data is kept",
        errors=(409,),
    )
    async def suspend_tenant(call: Call) -> Tenant:
        return await tenants.suspend(call.tenant, call.params["tenant_id"])

    @endpoint(
        routes,
        "POST",
        "v1/platform/tenants/{tenant_id}/resume",
        role=Role.PLATFORM,
        answer=Tenant,
        summary="Resume a suspended tenant",
        errors=(409,),
    )
    async def resume_tenant(call: Call) -> Tenant:
        return await tenants.resume(call.tenant, call.params["tenant_id"])

    @endpoint(
        routes,
        "GET",
        "v1/platform/stamp",
        role=Role.PLATFORM,
        answer=Stamp,
        summary="How many more tenants can have a database of their own here?",
    )
    async def get_stamp(call: Call) -> Stamp:
        return await onboarding.places.stamp()

    return routes

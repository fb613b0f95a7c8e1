"""HTTP routes of the agent service."""

import azure.functions as func

from functions.agents.models import Agent, AgentFields, AgentQuery
from functions.agents.service import AgentService
from shared.auth.roles import Role
from shared.http.bodies import Merge, MergePatch
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Call
from shared.tenancy.plans import Limit
from shared.work.resources import Listing

EXAMPLE = {"name": "Claims intake", "pattern": "Orchestrator", "description": "Routes a new claim.", "status": "active"}


def blueprint(endpoint: Endpoint, agents: AgentService) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(
        routes,
        "POST",
        "v1/agents",
        role=Role.USER,
        body=AgentFields,
        answer=Agent,
        status=201,
        limit=Limit.AGENTS,
        summary="Create an agent",
        errors=(409,),
        example=EXAMPLE,
    )
    async def create_agent(call: Call[AgentFields]) -> Agent:
        return await agents.create(call.tenant, call.body)

    @endpoint(
        routes,
        "GET",
        "v1/agents",
        role=Role.VIEWER,
        query=AgentQuery,
        answer=Page[Agent],
        summary="List agents, newest first",
    )
    async def list_agents(call: Call[None, AgentQuery]) -> Listing[Agent]:
        return await agents.list(call.tenant, call.query.filters(), call.page)

    @endpoint(
        routes,
        "GET",
        "v1/agents/{agent_id}",
        role=Role.VIEWER,
        answer=Agent,
        summary="Get an agent",
    )
    async def get_agent(call: Call) -> Agent:
        return await agents.get(call.tenant, call.params["agent_id"])

    @endpoint(
        routes,
        "PUT",
        "v1/agents/{agent_id}",
        role=Role.USER,
        body=AgentFields,
        answer=Agent,
        limit=Limit.AGENTS,
        summary="Replace an agent",
        example=EXAMPLE,
    )
    async def replace_agent(call: Call[AgentFields]) -> Agent:
        return await agents.replace(call.tenant, call.params["agent_id"], call.body, call.if_match)

    @endpoint(
        routes,
        "PATCH",
        "v1/agents/{agent_id}",
        role=Role.USER,
        body=Merge(AgentFields),
        answer=Agent,
        limit=Limit.AGENTS,
        summary="Change some fields of an agent",
        errors=(409,),
        example={"status": "retired"},
    )
    async def patch_agent(call: Call[MergePatch[AgentFields]]) -> Agent:
        return await agents.patch(call.tenant, call.params["agent_id"], call.body, call.if_match)

    @endpoint(
        routes,
        "DELETE",
        "v1/agents/{agent_id}",
        role=Role.ADMIN,
        answer=None,
        status=204,
        limit=Limit.AGENTS,
        summary="Delete an agent",
    )
    async def delete_agent(call: Call) -> None:
        await agents.delete(call.tenant, call.params["agent_id"], call.if_match)

    return routes

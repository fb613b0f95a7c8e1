"""HTTP routes of the agent service."""

import azure.functions as func

from functions.agents.cases import CaseFields, CaseQuery, CaseService
from functions.agents.models import AgentFields, AgentQuery
from functions.agents.revisions import AgentRevision, revisions
from functions.agents.service import AgentService
from functions.agents.teams import Team, TeamExportQuery, TeamImported, TeamImportQuery, Teams
from shared.auth.roles import Role
from shared.http.crud import crud
from shared.http.endpoint import Endpoint
from shared.http.pagination import ListQuery, Page
from shared.http.routes import Call
from shared.tenancy.plans import Limit
from shared.work.reads import note_read
from shared.work.resources import Listing

EXAMPLE = {"name": "Claims intake", "pattern": "Orchestrator", "description": "Routes a new claim.", "status": "active"}
CASE = {
    "agent_id": "019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11",
    "name": "A broken roof",
    "input": "My roof is broken. What now?",
    "expected": [{"op": "contains", "value": "photo"}],
}
TEAM = {"agents": [{"key": "intake", "agent": EXAMPLE}]}


def blueprint(endpoint: Endpoint, agents: AgentService, teams: Teams) -> func.Blueprint:
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

    @endpoint(
        routes,
        "GET",
        "v1/agents/{agent_id}/revisions",
        role=Role.VIEWER,
        query=ListQuery,
        answer=Page[AgentRevision],
        errors=(404,),
        summary="List an agent's revisions, the newest first, as they were",
    )
    async def list_agent_revisions(call: Call[None, ListQuery]) -> Listing[AgentRevision]:
        return await revisions(call.tenant, call.params["agent_id"], call.page)

    crud(
        endpoint,
        routes,
        CaseService(),
        path="cases",
        fields=CaseFields,
        query=CaseQuery,
        example=CASE,
        patch={"name": "A leaking roof"},
        limit=Limit.AGENTS,
    )
    _teams(endpoint, routes, teams)
    return routes


def _teams(endpoint: Endpoint, routes: func.Blueprint, teams: Teams) -> None:
    @endpoint(
        routes,
        "GET",
        "v1/teams/export",
        role=Role.VIEWER,
        query=TeamExportQuery,
        answer=Team,
        errors=(404, 413),
        summary="Export agents as a team, for another tenant to import",
    )
    async def export_team(call: Call[None, TeamExportQuery]) -> Team:
        ids = None if call.query.id is None else [id.strip() for id in call.query.id.split(",")]
        team = await teams.export(call.tenant, ids)
        await note_read(call.tenant, "team", agents=len(team.agents))
        return team

    @endpoint(
        routes,
        "POST",
        "v1/teams/import",
        role=Role.USER,
        body=Team,
        query=TeamImportQuery,
        answer=TeamImported,
        limit=Limit.AGENTS,
        errors=(409,),
        summary="Import a team: all of its agents, as drafts, or none",
        example=TEAM,
    )
    async def import_team(call: Call[Team, TeamImportQuery]) -> TeamImported:
        return await teams.take(call.tenant, call.body, dry_run=call.query.dry_run)

"""HTTP routes of runs."""

import azure.functions as func

from functions.executions.deciding import Decision
from functions.executions.service import ExecutionService
from functions.executions.views import (
    Admission,
    Cancelled,
    Events,
    EventsQuery,
    Execution,
    ExecutionQuery,
    NewExecution,
    PlatformExecution,
    PlatformExecutions,
    PlatformQuery,
    Step,
)
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page, PageQuery
from shared.http.routes import Begins, Call
from shared.work.resources import Listing

ONE = "v1/executions/{execution_id}"
NEW = {"input": "Who owns the process for incidents?", "limits": {"steps": 20, "tokens": 100_000}}


def blueprint(endpoint: Endpoint, executions: ExecutionService) -> func.Blueprint:
    routes = func.Blueprint()
    _runs(endpoint, routes, executions)
    _following(endpoint, routes, executions)
    _admission(endpoint, routes, executions)
    _platform(endpoint, routes, executions)
    return routes


def _runs(endpoint: Endpoint, routes: func.Blueprint, executions: ExecutionService) -> None:
    @endpoint(
        routes,
        "POST",
        "v1/agents/{agent_id}/executions",
        role=Role.USER,
        scope=KeyScope.EXECUTE,
        body=NewExecution,
        answer=Execution,
        status=202,
        summary="Run an agent",
        errors=(404, 409),
        example=NEW,
        begins=Begins("v1/executions/{id}"),
    )
    async def create_execution(call: Call[NewExecution]) -> Execution:
        return await executions.start(call.tenant, call.params["agent_id"], call.body)

    @endpoint(
        routes,
        "GET",
        "v1/executions",
        role=Role.VIEWER,
        query=ExecutionQuery,
        answer=Page[Execution],
        summary="List runs",
    )
    async def list_executions(call: Call[None, ExecutionQuery]) -> Listing[Execution]:
        return await executions.list(call.tenant, call.query.filters(), call.page)

    @endpoint(routes, "GET", ONE, role=Role.VIEWER, answer=Execution, summary="Get a run and its output")
    async def get_execution(call: Call) -> Execution:
        return await executions.get(call.tenant, call.params["execution_id"])

    @endpoint(
        routes,
        "POST",
        f"{ONE}/cancel",
        role=Role.USER,
        scope=KeyScope.EXECUTE,
        answer=Execution,
        status=202,
        summary="Cancel a run and all that it has started",
        errors=(409,),
        begins=Begins("v1/executions/{id}"),
    )
    async def cancel_execution(call: Call) -> Execution:
        return await executions.cancel(call.tenant, call.params["execution_id"])


def _following(endpoint: Endpoint, routes: func.Blueprint, executions: ExecutionService) -> None:
    @endpoint(
        routes,
        "GET",
        f"{ONE}/steps",
        role=Role.VIEWER,
        query=PageQuery,
        answer=Page[Step],
        summary="What a run has done, step by step",
    )
    async def list_steps(call: Call[None, PageQuery]) -> Listing[Step]:
        return await executions.steps(call.tenant, call.params["execution_id"], call.page)

    @endpoint(
        routes, "GET", f"{ONE}/steps/{{step}}", role=Role.VIEWER, answer=Step, summary="Get a step with all it has said"
    )
    async def get_step(call: Call) -> Step:
        return await executions.step(call.tenant, call.params["execution_id"], call.params["step"])

    @endpoint(
        routes,
        "GET",
        f"{ONE}/events",
        role=Role.VIEWER,
        query=EventsQuery,
        answer=Events,
        summary="What happens in a run, as it happens",
    )
    async def list_events(call: Call[None, EventsQuery]) -> Events:
        return await executions.events(call.tenant, call.params["execution_id"], call.query)

    @endpoint(
        routes,
        "POST",
        f"{ONE}/decisions",
        role=Role.USER,
        scope=KeyScope.EXECUTE,
        body=Decision,
        answer=Execution,
        status=202,
        summary="Decide what a run waits for: a call's approval, or what becomes of one that was interrupted",
        errors=(409,),
        example={"step": 3, "decision": "approve", "comment": "As agreed."},
        begins=Begins("v1/executions/{id}"),
    )
    async def decide_step(call: Call[Decision]) -> Execution:
        return await executions.decide(call.tenant, call.params["execution_id"], call.body)


def _admission(endpoint: Endpoint, routes: func.Blueprint, executions: ExecutionService) -> None:
    @endpoint(
        routes,
        "POST",
        "v1/execution-admission/cancel",
        role=Role.ADMIN,
        answer=Cancelled,
        summary="Cancel all runs of the tenant, a hundred at a time",
    )
    async def cancel_executions(call: Call) -> Cancelled:
        return await executions.cancel_all(call.tenant)

    @endpoint(
        routes,
        "GET",
        "v1/execution-admission",
        role=Role.VIEWER,
        answer=Admission,
        summary="Whether runs begin, and how many there are",
    )
    async def get_admission(call: Call) -> Admission:
        return await executions.admission(call.tenant)

    @endpoint(
        routes,
        "POST",
        "v1/execution-admission/pause",
        role=Role.ADMIN,
        answer=Admission,
        summary="Begin no more runs; those under way go on",
    )
    async def pause_executions(call: Call) -> Admission:
        return await executions.pause(call.tenant, True)

    @endpoint(
        routes,
        "POST",
        "v1/execution-admission/resume",
        role=Role.ADMIN,
        answer=Admission,
        summary="Begin runs again",
    )
    async def resume_executions(call: Call) -> Admission:
        return await executions.pause(call.tenant, False)


def _platform(endpoint: Endpoint, routes: func.Blueprint, executions: ExecutionService) -> None:
    @endpoint(
        routes,
        "GET",
        "v1/platform/executions",
        role=Role.PLATFORM,
        query=PlatformQuery,
        answer=PlatformExecutions,
        summary="Runs of all tenants that are not over",
    )
    async def list_platform_executions(call: Call[None, PlatformQuery]) -> PlatformExecutions:
        return await executions.everywhere(call.query)

    @endpoint(
        routes,
        "POST",
        "v1/platform/executions/{tenant_id}/{execution_id}/cancel",
        role=Role.PLATFORM,
        answer=PlatformExecution,
        status=202,
        summary="Cancel a run of any tenant",
        errors=(409,),
        begins=Begins("v1/platform/executions"),
    )
    async def cancel_platform_execution(call: Call) -> PlatformExecution:
        return await executions.cancel_of(call.tenant, call.params["tenant_id"], call.params["execution_id"])

"""HTTP routes of the design wizard."""

import azure.functions as func

from functions.design.models import Answers, Design, DesignQuery, DesignView, Feedback, NewDesign
from functions.design.service import DesignService
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Begins, Call
from shared.tenancy.plans import Limit
from shared.work.resources import Listing

ONE = "v1/design/sessions/{design_id}"
BEGINS = Begins("v1/design/sessions/{id}", 1)
BRIEF = {"brief": "Triage incoming claims and assess the damage. Alert the team when claims stay open for a week."}


def blueprint(endpoint: Endpoint, designs: DesignService) -> func.Blueprint:
    routes = func.Blueprint()
    _sessions(endpoint, routes, designs)
    _phases(endpoint, routes, designs)
    return routes


def _sessions(endpoint: Endpoint, routes: func.Blueprint, designs: DesignService) -> None:
    @endpoint(
        routes,
        "POST",
        "v1/design/sessions",
        role=Role.USER,
        scope=KeyScope.EXECUTE,
        body=NewDesign,
        answer=DesignView,
        status=202,
        limit=Limit.DESIGN,
        errors=(409,),
        begins=BEGINS,
        summary="Begin a design with a brief; the wizard works out its questions",
        example=BRIEF,
    )
    async def create_design(call: Call[NewDesign]) -> DesignView:
        return await designs.create(call.tenant, call.body)

    @endpoint(
        routes,
        "GET",
        "v1/design/sessions",
        role=Role.VIEWER,
        query=DesignQuery,
        answer=Page[Design],
        summary="List sessions of the design wizard",
    )
    async def list_designs(call: Call[None, DesignQuery]) -> Listing[Design]:
        return await designs.list(call.tenant, call.query.filters(), call.page)

    @endpoint(
        routes, "GET", ONE, role=Role.VIEWER, answer=DesignView, errors=(404,), summary="Get a session of the wizard"
    )
    async def get_design(call: Call) -> DesignView:
        return await designs.get(call.tenant, call.params["design_id"])

    @endpoint(
        routes,
        "DELETE",
        ONE,
        role=Role.ADMIN,
        scope=KeyScope.WRITE,
        answer=None,
        status=204,
        summary="Delete a session of the wizard; what it has made stays",
    )
    async def delete_design(call: Call) -> None:
        await designs.delete(call.tenant, call.params["design_id"], call.if_match)


def _phases(endpoint: Endpoint, routes: func.Blueprint, designs: DesignService) -> None:
    @endpoint(
        routes,
        "POST",
        f"{ONE}/answers",
        role=Role.USER,
        scope=KeyScope.EXECUTE,
        body=Answers,
        answer=DesignView,
        status=202,
        limit=Limit.DESIGN,
        errors=(404, 409),
        begins=BEGINS,
        summary="Answer the questions; the wizard works out a proposal",
        example={"answers": {"approval": "yes, with approval"}},
    )
    async def answer_design(call: Call[Answers]) -> DesignView:
        return await designs.answer(call.tenant, call.params["design_id"], call.body)

    @endpoint(
        routes,
        "POST",
        f"{ONE}/revise",
        role=Role.USER,
        scope=KeyScope.EXECUTE,
        body=Feedback,
        answer=DesignView,
        status=202,
        limit=Limit.DESIGN,
        errors=(404, 409),
        begins=BEGINS,
        summary="Have the proposal changed",
        example={"feedback": "Leave the alerts out."},
    )
    async def revise_design(call: Call[Feedback]) -> DesignView:
        return await designs.revise(call.tenant, call.params["design_id"], call.body)

    @endpoint(
        routes,
        "POST",
        f"{ONE}/accept",
        role=Role.USER,
        answer=Design,
        limit=Limit.DESIGN,
        errors=(404, 409),
        summary="Make all that is proposed, or nothing",
    )
    async def accept_design(call: Call) -> Design:
        return await designs.accept(call.tenant, call.params["design_id"])

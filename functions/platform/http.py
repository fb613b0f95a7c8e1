"""HTTP routes about the platform itself: health, the API's own description, jobs, dead letters."""

import re
from typing import Any

import azure.functions as func

from functions.platform.costs import CostListQuery, CostQuery, Costs, TenantCost
from functions.platform.health import Alive, Health, HealthService
from functions.platform.models import DeadLetterQuery, Job, JobQuery, WhichLetters
from shared.auth.roles import Role
from shared.http.catalogue import html
from shared.http.docs import FILES, Description
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Begins, Call, Content, OpenCall
from shared.jobs.deadletters import DeadLetter, DeadLetters, Replayed
from shared.jobs.jobs import Job as StoredJob
from shared.version import commit
from shared.work.resources import Listing, find, load


def blueprint(
    endpoint: Endpoint,
    health: HealthService,
    dead_letters: DeadLetters,
    costs: Costs,
) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(routes, "GET", "health", role=None, answer=Health, summary="Is the service well?", errors=(503,))
    async def get_health(call: OpenCall) -> Content:
        found = await health.check()
        status = 503 if found.fails else 200
        return Content(found.model_dump_json().encode(), "application/json", status)

    @endpoint(routes, "GET", "health/live", role=None, free=True, answer=Alive, summary="Does this process answer?")
    async def get_live(call: OpenCall) -> Alive:
        return Alive(commit=commit())

    description = Description(endpoint.routes)

    @endpoint(routes, "GET", "openapi.json", role=None, answer=dict, summary="This API as OpenAPI 3.1", errors=(304,))
    async def get_openapi(call: OpenCall) -> Content:
        return description.document.answer(call.request)

    _docs(endpoint, routes, description)

    @endpoint(
        routes,
        "GET",
        "v1/jobs",
        role=Role.ADMIN,
        query=JobQuery,
        answer=Page[Job],
        summary="List long jobs",
    )
    async def list_jobs(call: Call[None, JobQuery]) -> Listing[Job]:
        found = await find(call.tenant, StoredJob, call.query.filters(), call.page)
        return Listing([Job.of(job) for job in found.items], found.next)

    @endpoint(routes, "GET", "v1/jobs/{job_id}", role=Role.ADMIN, answer=Job, summary="Get a long job")
    async def get_job(call: Call) -> Job:
        return Job.of((await load(call.tenant, StoredJob, call.params["job_id"])).value)

    @endpoint(
        routes,
        "GET",
        "v1/platform/dead-letters",
        role=Role.PLATFORM,
        query=DeadLetterQuery,
        answer=Page[DeadLetter],
        summary="List messages that could not be handled",
    )
    async def list_dead_letters(call: Call[None, DeadLetterQuery]) -> Listing[DeadLetter]:
        return await dead_letters.list(call.page, call.query.filters())

    @endpoint(
        routes,
        "GET",
        "v1/platform/dead-letters/{letter_id}",
        role=Role.PLATFORM,
        answer=DeadLetter,
        summary="Get a message that could not be handled",
    )
    async def get_dead_letter(call: Call) -> DeadLetter:
        return await dead_letters.get(call.params["letter_id"])

    @endpoint(
        routes,
        "POST",
        "v1/platform/dead-letters/{letter_id}/replay",
        role=Role.PLATFORM,
        answer=DeadLetter,
        status=202,
        summary="Send a dead letter to its queue again; it comes back to the list if it cannot be handled again",
        begins=Begins("v1/platform/dead-letters"),
    )
    async def replay_dead_letter(call: Call) -> DeadLetter:
        return await dead_letters.replay(call.params["letter_id"])

    @endpoint(
        routes,
        "POST",
        "v1/platform/dead-letter-replays",
        role=Role.PLATFORM,
        body=WhichLetters,
        answer=Replayed,
        summary="Send many dead letters to their queues again, the oldest first, two hundred at a time",
        example={"queue": "usage-events"},
    )
    async def replay_dead_letters(call: Call[WhichLetters]) -> Replayed:
        return await dead_letters.replay_all(call.body.model_dump())

    @endpoint(
        routes,
        "GET",
        "v1/platform/costs",
        role=Role.PLATFORM,
        query=CostListQuery,
        answer=Page[TenantCost],
        summary="List what each tenant costs in a month",
    )
    async def list_costs(call: Call[None, CostListQuery]) -> Listing[TenantCost]:
        return await costs.list(call.query, call.page)

    @endpoint(
        routes,
        "GET",
        "v1/platform/costs/{tenant_id}",
        role=Role.PLATFORM,
        query=CostQuery,
        answer=TenantCost,
        summary="What a tenant costs in a month",
    )
    async def get_cost(call: Call[None, CostQuery]) -> TenantCost:
        return await costs.get(call.params["tenant_id"], call.query)

    @endpoint(
        routes,
        "GET",
        "problems/{code}",
        role=None,
        answer=Content(b"", "text/html"),
        summary="What a problem's code means, as a page",
    )
    async def get_problem(call: OpenCall) -> Content:
        return Content(html(call.request.route_params["code"]).encode(), "text/html")

    return routes


def _docs(endpoint: Endpoint, routes: func.Blueprint, description: Description) -> None:
    """The page on which the API can be read and tried out, and what it loads."""
    kept: dict[str, Any] = {"role": None, "errors": (304,), "described": False}

    @endpoint(routes, "GET", "docs", answer=Content(b"", "text/html"), summary="This API as a page", **kept)
    async def get_docs(call: OpenCall) -> Content:
        return description.html.answer(call.request)

    def serve(file: str, media_type: str) -> None:
        async def get(call: OpenCall) -> Content:
            return description.file(file).answer(call.request)

        named = f"get_docs_{re.sub('[^a-z]+', '_', file)}"
        answer, summary = Content(b"", media_type), "A file of this page"
        endpoint(routes, "GET", f"docs/{file}", name=named, answer=answer, summary=summary, **kept)(get)

    for file, media_type in FILES.items():
        serve(file, media_type)

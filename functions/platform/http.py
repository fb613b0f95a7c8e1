"""HTTP routes about the platform itself: health, the API's own description, jobs, dead letters."""

import azure.functions as func

from functions.platform.health import Health, HealthService
from functions.platform.models import JobQuery, JobView
from shared.auth.roles import Role
from shared.http.docs import Description
from shared.http.endpoint import Endpoint
from shared.http.pagination import ListQuery, Page
from shared.http.routes import Begins, Call, Content, OpenCall
from shared.jobs.deadletters import DeadLetter, DeadLetters
from shared.jobs.jobs import Job
from shared.work.resources import Listing, find, load


def blueprint(
    endpoint: Endpoint,
    health: HealthService,
    dead_letters: DeadLetters,
) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(routes, "GET", "health", role=None, answer=Health, summary="Is the service well?", errors=(503,))
    async def get_health(call: OpenCall) -> Content:
        found = await health.check()
        status = 503 if found.status == "degraded" else 200
        return Content(found.model_dump_json().encode(), "application/json", status)

    description = Description(endpoint.routes)

    @endpoint(routes, "GET", "openapi.json", role=None, answer=dict, summary="This API as OpenAPI 3.1", errors=(304,))
    async def get_openapi(call: OpenCall) -> Content:
        return description.document

    page = Content(b"", "text/html")

    @endpoint(routes, "GET", "docs", role=None, answer=page, summary="This API as a page", errors=(304,))
    async def get_docs(call: OpenCall) -> Content:
        return description.page

    @endpoint(
        routes,
        "GET",
        "v1/jobs",
        role=Role.ADMIN,
        query=JobQuery,
        answer=Page[JobView],
        summary="List long jobs",
    )
    async def list_jobs(call: Call[None, JobQuery]) -> Listing[JobView]:
        found = await find(call.tenant, Job, call.query.filters(), call.page)
        return Listing([JobView.of(job) for job in found.items], found.next)

    @endpoint(routes, "GET", "v1/jobs/{job_id}", role=Role.ADMIN, answer=JobView, summary="Get a long job")
    async def get_job(call: Call) -> JobView:
        return JobView.of((await load(call.tenant, Job, call.params["job_id"])).value)

    @endpoint(
        routes,
        "GET",
        "v1/platform/dead-letters",
        role=Role.PLATFORM,
        query=ListQuery,
        answer=Page[DeadLetter],
        summary="List messages that could not be handled",
    )
    async def list_dead_letters(call: Call[None, ListQuery]) -> Listing[DeadLetter]:
        return await dead_letters.list(call.page)

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

    return routes

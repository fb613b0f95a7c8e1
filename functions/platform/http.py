"""HTTP routes about the platform itself: health, the API's own description, jobs, dead letters."""

from typing import Any

import azure.functions as func

from functions.platform.health import Health, HealthService
from shared.auth.roles import Role
from shared.http.docs import page
from shared.http.endpoint import Endpoint
from shared.http.openapi import describe
from shared.http.pagination import Page, PageQuery
from shared.http.routes import Call, Content, OpenCall
from shared.jobs import Job
from shared.messaging.deadletters import DeadLetter, DeadLetters
from shared.resources import Listing, load
from shared.version import VERSION


def blueprint(
    endpoint: Endpoint,
    health: HealthService,
    dead_letters: DeadLetters,
) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(routes, "GET", "health", role=None, answer=Health, summary="Is the service well?", errors=(503,))
    async def get_health(call: OpenCall) -> Content:
        found = await health.check()
        status = 200 if found.status == "healthy" else 503
        return Content(found.model_dump_json().encode(), "application/json", status)

    @endpoint(routes, "GET", "openapi.json", role=None, answer=dict, summary="This API as OpenAPI 3.1")
    async def get_openapi(call: OpenCall) -> dict[str, Any]:
        return describe(endpoint.routes, version=VERSION)

    @endpoint(routes, "GET", "docs", role=None, answer=Content(b"", "text/html"), summary="This API as a page")
    async def get_docs(call: OpenCall) -> Content:
        return Content(page(describe(endpoint.routes, version=VERSION)).encode(), "text/html")

    @endpoint(routes, "GET", "v1/jobs/{job_id}", role=Role.ADMIN, answer=Job, summary="Get a long job")
    async def get_job(call: Call) -> Job:
        return (await load(call.tenant, Job, call.params["job_id"])).value

    @endpoint(
        routes,
        "GET",
        "v1/platform/dead-letters",
        role=Role.PLATFORM,
        query=PageQuery,
        answer=Page[DeadLetter],
        summary="List messages that could not be handled, newest first",
    )
    async def list_dead_letters(call: Call[None, PageQuery]) -> Listing[DeadLetter]:
        return await dead_letters.list(call.page.limit, call.page.after)

    @endpoint(
        routes,
        "POST",
        "v1/platform/dead-letters/{letter_id}/replay",
        role=Role.PLATFORM,
        answer=DeadLetter,
        status=202,
        summary="Send a dead letter to its queue again",
    )
    async def replay_dead_letter(call: Call) -> DeadLetter:
        return await dead_letters.replay(call.params["letter_id"])

    return routes

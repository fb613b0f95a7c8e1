"""HTTP routes of the webhooks."""

import azure.functions as func

from functions.webhooks.answering import Answering, Posted
from functions.webhooks.assembly import Webhooks
from functions.webhooks.models import (
    Delivery,
    DeliveryQuery,
    DeliveryReplay,
    ReplayedDeliveries,
    Webhook,
    WebhookFields,
    WebhookQuery,
)
from shared.auth.roles import Role
from shared.http.crud import crud
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Begins, Call, Content, OpenCall
from shared.work.resources import Listing

ONE = "v1/webhooks/{webhook_id}"
LOG = "v1/webhook-deliveries"
LOGGED = f"{LOG}/{{delivery_id}}"
EXAMPLE = {"url": "https://hooks.acme.example/flowgrid", "events": ["execution.succeeded", "execution.failed"]}


def blueprint(endpoint: Endpoint, webhooks: Webhooks) -> func.Blueprint:
    routes = func.Blueprint()
    crud(
        endpoint,
        routes,
        webhooks.service,
        path="webhooks",
        fields=WebhookFields,
        query=WebhookQuery,
        example=EXAMPLE,
        patch={"enabled": False},
        writes_by=Role.ADMIN,
    )

    @endpoint(
        routes,
        "POST",
        f"{ONE}/secret",
        role=Role.ADMIN,
        answer=Webhook,
        summary="Make a new secret of a webhook; the former one signs as well for a day",
        errors=(409,),
    )
    async def rotate_webhook_secret(call: Call) -> Webhook:
        return await webhooks.service.rotate(call.tenant, call.params["webhook_id"], call.if_match)

    _deliveries(endpoint, routes, webhooks)
    _answers(endpoint, routes, webhooks.answering)
    return routes


def _deliveries(endpoint: Endpoint, routes: func.Blueprint, webhooks: Webhooks) -> None:
    log = webhooks.deliveries

    @endpoint(
        routes,
        "GET",
        LOG,
        role=Role.ADMIN,
        query=DeliveryQuery,
        answer=Page[Delivery],
        summary="List what webhooks were told, and what waits for them",
    )
    async def list_webhook_deliveries(call: Call[None, DeliveryQuery]) -> Listing[Delivery]:
        return await log.list(call.tenant, call.query.filters(), call.page)

    @endpoint(routes, "GET", LOGGED, role=Role.ADMIN, answer=Delivery, summary="Get a delivery and its attempts")
    async def get_webhook_delivery(call: Call) -> Delivery:
        return await log.get(call.tenant, call.params["delivery_id"])

    @endpoint(
        routes,
        "POST",
        f"{LOGGED}/redeliver",
        role=Role.ADMIN,
        answer=Delivery,
        status=202,
        summary="Deliver once more what is over",
        errors=(409,),
        begins=Begins("v1/webhook-deliveries/{id}"),
    )
    async def redeliver_webhook_delivery(call: Call) -> Delivery:
        return await log.redeliver(call.tenant, call.params["delivery_id"])

    @endpoint(
        routes,
        "POST",
        f"{ONE}/replay",
        role=Role.ADMIN,
        body=DeliveryReplay,
        answer=ReplayedDeliveries,
        summary="Deliver once more what happened in a range of time",
        errors=(409,),
        example={"since": "2026-11-24T00:00:00Z", "status": "failed"},
    )
    async def replay_webhook_deliveries(call: Call[DeliveryReplay]) -> ReplayedDeliveries:
        return await log.replay(call.tenant, call.params["webhook_id"], call.body)

    @endpoint(
        routes,
        "POST",
        f"{ONE}/test",
        role=Role.ADMIN,
        answer=Delivery,
        status=202,
        summary="Tell a webhook of an event that is about itself",
        errors=(409,),
        begins=Begins("v1/webhook-deliveries/{id}"),
    )
    async def test_webhook(call: Call) -> Delivery:
        return await log.test(call.tenant, call.params["webhook_id"])


def _answers(endpoint: Endpoint, routes: func.Blueprint, answering: Answering) -> None:
    """Open to everybody: what comes is signed."""

    @endpoint(
        routes,
        "POST",
        "hooks/slack/{hook}",
        role=None,
        answer=Content,
        summary="What was clicked in Slack (posted by Slack)",
        described=False,
    )
    async def take_slack_answer(call: OpenCall) -> Content:
        posted = Posted(call.request.headers, call.request.get_body())
        return await answering.from_slack(call.request.route_params["hook"], posted, call.known)

    @endpoint(
        routes,
        "GET",
        "hooks/decisions/{token}",
        role=None,
        answer=Content,
        summary="The page that a card leads to",
        described=False,
    )
    async def ask_decision(call: OpenCall) -> Content:
        return await answering.ask(call.request.route_params["token"], call.known)

    @endpoint(
        routes,
        "POST",
        "hooks/decisions/{token}",
        role=None,
        answer=Content,
        summary="What was decided on that page",
        described=False,
    )
    async def take_decision(call: OpenCall) -> Content:
        return await answering.answer(call.request.route_params["token"], call.request.get_body(), call.known)

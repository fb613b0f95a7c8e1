"""HTTP routes of hooks: those for whom they belong to, and the one that others deliver to."""

import azure.functions as func

from functions.hooks.delivering import Delivering, Sent
from functions.hooks.models import Delivered, Hook, HookQuery, HookRotation, NewHook
from functions.hooks.service import HookService
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Call, OpenCall
from shared.work.resources import Listing

ONE = "v1/hooks/{hook_id}"
NEW = {"name": "Pushes to claims", "style": "github", "secret": "It's-a-secret-to-everybody"}
ROTATION = {"secret": "Another-secret-to-everybody", "overlap_hours": 24}


def blueprint(endpoint: Endpoint, hooks: HookService, delivering: Delivering) -> func.Blueprint:
    routes = func.Blueprint()
    _managed(endpoint, routes, hooks)

    @endpoint(
        routes,
        "POST",
        "hooks/in/{hook_token}",
        role=None,
        answer=dict,
        status=202,
        summary="Start a run of the hook's agent (sent by others, in their own form)",
        described=False,
    )
    async def deliver_to_hook(call: OpenCall) -> Delivered:
        request = call.request
        sent = Sent(request.route_params["hook_token"], request.headers, request.get_body(), call.info)
        return await delivering.take(sent, call.known)

    return routes


def _managed(endpoint: Endpoint, routes: func.Blueprint, hooks: HookService) -> None:
    @endpoint(
        routes,
        "POST",
        "v1/agents/{agent_id}/hooks",
        role=Role.USER,
        scope=KeyScope.EXECUTE,
        body=NewHook,
        answer=Hook,
        status=201,
        errors=(404, 409),
        summary="Make a hook: a URL by which others start runs of the agent",
        example=NEW,
    )
    async def create_hook(call: Call[NewHook]) -> Hook:
        return await hooks.create(call.tenant, call.params["agent_id"], call.body)

    @endpoint(
        routes,
        "GET",
        "v1/hooks",
        role=Role.VIEWER,
        query=HookQuery,
        answer=Page[Hook],
        summary="List hooks",
    )
    async def list_hooks(call: Call[None, HookQuery]) -> Listing[Hook]:
        return await hooks.list(call.tenant, call.query.filters(), call.page)

    @endpoint(routes, "GET", ONE, role=Role.VIEWER, answer=Hook, summary="Get a hook")
    async def get_hook(call: Call) -> Hook:
        return await hooks.get(call.tenant, call.params["hook_id"])

    @endpoint(
        routes,
        "POST",
        f"{ONE}/rotate",
        role=Role.USER,
        scope=KeyScope.EXECUTE,
        body=HookRotation,
        answer=Hook,
        errors=(404, 409),
        summary="Set a hook's secret; the one before is good for a while",
        example=ROTATION,
    )
    async def rotate_hook(call: Call[HookRotation]) -> Hook:
        return await hooks.rotate(call.tenant, call.params["hook_id"], call.body)

    @endpoint(
        routes,
        "DELETE",
        ONE,
        role=Role.USER,
        answer=None,
        status=204,
        errors=(404, 412),
        summary="Revoke a hook",
    )
    async def revoke_hook(call: Call) -> None:
        await hooks.revoke(call.tenant, call.params["hook_id"], call.if_match)

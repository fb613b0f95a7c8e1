"""HTTP routes of the notifications."""

import azure.functions as func

from functions.notifications.models import Notification, NotificationQuery
from functions.notifications.service import NotificationService
from shared.auth.roles import Role
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Call
from shared.work.resources import Listing


def blueprint(endpoint: Endpoint, notifications: NotificationService) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(
        routes,
        "GET",
        "v1/notifications",
        role=Role.VIEWER,
        query=NotificationQuery,
        answer=Page[Notification],
        summary="List what the tenant has been told",
    )
    async def list_notifications(call: Call[None, NotificationQuery]) -> Listing[Notification]:
        return await notifications.list(call.tenant, call.page)

    @endpoint(
        routes,
        "GET",
        "v1/notifications/{notification_id}",
        role=Role.VIEWER,
        answer=Notification,
        summary="Get a notification",
    )
    async def get_notification(call: Call) -> Notification:
        return await notifications.get(call.tenant, call.params["notification_id"])

    return routes

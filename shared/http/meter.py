"""Metering: every authenticated call that passed its rate limits becomes one durable usage event.

No call is answered whose event is not durable: the event goes to the queue, else to the outbox, else the caller is
told to come again (decision 0020).
"""

import logging
from datetime import datetime

from shared.auth.roles import Role
from shared.errors import FlowgridError, Unavailable, Unknown
from shared.http.routes import Route
from shared.messaging.port import Messaging
from shared.work.events import Metric, usage_event
from shared.work.outbox import outbox_item
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.metering")


class Meter:
    """`messaging` takes events at once, nothing is committed with them; what it does not take is put in the outbox."""

    def __init__(self, services: Services, messaging: Messaging) -> None:
        self._services = services
        self._messaging = messaging

    async def api_call(
        self, session: TenantSession, route: Route, method: str, started: datetime, status_code: int
    ) -> None:
        """Count the call before it is answered; the work of Flowgrid's own staff is not the tenant's usage.

        Raises `Unavailable` when the event of a read cannot be kept, `Unknown` when it is that of a write.
        """
        if session.caller.role is Role.PLATFORM:
            return
        now = self._services.clock.now()
        event = usage_event(
            Metric.API_CALLS,
            id=self._services.ids.new(),
            tenant_id=session.id,
            at=now,
            value=1,
            endpoint=f"/api/{route.path}",
            method=method,
            operation=route.name,
            duration_ms=round((now - started).total_seconds() * 1000),
            status_code=status_code,
        )
        try:
            await self._messaging.send(self._services.usage_queue, [event])
        except FlowgridError:
            try:
                await session.store.control.commit([outbox_item(self._services.usage_queue, event, now)])
            except FlowgridError as error:
                logger.error("a usage event could not be kept", extra={"event": event.body, "reason": error.message})
                if route.method == "GET":
                    raise Unavailable("This call cannot be counted at the moment; try again.") from error
                raise Unknown(
                    "This call cannot be counted at the moment. What it asked for may have been done: "
                    "send it again with the same Idempotency-Key, or look."
                ) from error

"""Request units as usage: what each tenant's calls cost at the database, told to the metering by every process.

Beside the lines of the log (shared/telemetry/charges.py). No request waits for it: a task of its own sends them once
five minutes are over. What is `FEW` waits for up to an hour: storing an event costs some, too, and a tenant that does
nothing would be told of for ever. A process that is killed loses what it has not sent; one that ends sends it. What the
queue does not take is sent again under the same ids, so that nothing is counted twice.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from contextvars import Context

from shared.apart import apart
from shared.clock import Clock
from shared.ids import PLATFORM_TENANT_ID, Ids, is_uuid
from shared.messaging.port import Message, Messaging
from shared.work.events import Metric, usage_event

logger = logging.getLogger("flowgrid.charges")
SEND_SECONDS = 300.0
FEW = 100  # units
FEW_SECONDS = 3600.0


class RequestUnits:
    """Adds up whole and broken units by tenant (`add`), and sends the whole ones: one event per tenant and sending."""

    def __init__(self, messaging: Messaging, clock: Clock, ids: Ids, queue: str) -> None:
        self._messaging = messaging
        self._clock = clock
        self._ids = ids
        self._queue = queue
        self._units: defaultdict[str, float] = defaultdict(float)
        self._unsent: list[Message] = []
        self._since = self._since_all = clock.monotonic()
        self._sending: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    def add(self, units: Mapping[str, float]) -> None:
        """Take in what tenants have spent; a sending begins where one is due. Flowgrid's own work is nobody's usage."""
        for tenant_id, spent in units.items():
            if is_uuid(tenant_id) and tenant_id != PLATFORM_TENANT_ID:
                self._units[tenant_id] += spent
        due = self._clock.monotonic() - self._since >= SEND_SECONDS
        if due and (self._sending is None or self._sending.done()):
            # not as part of the request that happens to be here
            few_too = self._clock.monotonic() - self._since_all >= FEW_SECONDS
            work = self.flush(at_least=1 if few_too else FEW)
            self._sending = asyncio.get_running_loop().create_task(work, context=Context())

    async def flush(self, *, at_least: int = 1) -> None:
        """Send what there is of who has spent so much; what fails stays, and is sent again before anything else."""
        async with self._one_at_a_time:
            self._since = self._clock.monotonic()
            if at_least == 1:
                self._since_all = self._since
            with apart(logger, "request units are sent later"):
                self._unsent = self._unsent or self._taken(at_least)
                if self._unsent:
                    await self._messaging.send(self._queue, self._unsent)
                self._unsent = []

    def _taken(self, at_least: int) -> list[Message]:
        """Events of whole units; what is broken of one stays."""
        now, messages = self._clock.now(), []
        for tenant_id, spent in self._units.items():
            whole = int(spent)
            if whole >= at_least:
                self._units[tenant_id] = spent - whole
                event = usage_event(Metric.REQUEST_UNITS, id=self._ids.new(), tenant_id=tenant_id, at=now, value=whole)
                messages.append(event)
        return messages

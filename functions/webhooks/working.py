"""The deliveries' queue: each message has what has happened handed out, or one line worked on."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from functions.webhooks.lines import Lines
from functions.webhooks.messages import look_at
from functions.webhooks.models import NEVER, SCHEDULE, Line
from functions.webhooks.telling import hand_out
from shared.apart import apart
from shared.clock import SKEW, rfc3339
from shared.database.port import Database, Where
from shared.database.sweeps import swept
from shared.errors import Unavailable
from shared.ids import is_uuid
from shared.jobs.deadletters import DeadLetters
from shared.messaging.places import Places, side_by_side
from shared.messaging.port import Message, Messaging
from shared.telemetry.port import invocation
from shared.tenancy.directory import Directory
from shared.work.happenings import HAPPENED
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.webhooks")
LOST_AFTER = timedelta(minutes=1)  # what nobody has handed out by then, its message is lost
PAGE, PAGES = 500, 4


class Deliverer:
    """What is no message of ours is moved aside. A tenant whose receivers hang leaves room for the others'."""

    def __init__(
        self, lines: Lines, directory: Directory, services: Services, dead_letters: DeadLetters, messaging: Messaging
    ) -> None:
        self._lines = lines
        self._directory = directory
        self._services = services
        self._dead_letters = dead_letters
        self._places = Places(messaging, services.deliveries_queue, services.ids.new)

    async def take(self, message: Message) -> None:
        """One message. Raises `Unavailable`: it comes again."""
        telemetry, cause = self._services.telemetry, message.traceparent
        with invocation(telemetry, "deliver", traceparent=cause, tenant_id=message.tenant_id):
            await self._take(message)

    async def take_all(self, messages: Sequence[Message]) -> None:
        """Side by side. Raises the first failure, when all are done."""
        await side_by_side(self.take, messages)

    async def _take(self, message: Message) -> None:
        webhook, urgent = message.body.get("webhook_id"), message.body.get("urgent") is True
        if not message.tenant_id or not (_is_id(webhook) or "happened" in message.body):
            return await self._dead_letters.add(
                self._services.deliveries_queue, message, "names no webhook of a tenant"
            )
        if not _is_id(webhook):
            return await self._places.give(message, partial(self._hand_out, message.tenant_id))
        await self._places.give(message, partial(self._work, message.tenant_id, str(webhook), urgent))

    async def _hand_out(self, tenant_id: str) -> None:
        await hand_out(await self._session(tenant_id))

    async def _work(self, tenant_id: str, webhook_id: str, urgent: bool) -> None:
        await self._lines.work(await self._session(tenant_id), webhook_id, urgent=urgent)

    async def _session(self, tenant_id: str) -> TenantSession:
        entry = await self._directory.entry(tenant_id)
        if entry is None:
            raise Unavailable(f"There is no tenant {tenant_id} (yet).")
        return TenantSession.of_system(entry, self._directory, self._services)


class Sweeping:
    """Repairs what a crash or a lost message leaves; twice at once does no harm."""

    def __init__(self, database: Database, services: Services, messaging: Messaging) -> None:
        self._database = database
        self._services = services
        self._messaging = messaging

    async def sweep(self) -> int:
        """Returns how many lines were found that nobody looked at in time, and how many events nobody handed out."""
        now = self._services.clock.now()
        late = [Where("due_at", "<", rfc3339(now))]
        forgotten = [Where("due_at", "=", NEVER), Where("waiting", ">", 0)]
        # and what was put off before the clock was set back
        ahead = [Where("due_at", ">", rfc3339(now + max(SCHEDULE) + SKEW)), Where("due_at", "<", NEVER)]
        found = 0
        for where in (late, forgotten, ahead):
            async for stored in swept(self._database, Line.KIND, where, page=PAGE, pages=PAGES):
                line, tenant_id = Line.model_validate(stored.body), stored.body["tenant_id"]
                id = f"{line.id}:{line.due_at}:{line.waiting}:{rfc3339(now)[:16]}"
                found += await self._send(look_at(id, tenant_id, line.id, urgent=True))
        old = [Where("created_at", "<", rfc3339(now - LOST_AFTER))]
        async for stored in swept(self._database, HAPPENED, old, page=PAGE, pages=PAGES):
            id = f"{stored.body['id']}:{rfc3339(now)[:16]}"
            message = Message(id, stored.body["tenant_id"], {"happened": stored.body["id"]})
            found += await self._send(message)
        return found

    async def _send(self, message: Message) -> int:
        with apart(logger, "a webhook is left to the next sweep", tenant_id=message.tenant_id):
            await self._messaging.send(self._services.deliveries_queue, [message])
            return 1
        return 0


def _is_id(value: object) -> bool:
    return isinstance(value, str) and is_uuid(value)

"""The messages of the runs' queue: to work on a run, or to end what waits of a cancelled tree."""

from collections.abc import Sequence
from functools import partial

from functions.executions.cancelling import Cancelling
from functions.executions.runner import Runner
from shared.errors import Unavailable
from shared.ids import is_uuid
from shared.jobs.deadletters import DeadLetters
from shared.messaging.places import Places, side_by_side
from shared.messaging.port import Message, Messaging
from shared.telemetry.port import invocation
from shared.tenancy.directory import Directory
from shared.work.scope import Services
from shared.work.session import TenantSession


class RunMessages:
    """What is no message of ours is moved aside."""

    def __init__(
        self,
        runner: Runner,
        cancelling: Cancelling,
        directory: Directory,
        services: Services,
        dead_letters: DeadLetters,
        messaging: Messaging,
        queue: str,
    ) -> None:
        self._places = Places(messaging, queue, services.ids.new)
        self._runner = runner
        self._cancelling = cancelling
        self._directory = directory
        self._services = services
        self._dead_letters = dead_letters
        self._queue = queue

    async def take(self, message: Message) -> None:
        """One message. Raises `Unavailable`: it comes again."""
        telemetry, cause = self._services.telemetry, message.traceparent
        with invocation(telemetry, "run_execution", traceparent=cause, tenant_id=message.tenant_id):
            await self._take(message)

    async def _take(self, message: Message) -> None:
        run, revision, cancelled = (message.body.get(name) for name in ("execution_id", "revision", "cancel"))
        if _is_id(cancelled) and message.tenant_id:
            await self._end_tree(message.tenant_id, str(cancelled))
        elif _is_id(run) and isinstance(revision, int) and message.tenant_id:
            work = partial(self._runner.advance, message.tenant_id, str(run), revision)
            await self._places.give(message, work)
        else:
            await self._dead_letters.add(self._queue, message, "names no run of a tenant")

    async def take_all(self, messages: Sequence[Message]) -> None:
        """Side by side. Raises the first failure, when all are done."""
        await side_by_side(self.take, messages)

    async def _end_tree(self, tenant_id: str, root_id: str) -> None:
        entry = await self._directory.entry(tenant_id)
        if entry is None:
            raise Unavailable(f"There is no tenant {tenant_id} (yet).")
        session = TenantSession.of_system(entry, self._directory, self._services)
        await session.store.catch_up()
        await self._cancelling.end_tree(session, root_id)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and is_uuid(value)

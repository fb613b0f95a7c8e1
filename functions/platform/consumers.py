"""What the queues' messages are given to; and the draining of the embedded queue where no trigger does it."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from shared.apart import apart
from shared.ids import is_uuid
from shared.jobs.deadletters import DeadLetters
from shared.jobs.jobs import Jobs
from shared.messaging.port import Message
from shared.messaging.queues import MESSAGES_AT_ONCE
from shared.messaging.receiving import Receiving
from shared.telemetry.port import OFF, Telemetry, invocation

logger = logging.getLogger("flowgrid.queues")
Consumer = Callable[[Sequence[Message]], Awaitable[None]]
DRAIN_SECONDS = 20.0


class Consumers:
    """`run_job` for the jobs queue; `by_queue` names the consumer of every queue."""

    def __init__(
        self,
        jobs: Jobs,
        jobs_queue: str,
        dead_letters: DeadLetters,
        others: Mapping[str, Consumer],
        telemetry: Telemetry = OFF,
    ) -> None:
        self._telemetry = telemetry
        self._jobs = jobs
        self._jobs_queue = jobs_queue
        self._dead_letters = dead_letters
        self.by_queue: Mapping[str, Consumer] = {**others, jobs_queue: self.run_jobs}

    async def run_job(self, message: Message) -> None:
        cause, tenant_id = message.traceparent, message.tenant_id
        with invocation(self._telemetry, "run_job", traceparent=cause, tenant_id=tenant_id):
            await self._run_job(message)

    async def _run_job(self, message: Message) -> None:
        job_id, revision = message.body.get("job_id"), message.body.get("revision", 1)
        if not (isinstance(job_id, str) and is_uuid(job_id) and isinstance(revision, int) and message.tenant_id):
            await self._dead_letters.add(self._jobs_queue, message, "names no job of a tenant")
            return
        await self._jobs.run(message.tenant_id, job_id, revision)

    async def run_jobs(self, messages: Sequence[Message]) -> None:
        for message in messages:
            await self.run_job(message)

    async def collect_dead(self) -> int:
        """Move what the queues themselves have given up on to the dead letters; returns how many."""
        found = 0
        for queue in self.by_queue:
            with apart(logger, "a queue's dead messages are left to the next sweep", queue=queue):
                found += await self._dead_letters.collect(queue)
        return found

    async def drain(self, messaging: Receiving) -> int:
        """Handle what waits in the embedded queue, for at most some seconds; returns how many messages."""
        handled, until = 0, time.monotonic() + DRAIN_SECONDS
        for queue, consume in self.by_queue.items():
            most = 1 if queue == self._jobs_queue else MESSAGES_AT_ONCE
            while time.monotonic() < until and await messaging.waiting(queue):
                lease = await messaging.receive(queue, most=most)
                await consume([message for message, _ in lease.messages])
                await messaging.complete(lease)
                handled += len(lease.messages)
        return handled

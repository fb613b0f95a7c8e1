"""The sweep of runs: what a crash has left half-way is looked at again, and who waits for a place is admitted."""

import logging

from functions.executions.admission import admit
from functions.executions.holding import Hold, Lost, Pause
from functions.executions.models import ACTIVE, LONGEST_LEASE, TICKET, Execution
from functions.executions.runner import Runner
from shared.apart import apart
from shared.clock import SKEW, rfc3339
from shared.database.port import Database, Stored, Where
from shared.database.sweeps import swept
from shared.messaging.port import Message, Messaging
from shared.tenancy.directory import Directory
from shared.work.resources import Versioned
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.executions")
PAGE = 1000
PAGES = 5


class Sweeping:
    """Repairs; twice at once does no harm."""

    def __init__(
        self,
        runner: Runner,
        database: Database,
        directory: Directory,
        messaging: Messaging,
        services: Services,
        queue: str,
        pause: Pause,
    ) -> None:
        self._runner = runner
        self._database = database
        self._directory = directory
        self._messaging = messaging
        self._services = services
        self._queue = queue
        self._pause = pause

    async def sweep(self) -> int:
        """Returns how many runs were found that nobody looked at in time, and how many were admitted."""
        return await self._stalled() + await self._waiting()

    async def _stalled(self) -> int:
        """Send the message of every run again that is not looked at: after its lease, its approval, its deadline."""
        now, active = self._services.clock.now(), Where("status", "in", list(ACTIVE))
        late = Where("lease_until", "<", rfc3339(now))
        # and what was leased before the clock was set back
        ahead = Where("lease_until", ">", rfc3339(now + LONGEST_LEASE + SKEW))
        found = [
            stored
            for where in (late, ahead)
            async for stored in swept(self._database, Execution.KIND, [active, where], page=PAGE, pages=PAGES)
        ]
        for stored in found:
            run = Execution.model_validate(stored.body)
            with apart(logger, "a run is left to the next sweep", execution_id=run.id):
                message = {"execution_id": run.id, "revision": run.revision}
                id = f"{run.id}:{run.revision}:{run.lease_until}"
                await self._messaging.send(self._queue, [Message(id, run.tenant_id, message)])
        return len(found)

    async def of_tenant(self, session: TenantSession) -> int:
        """Admit one tenant's, however many others' stand before them in the sweep."""
        return await admit(session, self._queue, self._pause)

    async def _waiting(self) -> int:
        """Admit whom nobody has: whoever had made room died, or the plan allows more."""
        admitted, seen = 0, set[str]()
        async for ticket in swept(self._database, TICKET, page=PAGE, pages=PAGES):
            tenant_id = ticket.body["tenant_id"]
            with apart(logger, "waiting runs are left to the next sweep", tenant_id=tenant_id):
                entry = await self._directory.entry(tenant_id)
                if entry is None:
                    continue
                session = TenantSession.of_system(entry, self._directory, self._services)
                if entry.status not in ("active", "trial"):
                    await self._end(session, ticket)
                elif tenant_id not in seen:
                    seen.add(tenant_id)
                    admitted += await admit(session, self._queue, self._pause)
        return admitted

    async def _end(self, session: TenantSession, ticket: Stored) -> None:
        past = session.past_the_fence()
        found = await past.store.get(Execution.KIND, ticket.body["run_id"])
        if found is None:
            return
        try:
            await self._runner.look_at(session, Hold(past, Versioned.of(Execution, found), self._pause))
        except Lost:
            return

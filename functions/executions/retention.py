"""Retention: what was said in a run is kept for as many days as the plan says; that it was, and its sums, for good."""

from datetime import timedelta

from functions.executions.conversing import of_run
from functions.executions.models import AREA, Execution, Snapshot, Step, stored
from shared.blobs.port import Blobs
from shared.clock import rfc3339
from shared.database.port import Delete, Operation, Order, Rejected, Replace, Stored, Where
from shared.work.resources import Versioned
from shared.work.session import TenantSession

AT_ONCE = 50
MOST = 200_000  # runs of a tenant a day: more than any plan lets begin


class Retention:
    """Once a day; what was interrupted goes on the next day. Prompts and outputs go, the run itself stays."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def purge(self, tenant: TenantSession) -> int:
        """Purge what runs have kept that ended before; returns how many runs."""
        session = tenant.past_the_fence()
        before = rfc3339(session.services.clock.now() - timedelta(days=session.plan.runs_retention_days))
        purged = 0
        after: tuple[str, str] | None = None
        while purged < MOST:
            where = [Where("created_at", "<", before)]
            page = await session.store.query(Snapshot.KIND, where, limit=AT_ONCE, after=after)
            for one in page.items:
                purged += await self._purge(session, one, before)
            after = page.next
            if after is None:
                break
        return purged

    async def _purge(self, session: TenantSession, snapshot: Stored, before: str) -> int:
        id = snapshot.body["id"]
        found = await session.store.get(Execution.KIND, id)
        held = None if found is None else Versioned.of(Execution, found)
        if held is not None and (not held.value.ended or held.value.updated_at >= before):
            return 0
        space = self._blobs.space(AREA, session.id)
        for blob in [one async for one in space.list(f"{id}/")]:
            await space.delete(blob.name)
        try:
            while steps := (await session.store.query(Step.KIND, of_run(id), order=Order("id"), limit=AT_ONCE)).items:
                await session.store.commit([Delete(Step.KIND, one.body["id"]) for one in steps])
            # last, for it is what whoever is interrupted finds again
            emptied: list[Operation] = []
            if held is not None:
                body = stored(held.value.model_copy(update={"result": None, "error": None, "output_step": None}))
                emptied = [Replace(Execution.KIND, id, body, held.etag)]
            await session.store.commit([*emptied, Delete(Snapshot.KIND, id)])
        except Rejected:  # another purges the same
            return 0
        return 1

"""Retention: what a run was given, said and did is forgotten after the tenant's days; that it ran is not.

The snapshot goes last, in the batch that empties the run: as long as it is there, whoever comes next goes on.
"""

from datetime import timedelta

from functions.executions.conversing import steps_of
from functions.executions.models import AREA, TREE, Execution, Snapshot, Step, stored
from shared.blobs.port import Blobs
from shared.clock import rfc3339
from shared.database.port import Delete, Operation, Replace, Where
from shared.errors import Unavailable
from shared.work.resources import Versioned
from shared.work.session import TenantSession

AT_ONCE = 50
STEPS_AT_ONCE = 90
RUNS_AT_ONCE = 500  # of a tenant and day; what is left is the next day's


class RunRetention:
    """Forgets what is too old, of one tenant at a time."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def purge(self, session: TenantSession) -> int:
        """How many runs were emptied. Past the fence: no restore brings back what runs have said."""
        session = session.past_the_fence()
        before = rfc3339(session.services.clock.now() - timedelta(days=session.plan.run_retention_days))
        purged, after = 0, None
        while purged < RUNS_AT_ONCE:
            page = await session.store.query(
                Snapshot.KIND, [Where("created_at", "<", before)], limit=AT_ONCE, after=after
            )
            for snapshot in page.items:
                purged += await self._emptied(session, snapshot.body["id"], before)
            after = page.next
            if after is None:
                break
        return purged

    async def _emptied(self, session: TenantSession, id: str, before: str) -> bool:
        """False for a run that is not over, or has been for less."""
        found = await session.store.get(Execution.KIND, id)
        if found is None:
            raise Unavailable(f"Run {id} cannot be read (yet).")
        held = Versioned.of(Execution, found)
        run = held.value
        if not run.ended or run.updated_at >= before:
            return False
        steps = await steps_of(session.store, run)
        for start in range(0, len(steps), STEPS_AT_ONCE):
            await session.store.commit([Delete(Step.KIND, one.id) for one in steps[start : start + STEPS_AT_ONCE]])
        space = self._blobs.space(AREA, session.id)
        for name in [one.name async for one in space.list(f"{id}/")]:
            await space.delete(name)
        empty = run.model_copy(update={"result": None, "error": None, "output_step": None})
        last: list[Operation] = [Replace(Execution.KIND, id, stored(empty), held.etag), Delete(Snapshot.KIND, id)]
        if run.parent_id is None:
            last.append(Delete(TREE, id))
        await session.store.commit(last)
        return True

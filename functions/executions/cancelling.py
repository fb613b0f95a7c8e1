"""Cancelling: one write, after which no step of the whole tree begins; then whatever of it waits is ended.

What is being worked on sees it by itself within half a second, and what had no runner by then at its next claim.
"""

from contextlib import suppress

from functions.executions.admission import admit
from functions.executions.holding import Hold, Lost, Pause
from functions.executions.models import ACTIVE, TREE, Execution
from functions.executions.runner import Runner
from shared.database.port import Increment, Where
from shared.errors import Contended, FlowgridError, WrongState
from shared.messaging.port import Message
from shared.work.resources import Versioned, load
from shared.work.session import TenantSession

ROUNDS = 10
TREES_AT_ONCE = 100


class Already(FlowgridError):
    """The tree is cancelled, or over."""


class Cancelling:
    """`queue`: where the message goes that ends what whoever cancels does not come to."""

    def __init__(self, runner: Runner, queue: str, pause: Pause) -> None:
        self._runner = runner
        self._queue = queue
        self._pause = pause

    async def cancel(self, tenant: TenantSession, id: str) -> Execution:
        """The run as it is afterwards: cancelled, or about to be. Again changes nothing.

        `WrongState` for a run that is over, and for one that another has started: it names the one to cancel.
        """
        run = (await load(tenant, Execution, id)).value
        if run.parent_id is not None:
            raise WrongState("This run belongs to another; cancel that one.", root_id=run.root_id)
        if run.ended:
            if run.status == "cancelled":
                return run
            raise WrongState(f"This run has {run.status} already.")
        session = tenant.past_the_fence().without_key()  # its answer is not the request's
        change = session.change()
        change.write(Increment(TREE, id, {"cancelled": 1}, {"cancelled": 1}), lambda _: Already("It is cancelled."))
        change.audit("cancel_requested", Execution.KIND, id, run.revision, None, None)
        change.send(self._queue, Message(f"{id}:cancel", session.id, {"cancel": id}))
        with suppress(Already):
            await change.commit(None)
        await self.end_tree(tenant, id)
        return (await load(tenant, Execution, id)).value

    async def cancel_all(self, tenant: TenantSession) -> tuple[int, bool]:
        """Cancel the oldest trees that are not over, a hundred at a time: how many, and whether there are more."""
        where = [Where("status", "in", list(ACTIVE))]
        found = (await tenant.store.query(Execution.KIND, where, limit=200)).items
        roots = list(dict.fromkeys(stored.body["root_id"] for stored in found))
        done = 0
        for root in roots[:TREES_AT_ONCE]:
            try:
                await self.cancel(tenant, root)
                done += 1
            except WrongState:
                continue
        return done, len(roots) > TREES_AT_ONCE or len(found) == 200

    async def end_tree(self, session: TenantSession, root_id: str) -> None:
        """End what waits of a cancelled tree. `Contended` where others keep changing it."""
        past = session.past_the_fence()
        where = [Where("root_id", "=", root_id), Where("status", "in", ["queued", "waiting"])]
        for _ in range(ROUNDS):
            found = (await past.store.query(Execution.KIND, where)).items
            if not found:
                break
            for stored in found:
                hold = Hold(past, Versioned.of(Execution, stored), self._pause)
                stop = await self._runner.stop(past, hold.execution)
                if stop is None:
                    return
                try:
                    await self._runner.conclude(session, hold, stop)
                except Lost:
                    continue
        else:
            raise Contended("Others keep changing this run; it is cancelled, and what waits of it will be ended.")
        await admit(session, self._queue, self._pause)

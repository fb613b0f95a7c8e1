"""Runs, from a queue: each message has one run worked on for a while, or looked at where it waits.

Claim the run (its epoch grows, so whoever had it before writes nothing any more), work on it under a lease that is
renewed meanwhile, and leave it: over, waiting, or with a message for what is left. Whatever a crash interrupts is taken
up by the sweep once its lease has run out.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from functions.executions import children
from functions.executions.acting import Stop
from functions.executions.admission import admit, hand_in
from functions.executions.conversing import Conversing, snapshot_of, steps_of
from functions.executions.holding import Hold, Lost
from functions.executions.models import LEASE, LONGEST_LEASE, TREE, Execution, Snapshot, Step, stored
from functions.executions.progress import Progress
from functions.executions.snapshots import OWN_AGENT_ID
from functions.executions.working import Work, World
from functions.tools.port import Tool
from shared.ai.port import Message
from shared.auth.caller import ByKey, Caller, RequestInfo
from shared.blobs.port import Blobs
from shared.clock import rfc3339, runs
from shared.database.port import Replace
from shared.errors import FlowgridError, Full, Unavailable
from shared.jobs.messages import named
from shared.telemetry.log import reason_of
from shared.tenancy.directory import Directory
from shared.work.change import Change
from shared.work.resources import Versioned
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.executions")
FULL_AGAIN = timedelta(minutes=5)
OURS = "Something went wrong on our side; quote the id of this run."
NOT_APPROVED = "Nobody has approved this call in time; it was not made."


class Runner:
    """Works on runs."""

    def __init__(self, world: World, blobs: Blobs, directory: Directory, services: Services) -> None:
        self._world = world
        self._blobs = blobs
        self._directory = directory
        self._services = services

    async def advance(self, tenant_id: str, execution_id: str, revision: int = 1) -> None:
        """Work on a run for a while, unless it is over or in somebody else's hands; again does no harm.

        `Unavailable` while there is no such tenant, or no such revision of the run: its message comes again.
        """
        session, held = await self._found(tenant_id, execution_id, revision)
        hold = Hold(session.past_the_fence(), held, self._world.pause)
        try:
            if held.value.ended:
                return
            if held.value.admitted:
                await self._work(session, hold)
            else:
                await self.look_at(session, hold)
        except Lost:
            logger.debug("a run is in other hands", extra={"tenant_id": tenant_id, "execution_id": execution_id})
        await admit(session, self._world.queue, self._world.pause)

    async def stop(self, session: TenantSession, run: Execution) -> Stop | None:
        """Why a run has to end: its tenant is suspended, its tree cancelled, its time over. One point read."""
        entry = await self._directory.entry(session.id)
        if entry is None or entry.status not in ("active", "trial"):
            return Stop("cancelled", "tenant_suspended")
        tree = await session.store.get(TREE, run.root_id)
        if tree is not None and tree.body["cancelled"]:
            return Stop("cancelled", "cancelled")
        if rfc3339(self._services.clock.now()) >= run.deadline_at:
            return Stop("failed", "deadline", f"It was to be over by {run.deadline_at}.")
        return None

    async def conclude(self, session: TenantSession, hold: Hold, stop: Stop) -> None:
        """End a run that nobody is working on. Raises `Lost`."""
        steps = await steps_of(session.store.control, hold.execution)  # what they have said is not asked for
        await Progress(hold, self._world.queue, self._conversing(session), steps).conclude(stop)

    async def look_at(self, session: TenantSession, hold: Hold) -> None:
        """A run that waits: end it if it has to, go on with it if it can, or look again later. Raises `Lost`."""
        run, now = hold.execution, self._services.clock.now()
        if stop := await self.stop(session, run):
            return await self.conclude(session, hold, stop)
        if run.status == "waiting" and await self._ready(session, hold):
            return
        if not runs(run.lease_until, now, LONGEST_LEASE):
            await hold.save(lease_until=min(rfc3339(now + LONGEST_LEASE), run.deadline_at))

    async def _ready(self, session: TenantSession, hold: Hold) -> bool:
        """Whether what the run waits for is there; then it waits to be admitted."""
        begun = [step for step in await steps_of(hold.session.store, hold.execution) if not step.over]
        if hold.execution.waiting_for == "children":
            await hold.session.store.catch_up()
            if not await children.all_over(hold.session.store, begun):
                return False
            await wake(hold)
            return True
        late = [step for step in begun if step.until is not None and step.until <= rfc3339(self._services.clock.now())]
        if hold.execution.waiting_for != "approval" or not late:
            return False
        await wake(hold, refused(hold, late[0], NOT_APPROVED, told="expired"))
        return True

    async def _found(
        self, tenant_id: str, execution_id: str, revision: int
    ) -> tuple[TenantSession, Versioned[Execution]]:
        entry, store, held = await named(
            self._directory, Execution, tenant_id, execution_id, revision, noun="run", pause=self._world.pause
        )
        request = RequestInfo(execution_id, "", "flowgrid-runs")
        return TenantSession(entry, store, _caller(held.value), request, self._services), held

    async def _work(self, session: TenantSession, hold: Hold) -> None:
        run, now = hold.execution, self._services.clock.now()
        if run.runner is not None and runs(run.lease_until, now, LEASE):
            return
        claim: dict[str, Any] = {"epoch": run.epoch + 1, "runner": self._services.ids.new(), "status": "running"}
        await hold.save(**claim, lease_until=rfc3339(now + LEASE))
        try:
            async with hold.renewed():
                await self._claimed(session, hold)
        except Unavailable:
            await self._let_go(hold)
            raise

    async def _claimed(self, session: TenantSession, hold: Hold) -> None:
        steps = await steps_of(session.store.control, hold.execution)
        progress = Progress(hold, self._world.queue, self._conversing(session), steps)
        try:
            progress.steps = await self._whole(session, steps)
            if hold.execution.full:
                raise Full("The tenant's data takes no more.")
            await self._go(session, progress)
        except (Lost, Unavailable):
            raise
        except Full as full:
            await self._make_do(session, hold, full)
        except Exception as error:
            expected = isinstance(error, FlowgridError)
            extra = {"tenant_id": session.id, "execution_id": hold.execution.id, "reason": reason_of(error)}
            level = logging.WARNING if expected else logging.ERROR
            logger.log(level, "a run failed", exc_info=None if expected else error, extra=extra)
            code, message = (error.code, error.message) if isinstance(error, FlowgridError) else ("internal", OURS)
            await self._failed(progress, Stop("failed", code, message))

    async def _failed(self, progress: Progress, stop: Stop) -> None:
        """Nothing that was answered or done may keep a run from its end."""
        try:
            await progress.conclude(stop)
        except (Lost, Unavailable, Full):
            raise
        except Exception as error:
            logger.error("a run ends without its last step", exc_info=error, extra={"execution_id": progress.run.id})
            await progress.give_up(stop)

    async def _go(self, session: TenantSession, progress: Progress) -> None:
        snapshot = await snapshot_of(progress.hold.session.store, progress.run.id)
        tools = await self._tools(session, snapshot)

        async def look(run: Execution) -> Stop | None:
            return await self.stop(session, run)

        await Work(self._world, session, look, self._conversing(session), snapshot, tools, progress).go()

    async def _make_do(self, session: TenantSession, hold: Hold, full: Full) -> None:
        """A full partition takes no step and no usage: the run fails, now or when it takes that; nothing is asked anew.

        Replacing is taken.
        """
        try:
            await self.conclude(session, hold, Stop("failed", full.code, full.message))
        except Full:
            logger.error("a full partition keeps a run", extra={"tenant_id": session.id})
            until = rfc3339(self._services.clock.now() + FULL_AGAIN)
            await hold.save(full=True, runner=None, lease_until=until)

    async def _let_go(self, hold: Hold) -> None:
        """For whoever gets the message again: nobody has to wait for the lease."""
        try:
            await hold.save(runner=None)
        except FlowgridError as error:
            logger.info(
                "a run is left to the sweep", extra={"execution_id": hold.execution.id, "reason": error.message}
            )

    async def _tools(self, session: TenantSession, snapshot: Snapshot) -> dict[str, Tool]:
        names = {one.name: one.called for one in snapshot.tools}
        box = self._world.own if snapshot.agent_id == OWN_AGENT_ID else self._world.toolbox
        found = await box.find(session, list(names))
        return {names[name]: tool for name, tool in found.items()}

    async def _whole(self, session: TenantSession, steps: Sequence[Step]) -> list[Step]:
        conversing = self._conversing(session)
        return list(await asyncio.gather(*(conversing.whole(step) for step in steps)))

    def _conversing(self, session: TenantSession) -> Conversing:
        return Conversing(self._blobs, session.id)


async def wake(hold: Hold, step: Step | None = None, audit: str | None = None) -> None:
    """A run that waits waits to be admitted from now on, with a step that this ends or changes. Raises `Lost`."""

    async def build(change: Change, new: Execution) -> None:
        hand_in(change, new)
        if step is not None:
            change.write(Replace(Step.KIND, step.id, stored(step)))
            if audit is not None:
                told = {"step": step.number, "told": step.told}
                change.audit(audit, Execution.KIND, new.id, new.revision, None, told)

    until = rfc3339(hold.session.services.clock.now() + LONGEST_LEASE)
    await hold.save(build, status="queued", waiting_for=None, lease_until=min(until, hold.execution.deadline_at))


def refused(hold: Hold, step: Step, why: str, **fields: object) -> Step:
    """An approval that ends without one: the model is told so, in place of the call's result."""
    assert step.call is not None  # noqa: S101 - a step of this kind has one
    over = {"status": "ended", "ended_at": now_of(hold), "ended_in": hold.execution.revision + 1}
    message = Message("tool", why, call_id=step.call.id, name=step.call.name)
    return step.model_copy(update={**over, "messages": [message], **fields})


def now_of(hold: Hold) -> str:
    """Now, but not before the run's last change."""
    return max(rfc3339(hold.session.services.clock.now()), hold.execution.updated_at)


def _caller(run: Execution) -> Caller:
    """Whose run it is; what it writes is audited under the API key that it was started with."""
    key = None if run.api_key_id is None else ByKey(run.api_key_id, run.created_by, run.created_at, frozenset())
    return Caller(run.created_by, None, None, run.tenant_id, None, key=key)

"""Publishing: the cases of an agent are run against its revision, and decide whether it becomes active."""

from collections.abc import Mapping
from typing import Any

from functions.agents.cases import Case, cases_of
from functions.agents.models import Agent
from functions.executions.models import Execution, RunLimits
from functions.executions.service import ExecutionService
from functions.executions.starting import Asked, Starting
from functions.publishing.models import TYPE, CaseResult, Publication
from shared.errors import NotFound, Taken, WrongState
from shared.ids import derived_id
from shared.jobs.jobs import Done, Job, Wait, enqueue
from shared.work.resources import Listing, PageRequest, find, load
from shared.work.session import TenantSession

LOOK_SECONDS = 2
LIMITS = RunLimits(steps=50, seconds=900)
CHANGED = "The agent was changed since; publish it again."


class Publishing:
    """`starting` and `executions`: of the cases' runs. `queue`: of the jobs."""

    def __init__(self, starting: Starting, executions: ExecutionService, queue: str) -> None:
        self._starting = starting
        self._executions = executions
        self._queue = queue

    async def publish(self, tenant: TenantSession, agent_id: str) -> Publication:
        """The agent as it is now is being tried. `WrongState` for one that is active already."""
        agent = (await load(tenant, Agent, agent_id)).value
        if agent.status == "active":
            raise WrongState("This revision is active already.")
        change = tenant.change()
        input = {"agent_id": agent.id, "agent_revision": agent.revision}
        job = enqueue(change, tenant, self._queue, TYPE, input, id=tenant.repeatable_id(TYPE))
        return await change.commit(Publication.of(job))

    async def get(self, tenant: TenantSession, id: str) -> Publication:
        """`NotFound` for a job that publishes nothing, too."""
        job = (await load(tenant, Job, id)).value
        if job.type != TYPE:
            raise NotFound("There is no such publication.")
        return Publication.of(job)

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Publication]:
        """One page, made of the jobs that publish. `filters`: field -> value, None: any."""
        found = await find(tenant, Job, {**filters, "type": TYPE}, page)
        return Listing([Publication.of(job) for job in found.items], found.next)

    async def run(self, session: TenantSession, job: Job) -> Done | Wait:
        """A slice of the job: start each case's run, look how they go, and decide. Again does no harm."""
        agent_id, revision = str(job.input["agent_id"]), int(job.input["agent_revision"])
        cases = await cases_of(session, agent_id)
        ids = {case.id: derived_id(Execution.KIND, job.id, case.id) for case in cases}
        for case in cases:
            await self._start(session, agent_id, revision, case, ids[case.id])
        results = [await self._result(session, case, ids[case.id], revision) for case in cases]
        shown = [one.model_dump() for one in results if one is not None]
        if len(shown) < len(results):
            return Wait(f"{len(results) - len(shown)} of {len(results)} cases are under way.", LOOK_SECONDS)
        passed = all(one["passed"] for one in shown)
        if passed:
            await self._activate(session, agent_id, revision)
        return Done({"published": passed, "cases": shown})

    async def _start(self, session: TenantSession, agent_id: str, revision: int, case: Case, id: str) -> None:
        if await session.store.get(Execution.KIND, id) is not None:
            return
        agent = (await load(session, Agent, agent_id)).value
        if agent.revision != revision:
            raise WrongState(CHANGED)
        try:
            await self._starting.start(session, agent_id, Asked(case.input, {}, LIMITS, "case"), id=id)
        except Taken:  # by another runner of this slice
            return

    async def _result(self, session: TenantSession, case: Case, id: str, revision: int) -> CaseResult | None:
        """None while its run is under way."""
        run = await self._executions.get(session, id)
        if run.status in ("queued", "running", "waiting"):
            return None
        if run.agent_revision != revision:
            raise WrongState(CHANGED)
        reason = None
        if run.status != "succeeded":
            reason = f"The run has {run.status}: {run.error or run.stop_reason}"
        else:
            answer = run.output or ""
            missed = next((one for one in case.expected if not one.holds(answer)), None)
            reason = None if missed is None else f"The answer should be one that {missed.op} {missed.value!r}."
        return CaseResult(case_id=case.id, name=case.name, execution_id=id, passed=reason is None, reason=reason)

    async def _activate(self, session: TenantSession, agent_id: str, revision: int) -> None:
        """`WrongState` where the agent is not the revision that was tried; active already is done."""

        def fields(old: Agent) -> Mapping[str, Any]:
            if old.revision not in (revision, revision + 1) or (old.revision > revision and old.status != "active"):
                raise WrongState(CHANGED)
            return {"status": "active"}

        await session.modify(Agent, agent_id, fields, if_match=None, action="published")

"""What people ask of runs: to be started, shown, followed, decided, cancelled, paused."""

from collections.abc import Container, Mapping, Sequence
from typing import Any, Literal

from functions.executions import children
from functions.executions.admission import RUNS, admit, set_paused
from functions.executions.cancelling import Cancelling
from functions.executions.conversing import Conversing, of_run, steps_of
from functions.executions.deciding import Deciding, Decision
from functions.executions.holding import Pause
from functions.executions.models import ACTIVE, BY_A2A, Execution, Step, step_id
from functions.executions.starting import Asked, Starting
from functions.executions.views import (
    Admission,
    Cancelled,
    Event,
    Events,
    EventsQuery,
    NewExecution,
    PlatformExecution,
    PlatformExecutions,
    PlatformQuery,
)
from functions.executions.views import Execution as Shown
from functions.executions.views import Step as ShownStep
from shared.blobs.port import Blobs
from shared.database.port import Database, Order, Where
from shared.errors import Invalid, NotFound
from shared.ids import is_uuid
from shared.tenancy.directory import Directory
from shared.work.change import COUNTER
from shared.work.resources import Listing, PageRequest, bounded_page, find, load
from shared.work.session import TenantSession

LOOK_SECONDS = 1.0
MOST_DIGITS = 5


class ExecutionService:
    """`blobs`: where large messages are. The rest does what its name says."""

    def __init__(
        self,
        starting: Starting,
        cancelling: Cancelling,
        deciding: Deciding,
        blobs: Blobs,
        database: Database,
        directory: Directory,
        queue: str,
        pause: Pause,
    ) -> None:
        self._starting = starting
        self._cancelling = cancelling
        self._deciding = deciding
        self._blobs = blobs
        self._database = database
        self._directory = directory
        self._queue = queue
        self._pause = pause

    async def start(self, tenant: TenantSession, agent_id: str, new: NewExecution, *, id: str | None = None) -> Shown:
        """A run of the agent, as `Starting.start` begins it. `Invalid` for a context that says who has begun it."""
        if BY_A2A in new.context:
            raise Invalid.of(f"context.{BY_A2A}", "is what A2A's messages say; give it another name")
        asked = Asked(new.input, new.context, new.limits.limits())
        return Shown.of(await self._starting.start(tenant, agent_id, asked, id=id, shown=Shown.of))

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Shown]:
        """One query; without outputs."""
        found = await find(tenant, Execution, filters, page)
        return Listing([Shown.of(run) for run in found.items], found.next)

    async def get(self, tenant: TenantSession, id: str) -> Shown:
        """One point read; two, once there is an output."""
        run = (await load(tenant, Execution, id)).value
        return Shown.of(run, await children.output_of(tenant.store, self._conversing(tenant), run))

    async def settled(self, tenant: TenantSession, id: str, rests: Container[str], seconds: int) -> Shown:
        """The run once it is over or waits for one of `rests`, or after so many seconds; one point read a second."""
        for _ in range(seconds):
            run = (await load(tenant, Execution, id)).value
            if run.ended or (run.status == "waiting" and run.waiting_for in rests):
                break
            await self._pause(LOOK_SECONDS)
        return await self.get(tenant, id)

    async def steps(self, tenant: TenantSession, id: str, page: PageRequest) -> Listing[ShownStep]:
        """A page of them, in their order; what is in blobs is left out."""
        run = (await load(tenant, Execution, id)).value
        wanted = PageRequest(page.limit, page.after, Order("id"), of_run(run.id))
        found = await bounded_page(tenant.store, Step.KIND, {}, wanted)
        return Listing([ShownStep.of(Step.model_validate(stored.body)) for stored in found.items], found.next)

    async def step(self, tenant: TenantSession, id: str, number: str) -> ShownStep:
        """One step, whole."""
        named = is_uuid(id) and number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS
        found = await tenant.store.get(Step.KIND, step_id(id, int(number))) if named else None
        if found is None:
            raise NotFound("There is no such step.")
        return ShownStep.of(await self._conversing(tenant).whole(Step.model_validate(found.body)), whole=True)

    async def events(self, tenant: TenantSession, id: str, query: EventsQuery) -> Events:
        """What has happened after a number; one point read a second until something has."""
        run = (await load(tenant, Execution, id)).value
        for _ in range(query.wait):
            if run.revision > query.after or run.ended:
                break
            await self._pause(LOOK_SECONDS)
            run = (await load(tenant, Execution, id)).value
        steps = await steps_of(tenant.store, run) if run.revision > query.after else []
        items = [event for event in _events(run, steps) if query.after < event.number <= run.revision]
        return Events(status=run.status, items=items, next_after=max(query.after, run.revision))

    async def decide(self, tenant: TenantSession, id: str, decision: Decision) -> Shown:
        """The run as it is then. `WrongState` where it does not wait for this, `RoleNeeded` for who may not."""
        return Shown.of(await self._deciding.decide(tenant, id, decision))

    async def decide_as(
        self, tenant: TenantSession, id: str, step: int, choice: Literal["approve", "reject"], comment: str
    ) -> None:
        """`decide`, for who answers from elsewhere."""
        await self._deciding.decide(tenant, id, Decision(step=step, decision=choice, comment=comment))

    async def cancel(self, tenant: TenantSession, id: str) -> Shown:
        """The run as it is afterwards; again changes nothing. `WrongState` for one that is over, or a child."""
        return Shown.of(await self._cancelling.cancel(tenant, id))

    async def cancel_all(self, tenant: TenantSession) -> Cancelled:
        """The oldest trees that are not over, a hundred at a time."""
        cancelled, more = await self._cancelling.cancel_all(tenant)
        return Cancelled(cancelled=cancelled, more=more)

    async def pause(self, tenant: TenantSession, paused: bool) -> Admission:
        """Begin no more runs, or begin them again; those under way go on."""
        await set_paused(tenant, paused)
        if not paused:
            await admit(tenant, self._queue, self._pause)
        return await self.admission(tenant)

    async def admission(self, tenant: TenantSession) -> Admission:
        """By one point read. A copy that has run nothing yet is paused."""
        found = await tenant.store.get(COUNTER, RUNS)
        body = {"value": 0, "paused": tenant.entry.copy_of is not None} if found is None else found.body
        return Admission(paused=bool(body["paused"]), running=body["value"], limit=tenant.plan.max_runs)

    async def everywhere(self, query: PlatformQuery) -> PlatformExecutions:
        """For staff: runs of all tenants that are not over."""
        where = [Where("status", "in", list(ACTIVE))]
        if query.tenant_id is not None:
            where.append(Where("tenant_id", "=", query.tenant_id))
        found = (await self._database.platform.sweep(Execution.KIND, where)).items
        runs = [Execution.model_validate(stored.body) for stored in found]
        return PlatformExecutions(items=[PlatformExecution.of(run) for run in runs])

    async def cancel_of(self, staff: TenantSession, tenant_id: str, id: str) -> PlatformExecution:
        """For staff: cancel a run of any tenant, whose audit trail says so. `NotFound` where there is none."""
        entry = await self._directory.entry(tenant_id)
        if entry is None:
            raise NotFound("There is no such execution.")
        tenant = staff.in_tenant(entry, self._directory.open(entry))
        run = (await load(tenant, Execution, id)).value
        if not run.ended:
            change = tenant.change()
            change.audit("cancelled_by_staff", Execution.KIND, id, run.revision, None, None)
            await change.commit(None)
        await self.cancel(tenant, id)
        return PlatformExecution.of((await load(tenant, Execution, id)).value)

    def _conversing(self, tenant: TenantSession) -> Conversing:
        return Conversing(self._blobs, tenant.id)


def _events(run: Execution, steps: Sequence[Step]) -> list[Event]:
    """Those of the steps, by the run's revision in which they were; and the run's end."""
    found = [Event(number=step.begun_in, type="step.begun", **_about(step)) for step in steps]
    found += [
        Event(number=step.ended_in, type=f"step.{step.status}", **_about(step))
        for step in steps
        if step.ended_in is not None
    ]
    if run.ended:
        found.append(Event(number=run.revision, type=f"run.{run.status}", step=None, step_type=None, name=None))
    return sorted(found, key=lambda event: (event.number, event.type.startswith("run."), event.step or 0))


def _about(step: Step) -> dict[str, Any]:
    return {"step": step.number, "step_type": step.type, "name": step.name}

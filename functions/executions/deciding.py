"""What people decide of a run: whether a call is approved, and what becomes of one of which nobody knows."""

from typing import Annotated, Any, Literal

from pydantic import Field

from functions.executions.acting import Stop
from functions.executions.admission import admit
from functions.executions.holding import Hold, Lost, Pause
from functions.executions.models import Execution, Step, step_id
from functions.executions.runner import Runner, now_of, refused, wake
from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.errors import Contended, NotFound, RoleNeeded, WrongState
from shared.work.resources import WHOLE, Body, load
from shared.work.session import TenantSession

Choice = Literal["approve", "reject", "repeat", "skip", "fail"]
OF_APPROVAL = ("approve", "reject")
SKIPPED = "Whether this was done is not known; a person has decided to go on without it."


class Decision(Body):
    """What is to become of a step that waits for a person."""

    step: Annotated[int, Field(ge=1, le=99_999), WHOLE] = Field(description="The number of the step.")
    decision: Choice = Field(
        description="`approve` or `reject` a call that needs it; `repeat` or `skip` one that was interrupted, or let "
        "the run `fail`."
    )
    comment: str = Field("", max_length=2000, description="Why; the model is told, where a call is rejected.")


class Deciding:
    """Each step is decided once."""

    def __init__(self, runner: Runner, queue: str, pause: Pause) -> None:
        self._runner = runner
        self._queue = queue
        self._pause = pause

    async def decide(self, tenant: TenantSession, id: str, decision: Decision) -> Execution:
        """The run as it is then. `WrongState` where it does not wait for this, `RoleNeeded` for who may not."""
        held = await load(tenant, Execution, id)
        hold = Hold(tenant.past_the_fence(), held, self._pause)
        step = await self._step(tenant, hold.execution, decision)
        try:
            if decision.decision == "fail":
                stop = Stop("failed", "decision", decision.comment or "A person has decided so.")
                await self._runner.conclude(tenant, hold, stop)
            else:
                await wake(hold, _decided(hold, step, decision, tenant.user_id), audit="decided")
        except Lost as error:
            raise Contended("This run has just changed; look again.") from error
        await admit(tenant, self._queue, self._pause)
        return (await load(tenant, Execution, id)).value

    async def _step(self, tenant: TenantSession, run: Execution, decision: Decision) -> Step:
        found = await tenant.store.get(Step.KIND, step_id(run.id, decision.step))
        if found is None:
            raise NotFound("There is no such step.")
        step = Step.model_validate(found.body)
        wanted = "approval" if decision.decision in OF_APPROVAL else "decision"
        of_type = step.type == "approval" if wanted == "approval" else step.type == "tool"
        if run.status != "waiting" or run.waiting_for != wanted or step.over or not of_type:
            raise WrongState("The run does not wait for this decision of this step.", status=run.status)
        if step.until is not None and step.until <= rfc3339(tenant.services.clock.now()):
            raise WrongState("The time to decide of this call is over.")
        needed = step.role or Role.USER
        role = tenant.caller.role
        if role is None or not role.includes(needed):
            raise RoleNeeded(f"This needs the role {needed}; the caller has {role}.")
        return step


def _decided(hold: Hold, step: Step, decision: Decision, by: str) -> Step:
    told: dict[str, Any] = {"told_by": by, "comment": decision.comment or None}
    over = {"status": "ended", "ended_at": now_of(hold), "ended_in": hold.execution.revision + 1}
    match decision.decision:
        case "approve":
            return step.model_copy(update={**over, **told, "told": "approved"})
        case "reject":
            why = f"A person has rejected this call. {decision.comment}".strip()
            return refused(hold, step, why, told="rejected", **told)
        case "skip":
            return refused(hold, step, SKIPPED, told="skipped", **told)
        case _:
            return step.model_copy(update={**told, "told": "repeat"})

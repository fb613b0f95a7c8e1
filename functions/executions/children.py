"""Agents that a run has others run: whether they may, what is written of them, and what has come of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from functions.agents.models import Agent
from functions.executions.admission import hand_in
from functions.executions.conversing import Conversing, cut, said
from functions.executions.models import (
    MAX_INPUT_BYTES,
    TREE,
    Execution,
    Snapshot,
    Step,
    StepError,
    child_id,
    step_id,
    stored,
)
from functions.executions.patterns.next import ChildCall, RunChildren
from functions.executions.snapshots import snapshot_of_agent
from functions.executions.starting import child_of
from shared.ai.port import Message
from shared.database.port import Create, TenantStore
from shared.errors import NotFound, TooLarge
from shared.work.change import Change
from shared.work.session import TenantSession


@dataclass(frozen=True)
class Children:
    """Steps for all of the calls; of those whose agents run, the runs with what they are given."""

    steps: list[Step] = field(default_factory=list)
    runs: list[tuple[Execution, Snapshot]] = field(default_factory=list)

    def write(self, change: Change) -> None:
        """The runs, each with a ticket, as part of the change that makes their parent wait for them."""
        for run, snapshot in self.runs:
            change.write(Create(Execution.KIND, run.id, stored(run)))
            change.write(Create(Snapshot.KIND, run.id, stored(snapshot)))
            hand_in(change, run)


async def prepared(session: TenantSession, parent: Execution, wanted: RunChildren, at: str) -> Children:
    """What it takes to run these agents; `parent` as it will be. What may not be is a step that says so."""
    tree = await session.store.get(TREE, parent.root_id)
    left = parent.limits.children - (tree.body["runs"] if tree else 0)
    made = Children()
    for number, call in enumerate(wanted.calls, parent.steps + 1):
        found = await _prepared(session, parent, call, number, at, left - len(made.runs))
        step = _step(parent, call, number, at, wanted.label)
        if isinstance(found, str):
            step = step.model_copy(update={**_told(call, found, "not_run"), **_over(at, parent)})
        else:
            made.runs.append(found)
        made.steps.append(step)
    return made


async def _prepared(
    session: TenantSession, parent: Execution, call: ChildCall, number: int, at: str, left: int
) -> tuple[Execution, Snapshot] | str:
    if call.agent_id in (*parent.ancestors, parent.agent_id):
        return "This agent is already at work above; it cannot be run by those that it has started."
    if parent.depth >= parent.limits.depth:
        return f"No agent is run more than {parent.limits.depth} below the first one."
    if left <= 0:
        return f"A run starts at most {parent.limits.children} others, with theirs; there have been as many."
    if len(call.input.encode(errors="replace")) > MAX_INPUT_BYTES:
        return f"The input is too long; a run takes {MAX_INPUT_BYTES} bytes."
    found = await session.store.get(Agent.KIND, call.agent_id)
    agent = None if found is None else Agent.model_validate(found.body)
    if agent is None or agent.status == "retired":
        return "There is no such agent any more."
    id = child_id(parent.id, number)
    run = child_of(parent, at, number, agent, id, session.services.ids.new())
    try:
        return run, await snapshot_of_agent(session, agent, call.input, {}, id, at, strict=False)
    except TooLarge as error:
        return error.message


def _step(parent: Execution, call: ChildCall, number: int, at: str, label: str) -> Step:
    return Step(
        id=step_id(parent.id, number),
        created_at=at,
        execution_id=parent.id,
        number=number,
        type="child",
        name=call.call.name,
        label=label,
        begun_at=at,
        begun_in=parent.revision,
        call=call.call,
        child_id=child_id(parent.id, number),
    )


async def all_over(store: TenantStore, steps: Sequence[Step]) -> bool:
    """Whether every run that these steps wait for has ended."""
    for step in steps:
        found = await store.get(Execution.KIND, step.child_id or "-")
        if found is None or not Execution.model_validate(found.body).ended:
            return False
    return True


async def collected(store: TenantStore, conversing: Conversing, step: Step, at: str, revision: int) -> Step | None:
    """The step with what has come of its run; None while that goes on."""
    found = await store.get(Execution.KIND, step.child_id or "-")
    run = None if found is None else Execution.model_validate(found.body)
    if run is None or not run.ended:
        return None
    output = await output_of(store, conversing, run)
    over = {"status": "ended", "ended_at": at, "ended_in": revision}
    if run.status == "succeeded":
        return step.model_copy(update={**over, "messages": [_result(step, output or "")]})
    why = run.error or f"It ended as {run.status} ({run.stop_reason})."
    text = f"This agent did not come to its end: {why}" + (f"\nSo far it has said:\n{output}" if output else "")
    error = StepError(code=run.stop_reason or run.status, message=why)
    return step.model_copy(update={**over, "messages": [_result(step, text)], "error": error})


async def output_of(store: TenantStore, conversing: Conversing, run: Execution) -> str | None:
    """The text that a run has come to; None where there is none, or none any more."""
    if run.output_step is None:
        return None
    found = await store.get(Step.KIND, step_id(run.id, run.output_step))
    try:
        return None if found is None else said(await conversing.whole(Step.model_validate(found.body)))
    except NotFound:  # its blob is not kept any more
        return None


def _result(step: Step, text: str) -> Message:
    assert step.call is not None  # noqa: S101 - a step of this kind has one
    return Message("tool", cut(text), call_id=step.call.id, name=step.call.name)


def _told(call: ChildCall, why: str, code: str) -> dict[str, object]:
    message = Message("tool", why, call_id=call.call.id, name=call.call.name)
    return {"messages": [message], "error": StepError(code=code, message=why), "child_id": None}


def _over(at: str, parent: Execution) -> dict[str, object]:
    return {"status": "ended", "ended_at": at, "ended_in": parent.revision}

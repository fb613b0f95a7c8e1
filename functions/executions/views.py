"""Runs as they are shown, and what a client may ask for."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from functions.executions.models import Execution as StoredExecution
from functions.executions.models import (
    Purpose,
    RunLimits,
    RunPattern,
    Status,
    StepError,
    StepStatus,
    StepType,
    Tokens,
    Told,
    WaitingFor,
)
from functions.executions.models import Step as StoredStep
from shared.http.pagination import Query, ResourceQuery
from shared.kinds import Kind
from shared.work.resources import WHOLE, Answer, Body, Id, JsonObject, Resource, Timestamp

MAX_WAIT_SECONDS = 20
OPERATIONS: Mapping[StepType, str] = {
    "model": "chat",
    "tool": "execute_tool",
    "child": "invoke_agent",
    "approval": "execute_tool",
}


class NewRunLimits(Body):
    """What the run and all that it starts may use, together; each has a standard."""

    steps: Annotated[int, Field(ge=1, le=1000), WHOLE] | None = Field(None, description="Steps begun; standard 100.")
    tokens: Annotated[int, Field(ge=1, le=10**9), WHOLE] | None = Field(
        None, description="AI tokens, those reserved for a call under way included; standard 500,000."
    )
    cost: Annotated[int, Field(ge=0, le=10**12), WHOLE] | None = Field(
        None, description="Micro-USD (a millionth); none: as much as the plan allows."
    )
    seconds: Annotated[int, Field(ge=1, le=7 * 86400), WHOLE] | None = Field(
        None, description="From its start to its end, waiting included; standard 3,600."
    )
    depth: Annotated[int, Field(ge=0, le=5), WHOLE] | None = Field(
        None, description="Agents below each other; standard 3."
    )
    children: Annotated[int, Field(ge=0, le=100), WHOLE] | None = Field(
        None, description="Runs that are started by it, or by those; standard 20."
    )

    def limits(self) -> RunLimits:
        return RunLimits(**{name: value for name, value in self.model_dump().items() if value is not None})


class NewExecution(Body):
    """A task for an agent."""

    input: str = Field(min_length=1, max_length=65_536, description="The task, in words.", examples=["Classify this."])
    context: JsonObject = Field({}, description="What the task is about, as JSON; told to the model after the task.")
    limits: NewRunLimits = Field(NewRunLimits(), description="What the run may use.")


class Execution(Resource):
    """A run of an agent. What it has come to is forgotten after the tenant's days (retention.py)."""

    KIND: ClassVar[Kind] = StoredExecution.KIND
    BESIDE = ("output", "result", "error")

    agent_id: Id = Field(description="The agent that runs.")
    agent_name: str = Field(description="What it was called when the run began.")
    agent_revision: int = Field(description="The revision of the agent that runs.")
    pattern: RunPattern = Field(description="The agent's pattern.")
    purpose: Purpose = Field(description="What it is run for.")
    status: Status = Field(description="`waiting`: for its children, or for a person.")
    stop_reason: str | None = Field(description="Why it did not come to its own end; null: it did, or has not ended.")
    error: str | None = Field(description="The same in words.")
    waiting_for: WaitingFor | None = Field(description="What it waits for; `decision`: on a call that was interrupted.")
    root_id: Id = Field(description="The run that all of its tree began with; its own id: it is that one.")
    parent_id: Id | None = Field(description="The run that has started it.")
    parent_step: int | None = Field(description="The step of that run.")
    depth: int = Field(description="How many agents are above it.")
    steps: int = Field(description="Steps begun so far.")
    tokens: Tokens = Field(description="AI tokens used, without those of its children.")
    cost: int | None = Field(description="Micro-USD of those; null: a part of it is not known.")
    limits: RunLimits = Field(description="What its tree may use.")
    deadline_at: Timestamp = Field(description="When it is ended if it is not over.")
    result: dict[str, Any] | None = Field(description="What its pattern has found out beside the output.")
    output: str | None = Field(None, description="What it has come to; of one that failed, so far. Not in lists.")

    @classmethod
    def of(cls, run: StoredExecution, output: str | None = None) -> "Execution":
        return cls.model_validate({**run.model_dump(), "output": output})


class ExecutionQuery(ResourceQuery):
    """The filters of the list of runs, all of them equality."""

    agent_id: str | None = Field(None, max_length=100)
    status: Status | None = None
    root_id: str | None = Field(None, max_length=100)


class PlatformQuery(Query):
    """Which runs staff looks for."""

    tenant_id: str | None = Field(None, max_length=100, description="Of this tenant alone.")


class StepCall(Answer):
    """What a model wants to be done."""

    id: str = Field(description="Its id in the conversation.")
    name: str = Field(description="The tool or agent, as the model calls it.")
    arguments: dict[str, Any] = Field(description="What with.")


class StepMessage(Answer):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "tool"] = Field(description="Whose turn it is.")
    text: str = Field(description="What is said.")
    calls: list[StepCall] = Field(description="Of the model: what it wants to be done.")
    call_id: str | None = Field(description="Of a result: the call that it is of.")
    name: str | None = Field(description="Of a result: what was called.")


class Step(Answer):
    """One thing that a run does."""

    number: int = Field(description="1, 2, …, in the order in which they were begun.")
    type: StepType = Field(description="What it is.")
    name: str = Field(description="The model, the tool, or the agent as its caller knows it.")
    label: str = Field(description="What the pattern does with it.")
    status: StepStatus = Field(description="How far it is.")
    attempts: int = Field(description="How often it was begun; only what came of the last is known, and charged.")
    begun_at: Timestamp = Field(description="When it was first begun.")
    ended_at: Timestamp | None = Field(description="When it ended.")
    arguments: dict[str, Any] | None = Field(description="What the tool or agent is called with.")
    child_id: Id | None = Field(description="The run that it waits for.")
    role: str | None = Field(description="Who may approve it.")
    until: Timestamp | None = Field(description="Until when it can be approved.")
    told: Told | None = Field(description="What a person has decided.")
    told_by: str | None = Field(description="Who.")
    comment: str | None = Field(description="Why.")
    messages: list[StepMessage] = Field(
        description="What it adds to the conversation; large ones are in the step alone."
    )
    large: bool = Field(description="Whether its messages are left out here.")
    usage: Tokens | None = Field(description="AI tokens, as the provider has counted them.")
    cost: int | None = Field(description="Micro-USD; null: none, or not known.")
    error: StepError | None = Field(description="Why it came to nothing.")
    attributes: dict[str, Any] = Field(description="The same by the names of OpenTelemetry's GenAI conventions.")

    @classmethod
    def of(cls, step: StoredStep, *, whole: bool = False) -> "Step":
        messages = [StepMessage.model_validate(asdict(one)) for one in step.messages]
        own = step.model_dump(exclude={"messages", "call"})
        arguments = None if step.call is None else dict(step.call.arguments)
        shown = {"messages": messages, "large": step.blob is not None and not whole, "arguments": arguments}
        return cls.model_validate({**own, **shown, "attributes": _attributes(step)})


def _attributes(step: StoredStep) -> dict[str, Any]:
    """https://opentelemetry.io/docs/specs/semconv/gen-ai/ (in development)."""
    named: dict[str, Any] = {"gen_ai.operation.name": OPERATIONS[step.type]}
    if step.type == "model":
        named |= {"gen_ai.provider.name": step.provider, "gen_ai.request.model": step.name}
        named |= {"gen_ai.response.model": step.model, "gen_ai.response.finish_reasons": [step.finish]}
    elif step.call is not None:
        named |= {"gen_ai.tool.name": step.name, "gen_ai.tool.call.id": step.call.id}
    if step.usage is not None:
        named["gen_ai.usage.input_tokens"] = step.usage.input
        named["gen_ai.usage.output_tokens"] = step.usage.output
        named["gen_ai.usage.cache_read.input_tokens"] = step.usage.cached
    if step.error is not None:
        named["error.type"] = step.error.code
    return named


class Event(Answer):
    """One thing that has happened in a run."""

    number: int = Field(description="Grows with time; several at one moment have the same.")
    type: str = Field(description="`step.begun`, `step.ended`, `step.cancelled` or `run.<status>`.")
    step: int | None = Field(description="The step that it is about.")
    step_type: StepType | None = Field(description="Of which type that is.")
    name: str | None = Field(description="Its name.")


class Events(Answer):
    """What has happened since; ask again with `next_after`."""

    status: Status = Field(description="The run's, now.")
    items: list[Event] = Field(description="Oldest first; none: nothing has happened within `wait` seconds.")
    next_after: int = Field(description="`after` of the next call.")


class EventsQuery(Query):
    after: int = Field(0, ge=0, le=10**9, description="What has happened after this number.")
    wait: int = Field(0, ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for something to happen.")


class Cancelled(Answer):
    """How many runs were cancelled, each with all that it has started."""

    cancelled: int = Field(description="So many.")
    more: bool = Field(description="Whether there are others: send the same again.")


class Admission(Answer):
    """Whether waiting runs begin."""

    paused: bool = Field(description="True: none begins until they are resumed.")
    running: int = Field(description="Runs that have a place now; they go on.")
    limit: int = Field(description="How many may have one at a time.")


class PlatformExecution(BaseModel):
    """A run as staff see it without a grant: whose, how it stands, what it uses, and nothing of what it is about."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    id: Id = Field(description="Its id, for ever.")
    tenant_id: Id = Field(description="The tenant that it belongs to.")
    agent_id: Id = Field(description="Of which agent.")
    root_id: Id = Field(description="The run that began all this; its own id if nothing else did.")
    status: Status = Field(description="How it stands.")
    stop_reason: str | None = Field(description="The code of why it ended, if it did not end well.")
    waiting_for: WaitingFor | None = Field(description="What it waits for.")
    depth: int = Field(description="How many runs it is below the first.")
    steps: int = Field(description="Steps begun.")
    tokens: Tokens = Field(description="Its own, without its children's.")
    cost: int | None = Field(description="Its own, in micro-units; null: not known.")
    deadline_at: Timestamp = Field(description="When it ends at the latest.")
    created_at: Timestamp = Field(description="When it was made.")
    updated_at: Timestamp = Field(description="When it last changed.")

    @classmethod
    def of(cls, run: StoredExecution) -> Self:
        return cls.model_validate(run.model_dump())


class PlatformExecutions(Answer):
    """Runs that are not over, the oldest first."""

    items: list[PlatformExecution] = Field(description="At most two hundred.")

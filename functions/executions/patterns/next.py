"""What a run does next, as a pattern says it: plain values, which the runner acts on and nobody else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.ai.port import Message, ToolCall
from shared.auth.roles import Role


@dataclass(frozen=True)
class AskModel:
    """One question to the agent's model: a step of the type `model`, whose one message is the answer.

    `tools`: which of the snapshot's tools and agents the model is told of, as it calls them (`called`); `schema`: the
    answer is to be JSON of it. `instructions` None: the agent's own. `label`: what the pattern knows the step by.
    """

    messages: Sequence[Message]
    tools: Sequence[str] = ()
    schema: Mapping[str, Any] | None = None
    instructions: str | None = None
    label: str = ""


@dataclass(frozen=True)
class UseTool:
    """One call of a tool, by the name it is `called`: a step of the type `tool`, whose one message is the result.

    What cannot be done (no such tool, wrong arguments) is a result that says so. A tool that needs an approval waits
    for it first, in a step of its own; then the pattern is asked again, and says the same again.
    """

    call: ToolCall
    label: str = ""


@dataclass(frozen=True)
class ChildCall:
    """One agent to run; its output becomes the result of `call`."""

    call: ToolCall
    agent_id: str
    input: str


@dataclass(frozen=True)
class RunChildren:
    """Agents that run side by side: a step of the type `child` for each, whose one message is what came of it.

    More than may run at once are run in groups: the pattern is asked again, and names those that have no result.
    """

    calls: Sequence[ChildCall]
    label: str = ""


@dataclass(frozen=True)
class Wait:
    """A person has to approve this call first: a step of the type `approval`, whose message says so if they do not."""

    call: ToolCall
    role: Role


@dataclass(frozen=True)
class Finish:
    """The run is over. `output_step`: the step whose last message is the output; `result`: a little JSON beside it."""

    status: Literal["succeeded", "failed"] = "succeeded"
    output_step: int | None = None
    result: Mapping[str, Any] | None = None
    reason: str | None = None
    error: str | None = None


Next = AskModel | UseTool | RunChildren | Wait | Finish

"""What a model is asked: the pattern's words, the agent's instructions and tools, bounded in time and tokens."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime

from functions.executions.acting import CALL_SECONDS
from functions.executions.models import Execution, Snapshot
from functions.executions.patterns.next import AskModel
from functions.tools.port import Tool
from shared.ai.port import Connection, Question, ToolSpec
from shared.clock import parse_rfc3339
from shared.work.session import TenantSession

MAX_TOKENS = 4096  # of an answer, where the agent's config says nothing
MOST_TOKENS = 32_000
Resolve = Callable[[TenantSession, str, str], Awaitable[tuple[Connection, str]]]


def question_of(
    wanted: AskModel, model: str, snapshot: Snapshot, run: Execution, tools: Mapping[str, Tool], now: datetime
) -> Question:
    """The question, for as long as a call may take and the run has; `tools` by what the model calls them."""
    left = (parse_rfc3339(run.deadline_at) - now).total_seconds()
    specs = (_spec(name, snapshot, tools) for name in wanted.tools)
    return Question(
        model=model,
        messages=wanted.messages,
        max_tokens=_max_tokens(snapshot),
        seconds=max(1.0, min(CALL_SECONDS, left)),
        instructions=snapshot.instructions if wanted.instructions is None else wanted.instructions,
        tools=[spec for spec in specs if spec is not None],
        schema=wanted.schema,
    )


def _max_tokens(snapshot: Snapshot) -> int:
    asked = snapshot.config.get("max_tokens")
    return asked if isinstance(asked, int) and 1 <= asked <= MOST_TOKENS else MAX_TOKENS


def _spec(called: str, snapshot: Snapshot, tools: Mapping[str, Tool]) -> ToolSpec | None:
    if tool := tools.get(called):
        return replace(tool.spec, name=called)
    callee = next((one for one in snapshot.agents if one.called == called), None)
    if callee is None:
        return None
    parameters = {
        "type": "object",
        "properties": {"input": {"type": "string", "description": "The task, with all that it takes to do it."}},
        "required": ["input"],
        "additionalProperties": False,
    }
    return ToolSpec(called, f"Has the agent {callee.name} do a task. {callee.description}".strip(), parameters)

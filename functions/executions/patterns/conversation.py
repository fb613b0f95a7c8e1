"""The conversation of a run, made of what it was given and of its steps; and the loop that tools are used in."""

import json
from collections.abc import Sequence

from functions.executions.models import Snapshot, Step
from functions.executions.patterns.next import AskModel, ChildCall, Finish, Next, RunChildren, UseTool
from shared.ai.port import Message, ToolCall

CUT = "The answer was cut at `max_tokens` of the agent's config; allow it more."


def conversation(snapshot: Snapshot, steps: Sequence[Step]) -> list[Message]:
    """What was asked first, and all that was said since, in the order of the steps."""
    return [Message("user", asked(snapshot)), *(message for step in steps if step.over for message in step.messages)]


def asked(snapshot: Snapshot) -> str:
    """The input, and the context where there is one."""
    if not snapshot.context:
        return snapshot.input
    return f"{snapshot.input}\n\nContext (JSON):\n{json.dumps(snapshot.context, ensure_ascii=False, sort_keys=True)}"


def unanswered(steps: Sequence[Step]) -> list[ToolCall]:
    """The calls of the model's last turn that have no result yet."""
    messages = [message for step in steps if step.over for message in step.messages]
    turns = [at for at, message in enumerate(messages) if message.role == "assistant"]
    if not turns:
        return []
    answered = {message.call_id for message in messages[turns[-1] :] if message.role == "tool"}
    return [call for call in messages[turns[-1]].calls if call.id not in answered]


def tool_loop(snapshot: Snapshot, steps: Sequence[Step], *, agents: bool) -> Next:
    """Ask the model; do what it wants done; ask again, until it wants nothing more done.

    `agents`: other agents are among its tools. Those that one answer calls run side by side, when the answer's other
    calls are done.
    """
    callees = {one.called: one for one in snapshot.agents} if agents else {}
    left = unanswered(steps)
    other = [call for call in left if call.name not in callees]
    if other:
        return UseTool(other[0])
    if left:
        return RunChildren([ChildCall(call, callees[call.name].id, _input(call)) for call in left])
    last = next((step for step in reversed(steps) if step.type == "model"), None)
    if last is not None and last.messages and not last.messages[-1].calls:
        if last.finish == "length":
            return Finish("failed", last.number, reason="length", error=CUT)
        return Finish(output_step=last.number)
    offered = [*(one.called for one in snapshot.tools), *callees]
    return AskModel(conversation(snapshot, steps), offered)


def _input(call: ToolCall) -> str:
    given = call.arguments.get("input")
    return given if isinstance(given, str) else json.dumps(dict(call.arguments), ensure_ascii=False, sort_keys=True)

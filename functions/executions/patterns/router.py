"""The Router: one structured choice among its agents, then that agent, whose output is the run's."""

from collections.abc import Sequence
from typing import Any

from functions.executions.models import Snapshot, Step
from functions.executions.patterns.conversation import asked
from functions.executions.patterns.next import AskModel, ChildCall, Finish, Next, RunChildren
from functions.executions.patterns.structured import TRIES, asked_again, read
from shared.ai.port import Message, ToolCall
from shared.work.resources import Answer

CHOICE = "choice"
NOBODY = "This Router has no agents to choose from: name them in its tools (agent:<name or id>)."


class Choice(Answer):
    """What the model answers."""

    agent: str
    reason: str = ""


def decide(snapshot: Snapshot, steps: Sequence[Step]) -> Next:
    if not snapshot.agents:
        return Finish("failed", reason="misconfigured", error=NOBODY)
    child = next((step for step in steps if step.type == "child"), None)
    choices = [step for step in steps if step.label == CHOICE]
    chosen = read(Choice, choices[-1]) if choices else None
    callee = next((one for one in snapshot.agents if isinstance(chosen, Choice) and one.called == chosen.agent), None)
    if child is not None:
        return _routed(child, callee.name if callee else "", chosen)
    if callee is not None:
        call = ToolCall("route", callee.called, {"input": asked(snapshot)})
        return RunChildren([ChildCall(call, callee.id, asked(snapshot))])
    question = [Message("user", asked(snapshot))]
    if choices:
        reason = chosen if isinstance(chosen, str) else "agent: is none of those to choose from"
        if len(choices) >= TRIES:
            return Finish("failed", choices[-1].number, reason="malformed", error=f"No agent was chosen: {reason}")
        question = asked_again(question, choices[-1], reason)
    return AskModel(question, schema=_schema(snapshot), instructions=_instructions(snapshot), label=CHOICE)


def _routed(child: Step, name: str, chosen: Choice | str | None) -> Finish:
    result = {"agent": name, "reason": chosen.reason[:500] if isinstance(chosen, Choice) else ""}
    if child.error is not None:
        return Finish("failed", child.number, result, reason="child_failed", error=child.error.message)
    return Finish(output_step=child.number, result=result)


def _schema(snapshot: Snapshot) -> dict[str, Any]:
    agents = {"type": "string", "enum": [one.called for one in snapshot.agents], "description": "Who is best for it."}
    return {
        "type": "object",
        "properties": {"agent": agents, "reason": {"type": "string", "description": "Why, in a sentence."}},
        "required": ["agent", "reason"],
        "additionalProperties": False,
    }


def _instructions(snapshot: Snapshot) -> str:
    listed = "\n".join(f"- {one.called}: {one.name}. {one.description[:500]}" for one in snapshot.agents)
    return f"{snapshot.instructions}\n\nChoose the one agent that the task is for:\n{listed}"

"""The Evaluator: another agent works, a structured verdict judges it, and it is mended until accepted or out of rounds.

Its config: `agent`, whose work it judges; `criteria`, in words; `rounds`, how often that agent works at most (1 to 5).
"""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from functions.executions.models import Callee, Snapshot, Step
from functions.executions.patterns.conversation import asked
from functions.executions.patterns.next import AskModel, ChildCall, Finish, Next, RunChildren
from functions.executions.patterns.structured import TRIES, asked_again, read, said
from shared.ai.port import Message, ToolCall

VERDICT = "verdict"
ROUNDS = 2
MOST_ROUNDS = 5
SHOWN_FEEDBACK = 1000
NOBODY = "This Evaluator has nobody's work to judge: name an agent in its config (agent: name or id)."
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "accepted": {"type": "boolean", "description": "Whether the work is good enough as it is."},
        "feedback": {"type": "string", "description": "What is to be mended, or why it is good."},
    },
    "required": ["accepted", "feedback"],
    "additionalProperties": False,
}


class Verdict(BaseModel):
    """What the model answers."""

    model_config = ConfigDict(strict=True, defer_build=True)

    accepted: bool
    feedback: str = ""


def decide(snapshot: Snapshot, steps: Sequence[Step]) -> Next:
    callee = worker_of(snapshot)
    if callee is None:
        return Finish("failed", reason="misconfigured", error=NOBODY)
    works = [step for step in steps if step.type == "child"]
    if not works:
        return _work(callee, 1, asked(snapshot))
    last = works[-1]
    if last.error is not None:
        return Finish("failed", last.number, reason="child_failed", error=last.error.message)
    verdicts = [step for step in steps if step.label == VERDICT and step.number > last.number]
    verdict = read(Verdict, verdicts[-1]) if verdicts else None
    if isinstance(verdict, Verdict):
        if verdict.accepted or len(works) >= rounds_of(snapshot):
            judged = {"accepted": verdict.accepted, "feedback": verdict.feedback[:SHOWN_FEEDBACK]}
            return Finish(output_step=last.number, result={**judged, "rounds": len(works)})
        return _work(callee, len(works) + 1, _mend(snapshot, said(last), verdict.feedback))
    question = [Message("user", _judge(snapshot, said(last)))]
    if isinstance(verdict, str):
        if len(verdicts) >= TRIES:
            return Finish("failed", last.number, reason="malformed", error=f"There is no verdict: {verdict}")
        question = asked_again(question, verdicts[-1], verdict)
    return AskModel(question, schema=SCHEMA, label=VERDICT)


def worker_of(snapshot: Snapshot) -> Callee | None:
    """The agent whose work is judged: the one that its config names, by id or name; the only one it has."""
    named = snapshot.config.get("agent")
    found = [one for one in snapshot.agents if named in (one.id, one.name)]
    return found[0] if found else snapshot.agents[0] if named is None and len(snapshot.agents) == 1 else None


def rounds_of(snapshot: Snapshot) -> int:
    given = snapshot.config.get("rounds", ROUNDS)
    return min(MOST_ROUNDS, max(1, given)) if type(given) is int else ROUNDS


def _work(callee: Callee, number: int, input: str) -> RunChildren:
    return RunChildren([ChildCall(ToolCall(f"work-{number}", callee.called, {"input": input}), callee.id, input)])


def _judge(snapshot: Snapshot, work: str) -> str:
    criteria = str(snapshot.config.get("criteria") or "Is it right, complete and clear?")
    return f"Judge this work.\n\nCriteria: {criteria}\n\nTask: {asked(snapshot)}\n\nWork:\n{work}"


def _mend(snapshot: Snapshot, work: str, feedback: str) -> str:
    return f"{asked(snapshot)}\n\nYou have done this:\n{work}\n\nMend it, and answer with all of it: {feedback}"

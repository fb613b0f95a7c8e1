"""Runs as A2A's tasks: the state, what came of it, and what it was given. A task's id is its run's (§4.1)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from functions.executions.models import ACTIVE, BY_A2A, Snapshot
from functions.executions.views import Execution, Step

PERSON: Final = ("approval", "decision")  # what only somebody outside can end
INPUT_REQUIRED: Final = "TASK_STATE_INPUT_REQUIRED"
STATES: Final[Mapping[tuple[str, str | None], str]] = {  # by status, and what is waited for
    ("queued", None): "TASK_STATE_SUBMITTED",
    ("running", None): "TASK_STATE_WORKING",
    ("waiting", "children"): "TASK_STATE_WORKING",
    ("waiting", "approval"): INPUT_REQUIRED,
    ("waiting", "decision"): INPUT_REQUIRED,
    ("succeeded", None): "TASK_STATE_COMPLETED",
    ("failed", None): "TASK_STATE_FAILED",
    ("cancelled", None): "TASK_STATE_CANCELED",
}
OTHERS: Final = ("TASK_STATE_REJECTED", "TASK_STATE_AUTH_REQUIRED")  # no run is ever one of these


def state_of(run: Execution) -> str:
    return STATES[run.status, run.waiting_for if run.status == "waiting" else None]


def ended(run: Execution) -> bool:
    return run.status not in ACTIVE


def context_of(run: Execution, snapshot: Snapshot | None) -> str:
    """The context that the client has named; its own id for a run without one, and when what was said is purged."""
    return str(_about(snapshot).get("context_id") or run.id)


def message_of(run: Execution, snapshot: Snapshot | None) -> str:
    """The id of the message that has begun it; one that no client gives, where there is none, or it is purged."""
    return str(_about(snapshot).get("message_id") or f"{run.id}.0")


def task_of(
    run: Execution, snapshot: Snapshot | None, open_steps: Sequence[Step], history: int | None, artifacts: bool = True
) -> dict[str, Any]:
    """`open_steps`: those that wait for somebody. `history`: as many messages of it at most; a run that no message
    has begun has none.
    """
    context = context_of(run, snapshot)
    status: dict[str, Any] = {"state": state_of(run), "timestamp": run.updated_at}
    if parts := _told(run, open_steps):
        id = f"{run.id}.{run.revision}"
        of = {"taskId": run.id, "contextId": context}
        status["message"] = {"messageId": id, "role": "ROLE_AGENT", "parts": parts, **of}
    task: dict[str, Any] = {"id": run.id, "contextId": context, "status": status}
    if artifacts:
        task["artifacts"] = _artifacts(run)
    if snapshot is not None and _about(snapshot) and history != 0:
        task["history"] = [_given(run, snapshot, context)]
    return task


def _told(run: Execution, open_steps: Sequence[Step]) -> list[dict[str, Any]]:
    """What is to be said of the state: why it has failed, or who is to decide what."""
    if run.error is not None:
        return [{"text": run.error}]
    if state_of(run) != INPUT_REQUIRED:
        return []
    choices = ["approve", "reject"] if run.waiting_for == "approval" else ["repeat", "skip", "fail"]
    steps = [{"step": step.number, "name": step.name, "decisions": choices} for step in open_steps]
    text = (
        "Somebody has to decide before this goes on. Answer with one part of data, such as "
        f'{{"step": {steps[0]["step"] if steps else 1}, "decision": "{choices[0]}"}}.'
    )
    return [{"text": text}, {"data": {"steps": steps}}]


def _artifacts(run: Execution) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if run.output is not None:
        parts: list[dict[str, Any]] = [{"text": run.output, "mediaType": "text/plain"}]
        found.append({"artifactId": "output", "name": "Output", "parts": parts})
    if run.result is not None:
        parts = [{"data": run.result, "mediaType": "application/json"}]
        found.append({"artifactId": "result", "name": "Result", "parts": parts})
    return found


def _given(run: Execution, snapshot: Snapshot, context: str) -> dict[str, Any]:
    """The message that has begun it, in the words that it was given."""
    of = {"taskId": run.id, "contextId": context}
    return {"messageId": message_of(run, snapshot), "role": "ROLE_USER", "parts": [{"text": snapshot.input}], **of}


def _about(snapshot: Snapshot | None) -> Mapping[str, Any]:
    found = None if snapshot is None else snapshot.context.get(BY_A2A)
    return found if isinstance(found, dict) else {}

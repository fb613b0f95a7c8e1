"""The end of a run, in one batch: its place goes to another, it is counted, and whoever waits for it hears of it."""

from functions.executions.admission import give_back
from functions.executions.models import TICKET, TREE, Execution
from shared.database.port import Delete, Increment
from shared.ids import derived_id
from shared.messaging.port import Message
from shared.work.change import Change
from shared.work.events import Metric

MAX_ERROR = 1000  # characters


def ending(change: Change, old: Execution, new: Execution, queue: str) -> None:
    """What goes with the end of a run: `old` as it was held, `new` as it ends.

    With the end of its root a tree takes no more steps (TREE `cancelled`), whoever of it is still there.
    """
    give_back(change, old)
    if old.status == "queued" and not old.admitted:
        change.write(Delete(TICKET, old.ticket))
    change.emit(
        Metric.EXECUTIONS,
        1,
        event_id=derived_id("executions", new.id),
        status=new.status,
        agent_id=new.agent_id,
        pattern=new.pattern,
        purpose=new.purpose,
        execution_id=new.id,
    )
    if new.parent_id is None:
        change.write(Increment(TREE, new.id, {"cancelled": 1}))
        told = new.model_dump(mode="json", exclude={"result", "error"})  # what was said is kept for a while only
        change.audit(new.status, Execution.KIND, new.id, new.revision, None, told)
    else:
        parent = {"execution_id": new.parent_id, "revision": new.parent_revision}
        change.send(queue, Message(f"{new.parent_id}:{new.id}", new.tenant_id, parent))


def ended(status: str, reason: str | None, error: str | None = None) -> dict[str, object]:
    """The fields of a run that is over."""
    over = {"status": status, "stop_reason": reason, "error": error and error[:MAX_ERROR]}
    return {**over, "waiting_for": None, "admitted": False, "runner": None}

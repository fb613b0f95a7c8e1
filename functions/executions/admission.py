"""Admission: at most so many runs of a tenant at a time, and the oldest tree first.

The counter `runs` is the decision: admitting adds to it within the plan's number, in the batch that sends the message,
and whatever ends a run, or makes it wait, takes from it. A run that is not admitted has a ticket and no message, so a
thousand of one tenant keep nobody else's message waiting. `paused` and `going` are one bit, whose two halves move
against each other: so neither is set twice.
"""

from collections.abc import Sequence
from datetime import datetime

from functions.executions.holding import Hold, Lost, Pause
from functions.executions.models import LOOK_WITHIN, TICKET, Execution
from shared.clock import rfc3339
from shared.database.port import Create, Delete, Increment, Rejected, Stored
from shared.errors import FlowgridError, Unavailable
from shared.messaging.port import Message
from shared.work.change import COUNTER, Change
from shared.work.resources import Versioned
from shared.work.session import TenantSession

RUNS = "runs"
AT_ONCE = 20  # tickets looked at by one asking: whoever ends one of those admits the next
ROUNDS = 10


class NoRoom(FlowgridError):
    """As many runs as the plan allows are under way, or the tenant's runs are paused."""

    def __init__(self) -> None:
        super().__init__("As many runs as the plan allows are under way, or runs are paused.")


async def open_counter(session: TenantSession) -> None:
    """The tenant's counter, where it has none yet. A copy of another tenant is made paused."""
    if await session.store.get(COUNTER, RUNS) is not None:
        return
    paused = int(session.entry.copy_of is not None)
    zero = {
        "created_at": rfc3339(session.services.clock.now()),
        "value": 0,
        "paused": paused,
        "going": 1 - paused,
    }
    try:
        await session.store.control.commit([Create(COUNTER, RUNS, zero)])
    except Rejected:  # another has just opened it
        return


def take(change: Change, session: TenantSession) -> None:
    """One more run, as part of the change; `NoRoom` at commit."""
    most = {"value": session.plan.max_runs, "paused": 0}
    change.write(Increment(COUNTER, RUNS, {"value": 1, "paused": 0}, most), lambda _: NoRoom())


def give_back(change: Change, execution: Execution) -> None:
    """What this run takes of the counter, if anything."""
    if execution.admitted:
        change.count(RUNS, -1)


def hand_in(change: Change, execution: Execution) -> None:
    """A ticket for a run that is not admitted."""
    change.write(Create(TICKET, execution.ticket, {"created_at": execution.root_created_at, "run_id": execution.id}))


def call(change: Change, execution: Execution, queue: str) -> None:
    """The message that has the run worked on from this revision on."""
    message = {"execution_id": execution.id, "revision": execution.revision}
    change.send(queue, Message(f"{execution.id}:{execution.revision}", execution.tenant_id, message))


async def waiting(session: TenantSession) -> bool:
    """Whether anybody has a ticket."""
    return bool((await session.store.query(TICKET, limit=1)).items)


async def admit(session: TenantSession, queue: str, pause: Pause) -> int:
    """Admit the oldest, as long as there is room; returns how many. What hinders it is left to the next asking.

    Not past the fence: while a tenant is restored nothing begins.
    """
    if session.entry.status not in ("active", "trial"):
        return 0
    admitted = 0
    try:
        await open_counter(session)
        for _ in range(ROUNDS):
            tickets = (await session.store.query(TICKET, limit=AT_ONCE)).items
            now = await _admit(session, tickets, queue, pause)
            admitted += now
            if now < AT_ONCE:
                break
    except Unavailable:
        return admitted
    return admitted


async def _admit(session: TenantSession, tickets: Sequence[Stored], queue: str, pause: Pause) -> int:
    admitted = 0
    for ticket in tickets:
        found = await session.store.get(Execution.KIND, ticket.body["run_id"])
        if found is None or found.body["status"] != "queued" or found.body["admitted"]:
            continue  # a replica that is behind: what ends a run, or admits it, takes its ticket
        hold = Hold(session, Versioned.of(Execution, found), pause, pauses=())

        async def build(change: Change, new: Execution, ticket: Stored = ticket) -> None:
            change.write(Delete(TICKET, ticket.body["id"], ticket.etag), lambda _: Lost())
            take(change, session)
            call(change, new, queue)

        try:
            await hold.save(build, admitted=True, lease_until=look_at(session.services.clock.now()))
        except NoRoom:
            return admitted
        except Lost:
            continue
        admitted += 1
    return admitted


def look_at(now: datetime) -> str:
    """When to look at a run whose message has just been sent."""
    return rfc3339(now + LOOK_WITHIN)


async def set_paused(session: TenantSession, paused: bool) -> bool:
    """Admit no more, or admit again; False where it was so already. Runs under way go on."""
    await open_counter(session)
    to = 1 if paused else -1
    most = {"paused": 1} if paused else {"going": 1}
    try:
        await session.store.control.commit([Increment(COUNTER, RUNS, {"paused": to, "going": -to}, most)])
    except Rejected:
        return False
    return True

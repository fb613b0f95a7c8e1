"""A move of a run, in one batch: steps end, others begin, and what that changes of the tree's and the month's sums.

Beginning is bounded: by the tree's limits, by its not being cancelled, by the month's budgets. Ending never is: what
was used was used. Both together are one movement of each counter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from functions.executions.conversing import bare
from functions.executions.models import TREE, Execution, RunLimits, Step, Tokens, stored
from shared.database.port import Create, Increment, Operation, Replace, TenantStore
from shared.errors import FlowgridError
from shared.ids import derived_id
from shared.tenancy.plans import Budget
from shared.work.budgets import RESERVED, Reservation, reserve, settle
from shared.work.change import Change
from shared.work.events import Metric
from shared.work.resources import Versioned
from shared.work.session import TenantSession


class Refused(FlowgridError):
    """The tree's limits allow no further step, or it is cancelled."""

    def __init__(self) -> None:
        super().__init__("The limits of this run, or its cancellation, allow no further step.")


@dataclass(frozen=True)
class Move:
    """`more`: what is written beside the steps; `bounded`: as if a step began, where none does."""

    ended: Sequence[Step] = ()
    begun: Sequence[Step] = ()
    runs: int = 0
    bounded: bool = False
    more: Sequence[Operation] = field(default_factory=list)

    async def write(self, change: Change, session: TenantSession, run: Execution) -> None:
        """Add it to a change that replaces the run. At commit `Refused`, or `QuotaReached` of a budget."""
        self._tree(change, run)
        for step in self.ended:
            change.write(Replace(Step.KIND, step.id, stored(bare(step))))
            await _settle(change, session, step)
            _count(change, step)
        for step in self.begun:
            change.write(Create(Step.KIND, step.id, stored(bare(step))))
            if step.reserved is not None and not step.over:
                await reserve(change, session, step.id, amounts(step.reserved))
        for operation in self.more:
            change.write(operation)

    def totals(self, run: Execution) -> dict[str, object]:
        """The run's own sums after it."""
        tokens, cost = run.tokens, run.cost
        for step in self.ended:
            tokens = tokens.plus(step.usage or Tokens())
            if step.usage is not None:
                cost = None if cost is None or step.cost is None else cost + step.cost
        return {"tokens": tokens, "cost": cost, "steps": run.steps + len(self.begun)}

    def _tree(self, change: Change, run: Execution) -> None:
        moved = {"cancelled": 0, "steps": len(self.begun), "runs": self.runs, "tokens": 0, "cost": 0}
        for step, sign in [*((one, 1) for one in self.begun), *((one, -1) for one in self.ended)]:
            reserved = step.reserved or (0, 0)
            moved["tokens"] += sign * reserved[0]
            moved["cost"] += sign * reserved[1]
        for step in self.ended:
            used = used_by(step)
            moved["tokens"] += used[0]
            moved["cost"] += used[1]
        bounded = self.bounded or bool(self.begun)
        if bounded or any(moved.values()):
            most = bounds(run.limits) if bounded else {}
            change.write(Increment(TREE, run.root_id, moved, most), lambda _: Refused())


def bounds(limits: RunLimits) -> dict[str, int]:
    """What the sums of a tree may come to."""
    most = {"cancelled": 0, "steps": limits.steps, "runs": limits.children, "tokens": limits.tokens}
    return most if limits.cost is None else {**most, "cost": limits.cost}


async def refused_by(store: TenantStore, run: Execution, move: Move) -> str:
    """Which bound it was, by the sums as they are now."""
    found = await store.get(TREE, run.root_id)
    if found is None or found.body["cancelled"]:
        return "cancelled"
    taken = {
        "steps": len(move.begun),
        "runs": move.runs,
        "tokens": sum(step.reserved[0] for step in move.begun if step.reserved),
        "cost": sum(step.reserved[1] for step in move.begun if step.reserved),
    }
    given = {
        "tokens": sum((step.reserved or (0, 0))[0] - used_by(step)[0] for step in move.ended),
        "cost": sum((step.reserved or (0, 0))[1] - used_by(step)[1] for step in move.ended),
    }
    most = bounds(run.limits)
    over = [
        name
        for name, more in taken.items()
        if name in most and found.body[name] + more - given.get(name, 0) > most[name]
    ]
    return {"runs": "children"}.get(over[0], over[0]) if over else "tokens"


def used_by(step: Step) -> tuple[int, int]:
    """AI tokens and micro-USD that are known of a step."""
    return (0 if step.usage is None else step.usage.total, step.cost or 0)


def amounts(reserved: tuple[int, int]) -> dict[Budget, int]:
    return {Budget.AI_TOKENS: reserved[0], Budget.AI_SPEND: reserved[1]}


async def reservation_of(store: TenantStore, step: Step) -> Versioned[Reservation] | None:
    found = await store.get(RESERVED, step.id)
    return None if found is None else Versioned.of(Reservation, found)


async def _settle(change: Change, session: TenantSession, step: Step) -> None:
    if step.reserved is None:
        return
    held = await reservation_of(session.store, step)
    if held is not None:
        settle(change, held, amounts(used_by(step)))


def _count(change: Change, step: Step) -> None:
    """The usage event of what a provider has counted, once for the step."""
    if step.usage is None:
        return
    change.emit(
        Metric.AI_TOKENS,
        step.usage.total,
        event_id=derived_id("ai_tokens", step.id),
        provider=step.provider or "",
        model=step.model or "",
        input=step.usage.input,
        output=step.usage.output,
        cached=step.usage.cached,
        cost=step.cost,
        execution_id=step.execution_id,
        step=step.number,
    )

"""What a claimed run has come to, and how that is written: each method that writes is one batch."""

from collections.abc import Callable, Sequence
from typing import Any

from functions.executions.acting import Stop
from functions.executions.admission import call, give_back, look_at
from functions.executions.conversing import Conversing
from functions.executions.ending import ended, ending
from functions.executions.holding import Hold, Lost
from functions.executions.models import LONGEST_LEASE, Execution, Step, StepType, WaitingFor, step_id, stored
from functions.executions.moves import Move, Refused, amounts, refused_by, reservation_of
from functions.executions.patterns.next import Finish
from shared.clock import rfc3339
from shared.database.port import Replace
from shared.errors import FlowgridError, QuotaReached
from shared.work.budgets import reserve
from shared.work.change import Change

WAITING = "execution.waiting"


class Progress:
    """`steps`: all of them, with their messages. What has been noted as ended is written with the next move."""

    def __init__(self, hold: Hold, queue: str, conversing: Conversing, steps: Sequence[Step]) -> None:
        self.hold = hold
        self.steps = list(steps)
        self._queue = queue
        self._conversing = conversing
        self._ended: list[Step] = []

    @property
    def run(self) -> Execution:
        return self.hold.execution

    @property
    def given_away(self) -> bool:
        """Whether the run is over, waits, or is to be gone on with by another message."""
        return self.run.runner is None

    @property
    def now(self) -> str:
        return max(rfc3339(self.hold.session.services.clock.now()), self.run.updated_at)

    @property
    def revision(self) -> int:
        """The run's, once what is being made is written."""
        return self.run.revision + 1

    @property
    def over(self) -> list[Step]:
        return [step for step in self.steps if step.over]

    @property
    def failed(self) -> Step | None:
        """The step with which the run has just failed."""
        return next((step for step in self._ended if step.type == "model" and step.error), None)

    def partial(self) -> int | None:
        """The last step in which the model has said something: what there is of an output."""
        said = [
            step.number
            for step in self.over
            if step.type == "model" and (step.blob is not None or any(one.text for one in step.messages))
        ]
        return max(said, default=None)

    def step(self, type: StepType, name: str, **fields: Any) -> Step:
        """A new one, the next."""
        number, at = self.run.steps + 1, self.now
        own = {"id": step_id(self.run.id, number), "created_at": at, "execution_id": self.run.id, "number": number}
        made = {**own, "type": type, "name": name, "begun_at": at, "begun_in": self.revision, **fields}
        return Step.model_validate(made)

    def ended_form(self, step: Step, over: dict[str, Any], status: str = "ended") -> Step:
        return step.model_copy(update={"status": status, "ended_at": self.now, "ended_in": self.revision, **over})

    async def note(self, over: Step) -> None:
        """A step has ended; what is large of it is in a blob from now on."""
        kept = await self._conversing.kept(over, self.run.epoch)
        self._ended.append(kept)
        self._replace(kept)

    def tried(self, step: Step) -> None:
        """A step has had these attempts; they are written with its end."""
        self._replace(step)

    async def begin_again(self, step: Step) -> Step:
        """One more attempt at a step, noted before it is made. What was given back after an hour is reserved anew."""
        again = step.model_copy(update={"attempts": step.attempts + 1, "told": None})

        async def build(change: Change, new: Execution) -> None:
            change.write(Replace(Step.KIND, again.id, stored(again)))
            held = await reservation_of(self.hold.session.store, step) if step.reserved else None
            if step.reserved and held is not None and held.value.status == "released":
                await reserve(change, self.hold.session, step.id, amounts(step.reserved), held)

        await self.hold.save(build)
        self._replace(again)
        return again

    async def begin(self, steps: Sequence[Step]) -> bool:
        """End what has ended and begin these; False where a bound refused it, and the run is over."""
        move = Move(self._ended, steps)
        try:
            await self._move(move)
        except (Refused, QuotaReached) as refused:
            await self.conclude(await self._why(refused, move))
            return False
        return True

    async def wait(
        self,
        what: WaitingFor,
        begun: Sequence[Step] = (),
        runs: int = 0,
        also: Callable[[Change], None] | None = None,
    ) -> None:
        """Give the place to another until there is something to do; unless the tree is cancelled."""
        old, move = self.run, Move(self._ended, begun, runs=runs, bounded=True)

        def then(change: Change, new: Execution) -> None:
            give_back(change, old)
            if also is not None:
                also(change)
            for step in begun:
                if step.type == "approval":
                    change.tell(WAITING, Execution.KIND, new.id, new.revision, _asked(new, step))

        look = rfc3339(self.hold.session.services.clock.now() + LONGEST_LEASE)
        until = [step.until for step in [*self.steps, *begun] if step.until is not None and not step.over]
        waiting = {"status": "waiting", "waiting_for": what, "admitted": False, "runner": None}
        try:
            await self._move(move, then, **waiting, lease_until=min(look, old.deadline_at, *until))
        except (Refused, QuotaReached) as refused:
            await self.conclude(await self._why(refused, move))

    async def finish(self, wanted: Finish) -> None:
        result = None if wanted.result is None else dict(wanted.result)
        over = {**ended(wanted.status, wanted.reason, wanted.error), "output_step": wanted.output_step}
        await self._end(Move(self._ended), {**over, "result": result})

    async def conclude(self, stop: Stop) -> None:
        """End the run although it is not done. What has ended counts; what was begun ends without."""
        if stop.lost:
            raise Lost
        cancelled = [self.ended_form(step, {}, "cancelled") for step in self.steps if not step.over]
        over = {**ended(stop.status, stop.reason, stop.error), "output_step": self.partial()}
        await self._end(Move([*self._ended, *cancelled]), over)

    async def give_up(self, stop: Stop) -> None:
        """As `conclude`, although what has ended cannot be written: it ends without what came of it."""
        lost = {step.id for step in self._ended}
        self._ended = []
        begun: dict[str, Any] = {
            "status": "begun",
            "messages": [],
            "blob": None,
            "usage": None,
            "cost": None,
            "error": None,
        }
        self.steps = [step.model_copy(update=begun) if step.id in lost else step for step in self.steps]
        await self.conclude(stop)

    async def continue_later(self) -> None:
        """End what has ended; another message goes on."""
        look = look_at(self.hold.session.services.clock.now())

        def then(change: Change, new: Execution) -> None:
            call(change, new, self._queue)

        await self._move(Move(self._ended), then, runner=None, lease_until=look)

    async def _end(self, move: Move, over: dict[str, Any]) -> None:
        old = self.run
        await self._move(move, lambda change, new: ending(change, old, new, self._queue), **over)

    async def _move(self, move: Move, then: Callable[[Change, Execution], None] | None = None, **changes: Any) -> None:
        async def build(change: Change, new: Execution) -> None:
            await move.write(change, self.hold.session, new)
            if then is not None:
                then(change, new)

        await self.hold.save(build, **{**move.totals(self.run), **changes})
        self._ended = []
        self.steps += move.begun

    async def _why(self, refused: FlowgridError, move: Move) -> Stop:
        if isinstance(refused, QuotaReached):
            return Stop("failed", "budget", f"{refused.message}: the tenant's month has no room for the next step.")
        reason = await refused_by(self.hold.session.store, self.run, move)
        if reason == "cancelled":
            return Stop("cancelled", "cancelled")
        return Stop("failed", reason, f"The next step would take the run beyond its limit of {reason}.")

    def _replace(self, step: Step) -> None:
        self.steps[step.number - 1] = step


def _asked(run: Execution, step: Step) -> dict[str, Any]:
    """What a person has to know who is to approve a call; its arguments are in the step."""
    own = run.model_dump(include={"id", "agent_id", "agent_name", "root_id", "status", "waiting_for"})
    return {**own, "step": step.number, "name": step.name, "role": step.role, "until": step.until}
